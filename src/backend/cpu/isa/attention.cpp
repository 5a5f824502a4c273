// Rows of queries against a tile of keys and values: scores, streaming softmax (arXiv:1805.02867), weighted
// sum. Rows are taken up to three at a time, which share what is loaded of keys and values; a row's sums run
// in the same order however many stand beside it.
#include "backend/cpu/isa.h"
#include "backend/cpu/isa/simd.h"
#include "backend/cpu/isa/tables.h"

namespace tl::cpu::TL_ISA {

namespace {

constexpr int64_t kTogether = 8;  // keys
static_assert(kAttentionKeys % kTogether == 0 && kTogether == kLanes);

/// A row of a tile; kFirst: of float16 that is read for the first time, which is written where it will be
/// read again.
template <bool kFirst>
struct Row {
  float* data;
  const uint16_t* halves;

  TL_INLINE Row(const AttentionRows& rows, int64_t j, int64_t i = 0)
      : data(const_cast<float*>(rows.data) + j * rows.stride + i),
        halves(kFirst ? rows.halves + j * rows.halves_stride + i : nullptr) {}
  TL_INLINE void next(const AttentionRows& rows) {
    data += rows.stride;
    if constexpr (kFirst) halves += rows.halves_stride;
  }

  /// Eight numbers from place i on.
  TL_INLINE F32 load(int64_t i) const {
    if constexpr (!kFirst) return TL_ISA::load(data + i);
    const F32 x = load_f16(halves + i);
    store(data + i, x);
    return x;
  }
  /// The last numbers, fewer than eight.
  TL_INLINE F32 load_tail(int64_t i, int64_t n) const {
    for (int64_t l = i; kFirst && l < i + n; ++l) data[l] = f16(halves[l]);
    return TL_ISA::load_tail(data + i, n);
  }
  /// Asks for the cache line of float16 `ahead` from place i. To the L2 cache: the rows in use and what they
  /// become fill the other.
  TL_INLINE void ask(int64_t ahead, int64_t i) const {
    if constexpr (kFirst) __builtin_prefetch(halves + ahead + i, 0, 2);
  }
};
constexpr int64_t kHalvesInLine = 32;

/// p[r][0 .. 8) = the dot products of rows of queries with keys j … j + 7; those beyond the last are the last
/// one's. Half of the keys at a time: sixteen registers hold the sums of three rows, and what meets in them.
template <int R, bool kFirst>
TL_INLINE void dots(const AttentionTile& t, const float* q, int64_t j, float (*p)[kAttentionKeys]) {
  constexpr int kHalf = kTogether / 2;
  const int64_t dim = t.k.dim, ahead = kAttentionAhead * t.k.halves_stride;
  F32 sums[R][2];
  TL_UNROLLED(int half = 0; half < 2; ++half) {
    const auto row_of = [&](int64_t i) {
      const int64_t at = j + half * kHalf + i;
      return Row<kFirst>(t.k, at < t.n ? at : t.n - 1);
    };
    const Row<kFirst> k[kHalf] = {row_of(0), row_of(1), row_of(2), row_of(3)};
    for (int64_t i = 0; kFirst && i < dim; i += kHalvesInLine)
      for (const Row<kFirst>& row : k) row.ask(ahead, i);
    F32 acc[R][kHalf];
    TL_UNROLLED(int r = 0; r < R; ++r)
    TL_UNROLLED(int c = 0; c < kHalf; ++c) acc[r][c] = F32(0.0f);
    int64_t i = 0;
    for (; i + kLanes <= dim; i += kLanes) {
      F32 of_q[R];
      TL_UNROLLED(int r = 0; r < R; ++r) of_q[r] = load(q + r * dim + i);
      TL_UNROLLED(int c = 0; c < kHalf; ++c) {
        F32 key = k[c].load(i);
        if constexpr (R > 1) keep_in_register(key);
        TL_UNROLLED(int r = 0; r < R; ++r) acc[r][c] = fma(key, of_q[r], acc[r][c]);
      }
    }
    if (const int64_t rest = dim - i; rest > 0) {
      TL_UNROLLED(int c = 0; c < kHalf; ++c) {
        const F32 key = k[c].load_tail(i, rest);
        TL_UNROLLED(int r = 0; r < R; ++r) acc[r][c] = fma(key, load_tail(q + r * dim + i, rest), acc[r][c]);
      }
    }
    TL_UNROLLED(int r = 0; r < R; ++r) {
      sums[r][half] = sums_of_four(acc[r][0], acc[r][1], acc[r][2], acc[r][3]);
    }
  }
  TL_UNROLLED(int r = 0; r < R; ++r) store(p[r] + j, sums_joined(sums[r][0], sums[r][1]) * F32(t.scale));
}

/// The streaming softmax of rows `row` … `row` + n - 1, up to eight: scores become e^(score - max), the
/// running maxima and sums theirs with these keys. decay[r] is what a row's sums so far are to be multiplied
/// by, which are relative to the old maximum.
TL_INLINE void weigh(const AttentionTile& t, int64_t row, int64_t n, float (*p)[kAttentionKeys],
                     float (&decay)[kLanes]) {
  const int64_t padded = (t.n + kLanes - 1) / kLanes * kLanes;
  for (int64_t r = 0; r < n; ++r) {
    for (int64_t j = t.n; j < padded; ++j) p[r][j] = -__builtin_inff();
    if (t.mask)
      for (int64_t j = 0; j < t.n; ++j)
        if (!t.mask[j * t.mask_stride]) p[r][j] = -__builtin_inff();
  }
  // A maximum may miss NaN: e^(NaN - max) makes NaN of the row's sums whatever it is.
  F32 of_rows[kLanes];
  for (int64_t r = 0; r < kLanes; ++r) of_rows[r] = F32(-__builtin_inff());
  for (int64_t r = 0; r < n; ++r)
    for (int64_t j = 0; j < padded; j += kLanes) of_rows[r] = greater_of(load(p[r] + j), of_rows[r]);
  transpose(of_rows);
  const F32 before = load_some(t.max + row, n);
  F32 largest = before;
  for (const F32 x : of_rows) largest = greater_of(x, largest);
  store(decay, exp_of_negative(before - largest));
  float max[kLanes];
  store(max, largest);
  store_some(t.max + row, largest, n);
  for (int64_t r = 0; r < n; ++r) {
    F32 total(0.0f);
    for (int64_t j = 0; j < padded; j += kLanes) {
      const F32 e = exp_of_negative(load(p[r] + j) - F32(max[r]));
      store(p[r] + j, e);
      total = total + e;
    }
    of_rows[r] = total;
  }
  store_some(t.sum + row, fma(load_some(t.sum + row, n), load(decay), sums_of(of_rows)), n);
}

/// out[r][at .. at + 8 * V) = out * decay + sum over keys of p[r][j] * v[j], in the order of the keys.
template <int R, int V, bool kFirst>
TL_INLINE void add_values(const AttentionTile& t, float* out, const float (*p)[kAttentionKeys],
                          const float* decay, int64_t at) {
  const int64_t ahead = kAttentionAhead * t.v.halves_stride;
  F32 acc[R][V];
  TL_UNROLLED(int r = 0; r < R; ++r)
  TL_UNROLLED(int i = 0; i < V; ++i)
  acc[r][i] = load(out + r * t.v.dim + at + i * kLanes) * F32(decay[r]);
  Row<kFirst> v(t.v, 0, at);
  for (int64_t j = 0; j < t.n; ++j, v.next(t.v)) {
    if (!kFirst && t.mask && !t.mask[j * t.mask_stride]) continue;
    for (int64_t i = 0; i < V * kLanes; i += kHalvesInLine) v.ask(ahead, i);
    F32 weight[R];
    TL_UNROLLED(int r = 0; r < R; ++r) weight[r] = F32(p[r][j]);
    TL_UNROLLED(int i = 0; i < V; ++i) {
      F32 value = v.load(i * kLanes);
      if constexpr (R > 1) keep_in_register(value);
      TL_UNROLLED(int r = 0; r < R; ++r) acc[r][i] = fma(weight[r], value, acc[r][i]);
    }
  }
  TL_UNROLLED(int r = 0; r < R; ++r)
  TL_UNROLLED(int i = 0; i < V; ++i) store(out + r * t.v.dim + at + i * kLanes, acc[r][i]);
}

/// out[r] of R rows.
template <int R, bool kFirst>
TL_INLINE void add_values(const AttentionTile& t, float* out, const float (*p)[kAttentionKeys],
                          const float* decay) {
  constexpr int kWide = R == 1 ? 8 : 4;
  int64_t at = 0;
  for (; at + kWide * kLanes <= t.v.dim; at += kWide * kLanes)
    add_values<R, kWide, kFirst>(t, out, p, decay, at);
  for (; at + kLanes <= t.v.dim; at += kLanes) add_values<R, 1, kFirst>(t, out, p, decay, at);
  if (at == t.v.dim) return;
  for (int64_t j = 0; kFirst && j < t.n; ++j) Row<kFirst>(t.v, j).load_tail(at, t.v.dim - at);
  for (; at < t.v.dim; ++at)
    for (int r = 0; r < R; ++r) {
      float acc = out[r * t.v.dim + at] * decay[r];
      for (int64_t j = 0; j < t.n; ++j)
        if (!t.mask || t.mask[j * t.mask_stride]) acc += p[r][j] * t.v.data[j * t.v.stride + at];
      out[r * t.v.dim + at] = acc;
    }
}

/// Calls f.operator()<R, first>(r) for rows r … r + R - 1 of n, R up to three.
template <class F>
TL_INLINE void each_few(int64_t n, bool first, const F& f) {
  const auto call = [&]<int R>(int64_t r) {
    if (r == 0 && first)
      f.template operator()<R, true>(r);
    else
      f.template operator()<R, false>(r);
  };
  int64_t r = 0;
  for (; n - r >= 3 && n - r != 4; r += 3) call.template operator()<3>(r);
  for (; n - r >= 2; r += 2) call.template operator()<2>(r);
  if (n > r) call.template operator()<1>(r);
}

/// Rows `row` … `row` + n - 1, up to eight.
TL_INLINE void rows_tile(const AttentionTile& tile, int64_t row, int64_t n) {
  const AttentionTile t = tile;  // stays in registers, whatever is stored through pointers
  float p[kLanes][kAttentionKeys], decay[kLanes];
  each_few(n, row == 0 && t.k.halves, [&]<int R, bool kFirst>(int64_t r) {
    for (int64_t j = 0; j < t.n; j += kTogether) dots<R, kFirst>(t, t.q + (row + r) * t.k.dim, j, p + r);
  });
  weigh(t, row, n, p, decay);
  each_few(n, row == 0 && t.v.halves, [&]<int R, bool kFirst>(int64_t r) {
    add_values<R, kFirst>(t, t.out + (row + r) * t.v.dim, p + r, decay + r);
  });
}

void attention_tile(const AttentionTile& t) {
  bool any = !t.mask;
  for (int64_t j = 0; !any && j < t.n; ++j) any = t.mask[j * t.mask_stride] != 0;
  if (!any) return;
  for (int64_t row = 0; row < t.rows; row += kLanes)
    rows_tile(t, row, t.rows - row < kLanes ? t.rows - row : kLanes);
}

}  // namespace

void add_attention(Isa& table) { table.attention_tile = attention_tile; }

}  // namespace tl::cpu::TL_ISA
