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
  return Value(graph::rms_norm(as_float(args.tensor(0)), args.has(1) ? args.tensor(1) : nullptr,
                               eps_argument(args, 2)));
}

Value layer_norm(Interpreter&, Args& args) {
  std::vector<NodeRef> inputs{as_float(args.tensor(0))};
  const Shape& shape = inputs[0]->shape();
  if (args.has(1)) {
    inputs.push_back(args.tensor(1));
  } else if (args.has(2)) {
    inputs.push_back(graph::full({shape.rank() > 0 ? shape.back() : 1}, 1));
  }
  if (args.has(2)) inputs.push_back(args.tensor(2));
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
  return Value(graph::binary(Op::mul, graph::unary(Op::silu, args.tensor(0)), args.tensor(1)));
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
    {"matmul(a: tensor, b: tensor) -> tensor",
     "The matrix product a @ b: [.., m, k] @ [.., k, n] -> [.., m, n], leading axes broadcast; vectors as in "
     "NumPy.\n"
     "Example: matmul([[1, 2], [3, 4]], [1, 1])  // [3.0000, 7.0000]",
     &matmul},
    {"linear(x: tensor, w: tensor, b|bias = void) -> tensor",
     "x w^T + b: x[.., in], w[out, in], b[out] -> [.., out]. w may be quantised.\n"
     "Example: linear([1, 2], [[1, 0], [0, 1], [1, 1]])  // [1.0000, 2.0000, 3.0000]",
     &linear},
    {"einsum(equation: string, tensors...) -> tensor",
     "A tensor equation as a string (numpy.einsum); \"...\" stands for batch axes.\n"
     "Example: einsum(\"ij,j->i\", [[1, 2], [3, 4]], [1, 1])  // [3.0000, 7.0000]",
     &einsum},
    {"embedding(table: tensor, ids) -> tensor",
     "The rows table[id]: table[n, width], ids[..] -> [.., width]. The table may be quantised.\n"
     "Example: embedding([[1, 2], [3, 4]], [1, 0])  // [[3.0000, 4.0000], [1.0000, 2.0000]]",
     &embedding},
    {"softmax(x: tensor, axis|dim: int = -1, mask = void) -> tensor",
     "e^x / sum(e^x) along an axis. Where the mask is false elements take no part and give exactly 0; a line "
     "without any element left is an error.\n"
     "Example: softmax([0.0, 0.0, 5.0], mask: [true, true, false])  // [0.5000, 0.5000, 0.0000]",
     &softmax},
    {"log_softmax(x: tensor, axis|dim: int = -1) -> tensor",
     "log(softmax(x)) along an axis, computed without overflow.\n"
     "Example: log_softmax([0.0, 0.0])  // [-0.6931, -0.6931]",
     &log_softmax},
    {"rms_norm(x: tensor, w|weight = void, eps: float = 1e-5) -> tensor",
     "x / sqrt(mean(x^2) + eps) * w over the last axis (arXiv:1910.07467).\n"
     "Example: rms_norm([3.0, 4.0], [1.0, 2.0])  // [0.8485, 2.2627]",
     &rms_norm},
    {"layer_norm(x: tensor, gamma|weight = void, beta|bias = void, eps: float = 1e-5) -> tensor",
     "(x - mean) / sqrt(var + eps) * gamma + beta over the last axis (arXiv:1607.06450).\n"
     "Example: layer_norm([1.0, 2.0, 3.0])  // [-1.2247, 0.0000, 1.2247]",
     &layer_norm},
    {"lnorm(x: tensor, gamma|weight = void, beta|bias = void, eps: float = 1e-5) -> tensor",
     "layer_norm under its name in the paper on Tensor Logic (arXiv:2510.12269).\n"
     "Example: lnorm([1.0, 2.0, 3.0])  // [-1.2247, 0.0000, 1.2247]",
     &layer_norm},
    {"batch_norm(x: tensor, gamma|weight = void, beta|bias = void, mean = void, var = void, eps: float = "
     "1e-5) -> tensor",
     "(x - mean) / sqrt(var + eps) * gamma + beta for every channel of x[batch, channels, ..] "
     "(arXiv:1502.03167); mean and variance are those given, or the batch's own.\n"
     "Example: batch_norm([[1.0, 10.0], [3.0, 30.0]])  // [[-1.0000, -1.0000], [1.0000, 1.0000]]",
     &batch_norm},
    {"swiglu(gate: tensor, up: tensor) -> tensor",
     "silu(gate) * up (arXiv:2002.05202).\n"
     "Example: swiglu([1.0, -1.0], [2.0, 2.0])  // [1.4621, -0.5379]",
     &swiglu},
    {"dropout(x: tensor, rate|p: float = 0.0, seed = void, training: bool = false) -> tensor",
     "x itself; with training: true each element is 0 with probability `rate` and divided by 1 - rate "
     "otherwise, the same ones for the same seed (JMLR 15, 2014, 1929-1958).\n"
     "Example: dropout([1.0, 2.0], 0.5)  // [1.0000, 2.0000]",
     &dropout},
});

}  // namespace

void add_layer_functions(lang::Library& library) { library.add(kRows); }

void add_neural_functions(lang::Library& library) {
  add_layer_functions(library);
  add_attention_functions(library);
  add_loss_functions(library);
}

}  // namespace tl
