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
    {"sum(x: tensor, axis|dim = void, keepdim: bool = false)", R"(The sum, of all elements or along axes.

shapes: x[a, b] -> []; with axis 1 -> [a], or [a, 1] with keepdim; `axis` is an int or a list of ints
dtypes: floats stay (float16 is accumulated in float32), integers give int64. Of a list or a number it gives a
plain number
formula: y[i] = x[i, 0] + x[i, 1] + …
example:
> sum([[1, 2], [3, 4]], 0)
[4.0000, 6.0000]
> sum([1, 2, 3])
6
source: numpy.sum
see: mean, cumsum, prod)",
     &reduce<Op::reduce_sum>},
    {"mean(x: tensor, axis|dim = void, keepdim: bool = false)",
     R"(The arithmetic mean, of all elements or along axes.

shapes: x[a, b] -> []; with axis 1 -> [a], or [a, 1] with keepdim; `axis` is an int or a list of ints
dtypes: floats stay, integers give float32. Of a list or a number it gives a plain float
formula: y[i] = sum(x[i, j]) / n
example:
> mean([[1, 2], [3, 6]], axis: 1)
[1.5000, 4.5000]
source: numpy.mean
see: sum, var, std)",
     &reduce<Op::reduce_mean>},
    {"prod(x: tensor, axis|dim = void, keepdim: bool = false)",
     R"(The product, of all elements or along axes.

shapes: x[a, b] -> []; with axis 1 -> [a], or [a, 1] with keepdim; `axis` is an int or a list of ints
dtypes: floats stay, integers give int64. Of a list or a number it gives a plain number
formula: y[i] = x[i, 0] * x[i, 1] * …
example:
> prod([2, 3, 4])
24
source: numpy.prod
see: sum)",
     &reduce<Op::reduce_prod>},
    {"var(x: tensor, axis|dim = void, keepdim: bool = false, correction: int = 0)",
     R"(The variance, of all elements or along axes.

Correction 1 gives the estimate from a sample.

shapes: x[a, b] -> []; with axis 1 -> [a], or [a, 1] with keepdim; `axis` is an int or a list of ints
dtypes: floats stay (float16 is computed in float32), integers give float32. Of a list it gives a plain float
formula: y = sum((x - mean(x))^2) / (n - correction)
example:
> var([1.0, 2.0, 3.0, 4.0])
1.25
> var([1.0, 3.0], correction: 1)
2
source: numpy.var, whose ddof is the correction
see: std, mean, layer_norm)",
     &var},
    {"std(x: tensor, axis|dim = void, keepdim: bool = false, correction: int = 0)",
     R"(The standard deviation, of all elements or along axes.

shapes: x[a, b] -> []; with axis 1 -> [a], or [a, 1] with keepdim; `axis` is an int or a list of ints
dtypes: floats stay (float16 is computed in float32), integers give float32. Of a list it gives a plain float
formula: y = sqrt(var(x))
example:
> std([1.0, 3.0])
1
source: numpy.std, whose ddof is the correction
see: var)",
     &std},
    {"norm(x: tensor, axis|dim = void, keepdim: bool = false, p: float = 2.0)",
     R"(The length of vectors: the p-norm, of all elements or along axes.

shapes: x[a, b] -> []; with axis 1 -> [a], or [a, 1] with keepdim; `axis` is an int or a list of ints
dtypes: floats stay, integers give float32. Of a list it gives a plain float
formula: y = sum(|x|^p)^(1/p)
example:
> norm([3.0, 4.0])
5
> norm([[3.0, 4.0], [1.0, 0.0]], 1, p: 1.0)
[7.0000, 1.0000]
source: numpy.linalg.norm for vectors
see: rms_norm, transe_score)",
     &norm},
    {"any(x: tensor, axis|dim = void, keepdim: bool = false)",
     R"(Whether an element is true, of all elements or along axes.

shapes: x[a, b] -> []; with axis 1 -> [a], or [a, 1] with keepdim; `axis` is an int or a list of ints
dtypes: bool, or numbers, which are true unless they are 0; gives bool. Of a list it gives a plain bool
formula: y[i] = x[i, 0] or x[i, 1] or …
example:
> any([0, 0, 2])
true
source: numpy.any
see: all)",
     &reduce<Op::reduce_any>},
    {"all(x: tensor, axis|dim = void, keepdim: bool = false)",
     R"(Whether every element is true, of all elements or along axes.

shapes: x[a, b] -> []; with axis 1 -> [a], or [a, 1] with keepdim; `axis` is an int or a list of ints
dtypes: bool, or numbers, which are true unless they are 0; gives bool. Of a list it gives a plain bool
formula: y[i] = x[i, 0] and x[i, 1] and …
example:
> all([[1.0, 2.0], [3.0, 0.0]] > 0.5, axis: 1)
[true, false]
source: numpy.all
see: any, assert)",
     &reduce<Op::reduce_all>},
    {"argmax(x: tensor, axis|dim = void, keepdim: bool = false)",
     R"(The index of the largest element, the first of equals.

shapes: x[a, b] -> an int that counts row by row; with axis 1 -> [a], or [a, 1] with keepdim
dtypes: any number type; gives int64, a plain int where one index is left. NaN counts as largest
formula: y[i] = the least j with x[i, j] = max over k of x[i, k]
example:
> argmax([1.0, 7.0, 3.0])
1
> argmax([[1, 5], [4, 2]], 0)
[1, 0]
source: numpy.argmax
see: max, topk, temperature_sample)",
     &arg_extremum<Op::argmax>},
    {"argmin(x: tensor, axis|dim = void, keepdim: bool = false)",
     R"(The index of the smallest element, the first of equals.

shapes: x[a, b] -> an int that counts row by row; with axis 1 -> [a], or [a, 1] with keepdim
dtypes: any number type; gives int64, a plain int where one index is left. NaN counts as smallest
formula: y[i] = the least j with x[i, j] = min over k of x[i, k]
example:
> argmin([[3, 1], [0, 5]], 1)
[1, 0]
source: numpy.argmin
see: min, argsort)",
     &arg_extremum<Op::argmin>},
    {"cumsum(x: tensor, axis|dim: int = -1) -> tensor", R"(The running sum along an axis.

shapes: kept
dtypes: floats stay, integers give int64
formula: y[i] = x[0] + x[1] + … + x[i]
example:
> cumsum([1, 2, 3])
[1.0000, 3.0000, 6.0000]
source: numpy.cumsum
see: sum)",
     &cumsum},
    {"sort(x: tensor, axis|dim: int = -1, descending: bool = false) -> tensor",
     R"(The elements in order along an axis.

Equal elements keep their order, and NaN goes last.

shapes: kept
dtypes: any number type; kept
formula: y[i] <= y[i + 1]
example:
> sort([3.0, 1.0, 2.0])
[1.0000, 2.0000, 3.0000]
source: numpy.sort with a stable kind
see: argsort, topk)",
     &sort<Op::sort>},
    {"argsort(x: tensor, axis|dim: int = -1, descending: bool = false) -> tensor",
     R"(The indices that sorting takes the elements from.

shapes: kept
dtypes: any number type; gives int64
formula: gather(x, axis, argsort(x, axis)) = sort(x, axis)
example:
> argsort([3.0, 1.0, 2.0])
[1, 2, 0]
source: numpy.argsort with a stable kind
see: sort, gather)",
     &sort<Op::argsort>},
    {"topk(x: tensor, k: int, axis|dim: int = -1, largest: bool = true) -> list",
     R"(The k largest elements along an axis, in order, and their indices.

With `largest: false` the k smallest. `top_k` keeps them in place and is for sampling.

shapes: x[a, b] -> [values[a, k], indices[a, k]]
dtypes: any number type; values keep it, indices are int64
formula: indices = argsort(x, descending: true)[.., :k]
example:
> let (values, indices) = topk([1.0, 9.0, 5.0], 2)
> [values, indices]
[[9.0000, 5.0000], [1, 2]]
source: torch.topk
see: sort, top_k, argmax)",
     &topk},
});

}  // namespace

void add_reduce_functions(lang::Library& library) { library.add("Reductions and order", kRows); }

}  // namespace tl
