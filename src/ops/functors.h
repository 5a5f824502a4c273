// What each elementwise operation computes, written once: Functor<Op::exp>::apply(x).
//
// The argument type T is double on the reference backend, an integer, or a vector of floats on a SIMD
// backend. A vector type brings, in its own namespace (found by argument-dependent lookup): arithmetic
// operators, comparisons that give a mask, `&` and `|` of masks, construction from a number, select(mask, a,
// b), and those functions of <cmath> that stand in the table below under their <cmath> names (abs, exp, …,
// and rint for round, fmod for mod).
//
// All are constexpr so that compilers for devices accept them there.
//
// Integers wrap around on overflow as NumPy's do. Dividing an integer by zero, or raising one to a negative
// power, throws Error. Operations that have no meaning for integers do not accept them (see takes_integers).
#pragma once

#include <cmath>
#include <concepts>
#include <cstdint>
#include <type_traits>

#include "base/error.h"
#include "ops/op.h"

namespace tl {

/// A floating-point number or a vector of them.
template <class T>
concept Real = !std::integral<T>;

template <std::floating_point T>
constexpr T select(bool condition, T a, T b) {
  return condition ? a : b;
}
template <std::integral T>
constexpr T select(bool condition, T a, T b) {
  return condition ? a : b;
}

/// The computation of an elementwise operation: static apply(x) or apply(a, b).
template <Op op>
struct Functor;

// ---- One input

#define TL_FUNCTION(op, function)   \
  template <>                       \
  struct Functor<Op::op> {          \
    template <Real T>               \
    static constexpr T apply(T x) { \
      using std::function;          \
      return function(x);           \
    }                               \
  };
TL_FUNCTION(exp, exp)
TL_FUNCTION(log, log)
TL_FUNCTION(sqrt, sqrt)
TL_FUNCTION(sin, sin)
TL_FUNCTION(cos, cos)
TL_FUNCTION(tan, tan)
TL_FUNCTION(tanh, tanh)
TL_FUNCTION(erf, erf)
#undef TL_FUNCTION

// Whole numbers are their own floor, ceiling and nearest.
#define TL_ROUNDING(op, function)       \
  template <>                           \
  struct Functor<Op::op> {              \
    template <class T>                  \
    static constexpr T apply(T x) {     \
      if constexpr (std::integral<T>) { \
        return x;                       \
      } else {                          \
        using std::function;            \
        return function(x);             \
      }                                 \
    }                                   \
  };
TL_ROUNDING(floor, floor)
TL_ROUNDING(ceil, ceil)
TL_ROUNDING(round, rint)  // the default rounding mode is to nearest, halves to even
#undef TL_ROUNDING

template <>
struct Functor<Op::neg> {
  template <Real T>
  static constexpr T apply(T x) {
    return -x;
  }
  template <std::integral T>
  static constexpr T apply(T x) {
    return static_cast<T>(-static_cast<uint64_t>(x));
  }
};

template <>
struct Functor<Op::abs> {
  template <Real T>
  static constexpr T apply(T x) {
    using std::abs;
    return abs(x);
  }
  template <std::integral T>
  static constexpr T apply(T x) {
    return x < 0 ? Functor<Op::neg>::apply(x) : x;
  }
};

template <>
struct Functor<Op::sign> {
  template <class T>
  static constexpr T apply(T x) {
    return select(x > T(0), T(1), select(x < T(0), T(-1), x));  // x itself is 0 or NaN
  }
};

template <>
struct Functor<Op::rsqrt> {
  template <Real T>
  static constexpr T apply(T x) {
    using std::sqrt;
    return T(1) / sqrt(x);
  }
};

template <>
struct Functor<Op::reciprocal> {
  template <Real T>
  static constexpr T apply(T x) {
    return T(1) / x;
  }
};

template <>
struct Functor<Op::relu> {
  template <class T>
  static constexpr T apply(T x) {
    return select(x < T(0), T(0), x);  // NaN < 0 is false
  }
};

template <>
struct Functor<Op::gelu> {
  template <Real T>
  static constexpr T apply(T x) {
    using std::erf;
    return x * (T(1) + erf(x * T(0.70710678118654752440))) * T(0.5);
  }
};

template <>
struct Functor<Op::sigmoid> {
  template <Real T>
  static constexpr T apply(T x) {
    using std::exp;
    return T(1) / (T(1) + exp(-x));
  }
};

template <>
struct Functor<Op::silu> {
  template <Real T>
  static constexpr T apply(T x) {
    using std::exp;
    return x / (T(1) + exp(-x));
  }
};

// ---- Two inputs of one type

#define TL_ARITHMETIC(op, symbol)                                                      \
  template <>                                                                          \
  struct Functor<Op::op> {                                                             \
    template <Real T>                                                                  \
    static constexpr T apply(T a, T b) {                                               \
      return a symbol b;                                                               \
    }                                                                                  \
    template <std::integral T>                                                         \
    static constexpr T apply(T a, T b) {                                               \
      return static_cast<T>(static_cast<uint64_t>(a) symbol static_cast<uint64_t>(b)); \
    }                                                                                  \
  };
TL_ARITHMETIC(add, +)
TL_ARITHMETIC(sub, -)
TL_ARITHMETIC(mul, *)
#undef TL_ARITHMETIC

template <>
struct Functor<Op::div> {
  template <Real T>
  static constexpr T apply(T a, T b) {
    return a / b;
  }
  template <std::integral T>
  static constexpr T apply(T a, T b) {
    if (b == 0) throw Error("[div] division of an integer by zero");
    if (std::signed_integral<T> && b == static_cast<T>(-1)) return Functor<Op::neg>::apply(a);
    return static_cast<T>(a / b);
  }
};

template <>
struct Functor<Op::mod> {
  template <Real T>
  static constexpr T apply(T a, T b) {
    using std::fmod;
    return fmod(a, b);
  }
  template <std::integral T>
  static constexpr T apply(T a, T b) {
    if (b == 0) throw Error("[mod] remainder of an integer divided by zero");
    if (std::signed_integral<T> && b == static_cast<T>(-1)) return 0;
    return static_cast<T>(a % b);
  }
};

template <>
struct Functor<Op::pow> {
  template <Real T>
  static constexpr T apply(T a, T b) {
    using std::pow;
    return pow(a, b);
  }
  template <std::integral T>
  static constexpr T apply(T a, T b) {
    if (b < 0)
      throw Error("[pow] an integer to a negative power is no integer; convert to a float type first");
    uint64_t result = 1, square = static_cast<uint64_t>(a);
    for (auto exponent = static_cast<uint64_t>(b); exponent; exponent >>= 1, square *= square)
      if (exponent & 1) result *= square;
    return static_cast<T>(result);
  }
};

template <>
struct Functor<Op::minimum> {
  template <class T>
  static constexpr T apply(T a, T b) {
    return select(a != a, a, select(a < b, a, b));  // if only b is NaN, a < b is false
  }
};

template <>
struct Functor<Op::maximum> {
  template <class T>
  static constexpr T apply(T a, T b) {
    return select(a != a, a, select(a > b, a, b));
  }
};

template <>
struct Functor<Op::swiglu> {
  template <Real T>
  static constexpr T apply(T gate, T up) {
    return Functor<Op::silu>::apply(gate) * up;
  }
};

// ---- Comparisons: a bool, or a vector's mask

#define TL_COMPARISON(op, expression)       \
  template <>                               \
  struct Functor<Op::op> {                  \
    template <class T>                      \
    static constexpr auto apply(T a, T b) { \
      return expression;                    \
    }                                       \
  };
TL_COMPARISON(equal, a == b)
TL_COMPARISON(not_equal, a != b)
TL_COMPARISON(less, a < b)
TL_COMPARISON(less_equal, a <= b)
TL_COMPARISON(greater, a > b)
TL_COMPARISON(greater_equal, a >= b)
TL_COMPARISON(logical_and, (a != T(0)) & (b != T(0)))
TL_COMPARISON(logical_or, (a != T(0)) | (b != T(0)))
#undef TL_COMPARISON

/// Whether a unary or binary operation is defined on integers.
template <Op op>
constexpr bool takes_integers = requires(int64_t x) {
  Functor<op>::apply(x);
}
|| requires(int64_t x) { Functor<op>::apply(x, x); };

}  // namespace tl
