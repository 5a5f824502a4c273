// One query against a tile of keys and values: scores, streaming softmax (arXiv:1805.02867), weighted sum.
#include "backend/cpu/isa.h"
#include "backend/cpu/isa/simd.h"
#include "backend/cpu/isa/tables.h"

namespace tl::cpu::TL_ISA {

namespace {

constexpr int64_t kTogether = 8;  // keys
static_assert(kAttentionKeys % kTogether == 0 && kTogether == kLanes);

/// The dot products of the query with keys j … j + 7; those beyond the last are the last one's.
TL_INLINE F32 dots(const AttentionTile& t, int64_t j) {
  const float* k[kTogether];
  for (int64_t r = 0; r < kTogether; ++r) k[r] = t.k + (j + r < t.n ? j + r : t.n - 1) * t.k_stride;
  F32 sums[kTogether];
  for (F32& s : sums) s = F32(0.0f);
  int64_t i = 0;
  for (; i + kLanes <= t.k_dim; i += kLanes) {
    const F32 q = load(t.q + i);
    for (int r = 0; r < kTogether; ++r) sums[r] = fma(load(k[r] + i), q, sums[r]);
  }
  if (i < t.k_dim) {
    const F32 q = load_tail(t.q + i, t.k_dim - i);
    for (int r = 0; r < kTogether; ++r) sums[r] = fma(load_tail(k[r] + i, t.k_dim - i), q, sums[r]);
  }
  return sums_of(sums);
}

/// The larger one in every lane; NaN is taken and then stays.
TL_INLINE F32 larger(F32 max, F32 x) { return select((x <= max) | (max != max), max, x); }

/// out[0 .. 8 * V) = out * decay + sum over keys of p[j] * v[j], in the order of the keys.
template <int V>
TL_INLINE void add_values(const AttentionTile& t, const float* p, float decay, int64_t at) {
  F32 acc[V];
  for (int i = 0; i < V; ++i) acc[i] = load(t.out + at + i * kLanes) * F32(decay);
  for (int64_t j = 0; j < t.n; ++j) {
    if (t.mask && !t.mask[j * t.mask_stride]) continue;
    const float* v = t.v + j * t.v_stride + at;
    for (int i = 0; i < V; ++i) acc[i] = fma(F32(p[j]), load(v + i * kLanes), acc[i]);
  }
  for (int i = 0; i < V; ++i) store(t.out + at + i * kLanes, acc[i]);
}

void attention_tile(const AttentionTile& t) {
  float p[kAttentionKeys];
  for (int64_t j = 0; j < t.n; j += kTogether) store(p + j, dots(t, j) * F32(t.scale));
  const int64_t padded = (t.n + kLanes - 1) / kLanes * kLanes;
  for (int64_t j = t.n; j < padded; ++j) p[j] = -__builtin_inff();
  bool any = !t.mask;
  if (t.mask) {
    for (int64_t j = 0; j < t.n; ++j) {
      if (t.mask[j * t.mask_stride])
        any = true;
      else
        p[j] = -__builtin_inff();
    }
  }
  if (!any) return;
  F32 largest(*t.max);
  for (int64_t j = 0; j < padded; j += kLanes) largest = larger(largest, load(p + j));
  float lanes[kLanes], max = *t.max;
  store(lanes, largest);
  for (const float lane : lanes)
    if (!(lane <= max) && max == max) max = lane;
  float decay = 1.0f;
  if (max != *t.max) {  // the sums so far are relative to the old maximum
    float both[kLanes] = {*t.max - max};
    store(both, exp(load(both)));
    decay = both[0];
  }
  *t.max = max;
  F32 total(0.0f);
  for (int64_t j = 0; j < padded; j += kLanes) {
    const F32 e = exp(load(p + j) - F32(max));
    store(p + j, e);
    total = total + e;
  }
  *t.sum = *t.sum * decay + sum(total);
  int64_t at = 0;
  for (; at + 8 * kLanes <= t.v_dim; at += 8 * kLanes) add_values<8>(t, p, decay, at);
  for (; at + 4 * kLanes <= t.v_dim; at += 4 * kLanes) add_values<4>(t, p, decay, at);
  for (; at + kLanes <= t.v_dim; at += kLanes) add_values<1>(t, p, decay, at);
  for (; at < t.v_dim; ++at) {
    float acc = t.out[at] * decay;
    for (int64_t j = 0; j < t.n; ++j)
      if (!t.mask || t.mask[j * t.mask_stride]) acc += p[j] * t.v[j * t.v_stride + at];
    t.out[at] = acc;
  }
}

}  // namespace

void add_attention(Isa& table) { table.attention_tile = attention_tile; }

}  // namespace tl::cpu::TL_ISA
