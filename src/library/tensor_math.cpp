// Elementwise functions. On plain numbers they give plain numbers.
#include <array>
#include <cmath>

#include <fmt/format.h>

#include "library/library.h"
#include "library/tensor_arguments.h"
#include "library/tensor_functions.h"
#include "ops/functors.h"

namespace tl {

using graph::NodeRef;
using lang::Args;
using lang::Interpreter;
using lang::NativeRow;
using lang::Value;
using lang::ValueKind;

namespace {

template <Op op>
Value unary(Interpreter&, Args& args) {
  const Value& x = args[0];
  if constexpr (takes_integers<op>) {
    if (x.is_int()) {
      if ((op == Op::neg || op == Op::abs) && x.integer() == INT64_MIN)
        args.fail(0, fmt::format("[{}] the result of {} does not fit 64 bits", name(op), x.integer()));
      return Value(Functor<op>::apply(x.integer()));
    }
  }
  if (x.is_number()) return Value(Functor<op>::apply(x.number()));
  return Value(graph::unary(op, args.tensor(0)));
}

/// The larger or smaller of arguments i and j.
template <Op op>
Value extremum(const Args& args, size_t i, size_t j) {
  if (args[i].is_int() && args[j].is_int())
    return Value(Functor<op>::apply(args[i].integer(), args[j].integer()));
  if (args[i].is_number() && args[j].is_number())
    return Value(Functor<op>::apply(args[i].number(), args[j].number()));
  const auto [a, b] = operands(args, i, j);
  require_broadcast(args, a, b);
  return Value(graph::binary(op, a, b));
}

template <Op op>
Value binary_extremum(Interpreter&, Args& args) {
  return extremum<op>(args, 0, 1);
}

/// The larger (smaller) of two, or the largest (smallest) element: max(x), max(x, axis), max(a, b).
template <Op reduction, Op binary>
Value largest(Interpreter& interpreter, Args& args) {
  if (args.has(1) && !(args[0].is_tensor() && args[1].is_int()) &&
      !(args[0].is(ValueKind::list) && args[1].is_int())) {
    if (args.has(2) || args.boolean(3))
      args.fail(1, fmt::format("[{}] takes two values, or one and an axis", args.function().name));
    return extremum<binary>(args, 0, 1);
  }
  if (args.has(1) && args.has(2))
    args.fail(2, fmt::format("[{}] the axis is given twice", args.function().name));
  const size_t axis = args.has(1) ? 1 : 2;
  const NodeRef x = exact_tensor(args, 0);
  const bool to_number = is_plain(args[0]) && !args.has(axis) && !args.boolean(3);
  const NodeRef input = to_number ? x : args.tensor(0);
  const NodeRef result =
      graph::reduce(reduction, input, axes_argument(args, axis, input->shape().rank()), args.boolean(3));
  return to_number ? plain_value(interpreter, result) : Value(result);
}

Value clamp(Interpreter&, Args& args) {
  if (!args.has(1) && !args.has(2)) args.fail(0, "[clamp] needs a least value, a largest value or both");
  if (args[0].is_number()) {
    const bool is_whole =
        args[0].is_int() && (!args.has(1) || args[1].is_int()) && (!args.has(2) || args[2].is_int());
    if (is_whole) {
      int64_t x = args[0].integer();
      if (args.has(1)) x = std::max(x, args[1].integer());
      return Value(args.has(2) ? std::min(x, args[2].integer()) : x);
    }
    double x = args[0].number();
    if (args.has(1)) x = Functor<Op::maximum>::apply(x, args.number(1));
    return Value(args.has(2) ? Functor<Op::minimum>::apply(x, args.number(2)) : x);
  }
  NodeRef x = args.tensor(0);
  for (const auto& [i, op] : {std::pair<size_t, Op>{1, Op::maximum}, {2, Op::minimum}}) {
    if (!args.has(i)) continue;
    const NodeRef bound = operands(args, 0, i).second;
    require_broadcast(args, x, bound);
    x = graph::binary(op, x, bound);
  }
  return Value(x);
}

Value pow(Interpreter&, Args& args) {
  const Value &x = args[0], &y = args[1];
  if (x.is_int() && y.is_int() && y.integer() >= 0) {
    int64_t result = 1;
    for (int64_t i = 0, base = x.integer(); i < 63 && y.integer() >> i != 0; ++i) {
      bool fits = true;
      if (y.integer() >> i & 1) fits = !__builtin_mul_overflow(result, base, &result);
      if (y.integer() >> i > 1) fits = !__builtin_mul_overflow(base, base, &base) && fits;
      if (!fits)
        args.fail(0, fmt::format("[pow] {} to the power {} does not fit 64 bits", x.integer(), y.integer()));
    }
    return Value(result);
  }
  if (x.is_number() && y.is_number()) return Value(std::pow(x.number(), y.number()));
  const auto [a, b] = operands(args, 0, 1);
  return Value(graph::binary(Op::pow, a, b));
}

Value select(Interpreter&, Args& args) {
  const NodeRef condition = mask_argument(args, 0);
  const auto [a, b] = operands(args, 1, 2);
  return Value(graph::make(Op::select, {condition, a, b}));
}

constexpr auto kRows = std::to_array<NativeRow>({
    {"neg(x: tensor)", R"(The negative, elementwise; the same as unary minus.

shapes: kept
dtypes: any number type; kept
formula: y = -x
example:
> neg([1.0, -2.0])
[-1.0000, 2.0000]
source: numpy.negative
see: abs, sign)",
     &unary<Op::neg>},
    {"abs(x: tensor)", R"(The absolute value, elementwise.

shapes: kept
dtypes: any number type; kept: an int gives an int
formula: y = |x|
example:
> abs([-1.5, 2.0])
[1.5000, 2.0000]
> abs(-3)
3
source: numpy.abs
see: sign, norm)",
     &unary<Op::abs>},
    {"sign(x: tensor)", R"(Whether elements are negative, zero or positive: -1, 0 or 1.

shapes: kept
dtypes: any number type; kept. NaN stays NaN
formula: y = -1 where x < 0, 1 where x > 0, else x
example:
> sign([-2.0, 0.0, 5.0])
[-1.0000, 0.0000, 1.0000]
source: numpy.sign
see: abs)",
     &unary<Op::sign>},
    {"exp(x: tensor)", R"(The exponential function, elementwise.

shapes: kept
dtypes: floats stay, integers become float32; a plain number gives a float
formula: y = e^x
example:
> exp([0.0, 1.0])
[1.0000, 2.7183]
source: numpy.exp
see: log, softmax)",
     &unary<Op::exp>},
    {"log(x: tensor)", R"(The natural logarithm, elementwise.

shapes: kept
dtypes: floats stay, integers become float32; a plain number gives a float. log(0) is -inf, of a negative number NaN
formula: y = ln x
example:
> log([1.0, 10.0])
[0.0000, 2.3026]
source: numpy.log
see: exp, log_softmax)",
     &unary<Op::log>},
    {"sqrt(x: tensor)", R"(The square root, elementwise.

shapes: kept
dtypes: floats stay, integers become float32; a plain number gives a float. Of a negative number NaN
formula: y = x^(1/2)
example:
> sqrt([2.0, 9.0])
[1.4142, 3.0000]
> sqrt(64)
8
source: numpy.sqrt
see: rsqrt, pow, norm)",
     &unary<Op::sqrt>},
    {"rsqrt(x: tensor)", R"(One over the square root, elementwise, in one step.

shapes: kept
dtypes: floats stay, integers become float32; a plain number gives a float
formula: y = 1 / sqrt(x)
example:
> rsqrt(4)
0.5
source: torch.rsqrt
see: sqrt, reciprocal, rms_norm)",
     &unary<Op::rsqrt>},
    {"reciprocal(x: tensor)", R"(One over x, elementwise.

shapes: kept
dtypes: floats stay, integers become float32; a plain number gives a float
formula: y = 1 / x
example:
> reciprocal([2.0, 4.0])
[0.5000, 0.2500]
source: torch.reciprocal
see: rsqrt)",
     &unary<Op::reciprocal>},
    {"sin(x: tensor)", R"(The sine of an angle in radians, elementwise.

shapes: kept
dtypes: floats stay, integers become float32; a plain number gives a float
formula: y = sin x
example:
> sin([0.0, 1.0])
[0.0000, 0.8415]
source: numpy.sin
see: cos, tan)",
     &unary<Op::sin>},
    {"cos(x: tensor)", R"(The cosine of an angle in radians, elementwise.

shapes: kept
dtypes: floats stay, integers become float32; a plain number gives a float
formula: y = cos x
example:
> cos([0.0, 1.0])
[1.0000, 0.5403]
source: numpy.cos
see: sin, tan)",
     &unary<Op::cos>},
    {"tan(x: tensor)", R"(The tangent of an angle in radians, elementwise.

shapes: kept
dtypes: floats stay, integers become float32; a plain number gives a float
formula: y = sin x / cos x
example:
> tan([0.0, 1.0])
[0.0000, 1.5574]
source: numpy.tan
see: sin, cos)",
     &unary<Op::tan>},
    {"erf(x: tensor)", R"(The error function, elementwise.

shapes: kept
dtypes: floats stay, integers become float32; a plain number gives a float
formula: y = 2 / sqrt(pi) * integral of e^(-t^2) from 0 to x
example:
> erf([0.0, 1.0])
[0.0000, 0.8427]
source: C's erf, scipy.special.erf
see: gelu)",
     &unary<Op::erf>},
    {"floor(x: tensor)", R"(The largest whole number that is not above x, elementwise.

shapes: kept
dtypes: any number type; kept: a float stays a float, and `int` makes an int of it
formula: y <= x < y + 1
example:
> floor([-1.5, 2.7])
[-2.0000, 2.0000]
source: numpy.floor
see: ceil, round, int)",
     &unary<Op::floor>},
    {"ceil(x: tensor)", R"(The smallest whole number that is not below x, elementwise.

shapes: kept
dtypes: any number type; kept: a float stays a float, and `int` makes an int of it
formula: y - 1 < x <= y
example:
> ceil([-1.5, 2.7])
[-1.0000, 3.0000]
source: numpy.ceil
see: floor, round, int)",
     &unary<Op::ceil>},
    {"round(x: tensor)", R"(The nearest whole number, elementwise; halves go to the even one.

shapes: kept
dtypes: any number type; kept: a float stays a float, and `int` makes an int of it
formula: |x - y| <= 1/2
example:
> round([0.5, 1.5, 2.6])
[0.0000, 2.0000, 3.0000]
source: numpy.round, IEEE 754's roundToIntegralTiesToEven
see: floor, ceil)",
     &unary<Op::round>},
    {"pow(x: tensor, y: tensor)", R"(x to the power y, elementwise; the same as x ** y.

shapes: broadcast together
dtypes: the wider of both; an int to a power from 0 on is an int (an error where it does not fit), else a float
formula: z = x^y
example:
> pow(2, 10)
1024
> pow([1.0, 4.0], 0.5)
[1.0000, 2.0000]
source: numpy.power
see: exp, sqrt)",
     &pow},
    {"clamp(x: tensor, min = void, max = void)", R"(x held between a least and a largest value, elementwise.

Either may be left out, but not both.

shapes: the bounds are numbers, or broadcast with x
dtypes: any number type; a number as a bound does not widen x
formula: y = min(max(x, least), largest)
example:
> clamp([-2.0, 0.5, 3.0], 0, 1)
[0.0000, 0.5000, 1.0000]
source: torch.clamp, numpy.clip
see: maximum, minimum, relu)",
     &clamp},
    {"maximum(a: tensor, b: tensor)", R"(The larger of two, elementwise.

shapes: broadcast together
dtypes: the wider of both; a number does not widen a tensor. NaN if either is NaN
formula: y = a if a > b, else b
example:
> maximum([1.0, 5.0], 3)
[3.0000, 5.0000]
source: numpy.maximum
see: max, minimum, clamp)",
     &binary_extremum<Op::maximum>},
    {"minimum(a: tensor, b: tensor)", R"(The smaller of two, elementwise.

shapes: broadcast together
dtypes: the wider of both; a number does not widen a tensor. NaN if either is NaN
formula: y = a if a < b, else b
example:
> minimum([1.0, 5.0], 3)
[1.0000, 3.0000]
source: numpy.minimum
see: min, maximum, clamp)",
     &binary_extremum<Op::minimum>},
    {"select(condition: tensor, a: tensor, b: tensor) -> tensor", R"(a where a condition holds, else b.

shapes: all three broadcast together
dtypes: the condition is bool, or a number that counts unless it is 0; the result is the wider of a and b
formula: y = a where condition, else b
example:
> let x = [-1.0, 4.0]
> select(x > 0, sqrt(x), 0.0)
[0.0000, 2.0000]
source: numpy.where
see: apply_mask)",
     &select},
});

constexpr auto kExtrema = std::to_array<NativeRow>({
    {"max(x: tensor, other = void, axis|dim = void, keepdim: bool = false)",
     R"(The largest element, of all or along axes; or the larger of two values.

max(x, 1) is max(x, axis: 1): an int after a tensor or a list is an axis. Any other second argument is compared
elementwise, and `maximum` compares with an int.

shapes: x[a, b] -> []; with axis 1 -> [a], or [a, 1] with keepdim; two values broadcast together
dtypes: any number type; kept. NaN if any element is NaN. Of a list or a number it gives a plain number
formula: y[i] = max over j of x[i, j]
example:
> max([[1, 5], [4, 2]], axis: 0)
[4.0000, 5.0000]
> [max([3, 9, 4]), max(2, 2.5)]
[9, 2.5]
source: numpy.max, numpy.maximum
see: maximum, min, argmax, topk)",
     &largest<Op::reduce_max, Op::maximum>},
    {"min(x: tensor, other = void, axis|dim = void, keepdim: bool = false)",
     R"(The smallest element, of all or along axes; or the smaller of two values.

min(x, 1) is min(x, axis: 1): an int after a tensor or a list is an axis. Any other second argument is compared
elementwise, and `minimum` compares with an int.

shapes: x[a, b] -> []; with axis 1 -> [a], or [a, 1] with keepdim; two values broadcast together
dtypes: any number type; kept. NaN if any element is NaN. Of a list or a number it gives a plain number
formula: y[i] = min over j of x[i, j]
example:
> min([[1, 5], [4, 2]], axis: 1)
[1.0000, 2.0000]
> min(3, 2)
2
source: numpy.min, numpy.minimum
see: minimum, max, argmin)",
     &largest<Op::reduce_min, Op::minimum>},
});

constexpr auto kActivations = std::to_array<NativeRow>({
    {"relu(x: tensor)", R"(What is positive; 0 for the rest.

shapes: kept
dtypes: any number type; kept. NaN stays NaN
formula: y = max(x, 0)
example:
> relu([-1.0, 2.0])
[0.0000, 2.0000]
source: torch.relu
see: gelu, silu, clamp)",
     &unary<Op::relu>},
    {"gelu(x: tensor)", R"(The Gaussian error linear unit, in its exact form.

shapes: kept
dtypes: floats stay, integers become float32; a plain number gives a float
formula: y = x * (1 + erf(x / sqrt(2))) / 2
example:
> gelu([-1.0, 1.0])
[-0.1587, 0.8413]
source: arXiv:1606.08415; torch.nn.functional.gelu
see: silu, erf)",
     &unary<Op::gelu>},
    {"silu(x: tensor)", R"(The sigmoid linear unit, also known as swish.

shapes: kept
dtypes: floats stay, integers become float32; a plain number gives a float
formula: y = x / (1 + e^-x)
example:
> silu([-1.0, 1.0])
[-0.2689, 0.7311]
source: arXiv:1702.03118; torch.nn.functional.silu
see: swiglu, sigmoid, gelu)",
     &unary<Op::silu>},
    {"sigmoid|sig(x: tensor)", R"(The logistic function, from any number to between 0 and 1.

shapes: kept
dtypes: floats stay, integers become float32; a plain number gives a float
formula: y = 1 / (1 + e^-x)
example:
> sigmoid([-1.0, 0.0, 1.0])
[0.2689, 0.5000, 0.7311]
source: torch.sigmoid; `sig` in the paper on Tensor Logic, arXiv:2510.12269
see: softmax, tanh, binary_cross_entropy)",
     &unary<Op::sigmoid>},
    {"tanh(x: tensor)", R"(The hyperbolic tangent, from any number to between -1 and 1.

shapes: kept
dtypes: floats stay, integers become float32; a plain number gives a float
formula: y = (e^x - e^-x) / (e^x + e^-x)
example:
> tanh([-1.0, 0.0, 1.0])
[-0.7616, 0.0000, 0.7616]
source: numpy.tanh
see: sigmoid)",
     &unary<Op::tanh>},
});

}  // namespace

void add_math_functions(lang::Library& library) {
  library.add("Elementwise mathematics", kRows);
  library.add("Activations", kActivations);
  library.add("Reductions and order", kExtrema);
}

void add_tensor_functions(lang::Library& library) {
  add_create_functions(library);
  add_shape_functions(library);
  add_index_functions(library);
  add_math_functions(library);
  add_reduce_functions(library);
}

}  // namespace tl
