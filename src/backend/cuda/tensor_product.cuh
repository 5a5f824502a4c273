// Products of many rows of activations with a quantised, float16 or bfloat16 weight, on tensor cores:
// prompts.
#pragma once

#include <optional>

#include "backend/cuda/blocks.cuh"

namespace tl::cuda {

/// Rows of x from which on it pays.
constexpr int64_t kTensorRows = 64;

/// Whether this GPU has what the kernels below use (compute capability 8.0).
bool has_tensor_product();

/// A quantised weight's planes, or numbers of 16 bits with rows `stride` elements apart at multiples of 16
/// bytes.
struct TensorWeights {
  Blocks blocks;
  int64_t stride;
  bool kept;         ///< nobody writes to it, or to the bias, nor did the launch before
  int exponent = 0;  ///< of bfloat16 weights: they become halves of themselves * 2^-exponent
};

/// The exponent for a bfloat16 weight: float16 then holds exactly all but what is less than 2^-31 of the
/// largest one. Nothing where one is not finite, or 2^22 and more. Waits for the GPU, of constant weights
/// when it is asked for the first time.
std::optional<int> exponent_of(const Tensor& w);

/// out[m, n] = x[m, k] @ w[n, k]^T + bias. Weights are decoded, and activations scaled row by row by a power
/// of two, to float16: less rounding than to 8 bits. Sums are float32, in an order that does not
/// depend on the sizes.
void tensor_product(const float* x, const TensorWeights& w, const float* bias, float* out, int64_t m,
                    int64_t n, int64_t k);

}  // namespace tl::cuda
