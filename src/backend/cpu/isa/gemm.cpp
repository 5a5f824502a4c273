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
TL_INLINE __mmask16 first_of_16(int64_t n) { return static_cast<__mmask16>((1u << n) - 1); }
TL_INLINE void load_first(const float* from, int64_t n, Part& v) {
  v = _mm512_maskz_loadu_ps(first_of_16(n), from);
}
TL_INLINE void store_first(float* to, Part v, int64_t n) { _mm512_mask_storeu_ps(to, first_of_16(n), v); }
#endif
TL_INLINE void set(F32& v, float x) { v = F32(x); }
TL_INLINE void load_first(const float* from, int64_t n, F32& v) { v = load_tail(from, n); }
TL_INLINE void store_first(float* to, F32 v, int64_t n) { store_tail(to, v, n); }

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

/// Sets or adds a row of a tile; of its last vector n columns.
template <class V, int W>
TL_INLINE void put_row(float* to, V (&sums)[W], int64_t n, bool adds) {
  constexpr int kWidth = sizeof(V) / sizeof(float);
  TL_UNROLLED(int w = 0; w < W; ++w) {
    V before;
    set(before, 0.0f);
    if (w == W - 1 && n < kWidth) {
      if (adds) load_first(to + kWidth * w, n, before), sums[w] = before + sums[w];
      store_first(to + kWidth * w, sums[w], n);
    } else {
      if (adds) sums[w] = load_as<V>(to + kWidth * w) + sums[w];
      memcpy(to + kWidth * w, &sums[w], sizeof(V));
    }
  }
}

/// R rows of W vectors of c: their sums stay in registers while a and b stream by.
template <class V, int R, int W>
[[gnu::noinline]] void tile(const GemmPanels& t, const float* a, float* c) {
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
  const int64_t last = t.columns - kWidth * (W - 1);
  TL_EACH_ROW(int r = 0; r < R; ++r) put_row(c + r * t.c_stride, sums[r], last, t.adds);
}

/// The rows that are left, fewer than R of them.
template <class V, int R, int W>
TL_INLINE void last_rows(const GemmPanels& t, const float* a, float* c, int64_t rows) {
  if constexpr (R > 1) {
    if (rows == R - 1) return tile<V, R - 1, W>(t, a, c);
    last_rows<V, R - 1, W>(t, a, c, rows);
  }
}

/// W vectors of all rows, of which a tile has room for R.
template <class V, int R, int W>
TL_INLINE void panel(const GemmPanels& t) {
  const float* a = t.a;
  float* c = t.c;
  int64_t r = 0;
  for (; r + R <= t.rows; r += R, a += R / kGemmRows * t.a_stride, c += R * t.c_stride)
    tile<V, R, W>(t, a, c);
  last_rows<V, R, W>(t, a, c, t.rows - r);
}

/// Panel by panel. Ten sums and more: two multiplications begin in a cycle, and each takes four or five.
void gemm_panels(const GemmPanels& t) {
  static_assert(kGemmRows == 6 && kGemmColumns == 16);
  GemmPanels one = t;
  for (int64_t rest = t.columns; rest > 0; rest -= kGemmColumns) {
    one.columns = rest < kGemmColumns ? rest : kGemmColumns;
    if (one.columns <= kGemmColumns / 2)
      panel<F32, 2 * kGemmRows, 1>(one);
    else
      panel<Part, 2 * kGemmRows / kParts, kParts>(one);
    one.b += t.b_stride;
    one.c += kGemmColumns;
  }
}

/// Whether each row is asked for eight lines ahead: Intel's processors follow few rows by themselves. AMD's
/// follow twelve, and are slower for being told.
bool asks_ahead() {
#ifdef TL_WIDE_REGISTERS
  return __builtin_cpu_is("intel");
#else
  return false;
#endif
}

/// N terms of W vectors of columns from j on, added to what they have.
template <class V, int W, bool kAsks, int N>
TL_INLINE void add_terms(const RowsSum& s, const V (&factors)[N], int64_t p, int64_t j) {
  constexpr int kWidth = sizeof(V) / sizeof(float);
  V totals[W];
  TL_UNROLLED(int w = 0; w < W; ++w) totals[w] = load_as<V>(s.sums + j + kWidth * w);
  TL_EACH_ROW(int i = 0; i < N; ++i) {
    const float* row = s.rows + (p + i) * s.stride + j;
    if (kAsks) __builtin_prefetch(row + 128);
    TL_UNROLLED(int w = 0; w < W; ++w) {
      totals[w] = fma(factors[i], load_as<V>(row + kWidth * w), totals[w]);
    }
  }
  TL_UNROLLED(int w = 0; w < W; ++w) memcpy(s.sums + j + kWidth * w, &totals[w], sizeof(V));
}

/// The same for all columns: a cache line of each row at a time. The beginnings of the rows that come next
/// are asked for, since the processor does not know where they are. The factors stay in registers: the fewer
/// instructions a line takes, the more lines a processor waits for at once.
template <int N, bool kAsks>
TL_INLINE void add_row_terms(const RowsSum& s, int64_t p) {
  for (int i = 0; i < N; ++i)
    for (int line = 0; line < 4; ++line)
      __builtin_prefetch(s.rows + (p + N + i) * s.stride + 16 * line, 0, 2);
  Part factors[N];
  F32 halves[N];
  TL_EACH_ROW(int i = 0; i < N; ++i) {
    set(factors[i], s.factors[p + i]);
    set(halves[i], s.factors[p + i]);
  }
  int64_t j = 0;
  for (; j + 16 <= s.n; j += 16) add_terms<Part, kParts, kAsks>(s, factors, p, j);
  if (j + 8 <= s.n) add_terms<F32, 1, kAsks>(s, halves, p, j), j += 8;
  if (j == s.n) return;
  F32 total = load_tail(s.sums + j, s.n - j);
  for (int i = 0; i < N; ++i)
    total = fma(halves[i], load_tail(s.rows + (p + i) * s.stride + j, s.n - j), total);
  store_tail(s.sums + j, total, s.n - j);
}

template <bool kAsks>
void add_all_rows(const RowsSum& s) {
  int64_t p = 0;
  for (; p + 12 <= s.k; p += 12) add_row_terms<12, kAsks>(s, p);
  for (; p + 4 <= s.k; p += 4) add_row_terms<4, kAsks>(s, p);
  for (; p < s.k; ++p) add_row_terms<1, kAsks>(s, p);
}

void add_rows(const RowsSum& s) { asks_ahead() ? add_all_rows<true>(s) : add_all_rows<false>(s); }

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
  table.gemm_panels = gemm_panels;
  table.add_rows = add_rows;
  table.pack_lanes = pack_lanes;
  table.dot = dot;
}

}  // namespace tl::cpu::TL_ISA
