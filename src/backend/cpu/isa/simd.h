// One vector type of eight floats and its companions, so that kernels read as algorithms.
//
// Files in this folder are compiled once per instruction set, with TL_ISA naming it: portable (whatever the
// compiler's baseline is), avx2 (AVX2 + FMA + F16C), avx512 (AVX-512 VL/BW/DQ + VNNI at the same width), neon
// or dotprod (64-bit ARM, the second with dot products of bytes; TL_NEON is defined for both).
// Everything lives in namespace tl::cpu::TL_ISA and is forced inline: a function that the linker shared
// between these files would run instructions that the processor may lack. For the same reason these files
// include no C++ library code.
#pragma once

#include <math.h>
#include <stdint.h>
#include <string.h>

#if defined(__AVX2__) || defined(__AVX512F__)
#include <immintrin.h>
#endif
#ifdef TL_NEON
#include "backend/cpu/isa/vector_pair.h"
#endif

#ifndef TL_ISA
#error "TL_ISA must name the instruction set"
#endif

#define TL_INLINE [[gnu::always_inline]] inline
// Unrolled from the start, or GCC keeps an array's vectors in memory instead of registers.
#define TL_UNROLLED _Pragma("GCC unroll 8") for

namespace tl::cpu::TL_ISA {

constexpr int64_t kLanes = 8;

#ifdef TL_NEON
using RawF32 = Pair<float32x4_t>;
using RawI32 = Pair<int32x4_t>;
using RawI16 = Pair<int16x8_t>;
using RawU8 = Pair<uint8x16_t>;
#else
using RawF32 = float __attribute__((vector_size(32)));
using RawI32 = int32_t __attribute__((vector_size(32)));
using RawI16 = int16_t __attribute__((vector_size(32)));
using RawU16 = uint16_t __attribute__((vector_size(32)));
using RawU8 = uint8_t __attribute__((vector_size(32)));
#endif

/// Eight truth values: all bits of a lane set or none.
struct Mask {
  RawI32 v;
};

/// Eight 32-bit integers.
struct I32 {
  RawI32 v;
};
TL_INLINE I32 operator+(I32 a, I32 b) { return {a.v + b.v}; }

/// Eight floats.
struct F32 {
  RawF32 v;
  F32() = default;
  TL_INLINE explicit F32(RawF32 raw) : v(raw) {}
#ifdef TL_NEON
  TL_INLINE explicit F32(float x) : v{vdupq_n_f32(x), vdupq_n_f32(x)} {}
#else
  TL_INLINE explicit F32(float x) : v{x, x, x, x, x, x, x, x} {}
#endif
  TL_INLINE explicit F32(double x) : F32(static_cast<float>(x)) {}
  TL_INLINE explicit F32(int x) : F32(static_cast<float>(x)) {}
};

/// Thirty-two bytes, unsigned.
struct U8 {
  RawU8 v;
};

TL_INLINE F32 operator+(F32 a, F32 b) { return F32(a.v + b.v); }
TL_INLINE F32 operator-(F32 a, F32 b) { return F32(a.v - b.v); }
TL_INLINE F32 operator*(F32 a, F32 b) { return F32(a.v * b.v); }
TL_INLINE F32 operator/(F32 a, F32 b) { return F32(a.v / b.v); }
TL_INLINE F32 operator-(F32 a) { return F32(-a.v); }
TL_INLINE Mask operator==(F32 a, F32 b) { return {a.v == b.v}; }
TL_INLINE Mask operator!=(F32 a, F32 b) { return {a.v != b.v}; }
TL_INLINE Mask operator<(F32 a, F32 b) { return {a.v < b.v}; }
TL_INLINE Mask operator<=(F32 a, F32 b) { return {a.v <= b.v}; }
TL_INLINE Mask operator>(F32 a, F32 b) { return {a.v > b.v}; }
TL_INLINE Mask operator>=(F32 a, F32 b) { return {a.v >= b.v}; }
TL_INLINE Mask operator&(Mask a, Mask b) { return {a.v & b.v}; }
TL_INLINE Mask operator|(Mask a, Mask b) { return {a.v | b.v}; }

template <class To, class From>
TL_INLINE To bits_as(From from) {
  static_assert(sizeof(To) == sizeof(From));
  To to;
  memcpy(&to, &from, sizeof to);
  return to;
}

TL_INLINE F32 select(Mask m, F32 a, F32 b) {
  const RawI32 bits = (m.v & bits_as<RawI32>(a.v)) | (~m.v & bits_as<RawI32>(b.v));
  return F32(bits_as<RawF32>(bits));
}

/// The greater and the lesser lanes; b where either is NaN.
TL_INLINE F32 greater_of(F32 a, F32 b) {
#ifdef __AVX2__
  return F32(RawF32(_mm256_max_ps(a.v, b.v)));
#else
  return select(a > b, a, b);
#endif
}
TL_INLINE F32 lesser_of(F32 a, F32 b) {
#ifdef __AVX2__
  return F32(RawF32(_mm256_min_ps(a.v, b.v)));
#else
  return select(a < b, a, b);
#endif
}

/// a * b + c; one rounding where the instruction set has it.
TL_INLINE F32 fma(F32 a, F32 b, F32 c) {
#ifdef __FMA__
  return F32(RawF32(_mm256_fmadd_ps(a.v, b.v, c.v)));
#elif defined(TL_NEON)
  return F32(RawF32{vfmaq_f32(c.v.low, a.v.low, b.v.low), vfmaq_f32(c.v.high, a.v.high, b.v.high)});
#else
  return F32(a.v * b.v + c.v);
#endif
}

TL_INLINE F32 load(const float* p) {
  F32 r;
  memcpy(&r.v, p, sizeof r.v);
  return r;
}
TL_INLINE void store(float* p, F32 x) { memcpy(p, &x.v, sizeof x.v); }
#ifdef __AVX2__
/// The first n lanes.
TL_INLINE __m256i first_lanes(int64_t n) {
  return _mm256_cmpgt_epi32(_mm256_set1_epi32(static_cast<int>(n)),
                            _mm256_setr_epi32(0, 1, 2, 3, 4, 5, 6, 7));
}
#endif
/// The first n < 8 lanes; the others are 0.
TL_INLINE F32 load_tail(const float* p, int64_t n) {
#ifdef __AVX2__
  return F32(RawF32(_mm256_maskload_ps(p, first_lanes(n))));
#else
  float lanes[kLanes] = {};
  memcpy(lanes, p, static_cast<size_t>(n) * sizeof(float));
  return load(lanes);
#endif
}
TL_INLINE void store_tail(float* p, F32 x, int64_t n) {
#ifdef __AVX2__  // by halves: stores by a mask are slow where AVX2 is all there is
  __m128 rest = _mm256_castps256_ps128(x.v);
  if (n & 4) {
    _mm_storeu_ps(p, rest);
    rest = _mm256_extractf128_ps(x.v, 1);
    p += 4;
  }
  if (n & 2) {
    _mm_storel_pi(reinterpret_cast<__m64*>(p), rest);
    rest = _mm_movehl_ps(rest, rest);
    p += 2;
  }
  if (n & 1) _mm_store_ss(p, rest);
#else
  float lanes[kLanes];
  store(lanes, x);
  memcpy(p, lanes, static_cast<size_t>(n) * sizeof(float));
#endif
}

/// The first n <= 8 lanes.
TL_INLINE F32 load_some(const float* p, int64_t n) { return n == kLanes ? load(p) : load_tail(p, n); }
TL_INLINE void store_some(float* p, F32 x, int64_t n) {
  if (n == kLanes)
    store(p, x);
  else
    store_tail(p, x, n);
}

/// The sum of the lanes, in one fixed order.
TL_INLINE float sum(F32 x) {
#ifdef __AVX2__
  const __m128 four = _mm_add_ps(_mm256_castps256_ps128(x.v), _mm256_extractf128_ps(x.v, 1));
  const __m128 two = _mm_add_ps(four, _mm_movehl_ps(four, four));
  return _mm_cvtss_f32(_mm_add_ss(two, _mm_movehdup_ps(two)));
#elif defined(TL_NEON)
  return vaddvq_f32(x.v.low + x.v.high);
#else
  const float a = x.v[0] + x.v[4], b = x.v[1] + x.v[5], c = x.v[2] + x.v[6], d = x.v[3] + x.v[7];
  return (a + c) + (b + d);
#endif
}

/// The lanes of four vectors partly added, in one fixed order: what sums_joined() takes.
TL_INLINE F32 sums_of_four(F32 a, F32 b, F32 c, F32 d) {
#ifdef __AVX2__
  // One of the two operands of an addition by a blend, which has more ports than a shuffle.
  const auto pair = [](F32 x, F32 y) {
    const __m256d p = _mm256_castps_pd(x.v), q = _mm256_castps_pd(y.v);
    return _mm256_add_ps(_mm256_castpd_ps(_mm256_blend_pd(p, q, 0b1010)),
                         _mm256_castpd_ps(_mm256_shuffle_pd(p, q, 0b0101)));
  };
  const __m256 ab = pair(a, b), cd = pair(c, d);
  return F32(RawF32(_mm256_add_ps(_mm256_shuffle_ps(ab, cd, 0x88), _mm256_shuffle_ps(ab, cd, 0xdd))));
#elif defined(TL_NEON)
  const auto halves = [](F32 x) { return x.v.low + x.v.high; };
  return F32(RawF32{vpaddq_f32(vpaddq_f32(halves(a), halves(b)), vpaddq_f32(halves(c), halves(d))),
                    vdupq_n_f32(0.0f)});
#else
  return F32(RawF32{sum(a), sum(b), sum(c), sum(d), 0.0f, 0.0f, 0.0f, 0.0f});
#endif
}

/// The sums of eight vectors, of which four went into `first`, four into `last`.
TL_INLINE F32 sums_joined(F32 first, F32 last) {
#ifdef __AVX2__
  return F32(RawF32(
      _mm256_add_ps(_mm256_blend_ps(first.v, last.v, 0xf0), _mm256_permute2f128_ps(first.v, last.v, 0x21))));
#elif defined(TL_NEON)
  return F32(RawF32{first.v.low, last.v.low});
#else
  return F32(RawF32(__builtin_shufflevector(first.v, last.v, 0, 1, 2, 3, 8, 9, 10, 11)));
#endif
}

/// Lane l is the sum of the lanes of v[l], in one fixed order.
TL_INLINE F32 sums_of(const F32 (&v)[8]) {
  return sums_joined(sums_of_four(v[0], v[1], v[2], v[3]), sums_of_four(v[4], v[5], v[6], v[7]));
}

/// Rows of eight become columns.
TL_INLINE void transpose(F32 (&x)[8]) {
#ifdef TL_NEON
  const auto quarter = [](float32x4_t& a, float32x4_t& b, float32x4_t& c, float32x4_t& d) {
    const auto wide = [](float32x4_t v) { return vreinterpretq_f64_f32(v); };
    const auto narrow = [](float64x2_t v) { return vreinterpretq_f32_f64(v); };
    const float64x2_t ab0 = wide(vtrn1q_f32(a, b)), ab1 = wide(vtrn2q_f32(a, b)),
                      cd0 = wide(vtrn1q_f32(c, d)), cd1 = wide(vtrn2q_f32(c, d));
    a = narrow(vtrn1q_f64(ab0, cd0)), b = narrow(vtrn1q_f64(ab1, cd1));
    c = narrow(vtrn2q_f64(ab0, cd0)), d = narrow(vtrn2q_f64(ab1, cd1));
  };
  for (int i = 0; i < 8; i += 4) {
    quarter(x[i].v.low, x[i + 1].v.low, x[i + 2].v.low, x[i + 3].v.low);
    quarter(x[i].v.high, x[i + 1].v.high, x[i + 2].v.high, x[i + 3].v.high);
  }
  for (int i = 0; i < 4; ++i) {
    const float32x4_t other = x[i].v.high;
    x[i].v.high = x[i + 4].v.low;
    x[i + 4].v.low = other;
  }
#else
  F32 pairs[8], fours[8];
  TL_UNROLLED(int i = 0; i < 8; i += 2) {
    pairs[i] = F32(RawF32(__builtin_shufflevector(x[i].v, x[i + 1].v, 0, 8, 1, 9, 4, 12, 5, 13)));
    pairs[i + 1] = F32(RawF32(__builtin_shufflevector(x[i].v, x[i + 1].v, 2, 10, 3, 11, 6, 14, 7, 15)));
  }
  TL_UNROLLED(int i = 0; i < 8; i += 4) {
    TL_UNROLLED(int j = 0; j < 2; ++j) {
      const RawF32 a = pairs[i + j].v, b = pairs[i + j + 2].v;
      fours[i + 2 * j] = F32(RawF32(__builtin_shufflevector(a, b, 0, 1, 8, 9, 4, 5, 12, 13)));
      fours[i + 2 * j + 1] = F32(RawF32(__builtin_shufflevector(a, b, 2, 3, 10, 11, 6, 7, 14, 15)));
    }
  }
  TL_UNROLLED(int i = 0; i < 4; ++i) {
    const RawF32 a = fours[i].v, b = fours[i + 4].v;
    x[i] = F32(RawF32(__builtin_shufflevector(a, b, 0, 1, 2, 3, 8, 9, 10, 11)));
    x[i + 4] = F32(RawF32(__builtin_shufflevector(a, b, 4, 5, 6, 7, 12, 13, 14, 15)));
  }
#endif
}

// ---- Functions of <cmath>, by their names there

TL_INLINE F32 abs(F32 x) { return F32(bits_as<RawF32>(bits_as<RawI32>(x.v) & 0x7fffffff)); }

#ifdef __AVX2__
TL_INLINE F32 sqrt(F32 x) { return F32(RawF32(_mm256_sqrt_ps(x.v))); }
TL_INLINE F32 floor(F32 x) { return F32(RawF32(_mm256_floor_ps(x.v))); }
TL_INLINE F32 ceil(F32 x) { return F32(RawF32(_mm256_ceil_ps(x.v))); }
TL_INLINE F32 rint(F32 x) {
  return F32(RawF32(_mm256_round_ps(x.v, _MM_FROUND_TO_NEAREST_INT | _MM_FROUND_NO_EXC)));
}
#elif defined(TL_NEON)
TL_INLINE F32 sqrt(F32 x) { return F32(RawF32{vsqrtq_f32(x.v.low), vsqrtq_f32(x.v.high)}); }
TL_INLINE F32 floor(F32 x) { return F32(RawF32{vrndmq_f32(x.v.low), vrndmq_f32(x.v.high)}); }
TL_INLINE F32 ceil(F32 x) { return F32(RawF32{vrndpq_f32(x.v.low), vrndpq_f32(x.v.high)}); }
TL_INLINE F32 rint(F32 x) { return F32(RawF32{vrndnq_f32(x.v.low), vrndnq_f32(x.v.high)}); }
#endif
#if defined(__AVX2__) || defined(TL_NEON)
#define TL_LANEWISE_1(X) X(log) X(sin) X(cos) X(tan) X(tanh) X(erf)
#else
#define TL_LANEWISE_1(X) X(log) X(sin) X(cos) X(tan) X(tanh) X(erf) X(sqrt) X(floor) X(ceil) X(rint)
#endif

// Rarely in an inner loop: the C library's scalar function, lane by lane.
#define X(name)                                                                    \
  TL_INLINE F32 name(F32 x) {                                                      \
    float lanes[kLanes];                                                           \
    store(lanes, x);                                                               \
    for (int64_t i = 0; i < kLanes; ++i) lanes[i] = __builtin_##name##f(lanes[i]); \
    return load(lanes);                                                            \
  }
TL_LANEWISE_1(X)
#undef X
#define X(name)                                                                  \
  TL_INLINE F32 name(F32 a, F32 b) {                                             \
    float x[kLanes], y[kLanes];                                                  \
    store(x, a), store(y, b);                                                    \
    for (int64_t i = 0; i < kLanes; ++i) x[i] = __builtin_##name##f(x[i], y[i]); \
    return load(x);                                                              \
  }
X(pow)
X(fmod)
#undef X
#undef TL_LANEWISE_1

/// Whole numbers |x| < 2^31 to integers, others to nearest even.
TL_INLINE I32 to_i32(F32 x) {
#ifdef __AVX2__
  return {bits_as<RawI32>(_mm256_cvtps_epi32(x.v))};
#elif defined(TL_NEON)
  return {RawI32{vcvtnq_s32_f32(x.v.low), vcvtnq_s32_f32(x.v.high)}};
#else
  return {__builtin_convertvector(rint(x).v, RawI32)};
#endif
}
/// Integers from -128 to 127.
TL_INLINE void store_i8(int8_t* p, I32 x) {
#ifdef __AVX2__
  const auto v = bits_as<__m256i>(x.v);
  const __m128i words = _mm_packs_epi32(_mm256_castsi256_si128(v), _mm256_extracti128_si256(v, 1));
  _mm_storel_epi64(reinterpret_cast<__m128i*>(p), _mm_packs_epi16(words, words));
#elif defined(TL_NEON)
  vst1_s8(p, vmovn_s16(vcombine_s16(vmovn_s32(x.v.low), vmovn_s32(x.v.high))));
#else
  for (int i = 0; i < 8; ++i) p[i] = static_cast<int8_t>(x.v[i]);
#endif
}
TL_INLINE F32 to_f32(I32 x) {
#ifdef TL_NEON
  return F32(RawF32{vcvtq_f32_s32(x.v.low), vcvtq_f32_s32(x.v.high)});
#else
  return F32(__builtin_convertvector(x.v, RawF32));
#endif
}

constexpr float kLog2E = 1.44269504088896341f;
/// e^(x - n ln 2) where that is r, |r| <= ln 2 / 2: 1 + r + r^2 P(r), P fitted for the least relative error
/// (2^-28).
TL_INLINE F32 exp_less(F32 x, F32 n) {
  F32 r = fma(n, F32(-0x1.62e4p-1f),
              x);  // ln 2 in two parts: the first has few bits, so that n times it is exact
  r = fma(n, F32(-0x1.7f7d1cp-20f), r);
  F32 p(0.00138145965f);
  p = fma(p, r, F32(0.00836871751f));
  p = fma(p, r, F32(0.0416683890f));
  p = fma(p, r, F32(0.166665211f));
  p = fma(p, r, F32(0.499999940f));
  return fma(p, r * r, r) + F32(1.0f);
}

/// e^x = 2^n e^(x - n ln 2).
/// Exact at the ends: overflow gives infinity, underflow goes through subnormals to 0, NaN stays.
TL_INLINE F32 exp(F32 x) {
  x = lesser_of(F32(89.0f), greater_of(F32(-105.0f), x));
  const F32 n = rint(x * F32(kLog2E));
  const F32 e = exp_less(x, n);
  const RawI32 whole = to_i32(n).v, half = whole >> 1;
  const RawF32 scale1 = bits_as<RawF32>((half + 127) << 23);
  const RawF32 scale2 = bits_as<RawF32>((whole - half + 127) << 23);
  return F32(e.v * scale1 * scale2);
}

/// The same for x <= 0 and NaN in fewer instructions: 0 below -87, where results would soon be subnormal.
TL_INLINE F32 exp_of_negative(F32 x) {
  const F32 clamped = greater_of(F32(-87.0f), x);
  const F32 whole(0x1.8p23f + 127.0f);  // added, leaves n + 127 in the last places
  const F32 shifted = fma(clamped, F32(kLog2E), whole);
  const F32 e = exp_less(clamped, shifted - whole);
  const RawF32 scale = bits_as<RawF32>(bits_as<RawI32>(shifted.v) << 23);
  return select(x < F32(-87.0f), F32(0.0f), F32(e.v * scale));
}

// ---- 16-bit floats (bit patterns)

#ifdef __F16C__
TL_INLINE F32 load_f16(const uint16_t* p) {
  return F32(RawF32(_mm256_cvtph_ps(_mm_loadu_si128(reinterpret_cast<const __m128i*>(p)))));
}
TL_INLINE void store_f16(uint16_t* p, F32 x) {
  _mm_storeu_si128(reinterpret_cast<__m128i*>(p),
                   _mm256_cvtps_ph(x.v, _MM_FROUND_TO_NEAREST_INT | _MM_FROUND_NO_EXC));
}
TL_INLINE float f16(uint16_t h) { return _cvtsh_ss(h); }
#elif defined(TL_NEON)
TL_INLINE F32 load_f16(const uint16_t* p) {
  const float16x8_t halves = vreinterpretq_f16_u16(vld1q_u16(p));
  return F32(RawF32{vcvt_f32_f16(vget_low_f16(halves)), vcvt_high_f32_f16(halves)});
}
TL_INLINE void store_f16(uint16_t* p, F32 x) {
  vst1q_u16(p, vreinterpretq_u16_f16(vcvt_high_f16_f32(vcvt_f16_f32(x.v.low), x.v.high)));
}
TL_INLINE float f16(uint16_t h) { return bits_as<__fp16>(h); }
#else
/// The 15 bits below the sign, moved to float's place, are 2^112 too small; infinity and NaN need their
/// exponent back.
TL_INLINE float f16(uint16_t h) {
  const uint32_t magnitude = static_cast<uint32_t>(h & 0x7fffu) << 13;
  float x = bits_as<float>(magnitude) * 0x1p112f;
  if (magnitude >= 0x0f800000u) x = bits_as<float>(magnitude | 0x7f800000u);
  return bits_as<float>(bits_as<uint32_t>(x) | static_cast<uint32_t>(h & 0x8000u) << 16);
}
TL_INLINE F32 load_f16(const uint16_t* p) {
  F32 r;
  for (int64_t i = 0; i < kLanes; ++i) r.v[i] = f16(p[i]);
  return r;
}
/// To nearest even: adding half an ulp, less the tie's odd bit, carries where the value rounds up; subnormals
/// are rounded by adding 0.5, whose last place is theirs.
TL_INLINE uint16_t to_f16(float x) {
  const uint32_t bits = bits_as<uint32_t>(x), magnitude = bits & 0x7fffffffu;
  const auto sign = static_cast<uint16_t>(bits >> 16 & 0x8000u);
  uint32_t h = (magnitude + 0xfffu + (magnitude >> 13 & 1u) - 0x38000000u) >> 13;
  if (magnitude < 0x38800000u) h = bits_as<uint32_t>(bits_as<float>(magnitude) + 0.5f) - 0x3f000000u;
  if (magnitude >= 0x477ff000u) h = magnitude > 0x7f800000u ? 0x7e00u : 0x7c00u;
  return static_cast<uint16_t>(sign | h);
}
TL_INLINE void store_f16(uint16_t* p, F32 x) {
  for (int64_t i = 0; i < kLanes; ++i) p[i] = to_f16(x.v[i]);
}
#endif

TL_INLINE F32 load_bf16(const uint16_t* p) {
#ifdef TL_NEON
  const uint16x8_t raw = vld1q_u16(p);
  return F32(RawF32{vreinterpretq_f32_u32(vshll_n_u16(vget_low_u16(raw), 16)),
                    vreinterpretq_f32_u32(vshll_high_n_u16(raw, 16))});
#else
  uint16_t raw __attribute__((vector_size(16)));
  memcpy(&raw, p, sizeof raw);
  return F32(bits_as<RawF32>(__builtin_convertvector(raw, RawI32) << 16));
#endif
}

// ---- Bytes

TL_INLINE U8 load_u8(const void* p) {
  U8 r;
  memcpy(&r.v, p, sizeof r.v);
  return r;
}
TL_INLINE U8 operator&(U8 a, U8 b) { return {a.v & b.v}; }
TL_INLINE U8 operator|(U8 a, U8 b) { return {a.v | b.v}; }
TL_INLINE U8 operator^(U8 a, U8 b) { return {a.v ^ b.v}; }
TL_INLINE U8 bytes(uint8_t x) { return {RawU8{} + x}; }

/// The bits of `field` (a mask of the result), moved there from `n` places above (below, if negative).
TL_INLINE U8 bits_from(U8 a, int n, uint8_t field) {
#ifdef TL_NEON
  const int8x16_t left = vdupq_n_s8(static_cast<int8_t>(-n));
  return U8{RawU8{vshlq_u8(a.v.low, left), vshlq_u8(a.v.high, left)}} & bytes(field);
#else
  const auto words = bits_as<RawU16>(a.v);  // what crosses a byte's border is masked out
  const RawU16 moved = n >= 0 ? words >> static_cast<uint16_t>(n) : words << static_cast<uint16_t>(-n);
  return U8{bits_as<RawU8>(n == 0 ? words : moved)} & bytes(field);
#endif
}

/// Eight running dot products of bytes, a quantum of four elements at a time: lane l takes bytes 4 l … 4 l
/// + 3. Whole where the instruction set adds four products in 32 bits; elsewhere two partial sums a lane.
#if (defined(__AVX512VNNI__) && defined(__AVX512VL__)) || (defined(TL_NEON) && defined(__ARM_FEATURE_DOTPROD))
#define TL_WHOLE_DOTS
#if defined(__AVX2__)
#define TL_UNSIGNED_WHOLE_DOTS  ///< 32-bit sums of unsigned times signed bytes, by one instruction
#endif
struct Dots {
  RawI32 v{};
};
#else
struct Dots {
  RawI16 v{};
};
#endif

#ifdef __AVX2__
/// Four bytes at p, eight times.
TL_INLINE __m256i spread_four(const int8_t* p) {
  int32_t word;
  memcpy(&word, p, sizeof word);
  return _mm256_set1_epi32(word);
}
#endif

#ifdef TL_NEON
/// Adds w times the four bytes at a, all signed: unsigned quants have at most 6 bits.
TL_INLINE Dots add_signed_products(Dots d, U8 w, const int8_t* a) {
  int32_t word;
  memcpy(&word, a, sizeof word);
  const int8x16_t four = vreinterpretq_s8_s32(vdupq_n_s32(word));
  const int8x16_t low = vreinterpretq_s8_u8(w.v.low), high = vreinterpretq_s8_u8(w.v.high);
#ifdef TL_WHOLE_DOTS
  return {RawI32{vdotq_s32(d.v.low, low, four), vdotq_s32(d.v.high, high, four)}};
#else
  const auto pairs = [four](int8x16_t x) {
    return vpaddq_s16(vmull_s8(vget_low_s8(x), vget_low_s8(four)), vmull_high_s8(x, four));
  };
  return {RawI16{d.v.low + pairs(low), d.v.high + pairs(high)}};
#endif
}
#endif

/// Adds u (unsigned) times the four signed bytes at a. The caller sees to it that sums of two products stay
/// within 16 bits: |u|max * 127 * 2 * (number of calls) <= 32767.
TL_INLINE Dots add_products(Dots d, U8 u, const int8_t* a) {
#if defined(TL_NEON)
  return add_signed_products(d, u, a);
#elif defined(__AVX2__) && defined(TL_WHOLE_DOTS)
  // GCC 12 would spread the four bytes by an instruction of its own.
  asm("vpdpbusd %2%{1to8%}, %1, %0" : "+v"(d.v) : "v"(u.v), "m"(reinterpret_cast<const int8_t(&)[4]>(*a)));
  return d;
#elif defined(__AVX2__)
  const __m256i pairs = _mm256_maddubs_epi16(bits_as<__m256i>(u.v), spread_four(a));
  return {bits_as<RawI16>(_mm256_add_epi16(bits_as<__m256i>(d.v), pairs))};
#else
  for (int i = 0; i < 16; ++i) {
    const int at = 2 * i, of = at % 4;
    d.v[i] = static_cast<int16_t>(d.v[i] + u.v[at] * a[of] + u.v[at + 1] * a[of + 1]);
  }
  return d;
#endif
}

#ifndef TL_NEON
/// The same for signed bytes w (-128 … 127) and a (-127 … 127).
TL_INLINE Dots add_signed_products(Dots d, U8 w, const int8_t* a) {
#ifdef __AVX2__
  const __m256i y = bits_as<__m256i>(w.v);
  const __m256i magnitude = _mm256_abs_epi8(y), other = _mm256_sign_epi8(spread_four(a), y);
#ifdef TL_WHOLE_DOTS
  return {bits_as<RawI32>(_mm256_dpbusd_epi32(bits_as<__m256i>(d.v), magnitude, other))};
#else
  return {bits_as<RawI16>(_mm256_add_epi16(bits_as<__m256i>(d.v), _mm256_maddubs_epi16(magnitude, other)))};
#endif
#else
  for (int i = 0; i < 16; ++i) {
    const int at = 2 * i, of = at % 4;
    d.v[i] = static_cast<int16_t>(d.v[i] + static_cast<int8_t>(w.v[at]) * a[of] +
                                  static_cast<int8_t>(w.v[at + 1]) * a[of + 1]);
  }
  return d;
#endif
}
#endif

#if defined(__AVX2__) && !defined(TL_WHOLE_DOTS)
#define TL_DOTS_OF_WORDS  ///< products of signed numbers cost less in 16 bits
/// Eight running dot products of signed bytes in 16 bits, 256 times what they are, in two parts: two partial
/// sums each of rows 0, 1, 4, 5 and of the others.
struct WordDots {
  __m256i part[2] = {};
};
/// Adds the products of w and the four numbers at a: one load serves both parts.
template <int M>
TL_INLINE void add_word_products(WordDots (&d)[M], U8 w, const int16_t* a, int64_t stride) {
  const auto v = bits_as<__m256i>(w.v), zero = _mm256_setzero_si256();
  const __m256i words[2] = {_mm256_unpacklo_epi8(zero, v), _mm256_unpackhi_epi8(zero, v)};
  TL_UNROLLED(int r = 0; r < M; ++r) {
    int64_t four;
    memcpy(&four, a + r * stride, sizeof four);
    const __m256i spread = _mm256_set1_epi64x(four);
    TL_UNROLLED(int i = 0; i < 2; ++i) {
      d[r].part[i] = _mm256_add_epi32(d[r].part[i], _mm256_madd_epi16(words[i], spread));
      asm("" : "+x"(d[r].part[i]));  // as in settle()
    }
  }
}
/// The eight dot products.
TL_INLINE I32 totals(WordDots d) {
  const __m256 first = _mm256_castsi256_ps(d.part[0]), last = _mm256_castsi256_ps(d.part[1]);
  const __m256i sum = _mm256_add_epi32(_mm256_castps_si256(_mm256_shuffle_ps(first, last, 0x88)),
                                       _mm256_castps_si256(_mm256_shuffle_ps(first, last, 0xdd)));
  return {bits_as<RawI32>(_mm256_srai_epi32(sum, 8))};
}
/// Thirty-two signed bytes in 16 bits.
TL_INLINE void store_words(int16_t* p, const int8_t* bytes) {
  for (int i = 0; i < 32; i += 16)
    _mm256_storeu_si256(reinterpret_cast<__m256i*>(p + i),
                        _mm256_cvtepi8_epi16(_mm_loadu_si128(reinterpret_cast<const __m128i*>(bytes + i))));
}
#endif

/// Has what was added to these sums added here: of several running sums GCC would put off the additions until
/// after all products, and keep those on the stack. A product that adds by itself stays where it is.
TL_INLINE void settle([[maybe_unused]] Dots& d) {
#if defined(TL_UNSIGNED_WHOLE_DOTS)
#elif defined(__AVX2__)
  asm("" : "+v"(d.v));
#elif defined(TL_NEON)
  asm("" : "+w"(d.v.low), "+w"(d.v.high));
#endif
}

/// Asks for the cache line at p, which may lie outside of any object, when d is known.
TL_INLINE void prefetch_after([[maybe_unused]] Dots& d, const void* p) {
#if defined(__AVX2__)
  asm("prefetcht0 %1" : "+v"(d.v) : "m"(*static_cast<const char*>(p)));
#elif defined(TL_NEON)
  asm("prfm pldl1keep, [%2]" : "+w"(d.v.low), "+w"(d.v.high) : "r"(p));
#else
  __builtin_prefetch(p);
#endif
}

/// Has x loaded once for all that use it: GCC would let each of them read memory.
template <class Vector>
TL_INLINE void keep_in_register([[maybe_unused]] Vector& x) {
#ifdef __AVX2__
  asm("" : "+v"(x.v));
#endif
}

/// The eight dot products.
TL_INLINE I32 totals(Dots d) {
#if defined(TL_WHOLE_DOTS)
  return {d.v};
#elif defined(TL_NEON)
  return {RawI32{vpaddlq_s16(d.v.low), vpaddlq_s16(d.v.high)}};
#elif defined(__AVX2__)
  return {bits_as<RawI32>(_mm256_madd_epi16(bits_as<__m256i>(d.v), _mm256_set1_epi16(1)))};
#else
  I32 r;
  for (int i = 0; i < 8; ++i) r.v[i] = d.v[2 * i] + d.v[2 * i + 1];
  return r;
#endif
}

/// Two numbers that every lane shares, one for each of its partial sums; each times 2^shift. Sums wrap around
/// in 16 bits, so that only what comes out in the end has to fit.
template <int shift>
TL_INLINE Dots start_from(const int16_t (&pair)[2]) {
#if defined(__AVX2__)
  int32_t both;
  memcpy(&both, pair, sizeof both);
  const __m256i spread = _mm256_set1_epi32(both);
#ifdef TL_WHOLE_DOTS
  return {bits_as<RawI32>(_mm256_madd_epi16(spread, _mm256_set1_epi16(1 << shift)))};
#else
  return {bits_as<RawI16>(_mm256_slli_epi16(spread, shift))};
#endif
#else
  const int even = pair[0] * (1 << shift), odd = pair[1] * (1 << shift);
#ifdef TL_WHOLE_DOTS
  return {RawI32{} + (even + odd)};
#else
  const uint32_t both = static_cast<uint16_t>(even) | static_cast<uint32_t>(odd) << 16;
  return {bits_as<RawI16>(RawI32{} + static_cast<int32_t>(both))};
#endif
#endif
}

/// A small integer for each of eight rows.
struct Scales {
#if defined(__AVX2__) && !defined(TL_WHOLE_DOTS)
  RawI16 v;  ///< each twice, for both partial sums of a lane
#else
  RawI32 v;
#endif
};

#ifdef __AVX2__
/// Bytes of every group of four at p, which `places` names from its lowest byte on; 128 names a zero.
TL_INLINE __m256i chosen_bytes(const void* p, unsigned places) {
  const __m256i groups =
      _mm256_setr_epi32(0, 0x04040404, 0x08080808, 0x0c0c0c0c, 0, 0x04040404, 0x08080808, 0x0c0c0c0c);
  return _mm256_shuffle_epi8(bits_as<__m256i>(load_u8(p).v),
                             _mm256_add_epi8(_mm256_set1_epi32(static_cast<int>(places)), groups));
}
#endif

/// Byte `s` of every group of four, signed or unsigned.
template <class Byte>
TL_INLINE I32 bytes_from(const Byte (&fours)[32], int s) {
  constexpr bool kSigned = static_cast<Byte>(-1) < Byte{};
#ifdef TL_NEON
  const auto all = bits_as<Pair<uint32x4_t>>(load_u8(fours).v);
  const int32x4_t up = vdupq_n_s32(24 - 8 * s), down = vdupq_n_s32(-24);
  const auto half = [&](uint32x4_t x) {
    const uint32x4_t top = vshlq_u32(x, up);
    if constexpr (kSigned) return vshlq_s32(vreinterpretq_s32_u32(top), down);
    return vreinterpretq_s32_u32(vshlq_u32(top, down));
  };
  return {RawI32{half(all.low), half(all.high)}};
#else
#ifdef __AVX2__
  if constexpr (!kSigned)
    return {bits_as<RawI32>(chosen_bytes(fours, 0x80808000u + static_cast<unsigned>(s)))};
#endif
  const RawI32 top = bits_as<RawI32>(load_u8(fours).v) << (24 - 8 * s);
  return {kSigned ? top >> 24 : top >> 24 & 255};
#endif
}

/// The same as scales.
template <class Byte>
TL_INLINE Scales scales_from(const Byte (&fours)[32], int s) {
#if defined(__AVX2__) && !defined(TL_WHOLE_DOTS)
  constexpr bool kSigned = static_cast<Byte>(-1) < Byte{};
  const unsigned twice = 0x10001u * static_cast<unsigned>(s);
  if constexpr (kSigned)
    return {bits_as<RawI16>(_mm256_srai_epi16(chosen_bytes(fours, 0x00800080u + (twice << 8)), 8))};
  return {bits_as<RawI16>(chosen_bytes(fours, 0x80008000u + twice))};
#else
  return {bytes_from(fours, s).v};
#endif
}

/// The eight dot products, each times its row's scale.
TL_INLINE I32 scaled_totals(Dots d, Scales s) {
#if defined(__AVX2__) && !defined(TL_WHOLE_DOTS)
  return {bits_as<RawI32>(_mm256_madd_epi16(bits_as<__m256i>(d.v), bits_as<__m256i>(s.v)))};
#else
  return {totals(d).v * s.v};
#endif
}

}  // namespace tl::cpu::TL_ISA
