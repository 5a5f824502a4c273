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
  if (args.has(1)) x = graph::binary(Op::maximum, x, operands(args, 0, 1).second);
  if (args.has(2)) x = graph::binary(Op::minimum, x, operands(args, 0, 2).second);
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
    {"neg(x: tensor)",
     "-x, elementwise.\n"
     "Example: neg(3)  // -3",
     &unary<Op::neg>},
    {"abs(x: tensor)",
     "|x|, elementwise; an int stays an int.\n"
     "Example: abs(-3)  // 3",
     &unary<Op::abs>},
    {"sign(x: tensor)",
     "-1, 0 or 1, elementwise; NaN stays NaN.\n"
     "Example: sign([-2.0, 0.0, 5.0])  // [-1.0000, 0.0000, 1.0000]",
     &unary<Op::sign>},
    {"exp(x: tensor)",
     "e^x, elementwise.\n"
     "Example: exp(0)  // 1",
     &unary<Op::exp>},
    {"log(x: tensor)",
     "The natural logarithm, elementwise.\n"
     "Example: log([1.0, 10.0])  // [0.0000, 2.3026]",
     &unary<Op::log>},
    {"sqrt(x: tensor)",
     "The square root, elementwise; always a float.\n"
     "Example: sqrt(64)  // 8",
     &unary<Op::sqrt>},
    {"rsqrt(x: tensor)",
     "1 / sqrt(x), elementwise.\n"
     "Example: rsqrt(4)  // 0.5",
     &unary<Op::rsqrt>},
    {"reciprocal(x: tensor)",
     "1 / x, elementwise.\n"
     "Example: reciprocal(4)  // 0.25",
     &unary<Op::reciprocal>},
    {"sin(x: tensor)",
     "The sine of x radians, elementwise.\n"
     "Example: sin([0.0, 1.0])  // [0.0000, 0.8415]",
     &unary<Op::sin>},
    {"cos(x: tensor)",
     "The cosine of x radians, elementwise.\n"
     "Example: cos([0.0, 1.0])  // [1.0000, 0.5403]",
     &unary<Op::cos>},
    {"tan(x: tensor)",
     "The tangent of x radians, elementwise.\n"
     "Example: tan([0.0, 1.0])  // [0.0000, 1.5574]",
     &unary<Op::tan>},
    {"tanh(x: tensor)",
     "The hyperbolic tangent, elementwise.\n"
     "Example: tanh([0.0, 1.0])  // [0.0000, 0.7616]",
     &unary<Op::tanh>},
    {"erf(x: tensor)",
     "The error function, elementwise.\n"
     "Example: erf([0.0, 1.0])  // [0.0000, 0.8427]",
     &unary<Op::erf>},
    {"floor(x: tensor)",
     "The largest whole number <= x, elementwise; a float stays a float (int(x) makes an int).\n"
     "Example: floor(-1.5)  // -2",
     &unary<Op::floor>},
    {"ceil(x: tensor)",
     "The smallest whole number >= x, elementwise; a float stays a float.\n"
     "Example: ceil(-1.5)  // -1",
     &unary<Op::ceil>},
    {"round(x: tensor)",
     "The nearest whole number, halves to even, elementwise; a float stays a float.\n"
     "Example: round([0.5, 1.5, 2.6])  // [0.0000, 2.0000, 3.0000]",
     &unary<Op::round>},
    {"relu(x: tensor)",
     "max(x, 0), elementwise; NaN stays NaN.\n"
     "Example: relu([-1.0, 2.0])  // [0.0000, 2.0000]",
     &unary<Op::relu>},
    {"gelu(x: tensor)",
     "x * (1 + erf(x / sqrt(2))) / 2, elementwise (arXiv:1606.08415).\n"
     "Example: gelu([-1.0, 1.0])  // [-0.1587, 0.8413]",
     &unary<Op::gelu>},
    {"silu(x: tensor)",
     "x / (1 + e^-x), elementwise (arXiv:1702.03118).\n"
     "Example: silu([-1.0, 1.0])  // [-0.2689, 0.7311]",
     &unary<Op::silu>},
    {"sigmoid(x: tensor)",
     "1 / (1 + e^-x), elementwise.\n"
     "Example: sigmoid([0.0, 1.0])  // [0.5000, 0.7311]",
     &unary<Op::sigmoid>},
    {"sig(x: tensor)",
     "sigmoid under its name in the paper on Tensor Logic (arXiv:2510.12269).\n"
     "Example: sig(0)  // 0.5",
     &unary<Op::sigmoid>},
    {"pow(x: tensor, y: tensor)",
     "x^y, elementwise with broadcasting; an int to a power >= 0 is an int.\n"
     "Example: pow(2, 10)  // 1024",
     &pow},
    {"clamp(x: tensor, min = void, max = void)",
     "x held between `min` and `max`, elementwise; either may be left out.\n"
     "Example: clamp([-2.0, 0.5, 3.0], 0, 1)  // [0.0000, 0.5000, 1.0000]",
     &clamp},
    {"maximum(a: tensor, b: tensor)",
     "The larger of a and b, elementwise with broadcasting; NaN if either is NaN.\n"
     "Example: maximum([1.0, 5.0], 3)  // [3.0000, 5.0000]",
     &binary_extremum<Op::maximum>},
    {"minimum(a: tensor, b: tensor)",
     "The smaller of a and b, elementwise with broadcasting; NaN if either is NaN.\n"
     "Example: minimum([1.0, 5.0], 3)  // [1.0000, 3.0000]",
     &binary_extremum<Op::minimum>},
    {"max(x: tensor, other = void, axis|dim = void, keepdim: bool = false)",
     "The largest element of x, or along an axis: max(x, 1) is max(x, axis: 1). Of two numbers or tensors "
     "the larger, elementwise (an int after a tensor is an axis; `maximum` takes numbers too). NaN if any is "
     "NaN.\n"
     "Example: max([[1, 5], [4, 2]], axis: 0)  // [4.0000, 5.0000]",
     &largest<Op::reduce_max, Op::maximum>},
    {"min(x: tensor, other = void, axis|dim = void, keepdim: bool = false)",
     "The smallest element of x, or along an axis: min(x, 1) is min(x, axis: 1). Of two numbers or tensors "
     "the smaller, elementwise (an int after a tensor is an axis; `minimum` takes numbers too). NaN if any "
     "is NaN.\n"
     "Example: min(3, 2)  // 2",
     &largest<Op::reduce_min, Op::minimum>},
    {"select(condition: tensor, a: tensor, b: tensor) -> tensor",
     "a where the condition is true, else b, with broadcasting.\n"
     "Example: select([true, false], 1.0, [5.0, 6.0])  // [1.0000, 6.0000]",
     &select},
});

}  // namespace

void add_math_functions(lang::Library& library) { library.add(kRows); }

void add_tensor_functions(lang::Library& library) {
  add_create_functions(library);
  add_shape_functions(library);
  add_index_functions(library);
  add_math_functions(library);
  add_reduce_functions(library);
}

}  // namespace tl
