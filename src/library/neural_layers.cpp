// Layers: products with weights, embeddings, softmax and normalisation, gates, dropout.
#include <array>
#include <cmath>

#include <fmt/format.h>

#include "library/library.h"
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

Value matmul(Interpreter&, Args& args) { return Value(graph::matmul(args.tensor(0), args.tensor(1))); }

Value linear(Interpreter&, Args& args) {
  return Value(graph::linear(args.tensor(0), args.tensor(1), args.has(2) ? args.tensor(2) : nullptr));
}

Value einsum(Interpreter&, Args& args) {
  std::vector<NodeRef> tensors;
  for (size_t i = 1; i < args.size(); ++i) tensors.push_back(args.tensor(i));
  return Value(graph::einsum(args.string(0), tensors));
}

Value embedding(Interpreter&, Args& args) {
  return Value(graph::make(Op::embedding, {args.tensor(0), ids_argument(args, 1)}));
}

int axis_argument(const Args& args, size_t i, const NodeRef& x) {
  return graph::normalise_axis(args.function().name, args.integer(i), x->shape().rank());
}

Value softmax(Interpreter&, Args& args) {
  const NodeRef x = as_float(args.tensor(0));
  return Value(graph::softmax(x, axis_argument(args, 1, x), args.has(2) ? mask_argument(args, 2) : nullptr));
}

Value log_softmax(Interpreter&, Args& args) {
  const NodeRef x = as_float(args.tensor(0));
  return Value(graph::along(Op::log_softmax, x, axis_argument(args, 1, x)));
}

double eps_argument(const Args& args, size_t i) {
  const double eps = args.number(i);
  if (!(eps >= 0) || !std::isfinite(eps))
    args.fail(i, fmt::format("[{}] eps must be a number from 0 on, and it is {}", args.function().name, eps));
  return eps;
}

Value rms_norm(Interpreter&, Args& args) {
  const NodeRef x = as_float(args.tensor(0));
  return Value(
      graph::rms_norm(x, args.has(1) ? last_axis_argument(args, 1, x) : nullptr, eps_argument(args, 2)));
}

Value layer_norm(Interpreter&, Args& args) {
  graph::NodeRefs inputs{as_float(args.tensor(0))};
  const Shape& shape = inputs[0]->shape();
  if (args.has(1)) {
    inputs.push_back(last_axis_argument(args, 1, inputs[0]));
  } else if (args.has(2)) {
    inputs.push_back(graph::full({shape.rank() > 0 ? shape.back() : 1}, 1));
  }
  if (args.has(2)) inputs.push_back(last_axis_argument(args, 2, inputs[0]));
  return Value(graph::make(Op::layer_norm, std::move(inputs), {}, {{}, {eps_argument(args, 3)}}));
}

/// A number per channel, as a tensor that broadcasts against x[batch, channels, …].
NodeRef per_channel(const Args& args, size_t i, const Shape& x) {
  const NodeRef v = args.tensor(i);
  if (v->shape() != Shape{x[1]})
    args.fail(i, fmt::format("[batch_norm] x is {}, so argument '{}' must be [{}], and it is {}",
                             to_string(x), args.function().parameters[i].name, x[1], to_string(v->shape())));
  Shape shape{x[1]};
  for (int a = 2; a < x.rank(); ++a) shape.push_back(1);
  return graph::reshape(v, shape);
}

Value batch_norm(Interpreter&, Args& args) {
  const NodeRef x = as_float(args.tensor(0));
  const Shape& shape = x->shape();
  if (shape.rank() < 2)
    args.fail(0, fmt::format("[batch_norm] needs x[batch, channels, ..], and x is {}", to_string(shape)));
  if (args.has(3) != args.has(4))
    args.fail(args.has(3) ? 3 : 4, "[batch_norm] takes the mean and the variance, or neither");
  std::vector<int> axes{0};
  for (int a = 2; a < shape.rank(); ++a) axes.push_back(a);
  const NodeRef mean =
      args.has(3) ? per_channel(args, 3, shape) : graph::reduce(Op::reduce_mean, x, axes, true);
  const NodeRef centred = graph::binary(Op::sub, x, mean);
  const NodeRef var =
      args.has(4) ? per_channel(args, 4, shape)
                  : graph::reduce(Op::reduce_mean, graph::binary(Op::mul, centred, centred), axes, true);
  const NodeRef scale =
      graph::unary(Op::rsqrt, graph::binary(Op::add, var, number_like(eps_argument(args, 5), var)));
  NodeRef y = graph::binary(Op::mul, centred, scale);
  if (args.has(1)) y = graph::binary(Op::mul, y, per_channel(args, 1, shape));
  if (args.has(2)) y = graph::binary(Op::add, y, per_channel(args, 2, shape));
  return Value(y);
}

Value swiglu(Interpreter&, Args& args) {
  const NodeRef gate = args.tensor(0), up = args.tensor(1);
  require_broadcast(args, gate, up);
  return Value(graph::binary(Op::mul, graph::unary(Op::silu, gate), up));
}

Value dropout(Interpreter&, Args& args) {
  const NodeRef x = args.tensor(0);
  const double rate = args.number(1);
  if (!(rate >= 0 && rate < 1))
    args.fail(1, fmt::format("[dropout] the rate must be from 0 to below 1, and it is {}", rate));
  if (!args.boolean(3) || rate == 0) return Value(x);
  if (!args.has(2))
    args.fail(0, "[dropout] needs a seed to train with: dropout(x, 0.1, seed: 1, training: true)");
  Params params{{args.integer(2)}, {}};
  params.ints.insert(params.ints.end(), x->shape().begin(), x->shape().end());
  const NodeRef draws = graph::make(Op::random_uniform, {}, {}, std::move(params));
  const NodeRef kept = graph::binary(Op::greater_equal, draws, graph::scalar(rate));
  const NodeRef scaled = graph::binary(Op::div, as_float(x), number_like(1 - rate, x));
  return Value(graph::make(Op::select, {kept, scaled, number_like(0, x)}));
}

constexpr auto kRows = std::to_array<NativeRow>({
    {"matmul(a: tensor, b: tensor) -> tensor", R"(The matrix product; the same as a @ b.

shapes: a[…, m, k], b[…, k, n] -> […, m, n], leading axes broadcast; a[k] is a row, b[k] a column, and the axis
goes again
dtypes: floats, accumulated in float32 at least; where they differ, the wider
formula: y[…, i, j] = a[…, i, k] b[…, k, j]
example:
> matmul([[1, 2], [3, 4]], [1, 1])
[3.0000, 7.0000]
source: numpy.matmul
see: linear, einsum)",
     &matmul},
    {"linear(x: tensor, w: tensor, b|bias = void) -> tensor",
     R"(A layer of weights: x times w transposed, plus a bias.

With `embedding`, the only function that reads quantised weights as they are; `w as float32` decodes them.

shapes: x[…, in], w[out, in], b[out] -> […, out]
dtypes: x float; w float or quantised, in which case x is rounded to 8 bits per block of 32 (--activations)
formula: y[…, o] = w[o, i] x[…, i] + b[o]
example:
> linear([1, 2], [[1, 0], [0, 1], [1, 1]])
[1.0000, 2.0000, 3.0000]
source: torch.nn.functional.linear
see: matmul, embedding, load_model)",
     &linear},
    {"einsum(equation: string, tensors...) -> tensor", R"(A tensor equation as a string.

An index that the right side of the arrow leaves out is summed. Without an arrow the result has the indices that
stand once, in alphabetic order. "..." stands for batch axes. Equations in the language itself say the same, and
make the same plan.

shapes: "ij,jk->ik" takes a[i, j] and b[j, k]; an index has one extent everywhere
dtypes: floats; where they differ, the wider
formula: "ij,j->i": y[i] = a[i, j] b[j]
example:
> einsum("ij,j->i", [[1, 2], [3, 4]], [1, 1])
[3.0000, 7.0000]
> einsum("ii", [[1, 2], [3, 4]])
5
source: numpy.einsum
see: matmul)",
     &einsum},
    {"embedding(table: tensor, ids) -> tensor", R"(Rows of a table by their numbers.

shapes: table[n, width], ids[…] -> […, width]; an id below 0 or from n on is an error
dtypes: ids are ints; a quantised table gives float32, another keeps its type
formula: y[…, d] = table[ids[…], d]
example:
> embedding([[1, 2], [3, 4]], [1, 0])
[[3.0000, 4.0000],
 [1.0000, 2.0000]]
source: torch.nn.functional.embedding
see: gather, one_hot, positional_encoding)",
     &embedding},
    {"softmax(x: tensor, axis|dim: int = -1, mask = void) -> tensor",
     R"(Exponentials scaled so that they add up to 1 along an axis.

Where the mask is false, elements take no part and give exactly 0. A line with no element left is an error, and
NaN stays NaN.

shapes: kept; the mask broadcasts with x
dtypes: floats stay, integers become float32; the mask is bool, or numbers that count unless they are 0
formula: y[i] = e^x[i] / sum(e^x[j])
example:
> softmax([0.0, 1.0])
[0.2689, 0.7311]
> softmax([0.0, 0.0, 5.0], mask: [true, true, false])
[0.5000, 0.5000, 0.0000]
source: torch.softmax; computed as e^(x - max), which cannot overflow
see: log_softmax, apply_attention_mask, attention)",
     &softmax},
    {"log_softmax(x: tensor, axis|dim: int = -1) -> tensor",
     R"(The logarithm of softmax, exact also where softmax itself would be 0.

shapes: kept
dtypes: floats stay, integers become float32
formula: y[i] = x[i] - log(sum(e^x[j]))
example:
> log_softmax([0.0, 1000.0])
[-1000.0000, 0.0000]
source: torch.log_softmax
see: softmax, cross_entropy)",
     &log_softmax},
    {"rms_norm(x: tensor, w|weight = void, eps: float = 1e-5) -> tensor",
     R"(Scales the last axis to a root mean square of 1, then by weights.

A model's own eps is `m.config.rms_eps`.

shapes: x[…, d], w[d] -> […, d]
dtypes: floats stay, integers become float32; computed in float32 at least
formula: y[…, i] = w[i] x[…, i] / sqrt(mean(x[…, j]^2) + eps)
example:
> rms_norm([3.0, 4.0], [1.0, 2.0])
[0.8485, 2.2627]
source: arXiv:1910.07467
see: layer_norm, norm)",
     &rms_norm},
    {"layer_norm|lnorm(x: tensor, gamma|weight = void, beta|bias = void, eps: float = 1e-5) -> tensor",
     R"(Shifts and scales the last axis to mean 0 and variance 1, then by weights.

shapes: x[…, d], gamma[d], beta[d] -> […, d]
dtypes: floats stay, integers become float32; computed in float32 at least
formula: y[…, i] = gamma[i] (x[…, i] - mean) / sqrt(var + eps) + beta[i]
example:
> layer_norm([1.0, 2.0, 3.0])
[-1.2247, 0.0000, 1.2247]
source: arXiv:1607.06450; `lnorm` in the paper on Tensor Logic, arXiv:2510.12269
see: rms_norm, batch_norm, var)",
     &layer_norm},
    {"batch_norm(x: tensor, gamma|weight = void, beta|bias = void, mean = void, var = void, eps: float = "
     "1e-5) -> tensor",
     R"(Shifts and scales every channel to mean 0 and variance 1, then by weights.

Mean and variance are those given, as in inference, or the batch's own.

shapes: x[batch, channels, …]; gamma, beta, mean and var [channels]
dtypes: floats stay, integers become float32
formula: y[n, c, …] = gamma[c] (x[n, c, …] - mean[c]) / sqrt(var[c] + eps) + beta[c]
example:
> batch_norm([[1.0, 10.0], [3.0, 30.0]])
[[-1.0000, -1.0000],
 [ 1.0000,  1.0000]]
source: arXiv:1502.03167; torch.nn.functional.batch_norm
see: layer_norm)",
     &batch_norm},
    {"swiglu(gate: tensor, up: tensor) -> tensor",
     R"(The gate of a feed-forward layer in LLaMA and its relatives.

shapes: broadcast together
dtypes: floats; where they differ, the wider
formula: y = silu(gate) * up
example:
> swiglu([1.0, -1.0], [2.0, 2.0])
[1.4621, -0.5379]
source: arXiv:2002.05202
see: silu, linear)",
     &swiglu},
    {"dropout(x: tensor, rate|p: float = 0.0, seed = void, training: bool = false) -> tensor",
     R"(Sets random elements to 0 while training; otherwise x itself.

The same seed drops the same elements.

shapes: kept
dtypes: floats stay; with training, integers become float32
formula: y = x / (1 - rate) with probability 1 - rate, else 0
example:
> dropout([1.0, 2.0, 3.0, 4.0], 0.5, seed: 2, training: true)
> dropout([1.0, 2.0], 0.5)
[1.0000, 2.0000]
source: JMLR 15 (2014), 1929-1958; torch.nn.functional.dropout
see: rand)",
     &dropout},
});

}  // namespace

void add_layer_functions(lang::Library& library) { library.add("Layers", kRows); }

void add_neural_functions(lang::Library& library) {
  add_layer_functions(library);
  add_attention_functions(library);
  add_loss_functions(library);
  add_knowledge_functions(library);
}

}  // namespace tl
