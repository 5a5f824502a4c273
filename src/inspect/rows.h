// Operations that work row by row: one of them on some of its rows.
#pragma once

#include <optional>

#include "inspect/operation.h"

namespace tl::inspect {

/// An operation restricted to a part of its result.
struct RowsOperation {
  Operation operation;
  int axis;  ///< of the result that holds the rows
};

/// How many rows the result has; 0 where the operation does not work row by row.
int64_t row_count(const Operation& operation);

/// The operation that makes rows [first, first + n) of the result alone, from as much of the inputs as they
/// need. `row_count()` must not be 0.
RowsOperation rows_of(const Operation& operation, int64_t first, int64_t n);

/// The operation with `n` rows instead: those it has, over and over. Nothing where rows depend on their place
/// (rope, attention, contract).
std::optional<Operation> with_rows(const Operation& operation, int64_t n);

/// A part of a tensor along one axis, a view.
Tensor part_of(const Tensor& t, int axis, int64_t first, int64_t n);

}  // namespace tl::inspect
