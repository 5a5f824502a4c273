// Functions that change a tensor's shape and keep its elements.
#include <algorithm>
#include <array>
#include <numeric>

#include <fmt/format.h>

#include "lang/text_functions.h"
#include "library/tensor_arguments.h"
#include "library/tensor_functions.h"

namespace tl {

using graph::NodeRef;
using lang::Args;
using lang::Interpreter;
using lang::NativeRow;
using lang::Value;
using lang::ValueKind;

namespace {

Value shape(Interpreter&, Args& args) {
  std::vector<Value> extents;
  lang::StepNumbers::fix();
  for (const int64_t d : args.tensor(0)->shape()) extents.emplace_back(d);
  return Value(std::move(extents));
}

Value rank(Interpreter&, Args& args) { return Value(args.tensor(0)->shape().rank()); }

Value reshape(Interpreter&, Args& args) {
  return Value(graph::reshape(args.tensor(0), shape_argument(args, 1, true)));
}

Value flatten(Interpreter&, Args& args) {
  const NodeRef x = args.tensor(0);
  const Shape& from = x->shape();
  if (from.rank() == 0) return Value(graph::reshape(x, {1}));
  const int first = graph::normalise_axis("flatten", args.integer(1), from.rank());
  const int last = graph::normalise_axis("flatten", args.integer(2), from.rank());
  if (first > last)
    args.fail(1, fmt::format("[flatten] the first axis, {}, comes after the last, {}", first, last));
  Shape to;
  for (int a = 0; a < from.rank(); ++a) {
    if (a <= first || a > last)
      to.push_back(from[a]);
    else
      to[first] *= from[a];
  }
  return Value(graph::reshape(x, to));
}

Value transpose(Interpreter&, Args& args) {
  const NodeRef x = args.tensor(0);
  const int n = x->shape().rank();
  std::vector<int> order(static_cast<size_t>(n));
  std::iota(order.begin(), order.end(), 0);
  if (!args.has(1) && !args.has(2)) {
    std::reverse(order.begin(), order.end());
  } else {
    if (!args.has(1) || !args.has(2))
      args.fail(args.has(1) ? 1 : 2, "[transpose] swaps two axes, and one was given");
    const auto at = [&](size_t i) {
      return static_cast<size_t>(graph::normalise_axis("transpose", args.integer(i), n));
    };
    std::swap(order[at(1)], order[at(2)]);
  }
  return Value(graph::permute(x, order));
}

Value permute(Interpreter&, Args& args) {
  const NodeRef x = args.tensor(0);
  return Value(graph::permute(x, axes_argument(args, 1, x->shape().rank())));
}

Value squeeze(Interpreter&, Args& args) {
  const NodeRef x = args.tensor(0);
  const Shape& from = x->shape();
  const std::vector<int> axes = axes_argument(args, 1, from.rank());
  Shape to;
  for (int a = 0; a < from.rank(); ++a) {
    const bool is_named = std::find(axes.begin(), axes.end(), a) != axes.end();
    if (is_named && from[a] != 1)
      args.fail(1, fmt::format("[squeeze] axis {} of {} has extent {}, and only 1 can go", a, to_string(from),
                               from[a]));
    if (is_named || (!args.has(1) && from[a] == 1)) continue;
    to.push_back(from[a]);
  }
  return Value(graph::reshape(x, to));
}

/// x with an axis of extent 1 before axis `at` (0 to rank).
NodeRef with_axis(const Args& args, const NodeRef& x, int at) {
  const Shape& from = x->shape();
  if (from.rank() == kMaxRank)
    args.fail(0, fmt::format("[{}] a tensor has at most {} axes, and {} has them all", args.function().name,
                             kMaxRank, to_string(from)));
  Shape to;
  for (int a = 0; a <= from.rank(); ++a) {
    if (a == at) to.push_back(1);
    if (a < from.rank()) to.push_back(from[a]);
  }
  return graph::reshape(x, to);
}

Value unsqueeze(Interpreter&, Args& args) {
  const NodeRef x = args.tensor(0);
  return Value(
      with_axis(args, x, graph::normalise_axis("unsqueeze", args.integer(1), x->shape().rank() + 1)));
}

Value broadcast_to(Interpreter&, Args& args) {
  const NodeRef x = args.tensor(0);
  const Shape to = shape_argument(args, 1);
  const int shift = to.rank() - x->shape().rank();
  if (shift < 0)
    args.fail(1, fmt::format("[broadcast_to] x is {}, and the shape {} has fewer axes", to_string(x->shape()),
                             to_string(to)));
  for (int i = 0; i < x->shape().rank(); ++i) {
    const int64_t extent = x->shape()[i], wanted = to[i + shift];
    if (extent != 1 && extent != wanted)
      args.fail(1,
                fmt::format("[broadcast_to] x is {} and cannot become {}: its axis {} has {} elements, not 1 "
                            "or {}",
                            to_string(x->shape()), to_string(to), i, extent, wanted));
  }
  return Value(graph::broadcast_to(x, to));
}

/// The tensors of a list, and what was given after it.
graph::NodeRefs parts_argument(const Args& args, size_t i) {
  if (!args[i].is(ValueKind::list)) args.wrong_kind(i, "a list of tensors");
  graph::NodeRefs parts;
  for (const Value& part : args[i].list()) {
    try {
      parts.push_back(lang::to_tensor(part));
    } catch (const Error& e) {
      args.fail(i, e.what());
    }
  }
  if (parts.empty()) args.fail(i, fmt::format("[{}] needs at least one tensor", args.function().name));
  return parts;
}

/// One concatenation takes 64 tensors at most, so many are joined in rounds.
NodeRef joined(graph::NodeRefs parts, int axis) {
  constexpr size_t kMost = 64;
  while (parts.size() > kMost) {
    graph::NodeRefs groups;
    for (size_t i = 0; i < parts.size(); i += kMost) {
      const auto begin = parts.begin() + static_cast<std::ptrdiff_t>(i);
      const auto end = parts.begin() + static_cast<std::ptrdiff_t>(std::min(i + kMost, parts.size()));
      groups.push_back(graph::concat({begin, end}, axis));
    }
    parts = std::move(groups);
  }
  return graph::concat(std::move(parts), axis);
}

/// concat([a, b], axis), or concat(a, b, axis).
Value concat(Interpreter&, Args& args) {
  const bool is_pair = args.has(1) && !args[1].is_number();
  if (!is_pair && args.has(1) && args.has(2)) args.fail(2, "[concat] the axis is given twice");
  const size_t axis = !is_pair && args.has(1) ? 1 : 2;
  const int at =
      args.has(axis) ? static_cast<int>(std::clamp<int64_t>(args.integer(axis), -kMaxRank - 1, kMaxRank)) : 0;
  if (is_pair) return Value(joined({args.tensor(0), args.tensor(1)}, at));
  return Value(joined(parts_argument(args, 0), at));
}

Value stack(Interpreter&, Args& args) {
  graph::NodeRefs parts = parts_argument(args, 0);
  const Shape first = parts[0]->shape();
  const int axis = graph::normalise_axis("stack", args.integer(1), first.rank() + 1);
  for (NodeRef& part : parts) {
    if (part->shape() != first)
      args.fail(0, fmt::format("[stack] the tensors must have one shape, and these have {} and {}",
                               to_string(first), to_string(part->shape())));
    part = with_axis(args, part, axis);
  }
  return Value(joined(std::move(parts), axis));
}

/// The pieces of x along an axis, of these lengths.
Value pieces(const NodeRef& x, int axis, const std::vector<int64_t>& lengths) {
  std::vector<Value> out;
  int64_t start = 0;
  for (const int64_t length : lengths) {
    out.emplace_back(graph::slice(x, axis, start, start + length));
    start += length;
  }
  return Value(std::move(out));
}

/// n in pieces of `size`; the last may be shorter.
std::vector<int64_t> equal_pieces(int64_t n, int64_t size) {
  std::vector<int64_t> lengths;
  for (int64_t start = 0; start < n; start += size) lengths.push_back(std::min(size, n - start));
  return lengths;
}

Value split(Interpreter&, Args& args) {
  if (args[0].is(ValueKind::string))
    return Value(lang::split_text(args.string(0), args.has(1) ? args.string(1) : std::string()));
  if (!args.has(1)) args.fail(0, "[split] needs the sizes of the pieces");
  const NodeRef x = args.tensor(0);
  const int axis = graph::normalise_axis("split", args.integer(2), x->shape().rank());
  const int64_t n = x->shape()[axis];
  if (!args[1].is(ValueKind::list)) {
    const int64_t size = args.integer(1);
    if (size < 1)
      args.fail(1, fmt::format("[split] the size of a piece must be positive, and it is {}", size));
    return pieces(x, axis, equal_pieces(n, size));
  }
  const std::vector<int64_t> lengths = args.ints(1);
  int64_t rest = n;
  for (const int64_t length : lengths) {
    if (length < 0 || length > rest) rest = -1;
    if (rest >= 0) rest -= length;
  }
  if (rest != 0)
    args.fail(1, fmt::format("[split] the sizes {} must add up to {}, the extent of axis {} of {}",
                             fmt::format("[{}]", fmt::join(lengths, ", ")), n, axis, to_string(x->shape())));
  return pieces(x, axis, lengths);
}

Value chunk(Interpreter&, Args& args) {
  const NodeRef x = args.tensor(0);
  const int axis = graph::normalise_axis("chunk", args.integer(2), x->shape().rank());
  const int64_t n = x->shape()[axis], count = args.integer(1);
  if (count < 1)
    args.fail(1, fmt::format("[chunk] the number of pieces must be positive, and it is {}", count));
  return pieces(x, axis, equal_pieces(n, std::max<int64_t>(1, n / count + (n % count != 0))));
}

constexpr auto kRows = std::to_array<NativeRow>({
    {"shape(x: tensor) -> list", R"(The extents of a tensor as a list of ints, outermost first.

shapes: x[a, b, …] gives [a, b, …]; a number gives []
dtypes: any
example:
> shape([[1, 2, 3], [4, 5, 6]])
[2, 3]
source: numpy.shape
see: rank, len)",
     &shape},
    {"rank(x: tensor) -> int", R"(How many axes a tensor has; a number has none.

shapes: x[a, b] gives 2
dtypes: any
example:
> rank([[1, 2, 3]])
2
source: numpy.ndim
see: shape)",
     &rank},
    {"reshape(x: tensor, shape) -> tensor", R"(The same elements, row by row, in another shape.

shapes: `shape` holds as many elements as x; one extent may be -1, which takes what is left; whole floats count
dtypes: any; kept
example:
> reshape([1, 2, 3, 4], [2, -1])
[[1.0000, 2.0000],
 [3.0000, 4.0000]]
source: numpy.reshape
see: flatten, transpose, unsqueeze)",
     &reshape},
    {"flatten(x: tensor, start: int = 0, end: int = -1) -> tensor", R"(Axes `start` to `end` joined into one.

shapes: x[a, b, c], start 1 -> [a, b * c]; a number gives [1]
dtypes: any; kept
example:
> shape(flatten(zeros([2, 3, 4]), 1))
[2, 12]
source: torch.flatten
see: reshape)",
     &flatten},
    {"transpose(x: tensor, axis0 = void, axis1 = void) -> tensor",
     R"(Two axes swapped; without them all axes in reverse order.

shapes: x[a, b, c] -> [c, b, a]; with axes 0 and 1 -> [b, a, c]
dtypes: any; kept
example:
> transpose([[1, 2, 3], [4, 5, 6]])
[[1.0000, 4.0000],
 [2.0000, 5.0000],
 [3.0000, 6.0000]]
source: numpy.transpose without axes, torch.transpose with two
see: permute, matmul)",
     &transpose},
    {"permute(x: tensor, axes) -> tensor", R"(The axes in another order.

shapes: axis i of the result is axis axes[i] of x: x[a, b, c], axes [2, 0, 1] -> [c, a, b]
dtypes: any; kept
example:
> shape(permute(zeros([2, 3, 4]), [2, 0, 1]))
[4, 2, 3]
source: torch.permute, numpy.transpose with axes
see: transpose)",
     &permute},
    {"squeeze(x: tensor, axis|dim = void) -> tensor", R"(Without the axes of extent 1, or without those named.

shapes: x[1, a, 1] -> [a]; with axis 0 -> [a, 1]; an axis of another extent is an error
dtypes: any; kept
example:
> shape(squeeze(zeros([1, 3, 1]), 0))
[3, 1]
source: numpy.squeeze
see: unsqueeze, reshape)",
     &squeeze},
    {"unsqueeze(x: tensor, axis|dim: int) -> tensor", R"(With a new axis of extent 1 at a position.

shapes: x[a, b], axis 0 -> [1, a, b]; axis -1 -> [a, b, 1]
dtypes: any; kept
example:
> shape(unsqueeze(zeros([2, 3]), -1))
[2, 3, 1]
source: torch.unsqueeze, numpy.expand_dims
see: squeeze, broadcast_to)",
     &unsqueeze},
    {"broadcast_to(x: tensor, shape) -> tensor", R"(Repeated to a shape by NumPy's rule, without copying.

shapes: axes of extent 1, and missing leading axes, take the extent of `shape`; the others must agree
dtypes: any; kept
example:
> broadcast_to([1.0, 2.0], [2, 2])
[[1.0000, 2.0000],
 [1.0000, 2.0000]]
source: numpy.broadcast_to
see: repeat, unsqueeze)",
     &broadcast_to},
    {"concat|cat(tensors, other = void, axis|dim = void) -> tensor",
     R"(Tensors joined along an axis that they have.

concat([a, b, c], axis) takes a list, concat(a, b, axis) two tensors; the axis is 0 unless it is given.

shapes: a[m, d], b[n, d] -> [m + n, d]; all extents but the axis' must agree
dtypes: any; where they differ, the wider
example:
> concat([[1.0], [2.0, 3.0]])
[1.0000, 2.0000, 3.0000]
> concat([[1], [2]], [[3], [4]], 1)
[[1.0000, 3.0000],
 [2.0000, 4.0000]]
source: numpy.concatenate, torch.cat
see: stack, split)",
     &concat},
    {"stack(tensors, axis|dim: int = 0) -> tensor", R"(Tensors of one shape joined along a new axis.

shapes: n tensors [a, b] -> [n, a, b]; axis -1 -> [a, b, n]
dtypes: any; where they differ, the wider
example:
> stack([[1.0, 2.0], [3.0, 4.0]], 1)
[[1.0000, 3.0000],
 [2.0000, 4.0000]]
source: numpy.stack
see: concat, unsqueeze)",
     &stack},
    {"split(x, sizes = void, axis|dim: int = 0) -> list",
     R"(A list of pieces of given sizes along an axis; or of a string.

`sizes` is an int, the size of every piece (the last may be smaller), or a list with the size of each. For a string it is
the separator; without it the pieces are the words.

shapes: x[n, d], sizes [a, b] with a + b = n -> [a, d] and [b, d]
dtypes: any; kept
example:
> split([1.0, 2.0, 3.0], 2)
[[1.0000, 2.0000], [3.0000]]
> let (q, kv) = split(ones([6, 2]), [2, 4])
> [shape(q), shape(kv)]
[[2, 2], [4, 2]]
> [split("a,b,,c", ","), split("two  words")]
[["a", "b", "", "c"], ["two", "words"]]
source: torch.split, Python's str.split
see: chunk, join, slice, concat)",
     &split},
    {"chunk(x: tensor, n: int, axis|dim: int = 0) -> list",
     R"(A list of at most n pieces of equal size along an axis.

shapes: x[m, d] -> pieces of ceil(m / n) rows; the last may be smaller
dtypes: any; kept
example:
> chunk([1.0, 2.0, 3.0], 2)
[[1.0000, 2.0000], [3.0000]]
source: torch.chunk
see: split)",
     &chunk},
});

}  // namespace

void add_shape_functions(lang::Library& library) { library.add("Shapes", kRows); }

}  // namespace tl
