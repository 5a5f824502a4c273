// Attention, positions and masks. A mask is true where an element takes part.
#include <array>
#include <cmath>

#include <fmt/format.h>

#include "library/neural_functions.h"
#include "library/tensor_arguments.h"

namespace tl {

using graph::NodeRef;
using lang::Args;
using lang::Interpreter;
using lang::NativeRow;
using lang::Value;
using lang::ValueKind;

namespace {

Value rope(Interpreter&, Args& args) {
  graph::RopeOptions options;
  options.position = args.integer(1);
  options.base = args.number(2);
  if (!(options.base > 0) || !std::isfinite(options.base))
    args.fail(2, fmt::format("[rope] the base must be a positive number, and it is {}", options.base));
  const std::string& style = args.string(3);
  if (style != "norm" && style != "neox")
    args.fail(3, fmt::format(
                     "[rope] the style is \"norm\" (pairs 2i, 2i+1) or \"neox\" (pairs i, i+d/2), not \"{}\"",
                     style));
  options.style = style == "norm" ? RopeStyle::norm : RopeStyle::neox;
  options.n_rot = args.integer(4);
  options.freq_scale = args.number(5);
  if (!(options.freq_scale > 0) || !std::isfinite(options.freq_scale))
    args.fail(5, fmt::format("[rope] the scale must be a positive number, and it is {}", options.freq_scale));
  if (args.has(6)) options.factors = args.tensor(6);
  return Value(graph::rope(as_float(args.tensor(0)), options));
}

/// One attention call: tensors [position, head, head_dim] and the labels of its equations.
struct Attention {
  enum Label { head, query, key, dim };
  NodeRef q, k, v;
  int64_t n_heads, group;

  Attention(const Args& args, NodeRef q_, NodeRef k_, NodeRef v_)
      : q(std::move(q_)), k(std::move(k_)), v(std::move(v_)) {
    const auto fail = [&](size_t i, const char* what) {
      args.fail(i, fmt::format("[attention] {}; q is {}, k is {} and v is {}", what, to_string(q->shape()),
                               to_string(k->shape()), to_string(v->shape())));
    };
    const std::array shapes{q->shape(), k->shape(), v->shape()};
    for (size_t i = 0; i < 3; ++i)
      if (shapes[i].rank() != 3) fail(i, "needs tensors [position, head, head_dim]");
    if (shapes[0][2] != shapes[1][2]) fail(1, "q and k must have one head_dim");
    if (shapes[1][0] != shapes[2][0] || shapes[1][1] != shapes[2][1])
      fail(2, "k and v must have the same positions and heads");
    n_heads = shapes[0][1];
    if (shapes[1][1] == 0 || n_heads % shapes[1][1] != 0)
      fail(1, "the number of query heads must be a multiple of the number of key heads");
    group = n_heads / shapes[1][1];
  }

  static graph::Operand::Axis axis(int label, int64_t divisor = 1) { return {{{label, 1}}, 0, divisor}; }
  std::vector<int64_t> sizes(int64_t width) const { return {n_heads, q->shape()[0], k->shape()[0], width}; }
  /// scores[h, i, j] = q[i, h, d] * k[j, h / group, d]
  NodeRef scores() const {
    return graph::contract(
        {{q, {axis(query), axis(head), axis(dim)}}, {k, {axis(key), axis(head, group), axis(dim)}}},
        {head, query, key}, sizes(q->shape()[2]));
  }
  /// out[i, h, d] = weights[h, i, j] * v[j, h / group, d]
  NodeRef weighted(const NodeRef& weights) const {
    return graph::contract(
        {{weights, {axis(head), axis(query), axis(key)}}, {v, {axis(key), axis(head, group), axis(dim)}}},
        {query, head, dim}, sizes(v->shape()[2]));
  }
};

/// bool[queries, keys]: true where key <= query + position.
NodeRef causal(int64_t queries, int64_t keys, int64_t position) {
  return graph::make(Op::affine_mask, {}, AffineMaskAttrs{{1, -1}}, {{queries, keys, position}, {}});
}

/// Written as the equations a program would use, so that the planner finds the same fused kernel.
Value attention(Interpreter&, Args& args) {
  const Attention call(args, as_float(args.tensor(0)), as_float(args.tensor(1)), as_float(args.tensor(2)));
  const int64_t queries = call.q->shape()[0], keys = call.k->shape()[0];
  const double scale = args.has(4) ? args.number(4) : 1 / std::sqrt(static_cast<double>(call.q->shape()[2]));
  NodeRef mask = args.has(3) ? mask_argument(args, 3) : nullptr;
  if (args.boolean(5)) {
    if (keys < queries)
      args.fail(
          1,
          fmt::format("[attention] causal attention needs a key for each of the {} queries, and there are {}",
                      queries, keys));
    const NodeRef visible = causal(queries, keys, keys - queries);
    mask = mask ? graph::binary(Op::logical_and, mask, visible) : visible;
  }
  const NodeRef raw = call.scores();
  const NodeRef scores = graph::binary(Op::mul, raw, number_like(scale, raw));
  return Value(call.weighted(graph::softmax(scores, -1, mask)));
}

Value apply_mask(Interpreter&, Args& args) {
  const auto [x, other] = operands(args, 0, 2);
  return Value(graph::make(Op::select, {mask_argument(args, 1), x, other}));
}

Value apply_attention_mask(Interpreter&, Args& args) {
  const NodeRef scores = as_float(args.tensor(0));
  return Value(graph::make(Op::select, {mask_argument(args, 1), scores, number_like(-INFINITY, scores)}));
}

Value padding_mask(Interpreter& interpreter, Args& args) {
  const NodeRef lengths = ids_argument(args, 0);
  if (!is_int(lengths->dtype()) || lengths->shape().rank() != 1)
    args.fail(0,
              fmt::format("[padding_mask] the lengths must be a list of ints, not {}", args[0].describe()));
  const int64_t n = lengths->shape()[0];
  int64_t longest = 0;
  if (args.has(1)) {
    longest = args.integer(1);
    if (longest < 0) args.fail(1, "[padding_mask] the width must not be negative");
  } else if (n > 0) {
    longest = std::max<int64_t>(
        0, plain_value(interpreter, graph::reduce(Op::reduce_max, lengths, {}, false)).integer());
  }
  return Value(graph::binary(Op::less, graph::iota(longest), graph::reshape(lengths, {n, 1})));
}

Value combine_masks(Interpreter&, Args& args) {
  return Value(graph::binary(Op::logical_and, mask_argument(args, 0), mask_argument(args, 1)));
}

constexpr auto kRows = std::to_array<NativeRow>({
    {"rope(x: tensor, position: int = 0, base: float = 10000.0, style: string = \"norm\", dims: int = 0, "
     "scale: float = 1.0, factors = void) -> tensor",
     "Rotary position embedding (arXiv:2104.09864) of x[position, head, head_dim] or x[position, head_dim]: "
     "pair i of row p is turned by (position + p) * scale * base^(-2i/dims) / factors[i]. Pairs are (2i, "
     "2i+1) in style \"norm\", (i, i + dims/2) in style \"neox\"; dims 0 rotates the whole head.\n"
     "Example: rope([[1.0, 0.0]], 1)  // [[0.5403, 0.8415]]",
     &rope},
    {"attention(q: tensor, k: tensor, v: tensor, mask = void, scale = void, causal: bool = false) -> tensor",
     "softmax(scale * q k^T) v for q[queries, heads, head_dim], k and v [keys, kv_heads, head_dim] "
     "(arXiv:1706.03762); query head h reads key head h / (heads / kv_heads) (arXiv:2305.13245). The scale "
     "is 1/sqrt(head_dim) unless given. The mask, [queries, keys], is true where a key is seen; causal: true "
     "hides the keys after a query, the last query being at the last key.\n"
     "Example: attention([[[0.0]], [[0.0]]], [[[1.0]], [[1.0]]], [[[1.0]], [[3.0]]], causal: true)  // "
     "[[[1.0000]], [[2.0000]]]",
     &attention},
    {"apply_mask(x: tensor, mask: tensor, value: float = 0.0) -> tensor",
     "x where the mask is true (not 0), else `value`.\n"
     "Example: apply_mask([1.0, 2.0], [1, 0])  // [1.0000, 0.0000]",
     &apply_mask},
    {"apply_attention_mask(scores: tensor, mask: tensor) -> tensor",
     "The scores where the mask is true (not 0), else -infinity, which softmax turns into 0.\n"
     "Example: softmax(apply_attention_mask([1.0, 1.0, 9.0], [1, 1, 0]))  // [0.5000, 0.5000, 0.0000]",
     &apply_attention_mask},
    {"padding_mask(lengths, width = void) -> tensor",
     "bool[n, width]: true in the first lengths[i] places of row i; the width is the greatest length unless "
     "given.\n"
     "Example: padding_mask([1, 2])  // [[true, false], [true, true]]",
     &padding_mask},
    {"combine_masks(a: tensor, b: tensor) -> tensor",
     "True where both masks are, with broadcasting.\n"
     "Example: combine_masks([1, 1, 0], [1, 0, 0])  // [true, false, false]",
     &combine_masks},
});

}  // namespace

void add_attention_functions(lang::Library& library) { library.add(kRows); }

}  // namespace tl
