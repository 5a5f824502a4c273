// What this machine's memory and integer arithmetic can do at most, measured: what speeds are held against.
#pragma once

#include "base/thread_pool.h"

namespace tl {

struct MachineLimits {
  double read_bytes_per_second = 0;     ///< reading memory in order, far beyond the caches
  double multiply_adds_per_second = 0;  ///< 8-bit, as the kernels of 4-bit weights make them
};

/// Measures with all threads of the pool, in less than a second; of several rounds the best counts.
MachineLimits measure_limits(ThreadPool& pool);

}  // namespace tl
