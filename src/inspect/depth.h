// Logits as numbers that say how healthy they are, and what a model would say after fewer layers.
#pragma once

#include <cstdint>
#include <span>
#include <vector>

#include "inspect/replay.h"

namespace tl::inspect {

/// One row of logits.
struct LogitsSummary {
  double min = 0, max = 0;
  double entropy = 0;  ///< of their softmax, in nats; NaN where some are not finite
  int32_t top = 0;     ///< the token with the largest
};

LogitsSummary summarise(std::span<const double> logits);
/// The Kullback-Leibler divergence of softmax(b) from softmax(a), in nats; NaN where some are not finite.
double divergence(std::span<const double> a, std::span<const double> b);

/// The last token's logits if the model ended after `layers` layers: that residual stream through the final
/// norm and the output matrix of the reference, in float64.
struct DepthRow {
  int64_t layers = 0;
  LogitsSummary expected, observed;
  double divergence = 0;  ///< of the observed from the expected
};

/// For each number of layers whose residual stream both runs have.
std::vector<DepthRow> by_depth(Replay& replay, const std::vector<int64_t>& layer_counts);

}  // namespace tl::inspect
