// Matrix products of float32 operands that lie anyhow: the offset of an element is a sum of table entries.
#pragma once

#include <cstdint>
#include <limits>
#include <vector>

namespace tl::cuda {

/// The table entry of an index that is read outside the operand, where its value is 0.
constexpr int64_t kOutside = std::numeric_limits<int64_t>::min();

/// out[b, i, j] = sum over p of left[b, i, p] * right[b, p, j], divided by `divisor`. Each table gives the
/// element offsets that one of the indices stands for; tables of one index have one length. Sums go over p in
/// order, whatever the other extents are.
struct MatrixProduct {
  const float *left, *right;
  float* out;
  std::vector<int64_t> left_batch, right_batch, out_batch;  // of b
  std::vector<int64_t> left_rows, out_rows;                 // of i
  std::vector<int64_t> right_columns, out_columns;          // of j
  std::vector<int64_t> left_inner, right_inner;             // of p
  float divisor = 1.0f;

  void run() const;
};

}  // namespace tl::cuda
