// The inner loops of the cpu backend, as one table of function pointers per instruction set.
//
// isa/*.cpp are compiled once per set; the other files of this folder are compiled once and call the table of
// the processor they find. Functions here take plain pointers and lengths, allocate nothing and throw
// nothing.
#pragma once

#include <cstddef>
#include <cstdint>
#include <span>

#include "ops/op.h"

namespace tl::cpu {

constexpr int kDTypeCount = 0
#define X(...) +1
    TL_DTYPES(X)
#undef X
    ;

/// Rows of activations rounded to 8 bits: in each block of 32, x ≈ scale * q. Blocks stand where place()
/// says.
struct Q8Rows {
  int8_t* q;          ///< 32 of each block
  float* scale;       ///< of each block: largest magnitude / 127
  float* scaled_sum;  ///< of each block: scale times the sum of its q
  /// Of each block: less the sums of q, for the kernels' 16-bit lanes.
  struct Sums {
    int16_t halves[2][2];  ///< of each half of 16: of its elements 0, 1 modulo 4, and of the others
    int16_t whole[2];      ///< of both halves
  } * less_sums;
  int64_t rows;
  int64_t k;      ///< a multiple of 32
  int64_t group;  ///< so many rows a kernel takes together (Isa::q8_group), then four, then one
  /// The same q in 16 bits for kernels that ask for them (Isa::q8_in_words), or null.
  int16_t* words;

  int64_t blocks() const { return k / 32; }
  /// Of rows that are taken together, the same blocks lie side by side.
  int64_t place(int64_t row, int64_t block) const {
    const int64_t together = row < rows / group * group ? group : row < rows / 4 * 4 ? 4 : 1;
    return row / together * together * blocks() + block * together + row % together;
  }
};

/// out[r * out_stride + i] = x[r] . w[i] for all rows r of x and weight rows i in [0, n), the weights in
/// panels (panel_layouts.h).
struct Q8Linear {
  const std::byte* panels;
  int64_t panel_bytes, n;
  Q8Rows x;
  float* out;
  int64_t out_stride;
};

/// The same for x rows r in [0, m), with float activations and the weights as they lie; x_stride and
/// row_bytes may be anything, k too.
struct FloatLinear {
  const std::byte* w;
  int64_t row_bytes, n;
  const float* x;
  int64_t x_stride, m, k;
  float* out;
  int64_t out_stride;
};

/// The same for many rows of x, packed by pack_rows(); at most kPackedWeights and kPackedRows of them, so
/// that what is read again and again stays in the caches.
constexpr int64_t kPackedWeights = 48, kPackedRows = 64;
/// Memory that it needs for the weights of a tile and for partial sums. Numbers begin at cache lines, or
/// every other vector would lie in two of them.
struct alignas(64) PackedScratch {
  float weights[1024 * 6];
  float partial[kPackedWeights * kPackedRows * 16];
};
struct PackedLinear {
  const std::byte* w;
  int64_t row_bytes, n;
  const float*
      x;  ///< packed, at a cache line: row r, a multiple of 4, begins at r * (k, up to whole sixteens)
  int64_t m, k;
  float* out;
  int64_t out_stride;
  PackedScratch* scratch;
};

/// Columns of a matrix product: c[rows, columns] = a^T b, or += it, with a in panels [k, kGemmRows], a_stride
/// apart, and b in panels [k, kGemmColumns], b_stride apart. Every element sums over k in order.
constexpr int64_t kGemmRows = 6, kGemmColumns = 16;
struct GemmPanels {
  const float* a;
  int64_t a_stride;
  const float* b;
  int64_t b_stride, k;
  float* c;
  int64_t c_stride;
  int64_t rows, columns;  ///< 1 or more
  bool adds;
};

/// sums[j] += factors[p] * rows[p * stride + j] for p in [0, k) in order, j in [0, n): a tile's sums for one
/// row, read as they lie.
struct RowsSum {
  const float* factors;
  const float* rows;
  int64_t stride, k;
  float* sums;
  int64_t n;
};

/// One head's keys or values in a tile: [n, dim] floats, rows `stride` apart.
struct AttentionRows {
  const float* data;
  int64_t stride, dim;
  /// Where it is not null, `data` is memory of the caller's, still to be filled from these rows of float16,
  /// `halves_stride` apart; what lies kAttentionAhead rows on is asked for.
  const uint16_t* halves = nullptr;
  int64_t halves_stride = 0;
};

/// Rows of queries against a tile of one head's keys and values, all of which they see: updates the running
/// softmax of each row. See attention.cpp.
struct AttentionTile {
  AttentionRows k, v;  ///< of float16 only without a mask
  int64_t n, rows;
  const float* q;       ///< [rows, k.dim]
  const uint8_t* mask;  ///< of n keys: those that take part; or null
  int64_t mask_stride;  ///< bytes from one key's mask to the next
  float scale;
  float* max;  ///< [rows], running maximum of the scores s, -inf before the first tile
  float* sum;  ///< [rows], running sum of e^(s - max); 0 until a key takes part
  float* out;  ///< [rows, v.dim], running sum of e^(s - max) v
};
constexpr int64_t kAttentionKeys = 64;  ///< keys in a tile; tiles start at multiples of it
/// How many rows ahead a cache is asked for that is decoded row by row: a head's rows lie far apart, and a
/// processor that decodes one after the other sees only the next few.
constexpr int64_t kAttentionAhead = 64;

struct Isa {
  const char* name;         ///< "avx2": what TL_CPU_ISA may say
  const char* description;  ///< "AVX2 FMA F16C"

  void (*unary[kOpCount])(const float* x, float* out, int64_t n);
  void (*binary[kOpCount])(const float* a, const float* b, float* out, int64_t n);
  void (*compare[kOpCount])(const float* a, const float* b, uint8_t* out, int64_t n);

  void (*f16_to_f32)(const uint16_t* x, float* out, int64_t n);
  /// Rows of n numbers, `stride` apart, to rows beside one another; asks for what lies `ahead` rows on.
  void (*f16_rows_to_f32)(const uint16_t* x, int64_t stride, int64_t rows, int64_t n, int64_t ahead,
                          float* out);
  void (*f32_to_f16)(const float* x, uint16_t* out, int64_t n);
  void (*q8_0_to_f32)(const std::byte* blocks, float* out, int64_t n);

  // Of one row. Sums and products run in eight interleaved partial results, whatever n.
  float (*sum)(const float* x, int64_t n);
  float (*sum_of_squares)(const float* x, int64_t n);
  float (*dot)(const float* a, const float* b, int64_t n);
  float (*max)(const float* x, int64_t n);  ///< NaN if any is NaN; -inf if n is 0
  /// out[i] = e^(x[i] - max); returns their sum.
  float (*exp_sum)(const float* x, float max, float* out, int64_t n);
  /// out[i] = (x[i] - shift) * scale * w[i] + b[i]; w and b may be null.
  void (*scale_row)(const float* x, float shift, float scale, const float* w, const float* b, float* out,
                    int64_t n);
  /// acc[i] += x[i]
  void (*add_row)(const float* x, float* acc, int64_t n);

  /// Rounds one row (row r of `rows`); false if it holds NaN or infinity (it counts as zeros then).
  bool (*quantize_row)(const float* x, const Q8Rows& rows, int64_t r);
  int64_t q8_group;  ///< 4 or a multiple of it
  /// Whether the kernel takes the activations of rows that it multiplies together in 16 bits.
  bool q8_in_words[kDTypeCount];
  /// Null where the type has no kernel for its quants.
  void (*linear_q8[kDTypeCount])(const Q8Linear& args);
  /// For f32, f16 and bf16. Both give the same bits.
  void (*linear_float[kDTypeCount])(const FloatLinear& args);
  void (*linear_packed[kDTypeCount])(const PackedLinear& args);
  /// Packs m rows of x, `stride` apart; a multiple of 4 of them is written, zeros beyond the last.
  void (*pack_rows)(const float* x, int64_t stride, int64_t m, int64_t k, float* packed);
  void (*gemm_panels)(const GemmPanels& args);
  void (*add_rows)(const RowsSum& args);
  /// panel[p * width + l] = lanes[l][p] for the eight lanes l and p in [0, k); asks for what lies `ahead`
  /// floats on.
  void (*pack_lanes)(const float* const* lanes, int64_t k, int64_t width, int64_t ahead, float* panel);
  void (*attention_tile)(const AttentionTile& args);

  // What limits the loops above (limits.h).
  float (*read)(const float* x, int64_t n);  ///< n a multiple of 64
  int32_t (*multiply_add)(int64_t rounds);   ///< kProductsPerRound a round
};
constexpr int64_t kProductsPerRound = 4 * 4 * 32;

/// The tables that this processor can run, the best first.
std::span<const Isa* const> supported_isas();

/// The best of them, or the one that the environment variable TL_CPU_ISA names. Throws Error if that is
/// unknown or this processor lacks it.
const Isa& isa();

}  // namespace tl::cpu
