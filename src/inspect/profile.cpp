#include "inspect/profile.h"

#include <fmt/format.h>
#include <nlohmann/json.hpp>

namespace tl::inspect {

namespace {

/// "layer[3]": the outermost loop of the place where a node was made.
std::string layer_of(const graph::Node& node) {
  const graph::ScopePath* loop = nullptr;
  for (const graph::ScopePath* s = node.scope.get(); s != nullptr; s = s->parent.get())
    if (s->index >= 0) loop = s;
  return loop == nullptr ? "" : fmt::format("{}[{}]", loop->name, loop->index);
}

}  // namespace

double Profile::Group::step_seconds() const {
  double sum = 0;
  for (const auto& [name, total] : operations) sum += total.seconds;
  return sum;
}

double Profile::now() const {
  return std::chrono::duration<double>(std::chrono::steady_clock::now() - begin_).count();
}

Profile::Stretch::Stretch(Profile& profile, const std::string& kind, int64_t tokens)
    : profile_(profile), kind_(kind), start_(profile.now()) {
  profile.group_ = &profile.groups_[kind];
  profile.group_->tokens += tokens;
  profile.own_ = 0;
}

Profile::Stretch::~Stretch() {
  const double duration = profile_.now() - start_ - profile_.own_;
  profile_.group_->stretches.add(duration);
  profile_.group_ = nullptr;
  if (profile_.keep_events_) profile_.events_.push_back({kind_, "stretch", "", start_, duration});
}

void Profile::on_run(const graph::Plan& plan, const graph::Trace& trace) {
  (void)plan, (void)trace;
  last_ = now();
}

void Profile::on_step(const ExecutedStep& step) {
  const double end = now(), start = last_;
  if (group_ != nullptr) {
    group_->operations[std::string(name(step.step.op))].add(end - start);
    group_->layers[layer_of(step.node)].add(end - start);
    if (keep_events_)
      events_.push_back({std::string(name(step.step.op)), "operation", step.node.path(), start, end - start});
  }
  last_ = now();  // what was done here is neither the next step's nor the interpreter's
  own_ += last_ - end;
}

std::string Profile::chrome_trace() const {
  nlohmann::ordered_json list = nlohmann::ordered_json::array();
  for (const Event& e : events_) {
    nlohmann::ordered_json event = {
        {"name", e.name},          {"cat", e.category}, {"ph", "X"}, {"ts", e.start * 1e6},
        {"dur", e.duration * 1e6}, {"pid", 1},          {"tid", 1}};
    if (!e.place.empty()) event["args"] = {{"place", e.place}};
    list.push_back(std::move(event));
  }
  return nlohmann::ordered_json{{"traceEvents", std::move(list)}, {"displayTimeUnit", "ms"}}.dump();
}

}  // namespace tl::inspect
