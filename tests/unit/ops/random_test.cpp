#include "ops/random.h"

#include <cmath>

#include <gtest/gtest.h>

namespace tl {

/// The known answers that come with Random123 (kat_vectors, philox4x32 10).
TEST(Random, PhiloxKnownAnswers) {
  using Block = std::array<uint32_t, 4>;
  EXPECT_EQ(philox4x32({0, 0, 0, 0}, {0, 0}), (Block{0x6627e8d5, 0xe169c58d, 0xbc57ac4c, 0x9b00dbd8}));
  EXPECT_EQ(philox4x32({0xffffffff, 0xffffffff, 0xffffffff, 0xffffffff}, {0xffffffff, 0xffffffff}),
            (Block{0x408f276d, 0x41c83b0e, 0xa20bc7c6, 0x6d5451fd}));
  EXPECT_EQ(philox4x32({0x243f6a88, 0x85a308d3, 0x13198a2e, 0x03707344}, {0xa4093822, 0x299f31d0}),
            (Block{0xd16cfe09, 0x94fdcceb, 0x5001e420, 0x24126ea1}));
}

TEST(Random, WordsOfABlockAreConsecutiveValues) {
  const auto words = random_block(7, RandomStream::uniform, 5);
  for (uint64_t i = 0; i < 4; ++i)
    EXPECT_EQ(random_uniform(7, 20 + i), static_cast<float>(words[i] >> 8) * 0x1p-24f);
}

TEST(Random, EverySeedAndIndexCounts) {
  EXPECT_NE(random_uniform(1, 0), random_uniform(2, 0));
  EXPECT_NE(random_uniform(1, 0), random_uniform(1ull << 32 | 1, 0));
  EXPECT_NE(random_uniform(1, 0), random_uniform(1, 4));
  EXPECT_NE(random_uniform(1, 0), random_uniform(1, 4ull << 32));
  EXPECT_NE(random_block(1, RandomStream::uniform, 0), random_block(1, RandomStream::normal, 0));
}

/// Sample moments of n values lie within five standard errors of the distribution's: the k-th moment of n
/// independent values has the standard error sqrt(Var(x^k) / n).
template <class Value>
void expect_moments(Value value, std::array<double, 4> moments, std::array<double, 4> variances) {
  constexpr int kValues = 200000;
  std::array<double, 4> sums{};
  for (int i = 0; i < kValues; ++i) {
    double power = 1;
    for (double& sum : sums) sum += power *= value(static_cast<uint64_t>(i));
  }
  for (size_t k = 0; k < 4; ++k)
    EXPECT_NEAR(sums[k] / kValues, moments[k], 5 * std::sqrt(variances[k] / kValues)) << "moment " << k + 1;
}

TEST(Random, UniformMoments) {
  const auto variance = [](double k) { return 1 / (2 * k + 1) - 1 / ((k + 1) * (k + 1)); };
  for (const uint64_t seed : {0ull, 42ull, ~0ull})
    expect_moments([=](uint64_t i) { return static_cast<double>(random_uniform(seed, i)); },
                   {1.0 / 2, 1.0 / 3, 1.0 / 4, 1.0 / 5},
                   {variance(1), variance(2), variance(3), variance(4)});
}

TEST(Random, NormalMoments) {
  for (const uint64_t seed : {0ull, 42ull, ~0ull})
    expect_moments([=](uint64_t i) { return static_cast<double>(random_normal(seed, i)); }, {0, 1, 0, 3},
                   {1, 2, 15, 96});
}

TEST(Random, UniformStaysBelowOneAndNormalFinite) {
  for (uint64_t i = 0; i < 100000; ++i) {
    const float u = random_uniform(3, i);
    ASSERT_TRUE(u >= 0 && u < 1) << i;
    ASSERT_TRUE(std::isfinite(random_normal(3, i))) << i;
  }
}

/// Neighbours are uncorrelated, within a pair of Box and Muller's too: the standard error is 1 / sqrt(n).
TEST(Random, NeighboursAreUncorrelated) {
  constexpr int kValues = 100000;
  for (const uint64_t distance : {1, 2, 3, 4, 5}) {
    double sum = 0;
    for (uint64_t i = 0; i < kValues; ++i)
      sum += static_cast<double>(random_normal(9, i)) * static_cast<double>(random_normal(9, i + distance));
    EXPECT_NEAR(sum / kValues, 0, 5 / std::sqrt(kValues)) << distance;
  }
}

}  // namespace tl
