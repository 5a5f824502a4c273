// What is in a tensor, in numbers: of weights (`tl inspect --stats`) and of the values of a run (`tl trace`).
#pragma once

#include <cstdint>

#include "base/thread_pool.h"
#include "tensor/tensor.h"

namespace tl {

/// Moments and extremes are over the finite elements, 0 when there are none.
struct TensorStatistics {
  int64_t count = 0;  ///< all elements
  int64_t nan = 0, inf = 0, zero = 0;
  int64_t denormal = 0;                        ///< not 0 and below the element type's smallest normal number
  double min = 0, max = 0, mean = 0, std = 0;  ///< std: of the population
  /// Finite elements that a narrower type makes infinite, or that fall below its smallest normal number and
  /// so lose bits (all of them at the end).
  int64_t above_f16 = 0, below_f16 = 0, above_bf16 = 0, below_bf16 = 0;
  uint64_t checksum = 0;  ///< of the elements' bytes in row-major order: equal exactly where all bits are

  double rms() const;
  /// The largest magnitude.
  double largest() const;
  /// The largest magnitude over the type's largest number: above 1 is overflow.
  double f16_share() const { return largest() / 65504.0; }
  double bf16_share() const { return largest() / 0x1.fep127; }
  /// The same tensor with every element repeated `times` times, in whatever order: all but the checksum,
  /// which stays that of one.
  TensorStatistics repeated(int64_t times) const;
};

/// Decodes exactly and accumulates in double, in an order that does not depend on the number of threads.
/// Quantised tensors must be contiguous, others may be strided.
TensorStatistics tensor_statistics(const Tensor& tensor, ThreadPool& pool);

}  // namespace tl
