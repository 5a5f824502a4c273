// Quantised weights in panels (panel_layouts.h) times activations rounded to 8 bits.
//
// A lane belongs to one of a panel's eight weight rows. In every block of 32 elements (or half block of 16,
// as the format's scales are) the dot product of quants is exact in integers: eight vectors of four elements
// a row, each times four activations that all lanes share. Formats of up to 4 bits add them in 16 bits before
// they are widened. Then
//   w . a = sum over blocks of scale_w * scale_a * (q_w - centre) . q_a + min_w * scale_a * sum(q_a)
// in float32 in the order of the blocks, where a format has either a centre or minima. Nothing depends on how
// many rows of activations there are.
#include "backend/cpu/isa.h"
#include "backend/cpu/isa/simd.h"
#include "backend/cpu/isa/tables.h"
#include "backend/cpu/panel_layouts.h"

namespace tl::cpu::TL_ISA {

namespace {

// Shifts are immediate and sums stay in registers where vectors are the processor's own. Unrolled portable
// code would only be long, and so would code with a sanitizer's checks in every step.
#if defined(__AVX2__) && !defined(TL_SANITIZED)
#define TL_UNROLL _Pragma("GCC unroll 8")
#else
#define TL_UNROLL
#endif

/// What the formats have in common; those of 256 elements have eight blocks of 32 in a panel block.
template <class P, int blocks, int largest_quant>
struct Format {
  using Panel = P;
  static constexpr int kBlocks = blocks;
  static constexpr int kCentre = 0;
  static constexpr bool kMins = false, kHalves = false, kSigned = false;
  /// How many products of four elements fit into the 16 bits of Dots.
  static constexpr int kAdds = 32767 / (2 * 127 * largest_quant) < 8 ? 32767 / (2 * 127 * largest_quant) : 8;
};

/// Four bits, element 4 g + c of a block in the low nibble of run g, element 16 + 4 g + c in the high one.
TL_INLINE U8 nibbles(const uint8_t (&qs)[4][32], int g) {
  return g < 4 ? load_u8(qs[g]) & bytes(15) : shift_right(load_u8(qs[g - 4]), 4);
}

struct Q4_0 : Format<PanelQ4_0, 1, 15> {
  static constexpr int kCentre = 8;
  TL_INLINE static F32 scale(const Panel& p, int) { return load_f16(p.d); }
  TL_INLINE static U8 quants(const Panel& p, int, int g) { return nibbles(p.qs, g); }
};

struct Q4_1 : Format<PanelQ4_1, 1, 15> {
  static constexpr bool kMins = true;
  TL_INLINE static F32 scale(const Panel& p, int) { return load_f16(p.d); }
  TL_INLINE static F32 min(const Panel& p, int) { return load_f16(p.m); }
  TL_INLINE static U8 quants(const Panel& p, int, int g) { return nibbles(p.qs, g); }
};

struct Q5_0 : Format<PanelQ5_0, 1, 31> {
  static constexpr int kCentre = 16;
  TL_INLINE static F32 scale(const Panel& p, int) { return load_f16(p.d); }
  TL_INLINE static U8 quants(const Panel& p, int, int g) {
    return nibbles(p.qs, g) | bit_as(load_u8(p.qh), g, 4);
  }
};

struct Q5_1 : Format<PanelQ5_1, 1, 31> {
  static constexpr bool kMins = true;
  TL_INLINE static F32 scale(const Panel& p, int) { return load_f16(p.d); }
  TL_INLINE static F32 min(const Panel& p, int) { return load_f16(p.m); }
  TL_INLINE static U8 quants(const Panel& p, int, int g) {
    return nibbles(p.qs, g) | bit_as(load_u8(p.qh), g, 4);
  }
};

struct Q8_0 : Format<PanelQ8_0, 1, 128> {
  static constexpr bool kSigned = true;
  TL_INLINE static F32 scale(const Panel& p, int) { return load_f16(p.d); }
  TL_INLINE static U8 quants(const Panel& p, int, int g) { return load_u8(p.qs[g]); }
};

struct Q2K : Format<PanelQ2K, 8, 3> {
  static constexpr bool kMins = true, kHalves = true;
  TL_INLINE static F32 scale(const Panel& p, int s) { return load_f16(p.d) * load_u8_as_f32(p.scales[s]); }
  TL_INLINE static F32 min(const Panel& p, int s) { return -load_f16(p.dmin) * load_u8_as_f32(p.mins[s]); }
  TL_INLINE static U8 quants(const Panel& p, int j, int g) {
    return shift_right(load_u8(p.qs[j / 4][g]), j % 4 * 2) & bytes(3);
  }
};

struct Q3K : Format<PanelQ3K, 8, 7> {
  static constexpr int kCentre = 4;
  static constexpr bool kHalves = true;
  TL_INLINE static F32 scale(const Panel& p, int s) { return load_f16(p.d) * load_i8_as_f32(p.scales[s]); }
  TL_INLINE static U8 quants(const Panel& p, int j, int g) {
    const U8 low = shift_right(load_u8(p.qs[j / 4][g]), j % 4 * 2) & bytes(3);
    return low | bit_as(load_u8(p.hmask[g]), j, 2);
  }
};

template <class P, int largest_quant>
struct FormatK4 : Format<P, 8, largest_quant> {
  static constexpr bool kMins = true;
  TL_INLINE static F32 scale(const P& p, int s) { return load_f16(p.d) * load_u8_as_f32(p.scales[s]); }
  TL_INLINE static F32 min(const P& p, int s) { return -load_f16(p.dmin) * load_u8_as_f32(p.mins[s]); }
  TL_INLINE static U8 low_bits(const P& p, int j, int g) {
    return shift_right(load_u8(p.qs[j / 2][g]), j % 2 * 4) & bytes(15);
  }
};

struct Q4K : FormatK4<PanelQ4K, 15> {
  TL_INLINE static U8 quants(const Panel& p, int j, int g) { return low_bits(p, j, g); }
};

struct Q5K : FormatK4<PanelQ5K, 31> {
  TL_INLINE static U8 quants(const Panel& p, int j, int g) {
    return low_bits(p, j, g) | bit_as(load_u8(p.qh[g]), j, 4);
  }
};

struct Q6K : Format<PanelQ6K, 8, 63> {
  static constexpr int kCentre = 32;
  static constexpr bool kHalves = true;
  TL_INLINE static F32 scale(const Panel& p, int s) { return load_f16(p.d) * load_i8_as_f32(p.scales[s]); }
  TL_INLINE static U8 quants(const Panel& p, int j, int g) {
    const U8 low = shift_right(load_u8(p.ql[j / 4 * 2 + j % 2][g]), j % 4 / 2 * 4) & bytes(15);
    const U8 high = shift_right(load_u8(p.qh[j / 4][g]), j % 4 * 2) & bytes(3);
    return low | shift_left(high, 4);
  }
};

/// Dot products of the quants of block j, vectors [first, first + n), with M rows of activations at a[r].
template <class F, int M, int first, int n>
TL_INLINE void block_dots(const typename F::Panel& p, int j, const int8_t* const (&a)[M], I32 (&dots)[M]) {
  for (int r = 0; r < M; ++r) dots[r] = {RawI32{}};
  TL_UNROLL
  for (int begin = first; begin < first + n; begin += F::kAdds) {
    Dots d[M];
    TL_UNROLL
    for (int g = begin; g < begin + F::kAdds; ++g) {
      if (g >= first + n) break;
      const U8 q = F::quants(p, j, g);
      TL_UNROLL
      for (int r = 0; r < M; ++r) {
        if constexpr (F::kSigned)
          d[r] = add_signed_products(d[r], q, a[r] + 4 * g);
        else
          d[r] = add_products(d[r], q, a[r] + 4 * g);
      }
    }
    TL_UNROLL
    for (int r = 0; r < M; ++r) dots[r] = dots[r] + totals(d[r]);
  }
}

/// Adds a block's (or half block's) part to the sums: `s` numbers its scale in the panel block, `sums_of_q`
/// of row r are `stride` apart.
template <class F, int M>
TL_INLINE void add_scaled(const typename F::Panel& p, int s, const I32 (&dots)[M], const float* scale,
                          const int32_t* sum_of_q, int64_t blocks, int64_t stride, F32 (&sums)[M]) {
  const F32 scale_w = F::scale(p, s);
  F32 min_w;
  if constexpr (F::kMins) min_w = F::min(p, s);
  TL_UNROLL
  for (int r = 0; r < M; ++r) {
    const F32 scale_a(scale[r * blocks]);
    const int32_t sum_a = sum_of_q[r * stride];
    sums[r] = fma(to_f32(dots[r] - F::kCentre * sum_a), scale_w * scale_a, sums[r]);
    if constexpr (F::kMins) sums[r] = fma(min_w, scale_a * F32(static_cast<float>(sum_a)), sums[r]);
  }
}

/// Eight weight rows times M rows of x from `row` on; lane l of sums[r] is x[row + r] . w[l].
template <class F, int M>
TL_INLINE void panel_product(const std::byte* panel, const Q8Rows& x, int64_t row, F32 (&sums)[M]) {
  const auto* p = reinterpret_cast<const typename F::Panel*>(panel);
  const int64_t blocks = x.blocks();
  for (int r = 0; r < M; ++r) sums[r] = F32(0.0f);
  for (int64_t first = 0; first < blocks; first += F::kBlocks, ++p) {
    TL_UNROLL
    for (int j = 0; j < F::kBlocks; ++j) {
      const int64_t at = row * blocks + first + j;
      const int8_t* a[M];
      for (int r = 0; r < M; ++r) a[r] = x.q + (row + r) * x.k + (first + j) * 32;
      I32 dots[M];
      if constexpr (F::kHalves) {
        block_dots<F, M, 0, 4>(*p, j, a, dots);
        add_scaled<F, M>(*p, 2 * j, dots, x.scale + at, x.half_sum + 2 * at, blocks, 2 * blocks, sums);
        block_dots<F, M, 4, 4>(*p, j, a, dots);
        add_scaled<F, M>(*p, 2 * j + 1, dots, x.scale + at, x.half_sum + 2 * at + 1, blocks, 2 * blocks,
                         sums);
      } else {
        block_dots<F, M, 0, 8>(*p, j, a, dots);
        add_scaled<F, M>(*p, j, dots, x.scale + at, x.sum + at, blocks, blocks, sums);
      }
    }
  }
}

template <class F, int M>
[[gnu::noinline]] void rows_product(const Q8Linear& a, int64_t row) {
  for (int64_t i = 0; i < a.n; i += kPanelRows) {
    F32 sums[M];
    panel_product<F, M>(a.panels + i / kPanelRows * a.panel_bytes, a.x, row, sums);
    for (int r = 0; r < M; ++r) {
      float* out = a.out + (row + r) * a.out_stride + i;
      if (i + kPanelRows <= a.n)
        store(out, sums[r]);
      else
        store_tail(out, sums[r], a.n - i);
    }
  }
}

/// Weights that have been unpacked serve four rows of x.
template <class F>
void linear(const Q8Linear& a) {
  int64_t row = 0;
  for (; row + 4 <= a.m; row += 4) rows_product<F, 4>(a, row);
  for (; row < a.m; ++row) rows_product<F, 1>(a, row);
}

/// Scale, quants and sums of one block of 32.
TL_INLINE bool quantize_block(const float* x, int8_t* q, float* scale, int32_t* sum, int32_t* half_sum) {
  F32 v[4], largest(0.0f), not_finite(0.0f);
  for (int i = 0; i < 4; ++i) {
    v[i] = load(x + 8 * i);
    not_finite = not_finite + v[i] * F32(0.0f);  // 0 unless a lane is NaN or infinite
    const F32 magnitude = abs(v[i]);
    largest = select(magnitude > largest, magnitude, largest);
  }
  if (!(TL_ISA::sum(not_finite) == 0.0f)) return false;
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
  half_sum[0] = sums[0] + sums[1];
  half_sum[1] = sums[2] + sums[3];
  *sum = half_sum[0] + half_sum[1];
  return true;
}

/// The kernels read every row, also those whose products are computed once more in floats.
void zero_row(const Q8Rows& rows, int64_t r) {
  const auto blocks = static_cast<size_t>(rows.blocks());
  const size_t first = static_cast<size_t>(r) * blocks;
  memset(rows.q + 32 * first, 0, 32 * blocks);
  memset(rows.scale + first, 0, sizeof(float) * blocks);
  memset(rows.sum + first, 0, sizeof(int32_t) * blocks);
  memset(rows.half_sum + 2 * first, 0, 2 * sizeof(int32_t) * blocks);
}

bool quantize_row(const float* x, const Q8Rows& rows, int64_t r) {
  const int64_t blocks = rows.blocks();
  for (int64_t b = 0; b < blocks; ++b) {
    const int64_t at = r * blocks + b;
    if (!quantize_block(x + 32 * b, rows.q + r * rows.k + 32 * b, rows.scale + at, rows.sum + at,
                        rows.half_sum + 2 * at)) {
      zero_row(rows, r);
      return false;
    }
  }
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
