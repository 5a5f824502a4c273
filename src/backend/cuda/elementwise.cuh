// Launching the functors of the op table (ops/functors.h) over tensors.
#pragma once

#include "backend/cuda/kernels.h"
#include "backend/cuda/strided.cuh"
#include "ops/functors.h"

namespace tl::cuda {

#define TL_BOTH __host__ __device__  // the functors count as functions of both

/// A float as the functors see it. Functions of CUDA that err by more than one unit in the last place are
/// computed in double and rounded.
struct Real32 {
  float x;
  TL_BOTH constexpr Real32(float value) : x(value) {}  // NOLINT: numbers convert
  TL_BOTH constexpr Real32(double value) : x(static_cast<float>(value)) {}
  TL_BOTH constexpr Real32(int value) : x(static_cast<float>(value)) {}
};
#define TL_OPERATOR(symbol) \
  TL_BOTH constexpr Real32 operator symbol(Real32 a, Real32 b) { return a.x symbol b.x; }
TL_OPERATOR(+)
TL_OPERATOR(-)
TL_OPERATOR(*)
TL_OPERATOR(/)
#undef TL_OPERATOR
#define TL_OPERATOR(symbol) \
  TL_BOTH constexpr bool operator symbol(Real32 a, Real32 b) { return a.x symbol b.x; }
TL_OPERATOR(==)
TL_OPERATOR(!=)
TL_OPERATOR(<)
TL_OPERATOR(<=)
TL_OPERATOR(>)
TL_OPERATOR(>=)
#undef TL_OPERATOR
TL_BOTH constexpr Real32 operator-(Real32 a) { return -a.x; }
TL_BOTH constexpr Real32 select(bool condition, Real32 a, Real32 b) { return condition ? a : b; }
#define TL_FUNCTION(name, expression) \
  TL_BOTH inline Real32 name(Real32 a) { return expression; }
TL_FUNCTION(exp, ::exp(static_cast<double>(a.x)))
TL_FUNCTION(log, logf(a.x))
TL_FUNCTION(sqrt, sqrtf(a.x))
TL_FUNCTION(sin, ::sin(static_cast<double>(a.x)))
TL_FUNCTION(cos, ::cos(static_cast<double>(a.x)))
TL_FUNCTION(tan, ::tan(static_cast<double>(a.x)))
TL_FUNCTION(tanh, tanhf(a.x))
TL_FUNCTION(erf, ::erf(static_cast<double>(a.x)))
TL_FUNCTION(floor, floorf(a.x))
TL_FUNCTION(ceil, ceilf(a.x))
TL_FUNCTION(rint, rintf(a.x))
TL_FUNCTION(abs, fabsf(a.x))
#undef TL_FUNCTION
TL_BOTH inline Real32 fmod(Real32 a, Real32 b) { return fmodf(a.x, b.x); }
TL_BOTH inline Real32 pow(Real32 a, Real32 b) {
  return ::pow(static_cast<double>(a.x), static_cast<double>(b.x));
}

/// What the functors take for numbers that are computed in T.
template <class T>
using Functional = std::conditional_t<std::is_same_v<T, float>, Real32, T>;
__device__ inline float plain(Real32 a) { return a.x; }
__device__ inline int64_t plain(int64_t a) { return a; }
__device__ inline int64_t plain(bool a) { return a; }
__device__ inline int64_t plain(int a) { return a; }

#undef TL_BOTH

}  // namespace tl::cuda
