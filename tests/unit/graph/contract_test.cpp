// However an equation is written, its graph is the same.
#include <gtest/gtest.h>

#include <functional>

#include "graph/builder.h"
#include "graph/plan.h"

namespace tl::graph {
namespace {

NodeRef data(const Shape& shape, DType dtype = DType::f32) { return constant(Tensor(dtype, shape)); }
NodeRef weight(const Shape& shape, DType dtype = DType::f32) { return constant(Tensor(dtype, shape), true); }

std::vector<int64_t> words(const NodeRef& node) {
  const NodeRef roots[] = {node};
  return structure(trace(roots));
}

std::string message(const std::function<void()>& run) {
  try {
    run();
  } catch (const Error& e) {
    return e.what();
  }
  return "no error";
}

TEST(Contract, RenamedIndicesAndReorderedFactorsGiveOneForm) {
  const auto q = data({5, 6, 8}), k = data({7, 2, 8});
  const auto scores = [&](int i, int h, int d, int j, bool swap) {
    std::vector<Operand> operands{{q, {{{{i, 1}}}, {{{h, 1}}}, {{{d, 1}}}}},
                                  {k, {{{{j, 1}}}, {{{h, 1}}, 0, 3}, {{{d, 1}}}}}};
    if (swap) std::swap(operands[0], operands[1]);
    std::vector<int64_t> sizes(4);
    sizes[static_cast<size_t>(i)] = 5, sizes[static_cast<size_t>(h)] = 6, sizes[static_cast<size_t>(d)] = 8,
    sizes[static_cast<size_t>(j)] = 7;
    return contract(std::move(operands), {h, i, j}, sizes);
  };
  const auto plain = words(scores(0, 1, 2, 3, false));
  EXPECT_EQ(words(scores(3, 2, 1, 0, false)), plain);
  EXPECT_EQ(words(scores(0, 1, 2, 3, true)).size(), plain.size());
  EXPECT_EQ(std::get<ContractAttrs>(scores(0, 1, 2, 3, true)->attrs),
            std::get<ContractAttrs>(scores(2, 3, 0, 1, false)->attrs));
}

TEST(Contract, ProductWithAWeightMatrixIsLinear) {
  const auto x = data({3, 64}), w = weight({10, 64}, DType::q4_0);
  const auto node = einsum("id,od->io", {x, w});
  EXPECT_EQ(node->op, Op::linear);
  EXPECT_EQ(einsum("od,id->io", {w, x})->op, Op::linear);
  EXPECT_EQ(words(einsum("od,id->io", {w, x})), words(node));
  const auto transposed = einsum("id,od->oi", {x, w});
  EXPECT_EQ(transposed->op, Op::permute);
  EXPECT_EQ(transposed->inputs[0]->op, Op::linear);
  EXPECT_EQ(transposed->shape(), (Shape{10, 3}));
}

TEST(Contract, QuantisedWeightsElsewhereAreRefused) {
  const auto x = data({10, 3}), w = weight({10, 64}, DType::q4_0);
  EXPECT_NE(message([&] {
              einsum("oi,od->id", {x, w});
            }).find("can only be a weight of linear"),
            std::string::npos);
}

TEST(Contract, OneFactorIsAReductionOrAPermutation) {
  const auto x = data({3, 4, 5});
  EXPECT_EQ(einsum("abc->b", {x})->op, Op::reduce_sum);
  EXPECT_EQ(einsum("abc->cab", {x})->op, Op::permute);
  EXPECT_EQ(einsum("abc->abc", {x}), x);
  EXPECT_EQ(einsum("abc->ca", {x})->shape(), (Shape{5, 3}));
}

TEST(Contract, ManyFactorsAreMultipliedPairwise) {
  const auto a = data({2, 300}), b = data({300, 300}), c = data({300, 4});
  const auto node = einsum("ij,jk,kl->il", {a, b, c});
  EXPECT_EQ(node->shape(), (Shape{2, 4}));
  const NodeRef roots[] = {node};
  for (const Node* n : trace(roots).values)
    EXPECT_LE(n->op == Op::contract ? n->shape().elements() : 0, 1200) << n->path();
}

TEST(Contract, TheOrderOfManyFactorsTakesTheFewestMultiplications) {
  // (a b) c has the smaller first product, a (b c) fewer multiplications.
  const auto a = data({2, 90}), b = data({90, 1}), c = data({1, 90}), d = data({90, 3});
  const auto node = einsum("ij,jk,kl,lm->im", {a, b, c, d});
  const NodeRef roots[] = {node};
  for (const Node* n : trace(roots).values)
    EXPECT_LE(n->op == Op::contract ? n->shape().elements() : 0, 6) << n->path();
}

TEST(Contract, TheOrderOfManyFactorsPrefersMatrixProducts) {
  // x[i, j, k] a[j, r] b[k, r]: multiplied with one of the others first, it leaves sums for each r apart.
  const auto node = einsum("ijk,jr,kr->ir", {data({7, 5, 6}), data({5, 3}), data({6, 3})});
  EXPECT_EQ(node->shape(), (Shape{7, 3}));
  std::vector<Shape> shapes = {node->inputs[0]->shape(), node->inputs[1]->shape()};
  EXPECT_NE(std::find(shapes.begin(), shapes.end(), Shape({5, 6, 3})), shapes.end());
}

TEST(Contract, ProductsOfManyFactorsKeepTheAxisThatLiesTogetherLast) {
  const auto node = einsum("ijk,jl,km->ilm", {data({7, 5, 6}), data({5, 2}), data({6, 3})});
  const NodeRef roots[] = {node};
  for (const Node* n : trace(roots).values)
    if (n->op == Op::contract && n != node.get()) {
      EXPECT_EQ(n->shape(), (Shape{7, 2, 6}));
    }
}

TEST(Contract, PartsOfAnAxisAreViews) {
  const auto x = data({6, 4});
  // x[2, d], x[i + 1, d] with i in 0..3, and blocks of 2 rows: x[2 * p + r, d]
  EXPECT_EQ(contract({{x, {{{}, 2}, {{{0, 1}}}}}}, {0}, {4})->op, Op::reshape);
  EXPECT_EQ(contract({{x, {{{{0, 1}}, 1}, {{{1, 1}}}}}}, {0, 1}, {3, 4})->op, Op::slice);
  const auto pooled = contract({{x, {{{{0, 2}, {2, 1}}}, {{{1, 1}}}}}}, {0, 1}, {3, 4, 2});
  EXPECT_EQ(pooled->op, Op::reduce_sum);
  EXPECT_EQ(pooled->inputs[0]->op, Op::reshape);
  // Beyond the end there are zeros to read, which a view does not have.
  EXPECT_EQ(contract({{x, {{{{0, 1}}, 4}, {{{1, 1}}}}}}, {0, 1}, {3, 4})->op, Op::contract);
}

TEST(Einsum, NumpysRules) {
  EXPECT_EQ(einsum("ij,jk", {data({2, 3}), data({3, 4})})->shape(), (Shape{2, 4}));
  EXPECT_EQ(einsum("ba", {data({2, 3})})->shape(), (Shape{3, 2}));  // alphabetic
  EXPECT_EQ(einsum("...ij,...jk->...ik", {data({5, 1, 2, 3}), data({6, 3, 4})})->shape(),
            (Shape{5, 6, 2, 4}));
  EXPECT_EQ(einsum("ii->i", {data({3, 3})})->shape(), (Shape{3}));
}

TEST(Einsum, ErrorsNameThePart) {
  const auto m = data({2, 3});
  EXPECT_EQ(message([&] { einsum("ij,jk->ik", {m}); }),
            "[einsum] \"ij,jk->ik\": names 2 operands, and 1 were given");
  EXPECT_EQ(message([&] { einsum("ijk->i", {m}); }),
            "[einsum] \"ijk->i\": 'ijk' names 3 axes, and its tensor is [2, 3]");
  EXPECT_EQ(message([&] { einsum("ij->k", {m}); }),
            "[einsum] \"ij->k\": the output index 'k' is in no operand");
  EXPECT_EQ(message([&] { einsum("ij->ii", {m}); }),
            "[einsum] \"ij->ii\": the output index 'i' stands twice");
  EXPECT_EQ(message([&] { einsum("i1->i", {m}); }), "[einsum] \"i1->i\": '1' is no index; use letters");
  EXPECT_EQ(message([&] { einsum("i.->i", {m}); }),
            "[einsum] \"i.->i\": a '.' stands alone; batch dimensions are written '...'");
  EXPECT_EQ(message([&] { einsum("...ijk->i", {m}); }),
            "[einsum] \"...ijk->i\": '...ijk' names 3 axes, and its tensor has 2");
  EXPECT_EQ(message([&] {
              einsum("ij,ij->i", {m, data({2, 4})});
            }),
            "[einsum] \"ij,ij->i\": index 'j' is 3 in one operand and 4 in 'ij'");
}

TEST(Builder, SlicesOfRowWiseOperationsComputeOnlyThoseRows) {
  const auto logits = linear(rms_norm(data({7, 64}), weight({64}), 1e-5), weight({100, 64}, DType::q8_0));
  const auto last = slice(logits, 0, -1, std::nullopt);
  EXPECT_EQ(last->op, Op::linear);
  EXPECT_EQ(last->inputs[0]->op, Op::rms_norm);
  EXPECT_EQ(last->inputs[0]->shape(), (Shape{1, 64}));
  EXPECT_EQ(slice(logits, 1, 0, 3)->op, Op::slice);  // columns are no rows
}

TEST(Builder, LongChainsOfNodesAreTakenApart) {
  NodeRef x = data({1});
  for (int i = 0; i < 300'000; ++i) x = unary(Op::neg, std::move(x));
  const std::weak_ptr<Node> first = x->inputs[0];
  x = nullptr;
  EXPECT_TRUE(first.expired());
}

TEST(Builder, MixedTypesAreConvertedByNodes) {
  const auto sum = binary(Op::add, data({3}, DType::i64), data({3}));
  EXPECT_EQ(sum->dtype(), DType::f32);
  EXPECT_EQ(sum->inputs[0]->op, Op::cast);
  EXPECT_EQ(binary(Op::add, data({3}, DType::f16), data({3}, DType::bf16))->dtype(), DType::f32);
  EXPECT_EQ(unary(Op::exp, data({3}, DType::i32))->dtype(), DType::f32);
}

}  // namespace
}  // namespace tl::graph
