// The matrix product's register tile, sums of rows, the packing of what they read, and the product of two
// runs.
#include "backend/cpu/isa.h"
#include "backend/cpu/isa/simd.h"
#include "backend/cpu/isa/tables.h"
#include "backend/cpu/isa/wide.h"

namespace tl::cpu::TL_ISA {

namespace {

// A panel's columns are one vector where registers have sixteen floats, and two elsewhere.
#ifdef TL_WIDE_REGISTERS
TL_INLINE void set(Part& v, float x) { v = _mm512_set1_ps(x); }
#endif
TL_INLINE void set(F32& v, float x) { v = F32(x); }

template <class V>
TL_INLINE V load_as(const float* from) {
  V x;
  memcpy(&x, from, sizeof x);
  return x;
}

// All rows of a tile: TL_UNROLLED stops at 8.
#define TL_EACH_ROW _Pragma("GCC unroll 12") for

/// One term of the sums of R rows of W vectors. Rows beyond a panel's lie in the next one, at `next`.
template <class V, int R, int W>
TL_INLINE void add_term(const float* a, int64_t next, const float* b, V (&sums)[R][W]) {
  constexpr int kWidth = sizeof(V) / sizeof(float);
  V row[W];
  TL_UNROLLED(int w = 0; w < W; ++w) row[w] = load_as<V>(b + kWidth * w);
  TL_EACH_ROW(int r = 0; r < R; ++r) {
    V x;
    set(x, r < kGemmRows ? a[r] : a[next + r - kGemmRows]);
    TL_UNROLLED(int w = 0; w < W; ++w) sums[r][w] = fma(x, row[w], sums[r][w]);
  }
}

/// R rows of W vectors of c: their sums stay in registers while a and b stream by.
template <class V, int R, int W>
[[gnu::noinline]] void tile(const GemmPanel& t, const float* a, float* c) {
  constexpr int kWidth = sizeof(V) / sizeof(float);
  for (int r = 0; r < R; ++r) {  // c comes from memory while the sums run
    __builtin_prefetch(c + r * t.c_stride, 1);
    __builtin_prefetch(c + r * t.c_stride + kWidth * W - 1, 1);
  }
  V sums[R][W];
  TL_EACH_ROW(int r = 0; r < R; ++r) { TL_UNROLLED(int w = 0; w < W; ++w) set(sums[r][w], 0.0f); }
  const float* b = t.b;
  int64_t p = 0;
  for (; p + 4 <= t.k; p += 4, a += 4 * kGemmRows, b += 4 * kGemmColumns) {
    TL_UNROLLED(int i = 0; i < 4; ++i) add_term(a + i * kGemmRows, t.a_stride, b + i * kGemmColumns, sums);
  }
  for (; p < t.k; ++p, a += kGemmRows, b += kGemmColumns) add_term(a, t.a_stride, b, sums);
  TL_EACH_ROW(int r = 0; r < R; ++r) {
    TL_UNROLLED(int w = 0; w < W; ++w) {
      float* to = c + r * t.c_stride + kWidth * w;
      if (t.adds) sums[r][w] = load_as<V>(to) + sums[r][w];
      memcpy(to, &sums[r][w], sizeof(V));
    }
  }
}

/// The rows that are left, fewer than R of them.
template <class V, int R, int W>
TL_INLINE void last_rows(const GemmPanel& t, const float* a, float* c, int64_t rows) {
  if constexpr (R > 1) {
    if (rows == R - 1) return tile<V, R - 1, W>(t, a, c);
    last_rows<V, R - 1, W>(t, a, c, rows);
  }
}

/// W vectors of all rows, of which a tile has room for R.
template <class V, int R, int W>
TL_INLINE void panel(const GemmPanel& t) {
  const float* a = t.a;
  float* c = t.c;
  int64_t r = 0;
  for (; r + R <= t.rows; r += R, a += R / kGemmRows * t.a_stride, c += R * t.c_stride)
    tile<V, R, W>(t, a, c);
  last_rows<V, R, W>(t, a, c, t.rows - r);
}

/// Ten sums and more: two multiplications begin in a cycle, and each takes four or five.
void gemm_panel(const GemmPanel& t) {
  static_assert(kGemmRows == 6 && kGemmColumns == 16);
  if (t.columns < kGemmColumns)
    panel<F32, 2 * kGemmRows, 1>(t);
  else
    panel<Part, 2 * kGemmRows / kParts, kParts>(t);
}

/// A row is asked for eight lines ahead where processors with AVX-512 are: they follow few rows by
/// themselves. (Zen 3, which has none, is slower for being told.)
TL_INLINE void ask_ahead([[maybe_unused]] const float* row) {
#ifdef TL_WIDE_REGISTERS
  __builtin_prefetch(row + 128);
#endif
}

/// N terms of 8 W columns from j on, added to what they have.
template <int N, int W>
TL_INLINE void add_terms(const RowsSum& s, int64_t p, int64_t j) {
  F32 totals[W];
  TL_UNROLLED(int w = 0; w < W; ++w) totals[w] = load(s.sums + j + 8 * w);
  TL_UNROLLED(int i = 0; i < N; ++i) {
    const F32 factor(s.factors[p + i]);
    const float* row = s.rows + (p + i) * s.stride + j;
    ask_ahead(row);
    TL_UNROLLED(int w = 0; w < W; ++w) totals[w] = fma(factor, load(row + 8 * w), totals[w]);
  }
  TL_UNROLLED(int w = 0; w < W; ++w) store(s.sums + j + 8 * w, totals[w]);
}

/// The same for all columns: a cache line of each row at a time. The beginnings of the rows that come next
/// are asked for, since the processor does not know where they are.
template <int N>
TL_INLINE void add_row_terms(const RowsSum& s, int64_t p) {
  for (int i = 0; i < N; ++i)
    for (int line = 0; line < 4; ++line)
      __builtin_prefetch(s.rows + (p + N + i) * s.stride + 16 * line, 0, 2);
  int64_t j = 0;
  for (; j + 16 <= s.n; j += 16) add_terms<N, 2>(s, p, j);
  if (j + 8 <= s.n) add_terms<N, 1>(s, p, j), j += 8;
  if (j == s.n) return;
  F32 total = load_tail(s.sums + j, s.n - j);
  for (int i = 0; i < N; ++i)
    total = fma(F32(s.factors[p + i]), load_tail(s.rows + (p + i) * s.stride + j, s.n - j), total);
  store_tail(s.sums + j, total, s.n - j);
}

void add_rows(const RowsSum& s) {
  int64_t p = 0;
  for (; p + 12 <= s.k; p += 12) add_row_terms<12>(s, p);
  for (; p + 4 <= s.k; p += 4) add_row_terms<4>(s, p);
  for (; p < s.k; ++p) add_row_terms<1>(s, p);
}

/// panel[p * width + l] = lanes[l][p] for l in 0..8, p in 0..k
void pack_lanes(const float* const* lanes, int64_t k, int64_t width, int64_t ahead, float* panel) {
  int64_t p = 0;
  for (; p + kLanes <= k; p += kLanes) {
    F32 block[kLanes];
    if (p % 16 == 0) TL_UNROLLED(int l = 0; l < kLanes; ++l) __builtin_prefetch(lanes[l] + p + ahead);
    TL_UNROLLED(int l = 0; l < kLanes; ++l) block[l] = load(lanes[l] + p);
    transpose(block);
    TL_UNROLLED(int l = 0; l < kLanes; ++l) store(panel + (p + l) * width, block[l]);
  }
  for (; p < k; ++p)
    for (int l = 0; l < kLanes; ++l) panel[p * width + l] = lanes[l][p];
}

float dot(const float* a, const float* b, int64_t n) {
  F32 part[4] = {F32(0.0f), F32(0.0f), F32(0.0f), F32(0.0f)};
  int64_t i = 0;
  for (; i + 32 <= n; i += 32)
    TL_UNROLLED(int j = 0; j < 4; ++j) part[j] = fma(load(a + i + 8 * j), load(b + i + 8 * j), part[j]);
  for (; i + 8 <= n; i += 8) part[0] = fma(load(a + i), load(b + i), part[0]);
  if (i < n) part[0] = fma(load_tail(a + i, n - i), load_tail(b + i, n - i), part[0]);
  return sum((part[0] + part[1]) + (part[2] + part[3]));
}

}  // namespace

void add_gemm(Isa& table) {
  table.gemm_panel = gemm_panel;
  table.add_rows = add_rows;
  table.pack_lanes = pack_lanes;
  table.dot = dot;
}

}  // namespace tl::cpu::TL_ISA
