// Losses: one number that training makes small.
#include <array>

#include <fmt/format.h>

#include "library/neural_functions.h"
#include "library/tensor_arguments.h"

namespace tl {

using graph::NodeRef;
using lang::Args;
using lang::Interpreter;
using lang::NativeRow;
using lang::Value;

namespace {

/// Losses compare element by element: broadcasting [n] against [n, 1] would hide a mistake.
void require_same_shape(const Args& args, const NodeRef& a, const NodeRef& b) {
  if (a->shape() == b->shape()) return;
  const auto& names = args.function().parameters;
  args.fail(1, fmt::format("[{}] {} is {} and {} is {}; they must have one shape", args.function().name,
                           names[0].name, to_string(a->shape()), names[1].name, to_string(b->shape())));
}

NodeRef mean(const NodeRef& x) { return graph::reduce(Op::reduce_mean, x, {}, false); }

Value mse(Interpreter&, Args& args) {
  const auto [a, b] = operands(args, 0, 1);
  require_same_shape(args, a, b);
  const NodeRef d = graph::binary(Op::sub, as_float(a), as_float(b));
  return Value(mean(graph::binary(Op::mul, d, d)));
}

Value cross_entropy(Interpreter&, Args& args) {
  const NodeRef logits = as_float(args.tensor(0));
  const Shape& shape = logits->shape();
  if (shape.rank() < 1) args.fail(0, "[cross_entropy] needs logits [.., classes], and got a number");
  const NodeRef log_p = graph::along(Op::log_softmax, logits, -1);
  const bool is_distribution = args[1].is_tensor() && is_float(args[1].tensor()->dtype());
  if (is_distribution) {
    const NodeRef target = args.tensor(1);
    require_same_shape(args, logits, target);
    const NodeRef total = graph::reduce(Op::reduce_sum, graph::binary(Op::mul, target, log_p), {-1}, false);
    return Value(mean(graph::unary(Op::neg, total)));
  }
  const NodeRef ids = ids_argument(args, 1);
  Shape expected;
  for (int a = 0; a + 1 < shape.rank(); ++a) expected.push_back(shape[a]);
  if (ids->shape() != expected)
    args.fail(1,
              fmt::format("[cross_entropy] the logits are {}, so the class ids must be {}, and they are {}",
                          to_string(shape), to_string(expected), to_string(ids->shape())));
  expected.push_back(1);
  const NodeRef chosen =
      graph::make(Op::gather, {log_p, graph::reshape(ids, expected)}, AxisAttrs{shape.rank() - 1});
  return Value(mean(graph::unary(Op::neg, chosen)));
}

/// The logarithm, at least -100, so that a wrong certainty costs much and not infinitely much.
NodeRef bounded_log(const NodeRef& x) {
  return graph::binary(Op::maximum, graph::unary(Op::log, x), number_like(-100, x));
}

Value binary_cross_entropy(Interpreter&, Args& args) {
  const auto operand = operands(args, 0, 1);
  const NodeRef p = as_float(operand.first), y = as_float(operand.second);
  require_same_shape(args, p, y);
  const auto complement = [](const NodeRef& x) { return graph::binary(Op::sub, number_like(1, x), x); };
  const NodeRef yes = graph::binary(Op::mul, y, bounded_log(p));
  const NodeRef no = graph::binary(Op::mul, complement(y), bounded_log(complement(p)));
  return Value(mean(graph::unary(Op::neg, graph::binary(Op::add, yes, no))));
}

Value margin_ranking_loss(Interpreter&, Args& args) {
  const auto [positive, negative] = operands(args, 0, 1);
  require_same_shape(args, positive, negative);
  const NodeRef gap = graph::binary(Op::sub, as_float(negative), as_float(positive));
  return Value(mean(graph::unary(Op::relu, graph::binary(Op::add, gap, number_like(args.number(2), gap)))));
}

constexpr auto kRows = std::to_array<NativeRow>({
    {"mse(prediction: tensor, target: tensor) -> tensor", R"(The mean squared error.

shapes: both the same -> []
dtypes: floats stay, integers become float32
formula: y = mean((prediction - target)^2)
example:
> mse([1.0, 2.0], [1.0, 4.0])
2
source: torch.nn.functional.mse_loss
see: cross_entropy)",
     &mse},
    {"cross_entropy(logits: tensor, target) -> tensor",
     R"(How badly logits predict classes: the mean of -log(probability of the right one).

shapes: logits[…, classes]; target class ids […], or probabilities [..., classes] -> []
dtypes: floats stay, integers become float32; ids are ints, probabilities a float tensor
formula: y = mean(-log_softmax(logits)[target])
y = mean(sum(-target * log_softmax(logits))) for probabilities
example:
> cross_entropy([[0.0, 0.0], [2.5, 2.5]], [0, 1])
0.6931472
> cross_entropy([[0.0, 1000.0]], [0])
1000
source: torch.nn.functional.cross_entropy, with the classes last
see: log_softmax, binary_cross_entropy)",
     &cross_entropy},
    {"binary_cross_entropy(probability: tensor, target: tensor) -> tensor",
     R"(How badly probabilities predict yes or no.

Logarithms are held at -100, so that a wrong certainty costs much and not infinitely much.

shapes: both the same -> []
dtypes: floats stay, integers become float32; targets lie from 0 to 1
formula: y = mean(-(target * log(p) + (1 - target) * log(1 - p)))
example:
> binary_cross_entropy([0.5, 0.9], [1.0, 1.0])
0.39925388
source: torch.nn.functional.binary_cross_entropy
see: sigmoid, cross_entropy)",
     &binary_cross_entropy},
    {"margin_ranking_loss(positive: tensor, negative: tensor, margin: float = 1.0) -> tensor",
     R"(How far true facts are from scoring better than false ones by a margin.

shapes: both the same -> []
dtypes: floats stay, integers become float32
formula: y = mean(max(0, margin - positive + negative))
example:
> margin_ranking_loss([2.0, 0.0], [0.0, 0.5])
0.75
source: Bordes et al., Translating Embeddings for Modeling Multi-relational Data, NIPS 2013
see: transe_score, distmult_score)",
     &margin_ranking_loss},
});

}  // namespace

void add_loss_functions(lang::Library& library) { library.add("Losses", kRows); }

}  // namespace tl
