// The quantised blocks as they lie in memory (ggml-common.h), little-endian and without padding.
//
// x is an element's value, q its quant. Formats of 32 elements pair element j with j + 16 in one byte of
// nibbles. The "K" formats have 256 elements in sub-blocks of 16 or 32 whose scales are themselves quantised.
#pragma once

#include <bit>
#include <cstdint>

namespace tl {

static_assert(std::endian::native == std::endian::little, "blocks and model files are read as they lie");

/// x = d * (q - 8), q of 4 bits.
struct BlockQ4_0 {
  uint16_t d;      ///< float16
  uint8_t qs[16];  ///< element j in the low nibble, j + 16 in the high one
};

/// x = d * q + m, q of 4 bits.
struct BlockQ4_1 {
  uint16_t d, m;
  uint8_t qs[16];
};

/// x = d * (q - 16), q of 5 bits.
struct BlockQ5_0 {
  uint16_t d;
  uint8_t qh[4];  ///< the fifth bits, bit j for element j
  uint8_t qs[16];
};

/// x = d * q + m, q of 5 bits.
struct BlockQ5_1 {
  uint16_t d, m;
  uint8_t qh[4];
  uint8_t qs[16];
};

/// x = d * q, q a signed byte.
struct BlockQ8_0 {
  uint16_t d;
  int8_t qs[32];
};

/// 16 sub-blocks of 16: x = d * scale * q - dmin * min, q of 2 bits, scale and min of 4.
struct BlockQ2K {
  uint8_t scales[16];  ///< scale in the low nibble, min in the high one
  uint8_t qs[64];  ///< of each half (128 elements, 32 bytes): bits 2k, 2k+1 hold elements 32k … 32k + 31
  uint16_t d, dmin;
};

/// 16 sub-blocks of 16: x = d * (scale - 32) * (q - 4), q of 3 bits, scale of 6.
struct BlockQ3K {
  uint8_t hmask[32];  ///< the third bits: bit k of byte l for element 32k + l
  uint8_t qs[64];     ///< the low two bits, as in Q2_K
  uint8_t scales[12];
  uint16_t d;
};

/// 8 sub-blocks of 32: x = d * scale * q - dmin * min, q of 4 bits, scale and min of 6.
struct BlockQ4K {
  uint16_t d, dmin;
  uint8_t scales[12];
  uint8_t qs[128];  ///< of each quarter (64 elements, 32 bytes): low nibbles, then high nibbles
};

/// As Q4_K with q of 5 bits.
struct BlockQ5K {
  uint16_t d, dmin;
  uint8_t scales[12];
  uint8_t qh[32];  ///< the fifth bits: bit k of byte l for element 32k + l
  uint8_t qs[128];
};

/// 16 sub-blocks of 16: x = d * scale * (q - 32), q of 6 bits, scale a signed byte.
struct BlockQ6K {
  uint8_t ql[128];  ///< of each half (64 bytes): elements l and l + 64 share byte l, nibbles low and high (l
                    ///< < 64)
  uint8_t qh[64];   ///< of each half (32 bytes): bits 2k, 2k+1 of byte l for element 32k + l
  int8_t scales[16];
  uint16_t d;
};

static_assert(sizeof(BlockQ4_0) == 18 && sizeof(BlockQ4_1) == 20 && sizeof(BlockQ5_0) == 22 &&
              sizeof(BlockQ5_1) == 24 && sizeof(BlockQ8_0) == 34);
static_assert(sizeof(BlockQ2K) == 84 && sizeof(BlockQ3K) == 110 && sizeof(BlockQ4K) == 144 &&
              sizeof(BlockQ5K) == 176 && sizeof(BlockQ6K) == 210);

/// Scale and minimum of sub-block j (0 … 7) of Q4_K and Q5_K, packed 6 bits each into 12 bytes.
struct ScaleMin {
  uint8_t scale, min;
};
constexpr ScaleMin scale_min_k4(const uint8_t* packed, int j) {
  const auto byte = [&](int i) { return static_cast<unsigned>(packed[i]); };
  if (j < 4) return {static_cast<uint8_t>(byte(j) & 63u), static_cast<uint8_t>(byte(j + 4) & 63u)};
  return {static_cast<uint8_t>((byte(j + 4) & 15u) | (byte(j - 4) >> 6 << 4)),
          static_cast<uint8_t>((byte(j + 4) >> 4) | (byte(j) >> 6 << 4))};
}

/// Scale of sub-block j (0 … 15) of Q3_K, already less 32.
constexpr int scale_q3k(const uint8_t* packed, int j) {
  const int low = j < 8 ? packed[j] & 15 : packed[j - 8] >> 4;
  return (low | (packed[8 + j % 4] >> (2 * (j / 4)) & 3) << 4) - 32;
}

}  // namespace tl
