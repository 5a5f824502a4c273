// Reductions over several axes: for every result element, the reduced indices in row-major order.
#include <limits>

#include "backend/reference/kernels.h"
#include "backend/reference/strided.h"
#include "ops/functors.h"

namespace tl::reference {

namespace {

/// The axes of x that are kept (those of the result, in order) and those that are reduced.
struct Axes {
  Walk<2> kept;
  Walk<1> reduced;
};

Axes split_axes(const KernelArgs& args) {
  const auto& [axes, keepdim] = args.attr<ReduceAttrs>();
  const Tensor &x = args.in[0], &out = args.out;
  Axes split;
  int out_axis = 0;
  for (int a = 0; a < x.rank(); ++a) {
    const bool is_reduced = axes >> a & 1;
    if (is_reduced) {
      split.reduced.shape.push_back(x.shape()[a]);
      split.reduced.strides[0].push_back(x.strides()[a]);
    } else {
      split.kept.shape.push_back(x.shape()[a]);
      split.kept.strides[0].push_back(out.strides()[out_axis]);
      split.kept.strides[1].push_back(x.strides()[a]);
    }
    if (!is_reduced || keepdim) ++out_axis;
  }
  return split;
}

/// Folds every reduced line, starting from `first`: fold(accumulator, x), then finish(accumulator, count).
template <class T, class Fold, class Finish>
void reduce(const KernelArgs& args, T first, Fold fold, Finish finish) {
  const Axes axes = split_axes(args);
  const int64_t count = axes.reduced.shape.elements();
  axes.kept.each(args.pool, count, [&](const auto& at) {
    T total = first;
    axes.reduced.runs(0, count, [&](const auto& inner, int64_t n) {
      std::array<T, kRun> values;
      load_run(args.in[0], at[1] + inner[0], axes.reduced.step(0), n, values.data());
      for (size_t i = 0; i < static_cast<size_t>(n); ++i) total = fold(total, values[i]);
    });
    total = finish(total, count);
    store_run(args.out, at[0], 0, 1, &total);
  });
}

constexpr auto kAsItIs = [](auto total, int64_t) { return total; };

/// A reduction by a binary operation, in the type of the result.
template <Op op, class T>
void reduce_by(const KernelArgs& args, T first) {
  reduce<T>(
      args, first, [](T total, T x) { return Functor<op>::apply(total, x); }, kAsItIs);
}

void sum(const KernelArgs& args) {
  as_number(args.out.dtype(), [&]<class T>(T) { reduce_by<Op::add, T>(args, 0); });
}

void prod(const KernelArgs& args) {
  as_number(args.out.dtype(), [&]<class T>(T) { reduce_by<Op::mul, T>(args, 1); });
}

void mean(const KernelArgs& args) {
  reduce<double>(
      args, 0, [](double total, double x) { return total + x; },
      [](double total, int64_t n) { return total / static_cast<double>(n); });
}

void max(const KernelArgs& args) {
  as_number(args.out.dtype(), [&]<class T>(T) {
    using Limits = std::numeric_limits<T>;
    reduce_by<Op::maximum, T>(args, Limits::has_infinity ? -Limits::infinity() : Limits::lowest());
  });
}

void min(const KernelArgs& args) {
  as_number(args.out.dtype(), [&]<class T>(T) {
    using Limits = std::numeric_limits<T>;
    reduce_by<Op::minimum, T>(args, Limits::has_infinity ? Limits::infinity() : Limits::max());
  });
}

void any(const KernelArgs& args) {
  reduce<double>(
      args, 0, [](double total, double x) { return total != 0 || x != 0 ? 1.0 : 0.0; }, kAsItIs);
}

void all(const KernelArgs& args) {
  reduce<double>(
      args, 1, [](double total, double x) { return total != 0 && x != 0 ? 1.0 : 0.0; }, kAsItIs);
}

}  // namespace

void add_reductions(KernelTable& table) {
#define X(name, ...) table[static_cast<size_t>(Op::reduce_##name)].run = name;
  TL_REDUCE_OPS(X)
#undef X
}

}  // namespace tl::reference
