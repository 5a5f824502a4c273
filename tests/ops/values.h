// Random tensors in every element type.
#pragma once

#include <cstdint>
#include <span>
#include <string>
#include <vector>

#include "inspect/operation.h"
#include "inspect/values.h"
#include "tensor/tensor.h"

namespace tl::test {

using namespace inspect;  // one mechanism for the tests and for the audit of a run
using Case = Operation;

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

/// Values of Random::value(); integers in [-100, 100] (small enough for int8), bools.
Tensor random_tensor(Random& random, DType dtype, const Shape& shape);
/// Uniform floats.
Tensor uniform_tensor(Random& random, DType dtype, const Shape& shape, double low, double high);
/// Integers in [low, high].
Tensor integer_tensor(Random& random, DType dtype, const Shape& shape, int64_t low, int64_t high);
/// Weights of any type, quantised ones with every bit of the quants and scales random but of moderate size.
Tensor random_weights(Random& random, DType dtype, const Shape& shape);

}  // namespace tl::test
