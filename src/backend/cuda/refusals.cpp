#include "backend/cuda/refusals.h"

#include <fmt/format.h>

namespace tl::cuda {

void refuse_cast(float value, DType to) {
  throw Error(fmt::format("[cast] {} does not fit {}", value, name(to)));
}

void refuse_index(Op op, int64_t index, int axis, const Shape& shape) {
  throw Error(fmt::format("[{}] index {} is out of range for axis {} of {}: expected 0 to {}", name(op),
                          index, axis, to_string(shape), shape[axis] - 1));
}

void refuse_id(int64_t id, const Shape& table) {
  throw Error(fmt::format("[embedding] id {} is out of range for the table {}: expected 0 to {}", id,
                          to_string(table), table[0] - 1));
}

void refuse_empty_line(int axis, const Shape& shape) {
  throw Error(fmt::format("[softmax] a line along axis {} of {} has no element that its mask keeps", axis,
                          to_string(shape)));
}

void refuse_infinite_line(Op op, int axis, const Shape& shape) {
  throw Error(
      fmt::format("[{}] a line along axis {} of {} is -inf throughout", name(op), axis, to_string(shape)));
}

void refuse_blind_query(int64_t query) {
  throw Error(fmt::format("[attention] query {} sees no key", query));
}

}  // namespace tl::cuda
