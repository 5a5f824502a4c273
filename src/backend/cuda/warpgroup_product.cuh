// Products of many rows with weights by Hopper's warpgroup instructions.
#pragma once

#include <array>

#include "backend/cuda/blocks.cuh"

namespace tl::cuda {

constexpr int kMostWarpgroupParts = 3;  ///< products of one launch

/// How rows of halves lie in memory for a type of weights: in groups of 64 * steps elements, the last one
/// filled up with zeros. Sixteen elements of a group become the part[i] / 4-th step's, of them four quarters
/// (of four elements each) the part[i] % 4-th piece (ordered_place()). Float16 weights have them as they are:
/// no steps.
struct OrderOfRows {
  Wide<int> steps;
  std::array<uint8_t, 16> part;
  bool operator==(const OrderOfRows&) const = default;
  /// Halves of a row of k elements.
  __host__ __device__ int64_t length(int64_t k) const {
    const int64_t group = steps == 0 ? 1 : 64 * steps;
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
    int64_t n, stride;  ///< the stride is that of float16 rows
    Wide<bool> kept;    ///< nobody writes to the weights, or to the bias
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
/// fill a few multiprocessors only. An element's sum is taken in order, whatever the sizes are.
void warpgroup_product(const WarpgroupProduct& p);

}  // namespace tl::cuda
