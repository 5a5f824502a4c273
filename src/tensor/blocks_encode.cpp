// Encoding into plain floats and the formats of 32 elements, bit equal to ggml's quantize_row_*_ref.
#include <algorithm>
#include <cmath>
#include <cstring>

#include <fmt/format.h>

#include "base/error.h"
#include "base/half.h"
#include "tensor/block_layouts.h"
#include "tensor/blocks.h"
#include "tensor/blocks_encode.h"

namespace tl {

uint16_t scale_to_f16(float scale) {
  const uint16_t bits = f32_to_f16(scale);
  if ((bits & 0x7c00u) == 0x7c00u)
    throw Error(fmt::format(
        "a block's scale of {:g} exceeds float16's range; use F32 or BF16 for this tensor", scale));
  return bits;
}

namespace {

/// 1 / d, or 0 where that is no finite number: such a block's scale is zero in float16, and so are all its
/// values.
float inverse(float d) {
  const float id = d != 0 ? 1.0f / d : 0.0f;
  return std::isfinite(id) ? id : 0.0f;
}

void encode(const float* x, BlockQ4_0& b) {
  float extreme = 0;  // the value of largest magnitude, with its sign: it becomes exactly -8 d
  for (int j = 0; j < 32; ++j)
    if (std::fabs(x[j]) > std::fabs(extreme)) extreme = x[j];
  const float d = extreme / -8.0f, id = inverse(d);
  b.d = scale_to_f16(d);
  const auto quant = [&](float v) { return std::min(15, static_cast<int>(v * id + 8.5f)); };
  for (int j = 0; j < 16; ++j) b.qs[j] = static_cast<uint8_t>(quant(x[j]) | quant(x[j + 16]) << 4);
}

void encode(const float* x, BlockQ4_1& b) {
  const float min = *std::min_element(x, x + 32), max = *std::max_element(x, x + 32);
  const float d = (max - min) / 15.0f, id = inverse(d);
  b.d = scale_to_f16(d);
  b.m = scale_to_f16(min);
  const auto quant = [&](float v) { return std::min(15, static_cast<int>((v - min) * id + 0.5f)); };
  for (int j = 0; j < 16; ++j) b.qs[j] = static_cast<uint8_t>(quant(x[j]) | quant(x[j + 16]) << 4);
}

void encode(const float* x, BlockQ8_0& b) {
  float magnitude = 0;
  for (int j = 0; j < 32; ++j) magnitude = std::max(magnitude, std::fabs(x[j]));
  const float d = magnitude / 127.0f, id = inverse(d);
  b.d = scale_to_f16(d);
  for (int j = 0; j < 32; ++j) b.qs[j] = static_cast<int8_t>(std::lround(x[j] * id));
}

template <class Block>
void encode_blocks(const float* x, std::byte* out, int64_t n) {
  for (int64_t i = 0; i < n / 32; ++i) {
    Block block;
    encode(x + i * 32, block);
    std::memcpy(out + static_cast<size_t>(i) * sizeof block, &block, sizeof block);
  }
}

void encode_half(const float* x, std::byte* out, int64_t n, uint16_t (*round)(float), const char* name) {
  for (int64_t i = 0; i < n; ++i) {
    const uint16_t bits = round(x[i]);
    const uint16_t infinity = round(INFINITY);
    if ((bits & 0x7fffu) == infinity) throw Error(fmt::format("{:g} exceeds {}'s range", x[i], name));
    std::memcpy(out + 2 * i, &bits, sizeof bits);
  }
}

void check_finite(const float* x, int64_t n) {
  for (int64_t i = 0; i < n; ++i)
    if (!std::isfinite(x[i])) throw Error(fmt::format("element {} is {}: it cannot be quantised", i, x[i]));
}

}  // namespace

bool can_encode(DType dtype) {
  switch (dtype) {
    case DType::f32:
    case DType::f16:
    case DType::bf16:
    case DType::q4_0:
    case DType::q4_1:
    case DType::q8_0:
    case DType::q4_k:
    case DType::q6_k:
      return true;
    default:
      return false;
  }
}

void encode_row(DType dtype, const float* x, std::byte* out, int64_t n) {
  TL_CHECK(can_encode(dtype), "this element type cannot be written");
  TL_CHECK(n % info(dtype).block_elements == 0, "elements must fill whole blocks");
  check_finite(x, n);
  switch (dtype) {
    case DType::f32:
      std::memcpy(out, x, static_cast<size_t>(n) * sizeof *x);
      break;
    case DType::f16:
      encode_half(x, out, n, f32_to_f16, "float16");
      break;
    case DType::bf16:
      encode_half(x, out, n, f32_to_bf16, "bfloat16");
      break;
    case DType::q4_0:
      encode_blocks<BlockQ4_0>(x, out, n);
      break;
    case DType::q4_1:
      encode_blocks<BlockQ4_1>(x, out, n);
      break;
    case DType::q8_0:
      encode_blocks<BlockQ8_0>(x, out, n);
      break;
    case DType::q4_k:
      encode_q4_k(x, out, n);
      break;
    default:
      encode_q6_k(x, out, n);
      break;
  }
}

void encode_q8_0(const float* x, std::byte* out, int64_t n) {
  TL_CHECK(n % 32 == 0, "elements must fill whole blocks");
  constexpr uint16_t kInfinity = 0x7c00, kNan = 0x7e00;
  for (; n > 0; n -= 32, x += 32, out += sizeof(BlockQ8_0)) {
    float magnitude = 0;
    for (int j = 0; j < 32; ++j)
      if (!(std::fabs(x[j]) <= magnitude) && magnitude == magnitude)
        magnitude = std::fabs(x[j]);  // NaN stays
    BlockQ8_0 block{kNan, {}};
    if (f32_to_f16(magnitude / 127.0f) < kInfinity) encode(x, block);
    std::memcpy(out, &block, sizeof block);
  }
}

}  // namespace tl
