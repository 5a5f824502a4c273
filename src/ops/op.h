// THE op table: one row per operation. It feeds the enum, shape and dtype rules, trace names, documentation,
// the conformance suite and every backend's kernel table. docs/adding-an-operation.md walks through adding a
// row.
#pragma once

#include <array>
#include <cstdint>
#include <span>
#include <string>
#include <string_view>

#include "ops/attributes.h"
#include "tensor/tensor.h"

namespace tl {

// Elementwise operations of one input. Row: name, what it computes. Each has a functor in ops/functors.h.
#define TL_UNARY_OPS(X)                                        \
  X(neg, "-x")                                                 \
  X(abs, "|x|")                                                \
  X(sign, "-1, 0 or 1; NaN stays NaN")                         \
  X(exp, "e^x")                                                \
  X(log, "natural logarithm")                                  \
  X(sqrt, "square root")                                       \
  X(rsqrt, "1 / sqrt(x)")                                      \
  X(reciprocal, "1 / x")                                       \
  X(sin, "sine of x radians")                                  \
  X(cos, "cosine of x radians")                                \
  X(tan, "tangent of x radians")                               \
  X(tanh, "hyperbolic tangent")                                \
  X(erf, "error function")                                     \
  X(floor, "largest whole number <= x")                        \
  X(ceil, "smallest whole number >= x")                        \
  X(round, "nearest whole number, halves to even")             \
  X(relu, "max(x, 0); NaN stays NaN")                          \
  X(gelu, "x * (1 + erf(x / sqrt(2))) / 2 (arXiv:1606.08415)") \
  X(silu, "x / (1 + e^-x) (arXiv:1702.03118)")                 \
  X(sigmoid, "1 / (1 + e^-x)")

// Elementwise operations of two inputs with NumPy broadcasting; the result has the promoted dtype.
#define TL_BINARY_OPS(X)                                           \
  X(add, "a + b")                                                  \
  X(sub, "a - b")                                                  \
  X(mul, "a * b")                                                  \
  X(div, "a / b; integers truncate towards zero")                  \
  X(mod, "remainder of the truncated division; has the sign of a") \
  X(pow, "a^b")                                                    \
  X(minimum, "the smaller; NaN if either is NaN")                  \
  X(maximum, "the larger; NaN if either is NaN")

// Comparisons and logic of two inputs with broadcasting; the result is bool.
#define TL_COMPARE_OPS(X)                                           \
  X(equal, "a == b")                                                \
  X(not_equal, "a != b")                                            \
  X(less, "a < b")                                                  \
  X(less_equal, "a <= b")                                           \
  X(greater, "a > b")                                               \
  X(greater_equal, "a >= b")                                        \
  X(logical_and, "a and b; a number counts as true unless it is 0") \
  X(logical_or, "a or b; a number counts as true unless it is 0")

// Reductions over ReduceAttrs. mean of integers is float32; any and all give bool.
#define TL_REDUCE_OPS(X)                 \
  X(sum, "sum")                          \
  X(mean, "arithmetic mean")             \
  X(max, "largest; NaN if any is NaN")   \
  X(min, "smallest; NaN if any is NaN")  \
  X(prod, "product")                     \
  X(any, "true if any element is not 0") \
  X(all, "true if no element is 0")

// Structured operations. Row: name, least inputs, most inputs, documentation (inputs, attributes, params,
// result).
#define TL_STRUCTURED_OPS(X)                                                                                 \
  X(constant, 0, 0, "A tensor that is already there: data, a weight of a model, the state of a cache.")      \
  X(scalar, 0, 0,                                                                                            \
    "A number. DTypeAttrs; its value is params.floats[0], for integers and bool params.ints[0].")            \
  X(iota, 0, 0, "0, 1, 2 … Shape [params.ints[0]], int64.")                                                  \
  X(affine_mask, 0, 0,                                                                                       \
    "bool of shape params.ints[0..rank): true where sum(coefficient * index) + params.ints[rank] >= 0. "     \
    "AffineMaskAttrs.")                                                                                      \
  X(random_uniform, 0, 0,                                                                                    \
    "float32 in [0, 1) of shape params.ints[1..]; params.ints[0] is the seed (ops/random.h).")               \
  X(random_normal, 0, 0, "float32, standard normal, of shape params.ints[1..]; params.ints[0] is the seed.") \
  X(logical_not, 1, 1, "true where x is 0.")                                                                 \
  X(select, 3, 3, "a where the condition is true, else b, with broadcasting. Inputs: condition, a, b.")      \
  X(cast, 1, 1, "Converts to DTypeAttrs; floats round to nearest even, float to integer truncates.")         \
  X(reshape, 1, 1, "The same elements in the shape params.ints.")                                            \
  X(permute, 1, 1, "Axes reordered by PermuteAttrs.")                                                        \
  X(broadcast, 1, 1, "Repeated to the shape params.ints by NumPy's rule.")                                   \
  X(slice, 1, 1, "params.ints holds start, step, length per axis; step may be negative.")                    \
  X(concat, 1, 64, "Joined along AxisAttrs; the other extents agree.")                                       \
  X(pad, 1, 1, "params.ints holds before, after per axis; filled with params.floats[0].")                    \
  X(take, 2, 2, "x read at integer indices along AxisAttrs: result[.., i.., ..] = x[.., index[i..], ..].")   \
  X(gather, 2, 2, "result[i][j] = x[index[i][j]][j] along AxisAttrs (torch.gather); index has x's rank.")    \
  X(scatter, 3, 3,                                                                                           \
    "x with x[index[i][j]][j] = src[i][j] along AxisAttrs (torch.scatter). Inputs: x, index, src.")          \
  X(argmax, 1, 1,                                                                                            \
    "Index of the first largest element along AxisAttrs, int64; the axis goes. NaN counts as largest.")      \
  X(argmin, 1, 1,                                                                                            \
    "Index of the first smallest element along AxisAttrs, int64; the axis goes. NaN counts as smallest.")    \
  X(cumsum, 1, 1, "Running sum along AxisAttrs.")                                                            \
  X(sort, 1, 1, "Stably sorted along SortAttrs; NaN last.")                                                  \
  X(argsort, 1, 1, "The int64 indices that `sort` would take the elements from.")                            \
  X(top_k, 1, 1,                                                                                             \
    "The params.ints[0] largest elements along the last axis, the largest first, equal ones by place: "      \
    "result[.., 0, i] is an element, result[.., 1, i] its place as a number. NaN counts as largest. "        \
    "float32, or float64 where x is.")                                                                       \
  X(draw, 2, 2,                                                                                              \
    "A token drawn from candidates (ops/draw.h), int64: a place, or a number below 0 where the first logit " \
    "is not finite. Inputs: a result of top_k [.., 2, k]; 53 random bits, int64 [..]. params.floats: "       \
    "temperature, top-p, log of min-p.")                                                                     \
  X(contract, 1, 8,                                                                                          \
    "A tensor equation's core, see ContractAttrs. params.ints: size of every label, then for each "          \
    "operand axis in order its offset.")                                                                     \
  X(matmul, 2, 2, "[.., m, k] @ [.., k, n] -> [.., m, n], batch axes broadcast (rank >= 2).")                \
  X(linear, 2, 3, "x[.., in] @ w[out, in]^T + b[out]. w may be quantised.")                                  \
  X(embedding, 2, 2,                                                                                         \
    "Rows table[id] for integer ids; table may be quantised. Inputs: table[n, d], ids[..].")                 \
  X(softmax, 1, 2,                                                                                           \
    "e^(x - max) / sum along AxisAttrs. With a second input (bool, broadcast) elements where it is "         \
    "false take no part and give exactly 0; a row with no element left is an error.")                        \
  X(log_softmax, 1, 1, "log(softmax(x)) along AxisAttrs, computed without overflow.")                        \
  X(rms_norm, 1, 2,                                                                                          \
    "x / sqrt(mean(x^2) + eps) * w over the last axis (arXiv:1910.07467). params.floats[0] is eps.")         \
  X(layer_norm, 1, 3,                                                                                        \
    "(x - mean) / sqrt(var + eps) * gamma + beta over the last axis (arXiv:1607.06450). "                    \
    "params.floats[0] is eps.")                                                                              \
  X(rope, 1, 2,                                                                                              \
    "Rotary position embedding of x[.., position, head, head_dim] (arXiv:2104.09864). RopeAttrs; "           \
    "params.ints: first position, number of rotated dimensions; params.floats: base, frequency scale. "      \
    "Optional "                                                                                              \
    "input: float factors[n_rot/2] that divide the frequencies (Llama 3 scaling).")                          \
  X(swiglu, 2, 2, "silu(gate) * up (arXiv:2002.05202). Found by the planner.")                               \
  X(attention, 3, 4,                                                                                         \
    "softmax(scale * q k^T, masked) v, see AttentionAttrs. params.floats[0] is the scale, "                  \
    "params.ints[0] is pos (causal). Optional input: bool mask[query, key]. Found by the planner.")          \
  X(cache_append, 2, 2,                                                                                      \
    "Writes x[n, ..] at rows params.ints[0].. of the cache state[capacity, ..] and gives the "               \
    "state's rows [0, params.ints[0] + n). Inputs: state (or the previous cache_append), x.")

/// The most elements that top_k gives, and how long an axis may be so that float32 can name every place.
constexpr int64_t kMostTopK = 1024, kLongestTopKAxis = int64_t{1} << 24;

enum class Op : uint8_t {
#define X(name, ...) name,
  TL_UNARY_OPS(X) TL_BINARY_OPS(X) TL_COMPARE_OPS(X)
#undef X
#define X(name, ...) reduce_##name,
      TL_REDUCE_OPS(X)
#undef X
#define X(name, ...) name,
          TL_STRUCTURED_OPS(X)
#undef X
};

constexpr int kOpCount = 0
#define X(...) +1
    TL_UNARY_OPS(X) TL_BINARY_OPS(X) TL_COMPARE_OPS(X) TL_REDUCE_OPS(X) TL_STRUCTURED_OPS(X)
#undef X
    ;

enum class OpKind : uint8_t { unary, binary, compare, reduce, structured };

struct OpInfo {
  Op op;
  OpKind kind;
  std::string_view name;  ///< as traces and messages spell it: "rms_norm", "sum"
  int min_inputs, max_inputs;
  std::string_view doc;
};

const OpInfo& info(Op op);
inline std::string_view name(Op op) { return info(op).name; }

/// An element type and a shape.
struct TensorType {
  DType dtype = DType::f32;
  Shape shape = {};
};

/// The result type of an operation: its dtype and shape rules. Throws Error "[op] …" naming the shapes or
/// dtypes that do not fit and what is expected.
TensorType infer(Op op, std::span<const TensorType> inputs, const Attrs& attrs, const Params& params);

/// The shape two operands broadcast to (NumPy's rule). Throws Error "[op] shapes [..] and [..] …".
Shape broadcast_shape(std::string_view op, const Shape& a, const Shape& b);

/// Whether the op only looks at its input differently (no kernel runs): reshape, permute, broadcast, slice.
/// reshape of a strided tensor is the exception: it copies.
constexpr bool is_view(Op op) {
  return op == Op::reshape || op == Op::permute || op == Op::broadcast || op == Op::slice;
}

/// Whether an input is read as it is stored (quantised, half, or a cache's state) instead of being converted
/// to the kernel's compute type first.
constexpr bool reads_stored(Op op, size_t input) {
  return (op == Op::linear && input == 1) || (op == Op::embedding && input == 0) ||
         (op == Op::attention && (input == 1 || input == 2)) || (op == Op::cache_append && input == 0);
}

}  // namespace tl
