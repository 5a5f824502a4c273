// x[0], x[-1], x[a:b, :, i], x[..., 0], and x[ids] on tensors.
#pragma once

#include <optional>
#include <span>

#include "graph/node.h"
#include "lang/ast.h"
#include "lang/value.h"

namespace tl::lang {

/// One position in brackets, evaluated.
struct IndexPosition {
  ast::IndexItem::Kind kind = ast::IndexItem::Kind::value;
  Value key;                                ///< of a value: an int, or a list or tensor of ints
  std::optional<int64_t> begin, end, step;  ///< of a slice
  Span span;
};

/// The part of a tensor that the positions choose. Throws ProgramError at the position that does not fit, or
/// Error where it is the whole.
graph::NodeRef index_tensor(graph::NodeRef x, std::span<const IndexPosition> positions);

}  // namespace tl::lang
