// Several operations on one row of activations in one kernel: products of the row with weights, the norm and
// the rounding before them, and what happens to each result after: rotation and a place in the cache, the
// gate of a feed-forward layer, the sum with the residual stream.
//
// Every block normalises and rounds the row for itself, into shared memory; the first block writes it down
// for whoever reads it later. A warp computes two rows of the weights at a time, in the order of the kernels
// that are joined: bits do not change.
#pragma once

#include "backend/cuda/row_operation.cuh"

namespace tl::cuda {

struct JoinedRow {
  static constexpr int kMostParts = 3;

  /// A product and what follows it. Results that nobody reads outside have a null for where to write them.
  struct Part {
    Blocks w;
    int64_t stride, n, units;
    const float* bias;
    float* out;
    Wide<bool> rotated, appended;
    Rope rope;
    float* rotated_out;
    Target cache;
    Number row;
    int64_t row_stride;
  };

  int64_t k;
  const float* x;
  Wide<bool> normed;
  const float* norm_weight;
  double eps;
  float* normed_out;
  int8_t* quants;  ///< null: the activations stay floats
  float* scales;
  int* sums;
  Part parts[kMostParts];
  int64_t n_parts, units;  ///< a unit is two rows of the weights, or one
  Wide<bool> single;       ///< one; add_joined_row() decides
  Wide<bool> gated;        ///< out = silu(part 0) * part 1
  float* gated_out;
  const float* addend;  ///< of part 0, or null
  float* sum_out;
};

/// Has joined rows computed: adds the launch to the list. Whether there is a kernel for such weights and
/// rows of k elements is can_join().
void add_joined_row(LaunchList& list, JoinedRow row);
bool can_join(DType weights, bool rounded, int64_t k);

}  // namespace tl::cuda
