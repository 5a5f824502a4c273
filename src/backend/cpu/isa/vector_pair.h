// Two native vectors of 16 bytes as one of 32, for instruction sets whose registers are that wide. A GCC
// vector of 32 bytes would live in memory there.
#pragma once

#include <arm_neon.h>
#include <stdint.h>

#ifndef TL_ISA
#error "TL_ISA must name the instruction set"
#endif

namespace tl::cpu::TL_ISA {

template <class V>
struct Pair {
  using Element = __typeof__(V{}[0]);
  static constexpr int kHalf = sizeof(V) / sizeof(Element);
  V low, high;
  [[gnu::always_inline]] Element operator[](int64_t i) const { return i < kHalf ? low[i] : high[i - kHalf]; }
};

#define TL_PAIRWISE(op)                                                     \
  template <class V>                                                        \
  [[gnu::always_inline]] inline Pair<V> operator op(Pair<V> a, Pair<V> b) { \
    return {a.low op b.low, a.high op b.high};                              \
  }
TL_PAIRWISE(+)
TL_PAIRWISE(-)
TL_PAIRWISE(*)
TL_PAIRWISE(/)
TL_PAIRWISE(&)
TL_PAIRWISE(|)
TL_PAIRWISE(^)
#undef TL_PAIRWISE

#define TL_COMPARISON(op)                                                                                \
  [[gnu::always_inline]] inline Pair<int32x4_t> operator op(Pair<float32x4_t> a, Pair<float32x4_t> b) {  \
    return {reinterpret_cast<int32x4_t>(a.low op b.low), reinterpret_cast<int32x4_t>(a.high op b.high)}; \
  }
TL_COMPARISON(==)
TL_COMPARISON(!=)
TL_COMPARISON(<)
TL_COMPARISON(<=)
TL_COMPARISON(>)
TL_COMPARISON(>=)
#undef TL_COMPARISON

#define TL_WITH_NUMBER(op)                                                                    \
  template <class V>                                                                          \
  [[gnu::always_inline]] inline Pair<V> operator op(Pair<V> a, typename Pair<V>::Element b) { \
    return {a.low op b, a.high op b};                                                         \
  }
TL_WITH_NUMBER(+)
TL_WITH_NUMBER(&)
TL_WITH_NUMBER(<<)
TL_WITH_NUMBER(>>)
#undef TL_WITH_NUMBER

template <class V>
[[gnu::always_inline]] inline Pair<V> operator-(Pair<V> a) {
  return {-a.low, -a.high};
}
template <class V>
[[gnu::always_inline]] inline Pair<V> operator~(Pair<V> a) {
  return {~a.low, ~a.high};
}

}  // namespace tl::cpu::TL_ISA
