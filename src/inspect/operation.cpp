#include "inspect/operation.h"

#include <algorithm>
#include <cstring>
#include <stdexcept>

#include "tensor/blocks.h"

namespace tl::inspect {

namespace {

constexpr int64_t kGuard = 64;
constexpr auto kGuardByte = std::byte{0xa5};

/// Memory for one tensor with guards around it.
struct Guarded {
  std::shared_ptr<Storage> storage;
  Tensor tensor;

  Guarded(DType dtype, const Shape& shape) {
    const int64_t bytes = bytes_of(dtype, shape.elements());
    storage = Storage::allocate(static_cast<size_t>(bytes + 2 * kGuard));
    std::fill_n(storage->data, bytes + 2 * kGuard, kGuardByte);
    std::memset(storage->data + kGuard, is_float(dtype) ? 0xff : 0xcb, static_cast<size_t>(bytes));
    tensor = Tensor(dtype, shape, storage, kGuard);
  }
  void check() const {
    const auto intact = [&](const std::byte* p) {
      return std::all_of(p, p + kGuard, [](std::byte b) { return b == kGuardByte; });
    };
    const std::byte* data = tensor.bytes() - kGuard;
    if (!intact(data) || !intact(data + storage->bytes - kGuard))
      throw std::logic_error("the kernel wrote outside its result");
  }
};

Tensor operand(const Operation& c, size_t i, const Kernel& kernel) {
  const Tensor& t = c.in[i];
  if (reads_stored(c.op, i)) return t;
  const bool convert = is_quantised(t.dtype()) || (is_float(t.dtype()) && t.dtype() != kernel.compute);
  if (convert || (kernel.contiguous && !t.is_contiguous()))
    return converted(t, convert ? kernel.compute : t.dtype());
  return t;
}

}  // namespace

Operation operation_of(const ExecutedStep& step, const Session& session) {
  return {step.step.op,
          step.node.path(),
          {step.inputs.begin(), step.inputs.end()},
          step.step.attrs,
          step.params,
          session.options().precision.activations,
          session.options().batch_invariant};
}

TensorType result_type(const Operation& c) {
  std::vector<TensorType> types;
  for (const Tensor& t : c.in) types.push_back({t.dtype(), t.shape()});
  return infer(c.op, types, c.attrs, c.params);
}

Tensor run(const Backend& backend, const Operation& c, ThreadPool& pool) {
  const TensorType type = result_type(c);
  const DType stored = backend.storage(type.dtype);
  const Kernel& kernel = backend.kernels()[static_cast<size_t>(c.op)];
  std::vector<Tensor> in;
  for (size_t i = 0; i < c.in.size(); ++i) in.push_back(operand(c, i, kernel));

  if (c.op == Op::cache_append) {  // the result is the state itself, which is kept in the storage type
    const bool in_blocks = is_quantised(c.in[0].dtype());
    const DType kept = in_blocks ? c.in[0].dtype() : stored;
    const Guarded state(kept, c.in[0].shape());
    const Tensor old = in_blocks ? c.in[0] : converted(c.in[0], stored);
    std::copy_n(old.bytes(), bytes_of(kept, old.elements()), state.tensor.bytes());
    in[0] = state.tensor;
    const Tensor out = state.tensor.view(type.shape, state.tensor.strides());
    kernel.run({in, out, c.attrs, c.params, pool, c.activations, c.batch_invariant});
    state.check();
    return in_blocks ? converted(out, stored) : out;
  }

  const DType target = is_float(type.dtype) ? kernel.compute : type.dtype;
  const Guarded out(target, type.shape);
  kernel.run({in, out.tensor, c.attrs, c.params, pool, c.activations, c.batch_invariant});
  out.check();
  return target == stored ? out.tensor : converted(out.tensor, stored);
}

}  // namespace tl::inspect
