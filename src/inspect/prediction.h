// How far two runs of one computation may be apart by rounding alone, predicted value by value: the error
// observed at an operation's inputs is carried through it to first order, and its own rounding is added. So
// errors that were inherited are not counted again, and the first value beyond its prediction is where
// something happened. Constants and gains are stated where they are used; perturb.h measures what is only
// estimated here.
#pragma once

#include <cmath>
#include <vector>

#include "inspect/recording.h"

namespace tl::inspect {

/// The relative error seen of one value.
struct ObservedError {
  double error = std::nan("");      ///< relative L2; NaN where the value was not seen
  double row_error = std::nan("");  ///< root mean square over rows of their own relative errors
  bool is_lower_bound = false;      ///< known from statistics only
};

/// Arithmetic of runs, as far as it is coarser than float32.
struct Coarseness {
  bool activations_q8 = false;  ///< rounded to 8 bits per block where they meet quantised weights
  bool attention_f16 = false;   ///< keys, values and scores in float16
  bool cache_blocks = false;    ///< keys and values kept in 8 bits per block

  /// Notes what is coarse in a run.
  void add(const Recording& run);
};

/// The relative error that rounding explains for each record of `graph`, with a margin of four. `observed`
/// goes by record number.
std::vector<double> explained_by_rounding(const Recording& graph, const Coarseness& coarseness,
                                          const std::vector<ObservedError>& observed);

}  // namespace tl::inspect
