// Products of many rows with weights by Hopper's warpgroup instructions.
#pragma once

#include <array>

#include "backend/cuda/blocks.cuh"

namespace tl::cuda {

/// How rows of halves lie in memory for a type of weights: in groups of 64 * parts elements, the last one
/// filled up with zeros. Of sixteen elements of a group, which go to sixty-four halves place / 4, elements 4
/// j to 4 j + 3 become halves 0, 8, 1 and 9 from 16 j + 2 * (place % 4) on. Float16 weights have rows as they
/// are: no parts.
struct OrderOfRows {
  Wide<int> parts;
  std::array<uint8_t, 16> places;  ///< of each sixteen
  /// Halves of a row of k elements.
  __host__ __device__ int64_t length(int64_t k) const {
    const int64_t group = parts == 0 ? 1 : 64 * parts;
    return (k + group - 1) / group * group;
  }
};
/// The order for a type of weights that has_warpgroup_product().
OrderOfRows order_for(DType weights);

/// out[m, n] = scales[m] * x[m, k] w[n, k]^T + bias[n]: halves in, sums in float32.
struct WarpgroupProduct {
  /// A weight, and where its products go.
  struct Part {
    Blocks w;           ///< planes of a quantised weight, or float16
    const float* bias;  ///< may be null
    float* out;
    int64_t n, stride;   ///< the stride is that of float16 rows
    Wide<int> exponent;  ///< weights stand for 2^exponent times what they are
    Wide<bool> kept;     ///< nobody writes to the weights, or to the bias, nor did the launch before
  };
  const __half* x;  ///< in the weights' order
  const float* scales;
  int64_t m, k;
  Part part;
};

/// Whether the device has them and there is a kernel for such weights and rows of k elements. float16 weights
/// lie at multiples of 16 bytes, row by row.
bool has_warpgroup_product(DType weights, int64_t k);
/// Products of the same rows, asked for one after another, become one launch, up to so many: each alone may
/// fill a few multiprocessors only. An element's sum is taken in order, or in that of two or four shares
/// where the product's own sizes ask for them.
void warpgroup_product(const WarpgroupProduct& p);

}  // namespace tl::cuda
