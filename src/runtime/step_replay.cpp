#include "runtime/step_replay.h"

#include <algorithm>
#include <cstdint>
#include <cstring>

#include "base/interrupt.h"

namespace tl {

using graph::Node;
using graph::NodeRef;

namespace {

/// Operations that say the same of an axis however long it is, and whose params are positions or extents.
bool follows_extents(const Node& node) {
  switch (info(node.op).kind) {
    case OpKind::unary:
    case OpKind::binary:
    case OpKind::compare:
      return true;
    default:
      break;
  }
  switch (node.op) {
    case Op::cache_append:
    case Op::rope:
    case Op::affine_mask:
    case Op::softmax:
    case Op::select:
    case Op::cast:
    case Op::broadcast:
    case Op::permute:
      return true;
    case Op::contract: {
      const auto& operands = std::get<ContractAttrs>(node.attrs).operands;
      return std::ranges::all_of(operands, [](const auto& axes) {
        return std::ranges::all_of(axes, [](const AxisIndex& axis) { return axis.terms.size() == 1; });
      });
    }
    default:
      return false;
  }
}

/// Whether two constants hold the same, as far as it costs little to know.
bool is_same_constant(const Tensor& a, const Tensor& b) {
  if (a.dtype() != b.dtype() || a.shape() != b.shape()) return false;
  if (a.storage() == b.storage()) return a.byte_offset() == b.byte_offset() && a.strides() == b.strides();
  constexpr int64_t kSmall = 1 << 12;
  return a.elements() <= kSmall && !is_quantised(a.dtype()) && a.is_contiguous() && b.is_contiguous() &&
         std::memcmp(a.bytes(), b.bytes(), static_cast<size_t>(bytes_of(a.dtype(), a.elements()))) == 0;
}

constexpr int64_t kLeastExtent = 2;  ///< of what varies: an extent of 1 may mean all others

constexpr size_t kNowhere = SIZE_MAX;  ///< the place of an input that the step does not use

}  // namespace

StepReplay::Snapshot::Snapshot(Session& session, const NodeRef& root, std::span<const NodeRef> given,
                               int64_t at)
    : plan(nullptr), position(at), inputs(given.size(), kNowhere) {
  const graph::Trace seen = graph::trace(std::span(&root, 1));
  plan = &session.plan_for(seen);
  trace.inputs = seen.inputs;
  trace.roots = seen.roots;
  for (size_t v = 0; v < seen.values.size(); ++v) {
    for (size_t i = 0; i < given.size(); ++i)
      if (seen.values[v] == given[i].get()) inputs[i] = v;
    Node& copy = nodes.emplace_back(*seen.values[v]);
    copy.inputs.clear();  // nobody else may count as their reader
    trace.values.push_back(&copy);
  }
}

/// What changed from one step to a later one of the same plan, if the position explains it.
std::optional<std::vector<StepReplay::Follower>> StepReplay::followers(const Snapshot& before,
                                                                       const Snapshot& after) {
  const int64_t tokens = after.position - before.position;
  if (before.plan != after.plan || before.inputs != after.inputs || tokens < 1) return std::nullopt;
  std::vector<Follower> found;
  std::vector<bool> varies(after.nodes.size());  // in shape
  const auto differs = [&](size_t v, bool is_extent, size_t at, int64_t a, int64_t b) {
    if (a != b) found.push_back({v, is_extent, at, b, (b - a) / tokens});
    return a == b || ((b - a) % tokens == 0 && (!is_extent || a >= kLeastExtent));
  };
  for (size_t v = 0; v < after.nodes.size(); ++v) {
    const Node &a = before.nodes[v], &b = after.nodes[v];
    if (static_cast<bool>(a.value) != static_cast<bool>(b.value)) return std::nullopt;
    if (b.value) {
      const bool is_input = after.is_input(v) && a.type.shape == b.type.shape;
      if (!is_input && !is_same_constant(a.value, b.value)) return std::nullopt;
      continue;
    }
    const size_t known = found.size();
    const Shape &from = a.type.shape, &to = b.type.shape;
    const auto &ints = a.params.ints, &later = b.params.ints;
    if (from.rank() != to.rank() || ints.size() != later.size() || a.params.floats != b.params.floats)
      return std::nullopt;
    for (int i = 0; i < to.rank(); ++i)
      if (!differs(v, true, static_cast<size_t>(i), from[i], to[i])) return std::nullopt;
    varies[v] = found.size() > known;
    for (size_t i = 0; i < later.size(); ++i)
      if (!differs(v, false, i, ints[i], later[i])) return std::nullopt;
    const auto inputs = after.trace.inputs[v];
    const bool reads_varying =
        std::ranges::any_of(inputs, [&](int i) { return static_cast<bool>(varies[static_cast<size_t>(i)]); });
    if ((found.size() > known || reads_varying) && !follows_extents(b)) return std::nullopt;
  }
  return found;
}

void StepReplay::learn(Session& session, const NodeRef& root, std::span<const NodeRef> inputs,
                       int64_t position) {
  if (root->value) return forget();
  Snapshot now(session, root, inputs, position);
  if (std::ranges::find(now.inputs, kNowhere) != now.inputs.end())
    return forget();  // a step that ignores one
  auto changes = last_ ? followers(*last_, now) : std::nullopt;
  const bool agrees = changes && followers_ == changes;
  followers_ = std::move(changes);
  last_.emplace(std::move(now));
  plan_ = agrees ? last_->plan : nullptr;
  if (!agrees) return;
  least_position_ = 1;  // what the first step finds is empty: not even a cache's length means the same
  for (const Follower& f : *followers_)
    if (f.is_extent && f.slope > 0)
      least_position_ = std::max(least_position_, position - (f.value - kLeastExtent) / f.slope);
  values_ = session.leaf_values(*plan_, last_->trace);
  const auto* records = dynamic_cast<const RecordsSteps*>(&session.backend());
  recorder_ = records != nullptr && session.runs_natively(*plan_) ? records->recorder() : nullptr;
}

void StepReplay::forget() {
  plan_ = nullptr;
  followers_.reset();
  last_.reset();
  values_ = {};
  recorder_.reset();
}

Tensor StepReplay::run(Session& session, int64_t position, std::span<const Tensor> inputs,
                       std::span<const Tensor> after) {
  const int64_t tokens = position - last_->position;
  for (const Follower& f : *followers_) {
    Node& node = last_->nodes[f.node];
    const int64_t value = f.value + f.slope * tokens;
    if (f.is_extent)
      node.type.shape[static_cast<int>(f.at)] = value;
    else
      node.params.ints[f.at] = value;
  }
  for (size_t i = 0; i < inputs.size(); ++i) {
    last_->nodes[last_->inputs[i]].value = inputs[i];
    values_.tensors[last_->inputs[i]] = inputs[i];
  }
  if (recorder_ == nullptr || session.observer() != nullptr)
    return session.run_again(*plan_, last_->trace, values_);
  const Tensor& root = values_.tensors[static_cast<size_t>(last_->trace.roots[0])];
  // Memory that somebody kept is not written again.
  if (root && root.storage().use_count() == 1)
    if (std::optional<Tensor> result = recorder_->repeat(position, inputs, after, root)) {
      check_interrupt();
      return *std::move(result);
    }
  recorder_->begin();
  Tensor result = session.run_again(*plan_, last_->trace, values_);
  recorder_->end(position, inputs, result);
  return result;
}

}  // namespace tl
