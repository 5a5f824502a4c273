// What kernels refuse while they run: values that no shape rule can see.
#include <cmath>
#include <limits>

#include <gtest/gtest.h>

#include "inspect/operation.h"
#include "ops/backends.h"
#include "ops/values.h"

namespace tl::test {

namespace {

Tensor ints(std::vector<int64_t> values, DType dtype = DType::i64) {
  const Tensor t(dtype, {static_cast<int64_t>(values.size())});
  for (size_t i = 0; i < values.size(); ++i) store_int(t, static_cast<int64_t>(i), values[i]);
  return t;
}
Tensor floats(std::vector<float> values) {
  return Tensor::from<float>(DType::f32, {static_cast<int64_t>(values.size())},
                             std::span<const float>(values));
}
Tensor bools(const Shape& shape, std::vector<uint8_t> values) {
  return Tensor::from<uint8_t>(DType::boolean, shape, std::span<const uint8_t>(values));
}

/// Expects the message on every backend, with any number of threads.
void expect_error(const Case& c, const std::string& message) {
  for (const Backend* backend : backends())
    for (ThreadPool* pool : pools()) {
      try {
        run(*backend, c, *pool);
        ADD_FAILURE() << name(c.op) << " on " << backend->name()
                      << " accepted what it should refuse: " << message;
      } catch (const Error& e) {
        EXPECT_EQ(e.what(), message) << backend->name();
      }
    }
}

constexpr float kNan = std::numeric_limits<float>::quiet_NaN(), kInf = std::numeric_limits<float>::infinity();

}  // namespace

TEST(KernelErrors, IntegerArithmetic) {
  for (const DType dtype : {DType::i8, DType::i32, DType::i64}) {
    expect_error({Op::div, "", {ints({4, 6}, dtype), ints({2, 0}, dtype)}},
                 "[div] division of an integer by zero");
    expect_error({Op::mod, "", {ints({4, 6}, dtype), ints({2, 0}, dtype)}},
                 "[mod] remainder of an integer divided by zero");
    expect_error({Op::pow, "", {ints({4, 6}, dtype), ints({2, -1}, dtype)}},
                 "[pow] an integer to a negative power is no integer; convert to a float type first");
  }
}

TEST(KernelErrors, Cast) {
  const auto cast = [](float x, DType to) { return Case{Op::cast, "", {floats({1, x})}, DTypeAttrs{to}}; };
  expect_error(cast(kNan, DType::i32), "[cast] nan does not fit int32");
  expect_error(cast(kInf, DType::i64), "[cast] inf does not fit int64");
  expect_error(cast(-kInf, DType::i8), "[cast] -inf does not fit int8");
  expect_error(cast(128, DType::i8), "[cast] 128 does not fit int8");
  expect_error(cast(-129, DType::i8), "[cast] -129 does not fit int8");
  for (const Backend* backend : backends())
    for (const auto& [x, to] : {std::pair{0x1p63f, DType::i64}, std::pair{0x1p31f, DType::i32}})
      EXPECT_THROW(run(*backend, cast(x, to), *pools()[0]), Error) << backend->name() << " " << name(to);
}

TEST(KernelErrors, IndicesOutOfRange) {
  const Tensor x(DType::i32, {3, 5}), rows = ints({0, 0, 0, 0, 0}).view({1, 5}, {5, 1});
  for (const int64_t bad : {int64_t{3}, int64_t{-1}}) {
    const std::string index =
        "index " + std::to_string(bad) + " is out of range for axis 0 of [3, 5]: expected 0 to 2";
    const Tensor some = ints({0, 0, bad, 0, 0}).view({1, 5}, {5, 1});
    expect_error({Op::take, "", {x, ints({2, bad})}, AxisAttrs{0}}, "[take] " + index);
    expect_error({Op::gather, "", {x, some}, AxisAttrs{0}}, "[gather] " + index);
    expect_error({Op::scatter, "", {x, some, rows}, AxisAttrs{0}}, "[scatter] " + index);
    expect_error(
        {Op::embedding, "", {Tensor(DType::f32, {3, 5}), ints({1, bad})}},
        "[embedding] id " + std::to_string(bad) + " is out of range for the table [3, 5]: expected 0 to 2");
  }
}

TEST(KernelErrors, SoftmaxOverNothing) {
  expect_error({Op::softmax,
                "",
                {Tensor::from<float>(DType::f32, {2, 3}, std::vector<float>{1, 2, 3, 4, 5, 6}),
                 bools({2, 3}, {1, 0, 1, 0, 0, 0})},
                AxisAttrs{1}},
               "[softmax] a line along axis 1 of [2, 3] has no element that its mask keeps");
  const Tensor x =
      Tensor::from<float>(DType::f32, {2, 3}, std::vector<float>{-kInf, 2, 3, -kInf, -kInf, -kInf});
  const std::string nothing = "[softmax] a line along axis 1 of [2, 3] is -inf throughout";
  expect_error({Op::softmax, "", {x}, AxisAttrs{1}}, nothing);
  expect_error({Op::softmax, "", {x, bools({2, 3}, {1, 1, 1, 0, 1, 1})}, AxisAttrs{1}}, nothing);
  expect_error({Op::log_softmax, "", {x}, AxisAttrs{1}},
               "[log_softmax] a line along axis 1 of [2, 3] is -inf throughout");
  // A line of NaN is none of them, although it has no largest number either.
  const Tensor nan = Tensor::from<float>(DType::f32, {1, 2}, std::vector<float>{kNan, kNan});
  for (const Backend* backend : backends())
    EXPECT_TRUE(
        std::isnan(load_double(run(*backend, {Op::softmax, "", {nan}, AxisAttrs{1}}, *pools()[0]), 1)))
        << backend->name();
}

TEST(KernelErrors, AttentionToNothing) {
  const std::vector<int> order = {0, 1, 2};
  Random random(1);
  const auto tensor = [&] { return random_tensor(random, DType::f32, {2, 1, 8}); };
  const Params params = {.ints = {0}, .floats = {1.0}};
  expect_error({Op::attention,
                "",
                {tensor(), tensor(), tensor(), bools({2, 2}, {1, 1, 0, 0})},
                AttentionAttrs{order, order, order, order, 1, false},
                params},
               "[attention] query 1 sees no key");
  // Query 0 may see key 0 alone, which the mask takes from it.
  expect_error({Op::attention,
                "",
                {tensor(), tensor(), tensor(), bools({2, 2}, {0, 1, 1, 1})},
                AttentionAttrs{order, order, order, order, 1, true},
                params},
               "[attention] query 0 sees no key");
}

/// What takes part is not hidden: NaN comes out where it went in, and nowhere else.
TEST(KernelErrors, NanAndInfinityAreNotHidden) {
  Random random(2);
  for (const Backend* backend : backends()) {
    const auto nan_rows = [&](const Case& c) {
      const Tensor y = run(*backend, c, *pools()[0]);
      std::vector<bool> rows;
      for (int64_t r = 0; r < y.shape()[0]; ++r) {
        bool nan = false;
        for (int64_t i = 0; i < y.shape()[1]; ++i)
          nan = nan || std::isnan(load_double(y, r * y.shape()[1] + i));
        rows.push_back(nan);
      }
      return rows;
    };
    for (const float bad : {kNan, kInf}) {
      const Tensor x = random_tensor(random, DType::f32, {3, 64});
      x.data<float>()[64 + 37] = bad;
      const std::vector<bool> second = {false, true, false};
      EXPECT_EQ(nan_rows({Op::softmax, "", {x}, AxisAttrs{1}}), second) << backend->name();
      EXPECT_EQ(nan_rows({Op::log_softmax, "", {x}, AxisAttrs{1}}), second) << backend->name();
      EXPECT_EQ(nan_rows({Op::rms_norm, "", {x}, {}, {.floats = {1e-5}}}), second) << backend->name();
      EXPECT_EQ(nan_rows({Op::layer_norm, "", {x}, {}, {.floats = {1e-5}}}), second) << backend->name();
      for (const DType type : {DType::f32, DType::f16, DType::q4_0, DType::q8_0})
        for (const Activations activations : {Activations::q8, Activations::float32}) {
          const Tensor y =
              run(*backend, {Op::linear, "", {x, random_weights(random, type, {5, 64})}, {}, {}, activations},
                  *pools()[0]);
          for (int64_t i = 0; i < y.elements(); ++i)
            EXPECT_EQ(std::isfinite(load_double(y, i)), i / 5 != 1) << backend->name() << " " << name(type);
        }
    }
    // What a mask excludes takes no part, whatever it is.
    const Tensor x = random_tensor(random, DType::f32, {1, 9});
    x.data<float>()[4] = kNan;
    EXPECT_EQ(nan_rows({Op::softmax, "", {x, bools({9}, {1, 1, 1, 1, 0, 1, 1, 1, 1})}, AxisAttrs{1}}),
              std::vector<bool>{false});
  }
}

}  // namespace tl::test
