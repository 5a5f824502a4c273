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

/// p[r][0 .. 8) = the dot products of rows of queries with keys j … j + 7; those beyond the last are the last
/// one's. Half of the keys at a time: sixteen registers hold the sums of three rows, and what meets in them.
template <int R>
TL_INLINE void dots(const AttentionTile& t, const float* q, int64_t j, float (*p)[kAttentionKeys]) {
  constexpr int kHalf = kTogether / 2;
  F32 sums[R][kTogether];
  TL_UNROLLED(int half = 0; half < kTogether; half += kHalf) {
    const float* k[kHalf];
    for (int64_t i = 0; i < kHalf; ++i) {
      const int64_t key = j + half + i;
      k[i] = t.k + (key < t.n ? key : t.n - 1) * t.k_stride;
    }
    F32 acc[R][kHalf];
    TL_UNROLLED(int r = 0; r < R; ++r)
    TL_UNROLLED(int c = 0; c < kHalf; ++c) acc[r][c] = F32(0.0f);
    int64_t i = 0;
    for (; i + kLanes <= t.k_dim; i += kLanes) {
      F32 of_q[R];
      TL_UNROLLED(int r = 0; r < R; ++r) of_q[r] = load(q + r * t.k_dim + i);
      TL_UNROLLED(int c = 0; c < kHalf; ++c) {
        const F32 key = load(k[c] + i);
        TL_UNROLLED(int r = 0; r < R; ++r) acc[r][c] = fma(key, of_q[r], acc[r][c]);
      }
    }
    if (const int64_t rest = t.k_dim - i; rest > 0) {
      for (int c = 0; c < kHalf; ++c)
        for (int r = 0; r < R; ++r)
          acc[r][c] = fma(load_tail(k[c] + i, rest), load_tail(q + r * t.k_dim + i, rest), acc[r][c]);
    }
    TL_UNROLLED(int r = 0; r < R; ++r)
    TL_UNROLLED(int c = 0; c < kHalf; ++c) sums[r][half + c] = acc[r][c];
  }
  TL_UNROLLED(int r = 0; r < R; ++r) store(p[r] + j, sums_of(sums[r]) * F32(t.scale));
}

/// The larger one in every lane; NaN is taken and then stays.
TL_INLINE F32 larger(F32 max, F32 x) { return select((x <= max) | (max != max), max, x); }

/// The streaming softmax of one row: scores become e^(score - max), the running maximum and sum theirs with
/// these keys. Returns what the sums so far are to be multiplied by.
TL_INLINE float weigh(const AttentionTile& t, int64_t row, float* p) {
  const int64_t padded = (t.n + kLanes - 1) / kLanes * kLanes;
  for (int64_t j = t.n; j < padded; ++j) p[j] = -__builtin_inff();
  if (t.mask)
    for (int64_t j = 0; j < t.n; ++j)
      if (!t.mask[j * t.mask_stride]) p[j] = -__builtin_inff();
  const float before = t.max[row];
  F32 largest(before);
  for (int64_t j = 0; j < padded; j += kLanes) largest = larger(largest, load(p + j));
  float lanes[kLanes], max = before;
  store(lanes, largest);
  for (const float lane : lanes)
    if (!(lane <= max) && max == max) max = lane;
  float decay = 1.0f;
  if (max != before) {  // the sums so far are relative to the old maximum
    float both[kLanes] = {before - max};
    store(both, exp(load(both)));
    decay = both[0];
  }
  t.max[row] = max;
  F32 total(0.0f);
  for (int64_t j = 0; j < padded; j += kLanes) {
    const F32 e = exp(load(p + j) - F32(max));
    store(p + j, e);
    total = total + e;
  }
  t.sum[row] = t.sum[row] * decay + sum(total);
  return decay;
}

/// out[r][at .. at + 8 * V) = out * decay + sum over keys of p[r][j] * v[j], in the order of the keys.
template <int R, int V>
TL_INLINE void add_values(const AttentionTile& t, float* out, const float (*p)[kAttentionKeys],
                          const float (&decay)[R], int64_t at) {
  F32 acc[R][V];
  TL_UNROLLED(int r = 0; r < R; ++r)
  TL_UNROLLED(int i = 0; i < V; ++i)
  acc[r][i] = load(out + r * t.v_dim + at + i * kLanes) * F32(decay[r]);
  for (int64_t j = 0; j < t.n; ++j) {
    if (t.mask && !t.mask[j * t.mask_stride]) continue;
    const float* v = t.v + j * t.v_stride + at;
    F32 weight[R];
    TL_UNROLLED(int r = 0; r < R; ++r) weight[r] = F32(p[r][j]);
    TL_UNROLLED(int i = 0; i < V; ++i) {
      const F32 value = load(v + i * kLanes);
      TL_UNROLLED(int r = 0; r < R; ++r) acc[r][i] = fma(weight[r], value, acc[r][i]);
    }
  }
  TL_UNROLLED(int r = 0; r < R; ++r)
  TL_UNROLLED(int i = 0; i < V; ++i) store(out + r * t.v_dim + at + i * kLanes, acc[r][i]);
}

/// Rows `row` … `row` + R - 1.
template <int R>
TL_INLINE void rows_tile(const AttentionTile& t, int64_t row) {
  float p[R][kAttentionKeys], decay[R];
  for (int64_t j = 0; j < t.n; j += kTogether) dots<R>(t, t.q + row * t.k_dim, j, p);
  for (int r = 0; r < R; ++r) decay[r] = weigh(t, row + r, p[r]);
  float* const out = t.out + row * t.v_dim;
  constexpr int kWide = R == 1 ? 8 : 4;
  int64_t at = 0;
  for (; at + kWide * kLanes <= t.v_dim; at += kWide * kLanes) add_values<R, kWide>(t, out, p, decay, at);
  for (; at + kLanes <= t.v_dim; at += kLanes) add_values<R, 1>(t, out, p, decay, at);
  for (; at < t.v_dim; ++at)
    for (int r = 0; r < R; ++r) {
      float acc = out[r * t.v_dim + at] * decay[r];
      for (int64_t j = 0; j < t.n; ++j)
        if (!t.mask || t.mask[j * t.mask_stride]) acc += p[r][j] * t.v[j * t.v_stride + at];
      out[r * t.v_dim + at] = acc;
    }
}

void attention_tile(const AttentionTile& t) {
  bool any = !t.mask;
  for (int64_t j = 0; !any && j < t.n; ++j) any = t.mask[j * t.mask_stride] != 0;
  if (!any) return;
  int64_t row = 0;
  const auto rest = [&] { return t.rows - row; };
  for (; rest() >= 3 && rest() != 4; row += 3) rows_tile<3>(t, row);
  for (; rest() >= 2; row += 2) rows_tile<2>(t, row);
  if (rest() > 0) rows_tile<1>(t, row);
}

}  // namespace

void add_attention(Isa& table) { table.attention_tile = attention_tile; }

}  // namespace tl::cpu::TL_ISA
