// Decoding, one function per format, instantiated for float (ggml's rounding, in ggml's order of operations)
// and for double, where every product is exact.
#include <cstring>

#include "base/error.h"
#include "base/half.h"
#include "tensor/block_layouts.h"
#include "tensor/blocks.h"

namespace tl {

namespace {

template <class T>
void decode(const BlockQ4_0& b, T* out) {
  const T d = f16_to_f32(b.d);
  for (int j = 0; j < 16; ++j) {
    out[j] = static_cast<T>((b.qs[j] & 15) - 8) * d;
    out[j + 16] = static_cast<T>((b.qs[j] >> 4) - 8) * d;
  }
}

template <class T>
void decode(const BlockQ4_1& b, T* out) {
  const T d = f16_to_f32(b.d), m = f16_to_f32(b.m);
  for (int j = 0; j < 16; ++j) {
    out[j] = static_cast<T>(b.qs[j] & 15) * d + m;
    out[j + 16] = static_cast<T>(b.qs[j] >> 4) * d + m;
  }
}

uint32_t fifth_bits(const uint8_t* qh) {
  uint32_t bits = 0;
  std::memcpy(&bits, qh, sizeof bits);
  return bits;
}

template <class T>
void decode(const BlockQ5_0& b, T* out) {
  const T d = f16_to_f32(b.d);
  const uint32_t high = fifth_bits(b.qh);
  for (int j = 0; j < 16; ++j) {
    const int q0 = (b.qs[j] & 15) | static_cast<int>(high >> j << 4 & 16);
    const int q1 = (b.qs[j] >> 4) | static_cast<int>(high >> (j + 12) & 16);
    out[j] = static_cast<T>(q0 - 16) * d;
    out[j + 16] = static_cast<T>(q1 - 16) * d;
  }
}

template <class T>
void decode(const BlockQ5_1& b, T* out) {
  const T d = f16_to_f32(b.d), m = f16_to_f32(b.m);
  const uint32_t high = fifth_bits(b.qh);
  for (int j = 0; j < 16; ++j) {
    const int q0 = (b.qs[j] & 15) | static_cast<int>(high >> j << 4 & 16);
    const int q1 = (b.qs[j] >> 4) | static_cast<int>(high >> (j + 12) & 16);
    out[j] = static_cast<T>(q0) * d + m;
    out[j + 16] = static_cast<T>(q1) * d + m;
  }
}

template <class T>
void decode(const BlockQ8_0& b, T* out) {
  const T d = f16_to_f32(b.d);
  for (int j = 0; j < 32; ++j) out[j] = static_cast<T>(b.qs[j]) * d;
}

template <class T>
void decode(const BlockQ2K& b, T* out) {
  const T d = f16_to_f32(b.d), dmin = f16_to_f32(b.dmin);
  for (int s = 0; s < 16; ++s) {  // sub-block s: elements 16 s …
    const T scale = d * static_cast<T>(b.scales[s] & 15);
    const T min = dmin * static_cast<T>(b.scales[s] >> 4);
    const uint8_t* qs = b.qs + s / 8 * 32 + s % 2 * 16;
    const int shift = s % 8 / 2 * 2;
    for (int l = 0; l < 16; ++l) out[16 * s + l] = scale * static_cast<T>(qs[l] >> shift & 3) - min;
  }
}

template <class T>
void decode(const BlockQ3K& b, T* out) {
  const T d = f16_to_f32(b.d);
  for (int s = 0; s < 16; ++s) {
    const T scale = d * static_cast<T>(scale_q3k(b.scales, s));
    const uint8_t* qs = b.qs + s / 8 * 32 + s % 2 * 16;
    const uint8_t* high = b.hmask + s % 2 * 16;
    const int shift = s % 8 / 2 * 2;
    for (int l = 0; l < 16; ++l) {
      const int q = (qs[l] >> shift & 3) | (high[l] >> (s / 2) & 1) << 2;
      out[16 * s + l] = scale * static_cast<T>(q - 4);
    }
  }
}

template <class T>
void decode(const BlockQ4K& b, T* out) {
  const T d = f16_to_f32(b.d), dmin = f16_to_f32(b.dmin);
  for (int s = 0; s < 8; ++s) {  // sub-block s: elements 32 s …
    const ScaleMin sm = scale_min_k4(b.scales, s);
    const T scale = d * static_cast<T>(sm.scale), min = dmin * static_cast<T>(sm.min);
    const uint8_t* qs = b.qs + s / 2 * 32;
    const int shift = s % 2 * 4;
    for (int l = 0; l < 32; ++l) out[32 * s + l] = scale * static_cast<T>(qs[l] >> shift & 15) - min;
  }
}

template <class T>
void decode(const BlockQ5K& b, T* out) {
  const T d = f16_to_f32(b.d), dmin = f16_to_f32(b.dmin);
  for (int s = 0; s < 8; ++s) {
    const ScaleMin sm = scale_min_k4(b.scales, s);
    const T scale = d * static_cast<T>(sm.scale), min = dmin * static_cast<T>(sm.min);
    const uint8_t* qs = b.qs + s / 2 * 32;
    const int shift = s % 2 * 4;
    for (int l = 0; l < 32; ++l) {
      const int q = (qs[l] >> shift & 15) | (b.qh[l] >> s & 1) << 4;
      out[32 * s + l] = scale * static_cast<T>(q) - min;
    }
  }
}

template <class T>
void decode(const BlockQ6K& b, T* out) {
  const T d = f16_to_f32(b.d);
  for (int s = 0; s < 16; ++s) {  // sub-block s: elements 16 s …
    const T scale = d * static_cast<T>(b.scales[s]);
    const uint8_t* low = b.ql + s / 8 * 64 + s % 4 * 16;
    const uint8_t* high = b.qh + s / 8 * 32 + s % 2 * 16;
    const int low_shift = s % 8 / 4 * 4, high_shift = s % 8 / 2 * 2;
    for (int l = 0; l < 16; ++l) {
      const int q = (low[l] >> low_shift & 15) | (high[l] >> high_shift & 3) << 4;
      out[16 * s + l] = scale * static_cast<T>(q - 32);
    }
  }
}

template <class Block, class T>
void decode_blocks(const std::byte* blocks, T* out, int64_t n, int64_t elements) {
  TL_CHECK(n % elements == 0, "elements must fill whole blocks");
  for (int64_t i = 0; i < n / elements; ++i) {
    Block block;  // copied, since a row may lie at any address
    std::memcpy(&block, blocks + static_cast<size_t>(i) * sizeof block, sizeof block);
    decode(block, out + i * elements);
  }
}

template <class Stored, class T, class Convert>
void convert(const std::byte* from, T* out, int64_t n, Convert to_float) {
  for (int64_t i = 0; i < n; ++i) {
    Stored stored;
    std::memcpy(&stored, from + static_cast<size_t>(i) * sizeof stored, sizeof stored);
    out[i] = static_cast<T>(to_float(stored));
  }
}

template <class T>
void decode_any(DType dtype, const std::byte* from, T* out, int64_t n) {
  const auto same = [](auto x) { return x; };
  switch (dtype) {
    case DType::f32:
      return convert<float>(from, out, n, same);
    case DType::f16:
      return convert<uint16_t>(from, out, n, f16_to_f32);
    case DType::bf16:
      return convert<uint16_t>(from, out, n, bf16_to_f32);
    case DType::f64:
      return convert<double>(from, out, n, same);
    case DType::i8:
      return convert<int8_t>(from, out, n, same);
    case DType::i32:
      return convert<int32_t>(from, out, n, same);
    case DType::i64:
      return convert<int64_t>(from, out, n, same);
    case DType::boolean:
      return convert<uint8_t>(from, out, n, [](uint8_t x) { return x != 0; });
    case DType::q4_0:
      return decode_blocks<BlockQ4_0>(from, out, n, 32);
    case DType::q4_1:
      return decode_blocks<BlockQ4_1>(from, out, n, 32);
    case DType::q5_0:
      return decode_blocks<BlockQ5_0>(from, out, n, 32);
    case DType::q5_1:
      return decode_blocks<BlockQ5_1>(from, out, n, 32);
    case DType::q8_0:
      return decode_blocks<BlockQ8_0>(from, out, n, 32);
    case DType::q2_k:
      return decode_blocks<BlockQ2K>(from, out, n, 256);
    case DType::q3_k:
      return decode_blocks<BlockQ3K>(from, out, n, 256);
    case DType::q4_k:
      return decode_blocks<BlockQ4K>(from, out, n, 256);
    case DType::q5_k:
      return decode_blocks<BlockQ5K>(from, out, n, 256);
    case DType::q6_k:
      return decode_blocks<BlockQ6K>(from, out, n, 256);
  }
}

}  // namespace

void decode_row(DType dtype, const std::byte* blocks, float* out, int64_t n) {
  decode_any(dtype, blocks, out, n);
}
void decode_row(DType dtype, const std::byte* blocks, double* out, int64_t n) {
  decode_any(dtype, blocks, out, n);
}

}  // namespace tl
