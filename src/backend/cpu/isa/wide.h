// The widest vectors of floats: of sixteen where the instruction set has such registers, of eight elsewhere.
// Sixteen partial sums of a dot product lie in one or two of them, and are added in the same order
// everywhere.
#pragma once

#include "backend/cpu/isa/simd.h"

namespace tl::cpu::TL_ISA {

#ifdef __AVX512F__
#define TL_WIDE_REGISTERS
// By masks of all lanes: GCC 12 takes what the plain forms leave undefined for an error.
constexpr __mmask16 kAll16 = 0xffff;
constexpr int kParts = 1;
using Part = __m512;
TL_INLINE Part zero_part() { return _mm512_setzero_ps(); }
TL_INLINE Part load_part(const float* p) { return _mm512_loadu_ps(p); }
TL_INLINE Part load_part_f16(const uint16_t* p) {
  return _mm512_maskz_cvtph_ps(kAll16, _mm256_loadu_si256(reinterpret_cast<const __m256i*>(p)));
}
TL_INLINE Part load_part_bf16(const uint16_t* p) {
  const __m256i raw = _mm256_loadu_si256(reinterpret_cast<const __m256i*>(p));
  return _mm512_castsi512_ps(_mm512_maskz_slli_epi32(kAll16, _mm512_maskz_cvtepu16_epi32(kAll16, raw), 16));
}
TL_INLINE void store_part(float* p, Part x) { _mm512_storeu_ps(p, x); }
TL_INLINE Part fma(Part a, Part b, Part c) { return _mm512_fmadd_ps(a, b, c); }
TL_INLINE void keep_in_register(Part& x) { asm("" : "+v"(x)); }
/// Lane l is the sum of partial sums l and l + 8.
TL_INLINE F32 halves_added(const Part (&x)[kParts]) {
  const RawF32 low = __builtin_shufflevector(x[0], x[0], 0, 1, 2, 3, 4, 5, 6, 7);
  return F32(low + RawF32(__builtin_shufflevector(x[0], x[0], 8, 9, 10, 11, 12, 13, 14, 15)));
}
#else
constexpr int kParts = 2;
using Part = F32;
TL_INLINE Part zero_part() { return F32(0.0f); }
TL_INLINE Part load_part(const float* p) { return load(p); }
TL_INLINE Part load_part_f16(const uint16_t* p) { return load_f16(p); }
TL_INLINE Part load_part_bf16(const uint16_t* p) { return load_bf16(p); }
TL_INLINE void store_part(float* p, Part x) { store(p, x); }
TL_INLINE F32 halves_added(const Part (&x)[kParts]) { return x[0] + x[1]; }
#endif
constexpr int kPartLanes = 16 / kParts;

}  // namespace tl::cpu::TL_ISA
