// The core of tensor equations. An equation with two factors, of which one at least has labels of its own, is
// a matrix product (matrix_product.h), one without a product of elements or their sum; all others go through
// a general loop over runs of one label.
#include <limits>
#include <optional>
#include <utility>

#include "backend/cpu/isa.h"
#include "backend/cpu/kernels.h"
#include "backend/cpu/matrix_product.h"
#include "backend/cpu/strided.h"
#include "ops/functors.h"

namespace tl::cpu {

namespace {

/// Terms of a sum that one thread adds up.
constexpr int64_t kChunk = 32768;

/// floor(a / b) for b > 0.
int64_t floor_div(int64_t a, int64_t b) { return a / b - (a % b < 0); }

/// An equation's labels and operands, with the numbers of this step.
struct Equation {
  const KernelArgs& args;
  const ContractAttrs& attrs;
  std::span<const int64_t> sizes;  ///< per label

  explicit Equation(const KernelArgs& kernel_args)
      : args(kernel_args),
        attrs(args.attr<ContractAttrs>()),
        sizes(std::span(args.params.ints).first(static_cast<size_t>(attrs.n_labels))) {}

  /// The offsets of operand k's axes.
  const int64_t* offsets(size_t k) const {
    const int64_t* at = args.params.ints.data() + attrs.n_labels;
    for (size_t i = 0; i < k; ++i) at += attrs.operands[i].size();
    return at;
  }
  int64_t size(int label) const { return sizes[static_cast<size_t>(label)]; }
  bool reduces() const { return attrs.n_labels > attrs.n_result_labels; }
  int64_t reduced() const {
    int64_t n = 1;
    for (int l = attrs.n_result_labels; l < attrs.n_labels; ++l) n *= size(l);
    return n;
  }
};

// ---- Matrix products

enum class Role : uint8_t { batch, row, column, inner };

/// What each label is in a product of two operands.
std::vector<Role> roles_of(const ContractAttrs& attrs) {
  std::vector<Role> roles;
  const auto stands_in = [&](size_t operand, int label) {
    for (const AxisIndex& axis : attrs.operands[operand])
      for (const auto& term : axis.terms)
        if (term.label == label) return true;
    return false;
  };
  for (int l = 0; l < attrs.n_labels; ++l) {
    const bool left = stands_in(0, l), right = stands_in(1, l);
    if (l >= attrs.n_result_labels)
      roles.push_back(Role::inner);
    else
      roles.push_back(left == right ? Role::batch : left ? Role::row : Role::column);
  }
  return roles;
}

/// base + every index of `shape` times `strides`, in row-major order.
std::vector<int64_t> offsets_of(const Shape& shape, const Shape& strides, int64_t base) {
  const Walk<1> walk(shape, {strides});
  std::vector<int64_t> offsets(static_cast<size_t>(shape.elements()));
  int64_t* to = offsets.data();
  walk.runs(0, walk.elements(), [&](const auto& at, int64_t n) {
    for (int64_t i = 0; i < n; ++i) *to++ = base + at[0] + i * walk.step(0);
  });
  return offsets;
}

/// One operand of a matrix product. Each axis is read either by labels of one role, then its index may divide
/// and leave the tensor, or by a sum over roles that stays inside.
class Side {
 public:
  Side(const Equation& equation, size_t operand, const std::vector<Role>& roles)
      : equation_(equation),
        tensor_(equation.args.in[operand]),
        axes_(equation.attrs.operands[operand]),
        offsets_(equation.offsets(operand)),
        roles_(roles) {}

  bool fits() const {
    for (size_t a = 0; a < axes_.size(); ++a)
      if (!role_of(axes_[a]) && (axes_[a].divisor != 1 || !stays_inside(a))) return false;
    return true;
  }

  /// Evenly spaced offsets for the labels of a role: axes as those of a strided view.
  struct Lattice {
    int64_t base;
    Shape shape, strides;
  };
  /// Nothing where the role's axes divide or leave the tensor, or are too many.
  std::optional<Lattice> lattice(Role role) const {
    Lattice lattice{offset(role, std::vector<int64_t>(roles_.size())), {}, {}};
    if (lattice.base == kOutside || std::count(roles_.begin(), roles_.end(), role) > kMaxRank) return {};
    for (size_t l = 0; l < roles_.size(); ++l) {
      if (roles_[l] != role) continue;
      int64_t stride = 0;
      for (size_t a = 0; a < axes_.size(); ++a)
        for (const auto& term : axes_[a].terms) {
          if (static_cast<size_t>(term.label) != l) continue;
          if (axes_[a].divisor != 1 || !stays_inside(a)) return {};
          stride += term.coefficient * tensor_.strides()[static_cast<int>(a)];
        }
      lattice.shape.push_back(equation_.sizes[l]);
      lattice.strides.push_back(stride);
    }
    return lattice;
  }

  /// Offsets for all values of the labels of a role, the last label fastest.
  std::vector<int64_t> table(Role role) const {
    if (const auto even = lattice(role)) return offsets_of(even->shape, even->strides, even->base);
    std::vector<int64_t> labels(roles_.size());
    std::vector<int64_t> offsets;
    int64_t n = 1;
    for (size_t l = 0; l < roles_.size(); ++l)
      if (roles_[l] == role) n *= equation_.sizes[l];
    for (int64_t i = 0; i < n; ++i) {
      int64_t rest = i;
      for (size_t l = roles_.size(); l-- > 0;) {
        if (roles_[l] != role) continue;
        labels[l] = rest % equation_.sizes[l];
        rest /= equation_.sizes[l];
      }
      offsets.push_back(offset(role, labels));
    }
    return offsets;
  }

 private:
  /// The role of all labels of an axis; an axis without labels counts as batch. Nothing if they differ.
  std::optional<Role> role_of(const AxisIndex& axis) const {
    if (axis.terms.empty()) return Role::batch;
    const Role role = roles_[static_cast<size_t>(axis.terms[0].label)];
    for (const auto& term : axis.terms)
      if (roles_[static_cast<size_t>(term.label)] != role) return std::nullopt;
    return role;
  }

  bool stays_inside(size_t a) const {
    int64_t least = offsets_[a], most = offsets_[a];
    for (const auto& term : axes_[a].terms) {
      const int64_t reach = term.coefficient * (equation_.size(term.label) - 1);
      (reach < 0 ? least : most) += reach;
    }
    return least >= 0 && most < tensor_.shape()[static_cast<int>(a)];
  }

  int64_t offset(Role role, const std::vector<int64_t>& labels) const {
    int64_t total = 0;
    for (size_t a = 0; a < axes_.size(); ++a) {
      const std::optional<Role> whole = role_of(axes_[a]);
      if (whole && *whole != role) continue;
      int64_t index = whole || role == Role::batch ? offsets_[a] : 0;  // of a mixed axis, once
      for (const auto& term : axes_[a].terms)
        if (roles_[static_cast<size_t>(term.label)] == role)
          index += term.coefficient * labels[static_cast<size_t>(term.label)];
      index = floor_div(index, axes_[a].divisor);
      if (whole && (index < 0 || index >= tensor_.shape()[static_cast<int>(a)])) return kOutside;
      total += index * tensor_.strides()[static_cast<int>(a)];
    }
    return total;
  }

  const Equation& equation_;
  const Tensor& tensor_;
  const std::vector<AxisIndex>& axes_;
  const int64_t* offsets_;
  const std::vector<Role>& roles_;
};

/// Offsets in the result for the labels of a role.
std::vector<int64_t> result_table(const Equation& e, const std::vector<Role>& roles, Role role) {
  Shape shape, strides;
  for (int l = 0; l < e.attrs.n_result_labels; ++l)
    if (roles[static_cast<size_t>(l)] == role) {
      shape.push_back(e.size(l));
      strides.push_back(e.args.out.strides()[l]);
    }
  return offsets_of(shape, strides, 0);
}

/// Computes the equation as a matrix product if it is one. That depends on its structure and on whether reads
/// stay inside the operands, not on how many rows there are.
bool run_as_matrix_product(const Equation& e) {
  if (e.args.in.size() != 2 || !e.reduces()) return false;
  if (e.attrs.reduction != Reduction::sum && e.attrs.reduction != Reduction::mean) return false;
  for (const Tensor& t : e.args.in)
    if (t.dtype() != DType::f32) return false;
  const std::vector<Role> roles = roles_of(e.attrs);
  const auto has = [&](Role role) { return std::find(roles.begin(), roles.end(), role) != roles.end(); };
  const Side left(e, 0, roles), right(e, 1, roles);
  if ((!has(Role::row) && !has(Role::column)) || !left.fits() || !right.fits()) return false;
  MatrixProduct product{e.args.in[0].data<float>(), e.args.in[1].data<float>(),
                        e.args.out.data<float>(),   left.table(Role::batch),
                        right.table(Role::batch),   result_table(e, roles, Role::batch),
                        left.table(Role::row),      result_table(e, roles, Role::row),
                        right.table(Role::column),  result_table(e, roles, Role::column),
                        left.table(Role::inner),    right.table(Role::inner)};
  if (e.attrs.reduction == Reduction::mean) product.scale = 1.0f / static_cast<float>(e.reduced());
  std::move(product).run(e.args.pool);
  return true;
}

// ---- Products of elements, and sums of them

/// Two operands of which every label counts through evenly spaced elements.
struct Elements {
  const float *left, *right;
  Shape left_strides, right_strides;
};

/// The operands as functions of the labels of a role, all other labels at 0.
std::optional<Elements> elements_of(const Equation& e, const std::vector<Role>& roles, Role role) {
  const auto left = Side(e, 0, roles).lattice(role), right = Side(e, 1, roles).lattice(role);
  if (!left || !right) return {};
  return Elements{e.args.in[0].data<float>() + left->base, e.args.in[1].data<float>() + right->base,
                  left->strides, right->strides};
}

bool has_two_floats(const Equation& e) {
  const auto is_f32 = [](const Tensor& t) { return t.dtype() == DType::f32; };
  return e.args.in.size() == 2 && is_f32(e.args.in[0]) && is_f32(e.args.in[1]) && is_f32(e.args.out);
}

/// n elements `step` apart: where they lie, or in a buffer of kRun.
const float* run_of(const float* from, int64_t step, int64_t n, float* buffer) {
  if (step == 1 || n == 1) return from;
  for (int64_t i = 0; i < n; ++i) buffer[i] = from[i * step];
  return buffer;
}

/// Computes an equation that multiplies the elements of two operands and sums nothing.
bool run_as_elementwise(const Equation& e) {
  if (e.reduces() || !has_two_floats(e)) return false;
  const std::vector<Role> roles(static_cast<size_t>(e.attrs.n_labels), Role::batch);
  const auto in = elements_of(e, roles, Role::batch);
  if (!in) return false;
  float* const out = e.args.out.data<float>();
  const Walk<3> over(e.args.out.shape(), {e.args.out.strides(), in->left_strides, in->right_strides});
  over.parallel(e.args.pool, 1, [&](const auto& at, int64_t n) {
    std::array<float, kRun> x, y, product;
    const float *a = in->left + at[1], *b = in->right + at[2];
    float* const to = over.step(0) == 1 ? out + at[0] : product.data();
    if (over.step(1) == 0)
      isa().scale_row(run_of(b, over.step(2), n, y.data()), 0.0f, *a, nullptr, nullptr, to, n);
    else if (over.step(2) == 0)
      isa().scale_row(run_of(a, over.step(1), n, x.data()), 0.0f, *b, nullptr, nullptr, to, n);
    else
      isa().binary[static_cast<size_t>(Op::mul)](run_of(a, over.step(1), n, x.data()),
                                                 run_of(b, over.step(2), n, y.data()), to, n);
    for (int64_t i = 0; to == product.data() && i < n; ++i)
      out[at[0] + i * over.step(0)] = product[static_cast<size_t>(i)];
  });
  return true;
}

/// Computes an equation whose every element is the dot product of two operands' elements. Long ones are cut
/// in chunks that are added in their order, whatever the threads are.
bool run_as_dots(const Equation& e) {
  if (!e.reduces() || e.attrs.reduction != Reduction::sum || !has_two_floats(e)) return false;
  std::vector<Role> roles = roles_of(e.attrs);
  for (const Role role : roles)
    if (role == Role::row || role == Role::column) return false;
  const auto batch = elements_of(e, roles, Role::batch), inner = elements_of(e, roles, Role::inner);
  if (!batch || !inner) return false;
  Shape summed;
  for (int l = e.attrs.n_result_labels; l < e.attrs.n_labels; ++l) summed.push_back(e.size(l));
  const Walk<2> terms(summed, {inner->left_strides, inner->right_strides});
  const Walk<3> over(e.args.out.shape(), {e.args.out.strides(), batch->left_strides, batch->right_strides});
  const bool in_place = terms.step(0) == 1 && terms.step(1) == 1;
  const int64_t n_terms = e.reduced(), n_chunks = (n_terms + kChunk - 1) / kChunk;
  const auto chunk = [&](const auto& at, int64_t c) {
    float total = 0;
    std::array<float, kRun> x, y;
    terms.runs(
        c * kChunk, std::min(n_terms, (c + 1) * kChunk),
        [&](const auto& term, int64_t n) {
          total += isa().dot(run_of(batch->left + at[1] + term[0], terms.step(0), n, x.data()),
                             run_of(batch->right + at[2] + term[1], terms.step(1), n, y.data()), n);
        },
        in_place ? kChunk : kRun);
    return total;
  };
  const auto element = [&](const auto& at) {
    std::vector<float> chunks(static_cast<size_t>(n_chunks));
    e.args.pool.parallel_for(n_chunks, 1, [&](int64_t begin, int64_t end) {
      for (int64_t c = begin; c < end; ++c) chunks[static_cast<size_t>(c)] = chunk(at, c);
    });
    float total = 0;
    for (const float part : chunks) total += part;
    e.args.out.data<float>()[at[0]] = total;
  };
  if (over.elements() < e.args.pool.size())  // the threads share each element
    over.each_in_order(element);
  else
    over.each(e.args.pool, 2 * n_terms, element);
  return true;
}

// ---- The general loop

/// One factor as a function of the labels. The run label is the last reduced one, or without any the last of
/// the result: while it counts up, the factor is a strided run of its tensor, with zeros where it leaves it.
class Factor {
 public:
  Factor(const Equation& e, size_t operand, int run_label)
      : tensor_(e.args.in[operand]), axes_(e.attrs.operands[operand]), offsets_(e.offsets(operand)) {
    for (const AxisIndex& axis : axes_) {
      int64_t slope = 0;
      for (const auto& term : axis.terms)
        if (term.label == run_label) slope = term.coefficient;
      slopes_.push_back(slope);
      divides_run_ = divides_run_ || (slope != 0 && axis.divisor != 1);
    }
  }

  /// n values, the run label counting up from where `labels` has it: in place where they lie so, or in
  /// `buffer`.
  template <class T>
  const T* load(const std::vector<int64_t>& labels, int64_t n, T* buffer) const {
    std::array<int64_t, kMaxRank> start{};  // the numerators of the indices
    for (size_t a = 0; a < axes_.size(); ++a) {
      start[a] = offsets_[a];
      for (const auto& term : axes_[a].terms)
        start[a] += term.coefficient * labels[static_cast<size_t>(term.label)];
    }
    return divides_run_ ? load_one_by_one(start, n, buffer) : load_straight(start, n, buffer);
  }

 private:
  using Indices = std::array<int64_t, kMaxRank>;

  template <class T>
  const T* load_straight(const Indices& start, int64_t n, T* buffer) const {
    int64_t first = 0, last = n, offset = 0, step = 0;  // inside the tensor for [first, last)
    for (size_t a = 0; a < axes_.size(); ++a) {
      const int axis = static_cast<int>(a);
      const int64_t index = floor_div(start[a], axes_[a].divisor), slope = slopes_[a];
      const int64_t top = tensor_.shape()[axis] - 1;
      if (slope > 0) {
        first = std::max(first, -floor_div(index, slope));
        last = std::min(last, floor_div(top - index, slope) + 1);
      } else if (slope < 0) {
        first = std::max(first, -floor_div(top - index, -slope));
        last = std::min(last, floor_div(index, -slope) + 1);
      } else if (index < 0 || index > top) {
        last = 0;
      }
      offset += index * tensor_.strides()[axis];
      step += slope * tensor_.strides()[axis];
    }
    if (first == 0 && last == n) return load_run(tensor_, offset, step, n, buffer);
    std::fill_n(buffer, n, T{0});
    if (first < last) {
      const T* inside = load_run(tensor_, offset + first * step, step, last - first, buffer + first);
      if (inside != buffer + first) std::copy_n(inside, last - first, buffer + first);
    }
    return buffer;
  }

  template <class T>
  const T* load_one_by_one(const Indices& start, int64_t n, T* buffer) const {
    for (int64_t t = 0; t < n; ++t) {
      int64_t offset = 0;
      bool inside = true;
      for (size_t a = 0; a < axes_.size(); ++a) {
        const int64_t index = floor_div(start[a] + slopes_[a] * t, axes_[a].divisor);
        inside = inside && index >= 0 && index < tensor_.shape()[static_cast<int>(a)];
        offset += index * tensor_.strides()[static_cast<int>(a)];
      }
      buffer[t] = 0;
      if (inside) buffer[t] = *load_run(tensor_, offset, 1, 1, buffer + t);
    }
    return buffer;
  }

  const Tensor& tensor_;
  const std::vector<AxisIndex>& axes_;
  const int64_t* offsets_;
  std::vector<int64_t> slopes_;  ///< per axis, the coefficient of the run label
  bool divides_run_ = false;
};

/// The equation as a loop over result elements and, within, runs of the run label.
template <class T>
class Loop {
 public:
  explicit Loop(const Equation& e) : e_(e), run_label_(e.attrs.n_labels - 1) {
    for (size_t k = 0; k < e.args.in.size(); ++k) factors_.emplace_back(e, k, run_label_);
  }

  void run() const {
    const Shape& shape = e_.args.out.shape();
    const Walk<2> over(shape, {e_.args.out.strides(), row_major_strides(shape)});
    const auto elements = [&](const auto& at, int64_t n) {
      for (int64_t i = 0; i < n;) i += e_.reduces() ? one(at, over, i) : some(at, over, i, n - i);
    };
    if (over.elements() < e_.args.pool.size())  // the threads share each element
      return over.runs(0, over.elements(), elements);
    over.parallel(e_.args.pool, 4 * e_.reduced() * static_cast<int64_t>(factors_.size()), elements);
  }

 private:
  template <class Offsets>
  int64_t one(const Offsets& at, const Walk<2>& over, int64_t i) const {
    const T value = reduce(labels_of(at[1] + i * over.step(1)));
    store_run(e_.args.out, at[0] + i * over.step(0), 1, 1, &value);
    return 1;
  }

  /// A run of elements of an equation that reduces nothing, within one line of the result's last axis.
  template <class Offsets>
  int64_t some(const Offsets& at, const Walk<2>& over, int64_t i, int64_t n) const {
    std::vector<int64_t> labels = labels_of(at[1] + i * over.step(1));
    if (run_label_ >= 0) n = std::min(n, e_.size(run_label_) - labels.back());
    std::array<T, kRun> values;
    product(labels, n, values.data());
    store_run(e_.args.out, at[0] + i * over.step(0), over.step(0), n, values.data());
    return n;
  }

  std::vector<int64_t> labels_of(int64_t element) const {
    std::vector<int64_t> labels(static_cast<size_t>(e_.attrs.n_labels));
    for (int l = e_.attrs.n_result_labels - 1; l >= 0; --l) {
      labels[static_cast<size_t>(l)] = element % e_.size(l);
      element /= e_.size(l);
    }
    return labels;
  }

  /// The product of all factors for n values of the run label.
  void product(const std::vector<int64_t>& labels, int64_t n, T* out) const {
    std::array<T, kRun> buffer;
    const T* first = factors_[0].load(labels, n, out);
    if (first != out) std::copy_n(first, n, out);
    for (size_t k = 1; k < factors_.size(); ++k) {
      const T* values = factors_[k].load(labels, n, buffer.data());
      for (int64_t t = 0; t < n; ++t) out[t] = Functor<Op::mul>::apply(out[t], values[t]);
    }
  }

  /// Folds over the values [begin, end) of the reduced labels, a run at a time.
  template <Op op>
  T fold(std::vector<int64_t> labels, int64_t begin, int64_t end, T total) const {
    for (int64_t i = begin; i < end;) {
      int64_t rest = i;
      for (int l = run_label_; l >= e_.attrs.n_result_labels; --l) {
        labels[static_cast<size_t>(l)] = rest % e_.size(l);
        rest /= e_.size(l);
      }
      const int64_t n =
          std::min({kRun, e_.size(run_label_) - labels[static_cast<size_t>(run_label_)], end - i});
      total = fold_run<op>(labels, n, total);
      i += n;
    }
    return total;
  }

  template <Op op>
  T fold_run(const std::vector<int64_t>& labels, int64_t n, T total) const {
    std::array<T, kRun> values;
    if constexpr (op == Op::add && std::is_same_v<T, float>) {
      if (factors_.size() == 1) return total + isa().sum(factors_[0].load(labels, n, values.data()), n);
    }
    product(labels, n, values.data());
    if constexpr (op == Op::add && std::is_same_v<T, float>) return total + isa().sum(values.data(), n);
    for (int64_t t = 0; t < n; ++t) total = Functor<op>::apply(total, values[static_cast<size_t>(t)]);
    return total;
  }

  /// Folds over all values, in chunks of one size whatever the threads are.
  template <Op op>
  T fold_by(const std::vector<int64_t>& labels, T first) const {
    const int64_t n = e_.reduced(), n_chunks = (n + kChunk - 1) / kChunk;
    if (n_chunks == 1) return fold<op>(labels, 0, n, first);
    std::vector<T> parts(static_cast<size_t>(n_chunks));
    e_.args.pool.parallel_for(n_chunks, 1, [&](int64_t begin, int64_t end) {
      for (int64_t c = begin; c < end; ++c)
        parts[static_cast<size_t>(c)] = fold<op>(labels, c * kChunk, std::min(n, (c + 1) * kChunk), first);
    });
    T total = first;
    for (const T part : parts) total = Functor<op>::apply(total, part);
    return total;
  }

  T reduce(const std::vector<int64_t>& labels) const {
    using Limits = std::numeric_limits<T>;
    switch (e_.attrs.reduction) {
      case Reduction::sum:
        break;
      case Reduction::mean:
        return fold_by<Op::add>(labels, 0) / static_cast<T>(e_.reduced());
      case Reduction::max:
        return fold_by<Op::maximum>(labels, Limits::has_infinity ? -Limits::infinity() : Limits::lowest());
      case Reduction::min:
        return fold_by<Op::minimum>(labels, Limits::has_infinity ? Limits::infinity() : Limits::max());
      case Reduction::prod:
        return fold_by<Op::mul>(labels, 1);
    }
    return fold_by<Op::add>(labels, 0);
  }

  const Equation& e_;
  int run_label_;
  std::vector<Factor> factors_;
};

}  // namespace

void contract(const KernelArgs& args) {
  const Equation equation(args);
  if (args.out.elements() == 0 || run_as_matrix_product(equation) || run_as_elementwise(equation) ||
      run_as_dots(equation))
    return;
  as_number(args.out.dtype(), [&]<class T>(T) { Loop<T>(equation).run(); });
}

}  // namespace tl::cpu
