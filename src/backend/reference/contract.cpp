// The core of tensor equations: result[labels] = reduction over the other labels of a product of operands.
//
// One label is taken in runs: the last reduced one, or where nothing is reduced the last of the result. In a
// run each operand is a strided run of its tensor too, with zeros where it leaves the tensor.
#include <limits>

#include "backend/reference/kernels.h"
#include "backend/reference/strided.h"
#include "ops/functors.h"

namespace tl::reference {

namespace {

/// floor(a / b) for b > 0.
int64_t floor_div(int64_t a, int64_t b) { return a / b - (a % b < 0); }

/// One operand: where it is read for given labels.
class Factor {
 public:
  Factor(const Tensor& tensor, const std::vector<AxisIndex>& axes, const int64_t* offsets, int run_label)
      : tensor_(tensor), axes_(axes), offsets_(offsets) {
    for (const AxisIndex& axis : axes) {
      int64_t slope = 0;
      for (const auto& term : axis.terms)
        if (term.label == run_label) slope = term.coefficient;
      slopes_.push_back(slope);
      divided_ = divided_ || (slope != 0 && axis.divisor != 1);
    }
  }

  /// Reads n elements, the run label counting up from labels[run_label].
  template <class T>
  void load(const std::vector<int64_t>& labels, int64_t n, T* out) const {
    std::array<int64_t, kMaxRank> numerators;
    for (size_t a = 0; a < axes_.size(); ++a) {
      numerators[a] = offsets_[a];
      for (const auto& term : axes_[a].terms)
        numerators[a] += term.coefficient * labels[static_cast<size_t>(term.label)];
    }
    if (divided_)
      load_each(numerators, n, out);
    else
      load_straight(numerators, n, out);
  }

 private:
  /// Where no axis divides the run label, the offset grows evenly, and the part inside the tensor is one
  /// piece.
  template <class T>
  void load_straight(const std::array<int64_t, kMaxRank>& numerators, int64_t n, T* out) const {
    int64_t first = 0, last = n, offset = 0, step = 0;
    for (size_t a = 0; a < axes_.size(); ++a) {
      const int64_t index = floor_div(numerators[a], axes_[a].divisor), slope = slopes_[a];
      const int64_t top = tensor_.shape()[static_cast<int>(a)] - 1,
                    stride = tensor_.strides()[static_cast<int>(a)];
      if (slope > 0) {  // 0 <= index + slope * t <= top
        first = std::max(first, -floor_div(index, slope));
        last = std::min(last, floor_div(top - index, slope) + 1);
      } else if (slope < 0) {
        first = std::max(first, -floor_div(top - index, -slope));
        last = std::min(last, floor_div(index, -slope) + 1);
      } else if (index < 0 || index > top) {
        last = 0;
      }
      offset += index * stride;
      step += slope * stride;
    }
    if (first >= last) {
      std::fill_n(out, n, T{0});
      return;
    }
    std::fill_n(out, first, T{0});
    load_run(tensor_, offset + first * step, step, last - first, out + first);
    std::fill(out + last, out + n, T{0});
  }

  template <class T>
  void load_each(const std::array<int64_t, kMaxRank>& numerators, int64_t n, T* out) const {
    for (int64_t t = 0; t < n; ++t) {
      int64_t offset = 0;
      bool inside = true;
      for (size_t a = 0; a < axes_.size(); ++a) {
        const int64_t index = floor_div(numerators[a] + slopes_[a] * t, axes_[a].divisor);
        inside = inside && index >= 0 && index < tensor_.shape()[static_cast<int>(a)];
        offset += index * tensor_.strides()[static_cast<int>(a)];
      }
      out[t] = 0;
      if (inside) load_run(tensor_, offset, 0, 1, out + t);
    }
  }

  const Tensor& tensor_;
  const std::vector<AxisIndex>& axes_;
  const int64_t* offsets_;
  std::vector<int64_t> slopes_;  ///< per axis, the coefficient of the run label
  bool divided_ = false;
};

/// Everything about one contraction that does not depend on the labels' values.
struct Contraction {
  explicit Contraction(const KernelArgs& kernel_args)
      : args(kernel_args), attrs(args.attr<ContractAttrs>()), sizes(args.params.ints.data()) {
    run_label = attrs.n_labels - 1;
    const int64_t* offsets = sizes + attrs.n_labels;
    for (size_t k = 0; k < args.in.size(); ++k) {
      factors.emplace_back(args.in[k], attrs.operands[k], offsets, run_label);
      offsets += attrs.operands[k].size();
    }
    for (int l = attrs.n_result_labels; l < attrs.n_labels; ++l) reduced *= sizes[l];
  }

  bool reduces() const { return attrs.n_labels > attrs.n_result_labels; }

  /// The product of all operands for n values of the run label.
  template <class T>
  void product(const std::vector<int64_t>& labels, int64_t n, T* out) const {
    std::array<T, kRun> values;
    factors[0].load(labels, n, out);
    for (size_t k = 1; k < factors.size(); ++k) {
      factors[k].load(labels, n, values.data());
      for (int64_t t = 0; t < n; ++t)
        out[t] = Functor<Op::mul>::apply(out[t], values[static_cast<size_t>(t)]);
    }
  }

  /// Folds the product over all values of the reduced labels; those of the result are set.
  template <class T, class Fold>
  T fold(std::vector<int64_t>& labels, T total, Fold combine) const {
    const int64_t width = sizes[run_label];
    std::array<T, kRun> values;
    for (int64_t i = 0; i < reduced;) {
      int64_t rest = i;
      for (int l = run_label; l >= attrs.n_result_labels; --l) {
        labels[static_cast<size_t>(l)] = rest % sizes[l];
        rest /= sizes[l];
      }
      const int64_t n = std::min(kRun, width - i % width);
      product(labels, n, values.data());
      for (size_t t = 0; t < static_cast<size_t>(n); ++t) total = combine(total, values[t]);
      i += n;
    }
    return total;
  }

  template <class T>
  T reduce(std::vector<int64_t>& labels) const {
    using Limits = std::numeric_limits<T>;
    const auto by = [&]<Op op>(std::integral_constant<Op, op>, T first) {
      return fold(labels, first, [](T a, T b) { return Functor<op>::apply(a, b); });
    };
    switch (attrs.reduction) {
      case Reduction::sum:
        break;
      case Reduction::mean:
        return by(std::integral_constant<Op, Op::add>{}, 0) / static_cast<T>(reduced);
      case Reduction::max:
        return by(std::integral_constant<Op, Op::maximum>{},
                  Limits::has_infinity ? -Limits::infinity() : Limits::lowest());
      case Reduction::min:
        return by(std::integral_constant<Op, Op::minimum>{},
                  Limits::has_infinity ? Limits::infinity() : Limits::max());
      case Reduction::prod:
        return by(std::integral_constant<Op, Op::mul>{}, 1);
    }
    return by(std::integral_constant<Op, Op::add>{}, 0);
  }

  const KernelArgs& args;
  const ContractAttrs& attrs;
  const int64_t* sizes;  ///< per label
  int run_label = 0;
  std::vector<Factor> factors;
  int64_t reduced = 1;  ///< combinations of the reduced labels
};

/// The labels of the result for element i of it.
std::vector<int64_t> result_labels(const Contraction& c, int64_t i) {
  std::vector<int64_t> labels(static_cast<size_t>(c.attrs.n_labels));
  for (int l = c.attrs.n_result_labels - 1; l >= 0; --l) {
    labels[static_cast<size_t>(l)] = i % c.sizes[l];
    i /= c.sizes[l];
  }
  return labels;
}

}  // namespace

void contract(const KernelArgs& args) {
  const Contraction c(args);
  const Shape& shape = args.out.shape();
  const Walk<2> over{shape, {args.out.strides(), row_major_strides(shape)}};
  as_number(args.out.dtype(), [&]<class T>(T) {
    over.parallel(args.pool, c.reduced * static_cast<int64_t>(args.in.size()),
                  [&](const auto& at, int64_t n) {
                    std::array<T, kRun> values;
                    std::vector<int64_t> labels = result_labels(c, at[1]);
                    if (!c.reduces()) {
                      c.product(labels, n, values.data());
                    } else {
                      for (size_t i = 0; i < static_cast<size_t>(n); ++i) {
                        values[i] = c.reduce<T>(labels);
                        if (shape.rank()) ++labels[static_cast<size_t>(shape.rank() - 1)];
                      }
                    }
                    store_run(args.out, at[0], over.step(0), n, values.data());
                  });
  });
}

}  // namespace tl::reference
