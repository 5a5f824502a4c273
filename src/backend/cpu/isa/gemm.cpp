// The matrix product's register tile, the packing of what it reads, and the product of two runs.
#include "backend/cpu/isa.h"
#include "backend/cpu/isa/simd.h"
#include "backend/cpu/isa/tables.h"

namespace tl::cpu::TL_ISA {

namespace {

/// R rows of c at a time: 2 R sums stay in registers while a and b stream by.
template <int R>
TL_INLINE void tile_rows(const GemmTile& t) {
  for (int r = 0; r < R; ++r) {  // c comes from memory while the sums run
    __builtin_prefetch(t.c + r * t.c_stride, 1);
    __builtin_prefetch(t.c + r * t.c_stride + kGemmColumns - 1, 1);
  }
  F32 left[R], right[R];
  for (int r = 0; r < R; ++r) left[r] = right[r] = F32(0.0f);
  const float* a = t.a;
  const float* b = t.b;
  for (int64_t p = 0; p < t.k; ++p, a += kGemmRows, b += t.b_stride) {
    const F32 b0 = load(b), b1 = load(b + 8);
    for (int r = 0; r < R; ++r) {
      const F32 x(a[r]);
      left[r] = fma(x, b0, left[r]);
      right[r] = fma(x, b1, right[r]);
    }
  }
  float* c = t.c;
  for (int r = 0; r < R; ++r, c += t.c_stride) {
    store(c, t.adds ? load(c) + left[r] : left[r]);
    store(c + 8, t.adds ? load(c + 8) + right[r] : right[r]);
  }
}

template <int R>
[[gnu::noinline]] void tile(const GemmTile& t) {
  tile_rows<R>(t);
}

void gemm_tile(const GemmTile& t) {
  static_assert(kGemmRows == 6 && kGemmColumns == 16);
  static constexpr void (*kTiles[])(const GemmTile&) = {tile<1>, tile<2>, tile<3>, tile<4>, tile<5>, tile<6>};
  kTiles[t.rows - 1](t);
}

using Block = F32[kLanes];

/// Rows become columns.
TL_INLINE void transpose(Block& x) {
  Block pairs, fours;
  for (int i = 0; i < 8; i += 2) {
    pairs[i] = F32(RawF32(__builtin_shufflevector(x[i].v, x[i + 1].v, 0, 8, 2, 10, 4, 12, 6, 14)));
    pairs[i + 1] = F32(RawF32(__builtin_shufflevector(x[i].v, x[i + 1].v, 1, 9, 3, 11, 5, 13, 7, 15)));
  }
  for (int i = 0; i < 8; i += 4)
    for (int j = 0; j < 2; ++j) {
      const RawF32 a = pairs[i + j].v, b = pairs[i + j + 2].v;
      fours[i + j] = F32(RawF32(__builtin_shufflevector(a, b, 0, 1, 8, 9, 4, 5, 12, 13)));
      fours[i + j + 2] = F32(RawF32(__builtin_shufflevector(a, b, 2, 3, 10, 11, 6, 7, 14, 15)));
    }
  for (int i = 0; i < 4; ++i) {
    const RawF32 a = fours[i].v, b = fours[i + 4].v;
    x[i] = F32(RawF32(__builtin_shufflevector(a, b, 0, 1, 2, 3, 8, 9, 10, 11)));
    x[i + 4] = F32(RawF32(__builtin_shufflevector(a, b, 4, 5, 6, 7, 12, 13, 14, 15)));
  }
}

/// panel[p * width + l] = lanes[l][p] for l in 0..8, p in 0..k
void pack_lanes(const float* const* lanes, int64_t k, int64_t width, float* panel) {
  int64_t p = 0;
  for (; p + kLanes <= k; p += kLanes) {
    Block block;
    for (int l = 0; l < kLanes; ++l) block[l] = load(lanes[l] + p);
    transpose(block);
    for (int l = 0; l < kLanes; ++l) store(panel + (p + l) * width, block[l]);
  }
  for (; p < k; ++p)
    for (int l = 0; l < kLanes; ++l) panel[p * width + l] = lanes[l][p];
}

float dot(const float* a, const float* b, int64_t n) {
  F32 part[4] = {F32(0.0f), F32(0.0f), F32(0.0f), F32(0.0f)};
  int64_t i = 0;
  for (; i + 32 <= n; i += 32)
    for (int j = 0; j < 4; ++j) part[j] = fma(load(a + i + 8 * j), load(b + i + 8 * j), part[j]);
  for (; i + 8 <= n; i += 8) part[0] = fma(load(a + i), load(b + i), part[0]);
  if (i < n) part[0] = fma(load_tail(a + i, n - i), load_tail(b + i, n - i), part[0]);
  return sum((part[0] + part[1]) + (part[2] + part[3]));
}

}  // namespace

void add_gemm(Isa& table) {
  table.gemm_tile = gemm_tile;
  table.pack_lanes = pack_lanes;
  table.dot = dot;
}

}  // namespace tl::cpu::TL_ISA
