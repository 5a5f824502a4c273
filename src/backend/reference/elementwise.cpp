// Elementwise operations: load a run of each input, apply the functor, store.
#include <fmt/format.h>

#include "backend/reference/kernels.h"
#include "backend/reference/strided.h"
#include "ops/functors.h"

namespace tl::reference {

namespace {

template <class T, class Function>
void map_one(const KernelArgs& args, Function function) {
  const Tensor& x = args.in[0];
  const auto over = walk(args.out.shape(), args.out, x);
  over.parallel(args.pool, 1, [&](const auto& at, int64_t n) {
    std::array<T, kRun> values;
    load_run(x, at[1], over.step(1), n, values.data());
    for (size_t i = 0; i < static_cast<size_t>(n); ++i) values[i] = function(values[i]);
    store_run(args.out, at[0], over.step(0), n, values.data());
  });
}

/// `R` is the type of the results in the buffer (double, or int64_t also for bool).
template <class R, class T, class Function>
void map_two(const KernelArgs& args, Function function) {
  const Tensor &a = args.in[0], &b = args.in[1];
  const auto over = walk(args.out.shape(), args.out, a, b);
  over.parallel(args.pool, 1, [&](const auto& at, int64_t n) {
    std::array<T, kRun> left, right;
    std::array<R, kRun> result;
    load_run(a, at[1], over.step(1), n, left.data());
    load_run(b, at[2], over.step(2), n, right.data());
    for (size_t i = 0; i < static_cast<size_t>(n); ++i)
      result[i] = static_cast<R>(function(left[i], right[i]));
    store_run(args.out, at[0], over.step(0), n, result.data());
  });
}

template <Op op>
void unary(const KernelArgs& args) {
  as_number(args.out.dtype(), [&]<class T>(T) {
    if constexpr (std::is_same_v<T, double> || takes_integers<op>)
      map_one<T>(args, [](T x) { return Functor<op>::apply(x); });
    else
      TL_CHECK(false, "an operation on real numbers with an integer result");
  });
}

template <Op op>
void binary(const KernelArgs& args) {
  as_number(args.out.dtype(), [&]<class T>(T) {
    if constexpr (std::is_same_v<T, double> || takes_integers<op>)
      map_two<T, T>(args, [](T a, T b) { return Functor<op>::apply(a, b); });
    else
      TL_CHECK(false, "an operation on real numbers with an integer result");
  });
}

template <Op op>
void compare(const KernelArgs& args) {
  as_number(promote(args.in[0].dtype(), args.in[1].dtype()), [&]<class T>(T) {
    map_two<int64_t, T>(args, [](T a, T b) { return Functor<op>::apply(a, b); });
  });
}

void logical_not(const KernelArgs& args) {
  map_one<double>(args, [](double x) { return x == 0 ? 1.0 : 0.0; });
}

void select(const KernelArgs& args) {
  const Tensor &condition = args.in[0], &a = args.in[1], &b = args.in[2];
  const auto over = walk(args.out.shape(), args.out, condition, a, b);
  as_number(args.out.dtype(), [&]<class T>(T) {
    over.parallel(args.pool, 1, [&](const auto& at, int64_t n) {
      std::array<double, kRun> conditions;
      std::array<T, kRun> yes, no;
      load_run(condition, at[1], over.step(1), n, conditions.data());
      load_run(a, at[2], over.step(2), n, yes.data());
      load_run(b, at[3], over.step(3), n, no.data());
      for (size_t i = 0; i < static_cast<size_t>(n); ++i) yes[i] = conditions[i] != 0 ? yes[i] : no[i];
      store_run(args.out, at[0], over.step(0), n, yes.data());
    });
  });
}

/// The whole part of a float as an integer of `dtype`.
double whole_part(double x, DType dtype) {
  const double limit = dtype == DType::i8 ? 0x1p7 : dtype == DType::i32 ? 0x1p31 : 0x1p63;
  const double whole = std::trunc(x);
  if (!(whole >= -limit && whole < limit))
    throw Error(fmt::format("[cast] {} does not fit {}", x, name(dtype)));
  return whole;
}

void cast(const KernelArgs& args) {
  const DType from = args.in[0].dtype(), to = args.out.dtype();
  if (is_float(from) && is_int(to))
    map_one<double>(args, [to](double x) { return whole_part(x, to); });
  else if (is_float(from) || is_float(to))
    map_one<double>(args, [](double x) { return x; });
  else
    map_one<int64_t>(args, [](int64_t x) { return x; });
}

}  // namespace

void add_elementwise(KernelTable& table) {
  const auto add = [&](Op op, void (*run)(const KernelArgs&)) { table[static_cast<size_t>(op)].run = run; };
#define X(name, ...) add(Op::name, unary<Op::name>);
  TL_UNARY_OPS(X)
#undef X
#define X(name, ...) add(Op::name, binary<Op::name>);
  TL_BINARY_OPS(X)
  X(swiglu)
#undef X
#define X(name, ...) add(Op::name, compare<Op::name>);
  TL_COMPARE_OPS(X)
#undef X
  add(Op::logical_not, logical_not);
  add(Op::select, select);
  add(Op::cast, cast);
}

}  // namespace tl::reference
