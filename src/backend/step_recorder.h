// Doing the kernels of a step again without calling each of them: for devices that compute a step faster than
// a host can ask for it.
#pragma once

#include <cstdint>
#include <memory>
#include <optional>
#include <span>

#include "tensor/tensor.h"

namespace tl {

/// Watches some runs of the same kernels, each a step further than the one before, and does later ones by
/// itself. What is computed, and into which memory, must differ in numbers only that follow from the
/// position.
class StepRecorder {
 public:
  virtual ~StepRecorder() = default;
  /// The kernels that are called from now on …
  virtual void begin() = 0;
  /// … until now were those of the step at `position`, made from `inputs` (the host's: token ids, random
  /// bits), computed into `output`.
  virtual void end(int64_t position, std::span<const Tensor> inputs, const Tensor& output) = 0;
  /// Does the step at another position, with other inputs, and gives what it computes; nothing if it cannot:
  /// then the kernels have to be called. `after`, if not empty, are the inputs of the step that probably
  /// comes next; the first, which is no tensor, will be what this one gives. A device may begin that step
  /// before it is asked for, and writes into memory behind this one's position then.
  virtual std::optional<Tensor> repeat(int64_t position, std::span<const Tensor> inputs,
                                       std::span<const Tensor> after, const Tensor& output) = 0;
  virtual void forget() = 0;
};

/// A backend that can do that.
class RecordsSteps {
 public:
  virtual ~RecordsSteps() = default;
  virtual std::unique_ptr<StepRecorder> recorder() const = 0;
};

}  // namespace tl
