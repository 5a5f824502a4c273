// The 16-bit float types, every bit pattern of them.
#include "base/half.h"

#include <cmath>
#include <limits>

#include <gtest/gtest.h>

namespace tl {
namespace {

/// What IEEE 754 says of the pattern, in arithmetic instead of bits.
double value_of(uint16_t bits, int exponent_bits, int mantissa_bits) {
  const int bias = (1 << (exponent_bits - 1)) - 1, mantissa = bits & ((1 << mantissa_bits) - 1);
  const int exponent = bits >> mantissa_bits & ((1 << exponent_bits) - 1);
  const double sign = bits & 0x8000 ? -1 : 1;
  if (exponent == (1 << exponent_bits) - 1) return mantissa != 0 ? NAN : sign * INFINITY;
  const double scaled = exponent == 0 ? mantissa : mantissa + (1 << mantissa_bits);
  return sign * std::ldexp(scaled, std::max(exponent, 1) - bias - mantissa_bits);
}

struct HalfType {
  const char* name;
  int exponent_bits, mantissa_bits;
  float (*to_float)(uint16_t);
  uint16_t (*from_float)(float);
};

class Half : public testing::TestWithParam<HalfType> {};

TEST_P(Half, EveryPatternIsReadExactlyAndComesBack) {
  const HalfType& t = GetParam();
  for (uint32_t i = 0; i <= 0xffff; ++i) {
    const auto bits = static_cast<uint16_t>(i);
    const double expected = value_of(bits, t.exponent_bits, t.mantissa_bits);
    const float actual = t.to_float(bits);
    if (std::isnan(expected)) {
      EXPECT_TRUE(std::isnan(actual)) << i;
      EXPECT_TRUE(std::isnan(t.to_float(t.from_float(actual)))) << i;
      continue;
    }
    ASSERT_EQ(actual, expected) << i;
    ASSERT_EQ(std::signbit(actual), (bits & 0x8000) != 0) << i;
    ASSERT_EQ(t.from_float(actual), bits) << i;
  }
}

/// Between two neighbours: the middle goes to the even one, anything beside it to the nearer.
TEST_P(Half, RoundsToNearestEven) {
  const HalfType& t = GetParam();
  const auto largest = static_cast<uint16_t>((((1 << t.exponent_bits) - 1) << t.mantissa_bits) - 1);
  for (uint16_t low = 0; low < largest; ++low) {
    const auto high = static_cast<uint16_t>(low + 1);
    const double middle = (static_cast<double>(t.to_float(low)) + t.to_float(high)) / 2;
    const auto at = static_cast<float>(middle);
    if (at != middle) continue;  // the smallest bfloat16 have no float between them
    const uint16_t even = low % 2 == 0 ? low : high;
    ASSERT_EQ(t.from_float(at), even) << low;
    ASSERT_EQ(t.from_float(-at), even | 0x8000) << low;
    ASSERT_EQ(t.from_float(std::nextafter(at, -INFINITY)), low) << low;
    ASSERT_EQ(t.from_float(std::nextafter(at, INFINITY)), high) << low;
  }
  EXPECT_EQ(t.to_float(t.from_float(std::numeric_limits<float>::max())), INFINITY);
  EXPECT_TRUE(std::isfinite(t.to_float(largest)));
}

INSTANTIATE_TEST_SUITE_P(Types, Half,
                         testing::Values(HalfType{"f16", 5, 10, f16_to_f32, f32_to_f16},
                                         HalfType{"bf16", 8, 7, bf16_to_f32, f32_to_bf16}),
                         [](const auto& param) { return std::string(param.param.name); });

}  // namespace
}  // namespace tl
