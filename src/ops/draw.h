// Drawing a token from the most probable ones, the arithmetic of Op::draw. The sampler and every backend go
// by it: sums, products and quotients of double in one order, and an exponential made of them, so that the
// same bits give the same token on every machine and device.
#pragma once

#include <bit>
#include <cmath>
#include <cstddef>
#include <cstdint>
#include <span>

#include "ops/attributes.h"

namespace tl {

/// What a token is drawn by, given candidates from the most probable on.
struct DrawOptions {
  double temp = 1;               ///< divides the logits of those that are kept
  double top_p = 1;              ///< keep the fewest whose probabilities reach it
  double min_log_p = -INFINITY;  ///< keep those less than that below the first logit
  bool operator==(const DrawOptions&) const = default;
};

/// Those of Op::draw.
inline DrawOptions draw_options(const Params& params) {
  return {params.floats[0], params.floats[1], params.floats[2]};
}

/// e^x for x of at most 0, within two units in the last place, the same on every machine (the C library's may
/// differ in the last bit from one to the next); 0 below -708, where numbers are about to lose bits.
constexpr double portable_exp(double x) {
  if (!(x >= -708)) return x < 0 ? 0 : x;
  constexpr double kLog2E = 0x1.71547652b82fep+0;
  constexpr double kLn2High = 0x1.62e42feep-1, kLn2Low = 0x1.a39ef35793c76p-33;  // n * high is exact
  constexpr double kWhole = 0x1.8p52;  // what is added to it loses its fraction
  const double n = x * kLog2E + kWhole - kWhole, r = x - n * kLn2High - n * kLn2Low;
  double sum = 0;
  for (const double inverse_factorial :
       {1 / 6227020800.0, 1 / 479001600.0, 1 / 39916800.0, 1 / 3628800.0, 1 / 362880.0, 1 / 40320.0,
        1 / 5040.0, 1 / 720.0, 1 / 120.0, 1 / 24.0, 1 / 6.0, 1 / 2.0, 1.0, 1.0})
    sum = sum * r + inverse_factorial;
  return sum * std::bit_cast<double>((static_cast<int64_t>(n) + 1023) << 52);
}

/// 53 random bits as a number in [0, 1).
constexpr double unit_interval(int64_t bits) { return static_cast<double>(bits) * 0x1p-53; }

/// Whether softmax of logits is defined of which this one is the largest.
constexpr bool is_drawable(double logit) { return logit - logit == 0; }

/// What stands for a token where no token can be drawn: a number below 0 that tells the first candidate.
constexpr int64_t refusal(double logit, int64_t place) {
  const int kind = logit != logit ? 0 : logit > 0 ? 1 : 2;
  return -1 - (3 * place + kind);
}

/// A candidate that refusal() told of.
struct RefusedCandidate {
  int64_t place;
  double logit;  ///< NaN, +Inf or -Inf
};
RefusedCandidate refused_candidate(int64_t refusal);

/// Which of the candidates is drawn: the first, from the most probable on, at which the cumulative
/// probability exceeds unit_interval(bits). The first logit is the largest, and is_drawable(). Changes
/// logits.
size_t drawn_index(std::span<double> logits, const DrawOptions& options, int64_t bits);

/// What Op::draw gives for logits and their places.
int64_t drawn_place(std::span<double> logits, std::span<const double> places, const DrawOptions& options,
                    int64_t bits);

}  // namespace tl
