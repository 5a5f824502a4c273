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

Value eye(Interpreter&, Args& args) {
  const int64_t rows = args.integer(0), columns = args.has(1) ? args.integer(1) : rows;
  if (rows < 0 || columns < 0) args.fail(rows < 0 ? 0 : 1, "[eye] the extents must not be negative");
  const NodeRef i = graph::reshape(graph::iota(rows), {rows, 1}), j = graph::iota(columns);
  return Value(graph::cast(graph::binary(Op::equal, i, j), plain_dtype_argument(args, 2)));
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

Value causal_mask(Interpreter&, Args& args) {
  const int64_t queries = args.integer(0), keys = args.has(1) ? args.integer(1) : queries;
  if (queries < 0 || keys < 0)
    args.fail(queries < 0 ? 0 : 1, "[causal_mask] the extents must not be negative");
  return Value(
      graph::make(Op::affine_mask, {}, AffineMaskAttrs{{1, -1}}, {{queries, keys, args.integer(2)}, {}}));
}

constexpr auto kRows = std::to_array<NativeRow>({
    {"zeros(shape, dtype = float32) -> tensor",
     "A tensor of zeros. `shape` is an int or a list of ints.\n"
     "Example: zeros([2, 3])  // [[0.0000, 0.0000, 0.0000], [0.0000, 0.0000, 0.0000]]",
     &zeros},
    {"ones(shape, dtype = float32) -> tensor",
     "A tensor of ones. `shape` is an int or a list of ints.\n"
     "Example: ones(3, int64)  // [1, 1, 1]",
     &ones},
    {"full(shape, value, dtype = void) -> tensor",
     "A tensor of one value everywhere; without `dtype` an int gives int64, a float float32, a bool bool.\n"
     "Example: full(2, 0.5)  // [0.5000, 0.5000]",
     &full},
    {"arange(start, stop = void, step = 1, dtype = void) -> tensor",
     "start, start + step … below stop; arange(n) counts from 0. int64 where all arguments are ints, else "
     "float32.\n"
     "Example: arange(1, 10, 3)  // [1, 4, 7]",
     &arange},
    {"eye(n: int, m = void, dtype = float32) -> tensor",
     "The identity matrix [n, n], or the [n, m] matrix with ones on its diagonal.\n"
     "Example: eye(2)  // [[1.0000, 0.0000], [0.0000, 1.0000]]",
     &eye},
    {"rand(shape, seed: int) -> tensor",
     "float32 numbers in [0, 1), the same for the same seed on every machine (Philox4x32-10, doi "
     "10.1145/2063384.2063405).\n"
     "Example: shape(rand([2, 3], seed: 1))  // [2, 3]",
     &random<Op::random_uniform>},
    {"randn(shape, seed: int) -> tensor",
     "float32 numbers of the standard normal distribution, the same for the same seed (Philox4x32-10 and "
     "Box-Muller).\n"
     "Example: shape(randn([2, 3], seed: 1))  // [2, 3]",
     &random<Op::random_normal>},
    {"positional_encoding(n: int, dim: int, base: float = 10000.0) -> tensor",
     "float32[n, dim]: sin(p / base^(2i/dim)) in column 2i and its cosine in column 2i + 1 of row p "
     "(arXiv:1706.03762, section 3.5).\n"
     "Example: positional_encoding(2, 2)  // [[0.0000, 1.0000], [0.8415, 0.5403]]",
     &positional_encoding},
    {"causal_mask(n: int, keys = void, position: int = 0) -> tensor",
     "bool[n, keys]: true where query i may see key j, j <= i + position. `keys` is n unless given.\n"
     "Example: causal_mask(2)  // [[true, false], [true, true]]",
     &causal_mask},
});

}  // namespace

void add_create_functions(lang::Library& library) { library.add(kRows); }

}  // namespace tl
