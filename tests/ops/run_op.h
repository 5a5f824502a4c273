// Runs one operation on one backend as the executor would, without a graph.
#pragma once

#include <cstdint>
#include <span>
#include <string>
#include <vector>

#include "backend/backend.h"

namespace tl::test {

/// One call of an operation.
struct Case {
  Op op;
  std::string what;  ///< "float16 [3, 64] permuted": for failure messages
  std::vector<Tensor> in;
  Attrs attrs = {};
  Params params = {};
  Activations activations = Activations::float32;
  uint64_t seed = 0;
};

/// The type that the op table infers for the result.
TensorType result_type(const Case& c);

/// Runs the kernel on inputs converted as its table entry asks, into memory filled with NaN (0xcb for
/// integers and bool) between guard bytes. Returns a result of the backend's storage type. Throws Error if
/// the kernel does, std::logic_error if it wrote over a guard.
Tensor run_op(const Backend& backend, const Case& c, ThreadPool& pool);

}  // namespace tl::test
