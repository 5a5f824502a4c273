// How the built-in functions read their arguments: axes, shapes, ids, numbers that meet tensors.
#pragma once

#include <optional>
#include <string_view>
#include <utility>
#include <vector>

#include "graph/builder.h"
#include "lang/interpreter.h"
#include "lang/native.h"

namespace tl {

/// The axes that argument `i` names: an int or a list of ints, normalised; none when it was not given.
std::vector<int> axes_argument(const lang::Args& args, size_t i, int rank);

/// The shape that argument `i` holds, an int or a list; [32.0, 64.0] counts. With `may_be_open` one extent
/// may be -1. Fails for negative extents, more than eight, or more elements than can be counted.
Shape shape_argument(const lang::Args& args, size_t i, bool may_be_open = false);

/// An element type that can be computed with (no block format).
DType plain_dtype_argument(const lang::Args& args, size_t i);

/// Ids or indices: an int, a list of ints (int64), or a tensor as it is.
graph::NodeRef ids_argument(const lang::Args& args, size_t i);

/// The same, all from 0 to below n. Fails otherwise: "[one_hot] the id 5 is out of range: there are 3
/// classes".
graph::NodeRef ids_below(lang::Interpreter& interpreter, const lang::Args& args, size_t i, int64_t n,
                         std::string_view of_what);

/// A mask: any tensor or list; numbers are true unless they are 0. Gives bool.
graph::NodeRef mask_argument(const lang::Args& args, size_t i);

/// Two operands of an elementwise function. A plain number takes the other's element type where that can hold
/// it, so that it never widens a tensor (NumPy 2).
std::pair<graph::NodeRef, graph::NodeRef> operands(const lang::Args& args, size_t i, size_t j);

/// Fails, as the function, unless two tensors broadcast together: "[clamp] shapes [2] and [3] do not fit …".
void require_broadcast(const lang::Args& args, const graph::NodeRef& a, const graph::NodeRef& b);

/// Argument `i`, one number for each element of x's last axis. Fails otherwise, naming the argument.
graph::NodeRef last_axis_argument(const lang::Args& args, size_t i, const graph::NodeRef& x);

/// A number as a rank-0 tensor of `x`'s element type (float32 where that is no float).
graph::NodeRef number_like(double number, const graph::NodeRef& x);

/// `x` in a float type: itself where it is one, else float32.
graph::NodeRef as_float(const graph::NodeRef& x);

/// Whether a value consists of plain numbers or bools: one, or a list of them. Functions of several numbers
/// to one give a plain number for these.
bool is_plain(const lang::Value& value);

/// The tensor that a function from many elements to one reads: a list of ints is int64 and one of floats
/// float64 here, since the result is a plain number again.
graph::NodeRef exact_tensor(const lang::Args& args, size_t i);

/// The one element of a tensor as an int, float or bool.
lang::Value plain_value(lang::Interpreter& interpreter, const graph::NodeRef& node);

}  // namespace tl
