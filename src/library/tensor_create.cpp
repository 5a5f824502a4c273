// Functions that make tensors.
#include <array>
#include <cmath>

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

/// A tensor of one number everywhere; a fraction does not become an integer.
NodeRef filled(const Args& args, size_t value, const Shape& shape, DType dtype) {
  const Value& v = args[value];
  if (is_float(dtype))
    return graph::full(shape, v.is(ValueKind::boolean) ? v.boolean() : args.number(value), dtype);
  const int64_t whole = v.is(ValueKind::boolean) ? v.boolean() : args.integer(value);
  const int bits = dtype == DType::boolean ? 1 : dtype == DType::i8 ? 7 : dtype == DType::i32 ? 31 : 63;
  const int64_t limit = bits == 63 ? INT64_MAX : (int64_t{1} << bits) - 1;
  if (whole > limit || whole < (dtype == DType::boolean ? 0 : -limit - 1))
    args.fail(value, fmt::format("{} does not fit {}", whole, name(dtype)));
  return graph::broadcast_to(graph::scalar_int(whole, dtype), shape);
}

Value zeros(Interpreter&, Args& args) {
  return Value(graph::full(shape_argument(args, 0), 0, plain_dtype_argument(args, 1)));
}

Value ones(Interpreter&, Args& args) {
  return Value(graph::full(shape_argument(args, 0), 1, plain_dtype_argument(args, 1)));
}

Value full(Interpreter&, Args& args) {
  if (!args[1].is_number() && !args[1].is(ValueKind::boolean)) args.wrong_kind(1, "a number");
  const DType natural = args[1].is(ValueKind::boolean) ? DType::boolean
                        : args[1].is_int()             ? DType::i64
                                                       : DType::f32;
  return Value(
      filled(args, 1, shape_argument(args, 0), args.has(2) ? plain_dtype_argument(args, 2) : natural));
}

/// start, start + step … as int64, lazily: its length may depend on shapes.
NodeRef int_range(const Args& args, int64_t start, int64_t stop, int64_t step) {
  const auto span = step > 0 ? checked_sub(stop, start) : checked_sub(start, stop);
  if (!span || *span >= int64_t{1} << 60 || step == INT64_MIN) args.fail(0, "[arange] the range is too long");
  const int64_t stride = step > 0 ? step : -step;
  const int64_t count = *span > 0 ? *span / stride + (*span % stride != 0) : 0;
  NodeRef range = graph::iota(count);
  if (step != 1) range = graph::binary(Op::mul, range, graph::scalar_int(step));
  if (start != 0) range = graph::binary(Op::add, range, graph::scalar_int(start));
  return range;
}

/// start, start + step … computed in double and rounded once.
NodeRef float_range(const Args& args, double start, double stop, double step, DType dtype) {
  const double count = std::max(0.0, std::ceil((stop - start) / step));
  if (!(count < 0x1p40)) args.fail(0, "[arange] the range is too long");
  Tensor values(dtype, {static_cast<int64_t>(count)});
  for (int64_t i = 0; i < values.elements(); ++i)
    store_double(values, i, start + static_cast<double>(i) * step);
  return graph::constant(std::move(values));
}

Value arange(Interpreter&, Args& args) {
  for (size_t i = 0; i < 3; ++i)
    if (args.has(i) && !args[i].is_number()) args.wrong_kind(i, "a number");
  const bool is_whole = args[0].is_int() && (!args.has(1) || args[1].is_int()) && args[2].is_int();
  if (args.number(2) == 0) args.fail(2, "[arange] the step is 0");
  const size_t last = args.has(1) ? 1 : 0;
  const DType dtype = args.has(3) ? plain_dtype_argument(args, 3) : is_whole ? DType::i64 : DType::f32;
  if (is_whole) {
    const int64_t start = last == 1 ? args.integer(0) : 0;
    return Value(graph::cast(int_range(args, start, args.integer(last), args.integer(2)), dtype));
  }
  const double start = last == 1 ? args.number(0) : 0;
  const NodeRef range =
      float_range(args, start, args.number(last), args.number(2), is_float(dtype) ? dtype : DType::f64);
  return Value(graph::cast(range, dtype));
}

Value linspace(Interpreter&, Args& args) {
  const double start = args.number(0), stop = args.number(1);
  const int64_t n = args.integer(2);
  const DType dtype = plain_dtype_argument(args, 3);
  if (n < 0 || n >= int64_t{1} << 40)
    args.fail(2, fmt::format("[linspace] the number of elements must not be negative, and it is {}", n));
  if (!is_float(dtype))
    args.fail(3, fmt::format("[linspace] gives floats, and {} was asked for", name(dtype)));
  Tensor values(dtype, {n});
  const double step = n > 1 ? (stop - start) / static_cast<double>(n - 1) : 0;
  for (int64_t i = 0; i < n; ++i)
    store_double(values, i, i > 0 && i == n - 1 ? stop : start + static_cast<double>(i) * step);
  return Value(graph::constant(std::move(values)));
}

Value eye(Interpreter&, Args& args) {
  const int64_t rows = args.integer(0), columns = args.has(1) ? args.integer(1) : rows;
  if (rows < 0 || columns < 0) args.fail(rows < 0 ? 0 : 1, "[eye] the extents must not be negative");
  const NodeRef i = graph::reshape(graph::iota(rows), {rows, 1}), j = graph::iota(columns);
  return Value(graph::cast(graph::binary(Op::equal, i, j), plain_dtype_argument(args, 2)));
}

Value one_hot(Interpreter& interpreter, Args& args) {
  const int64_t n = args.integer(1);
  if (n < 0)
    args.fail(1, fmt::format("[one_hot] the number of classes must not be negative, and it is {}", n));
  const NodeRef ids = ids_below(interpreter, args, 0, n, "classes");
  if (ids->shape().rank() == kMaxRank)
    args.fail(0, fmt::format("[one_hot] a tensor has at most {} axes, and the ids have them all", kMaxRank));
  Shape column = ids->shape();
  column.push_back(1);
  const NodeRef hot = graph::binary(Op::equal, graph::reshape(ids, column), graph::iota(n));
  return Value(graph::cast(hot, plain_dtype_argument(args, 2)));
}

template <Op op>
Value random(Interpreter&, Args& args) {
  Params params{{args.integer(1)}, {}};
  const Shape shape = shape_argument(args, 0);
  params.ints.insert(params.ints.end(), shape.begin(), shape.end());
  return Value(graph::make(op, {}, {}, std::move(params)));
}

Value positional_encoding(Interpreter&, Args& args) {
  const int64_t n = args.integer(0), dim = args.integer(1);
  const double base = args.number(2);
  if (n < 0 || n >= int64_t{1} << 40)
    args.fail(0, "[positional_encoding] the number of positions must not be negative");
  if (dim < 0 || dim >= int64_t{1} << 20)
    args.fail(1, "[positional_encoding] the width must be between 0 and 2^20");
  if (!(base > 0)) args.fail(2, "[positional_encoding] the base must be positive");
  Tensor values(DType::f32, {n, dim});
  for (int64_t p = 0; p < n; ++p) {
    for (int64_t d = 0; d < dim; ++d) {
      const double angle =
          static_cast<double>(p) / std::pow(base, static_cast<double>(d / 2 * 2) / static_cast<double>(dim));
      values.data<float>()[p * dim + d] = static_cast<float>(d % 2 == 0 ? std::sin(angle) : std::cos(angle));
    }
  }
  return Value(graph::constant(std::move(values)));
}

constexpr auto kRows = std::to_array<NativeRow>({
    {"zeros(shape, dtype = float32) -> tensor", R"(A tensor of zeros.

shapes: `shape` is an int or a list of ints; [] makes a tensor of rank 0
dtypes: any of float16 bfloat16 float32 float64 int8 int32 int64 bool
example:
> zeros([2, 3])
[[0.0000, 0.0000, 0.0000],
 [0.0000, 0.0000, 0.0000]]
source: numpy.zeros, with torch.zeros' float32
see: ones, full)",
     &zeros},
    {"ones(shape, dtype = float32) -> tensor", R"(A tensor of ones.

shapes: `shape` is an int or a list of ints; [] makes a tensor of rank 0
dtypes: any of float16 bfloat16 float32 float64 int8 int32 int64 bool
example:
> ones(3, int64)
[1, 1, 1]
source: numpy.ones, with torch.ones' float32
see: zeros, full)",
     &ones},
    {"full(shape, value, dtype = void) -> tensor", R"(A tensor of one value everywhere.

shapes: `shape` is an int or a list of ints
dtypes: without `dtype` an int gives int64, a float float32, a bool bool; a value that does not fit is an error
example:
> full(2, 0.5)
[0.5000, 0.5000]
source: numpy.full, with torch.full's element types
see: zeros, ones)",
     &full},
    {"arange(start, stop = void, step = 1, dtype = void) -> tensor",
     R"(Evenly spaced numbers from start on, below stop; arange(n) counts from 0.

shapes: -> [n]
dtypes: int64 where all arguments are ints, else float32; `dtype` converts
formula: y[i] = start + i * step, n = ceil((stop - start) / step)
example:
> arange(1, 10, 3)
[1, 4, 7]
> arange(0.0, 1.0, 0.25)
[0.0000, 0.2500, 0.5000, 0.7500]
source: numpy.arange
see: linspace, range)",
     &arange},
    {"linspace(start: float, stop: float, n: int, dtype = float32) -> tensor",
     R"(n evenly spaced numbers from start to stop, both included.

shapes: -> [n]
dtypes: float32, or the float type that is asked for; computed in float64 and rounded once
formula: y[i] = start + i * (stop - start) / (n - 1)
example:
> linspace(0, 1, 5)
[0.0000, 0.2500, 0.5000, 0.7500, 1.0000]
source: numpy.linspace
see: arange)",
     &linspace},
    {"eye(n: int, m = void, dtype = float32) -> tensor",
     R"(The identity matrix, or any matrix with ones on its diagonal and zeros elsewhere.

shapes: -> [n, m]; m is n unless it is given
dtypes: any of float16 bfloat16 float32 float64 int8 int32 int64 bool
formula: y[i, j] = 1 where i = j, else 0
example:
> eye(2)
[[1.0000, 0.0000],
 [0.0000, 1.0000]]
source: numpy.eye
see: tril, one_hot)",
     &eye},
    {"one_hot(ids, n: int, dtype = float32) -> tensor",
     R"(A row for each id, with a one at the id's place and zeros elsewhere.

shapes: ids[…] -> […, n]; an id below 0 or from n on is an error
dtypes: ids are ints; the result is of any element type
formula: y[…, j] = 1 where ids[…] = j, else 0
example:
> one_hot([2, 0], 3)
[[0.0000, 0.0000, 1.0000],
 [1.0000, 0.0000, 0.0000]]
source: torch.nn.functional.one_hot
see: eye, embedding, cross_entropy)",
     &one_hot},
    {"rand(shape, seed: int) -> tensor", R"(Random numbers, uniform from 0 to below 1.

The same seed gives the same numbers on every machine and with any number of threads: number i of the tensor
depends on the seed and i alone.

shapes: `shape` is an int or a list of ints
dtypes: float32
example:
> rand(3, seed: 7)
[0.9546, 0.7502, 0.1142]
source: Philox4x32-10, doi:10.1145/2063384.2063405
see: randn, dropout)",
     &random<Op::random_uniform>},
    {"randn(shape, seed: int) -> tensor", R"(Random numbers of the standard normal distribution.

The same seed gives the same numbers on every machine and with any number of threads.

shapes: `shape` is an int or a list of ints
dtypes: float32
example:
> randn(3, seed: 7)
[0.5599, 1.0453, 0.2362]
source: Philox4x32-10, doi:10.1145/2063384.2063405, and the Box-Muller transform
see: rand)",
     &random<Op::random_normal>},
    {"positional_encoding(n: int, dim: int, base: float = 10000.0) -> tensor",
     R"(Sines and cosines of each position, to be added to embeddings.

shapes: -> [n, dim]
dtypes: float32
formula: y[p, 2i]     = sin(p / base^(2i / dim))
y[p, 2i + 1] = cos(p / base^(2i / dim))
example:
> positional_encoding(2, 4)
[[0.0000, 1.0000, 0.0000, 1.0000],
 [0.8415, 0.5403, 0.0100, 0.9999]]
source: arXiv:1706.03762, section 3.5
see: rope, embedding)",
     &positional_encoding},
});

}  // namespace

void add_create_functions(lang::Library& library) { library.add("Creating tensors", kRows); }

}  // namespace tl
