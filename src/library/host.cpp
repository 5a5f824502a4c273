#include "library/host.h"

#include <algorithm>
#include <limits>

#include <fmt/format.h>

#include "formats/registry.h"
#include "library/policy.h"

namespace tl {

RuntimeHost::RuntimeHost(Session& session, HostOptions options)
    : session_(session), options_(std::move(options)) {
  policies_.push_back({std::string(session_.backend().name()), session_.options().precision});
  sessions_.emplace_back();
}

const Backend& RuntimeHost::backend(const std::string& device) const {
  if (device == session_.backend().name()) return session_.backend();
  if (!options_.backend) throw Error(fmt::format("there is no device '{}' here", device));
  return options_.backend(device);
}

uint16_t RuntimeHost::policy(const lang::Value& value) {
  const auto* asked = value.object_as<PolicyObject>();
  if (asked == nullptr) return Host::policy(value);
  const Policy policy = asked->applied_to(policies_[graph::PolicyScope::current()]);
  const auto known = std::find(policies_.begin(), policies_.end(), policy);
  const auto number = static_cast<size_t>(known - policies_.begin());
  if (known == policies_.end()) {
    if (number > std::numeric_limits<uint16_t>::max()) throw Error("too many different policies");
    policies_.push_back(policy);
    sessions_.emplace_back();
  }
  return static_cast<uint16_t>(number);
}

Session& RuntimeHost::session_of(uint16_t policy) {
  if (policy == 0) return session_;
  std::unique_ptr<Session>& session = sessions_[policy];
  if (!session) {
    SessionOptions options = session_.options();
    options.precision = policies_[policy].precision;
    const Backend& own = backend(policies_[policy].device);
    const Backend* fallback = &own == &session_.backend() ? session_.fallback() : &backend("reference");
    session = std::make_unique<Session>(own, fallback == &own ? nullptr : fallback, std::move(options));
  }
  session->set_observer(session_.observer());
  return *session;
}

Tensor RuntimeHost::compute(const graph::NodeRef& node) {
  if (node->value) return session_.value(node);
  if (policies_.size() > 1) {
    // What is read under another policy than it was made under is computed first. Inputs come before users.
    std::vector<graph::NodeRef> borders;
    const graph::Trace trace = graph::trace(std::span(&node, 1));
    for (const graph::Node* user : trace.values)
      for (const graph::NodeRef& input : user->inputs)
        if (!input->value && input->policy != user->policy) borders.push_back(input);
    for (const graph::NodeRef& border : borders) session_of(border->policy).value(border);
  }
  return session_of(node->policy).value(node);
}

std::shared_ptr<Model> RuntimeHost::open_model(const std::string& name) const {
  auto model = std::make_shared<Model>(open_model_file(resolve_model(name), options_.use_mmap));
  if (options_.layers) model->set_layers(*options_.layers);
  return model;
}

int64_t RuntimeHost::default_context(const Model& model) const {
  if (options_.context_length > 0) return options_.context_length;
  return std::min<int64_t>(model.config().context_length, 4096);
}

CacheTypes RuntimeHost::cache_types() const {
  const Backend& backend = session_.backend();
  const auto kept = [&](DType wanted) {
    const DType floats = backend.storage(is_quantised(wanted) ? DType::f32 : wanted);
    if (!is_quantised(wanted) || floats == DType::f64) return floats;
    if (!backend.caches_blocks())
      throw Error(fmt::format("the {} backend keeps no KV cache in {}: take f32 or f16", backend.name(),
                              name(wanted)));
    return wanted;
  };
  return {kept(options_.cache.k), kept(options_.cache.v)};
}

RuntimeHost& RuntimeHost::of(lang::Interpreter& interpreter) {
  auto* host = dynamic_cast<RuntimeHost*>(&interpreter.host());
  TL_CHECK(host != nullptr, "library functions need a RuntimeHost");
  lang::StepNumbers::fix();
  return *host;
}

}  // namespace tl
