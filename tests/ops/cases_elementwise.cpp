// Cases of the elementwise and reducing operations.
#include <limits>

#include "ops/cases.h"

namespace tl::test {

namespace {

constexpr Op kUnary[] = {
#define X(name, ...) Op::name,
    TL_UNARY_OPS(X)
#undef X
};
constexpr Op kBinary[] = {
#define X(name, ...) Op::name,
    TL_BINARY_OPS(X)
#undef X
};
constexpr Op kCompare[] = {
#define X(name, ...) Op::name,
    TL_COMPARE_OPS(X)
#undef X
};
constexpr Op kReduce[] = {
#define X(name, ...) Op::reduce_##name,
    TL_REDUCE_OPS(X)
#undef X
};

bool accepts(Op op, std::vector<TensorType> types, const Attrs& attrs = {}) {
  try {
    infer(op, types, attrs, {});
    return true;
  } catch (const Error&) {
    return false;
  }
}

/// Arguments at which the operation has a finite value in every float type.
Tensor argument(Op op, Random& random, DType dtype, const Shape& shape) {
  switch (op) {
    case Op::exp:
      return uniform_tensor(random, dtype, shape, -9, 9);
    case Op::log:
    case Op::sqrt:
    case Op::rsqrt:
    case Op::reciprocal:
      return uniform_tensor(random, dtype, shape, 0.01, 50);
    case Op::tan:
      return uniform_tensor(random, dtype, shape, -1.5, 1.5);
    default:
      return random_tensor(random, dtype, shape);
  }
}

void add_unary_cases(Cases& cases) {
  for (const Op op : kUnary) {
    for (const int64_t n : kSizes) cases.add(op, "", {argument(op, cases.begin(), cases.base, {n})});
    cases.add(op, "on several threads", {argument(op, cases.begin(), cases.base, {3, 4099})});
    for (const DType dtype : kFloats)
      for (const Layout layout : kLayouts)
        for (const Shape& shape : {Shape{3, 5, 7}, Shape{17, 33}})
          cases.add(op, to_string(layout), {laid_out(argument(op, cases.begin(), dtype, shape), layout)});
    for (const DType dtype : {DType::i8, DType::i32, DType::i64, DType::boolean})
      if (accepts(op, {{dtype, {1}}})) {
        // Functions of integers give float32; those defined on positive numbers get such.
        const bool positive = op == Op::log || op == Op::rsqrt || op == Op::reciprocal || op == Op::sqrt;
        const int64_t most = op == Op::exp ? 9 : 100;
        const int64_t least = positive ? 1 : dtype == DType::boolean ? 0 : -most;
        const Tensor x =
            integer_tensor(cases.begin(), dtype, {9, 31}, least, dtype == DType::boolean ? 1 : most);
        cases.add(op, to_string(Layout::sliced), {laid_out(x, Layout::sliced)});
      }
  }
}

/// Numbers at the edges of float32, each met by each where there are two inputs.
void add_special_cases(Cases& cases) {
  constexpr float kInf = std::numeric_limits<float>::infinity(),
                  kNan = std::numeric_limits<float>::quiet_NaN();
  const std::vector<float> values = {
      0.0f,   -0.0f,   kNan,  kInf,   -kInf, 1.0f,   -1.0f, 0.5f,    -0.5f,   1.5f,  2.5f,       -2.5f,
      1e-45f, -1e-40f, 1e38f, -3e38f, 88.5f, -88.5f, 89.5f, -103.5f, -104.5f, 1e10f, 8388609.0f, -8388607.5f};
  const auto n = static_cast<int64_t>(values.size());
  const Tensor row = Tensor::from<float>(DType::f32, {n}, std::span(values));
  const Tensor down = row.view({n, 1}, {1, 1});
  cases.begin();
  for (const Op op : kUnary)
    if (op != Op::gelu && op != Op::silu) cases.add(op, "special values", {row});  // both give -inf * 0
  for (const Op op : kBinary)
    if (op != Op::pow && op != Op::mod) cases.add(op, "special values", {down, row});
  for (const Op op : kCompare) cases.add(op, "special values", {down, row});
  for (const Op op : {Op::logical_not, Op::relu}) cases.add(op, "special values", {row});
  const std::vector<int64_t> edges = {0, 1, -1, (1ll << 53), (1ll << 53) + 1, -(1ll << 62), (1ll << 62) - 1};
  const auto m = static_cast<int64_t>(edges.size());
  const Tensor whole = Tensor::from<int64_t>(DType::i64, {m}, std::span(edges));
  for (const Op op : kCompare) cases.add(op, "large int64", {whole.view({m, 1}, {1, 1}), whole});
  for (const Op op : {Op::minimum, Op::maximum, Op::add})
    cases.add(op, "large int64", {whole.view({m, 1}, {1, 1}), whole});
}

struct Pair {
  DType a, b;
};
constexpr Pair kPairs[] = {
    {DType::f32, DType::f32},     {DType::f16, DType::f16}, {DType::bf16, DType::bf16},
    {DType::f64, DType::f64},     {DType::f32, DType::f16}, {DType::f16, DType::bf16},
    {DType::i32, DType::f32},     {DType::f16, DType::i64}, {DType::boolean, DType::f32},
    {DType::i8, DType::i8},       {DType::i32, DType::i64}, {DType::i64, DType::i8},
    {DType::boolean, DType::i32}, {DType::i64, DType::i64}};
struct Shapes {
  Shape a, b;
};
const Shapes kBroadcasts[] = {
    {{3, 5, 7}, {3, 5, 7}}, {{17}, {9, 17}}, {{4, 1, 33}, {5, 1}}, {{}, {2, 65}}, {{2, 9, 1}, {1, 1, 31}}};

/// The second argument: nothing that divides by 0 or leaves the real numbers.
Tensor second(Op op, Random& random, DType dtype, const Shape& shape) {
  if (op == Op::div || op == Op::mod) {
    if (dtype == DType::boolean) return integer_tensor(random, dtype, shape, 1, 1);
    return is_int(dtype) ? integer_tensor(random, dtype, shape, 1, 9)
                         : uniform_tensor(random, dtype, shape, -9, -0.1);
  }
  if (op == Op::pow)
    return is_float(dtype) ? uniform_tensor(random, dtype, shape, -3, 3)
                           : integer_tensor(random, dtype, shape, 0, dtype == DType::boolean ? 1 : 3);
  return random_tensor(random, dtype, shape);
}

void add_binary_cases(Cases& cases) {
  for (const Op op : kBinary) {
    const auto first = [&](Random& random, DType dtype, const Shape& shape) {
      if (op != Op::pow) return random_tensor(random, dtype, shape);
      return is_float(dtype) ? uniform_tensor(random, dtype, shape, 0.1, 5)
                             : integer_tensor(random, dtype, shape, 0, dtype == DType::boolean ? 1 : 5);
    };
    for (const int64_t n : kSizes) {
      Random& random = cases.begin();
      const Tensor a = first(random, cases.base, {n});
      cases.add(op, "", {a, second(op, random, cases.base, {n})});
    }
    for (const auto& [a, b] : kPairs)
      for (const auto& [shape_a, shape_b] : kBroadcasts)
        for (const Layout layout : kLayouts) {
          Random& random = cases.begin();
          // An integer power of a negative exponent is an error, which floats in the same call prevent.
          const Tensor x = first(random, a, shape_a);
          cases.add(op, to_string(layout),
                    {laid_out(x, layout), laid_out(second(op, random, b, shape_b), layout)});
        }
  }
}

void add_compare_cases(Cases& cases) {
  const auto few_values = [](Random& random, DType dtype, const Shape& shape) {
    return integer_tensor(random, dtype, shape, dtype == DType::boolean ? 0 : -2,
                          dtype == DType::boolean ? 1 : 2);
  };
  for (const Op op : kCompare) {
    for (const int64_t n : kSizes) {
      Random& random = cases.begin();
      const Tensor a = few_values(random, cases.base, {n});
      cases.add(op, "", {a, few_values(random, cases.base, {n})});
    }
    for (const auto& [a, b] : kPairs)
      for (const auto& [shape_a, shape_b] : kBroadcasts)
        for (const Layout layout : kLayouts) {
          Random& random = cases.begin();
          const Tensor x = few_values(random, a, shape_a);
          cases.add(op, to_string(layout),
                    {laid_out(x, layout), laid_out(few_values(random, b, shape_b), layout)});
        }
    Random& random = cases.begin();
    cases.add(op, "bools",
              {few_values(random, DType::boolean, {5, 9}), few_values(random, DType::boolean, {9})});
  }
}

void add_select_cases(Cases& cases) {
  for (const DType dtype :
       {DType::f32, DType::f16, DType::bf16, DType::f64, DType::i8, DType::i32, DType::i64, DType::boolean})
    for (const DType condition : {DType::boolean, DType::i32, DType::f32})
      for (const Layout layout : kLayouts) {
        Random& random = cases.begin();
        const Tensor choose = integer_tensor(random, condition, {5, 1, 17}, 0, 1);
        const Tensor a = random_tensor(random, dtype, {9, 17}), b = random_tensor(random, dtype, {5, 9, 1});
        cases.add(Op::select, to_string(layout),
                  {laid_out(choose, layout), laid_out(a, layout), laid_out(b, layout)});
        if (layout == Layout::sliced && dtype != DType::boolean)
          cases.add(Op::logical_not, to_string(layout),
                    {laid_out(integer_tensor(random, dtype, {7, 33}, -1, 1), layout)});
      }
  Random& random = cases.begin();
  cases.add(Op::select, "mixed types",
            {random_tensor(random, DType::boolean, {33}), random_tensor(random, DType::f16, {33}),
             random_tensor(random, DType::f32, {})});
  cases.add(Op::logical_not, "bool", {random_tensor(random, DType::boolean, {3, 17})});
}

void add_cast_cases(Cases& cases) {
  constexpr DType kPlain[] = {DType::f32, DType::f16, DType::bf16, DType::f64,
                              DType::i8,  DType::i32, DType::i64,  DType::boolean};
  for (const DType from : kPlain)
    for (const DType to : kPlain)
      for (const Layout layout : kLayouts) {
        Random& random = cases.begin();
        const Tensor x = random_tensor(random, from, {5, 3, 17});
        cases.add(Op::cast, std::string("to ") + std::string(name(to)) + " " + to_string(layout),
                  {laid_out(x, layout)}, DTypeAttrs{to});
      }
  const Tensor wide = integer_tensor(cases.begin(), DType::i64, {257}, -100000, 100000);
  for (const DType to : {DType::i8, DType::i32, DType::f32})
    cases.add(Op::cast, "wrapping", {wide}, DTypeAttrs{to});
}

void add_swiglu_cases(Cases& cases) {
  for (const int64_t n : kSizes) {
    Random& random = cases.begin();
    const Tensor gate = random_tensor(random, cases.base, {3, n});
    cases.add(Op::swiglu, "", {gate, random_tensor(random, cases.base, {3, n})});
  }
  for (const DType dtype : kFloats)
    for (const Layout layout : kLayouts) {
      Random& random = cases.begin();
      const Tensor gate = random_tensor(random, dtype, {5, 33});
      cases.add(Op::swiglu, to_string(layout),
                {laid_out(gate, layout), laid_out(random_tensor(random, dtype, {5, 33}), layout)});
    }
}

}  // namespace

void add_elementwise_cases(Cases& cases) {
  add_unary_cases(cases);
  add_binary_cases(cases);
  add_compare_cases(cases);
  add_special_cases(cases);
  add_select_cases(cases);
  add_cast_cases(cases);
  add_swiglu_cases(cases);
}

void add_reduction_cases(Cases& cases) {
  constexpr DType kPlain[] = {DType::f32, DType::f16, DType::bf16, DType::f64,
                              DType::i8,  DType::i32, DType::i64,  DType::boolean};
  const auto argument = [](Op op, Random& random, DType dtype, const Shape& shape) {
    if (op == Op::reduce_prod)
      return is_float(dtype) ? uniform_tensor(random, dtype, shape, 0.85, 1.17)
                             : integer_tensor(random, dtype, shape, 0, 1);
    if (op == Op::reduce_any) return integer_tensor(random, dtype, shape, 0, random.bits() % 4 == 0);
    if (op == Op::reduce_all) return integer_tensor(random, dtype, shape, random.bits() % 4 != 0, 1);
    return random_tensor(random, dtype, shape);
  };
  for (const Op op : kReduce) {
    for (const int64_t n : kSizes)
      cases.add(op, "rows", {argument(op, cases.begin(), cases.base, {3, n})}, ReduceAttrs{2, false});
    cases.add(op, "long", {argument(op, cases.begin(), cases.base, {2, 4097})}, ReduceAttrs{2, false});
    cases.add(op, "everything", {argument(op, cases.begin(), cases.base, {5, 7, 9})}, ReduceAttrs{7, false});
    for (const DType dtype : kPlain) {
      if (!accepts(op, {{dtype, {2, 2, 2}}}, ReduceAttrs{2, true})) continue;
      for (const Layout layout : kLayouts)
        for (const uint32_t axes : {0u, 1u, 2u, 4u, 5u, 6u, 7u})
          cases.add(op, to_string(layout), {laid_out(argument(op, cases.begin(), dtype, {3, 9, 17}), layout)},
                    ReduceAttrs{axes, axes != 4});
    }
  }
  const float nan = std::numeric_limits<float>::quiet_NaN();
  const Tensor with_nan = random_tensor(cases.begin(), DType::f32, {4, 33});
  with_nan.data<float>()[33 + 20] = with_nan.data<float>()[2 * 33] = with_nan.data<float>()[3 * 33 + 32] =
      nan;
  for (const Op op : kReduce) cases.add(op, "NaN inside", {with_nan}, ReduceAttrs{2, false});
}

}  // namespace tl::test
