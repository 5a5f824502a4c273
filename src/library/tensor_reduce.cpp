// Functions from many elements to fewer, along axes. Of plain numbers and lists they give plain numbers.
#include <algorithm>
#include <array>
#include <cmath>
#include <functional>

#include <fmt/format.h>

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

/// Where the arguments of every reduction stand.
constexpr size_t kX = 0, kAxis = 1, kKeepdim = 2;

/// Runs a reduction on x, the axes (none: all) and keepdim. Plain arguments are reduced to a plain number.
Value reduced(Interpreter& interpreter, Args& args,
              const std::function<NodeRef(const NodeRef&, const std::vector<int>&, bool)>& reduction) {
  const bool to_number = is_plain(args[kX]) && !args.has(kAxis) && !args.boolean(kKeepdim);
  const NodeRef x = to_number ? exact_tensor(args, kX) : args.tensor(kX);
  const NodeRef result = reduction(x, axes_argument(args, kAxis, x->shape().rank()), args.boolean(kKeepdim));
  return to_number ? plain_value(interpreter, result) : Value(result);
}

template <Op op>
Value reduce(Interpreter& interpreter, Args& args) {
  return reduced(interpreter, args, [](const NodeRef& x, const std::vector<int>& axes, bool keepdim) {
    return graph::reduce(op, x, axes, keepdim);
  });
}

/// Elements of `shape` that one result of a reduction over `axes` is made of.
int64_t reduced_count(const Shape& shape, const std::vector<int>& axes) {
  if (axes.empty()) return shape.elements();
  int64_t n = 1;
  for (int a = 0; a < shape.rank(); ++a)
    if (std::find(axes.begin(), axes.end(), a) != axes.end()) n *= shape[a];
  return n;
}

/// sum((x - mean)^2) / (n - correction), computed in float32 for half types as NumPy does.
NodeRef variance(const Args& args, const NodeRef& x, const std::vector<int>& axes, bool keepdim) {
  const int64_t n = reduced_count(x->shape(), axes), correction = args.integer(3);
  if (n - correction <= 0)
    args.fail(kX, fmt::format("[{}] of {} elements with correction {} is not defined", args.function().name,
                              n, correction));
  const bool is_half = x->dtype() == DType::f16 || x->dtype() == DType::bf16;
  const NodeRef wide = is_half ? graph::cast(x, DType::f32) : as_float(x);
  const NodeRef d = graph::binary(Op::sub, wide, graph::reduce(Op::reduce_mean, wide, axes, true));
  const NodeRef squares = graph::reduce(Op::reduce_sum, graph::binary(Op::mul, d, d), axes, keepdim);
  const NodeRef result =
      graph::binary(Op::div, squares, number_like(static_cast<double>(n - correction), squares));
  return is_half ? graph::cast(result, x->dtype()) : result;
}

Value var(Interpreter& interpreter, Args& args) {
  return reduced(interpreter, args, [&](const NodeRef& x, const std::vector<int>& axes, bool keepdim) {
    return variance(args, x, axes, keepdim);
  });
}

Value std(Interpreter& interpreter, Args& args) {
  return reduced(interpreter, args, [&](const NodeRef& x, const std::vector<int>& axes, bool keepdim) {
    return graph::unary(Op::sqrt, variance(args, x, axes, keepdim));
  });
}

Value norm(Interpreter& interpreter, Args& args) {
  const double p = args.number(3);
  if (!(p > 0) || !std::isfinite(p)) args.fail(3, "[norm] p must be a positive number");
  return reduced(interpreter, args, [&](const NodeRef& x, const std::vector<int>& axes, bool keepdim) {
    const NodeRef v = as_float(x);
    const NodeRef terms = p == 2   ? graph::binary(Op::mul, v, v)
                          : p == 1 ? graph::unary(Op::abs, v)
                                   : graph::binary(Op::pow, graph::unary(Op::abs, v), number_like(p, v));
    const NodeRef total = graph::reduce(Op::reduce_sum, terms, axes, keepdim);
    if (p == 1) return total;
    if (p == 2) return graph::unary(Op::sqrt, total);
    return graph::binary(Op::pow, total, number_like(1 / p, v));
  });
}

/// The one axis in argument `i`, or the last.
int axis_argument(const Args& args, size_t i, const NodeRef& x) {
  return graph::normalise_axis(args.function().name, args.integer(i), x->shape().rank());
}

template <Op op>
Value arg_extremum(Interpreter& interpreter, Args& args) {
  NodeRef x = exact_tensor(args, kX);
  const Shape shape = x->shape();
  if (!args.has(kAxis)) x = graph::reshape(x, {shape.elements()});
  const int axis = args.has(kAxis) ? axis_argument(args, kAxis, x) : 0;
  NodeRef result = graph::along(op, x, axis);
  if (args.boolean(kKeepdim)) {
    Shape kept = shape;
    for (int a = 0; a < kept.rank(); ++a)
      if (!args.has(kAxis) || a == axis) kept[a] = 1;
    return Value(graph::reshape(result, kept));
  }
  return result->shape().rank() == 0 ? plain_value(interpreter, result) : Value(result);
}

Value cumsum(Interpreter&, Args& args) {
  const NodeRef x = args.tensor(0);
  return Value(graph::along(Op::cumsum, x, axis_argument(args, 1, x)));
}

template <Op op>
Value sort(Interpreter&, Args& args) {
  const NodeRef x = args.tensor(0);
  return Value(graph::make(op, {x}, SortAttrs{axis_argument(args, 1, x), args.boolean(2)}));
}

Value topk(Interpreter&, Args& args) {
  const NodeRef x = args.tensor(0);
  const int axis = axis_argument(args, 2, x);
  const int64_t k = args.integer(1), n = x->shape()[axis];
  if (k < 0 || k > n)
    args.fail(1, fmt::format("[topk] k = {} is out of range: axis {} of {} has {} elements", k, axis,
                             to_string(x->shape()), n));
  const NodeRef order = graph::make(Op::argsort, {x}, SortAttrs{axis, args.boolean(3)});
  const NodeRef indices = graph::slice(order, axis, 0, k);
  const NodeRef values = graph::make(Op::gather, {x, indices}, AxisAttrs{axis});
  return Value(std::vector{Value(values), Value(indices)});
}

constexpr auto kRows = std::to_array<NativeRow>({
    {"sum(x: tensor, axis|dim = void, keepdim: bool = false)",
     "The sum of all elements, or along an axis or a list of axes; integers give int64.\n"
     "Example: sum([[1, 2], [3, 4]], 0)  // [4.0000, 6.0000]",
     &reduce<Op::reduce_sum>},
    {"mean(x: tensor, axis|dim = void, keepdim: bool = false)",
     "The arithmetic mean of all elements, or along an axis or a list of axes; always a float.\n"
     "Example: mean([1, 2, 4, 5])  // 3",
     &reduce<Op::reduce_mean>},
    {"prod(x: tensor, axis|dim = void, keepdim: bool = false)",
     "The product of all elements, or along an axis or a list of axes; integers give int64.\n"
     "Example: prod([2, 3, 4])  // 24",
     &reduce<Op::reduce_prod>},
    {"var(x: tensor, axis|dim = void, keepdim: bool = false, correction: int = 0)",
     "The variance sum((x - mean)^2) / (n - correction), of all elements or along axes; correction 1 gives "
     "the sample variance.\n"
     "Example: var([1.0, 2.0, 3.0, 4.0])  // 1.25",
     &var},
    {"std(x: tensor, axis|dim = void, keepdim: bool = false, correction: int = 0)",
     "The standard deviation, the square root of var.\n"
     "Example: std([1.0, 3.0])  // 1",
     &std},
    {"norm(x: tensor, axis|dim = void, keepdim: bool = false, p: float = 2.0)",
     "The p-norm sum(|x|^p)^(1/p) of all elements, or along axes.\n"
     "Example: norm([3.0, 4.0])  // 5",
     &norm},
    {"any(x: tensor, axis|dim = void, keepdim: bool = false)",
     "Whether any element is not 0, of all elements or along axes.\n"
     "Example: any([0, 0, 2])  // true",
     &reduce<Op::reduce_any>},
    {"all(x: tensor, axis|dim = void, keepdim: bool = false)",
     "Whether no element is 0, of all elements or along axes.\n"
     "Example: all([1, 0, 2])  // false",
     &reduce<Op::reduce_all>},
    {"argmax(x: tensor, axis|dim = void, keepdim: bool = false)",
     "The index of the first largest element: an int, or an int64 tensor along an axis of a matrix. Without "
     "an axis the elements are counted row by row. NaN counts as largest.\n"
     "Example: argmax([1.0, 7.0, 3.0])  // 1",
     &arg_extremum<Op::argmax>},
    {"argmin(x: tensor, axis|dim = void, keepdim: bool = false)",
     "The index of the first smallest element, as argmax. NaN counts as smallest.\n"
     "Example: argmin([[3, 1], [0, 5]], 1)  // [1, 0]",
     &arg_extremum<Op::argmin>},
    {"cumsum(x: tensor, axis|dim: int = -1) -> tensor",
     "The running sum along an axis.\n"
     "Example: cumsum([1, 2, 3])  // [1.0000, 3.0000, 6.0000]",
     &cumsum},
    {"sort(x: tensor, axis|dim: int = -1, descending: bool = false) -> tensor",
     "The elements in order along an axis; equal ones keep their order, NaN goes last.\n"
     "Example: sort([3.0, 1.0, 2.0])  // [1.0000, 2.0000, 3.0000]",
     &sort<Op::sort>},
    {"argsort(x: tensor, axis|dim: int = -1, descending: bool = false) -> tensor",
     "The int64 indices that `sort` takes the elements from.\n"
     "Example: argsort([3.0, 1.0, 2.0])  // [1, 2, 0]",
     &sort<Op::argsort>},
    {"topk(x: tensor, k: int, axis|dim: int = -1, largest: bool = true) -> list",
     "The k largest (or smallest) elements along an axis in order, and their indices: [values, indices].\n"
     "Example: topk([1.0, 9.0, 5.0], 2)[1]  // [1, 2]",
     &topk},
});

}  // namespace

void add_reduce_functions(lang::Library& library) { library.add(kRows); }

}  // namespace tl
