// Products of many rows with weights by Hopper's warpgroup instructions.
#pragma once

#include "backend/cuda/blocks.cuh"

namespace tl::cuda {

/// out[m, n] = scales[m] * x[m, k] w[n, k]^T + bias[n]: halves in, sums in float32.
struct WarpgroupProduct {
  const __half* x;
  const float *scales, *bias;  ///< no bias: null
  float* out;
  int64_t m, n, k;
  Blocks w;        ///< planes of a quantised weight, or float16
  int64_t stride;  ///< of float16 rows
};

/// Whether the device has them and there is a kernel for such weights and rows of k elements. float16 weights
/// lie at multiples of 16 bytes, row by row.
bool has_warpgroup_product(DType weights, int64_t k);
void warpgroup_product(const WarpgroupProduct& p);

}  // namespace tl::cuda
