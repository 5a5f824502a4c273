// One operation with everything it reads, apart from any graph: what a step of a run did, and can do again on
// any backend, from other inputs, in other layouts.
#pragma once

#include <string>
#include <vector>

#include "backend/backend.h"
#include "runtime/session.h"

namespace tl::inspect {

/// One call of an operation.
struct Operation {
  Op op = Op::constant;
  std::string what = {};  ///< for messages: the value's name, "float16 [3, 64] permuted"
  std::vector<Tensor> in = {};
  Attrs attrs = {};
  Params params = {};
  Activations activations = Activations::float32;
  bool batch_invariant = false;
};

/// The operation that a step ran, on the tensors it read (shared, not copied).
Operation operation_of(const ExecutedStep& step, const Session& session);

/// The type that the op table infers for the result.
TensorType result_type(const Operation& operation);

/// Runs the kernel on inputs converted as its table entry asks, into memory filled with NaN (0xcb for
/// integers and bool) between guard bytes: elements that the kernel leaves unwritten show. Views (permute,
/// broadcast, slice) and numbers have no kernel. Returns a contiguous result of the backend's storage type.
/// Throws Error if the kernel does, std::logic_error if it wrote over a guard.
Tensor run(const Backend& backend, const Operation& operation, ThreadPool& pool);

}  // namespace tl::inspect
