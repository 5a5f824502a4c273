// Products of many rows with weights by Hopper's warpgroup instructions.
#pragma once

#include <functional>

#include "backend/cuda/blocks.cuh"

namespace tl::cuda {

constexpr int kMostWarpgroupParts = 3;  ///< products of one launch

/// out[m, n] = scales[m] * x[m, k] w[n, k]^T + bias[n]: halves in, sums in float32.
struct WarpgroupProduct {
  /// A weight, and where its products go.
  struct Part {
    Blocks w;           ///< planes of a quantised weight, or float16
    const float* bias;  ///< may be null
    float* out;
    int64_t n, stride;  ///< the stride is that of float16 rows
    /// Weights and bias stay as they are until other rows are multiplied, and what of the weights is decoded
    /// was there before the launch before.
    Wide<bool> kept;
  };
  const __half* x;
  const float* scales;
  int64_t m, k;
  Part part;
};

/// Whether the device has them and there is a kernel for such weights and rows of k elements. float16 weights
/// lie at multiples of 16 bytes, row by row.
bool has_warpgroup_product(DType weights, int64_t k);
/// Products of the same rows, asked for one after another, become one launch, up to so many: each alone may
/// fill a few multiprocessors only. `prepare` launches what has to be done before it.
void warpgroup_product(const WarpgroupProduct& p, const std::function<void()>& prepare = {});

}  // namespace tl::cuda
