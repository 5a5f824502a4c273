// Loops that do nothing but what limits the others: loads, and 8-bit products.
#include "backend/cpu/isa.h"
#include "backend/cpu/isa/simd.h"
#include "backend/cpu/isa/tables.h"

namespace tl::cpu::TL_ISA {

namespace {

/// Asks for memory ahead as the kernels for quantised weights do: without that a processor does not reach its
/// limit.
constexpr int64_t kAhead = 12288;

float read(const float* x, int64_t n) {
  F32 sums[8];
  for (F32& s : sums) s = F32(0.0f);
  for (int64_t i = 0; i < n; i += 64) {
    for (int g = 0; g < 8; g += 2) __builtin_prefetch(x + i + kAhead / 4 + 8 * g);
    for (int g = 0; g < 8; ++g) sums[g] = sums[g] + load(x + i + 8 * g);
  }
  float total = 0;
  for (const F32& s : sums) total += sum(s);
  return total;
}

/// In every round four sums of four products each, on vectors that stay in registers.
int32_t multiply_add(int64_t rounds) {
  uint8_t quants[4][32];
  int8_t activations[8][64];
  for (int g = 0; g < 4; ++g)
    for (int i = 0; i < 32; ++i) quants[g][i] = static_cast<uint8_t>((g + i) % 16);
  for (int r = 0; r < 8; ++r)
    for (int i = 0; i < 64; ++i) activations[r][i] = static_cast<int8_t>(r * 31 + i);
  U8 q[4];
  for (int g = 0; g < 4; ++g) q[g] = load_u8(quants[g]);
  I32 total{RawI32{}};
  for (int64_t round = 0; round < rounds; ++round) {
    const int8_t* a = activations[round % 8];
    for (int row = 0; row < 4; ++row) {
      Dots d;
      for (int g = 0; g < 4; ++g) d = add_products(d, q[g], a + 16 * row + 4 * g);
      // Bits, not a sum: it may not overflow however often the round is repeated.
      total.v = total.v ^ totals(d).v;
    }
  }
  int32_t lanes[8], result = 0;
  memcpy(lanes, &total.v, sizeof lanes);
  for (const int32_t lane : lanes) result ^= lane;
  return result;
}

}  // namespace

void add_limits(Isa& table) {
  table.read = read;
  table.multiply_add = multiply_add;
}

}  // namespace tl::cpu::TL_ISA
