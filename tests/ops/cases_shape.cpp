// Cases of the operations that create and move elements, or order them.
#include <algorithm>
#include <cmath>
#include <functional>
#include <limits>

#include "ops/cases.h"

namespace tl::test {

namespace {
constexpr DType kPlain[] = {DType::f32, DType::f16, DType::bf16, DType::f64,
                            DType::i8,  DType::i32, DType::i64,  DType::boolean};

void add_creation_cases(Cases& cases) {
  cases.begin();
  for (const int64_t n : {0, 1, 7, 33, 4097}) {
    cases.add(Op::iota, "", {}, {}, {.ints = {n}});
    cases.add(Op::random_uniform, "", {}, {}, {.ints = {7 * n - 3, n}});
    cases.add(Op::random_normal, "", {}, {}, {.ints = {n - 9, n}});
  }
  cases.add(Op::random_normal, "3 axes", {}, {}, {.ints = {5, 3, 9, 7}});
  cases.add(Op::affine_mask, "causal", {}, AffineMaskAttrs{{1, -1}}, {.ints = {9, 17, 5}});
  cases.add(Op::affine_mask, "window", {}, AffineMaskAttrs{{-1, 2}}, {.ints = {33, 31, -3}});
  cases.add(Op::affine_mask, "3 axes", {}, AffineMaskAttrs{{1, 0, -3}}, {.ints = {3, 5, 7, 2}});
  cases.add(Op::affine_mask, "1 axis", {}, AffineMaskAttrs{{-1}}, {.ints = {300, 256}});
}

void add_joining_cases(Cases& cases) {
  for (const DType dtype : kPlain)
    for (const Layout layout : kLayouts) {
      Random& random = cases.begin();
      const auto tensor = [&](const Shape& shape) {
        return laid_out(random_tensor(random, dtype, shape), layout);
      };
      cases.add(Op::reshape, to_string(layout), {tensor({5, 6, 7})}, {}, {.ints = {3, 70}});
      cases.add(Op::reshape, to_string(layout), {tensor({17, 33})}, {}, {.ints = {17 * 33}});
      cases.add(Op::concat, to_string(layout), {tensor({2, 9}), tensor({5, 9}), tensor({1, 9})},
                AxisAttrs{0});
      cases.add(Op::concat, to_string(layout), {tensor({3, 1, 5}), tensor({3, 16, 5}), tensor({3, 7, 5})},
                AxisAttrs{1});
      cases.add(Op::concat, to_string(layout), {tensor({4, 31}), tensor({4, 2})}, AxisAttrs{1});
      cases.add(Op::pad, to_string(layout), {tensor({5, 9})}, {}, {.ints = {1, 2, 0, 3}, .floats = {1.0}});
      cases.add(Op::pad, to_string(layout), {tensor({3, 4, 5})}, {},
                {.ints = {0, 0, 2, 1, 4, 0}, .floats = {0.0}});
    }
  Random& random = cases.begin();
  cases.add(Op::concat, "mixed types",
            {random_tensor(random, DType::f16, {9}), random_tensor(random, DType::i32, {3}),
             random_tensor(random, DType::f32, {8})},
            AxisAttrs{0});
  cases.add(Op::reshape, "repeated", {broadcast_view(random_tensor(random, DType::f32, {17, 1}), {3, 17, 5})},
            {}, {.ints = {17, 15}});
}

void add_cache_cases(Cases& cases) {
  for (const DType state : {DType::f32, DType::f16, DType::f64})
    for (const Layout layout : kLayouts)
      for (const int64_t start : {0, 5, 300}) {
        Random& random = cases.begin();
        const Tensor old = random_tensor(random, state, {305, 3, 8});
        // Values that the state's type holds exactly, so that nothing rounds.
        const Tensor x =
            random_tensor(random, state == DType::f16 ? DType::f16 : DType::f32, {start == 5 ? 1 : 5, 3, 8});
        cases.add(Op::cache_append, to_string(layout), {old, laid_out(x, layout)}, {}, {.ints = {start}});
      }
  for (const Layout layout :
       kLayouts)  // a state in blocks, with rows of zeros, tiny numbers, NaN and infinity
    for (const int64_t start : {0, 5, 300}) {
      Random& random = cases.begin();
      const Tensor x = random_tensor(random, DType::f32, {5, 3, 64});
      for (int64_t i = 0; i < 64; ++i) x.data<float>()[64 + i] = 0, x.data<float>()[128 + i] *= 1e-7f;
      x.data<float>()[200] = NAN, x.data<float>()[350] = -INFINITY, x.data<float>()[450] = 1e9f;
      cases.add(Op::cache_append, "blocks " + to_string(layout),
                {random_weights(random, DType::q8_0, {305, 3, 64}), laid_out(x, layout)}, {},
                {.ints = {start}});
    }
}

/// Candidates as top_k gives them: lines of logits, the largest first, and places.
Tensor candidates(Random& random, DType dtype, int64_t lines, int64_t k, bool ties) {
  const Tensor best(dtype, {lines, 2, k});
  for (int64_t line = 0; line < lines; ++line) {
    std::vector<double> logits;
    for (int64_t i = 0; i < k; ++i)
      logits.push_back(ties ? static_cast<double>(random.integer(-3, 3)) : 3 * random.value());
    std::ranges::sort(logits, std::greater<>());
    for (int64_t i = 0; i < k; ++i) {
      store_double(best, 2 * line * k + i, logits[static_cast<size_t>(i)]);
      store_double(best, (2 * line + 1) * k + i, static_cast<double>((7 * i + line) % 2048));
    }
  }
  return best;
}

Tensor random_bits(Random& random, const Shape& shape) {
  const Tensor bits(DType::i64, shape);
  for (int64_t i = 0; i < bits.elements(); ++i)
    bits.data<int64_t>()[i] = static_cast<int64_t>(random.bits() >> 11);
  return bits;
}

void add_draw_cases(Cases& cases) {
  const double no_min_p = -INFINITY;
  const std::vector<Params::Floats> options = {{1, 1, no_min_p},   {0.8, 0.95, std::log(0.05)},
                                               {3, 0.5, no_min_p}, {0.1, 1, -2},
                                               {1, 0, -1},         {30, 0.999, -9},
                                               {1, 1, 0}};
  for (const int64_t k : {1, 2, 3, 7, 31, 32, 33, 40, 64, 255, 256, 257, 1000, 1024})
    for (const auto& floats : options)
      for (const bool ties : {false, true}) {
        Random& random = cases.begin();
        const int64_t lines = k == 40 ? 50 : 5;
        const Tensor best = candidates(random, cases.base, lines, k, ties);
        cases.add(Op::draw, ties ? "ties" : "", {best, random_bits(random, {lines})}, {}, {.floats = floats});
        cases.add(Op::draw, "one", {candidates(random, cases.base, 1, k, ties), random_bits(random, {1})}, {},
                  {.floats = floats});
      }
  for (const Layout layout : kLayouts) {
    Random& random = cases.begin();
    const Tensor best = candidates(random, cases.base, 6, 40, false).reshaped({3, 2, 2, 40});
    cases.add(Op::draw, to_string(layout),
              {laid_out(best, layout), laid_out(random_bits(random, {3, 2}), layout)}, {},
              {.floats = options[1]});
    const Tensor narrow = candidates(random, DType::f16, 6, 40, true);
    cases.add(Op::draw, to_string(layout), {laid_out(narrow, layout), random_bits(random, {6})}, {},
              {.floats = options[1]});
  }
  // The first bits and the last; logits that are not finite, at the end and at the beginning.
  Random& random = cases.begin();
  const Tensor best = candidates(random, cases.base, 6, 40, false);
  const Tensor ends = random_bits(random, {6});
  for (int64_t i = 0; i < 6; ++i) ends.data<int64_t>()[i] = i % 2 == 0 ? 0 : (int64_t{1} << 53) - 1;
  cases.add(Op::draw, "ends", {best, ends}, {}, {.floats = options[0]});
  for (int64_t i = 60; i < 80; ++i) store_double(best, i + 20, -INFINITY);
  store_double(best, 0, NAN), store_double(best, 160, INFINITY);
  for (int64_t i = 240; i < 280; ++i) store_double(best, i, -INFINITY);
  store_double(best, 320, -NAN);
  for (const auto& floats : options) cases.add(Op::draw, "not finite", {best, ends}, {}, {.floats = floats});
}
}  // namespace

void add_shape_cases(Cases& cases) {
  add_creation_cases(cases);
  add_joining_cases(cases);
  add_cache_cases(cases);
  add_draw_cases(cases);
}

void add_index_cases(Cases& cases) {
  for (const DType dtype : kPlain)
    for (const Layout layout : kLayouts)
      for (const DType index_type : {DType::i64, DType::i32}) {
        Random& random = cases.begin();
        const auto tensor = [&](const Shape& shape) {
          return laid_out(random_tensor(random, dtype, shape), layout);
        };
        const auto index = [&](const Shape& shape, int64_t extent) {
          return laid_out(integer_tensor(random, index_type, shape, 0, extent - 1), layout);
        };
        cases.add(Op::take, to_string(layout), {tensor({9, 17}), index({5}, 9)}, AxisAttrs{0});
        cases.add(Op::take, to_string(layout), {tensor({4, 9, 3}), index({2, 7}, 9)}, AxisAttrs{1});
        cases.add(Op::take, to_string(layout), {tensor({5, 33}), index({}, 33)}, AxisAttrs{1});
        cases.add(Op::gather, to_string(layout), {tensor({9, 17}), index({20, 17}, 9)}, AxisAttrs{0});
        cases.add(Op::gather, to_string(layout), {tensor({9, 5, 7}), index({8, 5, 3}, 7)}, AxisAttrs{2});
        cases.add(Op::scatter, to_string(layout), {tensor({9, 17}), index({20, 17}, 9), tensor({20, 17})},
                  AxisAttrs{0});
        cases.add(Op::scatter, to_string(layout),
                  {tensor({3, 5, 31}), index({3, 4, 9}, 31), tensor({3, 4, 9})}, AxisAttrs{2});
      }
  for (const DType dtype :
       {DType::f32, DType::f16, DType::bf16, DType::f64, DType::i8, DType::i32, DType::i64})
    for (const Layout layout : kLayouts)
      for (const int axis : {0, 1, 2}) {
        Random& random = cases.begin();
        // Few values, so that there are ties.
        const Tensor x = laid_out(integer_tensor(random, dtype, {5, 9, 17}, -5, 5), layout);
        const Tensor y = laid_out(random_tensor(random, dtype, {5, 9, 17}), layout);
        cases.add(Op::argmax, to_string(layout), {x}, AxisAttrs{axis});
        cases.add(Op::argmin, to_string(layout), {x}, AxisAttrs{axis});
        cases.add(Op::cumsum, to_string(layout), {y}, AxisAttrs{axis});
        for (const bool descending : {false, true}) {
          cases.add(Op::sort, to_string(layout), {y}, SortAttrs{axis, descending});
          cases.add(Op::argsort, to_string(layout), {x}, SortAttrs{axis, descending});
        }
      }
  for (const int64_t n : kSizes) {
    const Tensor x = random_tensor(cases.begin(), cases.base, {3, n});
    cases.add(Op::argmax, "", {x}, AxisAttrs{1});
    cases.add(Op::argmin, "", {x}, AxisAttrs{1});
    cases.add(Op::cumsum, "", {x}, AxisAttrs{1});
    cases.add(Op::sort, "", {x}, SortAttrs{1, n % 2 == 0});
    cases.add(Op::argsort, "", {x}, SortAttrs{1, n % 2 == 1});
  }
  for (const int64_t n : kSizes)
    for (const int64_t k : {int64_t{1}, std::min<int64_t>(n, 40), n}) {
      Random& random = cases.begin();
      // Few values, so that there are ties; other layouts and types.
      const Layout layout = kLayouts[n % std::size(kLayouts)];
      cases.add(Op::top_k, "", {random_tensor(random, cases.base, {3, n})}, {}, {.ints = {k}});
      cases.add(Op::top_k, "ties " + to_string(layout),
                {laid_out(integer_tensor(random, n % 2 ? cases.base : DType::f16, {2, 3, n}, -5, 5), layout)},
                {}, {.ints = {k}});
    }
  for (const int64_t k : {1, 40, 1024})  // more than a block of the CUDA kernel takes
    cases.add(Op::top_k, "long", {integer_tensor(cases.begin(), cases.base, {9001}, -900, 900)}, {},
              {.ints = {k}});
  // Of every 1,024 elements the first 400 are larger than the others, so that the CUDA kernel's threads have
  // all of the largest, or none.
  const Tensor uneven = random_tensor(cases.begin(), DType::f32, {2, 9001});
  for (int64_t i = 0; i < uneven.elements(); ++i)
    if (i % 9001 % 1024 < 400) uneven.data<float>()[i] += 100;
  for (const int64_t k : {2, 399, 400, 401, 455}) cases.add(Op::top_k, "uneven", {uneven}, {}, {.ints = {k}});
  const float nan = std::numeric_limits<float>::quiet_NaN();
  const Tensor x = random_tensor(cases.begin(), DType::f32, {3, 9});
  x.data<float>()[4] = x.data<float>()[9] = x.data<float>()[12] = x.data<float>()[26] = nan;
  for (const bool descending : {false, true}) {
    cases.add(Op::sort, "NaN inside", {x}, SortAttrs{1, descending});
    cases.add(Op::argsort, "NaN inside", {x}, SortAttrs{1, descending});
  }
  const Tensor zeros = random_tensor(cases.begin(), DType::f32, {1, 9});
  zeros.data<float>()[2] = zeros.data<float>()[5] = -0.0f, zeros.data<float>()[4] = 0;
  zeros.data<float>()[7] = INFINITY, zeros.data<float>()[8] = -INFINITY;
  for (const Tensor& t : {x, zeros}) cases.add(Op::top_k, "special", {t}, {}, {.ints = {9}});
  cases.add(Op::argmax, "NaN inside", {x}, AxisAttrs{1});
  cases.add(Op::argmin, "NaN inside", {x}, AxisAttrs{1});
}

}  // namespace tl::test
