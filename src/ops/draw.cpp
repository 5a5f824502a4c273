#include "ops/draw.h"

#include <algorithm>
#include <limits>
#include <vector>

namespace tl {

namespace {

/// e^(logit - the first), summed up from the first to each.
std::vector<double> cumulative_weights(std::span<const double> logits) {
  std::vector<double> sums;
  sums.reserve(logits.size());
  double sum = 0;
  for (const double logit : logits) sums.push_back(sum += portable_exp(logit - logits.front()));
  return sums;
}

/// How many elements come before the first for which something holds.
template <class Holds>
size_t count_before(const std::vector<double>& sums, Holds holds) {
  return static_cast<size_t>(std::ranges::find_if(sums, holds) - sums.begin());
}

}  // namespace

size_t drawn_index(std::span<double> logits, const DrawOptions& options, int64_t bits) {
  if (options.top_p < 1) {
    const std::vector<double> sums = cumulative_weights(logits);
    const double least = options.top_p * sums.back();
    logits = logits.first(
        std::min(logits.size(), count_before(sums, [&](double sum) { return sum >= least; }) + 1));
  }
  const double least = logits.front() + options.min_log_p;
  const auto end = std::ranges::find_if(logits, [&](double logit) { return logit < least; });
  logits = logits.first(static_cast<size_t>(end - logits.begin()));
  for (double& logit : logits) logit /= options.temp;
  const std::vector<double> sums = cumulative_weights(logits);
  const double target = unit_interval(bits) * sums.back();
  // Rounding may keep the last sum at the target.
  return std::min(sums.size() - 1, count_before(sums, [&](double sum) { return sum > target; }));
}

int64_t drawn_place(std::span<double> logits, std::span<const double> places, const DrawOptions& options,
                    int64_t bits) {
  if (!is_drawable(logits.front())) return refusal(logits.front(), static_cast<int64_t>(places.front()));
  return static_cast<int64_t>(places[drawn_index(logits, options, bits)]);
}

RefusedCandidate refused_candidate(int64_t refusal) {
  using Limits = std::numeric_limits<double>;
  const int64_t told = -1 - refusal;
  const double logits[] = {Limits::quiet_NaN(), Limits::infinity(), -Limits::infinity()};
  return {told / 3, logits[told % 3]};
}

}  // namespace tl
