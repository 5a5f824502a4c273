// Attention of many queries on tensor cores: scores and weights stay in registers.
#pragma once

#include "backend/cuda/launch.h"
#include "backend/cuda/strided.cuh"

namespace tl::cuda {

/// Queries in float32, keys and values in float32 or float16; dimensions lie one after another, keys and
/// values at multiples of 16 bytes. Query i sees the first min(i + pos + 1, keys) keys where `causal`, else
/// all.
struct FlashAttention {
  struct Side {
    const void* data;
    int64_t position_stride, head_stride;
  };
  Side q, k, v;
  Wide<DType> cache;  ///< the type of keys and values
  float* out;
  int64_t out_position_stride, out_head_stride, out_dim_stride;
  int64_t queries, heads, group, dim;
  double scale;
  Wide<bool> causal;
  Number keys, pos;
};

/// Queries from which on it pays.
constexpr int64_t kFlashQueries = 64;

/// Whether the device has such tensor cores, and a kernel for heads of `dim` dimensions.
bool has_flash_attention(int64_t dim);
/// Factors are rounded to eleven bits: halves where the cache is float16 (queries scaled row by row), TF32
/// elsewhere. Sums are those of float32, in another order than other kernels'.
void flash_attention(const FlashAttention& a);

}  // namespace tl::cuda
