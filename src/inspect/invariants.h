// What must hold in a run whatever is right: checks that need no reference.
#pragma once

#include <span>
#include <string>
#include <vector>

#include "formats/model_file.h"
#include "inspect/recording.h"

namespace tl::inspect {

/// One check and what it found.
struct Invariant {
  std::string what = {};  ///< "rows of attention weights sum to 1"
  bool holds = true;
  double worst = 0;        ///< the largest deviation
  double bound = 0;        ///< what rounding explains
  std::string where = {};  ///< the value that deviates most
  int64_t checked = 0;     ///< rows
};

/// Of a recording with values; weights of norms are read from the model's file. Rows of attention weights sum
/// to 1, RoPE keeps the length of every head, normalised rows have the root mean square of 1. Values are
/// found by their roles; a check that finds none is left out.
std::vector<Invariant> check_invariants(const Recording& recording, const ModelFile& file);

/// Logits of the same tokens fed in two ways, or of the rows that must not change.
Invariant same_logits(std::string what, std::span<const float> a, std::span<const float> b, int64_t width);

}  // namespace tl::inspect
