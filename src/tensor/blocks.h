// The quantised block formats, each with its exact definition.
//
// Layouts are ggml's (ggml-common.h, block_q4_0 …): little-endian, no padding. decode_row() is the definition
// of what a block means; every kernel is tested against it.
#pragma once

#include <cstddef>
#include <cstdint>

#include "tensor/dtype.h"

namespace tl {

/// Decodes `n` elements (a multiple of the block) at `blocks` to float. Plain float types are converted.
/// Every value is the exact float32 result of the format's formula as ggml's dequantize_row_* evaluates it,
/// so that it equals llama.cpp's bit for bit.
void decode_row(DType dtype, const std::byte* blocks, float* out, int64_t n);

/// The same in double: the formula evaluated without rounding of products (what the reference backend
/// computes with).
void decode_row(DType dtype, const std::byte* blocks, double* out, int64_t n);

/// Whether encode_row() can write `dtype`: F32, F16, BF16, Q4_0, Q4_1, Q8_0, Q4_K, Q6_K.
bool can_encode(DType dtype);

/// Quantises `n` floats (a multiple of the block). Q4_0, Q4_1, Q8_0 as ggml's reference quantisers do (bit
/// equal); Q4_K and Q6_K by weighted least squares over scales and minima. Throws Error on NaN or infinity.
void encode_row(DType dtype, const float* values, std::byte* blocks, int64_t n);

/// Q8_0 for numbers that come up in a run, which may be anything: as encode_row() has it, but a block that
/// holds NaN or infinity, or whose scale exceeds float16's range, is read back as NaN throughout.
void encode_q8_0(const float* values, std::byte* blocks, int64_t n);

}  // namespace tl
