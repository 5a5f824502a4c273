// Two recordings side by side: values aligned by name or by role, how far they are apart, and the first
// divergence that rounding does not explain.
//
// What rounding explains is either measured, from recordings of the first run with its operations disturbed
// by rounding errors (`noise`, see perturb.h), or predicted: the error observed at an operation's inputs is
// carried through it to first order (Higham, "Accuracy and Stability of Numerical Algorithms", chapter 1),
// and the rounding of the operation itself is added. Errors that were inherited are thereby not counted
// again: the first value that is beyond its bound is where something happened.
#pragma once

#include <optional>
#include <string>
#include <utility>
#include <vector>

#include "inspect/recording.h"

namespace tl::inspect {

/// Of observed values from expected ones, elementwise.
struct Difference {
  double nmse = 0;     ///< sum (b - a)^2 / sum a^2: normalised mean squared error
  double cosine = 1;   ///< of the angle between both, as vectors
  double max_abs = 0;  ///< largest |b - a|
  double max_rel = 0;  ///< largest |b - a| / |a| over elements with |a| of at least the root mean square
  double max_ulp = 0;  ///< the same in units in the last place of a: float32's, or those of a narrower type
  int64_t worst = 0;   ///< the element where |b - a| is largest
  int64_t not_finite = 0;  ///< elements where one is NaN or infinite and the other is not the same

  double relative() const;  ///< sqrt(nmse), infinite where elements are not finite
};

/// Both as doubles in row-major order, of equal length.
Difference difference(const std::vector<double>& a, const std::vector<double>& b, double unit_in_last_place);
/// Of two tensors with as many elements; shapes may differ.
Difference difference(const Tensor& a, const Tensor& b);

/// One aligned value.
struct Pair {
  int a = -1, b = -1;                     ///< record numbers
  std::optional<Difference> values = {};  ///< where both recordings kept them
  /// Relative L2 distance: exact with values, otherwise a lower bound from the statistics.
  double error = 0;
  /// Root mean square over rows of their own relative distances: one row of large values hides the others' in
  /// `error`, and norms bring them out.
  double row_error = 0;
  double explained = 0;  ///< by rounding
  std::string note =
      {};  ///< "equal up to the order of RoPE's pairs (head_dim 64)", "shapes [..] and [..] differ"
  bool beyond = false;  ///< error above what is explained
};

struct CompareOptions {
  std::vector<std::pair<std::string, std::string>> names = {};  ///< names of a, and what b calls them
  std::vector<const Recording*> noise = {};  ///< the run of `a`, each disturbed by other rounding errors
};

struct Comparison {
  std::vector<Pair> pairs;          ///< in the order of a
  int first = -1;                   ///< the first pair beyond what is explained; -1: none
  std::vector<int> only_a, only_b;  ///< computed values that found no partner, by record number
  std::string inputs;  ///< how the token ids differ, "" if they do not (then nothing else counts)
};

/// `a` is the reference, `b` is judged.
Comparison compare(const Recording& a, const Recording& b, const CompareOptions& options = {});

/// Reads lines "NAME-IN-A NAME-IN-B"; # begins a comment. Throws FileError.
std::vector<std::pair<std::string, std::string>> read_name_map(const std::string& path);

}  // namespace tl::inspect
