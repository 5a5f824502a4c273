// What precision costs a model, for the report of `tl diagnose --precision`.
#pragma once

#include <optional>
#include <string>
#include <vector>

#include "cli/options.h"

namespace tl::cli {

/// How far a run's next-token distributions are from float64's, over the positions of a prompt.
struct DistanceOfLogits {
  double divergence = 0;  ///< mean Kullback-Leibler, nats; NaN where logits are not finite
  double agreement = 0;   ///< share of positions with the same most probable token
};

/// The float types that values are kept and summed in.
struct FloatTypes {
  DType activations;   ///< results of operations
  DType residual;      ///< the residual stream
  DType accumulation;  ///< sums of products, norms and softmax
};

/// The types that are tried, the narrowest first.
constexpr DType kPrecisions[] = {DType::f16, DType::bf16, DType::f32, DType::f64};

/// The model's own program with its values in other types.
struct PrecisionRow {
  FloatTypes precision;
  DistanceOfLogits distance;
};

/// The run as it was asked for, of which one part is computed in float64.
struct SensitivityRow {
  std::string part;  ///< "linear", "layer 3"
  DistanceOfLogits distance;
  /// What of the whole run's divergence goes away with this part's rounding; less than 0 where errors
  /// cancelled.
  double share = 0;
};

struct PrecisionStudy {
  int64_t positions = 0;
  std::vector<PrecisionRow> matrix;  ///< all combinations, the narrowest first
  DistanceOfLogits as_asked;
  std::vector<SensitivityRow> operations, layers;  ///< those that matter most first; layers in order
};

/// Runs the first positions of a prompt in every combination, then `options` with one part at a time in
/// float64.
PrecisionStudy study_precision(const ModelOptions& options, const std::vector<int32_t>& ids);

}  // namespace tl::cli
