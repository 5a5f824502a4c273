// The known faults as hypotheses about one value: what it would be if the reference's operations had the
// fault. Each is a change of operations in a replay. Nothing here knows how plant.h makes faults.
#pragma once

#include <string>
#include <vector>

#include "inspect/replay.h"

namespace tl::inspect {

/// A fault that may explain a value.
struct Hypothesis {
  std::string name;      ///< "rope-pairing"
  std::string sentence;  ///< what the program does wrong, and what would be right
  std::string remedy;    ///< where to look
  Replay::Change change;
};

/// Everything that is known to go wrong with the operations behind a value of the reference.
std::vector<Hypothesis> hypotheses(Replay& replay, int record);

/// What came of one: how far the value is from what the fault would make of it.
struct Candidate {
  std::string name, sentence, remedy;
  std::string operation = {};  ///< that has the fault
  int layer = -1;              ///< that it is in; -1: none
  double residual = 0;         ///< relative distance
  double share = 0;            ///< of 1, by residuals: near 1 where no other hypothesis comes close
};

/// Replays a value under each hypothesis that changes it. The first is the nearest. Only those that leave a
/// residual that rounding explains, or a small part of the `error` that was seen, are kept.
std::vector<Candidate> explain(Replay& replay, int record, double error);

}  // namespace tl::inspect
