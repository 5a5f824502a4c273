// Elementwise operations: runs of floats go to the inner loops of the instruction set, integers to the
// functors.
#include <fmt/format.h>
#include <cmath>

#include "backend/cpu/isa.h"
#include "backend/cpu/kernels.h"
#include "backend/cpu/strided.h"
#include "ops/functors.h"

namespace tl::cpu {

namespace {

/// loop(x, result, n) over runs of the input and the result in type T.
template <class T, class Loop>
void map_one(const KernelArgs& args, int64_t cost, Loop loop) {
  const Tensor &x = args.in[0], &out = args.out;
  const auto over = walk(out.shape(), out, x);
  over.parallel(args.pool, cost, [&](const auto& at, int64_t n) {
    std::array<T, kRun> from, result;
    T* to = place_for(out, at[0], over.step(0), result.data());
    loop(load_run(x, at[1], over.step(1), n, from.data()), to, n);
    store_run(out, at[0], over.step(0), n, to);
  });
}

/// loop(a, b, result, n) likewise.
template <class T, class Loop>
void map_two(const KernelArgs& args, int64_t cost, Loop loop) {
  const Tensor &a = args.in[0], &b = args.in[1], &out = args.out;
  const auto over = walk(out.shape(), out, a, b);
  over.parallel(args.pool, cost, [&](const auto& at, int64_t n) {
    std::array<T, kRun> left, right, result;
    T* to = place_for(out, at[0], over.step(0), result.data());
    loop(load_run(a, at[1], over.step(1), n, left.data()), load_run(b, at[2], over.step(2), n, right.data()),
         to, n);
    store_run(out, at[0], over.step(0), n, to);
  });
}

constexpr int64_t kFloatCost = 4;  // of an elementwise function, in additions

template <Op op>
void unary(const KernelArgs& args) {
  if (is_float(args.out.dtype()))
    return map_one<float>(args, kFloatCost, isa().unary[static_cast<size_t>(op)]);
  if constexpr (takes_integers<op>)
    map_one<int64_t>(args, 1, [](const int64_t* x, int64_t* to, int64_t n) {
      for (int64_t i = 0; i < n; ++i) to[i] = Functor<op>::apply(x[i]);
    });
  else
    TL_CHECK(false, "an operation on real numbers with an integer result");
}

template <Op op>
void binary(const KernelArgs& args) {
  if (is_float(args.out.dtype()))
    return map_two<float>(args, kFloatCost, isa().binary[static_cast<size_t>(op)]);
  if constexpr (takes_integers<op>)
    map_two<int64_t>(args, 1, [](const int64_t* a, const int64_t* b, int64_t* to, int64_t n) {
      for (int64_t i = 0; i < n; ++i) to[i] = Functor<op>::apply(a[i], b[i]);
    });
  else
    TL_CHECK(false, "an operation on real numbers with an integer result");
}

template <Op op>
void compare(const KernelArgs& args) {
  const Tensor &a = args.in[0], &b = args.in[1], &out = args.out;
  const auto over = walk(out.shape(), out, a, b);
  as_number(promote(a.dtype(), b.dtype()), [&]<class T>(T) {
    over.parallel(args.pool, 1, [&](const auto& at, int64_t n) {
      std::array<T, kRun> left, right;
      std::array<uint8_t, kRun> result;
      const T* x = load_run(a, at[1], over.step(1), n, left.data());
      const T* y = load_run(b, at[2], over.step(2), n, right.data());
      if constexpr (std::is_same_v<T, float>)
        isa().compare[static_cast<size_t>(op)](x, y, result.data(), n);
      else
        for (int64_t i = 0; i < n; ++i)
          result[static_cast<size_t>(i)] = Functor<op>::apply(x[i], y[i]) ? 1 : 0;
      uint8_t* to = out.data<uint8_t>() + at[0];
      for (int64_t i = 0; i < n; ++i) to[i * over.step(0)] = result[static_cast<size_t>(i)];
    });
  });
}

void logical_not(const KernelArgs& args) {
  as_number(args.in[0].dtype(), [&]<class T>(T) {
    const auto over = walk(args.out.shape(), args.out, args.in[0]);
    over.parallel(args.pool, 1, [&](const auto& at, int64_t n) {
      std::array<T, kRun> buffer;
      const T* x = load_run(args.in[0], at[1], over.step(1), n, buffer.data());
      uint8_t* to = args.out.data<uint8_t>() + at[0];
      for (int64_t i = 0; i < n; ++i) to[i * over.step(0)] = x[i] == 0;
    });
  });
}

void select(const KernelArgs& args) {
  const Tensor &condition = args.in[0], &a = args.in[1], &b = args.in[2], &out = args.out;
  const auto over = walk(out.shape(), out, condition, a, b);
  as_number(out.dtype(), [&]<class T>(T) {
    over.parallel(args.pool, 1, [&](const auto& at, int64_t n) {
      std::array<float, kRun> conditions;
      std::array<T, kRun> left, right, result;
      const float* chosen = load_run(condition, at[1], over.step(1), n, conditions.data());
      const T* yes = load_run(a, at[2], over.step(2), n, left.data());
      const T* no = load_run(b, at[3], over.step(3), n, right.data());
      T* to = place_for(out, at[0], over.step(0), result.data());
      for (int64_t i = 0; i < n; ++i) to[i] = chosen[i] != 0 ? yes[i] : no[i];
      store_run(out, at[0], over.step(0), n, to);
    });
  });
}

/// The whole part of a float as an integer of `dtype`.
int64_t whole_part(float x, DType dtype) {
  const float limit = dtype == DType::i8 ? 0x1p7f : dtype == DType::i32 ? 0x1p31f : 0x1p63f;
  const float whole = std::trunc(x);
  if (!(whole >= -limit && whole < limit))
    throw Error(fmt::format("[cast] {} does not fit {}", x, name(dtype)));
  return static_cast<int64_t>(whole);
}

void cast(const KernelArgs& args) {
  const Tensor &x = args.in[0], &out = args.out;
  if (!is_float(x.dtype()) || !is_int(out.dtype()))
    return as_number(is_float(x.dtype()) ? x.dtype() : out.dtype(), [&]<class T>(T) {
      map_one<T>(args, 1, [](const T* from, T* to, int64_t n) { std::copy_n(from, n, to); });
    });
  const auto over = walk(out.shape(), out, x);
  over.parallel(args.pool, 1, [&](const auto& at, int64_t n) {
    std::array<float, kRun> from;
    std::array<int64_t, kRun> whole;
    const float* values = load_run(x, at[1], over.step(1), n, from.data());
    for (int64_t i = 0; i < n; ++i) whole[static_cast<size_t>(i)] = whole_part(values[i], out.dtype());
    store_run(out, at[0], over.step(0), n, whole.data());
  });
}

}  // namespace

void add_elementwise(KernelTable& table) {
  const auto add = [&](Op op, void (*run)(const KernelArgs&)) {
    table[static_cast<size_t>(op)] = {run, DType::f32, false};
  };
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

}  // namespace tl::cpu
