// Reductions over several axes. Reduced axes that end the tensor make rows; others are brought there by a
// copy, so that there is one order of summation.
#include <limits>

#include "backend/cpu/isa.h"
#include "backend/cpu/kernels.h"
#include "backend/cpu/strided.h"
#include "ops/functors.h"

namespace tl::cpu {

namespace {

/// The kept axes, then the reduced ones, of a tensor seen with its axes in that order.
struct Lines {
  Walk<1> kept, reduced;

  static Lines of(const KernelArgs& args) {
    const uint32_t axes = args.attr<ReduceAttrs>().axes;
    const Tensor& x = args.in[0];
    Shape shape[2], strides[2];
    for (int a = 0; a < x.rank(); ++a) {
      const size_t which = axes >> a & 1u;
      shape[which].push_back(x.shape()[a]);
      strides[which].push_back(x.strides()[a]);
    }
    return {Walk<1>(shape[0], {strides[0]}), Walk<1>(shape[1], {strides[1]})};
  }
};

/// Folds the runs of every line of reduced elements: fold(total, run, n), then finish(total, count).
template <class T, class Fold, class Finish>
void reduce(const KernelArgs& args, T first, Fold fold, Finish finish) {
  TL_CHECK(args.out.is_contiguous(), "reductions write a contiguous result");
  const Lines lines = Lines::of(args);
  const int64_t count = lines.reduced.elements();
  args.pool.parallel_for(
      lines.kept.elements(), std::max<int64_t>(1, kGrain / std::max<int64_t>(1, count)),
      [&](int64_t begin, int64_t end) {
        for (int64_t line = begin; line < end; ++line) {
          const int64_t start = lines.kept.offsets(line)[0];
          T total = first;
          lines.reduced.runs(0, count, [&](const auto& at, int64_t n) {
            std::array<T, kRun> buffer;
            total =
                fold(total, load_run(args.in[0], start + at[0], lines.reduced.step(0), n, buffer.data()), n);
          });
          total = finish(total, count);
          store_run(args.out, line, 1, 1, &total);
        }
      });
}

constexpr auto kAsItIs = [](auto total, int64_t) { return total; };

/// A reduction by a binary operation, in the type of the result.
template <Op op, class T>
void reduce_by(const KernelArgs& args, T first) {
  const auto fold = [](T total, const T* x, int64_t n) {
    for (int64_t i = 0; i < n; ++i) total = Functor<op>::apply(total, x[i]);
    return total;
  };
  reduce<T>(args, first, fold, kAsItIs);
}

constexpr auto kFloatSum = [](float total, const float* x, int64_t n) { return total + isa().sum(x, n); };

void sum(const KernelArgs& args) {
  if (is_float(args.out.dtype())) return reduce<float>(args, 0, kFloatSum, kAsItIs);
  reduce_by<Op::add, int64_t>(args, 0);
}

void mean(const KernelArgs& args) {
  reduce<float>(args, 0, kFloatSum, [](float total, int64_t n) { return total / static_cast<float>(n); });
}

void prod(const KernelArgs& args) {
  as_number(args.out.dtype(), [&]<class T>(T) { reduce_by<Op::mul, T>(args, 1); });
}

void max(const KernelArgs& args) {
  if (!is_float(args.out.dtype()))
    return reduce_by<Op::maximum, int64_t>(args, std::numeric_limits<int64_t>::lowest());
  const auto fold = [](float total, const float* x, int64_t n) {
    return Functor<Op::maximum>::apply(total, isa().max(x, n));
  };
  reduce<float>(args, -std::numeric_limits<float>::infinity(), fold, kAsItIs);
}

void min(const KernelArgs& args) {
  as_number(args.out.dtype(), [&]<class T>(T) {
    using Limits = std::numeric_limits<T>;
    reduce_by<Op::minimum, T>(args, Limits::has_infinity ? Limits::infinity() : Limits::max());
  });
}

/// Whether some element, or every one, is (not) 0. Floats are read as floats, for 0.5 is not 0.
template <bool all>
void quantify(const KernelArgs& args) {
  as_number(args.in[0].dtype(), [&]<class T>(T) {
    const auto fold = [](T total, const T* x, int64_t n) {
      for (int64_t i = 0; i < n; ++i)
        if ((x[i] != 0) != all) return static_cast<T>(!all);
      return total;
    };
    reduce<T>(args, static_cast<T>(all), fold, kAsItIs);
  });
}

void any(const KernelArgs& args) { quantify<false>(args); }
void all(const KernelArgs& args) { quantify<true>(args); }

}  // namespace

void add_reductions(KernelTable& table) {
#define X(name, ...) table[static_cast<size_t>(Op::reduce_##name)] = {name, DType::f32, false};
  TL_REDUCE_OPS(X)
#undef X
}

}  // namespace tl::cpu
