// Integer arithmetic that reports overflow instead of wrapping.
#pragma once

#include <cstdint>
#include <optional>

namespace tl {

/// a + b, or nothing if it does not fit.
template <class T>
[[nodiscard]] constexpr std::optional<T> checked_add(T a, T b) {
  T r{};
  if (__builtin_add_overflow(a, b, &r)) return std::nullopt;
  return r;
}

/// a - b, or nothing if it does not fit.
template <class T>
[[nodiscard]] constexpr std::optional<T> checked_sub(T a, T b) {
  T r{};
  if (__builtin_sub_overflow(a, b, &r)) return std::nullopt;
  return r;
}

/// a * b, or nothing if it does not fit.
template <class T>
[[nodiscard]] constexpr std::optional<T> checked_mul(T a, T b) {
  T r{};
  if (__builtin_mul_overflow(a, b, &r)) return std::nullopt;
  return r;
}

}  // namespace tl
