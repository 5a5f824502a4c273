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
  options.position = args.position(1);
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

bool broadcasts_to(const Shape& from, const Shape& to) {
  if (from.rank() > to.rank()) return false;
  for (int a = 1; a <= from.rank(); ++a)
    if (from[from.rank() - a] != 1 && from[from.rank() - a] != to[to.rank() - a]) return false;
  return true;
}

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
  if (mask && !broadcasts_to(mask->shape(), {call.n_heads, queries, keys}))
    args.fail(
        3, fmt::format("[attention] the mask must broadcast to [{}, {}, {}] (heads, queries, keys), and it "
                       "is {}",
                       call.n_heads, queries, keys, to_string(mask->shape())));
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

Value causal_mask(Interpreter&, Args& args) {
  const int64_t queries = args.integer(0), keys = args.has(1) ? args.integer(1) : queries;
  if (queries < 0 || keys < 0)
    args.fail(queries < 0 ? 0 : 1, "[causal_mask] the extents must not be negative");
  return Value(causal(queries, keys, args.integer(2)));
}

/// x with zeros above (`lower`) or below a diagonal of its last two axes.
template <bool lower>
Value triangle(Interpreter&, Args& args) {
  const NodeRef x = args.tensor(0);
  const Shape& shape = x->shape();
  const int64_t k = args.integer(1);
  if (shape.rank() < 2)
    args.fail(0, fmt::format("[{}] needs a matrix [.., n, m], and got {}", args.function().name,
                             args[0].describe()));
  if (k <= -(int64_t{1} << 60) || k >= int64_t{1} << 60)
    args.fail(1, fmt::format("[{}] the diagonal {} is out of range", args.function().name, k));
  const int64_t rows = shape[shape.rank() - 2], columns = shape.back();
  // Above the diagonal is what is below the next one, seen from the other side.
  const NodeRef kept =
      lower ? causal(rows, columns, k) : graph::unary(Op::logical_not, causal(rows, columns, k - 1));
  const NodeRef zero = is_float(x->dtype()) ? graph::scalar(0, x->dtype()) : graph::scalar_int(0, x->dtype());
  return Value(graph::make(Op::select, {kept, x, zero}));
}

Value apply_mask(Interpreter&, Args& args) {
  const auto [x, other] = operands(args, 0, 2);
  const NodeRef mask = mask_argument(args, 1);
  require_broadcast(args, x, mask);
  return Value(graph::make(Op::select, {mask, x, other}));
}

Value apply_attention_mask(Interpreter&, Args& args) {
  const NodeRef scores = as_float(args.tensor(0));
  const NodeRef mask = mask_argument(args, 1);
  require_broadcast(args, scores, mask);
  return Value(graph::make(Op::select, {mask, scores, number_like(-INFINITY, scores)}));
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
  const NodeRef a = mask_argument(args, 0), b = mask_argument(args, 1);
  require_broadcast(args, a, b);
  return Value(graph::binary(Op::logical_and, a, b));
}

constexpr auto kRows = std::to_array<NativeRow>({
    {"rope(x: tensor, position: int = 0, base: float = 10000.0, style: string = \"norm\", dims: int = 0, "
     "scale: float = 1.0, factors = void) -> tensor",
     R"(Rotary position embedding: turns pairs of elements by angles that grow with the position.

Row p of x is at position + p. The style says which elements are a pair: "norm" takes neighbours (LLaMA in GGUF
files), "neox" the two halves of a head (GPT-NeoX, Qwen). A model's own values are `m.config.rope_base`,
`rope_style`, `rope_dims`, `rope_scale` and `m.rope_factors`.

shapes: x[positions, heads, head_dim] or [positions, head_dim]; kept. factors[dims / 2]; dims 0 turns the whole head
dtypes: floats stay, integers become float32; angles are computed in float64
formula: angle = (position + p) * scale * base^(-2i / dims) / factors[i]
y[a] = x[a] cos(angle) - x[b] sin(angle)
y[b] = x[a] sin(angle) + x[b] cos(angle)
a, b = 2i, 2i + 1 in style "norm"; i, i + dims / 2 in style "neox"
example:
> rope([[1.0, 0.0]], 1)
[[0.5403, 0.8415]]
source: arXiv:2104.09864
see: attention, positional_encoding)",
     &rope},
    {"attention(q: tensor, k: tensor, v: tensor, mask = void, scale = void, causal: bool = false) -> tensor",
     R"(Scaled dot-product attention of several heads.

Several query heads may share a key head. `causal: true` hides the keys after a query, the last query being at the
last key. The scale is 1 / sqrt(head_dim) unless it is given.

shapes: q[n, heads, d], k[m, kv_heads, d], v[m, kv_heads, e] -> [n, heads, e]; kv_heads divides heads; the mask
is [n, m], or broadcasts to [heads, n, m]
dtypes: floats stay, integers become float32; the mask is bool, true where a key is seen
formula: w[h, i, j.] = softmax(scale * q[i, h, d] k[j, h / group, d])
y[i, h, e]  = w[h, i, j] v[j, h / group, e]
example:
> attention([[[0.0]], [[0.0]]], [[[1.0]], [[1.0]]], [[[1.0]], [[3.0]]], causal: true)
[[[1.0000]],

 [[2.0000]]]
source: arXiv:1706.03762; shared key heads arXiv:2305.13245
see: softmax, rope, causal_mask, kv_cache)",
     &attention},
});

constexpr auto kMasks = std::to_array<NativeRow>({
    {"causal_mask(n: int, keys = void, position: int = 0) -> tensor",
     R"(A mask that lets each query see itself and what came before.

`position` is that of the first query, where keys of earlier steps are in a cache.

shapes: -> [n, keys]; `keys` is n unless it is given
dtypes: bool
formula: y[i, j] = j <= i + position
example:
> causal_mask(2, 3, position: 1)
[[ true,  true, false],
 [ true,  true,  true]]
source: arXiv:1706.03762, section 3.2.3; numpy.tri
see: attention, apply_attention_mask, tril)",
     &causal_mask},
    {"padding_mask(lengths, width = void) -> tensor", R"(A mask of the places that each text of a batch fills.

shapes: lengths[n] -> [n, width]; the width is the greatest length unless it is given
dtypes: lengths are ints; gives bool
formula: y[i, j] = j < lengths[i]
example:
> padding_mask([1, 3])
[[ true, false, false],
 [ true,  true,  true]]
source: torch.nn.MultiheadAttention's key_padding_mask, with true for what is kept
see: combine_masks, pad)",
     &padding_mask},
    {"combine_masks(a: tensor, b: tensor) -> tensor", R"(A mask that is true where both are.

shapes: broadcast together
dtypes: bool, or numbers that count unless they are 0; gives bool
formula: y = a and b
example:
> combine_masks(causal_mask(3), [true, true, false])
[[ true, false, false],
 [ true,  true, false],
 [ true,  true, false]]
source: numpy.logical_and
see: causal_mask, padding_mask)",
     &combine_masks},
    {"apply_mask(x: tensor, mask: tensor, value: float = 0.0) -> tensor",
     R"(x where a mask is true, another value elsewhere.

shapes: broadcast together
dtypes: x any, kept; the mask is bool, or numbers that count unless they are 0
formula: y = x where mask, else value
example:
> apply_mask([1.0, 2.0, 3.0], [1, 0, 1], value: -1)
[1.0000, -1.0000, 3.0000]
source: torch.Tensor.masked_fill with the mask inverted
see: select, apply_attention_mask)",
     &apply_mask},
    {"apply_attention_mask(scores: tensor, mask: tensor) -> tensor",
     R"(Attention scores where a mask is true, -infinity elsewhere, so that softmax gives 0 there.

shapes: broadcast together
dtypes: floats stay, integers become float32; the mask is bool, or numbers that count unless they are 0
formula: y = scores where mask, else -inf
example:
> softmax(apply_attention_mask([1.0, 1.0, 9.0], [1, 1, 0]))
[0.5000, 0.5000, 0.0000]
source: arXiv:1706.03762, section 3.2.3
see: softmax, causal_mask)",
     &apply_attention_mask},
    {"tril(x: tensor, k: int = 0) -> tensor", R"(The lower triangle of a matrix; zeros above it.

shapes: x[…, n, m]; kept. Diagonal k is above the main one where k > 0, below where k < 0
dtypes: any; kept
formula: y[…, i, j] = x[…, i, j] where j <= i + k, else 0
example:
> tril([[1, 2], [3, 4]])
[[1.0000, 0.0000],
 [3.0000, 4.0000]]
source: numpy.tril
see: triu, causal_mask)",
     &triangle<true>},
    {"triu(x: tensor, k: int = 0) -> tensor", R"(The upper triangle of a matrix; zeros below it.

shapes: x[…, n, m]; kept. Diagonal k is above the main one where k > 0, below where k < 0
dtypes: any; kept
formula: y[…, i, j] = x[…, i, j] where j >= i + k, else 0
example:
> triu([[1, 2], [3, 4]])
[[1.0000, 2.0000],
 [0.0000, 4.0000]]
source: numpy.triu
see: tril)",
     &triangle<false>},
});

}  // namespace

void add_attention_functions(lang::Library& library) {
  library.add("Attention and positions", kRows);
  library.add("Masks", kMasks);
}

}  // namespace tl
