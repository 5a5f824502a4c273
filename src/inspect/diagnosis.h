// From two recordings to the name of a fault: the first value that the reference's operations do not give
// from what the observed run fed them, and the known fault that reproduces it.
#pragma once

#include <string>
#include <vector>

#include "inspect/hypothesis.h"

namespace tl::inspect {

/// A value that its operation should not have given.
struct Fault {
  int record = -1;        ///< of the reference
  std::string name;       ///< of the value in the observed program
  std::string place;      ///< there
  std::string role;       ///< "blk.3.attn_q.rope", "" where it has none
  std::string operation;  ///< the reference's: "rope"
  int layer = -1;         ///< -1: none
  double error = 0;       ///< relative distance from what the operations give on the observed inputs
  double explained = 0;   ///< by rounding
  Difference difference;  ///< the same in detail
  std::vector<Candidate> candidates;  ///< the best first; empty: none of the known faults
};

/// A fault that was found after the first one: where it is wrong for the first time, and in how many values
/// of its kind.
struct FurtherFault {
  Fault fault;
  int places = 1;
};

/// Judges value by value until one is wrong; record is -1 where none is.
Fault first_fault(Replay& replay);

/// Judges the values after `first` too. Each is computed from what the observed run fed it, so that what
/// follows from the first fault does not count; a known fault is given once, with the number of its places,
/// those of the first included. Values that no known fault explains are left out: they may be bent by the
/// first.
std::vector<FurtherFault> further_faults(Replay& replay, const Fault& first);

}  // namespace tl::inspect
