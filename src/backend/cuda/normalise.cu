// Operations that normalise lines of elements: a block for each line.
#include "backend/cuda/kernels.h"
#include "backend/cuda/refusals.h"
#include "backend/cuda/row_operation.cuh"
#include "backend/cuda/strided.cuh"

namespace tl::cuda {

namespace {

/// The largest of all threads' values; NaN is ignored, since it reaches the result through the sum.
__device__ float block_max(float value) {
  __shared__ float parts[kThreads / 32];
  value = warp_max(value);
  if (threadIdx.x % 32 == 0) parts[threadIdx.x / 32] = value;
  __syncthreads();
  value = parts[0];
  for (int w = 1; w < kThreads / 32; ++w) value = fmaxf(value, parts[w]);
  __syncthreads();
  return value;
}

/// Lines along one axis: the walk holds where each starts in out, x and mask.
struct Lines {
  Walk<3> starts;
  int64_t n, out_step, x_step, mask_step;
};

/// What softmax refuses.
constexpr unsigned long long kNothingKept = 0, kAllInfinite = 1;

template <bool logarithm>
__global__ void softmax_kernel(Lines lines, float* out, const float* x, const uint8_t* mask,
                               unsigned long long* refused) {
  for (int64_t line = blockIdx.x; line < lines.starts.elements; line += gridDim.x) {
    const auto at = lines.starts.offsets(line);
    const auto value = [&](int64_t i) { return x[at[1] + i * lines.x_step]; };
    const auto keeps = [&](int64_t i) { return mask == nullptr || mask[at[2] + i * lines.mask_step] != 0; };
    float most = -INFINITY, kept = 0;
    for (int64_t i = threadIdx.x; i < lines.n; i += kThreads) {
      if (!keeps(i)) continue;
      most = fmaxf(most, value(i));
      kept = 1;
    }
    most = block_max(most);
    if (mask != nullptr && block_max(kept) == 0) {
      if (threadIdx.x == 0) atomicMin(refused, kNothingKept);
      continue;
    }
    if (most == -INFINITY) {
      float other = 0;  // NaN is no maximum, but not infinite either
      for (int64_t i = threadIdx.x; i < lines.n; i += kThreads)
        if (keeps(i) && value(i) != -INFINITY) other = 1;
      if (block_max(other) == 0 && threadIdx.x == 0) atomicMin(refused, kAllInfinite);
    }
    float total = 0;
    for (int64_t i = threadIdx.x; i < lines.n; i += kThreads)
      if (keeps(i)) total += expf(value(i) - most);
    total = block_sum(total);
    const float factor = logarithm ? logf(total) : 1.0f / total;
    for (int64_t i = threadIdx.x; i < lines.n; i += kThreads) {
      const float shifted = value(i) - most;
      const float result = logarithm ? shifted - factor : expf(shifted) * factor;
      out[at[0] + i * lines.out_step] = keeps(i) ? result : 0.0f;
    }
  }
}

Lines lines_of(const KernelArgs& args, const Shape& mask_strides) {
  const int axis = args.attr<AxisAttrs>().axis;
  const Tensor &x = args.in[0], &out = args.out;
  return {{without(x.shape(), axis),
           {without(out.strides(), axis), without(x.strides(), axis), without(mask_strides, axis)}},
          x.shape()[axis],
          out.strides()[axis],
          x.strides()[axis],
          mask_strides[axis]};
}

/// `constant`: nobody writes to w.
__global__ void rms_norm_kernel(int64_t n, float* out, const float* x, const float* w, double eps,
                                Wide<bool> constant) {
  take_turn();
  const float* line = x + blockIdx.x * n;
  const float r = rms_factor(line, n, eps);
  for (int64_t i = threadIdx.x; i < n; i += kThreads)
    out[blockIdx.x * n + i] = w == nullptr ? line[i] * r : line[i] * r * w[i];
}

__global__ void layer_norm_kernel(int64_t n, float* out, const float* x, const float* gamma,
                                  const float* beta, double eps) {
  const float* line = x + blockIdx.x * n;
  float sum = 0, squares = 0;
  for (int64_t i = threadIdx.x; i < n; i += kThreads) sum += line[i];
  const float mean = block_sum(sum) / static_cast<float>(n);
  for (int64_t i = threadIdx.x; i < n; i += kThreads) {
    const float centred = line[i] - mean;
    squares += centred * centred;
  }
  squares = block_sum(squares);
  const auto r = static_cast<float>(1 / sqrt(static_cast<double>(squares) / static_cast<double>(n) + eps));
  for (int64_t i = threadIdx.x; i < n; i += kThreads) {
    float value = (line[i] - mean) * r;
    if (gamma != nullptr) value *= gamma[i];
    if (beta != nullptr) value += beta[i];
    out[blockIdx.x * n + i] = value;
  }
}

const float* vector_input(const KernelArgs& args, size_t i) {
  return args.in.size() > i ? read<float>(args.in[i]) : nullptr;
}

RowOperation row_norm(const LaunchList& list, const LaunchList::Launch& launch) {
  const Arguments a(list, launch);
  if (launch.grid.x != 1 || !a.get<Wide<bool>>(5)) return {};
  return RowNorm{a.get<int64_t>(0), a.get<float*>(1), a.get<const float*>(2), a.get<const float*>(3),
                 a.get<double>(4)};
}

}  // namespace

bool begins_joined_row(const void* kernel) {
  return kernel == reinterpret_cast<const void*>(rms_norm_kernel);
}

void tell_norms(RowMeanings& meanings) {
  meanings[reinterpret_cast<const void*>(rms_norm_kernel)] = row_norm;
}

void softmax(const KernelArgs& args) {
  const Tensor& x = args.in[0];
  if (x.elements() == 0) return;
  const bool masked = args.in.size() == 2;
  const Lines lines = lines_of(args, masked ? broadcast_strides(args.in[1], x.shape()) : x.strides());
  const float* from = read<float>(x);
  const uint8_t* mask = masked ? read<uint8_t>(args.in[1]) : nullptr;
  launch(softmax_kernel<false>, blocks_for(lines.starts.elements, 1), kThreads, 0, lines,
         write<float>(args.out), from, mask, Device::get().verdict());
  const unsigned long long refused = Device::get().read_verdict();
  if (refused == kNothingKept) refuse_empty_line(args.attr<AxisAttrs>().axis, x.shape());
  if (refused == kAllInfinite) refuse_infinite_line(Op::softmax, args.attr<AxisAttrs>().axis, x.shape());
}

void log_softmax(const KernelArgs& args) {
  if (args.in[0].elements() == 0) return;
  const Lines lines = lines_of(args, args.in[0].strides());
  const float* from = read<float>(args.in[0]);
  launch(softmax_kernel<true>, blocks_for(lines.starts.elements, 1), kThreads, 0, lines,
         write<float>(args.out), from, nullptr, Device::get().verdict());
  if (Device::get().read_verdict() == kAllInfinite)
    refuse_infinite_line(Op::log_softmax, args.attr<AxisAttrs>().axis, args.in[0].shape());
}

void rms_norm(const KernelArgs& args) {
  const Tensor& x = args.in[0];
  if (x.elements() == 0) return;
  const int64_t n = x.shape().back();
  const float *from = read<float>(x), *w = vector_input(args, 1);
  launch_early(rms_norm_kernel, static_cast<unsigned>(x.elements() / n), kThreads, 0, n,
               write<float>(args.out), from, w, args.params.floats[0],
               w == nullptr || args.in[1].storage()->constant);
}

void layer_norm(const KernelArgs& args) {
  const Tensor& x = args.in[0];
  if (x.elements() == 0) return;
  const int64_t n = x.shape().back();
  const float *from = read<float>(x), *gamma = vector_input(args, 1), *beta = vector_input(args, 2);
  launch(layer_norm_kernel, static_cast<unsigned>(x.elements() / n), kThreads, 0, n, write<float>(args.out),
         from, gamma, beta, args.params.floats[0]);
}

}  // namespace tl::cuda
