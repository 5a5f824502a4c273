// Several operations on one row of activations in one kernel: products of the row with weights, the norm and
// the rounding before them, and what happens to each result after: rotation and a place in the cache, the
// gate of a feed-forward layer, the sum with the residual stream.
//
// Every block normalises and rounds the row for itself, into shared memory; the first block writes it down
// for whoever reads it later. A warp computes a row or two of the weights at a time, in the order of the
// kernels that are joined: bits do not change.
#pragma once

#include "backend/cuda/row_operation.cuh"

namespace tl::cuda {

/// Kept short, with what is read first in front: parameters come from memory that no cache holds any more.
struct JoinedRow {
  static constexpr int kMostParts = 3, kMostPairs = 128;

  const float *x, *norm_weight;  ///< norm_weight may be null
  int k, units, n_parts;         ///< a unit is what a warp computes at a time
  bool normed, gated;            ///< gated: result = silu(part 0) * part 1
  // add_joined_row() decides:
  bool turns;         ///< a part is rotated
  int padded;         ///< elements of the row in shared memory
  double share, eps;  ///< share = 1 / k
  // Results that nobody reads outside have a null for where to write them.
  const float* addend;  ///< result = addend + part 0; or null
  float *result, *normed_out;
  int8_t* quants;  ///< null: the activations stay floats
  float* scales;
  int* sums;

  /// A product.
  struct Part {
    const uint8_t* data[kMaxFields];
    float* out;
    const float* bias;
    int n, units;
    int64_t stride;
  };
  Part parts[kMostParts];

  /// What follows it.
  struct Place {
    Number position;  ///< null: not rotated
    float* rotated_out;
    Target cache;  ///< null: not appended
    Number row;
    int64_t row_stride;
  };
  Place places[kMostParts];
  Rope rope;  ///< of all that are rotated, at most kMostPairs; `first` is each one's position
  DType weights;
};

/// Has joined rows computed: adds the launch to the list. Whether there is a kernel for such weights and
/// rows of k elements is can_join().
void add_joined_row(LaunchList& list, JoinedRow row);
bool can_join(DType weights, bool rounded, int64_t k);

}  // namespace tl::cuda
