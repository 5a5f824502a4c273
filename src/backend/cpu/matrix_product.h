// Matrix products of operands that lie anyhow: the offset of an element is a sum of table entries.
#pragma once

#include <cstdint>
#include <vector>

#include "backend/cpu/matrix_packing.h"
#include "base/thread_pool.h"

namespace tl::cpu {

/// out[b, i, j] = scale * sum over p of left[b, i, p] * right[b, p, j]. Each table gives the element offsets
/// that one of the indices stands for; tables of one index have one length. Those of operands may have
/// entries kOutside.
struct MatrixProduct {
  const float *left, *right;
  float* out;
  std::vector<int64_t> left_batch, right_batch, out_batch;  // of b
  std::vector<int64_t> left_rows, out_rows;                 // of i
  std::vector<int64_t> right_columns, out_columns;          // of j
  std::vector<int64_t> left_inner, right_inner;             // of p
  float scale = 1.0f;

  /// Sums go over p in order, in blocks of 256 that are then added in order, for every element alike,
  /// whatever the other extents are. Uses the tables up.
  void run(ThreadPool& pool) &&;
};

}  // namespace tl::cpu
