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

/// Vectors of a panel block.
template <int n>
struct Bytes {
  U8 v[n];
};

/// What the formats have in common; those of 256 elements have eight blocks of 32 in a panel block, and an
/// integer scale for each of these or for each half of them. quants(bytes(p, j, g), j, g) are those of vector
/// g of block j; the bytes may hold more.
template <class P, int blocks, int largest_quant, int log2_centre = -1>
struct Format {
  using Panel = P;
  static constexpr int kBlocks = blocks, kLog2Centre = log2_centre;
  static constexpr int64_t kBytes = sizeof(P) + sizeof(typename P::Floats);  ///< of a panel block
  static constexpr bool kCentred = log2_centre >= 0;
  static constexpr bool kScales = blocks > 1, kHalves = false, kMins = false, kSigned = false;
  static constexpr bool kWords = false;   ///< rows that are taken together are multiplied in 16 bits
  static constexpr int kTogether = 1;     ///< so many blocks, from a multiple on, lie in the same bytes
  static constexpr bool kPaired = false;  ///< vectors g and g + 4 lie in the same bytes
  /// How many products of four elements fit into the 16 bits of Dots.
  static constexpr int kMost = 32767 / (2 * 127 * largest_quant);
  static constexpr int kAdds = kCentred || kMost > 8 ? 8 : kMost;
};

/// Blocks of 32 whose elements 4 g + c lie in the low nibble of run g, elements 16 + 4 g + c in the high one;
/// a fifth bit apart.
template <class P, int largest_quant, int log2_centre = -1>
struct Nibbles : Format<P, 1, largest_quant, log2_centre> {
  static constexpr bool kPaired = true, kFifth = largest_quant > 15;
  TL_INLINE static Bytes<1 + kFifth> bytes(const P& p, int, int g) {
    if constexpr (kFifth)
      return {load_u8(p.qs[g % 4]), load_u8(p.qh)};
    else
      return {load_u8(p.qs[g % 4])};
  }
  TL_INLINE static U8 quants(const Bytes<1 + kFifth>& b, int, int g) {
    const U8 nibbles = bits_from(b.v[0], g / 4 * 4, 15);
    if constexpr (kFifth)
      return nibbles | bits_from(b.v[1], g - 4, 16);
    else
      return nibbles;
  }
};

struct Q4_0 : Nibbles<PanelQ4_0, 15, 3> {};

struct Q4_1 : Nibbles<PanelQ4_1, 15> {
  static constexpr bool kMins = true;
};

struct Q5_0 : Nibbles<PanelQ5_0, 31, 4> {};

struct Q5_1 : Nibbles<PanelQ5_1, 31> {
  static constexpr bool kMins = true;
};

#ifdef TL_UNSIGNED_WHOLE_DOTS  // a centre costs nothing there
struct Q8_0 : Format<PanelQ8_0, 1, 255, 7> {
  TL_INLINE static Bytes<1> bytes(const Panel& p, int, int g) { return {load_u8(p.qs[g])}; }
  TL_INLINE static U8 quants(const Bytes<1>& b, int, int) { return b.v[0] ^ TL_ISA::bytes(128); }
};
#else
struct Q8_0 : Format<PanelQ8_0, 1, 128> {
  static constexpr bool kSigned = true;
#ifdef TL_DOTS_OF_WORDS
  static constexpr bool kWords = true;
#endif
  TL_INLINE static Bytes<1> bytes(const Panel& p, int, int g) { return {load_u8(p.qs[g])}; }
  TL_INLINE static U8 quants(const Bytes<1>& b, int, int) { return b.v[0]; }
};
#endif

struct Q2K : Format<PanelQ2K, 8, 3> {
  static constexpr bool kMins = true, kHalves = true;
  static constexpr int kTogether = 4;
  TL_INLINE static Bytes<1> bytes(const Panel& p, int j, int g) { return {load_u8(p.qs[j / 4][g])}; }
  TL_INLINE static U8 quants(const Bytes<1>& b, int j, int) { return bits_from(b.v[0], j % 4 * 2, 3); }
};

struct Q3K : Format<PanelQ3K, 8, 7, 2> {
  static constexpr bool kHalves = true;
  static constexpr int kTogether = 4;
  TL_INLINE static Bytes<2> bytes(const Panel& p, int j, int g) {
    return {load_u8(p.qs[j / 4][g]), load_u8(p.hmask[g])};
  }
  TL_INLINE static U8 quants(const Bytes<2>& b, int j, int) {
    return bits_from(b.v[0], j % 4 * 2, 3) | bits_from(b.v[1], j - 2, 4);
  }
};

struct Q4K : Format<PanelQ4K, 8, 15> {
  static constexpr bool kMins = true;
  static constexpr int kTogether = 2;
  TL_INLINE static Bytes<1> bytes(const Panel& p, int j, int g) { return {load_u8(p.qs[j / 2][g])}; }
  TL_INLINE static U8 quants(const Bytes<1>& b, int j, int) { return bits_from(b.v[0], j % 2 * 4, 15); }
};

struct Q5K : Format<PanelQ5K, 8, 31> {
  static constexpr bool kMins = true;
  static constexpr int kTogether = 2;
  TL_INLINE static Bytes<2> bytes(const Panel& p, int j, int g) {
    return {load_u8(p.qs[j / 2][g]), load_u8(p.qh[g])};
  }
  TL_INLINE static U8 quants(const Bytes<2>& b, int j, int) {
    return bits_from(b.v[0], j % 2 * 4, 15) | bits_from(b.v[1], j - 4, 16);
  }
};

struct Q6K : Format<PanelQ6K, 8, 63, 5> {
  static constexpr bool kHalves = true;
  static constexpr int kTogether = 4;
  TL_INLINE static Bytes<3> bytes(const Panel& p, int j, int g) {
    const auto& qs = p.qs[j / 4][g];
    return {load_u8(qs[0]), load_u8(qs[1]), load_u8(qs[2])};
  }
  TL_INLINE static U8 quants(const Bytes<3>& b, int j, int) {
    if (j % 4 < 3) return b.v[j % 4] & TL_ISA::bytes(63);
    return bits_from(b.v[0], 2, 48) | bits_from(b.v[1], 4, 12) | bits_from(b.v[2], 6, 3);
  }
};

/// How far ahead of the block in use the panels are asked for. They are read in order and once, which the
/// processor sees for itself, but it stops at each page and does not look far enough ahead for a loop that
/// does this much with each line.
constexpr int64_t kAhead = 12288;

/// Asks for what lies ahead of bytes [begin, end) of the panel block at p, when `dots` are known: GCC would
/// ask for the parts of a whole panel block at once, more requests than a processor keeps in mind.
TL_INLINE void prefetch(const std::byte* p, int64_t begin, int64_t end, Dots& dots) {
  constexpr int64_t kLine = 64;
  for (int64_t line = (begin + kLine - 1) / kLine; line * kLine < end; ++line)
    prefetch_after(dots, p + kAhead + line * kLine);
}

/// Adds to the totals the dot products of the quants of T blocks from j on, vectors [first, first + n), with
/// M rows of activations, whose blocks begin at a and sums. A single row asks for what lies further on than
/// the panel block, whose bytes begin at `ahead` with its floats counted in.
template <class F, int M, int T, int first, int n>
TL_INLINE void add_dots(const typename F::Panel& p, const std::byte* ahead, int j, const int8_t* a,
                        const Q8Rows::Sums* sums, I32 (&total)[T][M]) {
  constexpr int kAdds = F::kAdds < n ? F::kAdds : n;
  static_assert(n % kAdds == 0);
  TL_UNROLL
  for (int begin = first; begin < first + n; begin += kAdds) {
    Dots d[T][M];
    if constexpr (F::kCentred)
      for (int t = 0; t < T; ++t)
        for (int r = 0; r < M; ++r) {
          const Q8Rows::Sums& of = sums[t * M + r];
          d[t][r] = start_from<F::kLog2Centre>(n == 8 ? of.whole : of.halves[first / 4]);
        }
    decltype(F::bytes(p, j, 0)) bytes;
    TL_UNROLL
    for (int i = begin; i < begin + kAdds; ++i) {
      const int g = F::kPaired ? i / 2 + i % 2 * 4 : i;
      if (!F::kPaired || i % 2 == 0) {
        bytes = F::bytes(p, j, g);
        if constexpr (M == 1 && (T > 1 || F::kPaired))
          for (U8& v : bytes.v) keep_in_register(v);
      }
      TL_UNROLL
      for (int t = 0; t < T; ++t) {
        const U8 q = F::quants(bytes, j + t, g);
        TL_UNROLL
        for (int r = 0; r < M; ++r) {
          const int8_t* const four = a + 32 * (t * M + r) + 4 * g;
          if constexpr (F::kSigned)
            d[t][r] = add_signed_products(d[t][r], q, four);
          else
            d[t][r] = add_products(d[t][r], q, four);
          // Of many rows, where halves have scales, sums are short and registers few: it loses a twentieth
          // there.
          if constexpr (T > 1 || (M > 1 && !F::kHalves)) settle(d[t][r]);
        }
      }
      constexpr int64_t kSteps = F::kBlocks * 8;
      if constexpr (M == 1)
        prefetch(ahead, (8 * j + T * i) * F::kBytes / kSteps, (8 * j + T * (i + 1)) * F::kBytes / kSteps,
                 d[0][0]);
    }
    TL_UNROLL
    for (int t = 0; t < T; ++t) {
      if constexpr (F::kScales) {
        const int s = F::kHalves ? 2 * (j + t) + first / 4 : j + t;
        const Scales scales = scales_from(p.scales[s / 4], s % 4);
        TL_UNROLL
        for (int r = 0; r < M; ++r) total[t][r] = total[t][r] + scaled_totals(d[t][r], scales);
      } else {
        TL_UNROLL
        for (int r = 0; r < M; ++r) total[t][r] = total[t][r] + totals(d[t][r]);
      }
    }
  }
}

#ifdef TL_DOTS_OF_WORDS
/// The same of a whole block, whose activations are 32 words at a.
template <class F, int M>
TL_INLINE void add_dots_of_words(const typename F::Panel& p, int j, const int16_t* a, I32 (&total)[M]) {
  WordDots d[M];
  TL_UNROLL
  for (int g = 0; g < 8; ++g) add_word_products(d, F::quants(F::bytes(p, j, g), j, g), a + 4 * g, 32);
  TL_UNROLL
  for (int r = 0; r < M; ++r) total[r] = total[r] + totals(d[r]);
}
#endif

/// The sum of block j's activations times the minima of its halves, negative.
template <class F>
TL_INLINE I32 less_minima(const typename F::Panel& p, int j, const Q8Rows::Sums& sums) {
  return scaled_totals(start_from<0>(sums.halves[0]), scales_from(p.mins[j / 2], 2 * j % 4)) +
         scaled_totals(start_from<0>(sums.halves[1]), scales_from(p.mins[j / 2], 2 * j % 4 + 1));
}

/// Panel block p with its floats and M rows of activations, whose blocks stand from `at` on.
template <class F, int M>
TL_INLINE void panel_block_product(const typename F::Panel& p, const typename F::Panel::Floats& floats,
                                   const std::byte* ahead, const Q8Rows& x, int64_t at, F32 (&sums)[M]) {
  constexpr int T = M == 1 ? F::kTogether : 1;
  const F32 d = load_f16(floats.d);
  F32 min(0.0f);
  if constexpr (F::kMins) min = load_f16(floats.m);
  TL_UNROLL_BLOCKS
  for (int j = 0; j < F::kBlocks; j += T, at += T * M) {
    const int8_t* const a = x.q + 32 * at;
    const Q8Rows::Sums* const less_sums = x.less_sums + at;
    I32 total[T][M];
    for (auto& of_block : total)
      for (I32& sum : of_block) sum = {RawI32{}};
    if constexpr (F::kWords && M > 1) {
#ifdef TL_DOTS_OF_WORDS
      add_dots_of_words<F, M>(p, j, x.words + 32 * at, total[0]);
#endif
    } else if constexpr (F::kHalves) {
      add_dots<F, M, T, 0, 4>(p, ahead, j, a, less_sums, total);
      add_dots<F, M, T, 4, 4>(p, ahead, j, a, less_sums, total);
    } else {
      add_dots<F, M, T, 0, 8>(p, ahead, j, a, less_sums, total);
    }
    TL_UNROLL
    for (int t = 0; t < T; ++t) {
      F32 block_min = min;
      if constexpr (F::kMins && F::kScales && !F::kHalves)
        block_min = -min * to_f32(bytes_from(p.mins[(j + t) / 4], (j + t) % 4));
      TL_UNROLL
      for (int r = 0; r < M; ++r) {
        const int64_t place = at + t * M + r;
        const F32 scale(x.scale[place]);
        sums[r] = fma(to_f32(total[t][r]), d * scale, sums[r]);
        if constexpr (F::kMins && F::kHalves)
          sums[r] = fma(to_f32(less_minima<F>(p, j + t, x.less_sums[place])), min * scale, sums[r]);
        else if constexpr (F::kMins)
          sums[r] = fma(block_min, F32(x.scaled_sum[place]), sums[r]);
      }
    }
  }
}

/// Eight weight rows times M rows of x from `row` on; lane l of sums[r] is x[row + r] . w[l].
template <class F, int M>
TL_INLINE void panel_product(const std::byte* panel, const Q8Rows& x, int64_t row, F32 (&sums)[M]) {
  const auto* group = reinterpret_cast<const PanelGroup<typename F::Panel>*>(panel);
  const int64_t blocks = x.blocks();
  int64_t at = row * blocks;  // Q8Rows::place
  for (int r = 0; r < M; ++r) sums[r] = F32(0.0f);
  for (int64_t left = blocks / F::kBlocks; left > 0; left -= kPanelGroup, ++group)
    for (int b = 0; b < kPanelGroup && b < left; ++b, panel += F::kBytes, at += F::kBlocks * M)
      panel_block_product<F, M>(group->blocks[b], group->floats[b], panel, x, at, sums);
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
