// The numbers of tensor_statistics() on every element type and layout.
#include "tensor/statistics.h"

#include <gtest/gtest.h>

#include <cmath>
#include <limits>

namespace tl::test {
namespace {

template <class T>
Tensor tensor(DType dtype, std::vector<T> values) {
  return Tensor::from<T>(dtype, Shape{static_cast<int64_t>(values.size())}, values);
}

TEST(TensorStatistics, CountsWhatNarrowerTypesLose) {
  ThreadPool pool(1);
  const auto s = tensor_statistics(tensor<float>(DType::f32, {0, -0.0f, 65504, 65520, -70000, 1e-5f, 6e-5f,
                                                              6.2e-5f, 3.4e38f, 1e-40f, NAN, INFINITY}),
                                   pool);
  EXPECT_EQ(s.count, 12);
  EXPECT_EQ(s.nan, 1);
  EXPECT_EQ(s.inf, 1);
  EXPECT_EQ(s.zero, 2);
  EXPECT_EQ(s.denormal, 1);
  EXPECT_EQ(s.above_f16, 3);  // 65520, -70000 and 3.4e38; 65504 is float16's largest
  EXPECT_EQ(s.below_f16, 3);  // 1e-5, 6e-5 and 1e-40; the smallest normal one is 6.1e-5
  EXPECT_EQ(s.above_bf16, 1);
  EXPECT_EQ(s.below_bf16, 1);
  EXPECT_GT(s.f16_share(), 1);
}

TEST(TensorStatistics, DenormalsAreThoseOfTheElementType) {
  ThreadPool pool(1);
  EXPECT_EQ(tensor_statistics(tensor<double>(DType::f64, {1e-40, 1e-310, 1}), pool).denormal, 1);
  EXPECT_EQ(tensor_statistics(tensor<uint16_t>(DType::f16, {0x0001, 0x0400, 0x3c00}), pool).denormal, 1);
  EXPECT_EQ(tensor_statistics(tensor<uint16_t>(DType::bf16, {0x0001, 0x0080, 0x3f80}), pool).denormal, 1);
  EXPECT_EQ(tensor_statistics(tensor<int32_t>(DType::i32, {0, 1, -5}), pool).denormal, 0);
}

TEST(TensorStatistics, LongDoublesAgreeWithThePlainFormula) {
  ThreadPool one(1), three(3);
  for (const size_t n : {1u, 7u, 8u, 9u, 1000u, 16383u, 16384u, 16385u, 100003u}) {
    std::vector<double> values(n);
    double sum = 0, squares = 0;
    for (size_t i = 0; i < n; ++i) sum += values[i] = std::sin(static_cast<double>(i)) + 10;
    const double mean = sum / static_cast<double>(n);
    for (const double v : values) squares += (v - mean) * (v - mean);
    const auto s = tensor_statistics(tensor(DType::f64, values), one);
    EXPECT_NEAR(s.mean, mean, 1e-12);
    EXPECT_NEAR(s.std, std::sqrt(squares / static_cast<double>(n)), 1e-10);
    EXPECT_NEAR(s.rms(), std::sqrt(mean * mean + squares / static_cast<double>(n)), 1e-10);
    const auto again = tensor_statistics(tensor(DType::f64, values), three);
    EXPECT_EQ(again.mean, s.mean);
    EXPECT_EQ(again.std, s.std);
    EXPECT_EQ(again.checksum, s.checksum);
  }
}

TEST(TensorStatistics, ChecksumsTellBitsAndOrderApart) {
  ThreadPool pool(1);
  const auto sum = [&](std::vector<float> values) {
    return tensor_statistics(tensor(DType::f32, values), pool).checksum;
  };
  EXPECT_EQ(sum({1, 2, 3}), sum({1, 2, 3}));
  EXPECT_NE(sum({1, 2, 3}), sum({2, 1, 3}));
  EXPECT_NE(sum({0, 1}), sum({-0.0f, 1}));
  EXPECT_NE(sum({1, 2, 3}), sum({1, 2, 3, 0}));
  std::vector<float> long_one(40000, 1.0f), other = long_one;
  other[39999] = std::nextafter(1.0f, 2.0f);
  EXPECT_NE(sum(long_one), sum(other));
}

TEST(TensorStatistics, StridedTensorsCountTheirOwnElementsInRowMajorOrder) {
  ThreadPool pool(1);
  const Tensor t = tensor<float>(DType::f32, {1, 2, 3, 4, 5, 6});
  const Tensor columns = t.view({3, 2}, {1, 3}), packed = tensor<float>(DType::f32, {1, 4, 2, 5, 3, 6});
  EXPECT_EQ(tensor_statistics(columns, pool).checksum, tensor_statistics(packed, pool).checksum);
  const auto part = tensor_statistics(t.view({3}, {2}), pool);
  EXPECT_EQ(part.count, 3);
  EXPECT_EQ(part.mean, 3);
}

TEST(TensorStatistics, EmptyTensorsHaveNone) {
  ThreadPool pool(1);
  const auto s = tensor_statistics(Tensor(DType::f32, {0, 4}), pool);
  EXPECT_EQ(s.count, 0);
  EXPECT_EQ(s.min, 0);
  EXPECT_EQ(s.std, 0);
  EXPECT_EQ(s.rms(), 0);
}

}  // namespace
}  // namespace tl::test
