// What kernels refuse while they run: values that no shape rule can see. In words that all backends share.
#pragma once

#include "ops/op.h"
#include "tensor/tensor.h"

namespace tl::cuda {

[[noreturn]] void refuse_cast(float value, DType to);
[[noreturn]] void refuse_index(Op op, int64_t index, int axis, const Shape& shape);
[[noreturn]] void refuse_id(int64_t id, const Shape& table);
[[noreturn]] void refuse_empty_line(int axis, const Shape& shape);
[[noreturn]] void refuse_infinite_line(Op op, int axis, const Shape& shape);
[[noreturn]] void refuse_blind_query(int64_t query);

}  // namespace tl::cuda
