// Dot products of float rows.
#include "backend/cpu/isa.h"
#include "backend/cpu/isa/simd.h"
#include "backend/cpu/isa/tables.h"

namespace tl::cpu::TL_ISA {

namespace {

/// How many weight rows serve a single row of x at once: more streams from memory, where converting a type
/// does not take longer than reading it.
struct LoadF32 {
  static constexpr int64_t kBytes = 4;
  static constexpr int kRows = 4;
  TL_INLINE static F32 load8(const std::byte* p) { return load(reinterpret_cast<const float*>(p)); }
};
struct LoadF16 {
  static constexpr int64_t kBytes = 2;
  static constexpr int kRows = 1;
  TL_INLINE static F32 load8(const std::byte* p) { return load_f16(reinterpret_cast<const uint16_t*>(p)); }
};
struct LoadBF16 {
  static constexpr int64_t kBytes = 2;
  static constexpr int kRows = 1;
  TL_INLINE static F32 load8(const std::byte* p) { return load_bf16(reinterpret_cast<const uint16_t*>(p)); }
};

/// The last n < 8 weights of a row, then zeros.
template <class Weight>
TL_INLINE F32 weight_tail(const std::byte* p, int64_t n) {
  std::byte padded[8 * Weight::kBytes] = {};
  memcpy(padded, p, static_cast<size_t>(n * Weight::kBytes));
  return Weight::load8(padded);
}

/// How far ahead a weight row is asked for that serves a single row of x alone, in bytes.
constexpr int64_t kAhead = 2048;

/// N weight rows from row i on, times M rows of x: 16 partial sums each, the tail in the first eight.
template <class Weight, int N, int M>
TL_INLINE void row_product(const FloatLinear& a, int64_t i, int64_t row) {
  const std::byte* w = a.w + i * a.row_bytes;
  const float* x = a.x + row * a.x_stride;
  F32 even[N][M], odd[N][M];
  TL_UNROLLED(int n = 0; n < N; ++n) {
    TL_UNROLLED(int r = 0; r < M; ++r) even[n][r] = odd[n][r] = F32(0.0f);
  }
  int64_t j = 0;
  for (; j + 16 <= a.k; j += 16) {
    if (N * M == 1) __builtin_prefetch(w + j * Weight::kBytes + kAhead);
    TL_UNROLLED(int n = 0; n < N; ++n) {
      const std::byte* at = w + n * a.row_bytes + j * Weight::kBytes;
      const F32 w0 = Weight::load8(at), w1 = Weight::load8(at + 8 * Weight::kBytes);
      TL_UNROLLED(int r = 0; r < M; ++r) {
        even[n][r] = fma(w0, load(x + r * a.x_stride + j), even[n][r]);
        odd[n][r] = fma(w1, load(x + r * a.x_stride + j + 8), odd[n][r]);
      }
    }
  }
  if (j + 8 <= a.k) {
    TL_UNROLLED(int n = 0; n < N; ++n) {
      const F32 w0 = Weight::load8(w + n * a.row_bytes + j * Weight::kBytes);
      TL_UNROLLED(int r = 0; r < M; ++r) even[n][r] = fma(w0, load(x + r * a.x_stride + j), even[n][r]);
    }
    j += 8;
  }
  if (j < a.k) {
    TL_UNROLLED(int n = 0; n < N; ++n) {
      const F32 w0 = weight_tail<Weight>(w + n * a.row_bytes + j * Weight::kBytes, a.k - j);
      TL_UNROLLED(int r = 0; r < M; ++r)
      even[n][r] = fma(w0, load_tail(x + r * a.x_stride + j, a.k - j), even[n][r]);
    }
  }
  TL_UNROLLED(int n = 0; n < N; ++n) {
    TL_UNROLLED(int r = 0; r < M; ++r) a.out[(row + r) * a.out_stride + i + n] = sum(even[n][r] + odd[n][r]);
  }
}

template <class Weight, int N, int M>
[[gnu::noinline]] void rows_product(const FloatLinear& a, int64_t row) {
  int64_t i = 0;
  for (; i + N <= a.n; i += N) row_product<Weight, N, M>(a, i, row);
  for (; i < a.n; ++i) row_product<Weight, 1, M>(a, i, row);
}

template <class Weight>
void linear(const FloatLinear& a) {
  int64_t row = 0;
  for (; row + 4 <= a.m; row += 4) rows_product<Weight, 1, 4>(a, row);
  for (; row < a.m; ++row) rows_product<Weight, Weight::kRows, 1>(a, row);
}

}  // namespace

void add_linear_float(Isa& table) {
  table.linear_float[static_cast<int>(DType::f32)] = linear<LoadF32>;
  table.linear_float[static_cast<int>(DType::f16)] = linear<LoadF16>;
  table.linear_float[static_cast<int>(DType::bf16)] = linear<LoadBF16>;
}

}  // namespace tl::cpu::TL_ISA
