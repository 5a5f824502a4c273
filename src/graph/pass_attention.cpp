// Finds scaled dot-product attention in a program's equations:
//     scores  = contract(q, k) over head_dim          [/ or * a number]
//     weights = softmax(scores [, mask]) over the keys
//     out     = contract(weights, v) over the keys
// with any order of axes and factors, grouped heads (h / group on k and v), and the mask j <= i + pos. One
// streaming kernel replaces the three, so that scores and weights never reach memory.
#include <algorithm>
#include <optional>

#include "graph/plan.h"

namespace tl::graph {

namespace {

constexpr int kNone = -1;

/// Where one operand of a contraction has a label: the axis, and the divisor there.
struct Place {
  int axis = kNone;
  int64_t divisor = 1;
};

/// The axis of operand `o` that reads `label`, if every axis of the operand covers one label.
Place find(const Node& contract, size_t o, int label) {
  const auto& axes = std::get<ContractAttrs>(contract.attrs).operands[o];
  for (size_t a = 0; a < axes.size(); ++a)
    if (axes[a].terms[0].label == label) return {static_cast<int>(a), axes[a].divisor};
  return {};
}

/// A product of two rank-3 tensors that leaves three labels and sums one, each axis read once and whole.
bool is_candidate(const Node& node) {
  const auto& attrs = std::get<ContractAttrs>(node.attrs);
  if (attrs.operands.size() != 2 || attrs.reduction != Reduction::sum || attrs.n_result_labels != 3 ||
      attrs.n_labels != 4)
    return false;
  for (size_t o = 0; o < 2; ++o) {
    if (attrs.operands[o].size() != 3) return false;
    for (size_t a = 0; a < 3; ++a)
      if (!covers_axis(node, o, a)) return false;
  }
  return true;
}

/// Which label of the scores is the query's position, the head and the key's position.
struct Roles {
  int query, head, key;
};

struct ScoreMatch {
  Roles roles;
  size_t q, k;  ///< operand numbers
  int64_t group;
  std::vector<int> q_order, k_order;
};

std::optional<ScoreMatch> match_scores(const Node& node, int key) {
  if (!is_candidate(node)) return std::nullopt;
  for (const size_t k : {size_t{0}, size_t{1}}) {
    const size_t q = 1 - k;
    if (find(node, k, key).axis == kNone || find(node, q, key).axis != kNone) continue;
    for (int head = 0; head < 3; ++head) {
      const int query = 3 - key - head;
      if (head == key || find(node, k, query).axis != kNone) continue;
      const Place qi = find(node, q, query), qh = find(node, q, head), qd = find(node, q, 3);
      const Place kj = find(node, k, key), kh = find(node, k, head), kd = find(node, k, 3);
      const bool found =
          qi.axis != kNone && qh.axis != kNone && qd.axis != kNone && kh.axis != kNone && kd.axis != kNone;
      const bool whole =
          qi.divisor == 1 && qh.divisor == 1 && qd.divisor == 1 && kj.divisor == 1 && kd.divisor == 1;
      if (found && whole)
        return ScoreMatch{{query, head, key},         q, k, kh.divisor, {qi.axis, qh.axis, qd.axis},
                          {kj.axis, kh.axis, kd.axis}};
    }
  }
  return std::nullopt;
}

struct ValueMatch {
  size_t v;
  std::vector<int> v_order, out_order;
};

/// The second product: operand `w` holds the weights (axes as the scores' labels), the other is v.
std::optional<ValueMatch> match_values(const Node& node, size_t w, const ScoreMatch& scores) {
  if (!is_candidate(node)) return std::nullopt;
  const auto& attrs = std::get<ContractAttrs>(node.attrs);
  const auto label_of = [&](int axis) { return attrs.operands[w][static_cast<size_t>(axis)].terms[0].label; };
  for (const auto& axis : attrs.operands[w])
    if (axis.divisor != 1) return std::nullopt;
  const int query = label_of(scores.roles.query), head = label_of(scores.roles.head),
            key = label_of(scores.roles.key);
  if (key != 3) return std::nullopt;
  const size_t v = 1 - w;
  const int dim = 3 - query - head;  // the result label that is left
  const Place vj = find(node, v, key), vh = find(node, v, head), vd = find(node, v, dim);
  if (vj.axis == kNone || vh.axis == kNone || vd.axis == kNone || find(node, v, query).axis != kNone)
    return std::nullopt;
  if (vj.divisor != 1 || vd.divisor != 1 || vh.divisor != scores.group) return std::nullopt;
  return ValueMatch{v, {vj.axis, vh.axis, vd.axis}, {query, head, dim}};
}

/// scale from a number the scores are divided or multiplied by; pos from the mask's offset.
Params bind_attention(std::span<const Node* const> members) {
  Params params{{0}, {1.0}};
  bool divides = false;
  for (const Node* node : members) {
    divides = divides || node->op == Op::div;
    if (node->op == Op::scalar) params.floats[0] = node->params.floats[0];
    if (node->op == Op::affine_mask) params.ints[0] = node->params.ints.back();
  }
  if (divides) params.floats[0] = 1.0 / params.floats[0];
  return params;
}

class Matcher {
 public:
  Matcher(const Plan& plan, const Trace& trace) : trace_(trace), uses_(plan, trace) {}

  /// The attention step that ends in `product`, if it is one.
  std::optional<Step> match(const Step& product) const {
    if (product.op != Op::contract || product.inputs.size() != 2) return std::nullopt;
    for (const size_t w : {size_t{0}, size_t{1}}) {
      const Step* soft = uses_.producer(product.inputs[w]);
      if (soft == nullptr || soft->op != Op::softmax || uses_.only_reader(soft->output) != &product) continue;
      if (auto step = match(product, w, *soft)) return step;
    }
    return std::nullopt;
  }

 private:
  const Node& node(int value) const { return *trace_.values[static_cast<size_t>(value)]; }

  std::optional<Step> match(const Step& product, size_t w, const Step& soft) const {
    std::vector<int> members;
    const Step* scores = unscaled(soft.inputs[0], soft, members);
    if (scores == nullptr) return std::nullopt;
    const int key = std::get<AxisAttrs>(soft.attrs).axis;
    const auto first = match_scores(node(scores->output), key);
    if (!first) return std::nullopt;
    const auto second = match_values(node(product.output), w, *first);
    if (!second) return std::nullopt;
    AttentionAttrs attrs{first->q_order,    first->k_order, second->v_order,
                         second->out_order, first->group,   false};
    std::vector<int> inputs{scores->inputs[first->q], kept(scores->inputs[first->k]),
                            kept(product.inputs[second->v])};
    if (soft.inputs.size() == 2) {
      const int mask = soft.inputs[1];
      if (is_causal(mask, first->roles)) {
        attrs.causal = true;
        members.push_back(mask);
      } else if (node(mask).shape().rank() == 2 && first->roles.query == 1 && first->roles.key == 2) {
        inputs.push_back(mask);
      } else {
        return std::nullopt;
      }
    }
    members.insert(members.end(), {soft.output, product.output});
    return Step{Op::attention,    std::move(inputs),  product.output,
                std::move(attrs), std::move(members), bind_attention};
  }

  /// Keys and values as they are kept: the kernel reads narrower floats without a copy in float32.
  int kept(int value) const {
    const Step* cast = uses_.producer(value);
    if (cast == nullptr || cast->op != Op::cast || node(value).dtype() != DType::f32) return value;
    const DType from = node(cast->inputs[0]).dtype();
    return from == DType::f16 || from == DType::bf16 ? cast->inputs[0] : value;
  }

  /// The contraction behind `value`, through a division or multiplication by a number.
  const Step* unscaled(int value, const Step& reader, std::vector<int>& members) const {
    const Step* step = uses_.producer(value);
    if (step == nullptr || uses_.only_reader(value) != &reader) return nullptr;
    if (step->op == Op::contract) return members.push_back(value), step;
    if (step->op != Op::div && step->op != Op::mul) return nullptr;
    for (const size_t number : {size_t{1}, size_t{0}}) {
      if (step->op == Op::div && number == 0) break;
      const Node& factor = node(step->inputs[number]);
      const int rest = step->inputs[1 - number];
      const Step* contraction = uses_.producer(rest);
      if (factor.op != Op::scalar || !is_float(factor.dtype()) || contraction == nullptr) continue;
      if (contraction->op != Op::contract || uses_.only_reader(rest) != step) continue;
      members.insert(members.end(), {rest, step->inputs[number], value});
      return contraction;
    }
    return nullptr;
  }

  /// Whether the mask is query - key + pos >= 0.
  bool is_causal(int mask, const Roles& roles) const {
    const Node& n = node(mask);
    if (n.op != Op::affine_mask || n.value) return false;
    const auto& c = std::get<AffineMaskAttrs>(n.attrs).coefficients;
    const int shift = 3 - static_cast<int>(c.size());  // broadcasting aligns at the right
    const auto at = [&](int label) { return label < shift ? 0 : c[static_cast<size_t>(label - shift)]; };
    return shift >= 0 && at(roles.query) == 1 && at(roles.key) == -1 && at(roles.head) == 0;
  }

  const Trace& trace_;
  Uses uses_;
};

/// Steps whose value nobody reads any more.
void drop_unread(Plan& plan, const Trace& trace) {
  std::vector<bool> read(trace.values.size());
  for (const int root : trace.roots) read[static_cast<size_t>(root)] = true;
  std::vector<Step> kept;
  for (auto step = plan.steps.rbegin(); step != plan.steps.rend(); ++step) {
    if (!read[static_cast<size_t>(step->output)] && step->op != Op::cache_append) continue;
    for (const int v : step->inputs) read[static_cast<size_t>(v)] = true;
    kept.push_back(std::move(*step));
  }
  std::reverse(kept.begin(), kept.end());
  plan.steps = std::move(kept);
}

}  // namespace

void fuse_attention(Plan& plan, const Trace& trace) {
  std::vector<std::pair<size_t, Step>> found;
  const Matcher matcher(plan, trace);
  for (size_t s = 0; s < plan.steps.size(); ++s)
    if (auto step = matcher.match(plan.steps[s])) found.emplace_back(s, std::move(*step));
  for (auto& [s, step] : found) plan.steps[s] = std::move(step);
  if (!found.empty()) drop_unread(plan, trace);
}

}  // namespace tl::graph
