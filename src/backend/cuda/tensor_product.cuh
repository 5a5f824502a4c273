// Products of many rows of activations with a quantised or float16 weight, on tensor cores: prompts.
#pragma once

#include "backend/cuda/blocks.cuh"

namespace tl::cuda {

/// Rows of x from which on it pays.
constexpr int64_t kTensorRows = 64;

/// Whether this GPU has what the kernels below use (compute capability 8.0).
bool has_tensor_product();

/// A quantised weight's planes, or float16 with rows `stride` elements apart at multiples of 16 bytes.
struct TensorWeights {
  Blocks blocks;
  int64_t stride;
  bool kept;  ///< nobody writes to it, or to the bias, nor did the launch before
};

/// out[m, n] = x[m, k] @ w[n, k]^T + bias. Weights are decoded, and activations scaled row by row by a power
/// of two, to float16: less rounding than to 8 bits. Sums are float32, in an order that does not
/// depend on the sizes.
void tensor_product(const float* x, const TensorWeights& w, const float* bias, float* out, int64_t m,
                    int64_t n, int64_t k);

}  // namespace tl::cuda
