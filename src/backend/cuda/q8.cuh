// Activations rounded per block of 32 to two numbers of 8 bits each, and quantised weights in pieces that
// meet them.
#pragma once

#include "backend/cuda/blocks.cuh"
#include "backend/cuda/strided.cuh"

namespace tl::cuda {

/// Sixteen weights a * q + b with quants q of 8 bits, four in each word.
struct Part {
  int q[4];
  float a, b;
};

/// Sixteen activations in 16 bits, as two numbers of 8: 256 * high + low.
struct Sixteen {
  int4 high, low;
};

/// The sum of the products of four numbers of 8 bits each with those of q.
__device__ inline int dot_bytes(const Part& w, const int4& q) {
  int sum = __dp4a(w.q[0], q.x, 0);
  sum = __dp4a(w.q[1], q.y, sum);
  sum = __dp4a(w.q[2], q.z, sum);
  return __dp4a(w.q[3], q.w, sum);
}

/// The product with sixteen activations scale * q, of which `quants_sum` is the sum of q.
__device__ inline float dot16(const Sixteen& q, float scale, float quants_sum, const Part& w) {
  const int sum = 256 * dot_bytes(w, q.high) + dot_bytes(w, q.low);
  return scale * fmaf(w.a, static_cast<float>(sum), w.b * quants_sum);
}

/// sum + the products of four bytes without sign and four with one.
__device__ inline int dot_unsigned(unsigned a, int b, int sum) {
  int result;
  asm("dp4a.u32.s32 %0, %1, %2, %3;" : "=r"(result) : "r"(a), "r"(b), "r"(sum));
  return result;
}

/// The product of a piece of two parts that share scales with 32 activations.
template <class Chunk>
__device__ inline float dot32(const Sixteen& first, const Sixteen& last, float scale, float quants_sum,
                              const Chunk& chunk) {
  const Part w0 = chunk.part(0), w1 = chunk.part(1);
  if constexpr (requires { requires Chunk::kNibblesOnly; }) {
    // High nibbles stay where they are: sixteen times their value, as the others are counted.
    const auto products = [&](const int4& q0, const int4& q1) {
      int sum = dot_unsigned(chunk.qs.x & 0xf0f0f0f0u, q1.x, 16 * dot_bytes(w0, q0));
      sum = dot_unsigned(chunk.qs.y & 0xf0f0f0f0u, q1.y, sum);
      sum = dot_unsigned(chunk.qs.z & 0xf0f0f0f0u, q1.z, sum);
      return dot_unsigned(chunk.qs.w & 0xf0f0f0f0u, q1.w, sum);
    };
    const int sum = 256 * products(first.high, last.high) + products(first.low, last.low);
    return scale * fmaf(w0.a / 16, static_cast<float>(sum), w0.b * quants_sum);
  }
  const int high = dot_bytes(w0, first.high) + dot_bytes(w1, last.high);
  const int low = dot_bytes(w0, first.low) + dot_bytes(w1, last.low);
  return scale * fmaf(w0.a, static_cast<float>(256 * high + low), w0.b * quants_sum);
}

/// How 32 activations are rounded, by their largest magnitude: quants are x * inverse, at most kMost in
/// magnitude, so that the high part of each (the nearest multiple of 256) fits 8 bits.
struct Rounding {
  static constexpr float kMost = 127 * 256;
  static constexpr int kHalf = 128;  ///< of a step of high parts
  float scale, inverse;
  __device__ Rounding(float most, bool finite) {
    const bool representable = most > 1e-33f;  // below, kMost / most overflows: the block counts as 0
    scale = finite ? representable ? most * (1.0f / kMost) : 0.0f : NAN;
    inverse = 0;
    if (finite && representable) asm("rcp.approx.f32 %0, %1;" : "=f"(inverse) : "f"(most));
    inverse *= kMost;
  }
  /// 0 where the inverse is, whatever x is: NaN becomes 0.
  __device__ int quant(float x) const { return __float2int_rn(x * inverse); }
};

/// What a warp makes of 32 activations, one a lane: a block that holds NaN or infinity has the scale NaN, so
/// that all it meets becomes NaN.
struct RoundedLane {
  int quant, sum;  ///< the sum is that of the lane's half of the warp
  float scale;

  __device__ explicit RoundedLane(float value) {
    const bool finite = __all_sync(~0u, isfinite(value));
    const Rounding rounding(warp_max(fabsf(value)), finite);
    quant = rounding.quant(value);
    scale = rounding.scale;
    sum = quant;
    for (int distance = 8; distance > 0; distance /= 2) sum += __shfl_xor_sync(~0u, sum, distance);
  }
};

/// Rows of activations d * q: quants (for each row the high parts, then the low ones), a scale for each 32 of
/// them, and the sum of each 16.
struct Q8Rows {
  const int8_t* quants;
  const float* scales;
  const int* sums;
  int64_t k;

  /// Sixteen of a row from element `at` on, a multiple of 16.
  __device__ Sixteen sixteen(int64_t row, int64_t at) const {
    const int8_t* of_row = quants + 2 * row * k + at;
    return {*reinterpret_cast<const int4*>(of_row), *reinterpret_cast<const int4*>(of_row + k)};
  }
  /// The product of a part with the activations from element `at` (a multiple of 16) of a row on.
  __device__ float dot(int64_t row, int64_t at, const Part& w) const {
    const int64_t of_row = row * k + at;
    return dot16(sixteen(row, at), scales[of_row / 32], static_cast<float>(sums[of_row / 16]), w);
  }
  /// The same with 32 activations from a multiple of 32 on.
  template <class Chunk>
  __device__ float dot(int64_t row, int64_t at, const Chunk& chunk) const {
    const int64_t of_row = row * k + at;
    const int2 both = *reinterpret_cast<const int2*>(sums + of_row / 16);
    return dot32(sixteen(row, at), sixteen(row, at + 16), scales[of_row / 32],
                 static_cast<float>(both.x + both.y), chunk);
  }
};

/// Memory for rounded activations.
class Q8Memory {
 public:
  Q8Memory(int64_t m, int64_t k);
  /// Rounds rows of x.
  void round(const float* x) const;
  Q8Rows rows() const { return {quants_.as<int8_t>(), scales_.as<float>(), sums_.as<int>(), k_}; }

 private:
  int64_t m_, k_;
  Scratch quants_, scales_, sums_;
};

/// Blocks whose fields' sizes the format says; `read_once`: by a kernel that reads each block once.
template <DType format, bool read_once = false>
struct Fields {
  static constexpr bool kReadOnce = read_once;
  const uint8_t* data[kMaxFields];

  static constexpr int bytes(int f) { return quantised_format(format).fields[f].bytes; }
  __device__ const uint8_t* field(int f, int64_t block) const {
    return data[f] + static_cast<int>(block) * bytes(f);
  }
  /// From block `first` of some planes on.
  static __device__ Fields from(const uint8_t* const (&planes)[kMaxFields], int64_t first) {
    Fields result{};
#pragma unroll
    for (int f = 0; f < quantised_format(format).n_fields; ++f) result.data[f] = planes[f] + first * bytes(f);
    return result;
  }
};

/// The formats that have such pieces.
#define TL_QUANTISED_FORMATS(with)                                                                   \
  with(q4_0) with(q4_1) with(q5_0) with(q5_1) with(q8_0) with(q2_k) with(q3_k) with(q4_k) with(q5_k) \
      with(q6_k)

/// How a format's blocks fall into pieces that a thread reads at once. kElements of a block's kBlock make one
/// chunk, as kParts parts; part(i) of a block's chunk c starts at element place(c, i) of the block.
template <DType format>
struct ChunksOf;
/// The element of a row that part i of its chunk c starts at.
template <class Chunk, class Index>
__host__ __device__ constexpr Index element_of(Index c, int i) {
  return c / Chunk::kPerBlock * Chunk::kBlock + Chunk::place(static_cast<int>(c % Chunk::kPerBlock), i);
}

namespace detail {

__device__ inline float2 two_halves(const uint8_t* p) {
  return __half22float2(*reinterpret_cast<const __half2*>(p));
}
__device__ inline float one_half(const uint8_t* p) {
  return __half2float(*reinterpret_cast<const __half*>(p));
}
// Scales stay as they were read, each in a register of its own, until a part is asked for: whatever is done
// to them waits for the memory.
/// From memory: what a kernel reads once leaves the caches first.
template <class W, class T>
__device__ inline T read(const uint8_t* p) {
  const auto* from = reinterpret_cast<const T*>(p);
  return W::kReadOnce ? __ldcs(from) : *from;
}
template <class W>
__device__ inline unsigned half_bits(const uint8_t* p) {
  return read<W, unsigned short>(p);
}
__device__ inline float half_of(unsigned bits) {
  return __half2float(__ushort_as_half(static_cast<unsigned short>(bits)));
}
__device__ inline float2 halves_of(unsigned bits) {
  return __half22float2(*reinterpret_cast<const __half2*>(&bits));
}
template <class W>
__device__ inline uint4 load16(const uint8_t* p) {
  return read<W, uint4>(p);
}
__device__ inline unsigned word(const uint4& v, int i) {
  return i == 0 ? v.x : i == 1 ? v.y : i == 2 ? v.z : v.w;
}

/// Four bits, one for the fifth bit of each of four bytes.
__device__ inline unsigned fifth_bits(unsigned bits) {
  return (bits & 1u) << 4 | (bits & 2u) << 11 | (bits & 4u) << 18 | (bits & 8u) << 25;
}

/// Formats of 32 elements with nibbles: Q4_0, Q4_1, Q5_0, Q5_1.
template <bool has_min, bool has_fifth>
struct Nibbles {
  static constexpr int kBlock = 32, kElements = 32, kPerBlock = 1, kParts = 2;
  static constexpr bool kNibblesOnly = !has_fifth;
  uint4 qs;
  unsigned high = 0, scale;

  Nibbles() = default;
  template <class W>
  __device__ Nibbles(const W& w, int64_t block) : qs(load16<W>(w.field(0, block))) {
    const uint8_t* scales = w.field(1, block);
    scale = has_min ? read<W, unsigned>(scales) : half_bits<W>(scales);
    if (has_fifth) high = read<W, unsigned>(w.field(2, block));
  }
  static __host__ __device__ constexpr int place(int, int i) { return 16 * i; }
  __device__ Part part(int i) const {
    Part p{};
    if constexpr (has_min) {
      const float2 both = halves_of(scale);
      p.a = both.x, p.b = both.y;
    } else {
      p.a = half_of(scale);
      p.b = (has_fifth ? -16.0f : -8.0f) * p.a;
    }
    for (int k = 0; k < 4; ++k) {
      unsigned q = word(qs, k) >> (4 * i) & 0x0f0f0f0fu;
      if (has_fifth) q |= fifth_bits(high >> (16 * i + 4 * k));
      p.q[k] = static_cast<int>(q);
    }
    return p;
  }
};

/// Scale and minimum of sub-block s of Q4_K and Q5_K, from d, dmin and the 12 packed bytes (scale_min_k4()).
__device__ inline float2 scale_min(const uint4& header, int s) {
  const float2 d = halves_of(header.x);
  const int shift = s % 4 * 8;
  const unsigned first = header.y >> shift & 0xffu, second = header.z >> shift & 0xffu,
                 third = header.w >> shift & 0xffu;
  const unsigned scale = s < 4 ? first & 63 : (third & 15) | first >> 6 << 4;
  const unsigned min = s < 4 ? second & 63 : third >> 4 | second >> 6 << 4;
  return {d.x * static_cast<float>(scale), -(d.y * static_cast<float>(min))};
}

/// Q4_K and Q5_K: a chunk is 16 bytes of nibbles, the halves of two sub-blocks.
template <bool has_fifth>
struct SuperNibbles {
  static constexpr int kBlock = 256, kElements = 32, kPerBlock = 8, kParts = 2;
  uint4 qs, high = {}, header;
  int quarter, half;

  SuperNibbles() = default;
  template <class W>
  __device__ SuperNibbles(const W& w, int64_t chunk) {
    const int64_t block = chunk / 8;
    quarter = static_cast<int>(chunk % 8) / 2, half = static_cast<int>(chunk % 2);
    qs = load16<W>(w.field(0, block) + (chunk % 8) * 16);
    if (has_fifth) high = load16<W>(w.field(2, block) + half * 16);
    header = load16<W>(w.field(1, block));
  }
  static __host__ __device__ constexpr int place(int c, int i) {
    return 64 * (c / 2) + 32 * i + 16 * (c % 2);
  }
  __device__ Part part(int i) const {
    const int s = 2 * quarter + i;
    const float2 scale = scale_min(header, s);
    Part p{{}, scale.x, scale.y};
    for (int k = 0; k < 4; ++k) {
      unsigned q = word(qs, k) >> (4 * i) & 0x0f0f0f0fu;
      if (has_fifth) q |= (word(high, k) >> s & 0x01010101u) << 4;
      p.q[k] = static_cast<int>(q);
    }
    return p;
  }
};

/// Q2_K and Q3_K: a chunk is 16 bytes of four quants each, in four sub-blocks.
template <bool has_third>
struct Quarters {
  static constexpr int kBlock = 256, kElements = 64, kPerBlock = 4, kParts = 4;
  uint4 qs, high = {};
  const uint8_t *scales, *d;
  int half, part_of;

  Quarters() = default;
  template <class W>
  __device__ Quarters(const W& w, int64_t chunk) {
    const int64_t block = chunk / 4;
    half = static_cast<int>(chunk % 4) / 2, part_of = static_cast<int>(chunk % 2);
    qs = load16<W>(w.field(0, block) + (chunk % 4) * 16);
    if (has_third) high = load16<W>(w.field(3, block) + part_of * 16);
    d = w.field(1, block);
    scales = w.field(2, block);
  }
  static __host__ __device__ constexpr int place(int c, int i) {
    return 128 * (c / 2) + 32 * i + 16 * (c % 2);
  }
  __device__ Part part(int i) const {
    const int s = 8 * half + 2 * i + part_of;
    Part p{};
    if (has_third) {
      p.a = one_half(d) * static_cast<float>(scale_q3k(scales, s));
      p.b = -4.0f * p.a;
    } else {
      const float2 both = two_halves(d);
      p.a = both.x * static_cast<float>(scales[s] & 15);
      p.b = -(both.y * static_cast<float>(scales[s] >> 4));
    }
    for (int k = 0; k < 4; ++k) {
      unsigned q = word(qs, k) >> (2 * i) & 0x03030303u;
      if (has_third) q |= (word(high, k) >> (4 * half + i) & 0x01010101u) << 2;
      p.q[k] = static_cast<int>(q);
    }
    return p;
  }
};

}  // namespace detail

template <>
struct ChunksOf<DType::q4_0> : detail::Nibbles<false, false> {
  using Nibbles::Nibbles;
};
template <>
struct ChunksOf<DType::q4_1> : detail::Nibbles<true, false> {
  using Nibbles::Nibbles;
};
template <>
struct ChunksOf<DType::q5_0> : detail::Nibbles<false, true> {
  using Nibbles::Nibbles;
};
template <>
struct ChunksOf<DType::q5_1> : detail::Nibbles<true, true> {
  using Nibbles::Nibbles;
};
template <>
struct ChunksOf<DType::q4_k> : detail::SuperNibbles<false> {
  using SuperNibbles::SuperNibbles;
};
template <>
struct ChunksOf<DType::q5_k> : detail::SuperNibbles<true> {
  using SuperNibbles::SuperNibbles;
};
template <>
struct ChunksOf<DType::q2_k> : detail::Quarters<false> {
  using Quarters::Quarters;
};
template <>
struct ChunksOf<DType::q3_k> : detail::Quarters<true> {
  using Quarters::Quarters;
};

template <>
struct ChunksOf<DType::q8_0> {
  static constexpr int kBlock = 32, kElements = 32, kPerBlock = 1, kParts = 2;
  uint4 qs[2];
  unsigned scale;
  ChunksOf() = default;
  template <class W>
  __device__ ChunksOf(const W& w, int64_t block)
      : qs{detail::load16<W>(w.field(0, block)), detail::load16<W>(w.field(0, block) + 16)},
        scale(detail::half_bits<W>(w.field(1, block))) {}
  static __host__ __device__ constexpr int place(int, int i) { return 16 * i; }
  __device__ Part part(int i) const {
    const uint4 v = i == 0 ? qs[0] : qs[1];
    return {{static_cast<int>(v.x), static_cast<int>(v.y), static_cast<int>(v.z), static_cast<int>(v.w)},
            detail::half_of(scale),
            0.0f};
  }
};

/// A chunk is 16 bytes of low bits, for elements l and l + 64 of one half of the block.
template <>
struct ChunksOf<DType::q6_k> {
  static constexpr int kBlock = 256, kElements = 32, kPerBlock = 8, kParts = 2;
  uint4 low, high;
  unsigned d, scales[2];
  int half, quarter;

  ChunksOf() = default;
  template <class W>
  __device__ ChunksOf(const W& w, int64_t chunk) {
    const int64_t block = chunk / 8;
    half = static_cast<int>(chunk % 8) / 4, quarter = static_cast<int>(chunk % 4);
    low = detail::load16<W>(w.field(0, block) + (chunk % 8) * 16);
    high = detail::load16<W>(w.field(2, block) + half * 32 + quarter % 2 * 16);
    d = detail::half_bits<W>(w.field(1, block));
    for (int i = 0; i < 2; ++i) scales[i] = w.field(3, block)[8 * half + 4 * i + quarter];
  }
  static __host__ __device__ constexpr int place(int c, int i) {
    return 128 * (c / 4) + 64 * i + 16 * (c % 4);
  }
  __device__ Part part(int i) const {
    const float a = detail::half_of(d) * static_cast<float>(static_cast<int8_t>(scales[i]));
    Part p{{}, a, -32.0f * a};
    const int shift = (quarter / 2 + 2 * i) * 2;
    for (int k = 0; k < 4; ++k)
      p.q[k] = static_cast<int>((detail::word(low, k) >> (4 * i) & 0x0f0f0f0fu) |
                                (detail::word(high, k) >> shift & 0x03030303u) << 4);
    return p;
  }
};

}  // namespace tl::cuda
