// Functions that choose, repeat and rearrange elements: slice, gather, scatter, repeat, flip, pad.
#include <algorithm>
#include <array>

#include <fmt/format.h>

#include "base/checked.h"
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

int axis_argument(const Args& args, size_t i, const NodeRef& x) {
  return graph::normalise_axis(args.function().name, args.integer(i), x->shape().rank());
}

Value slice(Interpreter&, Args& args) {
  const NodeRef x = args.tensor(0);
  const auto position = [&](size_t i) { return args.has(i) ? std::optional(args.integer(i)) : std::nullopt; };
  return Value(graph::slice(x, axis_argument(args, 1, x), position(2), position(3), args.integer(4)));
}

/// Makes a node; what its shape rule has against the inputs is said of argument i.
NodeRef make_for(const Args& args, size_t i, Op op, graph::NodeRefs inputs, AxisAttrs attrs) {
  try {
    return graph::make(op, std::move(inputs), attrs);
  } catch (const Error& e) {
    args.fail(i, e.what());
  }
}

Value gather(Interpreter&, Args& args) {
  const NodeRef x = args.tensor(0), index = ids_argument(args, 2);
  return Value(make_for(args, 2, Op::gather, {x, index}, AxisAttrs{axis_argument(args, 1, x)}));
}

Value scatter(Interpreter&, Args& args) {
  const NodeRef x = args.tensor(0), index = ids_argument(args, 2);
  const NodeRef src =
      args[3].is_number() ? graph::broadcast_to(operands(args, 0, 3).second, index->shape()) : args.tensor(3);
  const bool is_src = index->shape().rank() == x->shape().rank() && index->shape() != src->shape();
  return Value(
      make_for(args, is_src ? 3 : 2, Op::scatter, {x, index, src}, AxisAttrs{axis_argument(args, 1, x)}));
}

/// How often something of `extent` is repeated; the result must stay countable.
int64_t times(const Args& args, int64_t count, int64_t extent) {
  if (count < 0)
    args.fail(1, fmt::format("[repeat] the number of repetitions must not be negative, and it is {}", count));
  if (!checked_mul(count, std::max<int64_t>(extent, 1)).has_value() || count >= int64_t{1} << 40)
    args.fail(1, fmt::format("[repeat] {} repetitions are too many", count));
  return count;
}

/// With an int each element `n` times; with a list the whole tensor, once per axis.
Value repeat(Interpreter&, Args& args) {
  NodeRef x = args.tensor(0);
  if (!args[1].is(ValueKind::list)) {
    if (!args.has(2)) x = graph::reshape(x, {x->shape().elements()});
    const int axis = args.has(2) ? axis_argument(args, 2, x) : 0;
    const int64_t extent = x->shape()[axis], n = times(args, args.integer(1), extent);
    const NodeRef source =
        graph::binary(Op::div, graph::iota(extent * n), graph::scalar_int(std::max<int64_t>(n, 1)));
    return Value(graph::make(Op::take, {x, source}, AxisAttrs{axis}));
  }
  const std::vector<int64_t> counts = args.ints(1);
  const int rank = x->shape().rank(), shift = static_cast<int>(counts.size()) - rank;
  if (args.has(2)) args.fail(2, "[repeat] a list has a number for every axis; it takes no axis besides");
  if (shift < 0 || counts.size() > kMaxRank)
    args.fail(
        1, fmt::format("[repeat] needs a number for each of the {} axes of {} (and at most {}), and got {}",
                       rank, to_string(x->shape()), kMaxRank, counts.size()));
  Shape padded;
  for (int a = 0; a < rank + shift; ++a) padded.push_back(a < shift ? 1 : x->shape()[a - shift]);
  x = graph::reshape(x, padded);
  for (int a = 0; a < padded.rank(); ++a) {
    const int64_t n = times(args, counts[static_cast<size_t>(a)], padded[a]);
    if (n == 1) continue;
    const NodeRef source = graph::binary(Op::mod, graph::iota(padded[a] * n),
                                         graph::scalar_int(std::max<int64_t>(padded[a], 1)));
    x = graph::make(Op::take, {x, source}, AxisAttrs{a});
  }
  return Value(x);
}

Value flip(Interpreter&, Args& args) {
  NodeRef x = args.tensor(0);
  std::vector<int> axes = axes_argument(args, 1, x->shape().rank());
  if (!args.has(1))
    for (int a = 0; a < x->shape().rank(); ++a) axes.push_back(a);
  for (const int a : axes) x = graph::slice(x, a, std::nullopt, std::nullopt, -1);
  return Value(x);
}

/// NumPy's widths: n, [before, after], or a pair per axis.
Params::Ints widths(const Args& args, int rank) {
  const Value& v = args[1];
  Params::Ints out;
  const bool per_axis = v.is(ValueKind::list) && !v.list().empty() && v.list()[0].is(ValueKind::list);
  if (per_axis) {
    for (const Value& pair : v.list()) {
      if (!pair.is(ValueKind::list) || pair.list().size() != 2)
        args.wrong_kind(1, "a list of pairs [before, after]");
      for (const int64_t width : lang::to_ints(pair)) out.push_back(width);
    }
    if (static_cast<int>(v.list().size()) != rank)
      args.fail(1,
                fmt::format("[pad] needs a pair for each of the {} axes, and got {}", rank, v.list().size()));
  } else {
    const std::vector<int64_t> pair = v.is(ValueKind::list) ? args.ints(1) : std::vector(2, args.integer(1));
    if (pair.size() != 2)
      args.fail(1, "[pad] the widths are an int, [before, after], or such a pair for every axis");
    for (int a = 0; a < rank; ++a) out.insert(out.end(), pair.begin(), pair.end());
  }
  for (const int64_t width : out)
    if (width >= int64_t{1} << 40) args.fail(1, fmt::format("[pad] the width {} is too large", width));
  return out;
}

Value pad(Interpreter&, Args& args) {
  const NodeRef x = args.tensor(0);
  return Value(graph::make(Op::pad, {x}, {}, {widths(args, x->shape().rank()), {args.number(2)}}));
}

constexpr auto kRows = std::to_array<NativeRow>({
    {"slice(x: tensor, axis|dim: int, start = 0, stop = void, step: int = 1) -> tensor",
     R"(x[start:stop:step] along one axis, without copying.

Negative positions count from the end; without `stop` the slice goes on to the end. A negative step goes backwards.

shapes: x[a, n, b], axis 1 -> [a, ceil((stop - start) / step), b]
dtypes: any; kept
example:
> slice([1.0, 2.0, 3.0, 4.0], 0, 1, 3)
[2.0000, 3.0000]
source: Python's slices
see: split, gather)",
     &slice},
    {"gather(x: tensor, axis|dim: int, index) -> tensor", R"(Elements of x at indices along one axis.

Whole rows are x[rows], or `embedding`.

shapes: x[n, d], index[m, d'] with d' <= d -> [m, d'] for axis 0; index has the rank of x
dtypes: x any; the index int64 or int32. An index out of range is an error
formula: y[i, j] = x[index[i, j], j] for axis 0
y[i, j] = x[i, index[i, j]] for axis 1, and so on
example:
> gather([[1, 2], [3, 4]], 1, [[1], [0]])
[[2.0000],
 [3.0000]]
source: torch.gather, numpy.take_along_axis
see: scatter, embedding, topk)",
     &gather},
    {"scatter(x: tensor, axis|dim: int, index, src: tensor) -> tensor",
     R"(x with elements of src put at indices along one axis.

Where an index repeats, the last of them counts.

shapes: x[n, d], index and src [m, d'] with d' <= d -> [n, d]; src may be a number
dtypes: x and src any, the result as x; the index int64 or int32. An index out of range is an error
formula: y = x, then y[index[i, j], j] = src[i, j] for axis 0, and so on
example:
> scatter([0.0, 0.0, 0.0], 0, [2, 0], [5.0, 7.0])
[7.0000, 0.0000, 5.0000]
source: torch.scatter, numpy.put_along_axis
see: gather, aggregate_neighbors)",
     &scatter},
    {"repeat(x: tensor, n, axis|dim = void) -> tensor",
     R"(Each element n times, or with a list the whole tensor so many times along every axis.

shapes: x[a, b], n -> [a * b * n]; with axis 0 -> [a * n, b]; n = [p, q] -> [a * p, b * q]
dtypes: any; kept
formula: y[i] = x[i / n]; with a list y[i, j] = x[i % a, j % b]
example:
> repeat([1.0, 2.0], 2)
[1.0000, 1.0000, 2.0000, 2.0000]
> repeat([1.0, 2.0], [2])
[1.0000, 2.0000, 1.0000, 2.0000]
source: numpy.repeat for a number, numpy.tile for a list
see: broadcast_to, concat)",
     &repeat},
    {"flip(x: tensor, axis|dim = void) -> tensor",
     R"(The elements in reverse order along an axis, a list of axes, or all of them.

shapes: kept
dtypes: any; kept
formula: y[i] = x[n - 1 - i]
example:
> flip([1.0, 2.0, 3.0])
[3.0000, 2.0000, 1.0000]
source: numpy.flip
see: slice, sort)",
     &flip},
    {"pad(x: tensor, widths, value: float = 0.0) -> tensor", R"(With elements of one value added around it.

shapes: widths w -> every axis n + 2w; [before, after] -> n + before + after; or such a pair for every axis
dtypes: any; kept
example:
> pad([1.0, 2.0], [1, 2])
[0.0000, 1.0000, 2.0000, 0.0000, 0.0000]
> pad([[1, 2]], [[0, 1], [1, 0]], value: 9)
[[9.0000, 1.0000, 2.0000],
 [9.0000, 9.0000, 9.0000]]
source: numpy.pad
see: concat, padding_mask)",
     &pad},
});

}  // namespace

void add_index_functions(lang::Library& library) { library.add("Choosing and rearranging elements", kRows); }

}  // namespace tl
