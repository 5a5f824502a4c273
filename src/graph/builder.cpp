#include "graph/builder.h"

#include <algorithm>
#include <iterator>
#include <utility>

#include <fmt/format.h>

#include "base/block_pool.h"

namespace tl::graph {

std::string Node::path() const {
  std::string text = to_string(scope);
  if (!text.empty()) text += '/';
  return text + (label.empty() ? "#" + std::string(name(op)) : label);
}

/// A long chain of nodes is taken apart piece by piece: link by link would need a stack as deep as the chain.
Node::~Node() {
  constexpr int kMostNested = 100;
  static thread_local int nested = 0;
  static thread_local std::vector<NodeRef> deferred;
  if (inputs.empty()) return;
  if (nested == kMostNested) {
    std::move(inputs.begin(), inputs.end(), std::back_inserter(deferred));
    return;
  }
  ++nested;
  inputs.clear();
  while (nested == 1 && !deferred.empty()) {
    const NodeRef next = std::move(deferred.back());
    deferred.pop_back();
  }
  --nested;
}

void set_label(const NodeRef& node, std::string_view label) {
  if (!node->label.empty()) return;
  node->label = label;
  ScopeRef here = Scope::current();
  if (here == node->scope) return;
  node->made_in = std::exchange(node->scope, std::move(here));
}

/// Kernels see operands of one type; where an operation promotes, the conversion is a node of its own.
static void convert_operands(Op op, NodeRefs& inputs) {
  const OpKind kind = info(op).kind;
  size_t first = 0, count = inputs.size();
  if (op == Op::select) {
    first = 1;
  } else if (op == Op::scatter) {
    inputs[2] = is_quantised(inputs[2]->dtype()) ? inputs[2] : cast(inputs[2], inputs[0]->dtype());
    return;
  } else if (kind == OpKind::unary || op == Op::reduce_mean) {
    const bool keeps_integers = op == Op::neg || op == Op::abs || op == Op::sign || op == Op::relu ||
                                op == Op::floor || op == Op::ceil || op == Op::round;
    const DType dtype = inputs[0]->dtype();
    if (!keeps_integers && !is_float(dtype) && !is_quantised(dtype)) inputs[0] = cast(inputs[0], DType::f32);
    return;
  } else if (op == Op::logical_and || op == Op::logical_or ||
             !(kind == OpKind::binary || kind == OpKind::compare || op == Op::concat || op == Op::contract ||
               op == Op::matmul)) {
    return;
  }
  for (const auto& input : inputs)
    if (is_quantised(input->dtype())) return;  // the shape rule refuses these with a message
  DType dtype = inputs[first]->dtype();
  for (size_t i = first; i < count; ++i) dtype = promote(dtype, inputs[i]->dtype());
  if (op == Op::contract && dtype == DType::boolean) dtype = DType::i64;
  for (size_t i = first; i < count; ++i) inputs[i] = cast(inputs[i], dtype);
}

namespace {
thread_local uint64_t node_counter = 0;

NodeRef new_node() { return std::allocate_shared<Node>(PoolAllocator<Node>()); }

/// Where a new node comes from.
void place(Node& node) {
  node.number = node_counter++;
  node.scope = Scope::current();
  node.span = current_span();
  node.policy = PolicyScope::current();
}

/// The residual stream goes on in sums with it, and in what only changes its form or scale.
bool continues_residual(Op op, const NodeRefs& inputs) {
  switch (op) {
    case Op::embedding:
      return true;
    case Op::add:
      return inputs[0]->is_residual || inputs[1]->is_residual;
    case Op::mul:
      return (inputs[0]->is_residual && inputs[1]->shape().rank() == 0) ||
             (inputs[1]->is_residual && inputs[0]->shape().rank() == 0);
    default:
      return (is_view(op) || op == Op::cast || op == Op::concat) && inputs[0]->is_residual;
  }
}
}  // namespace

uint64_t next_node_number() { return node_counter; }

NodeRef make(Op op, NodeRefs inputs, Attrs attrs, Params params) {
  convert_operands(op, inputs);
  static thread_local std::vector<TensorType> types;  // memory that stays
  types.clear();
  for (const auto& input : inputs) types.push_back(input->type);
  NodeRef node = new_node();
  node->type = infer(op, types, attrs, params);
  node->op = op;
  node->is_residual = continues_residual(op, inputs);
  node->inputs = std::move(inputs);
  node->attrs = std::move(attrs);
  node->params = std::move(params);
  place(*node);
  return node;
}

NodeRef make_like(const Node& pattern, NodeRefs inputs) {
  NodeRef node = new_node();
  node->type = pattern.type;
  node->op = pattern.op;
  node->is_residual = continues_residual(pattern.op, inputs);
  node->inputs = std::move(inputs);
  node->attrs = pattern.attrs;
  node->params = pattern.params;
  node->label = pattern.label;
  place(*node);
  return node;
}

NodeRef constant(Tensor value, bool is_weight) {
  NodeRef node = new_node();
  node->type = {value.dtype(), value.shape()};
  node->value = std::move(value);
  node->is_weight = is_weight;
  node->number = node_counter++;
  node->scope = Scope::current();
  return node;
}

NodeRef scalar(double value, DType dtype) { return make(Op::scalar, {}, DTypeAttrs{dtype}, {{}, {value}}); }

NodeRef scalar_int(int64_t value, DType dtype) {
  return make(Op::scalar, {}, DTypeAttrs{dtype}, {{value}, {}});
}

NodeRef iota(int64_t n) { return make(Op::iota, {}, {}, {{n}, {}}); }

NodeRef full(const Shape& shape, double value, DType dtype) {
  return broadcast_to(is_float(dtype) ? scalar(value, dtype) : scalar_int(static_cast<int64_t>(value), dtype),
                      shape);
}

NodeRef cast(NodeRef x, DType dtype) {
  if (x->dtype() == dtype) return x;
  if (x->op == Op::scalar && is_float(dtype)) {  // still a number, so that patterns see one
    const auto& p = x->params;
    return scalar(is_float(x->dtype()) ? p.floats[0] : static_cast<double>(p.ints[0]), dtype);
  }
  return make(Op::cast, {std::move(x)}, DTypeAttrs{dtype});
}

int normalise_axis(std::string_view op, int64_t axis, int rank) {
  const int64_t a = axis < 0 ? axis + rank : axis;
  if (a < 0 || a >= rank) {
    throw Error(rank == 0 ? fmt::format("[{}] axis {} is out of range: the tensor is a scalar", op, axis)
                          : fmt::format("[{}] axis {} is out of range: rank {} has axes {} to {}", op, axis,
                                        rank, -rank, rank - 1));
  }
  return static_cast<int>(a);
}

static Params::Ints extents(const Shape& shape) { return Params::Ints(shape.begin(), shape.end()); }

NodeRef reshape(NodeRef x, const Shape& shape) {
  Shape to = shape;
  int open = -1;
  int64_t known = 1;
  for (int i = 0; i < to.rank(); ++i) {
    if (to[i] != -1) {
      known *= to[i];
    } else if (open >= 0) {
      throw Error(fmt::format("[reshape] only one extent may be -1, and {} has two", to_string(shape)));
    } else {
      open = i;
    }
  }
  if (open >= 0) {
    const int64_t n = x->shape().elements();
    if (known <= 0 || n % known != 0)
      throw Error(fmt::format("[reshape] {} has {} elements and cannot become {}", to_string(x->shape()), n,
                              to_string(shape)));
    to[open] = n / known;
  }
  return make(Op::reshape, {std::move(x)}, {}, {extents(to), {}});
}

NodeRef permute(NodeRef x, const std::vector<int>& axes) {
  PermuteAttrs attrs;
  for (const int a : axes) attrs.order.push_back(normalise_axis("permute", a, x->shape().rank()));
  if (std::is_sorted(attrs.order.begin(), attrs.order.end()) &&
      static_cast<int>(axes.size()) == x->shape().rank() &&
      std::adjacent_find(attrs.order.begin(), attrs.order.end()) == attrs.order.end())
    return x;
  return make(Op::permute, {std::move(x)}, std::move(attrs));
}

NodeRef broadcast_to(NodeRef x, const Shape& shape) {
  if (x->shape() == shape) return x;
  return make(Op::broadcast, {std::move(x)}, {}, {extents(shape), {}});
}

/// start, step, length for every axis, all of each.
static Params whole(const Shape& shape) {
  Params params;
  for (const int64_t d : shape) params.ints.insert(params.ints.end(), {0, 1, d});
  return params;
}

NodeRef slice(NodeRef x, int axis, std::optional<int64_t> start, std::optional<int64_t> stop, int64_t step) {
  if (step == 0) throw Error("[slice] the step is 0");
  axis = normalise_axis("slice", axis, x->shape().rank());
  const int64_t n = x->shape()[axis];
  const auto clip = [&](std::optional<int64_t> at, int64_t otherwise) {
    if (!at) return otherwise;
    const int64_t from_start = *at < 0 ? *at + n : *at;
    return step > 0 ? std::clamp<int64_t>(from_start, 0, n) : std::clamp<int64_t>(from_start, -1, n - 1);
  };
  const int64_t first = clip(start, step > 0 ? 0 : n - 1), end = clip(stop, step > 0 ? n : -1);
  const int64_t span = step > 0 ? end - first : first - end, stride = step > 0 ? step : -step;
  const int64_t length = span > 0 ? (span + stride - 1) / stride : 0;
  if (first == 0 && step == 1 && length == n) return x;
  // Rows of a row-wise operation are the operation on those rows: the last row of the logits costs one row.
  // Rows do not depend on one another's number (the numbers contract), so the bits are the same.
  const bool row_wise = x->op == Op::linear || x->op == Op::rms_norm || x->op == Op::layer_norm;
  if (row_wise && !x->value && axis < x->shape().rank() - 1) {
    NodeRefs inputs = x->inputs;
    inputs[0] = slice(inputs[0], axis, start, stop, step);
    NodeRef rows = make(x->op, std::move(inputs), x->attrs, x->params);
    rows->label = x->label;
    return rows;
  }
  Params params = whole(x->shape());
  const auto at = params.ints.begin() + 3 * axis;
  at[0] = length > 0 ? first : 0, at[1] = step, at[2] = length;
  return make(Op::slice, {std::move(x)}, {}, std::move(params));
}

NodeRef select_index(NodeRef x, int axis, int64_t index) {
  axis = normalise_axis("index", axis, x->shape().rank());
  const int64_t n = x->shape()[axis], at = index < 0 ? index + n : index;
  if (at < 0 || at >= n)
    throw Error(
        fmt::format("index {} is out of range for axis {} of shape {}", index, axis, to_string(x->shape())));
  Shape without;
  for (int i = 0; i < x->shape().rank(); ++i)
    if (i != axis) without.push_back(x->shape()[i]);
  return reshape(slice(std::move(x), axis, at, at + 1), without);
}

NodeRef concat(NodeRefs parts, int axis) {
  if (parts.empty()) throw Error("[concat] needs at least one tensor");
  axis = normalise_axis("concat", axis, parts[0]->shape().rank());
  return make(Op::concat, std::move(parts), AxisAttrs{axis});
}

NodeRef reduce(Op op, NodeRef x, const std::vector<int>& axes, bool keepdim) {
  ReduceAttrs attrs{0, keepdim};
  const int rank = x->shape().rank();
  for (const int a : axes) attrs.axes |= 1u << normalise_axis(name(op), a, rank);
  if (axes.empty()) attrs.axes = (1u << rank) - 1;
  return make(op, {std::move(x)}, attrs);
}

NodeRef along(Op op, NodeRef x, int axis) {
  axis = normalise_axis(name(op), axis, x->shape().rank());
  return make(op, {std::move(x)}, AxisAttrs{axis});
}

NodeRef matmul(NodeRef a, NodeRef b) {
  const int ra = a->shape().rank(), rb = b->shape().rank();
  if (ra == 0 || rb == 0) throw Error("[matmul] needs tensors, and one side is a scalar; use * to scale");
  if (ra == 1) a = reshape(a, {1, a->shape()[0]});
  if (rb == 1) b = reshape(b, {b->shape()[0], 1});
  NodeRef product = make(Op::matmul, {std::move(a), std::move(b)});
  if (ra > 1 && rb > 1) return product;
  Shape squeezed;
  const int rank = product->shape().rank();
  for (int i = 0; i < rank; ++i)
    if (!(ra == 1 && i == rank - 2) && !(rb == 1 && i == rank - 1)) squeezed.push_back(product->shape()[i]);
  return reshape(product, squeezed);
}

NodeRef linear(NodeRef x, NodeRef w, NodeRef b) {
  if (b) return make(Op::linear, {std::move(x), std::move(w), std::move(b)});
  return make(Op::linear, {std::move(x), std::move(w)});
}

NodeRef softmax(NodeRef x, int axis, NodeRef mask) {
  axis = normalise_axis("softmax", axis, x->shape().rank());
  if (mask) return make(Op::softmax, {std::move(x), std::move(mask)}, AxisAttrs{axis});
  return make(Op::softmax, {std::move(x)}, AxisAttrs{axis});
}

NodeRef rms_norm(NodeRef x, NodeRef w, double eps) {
  if (!w) return make(Op::rms_norm, {std::move(x)}, {}, {{}, {eps}});
  return make(Op::rms_norm, {std::move(x), std::move(w)}, {}, {{}, {eps}});
}

NodeRef rope(NodeRef x, const RopeOptions& o) {
  const Shape& shape = x->shape();
  const int64_t n_rot = o.n_rot != 0 ? o.n_rot : shape.rank() > 0 ? shape.back() : 0;
  Params params{{o.position, n_rot}, {o.base, o.freq_scale}};
  if (o.factors) return make(Op::rope, {std::move(x), o.factors}, RopeAttrs{o.style}, std::move(params));
  return make(Op::rope, {std::move(x)}, RopeAttrs{o.style}, std::move(params));
}

NodeRef top_k(NodeRef x, int64_t k) { return make(Op::top_k, {std::move(x)}, {}, {{k}, {}}); }

NodeRef draw(NodeRef best, NodeRef bits, const DrawOptions& options) {
  return make(Op::draw, {std::move(best), std::move(bits)}, {},
              {{}, {options.temp, options.top_p, options.min_log_p}});
}

NodeRef cache_append(NodeRef state, NodeRef x, int64_t start) {
  return make(Op::cache_append, {std::move(state), std::move(x)}, {}, {{start}, {}});
}

}  // namespace tl::graph
