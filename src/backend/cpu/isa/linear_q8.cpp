// Quantised weights in panels (panel_layouts.h) times activations rounded to 8 bits.
//
// A lane belongs to one of a panel's eight weight rows. In every block of 32 elements the dot product of
// quants is exact in integers: eight vectors of four elements a row, each times four activations that all
// lanes share. Products are added in 16 bits as long as they fit, which they do longest when they start from
// -centre times the sums of the activations. The integer scales of the formats of 256 elements come in as 16
// bits become 32. Then
//   w . a = sum over blocks of d_w * scale_a * sum of scale_w * (q_w - centre) . q_a - minima * sum(q_a)
// in float32 in the order of the blocks. Nothing depends on how many rows of activations there are.
#include "backend/cpu/isa.h"
#include "backend/cpu/isa/simd.h"
#include "backend/cpu/isa/tables.h"
#include "backend/cpu/panel_layouts.h"

namespace tl::cpu::TL_ISA {

namespace {

// Shifts are immediate and sums stay in registers where vectors are the processor's own. Unrolled portable
// code would only be long, and so would code with a sanitizer's checks in every step. NEON shifts by a
// register as well as by a number, so the blocks of a panel block need not be unrolled there.
#if (defined(__AVX2__) || defined(TL_NEON)) && !defined(TL_SANITIZED)
#define TL_UNROLL _Pragma("GCC unroll 8")
#else
#define TL_UNROLL
#endif
#if defined(TL_NEON)
#define TL_UNROLL_BLOCKS
#else
#define TL_UNROLL_BLOCKS TL_UNROLL
#endif

/// What the formats have in common; those of 256 elements have eight blocks of 32 in a panel block, and an
/// integer scale for each of these or for each half of them.
template <class P, int blocks, int largest_quant, int log2_centre = -1>
struct Format {
  using Panel = P;
  static constexpr int kBlocks = blocks, kLog2Centre = log2_centre;
  static constexpr bool kCentred = log2_centre >= 0;
  static constexpr bool kScales = blocks > 1, kHalves = false, kMins = false, kSigned = false;
  static constexpr bool kWords = false;  ///< rows that are taken together are multiplied in 16 bits
  /// How many products of four elements fit into the 16 bits of Dots.
  static constexpr int kMost = 32767 / (2 * 127 * largest_quant);
  static constexpr int kAdds = kCentred || kMost > 8 ? 8 : kMost;
  TL_INLINE static F32 d(const P& p) { return load_f16(p.d); }
};

/// Four bits, element 4 g + c of a block in the low nibble of run g, element 16 + 4 g + c in the high one.
TL_INLINE U8 nibbles(const uint8_t (&qs)[4][32], int g) {
  return bits_from(load_u8(qs[g % 4]), g / 4 * 4, 15);
}

struct Q4_0 : Format<PanelQ4_0, 1, 15, 3> {
  TL_INLINE static U8 quants(const Panel& p, int, int g) { return nibbles(p.qs, g); }
};

struct Q4_1 : Format<PanelQ4_1, 1, 15> {
  static constexpr bool kMins = true;
  TL_INLINE static F32 min(const Panel& p) { return load_f16(p.m); }
  TL_INLINE static U8 quants(const Panel& p, int, int g) { return nibbles(p.qs, g); }
};

struct Q5_0 : Format<PanelQ5_0, 1, 31, 4> {
  TL_INLINE static U8 quants(const Panel& p, int, int g) {
    return nibbles(p.qs, g) | bits_from(load_u8(p.qh), g - 4, 16);
  }
};

struct Q5_1 : Format<PanelQ5_1, 1, 31> {
  static constexpr bool kMins = true;
  TL_INLINE static F32 min(const Panel& p) { return load_f16(p.m); }
  TL_INLINE static U8 quants(const Panel& p, int, int g) {
    return nibbles(p.qs, g) | bits_from(load_u8(p.qh), g - 4, 16);
  }
};

#ifdef TL_UNSIGNED_WHOLE_DOTS  // a centre costs nothing there
struct Q8_0 : Format<PanelQ8_0, 1, 255, 7> {
  TL_INLINE static U8 quants(const Panel& p, int, int g) { return load_u8(p.qs[g]) ^ bytes(128); }
};
#else
struct Q8_0 : Format<PanelQ8_0, 1, 128> {
  static constexpr bool kSigned = true;
#ifdef TL_DOTS_OF_WORDS
  static constexpr bool kWords = true;
#endif
  TL_INLINE static U8 quants(const Panel& p, int, int g) { return load_u8(p.qs[g]); }
};
#endif

struct Q2K : Format<PanelQ2K, 8, 3> {
  static constexpr bool kMins = true, kHalves = true;
  TL_INLINE static F32 min(const Panel& p) { return load_f16(p.dmin); }
  TL_INLINE static U8 quants(const Panel& p, int j, int g) {
    return bits_from(load_u8(p.qs[j / 4][g]), j % 4 * 2, 3);
  }
};

struct Q3K : Format<PanelQ3K, 8, 7, 2> {
  static constexpr bool kHalves = true;
  TL_INLINE static U8 quants(const Panel& p, int j, int g) {
    return bits_from(load_u8(p.qs[j / 4][g]), j % 4 * 2, 3) | bits_from(load_u8(p.hmask[g]), j - 2, 4);
  }
};

struct Q4K : Format<PanelQ4K, 8, 15> {
  static constexpr bool kMins = true;
  TL_INLINE static F32 min(const Panel& p) { return load_f16(p.dmin); }
  TL_INLINE static U8 quants(const Panel& p, int j, int g) {
    return bits_from(load_u8(p.qs[j / 2][g]), j % 2 * 4, 15);
  }
};

struct Q5K : Format<PanelQ5K, 8, 31> {
  static constexpr bool kMins = true;
  TL_INLINE static F32 min(const Panel& p) { return load_f16(p.dmin); }
  TL_INLINE static U8 quants(const Panel& p, int j, int g) {
    return bits_from(load_u8(p.qs[j / 2][g]), j % 2 * 4, 15) | bits_from(load_u8(p.qh[g]), j - 4, 16);
  }
};

struct Q6K : Format<PanelQ6K, 8, 63, 5> {
  static constexpr bool kHalves = true;
  TL_INLINE static U8 quants(const Panel& p, int j, int g) {
    return bits_from(load_u8(p.ql[j / 4 * 2 + j % 2][g]), j % 4 / 2 * 4, 15) |
           bits_from(load_u8(p.qh[j / 4][g]), j % 4 * 2 - 4, 48);
  }
};

/// Adds to the totals the dot products of the quants of block j, vectors [first, first + n), with M rows of
/// activations, whose blocks begin at a and sums; `s` numbers the weights' scale.
template <class F, int M, int first, int n>
TL_INLINE void add_dots(const typename F::Panel& p, int j, int s, const int8_t* a, const Q8Rows::Sums* sums,
                        I32 (&total)[M]) {
  TL_UNROLL
  for (int begin = first; begin < first + n; begin += F::kAdds) {
    Dots d[M];
    if constexpr (F::kCentred)
      for (int r = 0; r < M; ++r)
        d[r] = start_from<F::kLog2Centre>(n == 8 ? sums[r].whole : sums[r].halves[first / 4]);
    TL_UNROLL
    for (int g = begin; g < begin + F::kAdds; ++g) {
      if (g >= first + n) break;
      const U8 q = F::quants(p, j, g);
      TL_UNROLL
      for (int r = 0; r < M; ++r) {
        if constexpr (F::kSigned)
          d[r] = add_signed_products(d[r], q, a + 32 * r + 4 * g);
        else
          d[r] = add_products(d[r], q, a + 32 * r + 4 * g);
        // Where halves have scales, sums are short and registers few: it loses a twentieth there.
        if constexpr (M > 1 && !F::kHalves) settle(d[r]);
      }
    }
    if constexpr (F::kScales) {
      const Scales scales = load_scales(p.scales[s]);
      TL_UNROLL
      for (int r = 0; r < M; ++r) total[r] = total[r] + scaled_totals(d[r], scales);
    } else {
      TL_UNROLL
      for (int r = 0; r < M; ++r) total[r] = total[r] + totals(d[r]);
    }
  }
}

#ifdef TL_DOTS_OF_WORDS
/// The same of a whole block, whose activations are 32 words at a.
template <class F, int M>
TL_INLINE void add_dots_of_words(const typename F::Panel& p, int j, const int16_t* a, I32 (&total)[M]) {
  WordDots d[M];
  TL_UNROLL
  for (int g = 0; g < 8; ++g) add_word_products(d, F::quants(p, j, g), a + 4 * g, 32);
  TL_UNROLL
  for (int r = 0; r < M; ++r) total[r] = total[r] + totals(d[r]);
}
#endif

/// The sum of block j's activations times the minima of its halves, negative.
template <class F>
TL_INLINE I32 less_minima(const typename F::Panel& p, int j, const Q8Rows::Sums& sums) {
  return scaled_totals(start_from<0>(sums.halves[0]), load_scales(p.mins[2 * j])) +
         scaled_totals(start_from<0>(sums.halves[1]), load_scales(p.mins[2 * j + 1]));
}

/// How far ahead of the block in use the panels are asked for. They are read in order and once, which the
/// processor sees for itself, but it stops at each page and does not look far enough ahead for a loop that
/// does this much with each line.
constexpr int64_t kAhead = 12288;

/// Asks for the part of a panel block ahead that corresponds to block j of the one at p. Not before `sum` is
/// known: GCC would ask for the parts of a whole panel block at once, more requests than a processor keeps in
/// mind.
template <class F>
TL_INLINE void prefetch(const typename F::Panel* p, int j, F32& sum) {
  constexpr int64_t kPart = sizeof(*p) / F::kBlocks;
  const std::byte* part = reinterpret_cast<const std::byte*>(p) + kAhead + j * kPart;
  if constexpr (F::kBlocks > 1) follow(part, sum);
  TL_UNROLL
  for (int64_t at = 0; at < kPart; at += 64) __builtin_prefetch(part + at);
}

/// Eight weight rows times M rows of x from `row` on; lane l of sums[r] is x[row + r] . w[l].
template <class F, int M>
TL_INLINE void panel_product(const std::byte* panel, const Q8Rows& x, int64_t row, F32 (&sums)[M]) {
  const auto* p = reinterpret_cast<const typename F::Panel*>(panel);
  const int64_t blocks = x.blocks();
  for (int r = 0; r < M; ++r) sums[r] = F32(0.0f);
  for (int64_t first = 0; first < blocks; first += F::kBlocks, ++p) {
    const F32 d = F::d(*p);
    F32 min(0.0f);
    if constexpr (F::kMins) min = F::min(*p);
    TL_UNROLL_BLOCKS
    for (int j = 0; j < F::kBlocks; ++j) {
      if constexpr (M == 1) prefetch<F>(p, j, sums[0]);
      const int64_t at = row * blocks + (first + j) * M;  // Q8Rows::place
      const int8_t* const a = x.q + 32 * at;
      const Q8Rows::Sums* const less_sums = x.less_sums + at;
      I32 total[M];
      for (I32& t : total) t = {RawI32{}};
      F32 block_min = min;
      if constexpr (F::kMins && F::kScales && !F::kHalves) block_min = -min * to_f32(load_bytes(p->mins[j]));
      if constexpr (F::kWords && M > 1) {
#ifdef TL_DOTS_OF_WORDS
        add_dots_of_words<F, M>(*p, j, x.words + 32 * at, total);
#endif
      } else if constexpr (F::kHalves) {
        add_dots<F, M, 0, 4>(*p, j, 2 * j, a, less_sums, total);
        add_dots<F, M, 4, 4>(*p, j, 2 * j + 1, a, less_sums, total);
      } else {
        add_dots<F, M, 0, 8>(*p, j, j, a, less_sums, total);
      }
      TL_UNROLL
      for (int r = 0; r < M; ++r) {
        const F32 scale(x.scale[at + r]);
        sums[r] = fma(to_f32(total[r]), d * scale, sums[r]);
        if constexpr (F::kMins && F::kHalves)
          sums[r] = fma(to_f32(less_minima<F>(*p, j, less_sums[r])), min * scale, sums[r]);
        else if constexpr (F::kMins)
          sums[r] = fma(block_min, F32(x.scaled_sum[at + r]), sums[r]);
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

/// Weights that have been unpacked serve several rows of x, as many as there are registers for.
#ifdef TL_UNSIGNED_WHOLE_DOTS
constexpr int kGroup = 8;
#else
constexpr int kGroup = 4;
#endif

template <class F>
void linear(const Q8Linear& a) {
  int64_t row = 0;
  for (; row + kGroup <= a.x.rows; row += kGroup) rows_product<F, kGroup>(a, row);
  if constexpr (kGroup > 4)
    if (row + 4 <= a.x.rows) rows_product<F, 4>(a, row), row += 4;
  for (; row < a.x.rows; ++row) rows_product<F, 1>(a, row);
}

/// Scale, quants and sums of the block at `place`; false if x holds NaN or infinity.
TL_INLINE bool quantize_block(const float* x, const Q8Rows& rows, int64_t place) {
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
  const float scale = representable ? top / 127.0f : 0.0f;
  const F32 inverse(representable ? 127.0f / top : 0.0f);
  int8_t* const q = rows.q + 32 * place;
  I32 rounded[4];
  for (int i = 0; i < 4; ++i) {
    rounded[i] = to_i32(v[i] * inverse);
    store_i8(q + 8 * i, rounded[i]);
  }
#ifdef TL_DOTS_OF_WORDS
  if (rows.words != nullptr) store_words(rows.words + 32 * place, q);
#endif
  int less[2][2] = {};
  for (int half = 0; half < 2; ++half) {
    const I32 both = rounded[2 * half] + rounded[2 * half + 1];
    int32_t pairs[8];
    memcpy(pairs, &both, sizeof pairs);
    for (int l = 0; l < 8; ++l) less[half][l % 4 / 2] -= pairs[l];
  }
  Q8Rows::Sums& sums = rows.less_sums[place];
  for (int lane = 0; lane < 2; ++lane) {
    for (int half = 0; half < 2; ++half) sums.halves[half][lane] = static_cast<int16_t>(less[half][lane]);
    sums.whole[lane] = static_cast<int16_t>(less[0][lane] + less[1][lane]);
  }
  rows.scale[place] = scale;
  rows.scaled_sum[place] = scale * static_cast<float>(-(sums.whole[0] + sums.whole[1]));
  return true;
}

/// The kernels read every row, also those whose products are computed once more in floats.
void zero_row(const Q8Rows& rows, int64_t r) {
  for (int64_t b = 0; b < rows.blocks(); ++b) {
    const int64_t place = rows.place(r, b);
    memset(rows.q + 32 * place, 0, 32);
    if (rows.words != nullptr) memset(rows.words + 32 * place, 0, 64);
    rows.scale[place] = rows.scaled_sum[place] = 0.0f;
    rows.less_sums[place] = {};
  }
}

bool quantize_row(const float* x, const Q8Rows& rows, int64_t r) {
  for (int64_t b = 0; b < rows.blocks(); ++b) {
    if (quantize_block(x + 32 * b, rows, rows.place(r, b))) continue;
    zero_row(rows, r);
    return false;
  }
  return true;
}

}  // namespace

void add_linear_q8(Isa& table) {
  table.q8_group = kGroup;
  table.quantize_row = quantize_row;
  const auto set = [&](DType dtype, void (*kernel)(const Q8Linear&)) {
    table.linear_q8[static_cast<int>(dtype)] = kernel;
  };
  table.q8_in_words[static_cast<int>(DType::q8_0)] = Q8_0::kWords;
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
