// How far a result may be from the exact one: derived per operation from the arithmetic, never guessed.
#pragma once

#include <vector>

#include "inspect/operation.h"

namespace tl::inspect {

/// A backend's arithmetic, as far as error bounds depend on it. Sums run in `lanes` interleaved partial sums
/// that are added pairwise at the end; 1 means one after another.
struct Arithmetic {
  DType type;     ///< that it computes in
  int sum_lanes;  ///< of reductions and norms
  int exp_lanes;  ///< of the sum in softmax
  int dot_lanes;  ///< of linear, and of the scores in attention
  /// Of a block's largest magnitude, to which activations are rounded where weights are quantised, unless
  /// told not to; 0: they are not.
  double activation_steps;
  /// So many, and more, meet such weights in float16 instead, and so many queries keys and values; 0: never.
  int64_t rows_in_halves;
};
Arithmetic arithmetic_of(const Backend& backend);

/// The largest permitted |actual - expected| per element, for a result kept in `stored`. Empty where the
/// operation is exact: then the result is `expected` rounded to `stored`, bit for bit. `expected` is the
/// exact result. Sums of magnitudes and squares that the bound needs are computed by `oracle`, the
/// reference backend.
std::vector<double> error_bound(const Operation& c, const Arithmetic& arithmetic, DType stored,
                                const std::vector<double>& expected, const Backend& oracle);

}  // namespace tl::inspect
