#include "ops/draw.h"

#include <algorithm>
#include <cmath>
#include <vector>

#include <gtest/gtest.h>

namespace tl {

TEST(Draw, ExponentialsAreWithinTwoUnitsInTheLastPlace) {
  double largest = 0;
  for (int i = 0; i < 200000; ++i) {
    const double x = -708.0 * i / 200000 / (i % 3 == 0 ? 100 : 1);
    const long double exact = std::exp(static_cast<long double>(x));
    const double unit = std::nextafter(static_cast<double>(exact), INFINITY) - static_cast<double>(exact);
    largest = std::max(largest, static_cast<double>(std::fabs(portable_exp(x) - exact)) / unit);
  }
  EXPECT_LT(largest, 1.25) << "two are promised";
  EXPECT_GT(largest, 0.4) << "the comparison sees nothing";
}

TEST(Draw, ExponentialsAtTheEnds) {
  EXPECT_EQ(portable_exp(0), 1);
  EXPECT_EQ(portable_exp(-0.0), 1);
  EXPECT_GT(portable_exp(-708), 0);
  EXPECT_EQ(portable_exp(-708.1), 0);
  EXPECT_EQ(portable_exp(-INFINITY), 0);
  EXPECT_TRUE(std::isnan(portable_exp(NAN)));
}

/// The bits themselves, so that a machine or compiler that computes otherwise is noticed.
TEST(Draw, ExponentialsAreTheSameEverywhere) {
  constexpr double kCompiled = portable_exp(-0.7);
  volatile double x = -0.7;
  EXPECT_EQ(portable_exp(x), kCompiled);
  EXPECT_EQ(kCompiled, 0x1.fc80db9dd5542p-2);
  EXPECT_EQ(portable_exp(-1), 0x1.78b56362cef38p-2);
  EXPECT_EQ(portable_exp(-10.1), 0x1.5899ac5129ae3p-15);
  EXPECT_EQ(portable_exp(-333.3), 0x1.1bffc932ffe0dp-481);
}

TEST(Draw, ARefusalTellsWhatIsRefused) {
  for (const int64_t place : {0, 1, 2, 31999, 1 << 24})
    for (const double logit :
         {static_cast<double>(NAN), static_cast<double>(INFINITY), -static_cast<double>(INFINITY)}) {
      const int64_t drawn = refusal(logit, place);
      EXPECT_LT(drawn, 0);
      EXPECT_EQ(refused_candidate(drawn).place, place);
      if (std::isnan(logit))
        EXPECT_TRUE(std::isnan(refused_candidate(drawn).logit));
      else
        EXPECT_EQ(refused_candidate(drawn).logit, logit);
    }
}

TEST(Draw, TheCumulativeProbabilityDecides) {
  const auto drawn = [](std::vector<double> logits, const DrawOptions& options, double u) {
    return drawn_index(logits, options, static_cast<int64_t>(std::ldexp(u, 53)));
  };
  const std::vector<double> equal(4, -3);
  EXPECT_EQ(drawn(equal, {}, 0), 0u);
  EXPECT_EQ(drawn(equal, {}, 0.2499), 0u);
  EXPECT_EQ(drawn(equal, {}, 0.25), 1u) << "it has to be exceeded";
  EXPECT_EQ(drawn(equal, {}, 0x0.fffffffffffff8p0), 3u);
  EXPECT_EQ(drawn(equal, {.top_p = 0.5}, 0.99), 1u) << "two reach it";
  EXPECT_EQ(drawn(equal, {.top_p = 0}, 0.99), 0u);
  const std::vector<double> falling = {0, std::log(0.5), std::log(0.25)};
  EXPECT_EQ(drawn(falling, {.min_log_p = std::log(0.4)}, 0.99), 1u);
  EXPECT_EQ(drawn(falling, {.min_log_p = falling[1]}, 0.99), 1u) << "it is kept where it lies";
  EXPECT_EQ(drawn(falling, {.temp = 0.01}, 0.99), 0u);
  EXPECT_EQ(drawn({-9}, {}, 0.5), 0u);
}

/// A temperature so small that quotients overflow.
TEST(Draw, OneIsDrawnInAnyCase) {
  std::vector<double> logits = {5, 4, 3};
  EXPECT_LT(drawn_index(logits, {.temp = 1e-308}, 7), 3u);
}

}  // namespace tl
