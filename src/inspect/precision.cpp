#include "inspect/precision.h"

#include <algorithm>
#include <bit>
#include <cmath>

#include "backend/backend.h"
#include "inspect/structure.h"
#include "inspect/values.h"
#include "tensor/blocks.h"

namespace tl::inspect {

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
  const Tensor& w = args.in[1];
  const int64_t width = w.shape()[1], n_out = w.shape()[0];
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
  const Kernel& exact = reference_backend().kernels()[static_cast<size_t>(Op::contract)];
  if (attrs.reduction != Reduction::sum || attrs.n_labels == attrs.n_result_labels) return exact.run(args);
  const auto label = static_cast<size_t>(attrs.n_labels - 1);
  Params term = args.params;
  const int64_t n = term.ints[label];
  term.ints[label] = 1;
  const Tensor part(DType::f64, args.out.shape());
  std::vector<float> sums(static_cast<size_t>(part.elements()));
  for (int64_t k = 0; k < n; ++k) {
    exact.run({args.in, part, args.attrs, term, args.pool, args.activations});
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

template <DType type>
const Kernel* kernel_for(Op op) {
  static const Kernel of_linear{linear<type>, DType::f64, true},
      of_contract{contract<type>, DType::f64, true}, of_norm{rms_norm<type>, DType::f64, true};
  switch (op) {
    case Op::linear:
      return &of_linear;
    case Op::contract:
      return &of_contract;
    case Op::rms_norm:
      return &of_norm;
    default:
      return nullptr;
  }
}

}  // namespace

std::unordered_set<std::string> residual_stream(const Recording& recording) {
  const std::vector<std::string> found = roles(recording);
  std::unordered_set<std::string> names;
  for (size_t i = 0; i < found.size(); ++i)
    if (found[i].ends_with("_residual") || found[i].ends_with("token_embd"))
      names.insert(recording.records[i].name);
  return names;
}

Rounder::Rounder(Session& session, const Precision& precision,
                 const std::unordered_set<std::string>& residual)
    : precision_(precision), residual_(residual), names_(session.pool(), {.statistics = false}) {}

void Rounder::on_step(const ExecutedStep& step) {
  names_.on_step(step);
  const bool computes = !is_view(step.step.op) && step.step.op != Op::scalar;
  if (!computes || step.output.dtype() != DType::f64) return;
  const DType type =
      residual_.contains(names_.records().back().name) ? precision_.residual : precision_.activations;
  if (type == DType::f64) return;
  auto* out = step.output.data<double>();
  for (int64_t i = 0; i < step.output.elements(); ++i) out[i] = rounded(type, out[i]);
}

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

}  // namespace tl::inspect
