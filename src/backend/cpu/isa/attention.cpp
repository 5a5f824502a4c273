// One query against a tile of keys and values: scores, streaming softmax (arXiv:1805.02867), weighted sum.
#include "backend/cpu/isa.h"
#include "backend/cpu/isa/simd.h"
#include "backend/cpu/isa/tables.h"

namespace tl::cpu::TL_ISA {

namespace {

TL_INLINE float dot(const float* a, const float* b, int64_t n) {
  F32 even(0.0f), odd(0.0f);
  int64_t i = 0;
  for (; i + 2 * kLanes <= n; i += 2 * kLanes) {
    even = fma(load(a + i), load(b + i), even);
    odd = fma(load(a + i + kLanes), load(b + i + kLanes), odd);
  }
  for (; i < n; i += kLanes) {
    const int64_t lanes = n - i < kLanes ? n - i : kLanes;
    even = fma(load_tail(a + i, lanes), load_tail(b + i, lanes), even);
  }
  return sum(even + odd);
}

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
  float max = *t.max;
  bool any = false;
  for (int64_t j = 0; j < t.n; ++j) {
    p[j] = -__builtin_inff();
    if (t.mask && !t.mask[j * t.mask_stride]) continue;
    p[j] = dot(t.q, t.k + j * t.k_stride, t.k_dim) * t.scale;
    if (!(p[j] <= max) && max == max) max = p[j];  // NaN is taken and then stays
    any = true;
  }
  if (!any) return;
  float decay = 1.0f;
  if (max != *t.max) {  // the sums so far are relative to the old maximum
    float both[kLanes] = {*t.max - max};
    store(both, exp(load(both)));
    decay = both[0];
  }
  *t.max = max;
  F32 total(0.0f);
  for (int64_t j = 0; j < t.n; j += kLanes) {
    const int64_t lanes = t.n - j < kLanes ? t.n - j : kLanes;
    store_tail(p + j, exp(load_tail(p + j, lanes) - F32(max)), lanes);
    total = total + load_tail(p + j, lanes);
  }
  *t.sum = *t.sum * decay + sum(total);
  int64_t at = 0;
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
