// Between the files that implement encode_row().
#pragma once

#include <cstddef>
#include <cstdint>

namespace tl {

/// A block's scale as float16. Throws Error where it overflows.
uint16_t scale_to_f16(float scale);

void encode_q4_k(const float* values, std::byte* blocks, int64_t n);
void encode_q6_k(const float* values, std::byte* blocks, int64_t n);

}  // namespace tl
