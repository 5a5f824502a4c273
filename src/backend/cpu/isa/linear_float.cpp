// Dot products of float rows.
#include "backend/cpu/isa.h"
#include "backend/cpu/isa/simd.h"
#include "backend/cpu/isa/tables.h"

namespace tl::cpu::TL_ISA {

namespace {

struct LoadF32 {
  static constexpr int64_t kBytes = 4;
  TL_INLINE static F32 load8(const std::byte* p) { return load(reinterpret_cast<const float*>(p)); }
};
struct LoadF16 {
  static constexpr int64_t kBytes = 2;
  TL_INLINE static F32 load8(const std::byte* p) { return load_f16(reinterpret_cast<const uint16_t*>(p)); }
};
struct LoadBF16 {
  static constexpr int64_t kBytes = 2;
  TL_INLINE static F32 load8(const std::byte* p) { return load_bf16(reinterpret_cast<const uint16_t*>(p)); }
};

/// The last n < 8 weights of a row, then zeros.
template <class Weight>
TL_INLINE F32 weight_tail(const std::byte* p, int64_t n) {
  std::byte padded[8 * Weight::kBytes] = {};
  memcpy(padded, p, static_cast<size_t>(n * Weight::kBytes));
  return Weight::load8(padded);
}

/// How far ahead a weight row is asked for that serves a single row of x, in bytes.
constexpr int64_t kAhead = 2048;

/// One weight row times M rows of x: 16 partial sums each, the tail in the first eight.
template <class Weight, int M>
TL_INLINE void row_product(const FloatLinear& a, int64_t i, int64_t row) {
  const std::byte* w = a.w + i * a.row_bytes;
  const float* x = a.x + row * a.x_stride;
  F32 even[M], odd[M];
  for (int r = 0; r < M; ++r) even[r] = odd[r] = F32(0.0f);
  int64_t j = 0;
  for (; j + 16 <= a.k; j += 16) {
    if (M == 1) __builtin_prefetch(w + j * Weight::kBytes + kAhead);
    const F32 w0 = Weight::load8(w + j * Weight::kBytes), w1 = Weight::load8(w + (j + 8) * Weight::kBytes);
    for (int r = 0; r < M; ++r) {
      even[r] = fma(w0, load(x + r * a.x_stride + j), even[r]);
      odd[r] = fma(w1, load(x + r * a.x_stride + j + 8), odd[r]);
    }
  }
  if (j + 8 <= a.k) {
    const F32 w0 = Weight::load8(w + j * Weight::kBytes);
    for (int r = 0; r < M; ++r) even[r] = fma(w0, load(x + r * a.x_stride + j), even[r]);
    j += 8;
  }
  if (j < a.k) {
    const F32 w0 = weight_tail<Weight>(w + j * Weight::kBytes, a.k - j);
    for (int r = 0; r < M; ++r) even[r] = fma(w0, load_tail(x + r * a.x_stride + j, a.k - j), even[r]);
  }
  for (int r = 0; r < M; ++r) a.out[(row + r) * a.out_stride + i] = sum(even[r] + odd[r]);
}

template <class Weight, int M>
[[gnu::noinline]] void rows_product(const FloatLinear& a, int64_t row) {
  for (int64_t i = 0; i < a.n; ++i) row_product<Weight, M>(a, i, row);
}

template <class Weight>
void linear(const FloatLinear& a) {
  int64_t row = 0;
  for (; row + 4 <= a.m; row += 4) rows_product<Weight, 4>(a, row);
  for (; row < a.m; ++row) rows_product<Weight, 1>(a, row);
}

}  // namespace

void add_linear_float(Isa& table) {
  table.linear_float[static_cast<int>(DType::f32)] = linear<LoadF32>;
  table.linear_float[static_cast<int>(DType::f16)] = linear<LoadF16>;
  table.linear_float[static_cast<int>(DType::bf16)] = linear<LoadBF16>;
}

}  // namespace tl::cpu::TL_ISA
