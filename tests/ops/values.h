// Random tensors in every element type and memory layout.
#pragma once

#include <cstdint>
#include <span>
#include <string>
#include <vector>

#include "tensor/tensor.h"

namespace tl::test {

/// SplitMix64 (G. Steele, D. Lea, C. Flood, 2014). Independent of the generator under test.
class Random {
 public:
  explicit Random(uint64_t seed) : state_(seed) {}
  uint64_t bits() {
    uint64_t z = state_ += 0x9e3779b97f4a7c15ull;
    z = (z ^ (z >> 30)) * 0xbf58476d1ce4e5b9ull;
    z = (z ^ (z >> 27)) * 0x94d049bb133111ebull;
    return z ^ (z >> 31);
  }
  /// In [0, 1).
  double uniform() { return static_cast<double>(bits() >> 11) * 0x1p-53; }
  double uniform(double low, double high) { return low + (high - low) * uniform(); }
  /// In [low, high].
  int64_t integer(int64_t low, int64_t high) {
    return low + static_cast<int64_t>(bits() % static_cast<uint64_t>(high - low + 1));
  }
  /// Roughly bell-shaped with variance 1; one value in sixteen is ten times as large, one ten times as small.
  double value();

 private:
  uint64_t state_;
};

/// How a tensor's elements lie in memory.
enum class Layout { contiguous, permuted, sliced, reversed };
constexpr Layout kLayouts[] = {Layout::contiguous, Layout::permuted, Layout::sliced, Layout::reversed};
std::string to_string(Layout layout);

/// The same values in another layout. Memory between the elements holds NaN (or 0xff), so that a kernel that
/// ignores strides is found.
Tensor laid_out(const Tensor& t, Layout layout);

/// `t` read as `shape` with strides 0 along the repeated axes.
Tensor broadcast_view(const Tensor& t, const Shape& shape);

/// Values of Random::value(); integers in [-100, 100] (small enough for int8), bools.
Tensor random_tensor(Random& random, DType dtype, const Shape& shape);
/// Uniform floats.
Tensor uniform_tensor(Random& random, DType dtype, const Shape& shape, double low, double high);
/// Integers in [low, high].
Tensor integer_tensor(Random& random, DType dtype, const Shape& shape, int64_t low, int64_t high);
/// Weights of any type, quantised ones with every bit of the quants and scales random but of moderate size.
Tensor random_weights(Random& random, DType dtype, const Shape& shape);

/// The elements in row-major order, whatever the type (quantised ones decoded exactly) and strides.
std::vector<double> values_of(const Tensor& t);

/// `x` rounded to `dtype`.
double rounded(DType dtype, double x);
/// Half a unit in the last place of 1, and half the smallest positive number.
double unit_roundoff(DType dtype);
double half_smallest(DType dtype);

}  // namespace tl::test
