// The core of tensor equations. An equation with two factors that sums products of floats is a matrix product
// whose operands lie anyhow: an element's offset is a sum of entries of tables, one for each kind of label.
// All others evaluate their indices label by label.
#include <limits>
#include <optional>
#include <vector>

#include "backend/cuda/elementwise.cuh"
#include "backend/cuda/matrix_product.h"

namespace tl::cuda {

namespace {

constexpr int kMaxLabels = 48;
constexpr int kMaxOperands = 8;

/// floor(a / b) for b > 0.
__host__ __device__ inline int64_t floor_div(int64_t a, int64_t b) { return a / b - (a % b < 0); }

/// An equation's labels and operands, with the numbers of this step.
struct Equation {
  const KernelArgs& args;
  const ContractAttrs& attrs;

  explicit Equation(const KernelArgs& kernel_args) : args(kernel_args), attrs(args.attr<ContractAttrs>()) {}
  int64_t size(int label) const { return args.params.ints[static_cast<size_t>(label)]; }
  const int64_t* offsets(size_t k) const {
    const int64_t* at = args.params.ints.data() + attrs.n_labels;
    for (size_t i = 0; i < k; ++i) at += attrs.operands[i].size();
    return at;
  }
  bool reduces() const { return attrs.n_labels > attrs.n_result_labels; }
  int64_t reduced() const {
    int64_t n = 1;
    for (int l = attrs.n_result_labels; l < attrs.n_labels; ++l) n *= size(l);
    return n;
  }
};

// ---- Matrix products

enum class Role : uint8_t { batch, row, column, inner };

std::vector<Role> roles_of(const ContractAttrs& attrs) {
  const auto stands_in = [&](size_t operand, int label) {
    for (const AxisIndex& axis : attrs.operands[operand])
      for (const auto& term : axis.terms)
        if (term.label == label) return true;
    return false;
  };
  std::vector<Role> roles;
  for (int l = 0; l < attrs.n_labels; ++l) {
    const bool left = stands_in(0, l), right = stands_in(1, l);
    if (l >= attrs.n_result_labels)
      roles.push_back(Role::inner);
    else
      roles.push_back(left == right ? Role::batch : left ? Role::row : Role::column);
  }
  return roles;
}

/// The role of all labels of an axis (one without labels is batch), if they agree.
std::optional<Role> role_of(const AxisIndex& axis, const std::vector<Role>& roles) {
  if (axis.terms.empty()) return Role::batch;
  const Role role = roles[static_cast<size_t>(axis.terms[0].label)];
  for (const auto& term : axis.terms)
    if (roles[static_cast<size_t>(term.label)] != role) return std::nullopt;
  return role;
}

/// Calls visit(values of all labels) for every value of the labels of a role, the last label fastest.
template <class Visit>
void each_value(const Equation& e, const std::vector<Role>& roles, Role role, Visit visit) {
  std::vector<int64_t> labels(roles.size());
  int64_t n = 1;
  for (size_t l = 0; l < roles.size(); ++l)
    if (roles[l] == role) n *= e.size(static_cast<int>(l));
  for (int64_t i = 0; i < n; ++i) {
    int64_t rest = i;
    for (size_t l = roles.size(); l-- > 0;) {
      if (roles[l] != role) continue;
      labels[l] = rest % e.size(static_cast<int>(l));
      rest /= e.size(static_cast<int>(l));
    }
    visit(labels);
  }
}

std::vector<int64_t> operand_table(const Equation& e, size_t operand, const std::vector<Role>& roles,
                                   Role role) {
  const Tensor& t = e.args.in[operand];
  const auto& axes = e.attrs.operands[operand];
  std::vector<int64_t> table;
  each_value(e, roles, role, [&](const std::vector<int64_t>& labels) {
    int64_t total = 0;
    bool inside = true;
    for (size_t a = 0; a < axes.size(); ++a) {
      if (role_of(axes[a], roles) != role) continue;
      int64_t index = e.offsets(operand)[a];
      for (const auto& term : axes[a].terms)
        index += term.coefficient * labels[static_cast<size_t>(term.label)];
      index = floor_div(index, axes[a].divisor);
      inside = inside && index >= 0 && index < t.shape()[static_cast<int>(a)];
      total += index * t.strides()[static_cast<int>(a)];
    }
    table.push_back(inside ? total : kOutside);
  });
  return table;
}

std::vector<int64_t> result_table(const Equation& e, const std::vector<Role>& roles, Role role) {
  std::vector<int64_t> table;
  each_value(e, roles, role, [&](const std::vector<int64_t>& labels) {
    int64_t total = 0;
    for (int l = 0; l < e.attrs.n_result_labels; ++l)
      if (roles[static_cast<size_t>(l)] == role)
        total += labels[static_cast<size_t>(l)] * e.args.out.strides()[l];
    table.push_back(total);
  });
  return table;
}

bool run_as_matrix_product(const Equation& e) {
  if (e.args.in.size() != 2 || !e.reduces()) return false;
  if (e.attrs.reduction != Reduction::sum && e.attrs.reduction != Reduction::mean) return false;
  const std::vector<Role> roles = roles_of(e.attrs);
  for (size_t k = 0; k < 2; ++k) {
    if (e.args.in[k].dtype() != DType::f32) return false;
    for (const AxisIndex& axis : e.attrs.operands[k])
      if (!role_of(axis, roles)) return false;
  }
  MatrixProduct product{read<float>(e.args.in[0]),
                        read<float>(e.args.in[1]),
                        write<float>(e.args.out),
                        operand_table(e, 0, roles, Role::batch),
                        operand_table(e, 1, roles, Role::batch),
                        result_table(e, roles, Role::batch),
                        operand_table(e, 0, roles, Role::row),
                        result_table(e, roles, Role::row),
                        operand_table(e, 1, roles, Role::column),
                        result_table(e, roles, Role::column),
                        operand_table(e, 0, roles, Role::inner),
                        operand_table(e, 1, roles, Role::inner)};
  if (e.attrs.reduction == Reduction::mean) product.divisor = static_cast<float>(e.reduced());
  product.run();
  return true;
}

// ---- Any equation

struct Sources {
  int64_t n;
  Source of[kMaxOperands];
};

/// Sizes of all labels, then for each operand its number of axes and for each axis divisor, offset, extent,
/// stride, number of terms, and the terms as label and coefficient.
std::vector<int64_t> spell(const Equation& e) {
  std::vector<int64_t> words;
  for (int l = 0; l < e.attrs.n_labels; ++l) words.push_back(e.size(l));
  for (size_t k = 0; k < e.args.in.size(); ++k) {
    const Tensor& t = e.args.in[k];
    words.push_back(t.rank());
    for (int a = 0; a < t.rank(); ++a) {
      const AxisIndex& axis = e.attrs.operands[k][static_cast<size_t>(a)];
      words.insert(words.end(), {axis.divisor, e.offsets(k)[a], t.shape()[a], t.strides()[a],
                                 static_cast<int64_t>(axis.terms.size())});
      for (const auto& term : axis.terms) words.insert(words.end(), {term.label, term.coefficient});
    }
  }
  return words;
}

/// The product of all factors for some values of the labels; a factor that is read outside its tensor is 0.
template <class T>
__device__ T product(const int64_t* words, const Sources& sources, const int64_t* labels) {
  T total = 0;
  for (int k = 0; k < sources.n; ++k) {
    int64_t offset = 0;
    bool inside = true;
    for (int64_t axes = *words++; axes > 0; --axes) {
      const int64_t divisor = words[0], extent = words[2], stride = words[3], terms = words[4];
      int64_t index = words[1];
      words += 5;
      for (int64_t t = 0; t < terms; ++t, words += 2) index += words[1] * labels[words[0]];
      index = floor_div(index, divisor);
      inside = inside && index >= 0 && index < extent;
      offset += index * stride;
    }
    const T value = inside ? sources.of[k].at<T>(offset) : T(0);
    total = k == 0 ? value : plain(Functor<Op::mul>::apply(Functional<T>(total), Functional<T>(value)));
  }
  return total;
}

/// A warp for each element of the result: lanes fold every 32nd value of the reduced labels, then one
/// another.
template <Op op, class T>
__global__ void contract_kernel(Walk<2> over, int n_labels, int n_result_labels, const int64_t* words,
                                Sources sources, int64_t reduced, T first, float divisor, Target out) {
  const int lane = static_cast<int>(threadIdx.x % 32);
  const int64_t warps = static_cast<int64_t>(gridDim.x) * (blockDim.x / 32);
  int64_t labels[kMaxLabels];
  for (int64_t i = (static_cast<int64_t>(blockIdx.x) * blockDim.x + threadIdx.x) / 32; i < over.elements;
       i += warps) {
    const auto at = over.offsets(i);
    int64_t rest = at[1];
    for (int l = n_result_labels - 1; l >= 0; --l) labels[l] = rest % words[l], rest /= words[l];
    T total = first;
    for (int64_t r = lane; r < reduced; r += 32) {
      rest = r;
      for (int l = n_labels - 1; l >= n_result_labels; --l) labels[l] = rest % words[l], rest /= words[l];
      total = plain(Functor<op>::apply(Functional<T>(total),
                                       Functional<T>(product<T>(words + n_labels, sources, labels))));
    }
    for (int distance = 16; distance > 0; distance /= 2)
      total = plain(
          Functor<op>::apply(Functional<T>(total), Functional<T>(__shfl_xor_sync(~0u, total, distance))));
    if (lane == 0) out.set(at[0], divisor == 1.0f ? total : static_cast<T>(total / divisor));
  }
}

/// A thread for each element of an equation that reduces nothing.
template <class T>
__global__ void product_kernel(Walk<2> over, int n_labels, const int64_t* words, Sources sources,
                               Target out) {
  int64_t labels[kMaxLabels];
  TL_EACH(i, over.elements) {
    const auto at = over.offsets(i);
    int64_t rest = at[1];
    for (int l = n_labels - 1; l >= 0; --l) labels[l] = rest % words[l], rest /= words[l];
    out.set(at[0], product<T>(words + n_labels, sources, labels));
  }
}

template <class T>
void run_any(const Equation& e) {
  const Shape& shape = e.args.out.shape();
  const Walk<2> over(shape, {e.args.out.strides(), row_major_strides(shape)});
  const int64_t reduced = e.reduced();
  Sources sources{static_cast<int64_t>(e.args.in.size()), {}};
  for (size_t k = 0; k < e.args.in.size(); ++k) sources.of[k] = source_of(e.args.in[k]);
  const Uploaded<int64_t> words(spell(e));
  const Target out = target_of(e.args.out);
  if (!e.reduces()) {
    launch(product_kernel<T>, blocks_for(over.elements), kThreads, 0, over, e.attrs.n_labels, words.data(),
           sources, out);
    return;
  }
  const auto fold = [&]<Op op>(std::integral_constant<Op, op>, T first, float divisor = 1.0f) {
    launch(contract_kernel<op, T>, blocks_for(over.elements * 32), kThreads, 0, over, e.attrs.n_labels,
           e.attrs.n_result_labels, words.data(), sources, reduced, first, divisor, out);
  };
  using Limits = std::numeric_limits<T>;
  switch (e.attrs.reduction) {
    case Reduction::sum:
      return fold(std::integral_constant<Op, Op::add>{}, T(0));
    case Reduction::mean:
      return fold(std::integral_constant<Op, Op::add>{}, T(0), static_cast<float>(reduced));
    case Reduction::max:
      return fold(std::integral_constant<Op, Op::maximum>{},
                  Limits::has_infinity ? -Limits::infinity() : Limits::lowest());
    case Reduction::min:
      return fold(std::integral_constant<Op, Op::minimum>{},
                  Limits::has_infinity ? Limits::infinity() : Limits::max());
    case Reduction::prod:
      return fold(std::integral_constant<Op, Op::mul>{}, T(1));
  }
}

}  // namespace

void contract(const KernelArgs& args) {
  const Equation equation(args);
  if (args.out.elements() == 0) return;
  TL_CHECK(equation.attrs.n_labels <= kMaxLabels && args.in.size() <= kMaxOperands,
           "an equation within its limits");
  if (run_as_matrix_product(equation)) return;
  as_number(args.out.dtype(), [&]<class T>(T) { run_any<T>(equation); });
}

}  // namespace tl::cuda
