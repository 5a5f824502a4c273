// Knowledge graphs and graph networks: scores of facts, ranks of answers, messages between neighbours.
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

// ------------------------------------------------------------------------------------------ scores of facts

/// Embeddings of head, relation and tail: arguments 0 to 2, whose last axes agree.
struct Fact {
  NodeRef head, relation, tail;

  explicit Fact(const Args& args)
      : head(as_float(args.tensor(0))), relation(as_float(args.tensor(1))), tail(as_float(args.tensor(2))) {
    const std::array parts{head, relation, tail};
    for (size_t i = 0; i < 3; ++i) {
      const Shape& shape = parts[i]->shape();
      if (shape.rank() >= 1 && shape.back() == (head->shape().rank() >= 1 ? head->shape().back() : -1))
        continue;
      args.fail(i, fmt::format("[{}] needs embeddings [.., d] of one width; head is {}, relation is {} and "
                               "tail is {}",
                               args.function().name, to_string(head->shape()), to_string(relation->shape()),
                               to_string(tail->shape())));
    }
    require_broadcast(args, head, relation);
    require_broadcast(args, graph::binary(Op::mul, head, relation), tail);
  }
};

NodeRef sum_last(const NodeRef& x) { return graph::reduce(Op::reduce_sum, x, {-1}, false); }
NodeRef product(const NodeRef& a, const NodeRef& b) { return graph::binary(Op::mul, a, b); }

Value transe_score(Interpreter&, Args& args) {
  const Fact fact(args);
  double p = 2;
  if (args[3].is_number()) {
    p = args.number(3);
  } else {
    const std::string& name = args.string(3);
    p = name == "L1" ? 1 : name == "L2" ? 2 : 0;
  }
  if (p != 1 && p != 2)
    args.fail(3, "[transe_score] p is 1 (or \"L1\") for city-block distance, 2 (or \"L2\") for Euclidean");
  const NodeRef d = graph::binary(Op::sub, graph::binary(Op::add, fact.head, fact.relation), fact.tail);
  const NodeRef distance =
      p == 1 ? sum_last(graph::unary(Op::abs, d)) : graph::unary(Op::sqrt, sum_last(product(d, d)));
  return Value(graph::binary(Op::sub, number_like(0, distance), distance));  // 0, not -0, where it fits
}

Value distmult_score(Interpreter&, Args& args) {
  const Fact fact(args);
  return Value(sum_last(product(product(fact.head, fact.relation), fact.tail)));
}

/// Embeddings hold the real parts in their first half and the imaginary parts in the second.
Value complex_score(Interpreter&, Args& args) {
  const Fact fact(args);
  const int64_t width = fact.head->shape().back();
  if (width % 2 != 0)
    args.fail(0, fmt::format("[complex_score] needs embeddings of even width (real parts, then imaginary "
                             "ones), and head is {}",
                             to_string(fact.head->shape())));
  const auto half = [&](const NodeRef& x, int which) {
    return graph::slice(x, x->shape().rank() - 1, which * width / 2, (which + 1) * width / 2);
  };
  const NodeRef hr = half(fact.head, 0), hi = half(fact.head, 1);
  const NodeRef rr = half(fact.relation, 0), ri = half(fact.relation, 1);
  const NodeRef real = graph::binary(Op::sub, product(hr, rr), product(hi, ri));
  const NodeRef imaginary = graph::binary(Op::add, product(hr, ri), product(hi, rr));
  return Value(sum_last(
      graph::binary(Op::add, product(real, half(fact.tail, 0)), product(imaginary, half(fact.tail, 1)))));
}

// -------------------------------------------------------------------------------------------------- ranking

/// Counts of true elements along the last axis, as float32.
NodeRef count_last(const NodeRef& mask) { return sum_last(graph::cast(mask, DType::f32)); }

Value ranks(Interpreter& interpreter, Args& args) {
  const NodeRef scores = as_float(args.tensor(0));
  const Shape& shape = scores->shape();
  if (shape.rank() < 1) args.fail(0, "[ranks] needs scores [.., candidates], and got a number");
  const int64_t n = shape.back();
  const NodeRef target = ids_below(interpreter, args, 1, n, "candidates");
  Shape expected;
  for (int a = 0; a + 1 < shape.rank(); ++a) expected.push_back(shape[a]);
  if (target->shape() != expected)
    args.fail(1, fmt::format("[ranks] the scores are {}, so the targets must be {}, and they are {}",
                             to_string(shape), to_string(expected), to_string(target->shape())));
  expected.push_back(1);
  const NodeRef column = graph::reshape(target, expected);
  const NodeRef score = graph::make(Op::gather, {scores, column}, AxisAttrs{shape.rank() - 1});
  NodeRef rivals = graph::binary(Op::not_equal, graph::iota(n), column);
  if (args.has(2)) {
    const NodeRef known = mask_argument(args, 2);
    rivals = graph::binary(Op::logical_and, rivals, graph::unary(Op::logical_not, known));
  }
  const auto count = [&](Op comparison) {
    return count_last(graph::binary(Op::logical_and, rivals, graph::binary(comparison, scores, score)));
  };
  const NodeRef above = graph::binary(Op::add, count(Op::greater), graph::scalar(1));
  const NodeRef rank =
      graph::binary(Op::add, above, graph::binary(Op::mul, count(Op::equal), graph::scalar(0.5)));
  // A score that is NaN compares false with all others, which would be the best rank.
  const NodeRef own = graph::reshape(score, target->shape());
  const NodeRef is_nan = graph::binary(Op::not_equal, own, own);
  return Value(graph::make(Op::select, {is_nan, graph::scalar(NAN), rank}));
}

NodeRef mean_of(const NodeRef& x) { return graph::reduce(Op::reduce_mean, x, {}, false); }

Value mean_reciprocal_rank(Interpreter&, Args& args) {
  return Value(mean_of(graph::unary(Op::reciprocal, as_float(args.tensor(0)))));
}

Value hits_at_k(Interpreter&, Args& args) {
  const NodeRef r = as_float(args.tensor(0));
  if (args.integer(1) < 1)
    args.fail(1, fmt::format("[hits_at_k] k must be at least 1, and it is {}", args.integer(1)));
  const NodeRef limit = number_like(static_cast<double>(args.integer(1)), r);
  return Value(mean_of(graph::cast(graph::binary(Op::less_equal, r, limit), DType::f32)));
}

// --------------------------------------------------------------------------------------------------- graphs

Value adjacency(Interpreter& interpreter, Args& args) {
  const int64_t n = args.integer(1);
  if (n < 0 || n >= int64_t{1} << 20)
    args.fail(1, fmt::format("[adjacency] the number of nodes must be from 0 to 2^20, and it is {}", n));
  const NodeRef edges = ids_below(interpreter, args, 0, n, "nodes");
  const Shape& shape = edges->shape();
  const bool is_empty = shape.elements() == 0;
  if (!is_empty && (shape.rank() != 2 || shape[1] != 2))
    args.fail(0, fmt::format("[adjacency] needs edges [[from, to], ..], and got {}", to_string(shape)));
  const Tensor pairs = converted(interpreter.evaluate(edges), DType::i64);
  Tensor matrix(DType::f32, {n, n});
  float* a = matrix.data<float>();
  std::fill(a, a + n * n, 0.0F);
  for (int64_t e = 0; e < pairs.elements() / 2; ++e) {
    const int64_t from = pairs.data<int64_t>()[2 * e], to = pairs.data<int64_t>()[2 * e + 1];
    a[from * n + to] = 1;
    if (!args.boolean(2)) a[to * n + from] = 1;
  }
  return Value(graph::constant(std::move(matrix)));
}

/// An adjacency matrix, argument `i`.
NodeRef matrix_argument(const Args& args, size_t i) {
  const NodeRef a = args.tensor(i);
  if (a->shape().rank() != 2)
    args.fail(i, fmt::format("[{}] argument '{}' must be a matrix, and it is {}", args.function().name,
                             args.function().parameters[i].name, to_string(a->shape())));
  return as_float(a);
}

/// 1 / x where x is not 0, else 0: a node without neighbours receives nothing.
NodeRef inverse_or_zero(const NodeRef& x, Op inverse) {
  const NodeRef zero = number_like(0, x);
  return graph::make(Op::select, {graph::binary(Op::equal, x, zero), zero, graph::unary(inverse, x)});
}

Value normalize_adjacency(Interpreter&, Args& args) {
  NodeRef a = matrix_argument(args, 0);
  const int64_t n = a->shape()[0];
  if (a->shape()[1] != n)
    args.fail(0, fmt::format("[normalize_adjacency] the matrix must be square, and it is {}",
                             to_string(a->shape())));
  if (args.boolean(1)) {
    const NodeRef diagonal = graph::binary(Op::equal, graph::reshape(graph::iota(n), {n, 1}), graph::iota(n));
    a = graph::binary(Op::add, a, graph::cast(diagonal, a->dtype()));
  }
  const NodeRef scale = inverse_or_zero(graph::reduce(Op::reduce_sum, a, {1}, false), Op::rsqrt);
  return Value(product(product(graph::reshape(scale, {n, 1}), a), scale));
}

/// The largest of the neighbours' features; 0 for a node that has none.
NodeRef largest_neighbours(const NodeRef& x, const NodeRef& adjacent) {
  const int64_t n = adjacent->shape()[0], m = adjacent->shape()[1];
  const NodeRef edge = graph::binary(Op::not_equal, adjacent, number_like(0, adjacent));
  const NodeRef candidates =
      graph::make(Op::select, {graph::reshape(edge, {n, m, 1}), x, number_like(-INFINITY, x)});
  const NodeRef has_any = graph::reduce(Op::reduce_any, edge, {1}, true);
  return graph::make(Op::select,
                     {has_any, graph::reduce(Op::reduce_max, candidates, {1}, false), number_like(0, x)});
}

Value aggregate_neighbors(Interpreter&, Args& args) {
  const NodeRef x = as_float(args.tensor(0)), a = matrix_argument(args, 1);
  if (x->shape().rank() != 2 || x->shape()[0] != a->shape()[1])
    args.fail(0,
              fmt::format("[aggregate_neighbors] needs features [nodes, d] and adjacency [.., nodes]; x is "
                          "{} and adjacency is {}",
                          to_string(x->shape()), to_string(a->shape())));
  const std::string& reduce = args.string(2);
  if (reduce == "max") return Value(largest_neighbours(x, a));
  if (reduce != "sum" && reduce != "mean")
    args.fail(2, fmt::format("[aggregate_neighbors] reduces by \"sum\", \"mean\" or \"max\", not by \"{}\"",
                             reduce));
  const NodeRef total = graph::matmul(a, x);
  if (reduce == "sum") return Value(total);
  return Value(product(total, inverse_or_zero(graph::reduce(Op::reduce_sum, a, {1}, true), Op::reciprocal)));
}

constexpr auto kKnowledge = std::to_array<NativeRow>({
    {"transe_score(head: tensor, relation: tensor, tail: tensor, p = 2) -> tensor",
     R"(How well relation leads from head to tail as a translation: minus the distance.

Higher is better; 0 is perfect. p is 1 or "L1" for the city-block distance, 2 or "L2" for the Euclidean one.

shapes: each […, d], broadcast together -> […]; with tails[n, d] all n candidates at once
dtypes: floats stay, integers become float32
formula: y = -(sum over i of |head[i] + relation[i] - tail[i]|^p)^(1/p)
example:
> let tails = [[3.0, 4.0], [1.0, 1.0]]
> transe_score([0.0, 0.0], [1.0, 1.0], tails)
[-3.6056, 0.0000]
source: Bordes et al., Translating Embeddings for Modeling Multi-relational Data, NIPS 2013
see: distmult_score, complex_score, margin_ranking_loss, ranks)",
     &transe_score},
    {"distmult_score(head: tensor, relation: tensor, tail: tensor) -> tensor",
     R"(How well head, relation and tail go together, by a product of all three.

Higher is better. It gives a relation and its inverse the same score.

shapes: each […, d], broadcast together -> […]; with tails[n, d] all n candidates at once
dtypes: floats stay, integers become float32
formula: y = sum over i of head[i] * relation[i] * tail[i]
example:
> distmult_score([1.0, 2.0], [0.5, 1.0], [[2.0, 1.0], [0.0, -1.0]])
[3.0000, -2.0000]
source: arXiv:1412.6575
see: complex_score, transe_score)",
     &distmult_score},
    {"complex_score(head: tensor, relation: tensor, tail: tensor) -> tensor",
     R"(How well head, relation and tail go together as complex vectors.

The first half of an embedding holds its real parts, the second half its imaginary parts, so that relations need not
be symmetric. Higher is better.

shapes: each […, 2d], broadcast together -> […]; with tails[n, 2d] all n candidates at once
dtypes: floats stay, integers become float32
formula: y = Re(sum over i of head[i] * relation[i] * conj(tail[i]))
example:
> let (alice, bob, parent) = [[1.0, 0.0], [0.0, 1.0], [0.0, 1.0]]
> [complex_score(alice, parent, bob), complex_score(bob, parent, alice)]
[1, -1]
source: arXiv:1606.06357
see: distmult_score, transe_score)",
     &complex_score},
    {"ranks(scores: tensor, target, known = void) -> tensor",
     R"(At which place the right answers stand among all candidates, 1 being the best.

Candidates of equal score count half, so that a model that scores all alike gets the middle rank. `known` marks
candidates that are also right and do not count (the filtered setting). A score that is NaN gives NaN.

shapes: scores[…, n], target […]; known broadcasts with the scores -> […]
dtypes: targets are ints; known is bool, or numbers that count unless they are 0; gives float32
formula: y = 1 + (rivals with a higher score) + (rivals with the same score) / 2
example:
> ranks([[0.9, 0.1, 0.5], [0.2, 0.2, 0.7]], [2, 0])
[2.0000, 2.5000]
> ranks([[0.9, 0.1, 0.5]], [2], known: [[true, false, true]])
[1.0000]
source: Bordes et al., NIPS 2013; equal scores as in arXiv:1911.03903 on average
see: mean_reciprocal_rank, hits_at_k, argsort)",
     &ranks},
    {"mean_reciprocal_rank|mrr(ranks: tensor) -> tensor",
     R"(The mean of one over the rank of each right answer.

shapes: any -> []
dtypes: floats stay, integers become float32
formula: y = mean(1 / ranks)
example:
> mean_reciprocal_rank([1, 2, 4])
0.5833333
source: Voorhees, The TREC-8 Question Answering Track Report, 1999
see: ranks, hits_at_k)",
     &mean_reciprocal_rank},
    {"hits_at_k(ranks: tensor, k: int = 10) -> tensor",
     R"(Which share of the right answers is among the best k.

shapes: any -> []
dtypes: ranks of any number type; gives float32
formula: y = mean(ranks <= k)
example:
> hits_at_k([1, 2, 4, 30], k: 3)
0.5
source: Bordes et al., NIPS 2013
see: ranks, mean_reciprocal_rank)",
     &hits_at_k},
});

constexpr auto kGraphs = std::to_array<NativeRow>({
    {"adjacency(edges, n: int, directed: bool = false) -> tensor",
     R"(The matrix of a graph that is given by its edges.

An edge that is listed twice counts once. Without `directed` each edge leads both ways.

shapes: edges[e, 2], pairs [from, to] -> [n, n]
dtypes: node ids are ints from 0 to below n; gives float32
formula: y[i, j] = 1 where there is an edge from i to j, else 0
example:
> adjacency([[0, 1], [1, 2]], 3)
[[0.0000, 1.0000, 0.0000],
 [1.0000, 0.0000, 1.0000],
 [0.0000, 1.0000, 0.0000]]
source: networkx.to_numpy_array
see: normalize_adjacency, aggregate_neighbors)",
     &adjacency},
    {"normalize_adjacency(adjacency: tensor, self_loops: bool = true) -> tensor",
     R"(An adjacency matrix scaled by the degrees of both ends, for graph convolutions.

A node without edges, where there are no self loops, keeps a row of zeros.

shapes: [n, n]; kept
dtypes: floats stay, integers become float32
formula: y = D^(-1/2) A D^(-1/2) with A = adjacency (+ the identity), D[i] = sum over j of A[i, j]
example:
> normalize_adjacency(adjacency([[0, 1]], 3))
[[0.5000, 0.5000, 0.0000],
 [0.5000, 0.5000, 0.0000],
 [0.0000, 0.0000, 1.0000]]
source: arXiv:1609.02907
see: adjacency, aggregate_neighbors)",
     &normalize_adjacency},
    {"aggregate_neighbors(x: tensor, adjacency: tensor, reduce: string = \"sum\") -> tensor",
     R"(What each node receives from its neighbours: the sum, mean or maximum of their features.

Weights in the adjacency matrix weigh sum and mean. A node without neighbours receives zeros.

shapes: x[nodes, d], adjacency[n, nodes] -> [n, d]
dtypes: floats stay, integers become float32
formula: y[i, d] = a[i, j] x[j, d]                  "sum"
y[i, d] = a[i, j] x[j, d] / sum[j](a[i, j])    "mean"
y[i, d] = max over j with a[i, j] != 0 of x[j, d]    "max"
example:
> let a = adjacency([[0, 1], [1, 2]], 3)
> aggregate_neighbors([[1.0, 0.0], [2.0, 2.0], [5.0, 1.0]], a, reduce: "mean")
[[2.0000, 2.0000],
 [3.0000, 0.5000],
 [2.0000, 2.0000]]
source: arXiv:1704.01212; arXiv:1706.02216 for mean and maximum
see: adjacency, normalize_adjacency, matmul)",
     &aggregate_neighbors},
});

}  // namespace

void add_knowledge_functions(lang::Library& library) {
  library.add("Knowledge graphs", kKnowledge);
  library.add("Graph networks", kGraphs);
}

}  // namespace tl
