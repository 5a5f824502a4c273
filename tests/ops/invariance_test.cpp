// A row's result is the same bit for bit whether it is computed alone or among others: what makes a prompt
// fed at once give the logits of one fed token by token.
#include <cmath>
#include <cstring>

#include <fmt/format.h>
#include <gtest/gtest.h>

#include "inspect/operation.h"
#include "ops/backends.h"
#include "ops/cases.h"

namespace tl::test {

namespace {

/// From so many rows on they may go another way, unless they are asked to be invariant.
constexpr int64_t kManyRows = 64;

/// Of many rows not every piece is computed apart: seven is prime to the sizes of tiles, so that all places
/// in a tile have their turn.
constexpr int64_t kEveryPieceUpTo = 17, kPieceStride = 7;

/// Runs a case on all rows of its first input at once, then in pieces of 1, 2, 3 and 5 rows.
/// `adapt(piece, first row)` changes what else depends on the rows.
template <class Adapt>
void expect_rows_independent(Case whole, Adapt adapt) {
  const int64_t n = whole.in[0].shape()[0];
  whole.batch_invariant = n >= kManyRows;
  for (const Backend* backend : backends())
    for (ThreadPool* pool : pools()) {
      const Tensor at_once = run(*backend, whole, *pool);
      for (const int64_t size : {1, 2, 3, 5})
        for (int64_t first = 0; first + size <= n;
             first += n <= kEveryPieceUpTo ? size : size * kPieceStride) {
          Case piece = whole;
          piece.in[0] = rows(whole.in[0], first, size);
          adapt(piece, first);
          ASSERT_TRUE(same_bits(rows(at_once, first, size), run(*backend, piece, *pool)))
              << name(whole.op) << " on " << backend->name() << ": " << whole.what << ": rows " << first
              << " to " << first + size - 1 << " of " << n << " differ when computed apart, with "
              << pool->size() << " threads";
        }
    }
}

void expect_rows_independent(const Case& whole) {
  expect_rows_independent(whole, [](Case&, int64_t) {});
}

constexpr int64_t kRows[] = {7, 17, 40, 70};

}  // namespace

TEST(RowInvariance, Linear) {
  Random random(1);
  for (const DType type : kWeights)
    for (const Activations activations : {Activations::q8, Activations::float32})
      for (const int64_t n : kRows) {
        const int64_t width = info(type).block_elements == 1 ? 77 : 3 * info(type).block_elements;
        expect_rows_independent(
            {Op::linear,
             std::string(name(type)),
             {random_tensor(random, DType::f32, {n, width}), random_weights(random, type, {19, width}),
              random_tensor(random, DType::f32, {19})},
             {},
             {},
             activations});
      }
}

TEST(RowInvariance, Matmul) {
  Random random(2);
  for (const int64_t n : kRows)
    for (const int64_t inner : {5, 64, 300}) {
      const Tensor a = random_tensor(random, DType::f32, {n, inner});
      expect_rows_independent({Op::matmul,
                               fmt::format("inner extent {}", inner),
                               {a, random_tensor(random, DType::f32, {inner, 33})}});
    }
}

TEST(RowInvariance, Contract) {
  Random random(3);
  const auto plain = [](int label) { return AxisIndex{{{label, 1}}, 1}; };
  const ContractAttrs product{2, 3, Reduction::sum, {{plain(0), plain(2)}, {plain(1), plain(2)}}};
  for (const int64_t n : kRows) {
    const Tensor a = random_tensor(random, DType::f32, {n, 65});
    expect_rows_independent({Op::contract,
                             "matrix product",
                             {a, random_tensor(random, DType::f32, {9, 65})},
                             product,
                             {.ints = {n, 9, 65, 0, 0, 0, 0}}},
                            [](Case& piece, int64_t) { piece.params.ints[0] = piece.in[0].shape()[0]; });
  }
}

TEST(RowInvariance, SoftmaxAndNorms) {
  Random random(4);
  for (const int64_t n : kRows)
    for (const int64_t width : {9, 64, 577}) {
      const Tensor x = random_tensor(random, DType::f32, {n, width});
      const Tensor w = random_tensor(random, DType::f32, {width}),
                   b = random_tensor(random, DType::f32, {width});
      expect_rows_independent({Op::softmax, "", {x}, AxisAttrs{1}});
      expect_rows_independent({Op::log_softmax, "", {x}, AxisAttrs{1}});
      expect_rows_independent({Op::rms_norm, "", {x, w}, {}, {.floats = {1e-5}}});
      expect_rows_independent({Op::layer_norm, "", {x, w, b}, {}, {.floats = {1e-5}}});
    }
}

TEST(RowInvariance, Rope) {
  Random random(5);
  for (const RopeStyle style : {RopeStyle::norm, RopeStyle::neox})
    for (const int64_t n : kRows)
      expect_rows_independent({Op::rope,
                               "",
                               {random_tensor(random, DType::f32, {n, 3, 30})},
                               RopeAttrs{style},
                               {.ints = {250, 30}, .floats = {10000, 1}}},
                              [](Case& piece, int64_t first) { piece.params.ints[0] += first; });
}

/// Queries one at a time see as many keys as exist by then, not all of a longer prompt's.
TEST(RowInvariance, Attention) {
  Random random(6);
  const std::vector<int> order = {0, 1, 2};
  for (const DType cache : {DType::f32, DType::f16, DType::q8_0})
    for (const int64_t past : {0, 5, 60, 301, 1030})
      for (const int64_t n : kRows) {
        const Tensor q = random_tensor(random, DType::f32, {n, 6, 32}),
                     k = random_weights(random, cache, {past + n, 2, 32}),
                     v = random_weights(random, cache, {past + n, 2, 64});
        expect_rows_independent({Op::attention,
                                 fmt::format("{} rows before", past),
                                 {q, k, v},
                                 AttentionAttrs{order, order, order, order, 3, true},
                                 {.ints = {past}, .floats = {0.25}}},
                                [&](Case& piece, int64_t first) {
                                  const int64_t seen = past + first + piece.in[0].shape()[0];
                                  piece.params.ints[0] += first;
                                  piece.in[1] = rows(k, 0, seen);
                                  piece.in[2] = rows(v, 0, seen);
                                });
      }
}

}  // namespace tl::test
