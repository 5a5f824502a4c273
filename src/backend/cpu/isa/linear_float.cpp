// Dot products of float rows: weights as they lie times float activations.
//
// Every element has sixteen partial sums, lane l those of the terms l, l + 16, …, and the lanes are added in
// one order at the end. So the bits depend neither on how many rows there are nor on which of the two ways is
// taken: rows of weights one after the other for few rows of x, and for many a tile of both, whose partial
// sums stay in registers while a piece of the rows streams by, and in memory from one piece to the next.
#include "backend/cpu/isa.h"
#include "backend/cpu/isa/simd.h"
#include "backend/cpu/isa/tables.h"
#include "backend/cpu/isa/wide.h"

namespace tl::cpu::TL_ISA {

namespace {

/// How many weight rows serve a single row of x at once: more streams from memory, where converting a type
/// does not take longer than reading it.
struct LoadF32 {
  static constexpr int64_t kBytes = 4;
  static constexpr int kRows = 4;
  TL_INLINE static Part load(const std::byte* p) { return load_part(reinterpret_cast<const float*>(p)); }
};
struct LoadF16 {
  static constexpr int64_t kBytes = 2;
  static constexpr int kRows = 1;
  TL_INLINE static Part load(const std::byte* p) {
    return load_part_f16(reinterpret_cast<const uint16_t*>(p));
  }
};
struct LoadBF16 {
  static constexpr int64_t kBytes = 2;
  static constexpr int kRows = 1;
  TL_INLINE static Part load(const std::byte* p) {
    return load_part_bf16(reinterpret_cast<const uint16_t*>(p));
  }
};

/// Sixteen numbers of a row, of which n are left: zeros follow them.
template <class Number>
struct Tail {
  std::byte padded[16 * Number::kBytes] = {};
  TL_INLINE Tail(const std::byte* p, int64_t n) {
    memcpy(padded, p, static_cast<size_t>(n * Number::kBytes));
  }
};

/// How far ahead a weight row is asked for that serves a single row of x alone, in bytes; 0: not at all,
/// since processors with wide registers see for themselves what comes next and requests cost them a quarter.
#ifdef TL_WIDE_REGISTERS
constexpr int64_t kAhead = 0;
#else
constexpr int64_t kAhead = 12288;
#endif

/// The next sixteen terms of N x M sums.
template <class Weight, int N, int M>
TL_INLINE void add_terms(const std::byte* const (&w)[N], const float* const (&x)[M],
                         Part (&sums)[N][M][kParts]) {
  TL_UNROLLED(int p = 0; p < kParts; ++p) {
    Part rows[M];
    TL_UNROLLED(int r = 0; r < M; ++r) rows[r] = load_part(x[r] + kPartLanes * p);
    TL_UNROLLED(int n = 0; n < N; ++n) {
      Part weights = Weight::load(w[n] + kPartLanes * p * Weight::kBytes);
      if constexpr (M > 1) keep_in_register(weights);
      TL_UNROLLED(int r = 0; r < M; ++r) sums[n][r][p] = fma(weights, rows[r], sums[n][r][p]);
    }
  }
}

/// N weight rows from row i on, times M rows of x: the sums still in eight lanes.
template <class Weight, int N, int M>
TL_INLINE void row_products(const FloatLinear& a, int64_t i, int64_t row, F32 (&totals)[N][M]) {
  const std::byte* w[N];
  const float* x[M];
  Part sums[N][M][kParts];
  TL_UNROLLED(int n = 0; n < N; ++n) w[n] = a.w + (i + n) * a.row_bytes;
  TL_UNROLLED(int r = 0; r < M; ++r) x[r] = a.x + (row + r) * a.x_stride;
  TL_UNROLLED(int n = 0; n < N; ++n) {
    TL_UNROLLED(int r = 0; r < M; ++r) {
      TL_UNROLLED(int p = 0; p < kParts; ++p) sums[n][r][p] = zero_part();
    }
  }
  int64_t j = 0;
  for (; j + 16 <= a.k; j += 16) {
    if constexpr (N * M == 1 && kAhead > 0) __builtin_prefetch(w[0] + kAhead, 0, 2);  // to the L2 cache
    add_terms<Weight>(w, x, sums);
    TL_UNROLLED(int n = 0; n < N; ++n) w[n] += 16 * Weight::kBytes;
    TL_UNROLLED(int r = 0; r < M; ++r) x[r] += 16;
  }
  if (j < a.k) {
    for (int n = 0; n < N; ++n) {
      const Tail<Weight> weights(w[n], a.k - j);
      for (int r = 0; r < M; ++r) {
        const Tail<LoadF32> numbers(reinterpret_cast<const std::byte*>(x[r]), a.k - j);
        TL_UNROLLED(int p = 0; p < kParts; ++p) {
          sums[n][r][p] = fma(Weight::load(weights.padded + kPartLanes * p * Weight::kBytes),
                              LoadF32::load(numbers.padded + kPartLanes * p * 4), sums[n][r][p]);
        }
      }
    }
  }
  TL_UNROLLED(int n = 0; n < N; ++n) {
    TL_UNROLLED(int r = 0; r < M; ++r) totals[n][r] = halves_added(sums[n][r]);
  }
}

/// All weight rows times M rows of x, eight weight rows after eight.
template <class Weight, int N, int M>
[[gnu::noinline]] void rows_product(const FloatLinear& a, int64_t row) {
  static_assert(kLanes % N == 0);
  for (int64_t i = 0; i < a.n; i += kLanes) {
    const int64_t count = a.n - i < kLanes ? a.n - i : kLanes;
    F32 totals[M][kLanes];
    for (auto& of_row : totals)
      for (F32& total : of_row) total = F32(0.0f);
    const auto put = [&]<int n>(int64_t j, F32(&some)[n][M]) {
      for (int at = 0; at < n; ++at)
        for (int r = 0; r < M; ++r) totals[r][j + at] = some[at][r];
    };
    int64_t j = 0;
    for (; j + N <= count; j += N) {
      F32 some[N][M];
      row_products<Weight, N, M>(a, i + j, row, some);
      put(j, some);
    }
    for (; N > 1 && j < count; ++j) {
      F32 one[1][M];
      row_products<Weight, 1, M>(a, i + j, row, one);
      put(j, one);
    }
    for (int r = 0; r < M; ++r) {
      float* out = a.out + (row + r) * a.out_stride + i;
      const F32 sums = sums_of(totals[r]);
      if (count == kLanes)
        store(out, sums);
      else
        store_tail(out, sums, count);
    }
  }
}

template <class Weight>
void linear(const FloatLinear& a) {
  int64_t row = 0;
  for (; row + 4 <= a.m; row += 4) rows_product<Weight, 1, 4>(a, row);
  for (; row < a.m; ++row) rows_product<Weight, Weight::kRows, 1>(a, row);
}

// ---- Many rows of x

/// A tile: so many weight rows times so many rows of x, as registers allow.
#ifdef TL_WIDE_REGISTERS
constexpr int kTileWeights = 6, kTileRows = 4;
#else
constexpr int kTileWeights = 3, kTileRows = 2;
#endif
static_assert(kPackedRows % kTileRows == 0 && kPackedWeights % kTileWeights == 0);
/// Terms of a piece: those of a tile's weights stay in the L1 cache while the rows of x come by.
constexpr int64_t kPiece = 1024;

constexpr int64_t whole16(int64_t n) { return (n + 15) / 16 * 16; }

/// panel[(j * of + r) * 16 + l] = rows[r][16 j + l] for r in [0, n); what lies beyond the rows is 0.
template <class Number>
TL_INLINE void pack(const std::byte* rows, int64_t row_bytes, int64_t n, int64_t k, int of, float* panel) {
  const auto put = [](float* to, const std::byte* from) {
    TL_UNROLLED(int p = 0; p < kParts; ++p) {
      store_part(to + kPartLanes * p, Number::load(from + kPartLanes * p * Number::kBytes));
    }
  };
  for (int64_t r = 0; r < of; ++r) {
    float* to = panel + 16 * r;
    const std::byte* from = rows + r * row_bytes;
    int64_t j = r < n ? 0 : k;
    for (; j + 16 <= k; j += 16, to += 16 * of, from += 16 * Number::kBytes) {
      __builtin_prefetch(from + of * row_bytes);  // what is packed next
      put(to, from);
    }
    if (j < k) put(to, Tail<Number>(from, k - j).padded);
    for (j = 0; r >= n && j < k; j += 16, to += 16 * of) memset(to, 0, 16 * sizeof(float));
  }
}

void pack_rows(const float* x, int64_t stride, int64_t m, int64_t k, float* packed) {
  for (int64_t r = 0; r < m; r += kTileRows)
    pack<LoadF32>(reinterpret_cast<const std::byte*>(x + r * stride), stride * 4,
                  m - r < kTileRows ? m - r : kTileRows, k, kTileRows, packed + r * whole16(k));
}

/// Adds a piece of `steps` times sixteen terms to the partial sums of a tile.
[[gnu::noinline]] void tile(const float* w, const float* x, int64_t steps, bool is_first, float* partial) {
  constexpr int N = kTileWeights, M = kTileRows;
  Part sums[N][M][kParts];
  TL_UNROLLED(int n = 0; n < N; ++n) {
    TL_UNROLLED(int r = 0; r < M; ++r) {
      TL_UNROLLED(int p = 0; p < kParts; ++p) {
        sums[n][r][p] = is_first ? zero_part() : load_part(partial + (n * M + r) * 16 + kPartLanes * p);
      }
    }
  }
  for (int64_t s = 0; s < steps; ++s, w += 16 * N, x += 16 * M) {
    const std::byte* weights[N];
    const float* rows[M];
    TL_UNROLLED(int n = 0; n < N; ++n) weights[n] = reinterpret_cast<const std::byte*>(w + 16 * n);
    TL_UNROLLED(int r = 0; r < M; ++r) rows[r] = x + 16 * r;
    add_terms<LoadF32>(weights, rows, sums);
  }
  TL_UNROLLED(int n = 0; n < N; ++n) {
    TL_UNROLLED(int r = 0; r < M; ++r) {
      TL_UNROLLED(int p = 0; p < kParts; ++p) {
        store_part(partial + (n * M + r) * 16 + kPartLanes * p, sums[n][r][p]);
      }
    }
  }
}

/// Adds up the partial sums of a tile: rows [0, m) of x, weights [0, n).
TL_INLINE void finish(const float* partial, int64_t n, int64_t m, float* out, int64_t out_stride) {
  constexpr int kElements = kTileWeights * kTileRows, kWhole = (kElements + 7) / 8 * 8;
  float sums[kWhole];
  for (int at = 0; at < kElements; at += kLanes) {
    F32 totals[kLanes];
    TL_UNROLLED(int l = 0; l < kLanes; ++l) {
      Part sixteen[kParts];
      TL_UNROLLED(int p = 0; p < kParts; ++p) {
        sixteen[p] = at + l < kElements ? load_part(partial + 16 * (at + l) + kPartLanes * p) : zero_part();
      }
      totals[l] = halves_added(sixteen);
    }
    store(sums + at, sums_of(totals));
  }
  for (int64_t r = 0; r < m; ++r)
    for (int64_t i = 0; i < n; ++i) out[r * out_stride + i] = sums[i * kTileRows + r];
}

/// Weights beyond the last count as zeros.
template <class Weight>
void linear_packed(const PackedLinear& a) {
  constexpr int64_t kPartial = int64_t{16} * kTileWeights * kTileRows;
  float* const panel = a.scratch->weights;
  float* const partial = a.scratch->partial;
  static_assert(kPiece * kTileWeights * sizeof(float) <= sizeof(PackedScratch::weights));
  const int64_t row_floats = whole16(a.k), groups = (a.m + kTileRows - 1) / kTileRows;
  for (int64_t first = 0; first < a.k; first += kPiece) {
    const int64_t terms = a.k - first < kPiece ? a.k - first : kPiece;
    for (int64_t i = 0; i < a.n; i += kTileWeights) {
      pack<Weight>(a.w + i * a.row_bytes + first * Weight::kBytes, a.row_bytes,
                   a.n - i < kTileWeights ? a.n - i : kTileWeights, terms, kTileWeights, panel);
      float* sums = partial + i / kTileWeights * groups * kPartial;
      for (int64_t g = 0; g < groups; ++g, sums += kPartial)
        tile(panel, a.x + kTileRows * (g * row_floats + first), (terms + 15) / 16, first == 0, sums);
    }
  }
  for (int64_t g = 0; g < groups; ++g)  // a line of the result is written at once
    for (int64_t i = 0; i < a.n; i += kTileWeights) {
      const int64_t row = g * kTileRows;
      finish(partial + (i / kTileWeights * groups + g) * kPartial,
             a.n - i < kTileWeights ? a.n - i : kTileWeights, a.m - row < kTileRows ? a.m - row : kTileRows,
             a.out + row * a.out_stride + i, a.out_stride);
    }
}

template <class Weight>
void add(Isa& table, DType dtype) {
  table.linear_float[static_cast<int>(dtype)] = linear<Weight>;
  table.linear_packed[static_cast<int>(dtype)] = linear_packed<Weight>;
}

}  // namespace

void add_linear_float(Isa& table) {
  add<LoadF32>(table, DType::f32);
  add<LoadF16>(table, DType::f16);
  add<LoadBF16>(table, DType::bf16);
  table.pack_rows = pack_rows;
}

}  // namespace tl::cpu::TL_ISA
