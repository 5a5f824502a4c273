// What is in a tensor, in numbers (`tl inspect --stats`).
#pragma once

#include <cstdint>

#include "base/thread_pool.h"
#include "tensor/tensor.h"

namespace tl {

/// Over the finite elements; min, max, mean and std are 0 when there are none.
struct TensorStatistics {
  int64_t count = 0;  ///< all elements
  int64_t nan = 0, inf = 0, zero = 0;
  double min = 0, max = 0, mean = 0, std = 0;  ///< std: of the population
};

/// Decodes exactly and accumulates in double, in an order that does not depend on the number of threads.
TensorStatistics tensor_statistics(const Tensor& tensor, ThreadPool& pool);

}  // namespace tl
