// Kernels whose sums are kept in a narrower type: rounded after every addition, as a chip does that has
// nothing wider. One running sum an element, in the order of the elements.
#include <algorithm>
#include <bit>
#include <cmath>
#include <limits>

#include "backend/reference/kernels.h"
#include "tensor/blocks.h"

namespace tl::reference {

namespace {

/// The nearest number of a narrower type, as float. Plain arithmetic on bits, so that loops over it become
/// vectors.
template <DType type>
float narrowed(float x) {
  if constexpr (type == DType::f32) return x;
  constexpr uint32_t dropped = type == DType::f16 ? 13 : 16;  // bits of a float's 23 that the type has not
  const auto bits = std::bit_cast<uint32_t>(x);
  const uint32_t half = (1U << (dropped - 1)) - 1 + ((bits >> dropped) & 1);  // ties to even
  const auto nearest = std::bit_cast<float>((bits + half) & ~((1U << dropped) - 1));
  if constexpr (type == DType::bf16) return nearest;
  const float size = std::fabs(x);
  const float tiny = (x + 0.75F) - 0.75F;  // below 2^-14 float16 counts in steps of 2^-24
  const float plain = size < 0x1p-14F ? tiny : nearest;
  return size >= 65520 ? std::copysign(INFINITY, x) : plain;
}

/// linear, every element of the result one running sum.
template <DType type>
void linear(const KernelArgs& args) {
  constexpr int64_t kLanes = 16;  // elements of the result at a time
  const Tensor& stored = args.in[1];
  const int64_t width = stored.shape()[1], n_out = stored.shape()[0];
  const bool lies_in_rows = width <= 1 || stored.strides()[1] == 1;
  const Tensor w = lies_in_rows ? stored : converted(stored, stored.dtype());
  const Tensor x = converted(args.in[0], DType::f32);
  const int64_t rows = x.elements() / width;
  args.pool.parallel_for((n_out + kLanes - 1) / kLanes, 1, [&](int64_t begin, int64_t end) {
    std::vector<float> line(static_cast<size_t>(width)), panel(static_cast<size_t>(width * kLanes));
    for (int64_t block = begin; block < end; ++block) {
      const int64_t first = block * kLanes, n = std::min(kLanes, n_out - first);
      for (int64_t o = 0; o < n; ++o) {
        decode_row(w.dtype(), w.at((first + o) * w.strides()[0]), line.data(), width);
        for (int64_t i = 0; i < width; ++i)
          panel[static_cast<size_t>(i * kLanes + o)] = line[static_cast<size_t>(i)];
      }
      for (int64_t r = 0; r < rows; ++r) {
        const float* in = x.data<float>() + r * width;
        float sums[kLanes] = {};
        for (int64_t i = 0; i < width; ++i) {
          const float* weights = panel.data() + i * kLanes;
          for (int64_t o = 0; o < kLanes; ++o)
            sums[o] = narrowed<type>(sums[o] + narrowed<type>(in[i] * weights[o]));
        }
        for (int64_t o = 0; o < n; ++o) {
          const double bias = args.in.size() > 2 ? load_double(args.in[2], first + o) : 0;
          store_double(args.out, r * n_out + first + o, static_cast<double>(sums[o]) + bias);
        }
      }
    }
  });
}

/// A tensor equation's sum, term by term: the reference's kernel for one value of the last summed label at a
/// time.
template <DType type>
void contract(const KernelArgs& args) {
  const auto& attrs = args.attr<ContractAttrs>();
  if (attrs.reduction != Reduction::sum || attrs.n_labels == attrs.n_result_labels)
    return reference::contract(args);
  const auto label = static_cast<size_t>(attrs.n_labels - 1);
  Params term = args.params;
  const int64_t n = term.ints[label];
  term.ints[label] = 1;
  const Tensor part(DType::f64, args.out.shape());
  std::vector<float> sums(static_cast<size_t>(part.elements()));
  for (int64_t k = 0; k < n; ++k) {
    reference::contract({args.in, part, args.attrs, term, args.pool, args.activations});
    const double* terms = part.data<double>();
    for (size_t i = 0; i < sums.size(); ++i)
      sums[i] = narrowed<type>(sums[i] + narrowed<type>(static_cast<float>(terms[i])));
    auto at = static_cast<size_t>(attrs.n_labels);
    for (const auto& operand : attrs.operands)
      for (const AxisIndex& axis : operand) {
        for (const auto& summed : axis.terms)
          if (summed.label == attrs.n_labels - 1) term.ints[at] += summed.coefficient;
        ++at;
      }
  }
  std::vector<double> wide(sums.begin(), sums.end());
  for (size_t i = 0; i < wide.size(); ++i) store_double(args.out, static_cast<int64_t>(i), wide[i]);
}

/// rms_norm whose sum of squares is narrow.
template <DType type>
void rms_norm(const KernelArgs& args) {
  const Tensor x = converted(args.in[0], DType::f64);
  const int64_t width = x.shape().back(), rows = x.elements() / width;
  for (int64_t r = 0; r < rows; ++r) {
    const double* in = x.data<double>() + r * width;
    float squares = 0;
    for (int64_t i = 0; i < width; ++i) {
      const auto factor = static_cast<float>(in[i]);
      squares = narrowed<type>(squares + narrowed<type>(factor * factor));
    }
    const double scale =
        1 / std::sqrt(static_cast<double>(squares) / static_cast<double>(width) + args.params.floats[0]);
    for (int64_t i = 0; i < width; ++i) {
      const double weight = args.in.size() > 1 ? load_double(args.in[1], i) : 1;
      store_double(args.out, r * width + i, in[i] * scale * weight);
    }
  }
}

/// How far apart the matrices of an operand lie, by the axes of the result; 0 where they are repeated.
Shape batch_strides(const Tensor& x, int rank) {
  const Shape own = row_major_strides(x.shape());
  Shape strides;
  for (int axis = 0; axis < rank - 2; ++axis) {
    const int at = axis - (rank - x.rank());
    strides.push_back(at < 0 || x.shape()[at] == 1 ? 0 : own[at]);
  }
  return strides;
}

/// A sum that is rounded after every addition, terms too.
template <DType type>
struct Sum {
  float value = 0;
  void add(double term) { value = narrowed<type>(value + narrowed<type>(static_cast<float>(term))); }
};

/// matmul, a running sum an element.
template <DType type>
void matmul(const KernelArgs& args) {
  const Tensor &a = args.in[0], &b = args.in[1], &out = args.out;
  const int64_t m = a.shape()[a.rank() - 2], n = out.shape().back(), inner = a.shape().back();
  const Shape a_strides = batch_strides(a, out.rank()), b_strides = batch_strides(b, out.rank());
  const int64_t batches = out.elements() / std::max<int64_t>(1, m * n);
  args.pool.parallel_for(batches * m, 1, [&](int64_t begin, int64_t end) {
    for (int64_t row = begin; row < end; ++row) {
      int64_t from_a = row % m * inner, from_b = 0, rest = row / m;
      for (int axis = out.rank() - 3; axis >= 0; --axis) {
        from_a += rest % out.shape()[axis] * a_strides[axis];
        from_b += rest % out.shape()[axis] * b_strides[axis];
        rest /= out.shape()[axis];
      }
      for (int64_t j = 0; j < n; ++j) {
        Sum<type> sum;
        for (int64_t k = 0; k < inner; ++k)
          sum.add(load_double(a, from_a + k) * load_double(b, from_b + k * n + j));
        store_double(out, row * n + j, sum.value);
      }
    }
  });
}

/// sum and mean.
template <DType type>
void reduce(const KernelArgs& args) {
  const Tensor& x = args.in[0];
  const auto& [axes, keepdim] = args.attr<ReduceAttrs>();
  Shape strides;  // of the result, by the axes of x
  int64_t stride = 1;
  for (int axis = x.rank() - 1; axis >= 0; --axis) {
    strides.push_back(axes >> axis & 1 ? 0 : stride);
    if (!(axes >> axis & 1)) stride *= x.shape()[axis];
  }
  std::vector<Sum<type>> sums(static_cast<size_t>(args.out.elements()));
  for (int64_t i = 0; i < x.elements(); ++i) {
    int64_t to = 0, rest = i;
    for (int axis = x.rank() - 1; axis >= 0; --axis) {
      to += rest % x.shape()[axis] * strides[x.rank() - 1 - axis];
      rest /= x.shape()[axis];
    }
    sums[static_cast<size_t>(to)].add(load_double(x, i));
  }
  for (size_t i = 0; i < sums.size(); ++i) store_double(args.out, static_cast<int64_t>(i), sums[i].value);
}

template <DType type>
void mean(const KernelArgs& args) {
  reduce<type>(args);
  const auto n = static_cast<double>(args.in[0].elements()) / static_cast<double>(args.out.elements());
  for (int64_t i = 0; i < args.out.elements(); ++i) store_double(args.out, i, load_double(args.out, i) / n);
}

/// Calls line(first element, step, length) for every line along an axis of a contiguous tensor.
template <class Line>
void each_line(const Tensor& x, int axis, Line line) {
  const int64_t n = x.shape()[axis];
  int64_t step = 1;
  for (int a = axis + 1; a < x.rank(); ++a) step *= x.shape()[a];
  for (int64_t outer = 0; n > 0 && outer < x.elements() / (n * step); ++outer)
    for (int64_t inner = 0; inner < step; ++inner) line(outer * n * step + inner, step, n);
}

template <DType type>
void cumsum(const KernelArgs& args) {
  each_line(args.in[0], args.attr<AxisAttrs>().axis, [&](int64_t first, int64_t step, int64_t n) {
    Sum<type> sum;
    for (int64_t i = 0; i < n; ++i) {
      sum.add(load_double(args.in[0], first + i * step));
      store_double(args.out, first + i * step, sum.value);
    }
  });
}

/// e^(x - max) is the exact result over the largest of its line.
template <DType type>
void softmax(const KernelArgs& args) {
  reference::softmax(args);
  each_line(args.out, args.attr<AxisAttrs>().axis, [&](int64_t first, int64_t step, int64_t n) {
    double most = 0;
    for (int64_t i = 0; i < n; ++i) most = std::max(most, load_double(args.out, first + i * step));
    Sum<type> sum;  // of e^(x - max), as the operation sums
    for (int64_t i = 0; i < n; ++i) sum.add(load_double(args.out, first + i * step) / most);
    for (int64_t i = 0; i < n; ++i) {
      const double e = load_double(args.out, first + i * step) / most;
      store_double(args.out, first + i * step, e / static_cast<double>(sum.value));
    }
  });
}

template <DType type>
void log_softmax(const KernelArgs& args) {
  each_line(args.in[0], args.attr<AxisAttrs>().axis, [&](int64_t first, int64_t step, int64_t n) {
    double most = -std::numeric_limits<double>::infinity();
    for (int64_t i = 0; i < n; ++i) most = std::max(most, load_double(args.in[0], first + i * step));
    Sum<type> sum;
    for (int64_t i = 0; i < n; ++i) sum.add(std::exp(load_double(args.in[0], first + i * step) - most));
    for (int64_t i = 0; i < n; ++i)
      store_double(
          args.out, first + i * step,
          load_double(args.in[0], first + i * step) - most - std::log(static_cast<double>(sum.value)));
  });
}

template <DType type>
void layer_norm(const KernelArgs& args) {
  const Tensor& x = args.in[0];
  each_line(x, x.rank() - 1, [&](int64_t first, int64_t, int64_t n) {
    Sum<type> sum, squares;
    for (int64_t i = 0; i < n; ++i) sum.add(load_double(x, first + i));
    const double mean = static_cast<double>(sum.value) / static_cast<double>(n);
    const auto off = [&](int64_t i) { return load_double(x, first + i) - mean; };
    for (int64_t i = 0; i < n; ++i) squares.add(off(i) * off(i));
    const double root =
        std::sqrt(static_cast<double>(squares.value) / static_cast<double>(n) + args.params.floats[0]);
    for (int64_t i = 0; i < n; ++i) {
      const double gamma = args.in.size() > 1 ? load_double(args.in[1], i) : 1;
      const double beta = args.in.size() > 2 ? load_double(args.in[2], i) : 0;
      store_double(args.out, first + i, off(i) / root * gamma + beta);
    }
  });
}

template <DType type>
const Kernel* kernel_for(Op op) {
  constexpr auto table = [] {
    KernelTable t{};
    const auto add = [&t](Op row, void (*run)(const KernelArgs&)) {
      t[static_cast<size_t>(row)] = {run, DType::f64, true};
    };
    add(Op::linear, linear<type>);
    add(Op::contract, contract<type>);
    add(Op::matmul, matmul<type>);
    add(Op::reduce_sum, reduce<type>);
    add(Op::reduce_mean, mean<type>);
    add(Op::cumsum, cumsum<type>);
    add(Op::softmax, softmax<type>);
    add(Op::log_softmax, log_softmax<type>);
    add(Op::rms_norm, rms_norm<type>);
    add(Op::layer_norm, layer_norm<type>);
    return t;
  }();
  static constexpr KernelTable kTable = table;
  const Kernel& kernel = kTable[static_cast<size_t>(op)];
  return kernel.run != nullptr ? &kernel : nullptr;
}

}  // namespace

const Kernel* summing_kernel(Op op, DType type) {
  switch (type) {
    case DType::f16:
      return kernel_for<DType::f16>(op);
    case DType::bf16:
      return kernel_for<DType::bf16>(op);
    case DType::f32:
      return kernel_for<DType::f32>(op);
    default:
      return nullptr;
  }
}

}  // namespace tl::reference
