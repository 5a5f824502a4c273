// Quantised weights times activations rounded to 8 bits.
//
// Every format is seen as groups of up to eight blocks of 32 elements, x = scale * q + offset with unsigned
// quants q. Then
//   w . a = sum over blocks of scale_w * scale_a * (q_w . q_a) + offset_w * scale_a * sum(q_a),
// where the dot product of quants is exact in integers, and the rest is float32 in the order of the blocks,
// for each of eight lanes. Some formats have a scale per half block of 16; a lane belongs to one half.
#include "backend/cpu/isa.h"
#include "backend/cpu/isa/simd.h"
#include "backend/cpu/isa/tables.h"
#include "tensor/block_layouts.h"

namespace tl::cpu::TL_ISA {

namespace {

/// Scales and offsets of a group, per block or per half block.
struct GroupScales {
  float scale[16];
  float offset[16];
};

/// Formats of 32 elements with one scale: eight blocks make a group.
template <class B>
struct SimpleFormat {
  using Block = B;
  static constexpr int kBlocksPerGroup = 8;
  static constexpr bool kHalves = false, kOffsets = true, kSigned = false;
};

/// Formats of 256 elements: a group is one block of eight sub-blocks.
template <class B, bool halves>
struct SuperFormat {
  using Block = B;
  static constexpr int kBlocksPerGroup = 1;
  static constexpr bool kHalves = halves, kOffsets = true, kSigned = false;
};

/// Scales of blocks that start with float16 d, and offset = centre * d.
template <class Block>
TL_INLINE void scales_with_centre(const Block* b, int n, float centre, GroupScales& g) {
  uint16_t d[8] = {};
  for (int j = 0; j < n; ++j) d[j] = b[j].d;
  const F32 scale = load_f16(d);
  store(g.scale, scale);
  store(g.offset, scale * F32(centre));
}

/// Scales of blocks that start with float16 d and m: offset = m.
template <class Block>
TL_INLINE void scales_with_min(const Block* b, int n, GroupScales& g) {
  uint16_t d[8] = {}, m[8] = {};
  for (int j = 0; j < n; ++j) d[j] = b[j].d, m[j] = b[j].m;
  store(g.scale, load_f16(d));
  store(g.offset, load_f16(m));
}

struct Q4_0 : SimpleFormat<BlockQ4_0> {
  TL_INLINE static void scales(const Block* b, int n, GroupScales& g) { scales_with_centre(b, n, -8.0f, g); }
  TL_INLINE static U8 quants(const Block* b, int j) { return load_nibbles(b[j].qs); }
};

struct Q4_1 : SimpleFormat<BlockQ4_1> {
  TL_INLINE static void scales(const Block* b, int n, GroupScales& g) { scales_with_min(b, n, g); }
  TL_INLINE static U8 quants(const Block* b, int j) { return load_nibbles(b[j].qs); }
};

struct Q5_0 : SimpleFormat<BlockQ5_0> {
  TL_INLINE static void scales(const Block* b, int n, GroupScales& g) { scales_with_centre(b, n, -16.0f, g); }
  TL_INLINE static U8 quants(const Block* b, int j) { return load_nibbles(b[j].qs) | load_bits(b[j].qh, 16); }
};

struct Q5_1 : SimpleFormat<BlockQ5_1> {
  TL_INLINE static void scales(const Block* b, int n, GroupScales& g) { scales_with_min(b, n, g); }
  TL_INLINE static U8 quants(const Block* b, int j) { return load_nibbles(b[j].qs) | load_bits(b[j].qh, 16); }
};

struct Q8_0 : SimpleFormat<BlockQ8_0> {
  static constexpr bool kOffsets = false, kSigned = true;
  TL_INLINE static void scales(const Block* b, int n, GroupScales& g) { scales_with_centre(b, n, 0.0f, g); }
  TL_INLINE static U8 quants(const Block* b, int j) { return load_u8(b[j].qs); }
};

/// scale = d * bytes, offset = m * other bytes, of `n` sub-blocks.
TL_INLINE void products(float d, const uint8_t* scales, float m, const uint8_t* offsets, int n,
                        GroupScales& g) {
  for (int s = 0; s < n; s += 8) {
    store(g.scale + s, F32(d) * load_u8_as_f32(scales + s));
    store(g.offset + s, F32(m) * load_u8_as_f32(offsets + s));
  }
}

struct Q2K : SuperFormat<BlockQ2K, true> {
  TL_INLINE static void scales(const Block* b, int, GroupScales& g) {
    uint8_t low[16], high[16];
    for (int s = 0; s < 16; ++s) {
      low[s] = b->scales[s] & 15;
      high[s] = static_cast<uint8_t>(b->scales[s] >> 4);
    }
    products(f16(b->d), low, -f16(b->dmin), high, 16, g);
  }
  TL_INLINE static U8 quants(const Block* b, int j) {
    return shift_right(load_u8(b->qs + j / 4 * 32), j % 4 * 2) & bytes(3);
  }
};

struct Q3K : SuperFormat<BlockQ3K, true> {
  /// The packing is that of scale_q3k in tensor/block_layouts.h, four scales at a time in a word.
  TL_INLINE static void scales(const Block* b, int, GroupScales& g) {
    uint32_t packed[3], words[4];
    memcpy(packed, b->scales, sizeof packed);
    for (int i = 0; i < 4; ++i)
      words[i] = (packed[i % 2] >> (i / 2 * 4) & 0x0f0f0f0fu) | (packed[2] >> (2 * i) & 0x03030303u) << 4;
    uint8_t values[16];
    memcpy(values, words, sizeof values);
    for (int s = 0; s < 16; s += 8) {
      const F32 scale = F32(f16(b->d)) * (load_u8_as_f32(values + s) - F32(32.0f));
      store(g.scale + s, scale);
      store(g.offset + s, scale * F32(-4.0f));
    }
  }
  TL_INLINE static U8 quants(const Block* b, int j) {
    const U8 low = shift_right(load_u8(b->qs + j / 4 * 32), j % 4 * 2) & bytes(3);
    const U8 high = shift_right(load_u8(b->hmask), j) & bytes(1);
    return low | shift_left(high, 2);
  }
};

/// The 6-bit scales and minima of Q4_K and Q5_K (their layout: scale_min_k4 of tensor/block_layouts.h), four
/// at a time in 32-bit words.
template <class Block>
TL_INLINE void scales_k4(const Block* b, GroupScales& g) {
  uint32_t packed[3];
  memcpy(packed, b->scales, sizeof packed);
  uint32_t six_bits[4];  // scales 0-3, 4-7, minima 0-3, 4-7
  six_bits[0] = packed[0] & 0x3f3f3f3fu;
  six_bits[1] = (packed[2] & 0x0f0f0f0fu) | (packed[0] >> 6 & 0x03030303u) << 4;
  six_bits[2] = packed[1] & 0x3f3f3f3fu;
  six_bits[3] = (packed[2] >> 4 & 0x0f0f0f0fu) | (packed[1] >> 6 & 0x03030303u) << 4;
  uint8_t values[16];
  memcpy(values, six_bits, sizeof values);
  products(f16(b->d), values, -f16(b->dmin), values + 8, 8, g);
}

struct Q4K : SuperFormat<BlockQ4K, false> {
  TL_INLINE static void scales(const Block* b, int, GroupScales& g) { scales_k4(b, g); }
  TL_INLINE static U8 quants(const Block* b, int j) {
    return shift_right(load_u8(b->qs + j / 2 * 32), j % 2 * 4) & bytes(15);
  }
};

struct Q5K : SuperFormat<BlockQ5K, false> {
  TL_INLINE static void scales(const Block* b, int, GroupScales& g) { scales_k4(b, g); }
  TL_INLINE static U8 quants(const Block* b, int j) {
    const U8 low = shift_right(load_u8(b->qs + j / 2 * 32), j % 2 * 4) & bytes(15);
    const U8 high = shift_right(load_u8(b->qh), j) & bytes(1);
    return low | shift_left(high, 4);
  }
};

struct Q6K : SuperFormat<BlockQ6K, true> {
  TL_INLINE static void scales(const Block* b, int, GroupScales& g) {
    for (int s = 0; s < 16; s += 8) {
      const F32 scale = F32(f16(b->d)) * load_i8_as_f32(b->scales + s);
      store(g.scale + s, scale);
      store(g.offset + s, scale * F32(-32.0f));
    }
  }
  TL_INLINE static U8 quants(const Block* b, int j) {
    const U8 low = shift_right(load_u8(b->ql + j / 4 * 64 + j % 2 * 32), j % 4 / 2 * 4) & bytes(15);
    const U8 high = shift_right(load_u8(b->qh + j / 4 * 32), j % 4 * 2) & bytes(3);
    return low | shift_left(high, 4);
  }
};

/// What M rows of x and one weight row have summed so far.
template <int M>
struct Sums {
  F32 products[M], offsets[M];
};

/// Adds blocks [0, n) of a group, n <= 8, that stand at block `first` of the row.
template <class Format, int M>
TL_INLINE void add_group(const typename Format::Block* group, int n, int64_t first, const Q8Rows& x,
                         int64_t row, Sums<M>& sums) {
  GroupScales g;
  Format::scales(group, n, g);
  alignas(32) float scale[M][8];  // of weights times activations; of activations alone where halves differ
  for (int r = 0; r < M; ++r) {
    const int64_t at = (row + r) * x.blocks + first;
    const F32 activation = load(x.scale + at);
    if constexpr (Format::kHalves) {
      store(scale[r], activation);
      sums.offsets[r] = fma(load(g.offset), load(x.half_sum + 2 * at), sums.offsets[r]);
      sums.offsets[r] = fma(load(g.offset + 8), load(x.half_sum + 2 * at + 8), sums.offsets[r]);
    } else {
      store(scale[r], load(g.scale) * activation);
      if constexpr (Format::kOffsets)
        sums.offsets[r] = fma(load(g.offset), load(x.sum + at), sums.offsets[r]);
    }
  }
#pragma GCC unroll 8
  for (int j = 0; j < 8; ++j) {
    if (j == n) break;
    const U8 q = Format::quants(group, j);
    [[maybe_unused]] F32 halves;
    if constexpr (Format::kHalves) halves = spread_pair(load(g.scale + j / 4 * 8), j % 4);
    for (int r = 0; r < M; ++r) {
      const int8_t* a = x.q + (row + r) * x.k + (first + j) * 32;
      const I32 dot = Format::kSigned ? dot_i8_i8(q, a) : dot_u8_i8(q, a);
      F32 factor(scale[r][j]);
      if constexpr (Format::kHalves) factor = factor * halves;
      sums.products[r] = fma(to_f32(dot), factor, sums.products[r]);
    }
  }
}

/// One weight row times M rows of x. The arithmetic of each product is the same for every M.
template <class Format, int M>
TL_INLINE void row_product(const Q8Linear& a, int64_t i, int64_t row) {
  const auto* w = reinterpret_cast<const typename Format::Block*>(a.w + i * a.row_bytes);
  Sums<M> sums;
  for (int r = 0; r < M; ++r) sums.products[r] = sums.offsets[r] = F32(0.0f);
  const int64_t blocks = a.x.k / 32, whole = blocks / 8 * 8;
  for (int64_t first = 0; first < whole; first += 8, w += Format::kBlocksPerGroup)
    add_group<Format, M>(w, 8, first, a.x, row, sums);
  if constexpr (Format::kBlocksPerGroup > 1)
    if (whole < blocks) add_group<Format, M>(w, static_cast<int>(blocks - whole), whole, a.x, row, sums);
  for (int r = 0; r < M; ++r) a.out[(row + r) * a.out_stride + i] = sum(sums.products[r] + sums.offsets[r]);
}

template <class Format, int M>
[[gnu::noinline]] void rows_product(const Q8Linear& a, int64_t row) {
  for (int64_t i = 0; i < a.n; ++i) row_product<Format, M>(a, i, row);
}

/// A block of weights that has been unpacked serves four rows of x.
template <class Format>
void linear(const Q8Linear& a) {
  int64_t row = 0;
  for (; row + 4 <= a.m; row += 4) rows_product<Format, 4>(a, row);
  for (; row < a.m; ++row) rows_product<Format, 1>(a, row);
}

/// Scale, quants and sums of one block of 32.
TL_INLINE bool quantize_block(const float* x, int8_t* q, float* scale, float* sum_q, float* half_sum) {
  F32 v[4], largest(0.0f), not_finite(0.0f);
  for (int i = 0; i < 4; ++i) {
    v[i] = load(x + 8 * i);
    not_finite = not_finite + v[i] * F32(0.0f);  // 0 unless a lane is NaN or infinite
    const F32 magnitude = abs(v[i]);
    largest = select(magnitude > largest, magnitude, largest);
  }
  if (!(sum(not_finite) == 0.0f)) return false;
  float lanes[8], top = 0.0f;
  store(lanes, largest);
  for (const float lane : lanes) top = lane > top ? lane : top;
  const bool representable = top > 1e-36f;  // below, 127 / top overflows: the block counts as 0
  *scale = representable ? top / 127.0f : 0.0f;
  const F32 inverse(representable ? 127.0f / top : 0.0f);
  int32_t sums[4];
  for (int i = 0; i < 4; ++i) {
    const RawI32 rounded = to_i32(v[i] * inverse).v;
    int32_t values[8];
    memcpy(values, &rounded, sizeof values);
    sums[i] = 0;
    for (int l = 0; l < 8; ++l) {
      q[8 * i + l] = static_cast<int8_t>(values[l]);
      sums[i] += values[l];
    }
  }
  half_sum[0] = *scale * static_cast<float>(sums[0] + sums[1]);
  half_sum[1] = *scale * static_cast<float>(sums[2] + sums[3]);
  *sum_q = *scale * static_cast<float>(sums[0] + sums[1] + sums[2] + sums[3]);
  return true;
}

bool quantize_row(const float* x, const Q8Rows& rows, int64_t r) {
  const int64_t first = r * rows.blocks, blocks = rows.k / 32;
  for (int64_t b = 0; b < blocks; ++b) {
    const int64_t at = first + b;
    if (!quantize_block(x + 32 * b, rows.q + r * rows.k + 32 * b, rows.scale + at, rows.sum + at,
                        rows.half_sum + 2 * at))
      return false;
  }
  for (int64_t at = first + blocks; at < first + rows.blocks; ++at)
    rows.scale[at] = rows.sum[at] = rows.half_sum[2 * at] = rows.half_sum[2 * at + 1] = 0.0f;
  return true;
}

}  // namespace

void add_linear_q8(Isa& table) {
  table.quantize_row = quantize_row;
  const auto set = [&](DType dtype, void (*kernel)(const Q8Linear&)) {
    table.linear_q8[static_cast<int>(dtype)] = kernel;
  };
  set(DType::q4_0, linear<Q4_0>);
  set(DType::q4_1, linear<Q4_1>);
  set(DType::q5_0, linear<Q5_0>);
  set(DType::q5_1, linear<Q5_1>);
  set(DType::q8_0, linear<Q8_0>);
  set(DType::q2_k, linear<Q2K>);
  set(DType::q3_k, linear<Q3K>);
  set(DType::q4_k, linear<Q4K>);
  set(DType::q5_k, linear<Q5K>);
  set(DType::q6_k, linear<Q6K>);
}

}  // namespace tl::cpu::TL_ISA
