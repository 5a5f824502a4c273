// Reductions over several axes. A warp or a block adds up a line of reduced elements: each thread every 32nd
// or 256th of them, then all threads in a tree. How long a line is decides which.
#include <limits>

#include "backend/cuda/elementwise.cuh"

namespace tl::cuda {

namespace {

constexpr int64_t kWarpLine = 1024;  ///< the longest line that a warp takes

template <Op op, class T>
__device__ T combine(T a, T b) {
  return plain(Functor<op>::apply(Functional<T>(a), Functional<T>(b)));
}

/// Folds the values of all threads of a block (kLanes = its size) or of a warp.
template <Op op, class T, int kLanes>
__device__ T fold(T value) {
  for (int distance = 16; distance > 0; distance /= 2)
    value = combine<op>(value, __shfl_xor_sync(~0u, value, distance));
  if constexpr (kLanes > 32) {
    __shared__ T parts[kLanes / 32];
    if (threadIdx.x % 32 == 0) parts[threadIdx.x / 32] = value;
    __syncthreads();
    value = parts[0];
    for (int w = 1; w < kLanes / 32; ++w) value = combine<op>(value, parts[w]);
    __syncthreads();
  }
  return value;
}

/// What is done to an element before it is folded: nothing, or asked whether it is 0.
enum class Reads : uint8_t { value, truth };

template <Op op, class T, int kLanes, Reads reads>
__global__ void reduce_kernel(Walk<1> kept, Walk<1> reduced, Target out, Source x, T first, float scale) {
  const int lane = static_cast<int>(threadIdx.x) % kLanes;
  const int64_t per_block = blockDim.x / kLanes;
  for (int64_t line = blockIdx.x * per_block + threadIdx.x / kLanes; line < kept.elements;
       line += gridDim.x * per_block) {
    const int64_t start = kept.offsets(line)[0];
    T total = first;
    for (int64_t i = lane; i < reduced.elements; i += kLanes) {
      const T value = x.at<T>(start + reduced.offsets(i)[0]);
      total = combine<op>(total, reads == Reads::truth ? static_cast<T>(value != 0) : value);
    }
    total = fold<op, T, kLanes>(total);
    if (lane == 0) out.set(line, scale == 1.0f ? total : static_cast<T>(total / scale));
  }
}

template <Op op, class T, Reads reads = Reads::value>
void reduce(const KernelArgs& args, T first, bool mean = false) {
  TL_CHECK(args.out.is_contiguous(), "reductions write a contiguous result");
  const Tensor& x = args.in[0];
  Shape shape[2], strides[2];
  for (int a = 0; a < x.rank(); ++a) {
    const size_t which = args.attr<ReduceAttrs>().axes >> a & 1u;
    shape[which].push_back(x.shape()[a]);
    strides[which].push_back(x.strides()[a]);
  }
  const Walk<1> kept(shape[0], {strides[0]}), reduced(shape[1], {strides[1]});
  if (kept.elements == 0) return;
  const Source source = source_of(x);
  const float scale = mean ? static_cast<float>(reduced.elements) : 1.0f;
  if (reduced.elements <= kWarpLine)
    launch(reduce_kernel<op, T, 32, reads>, blocks_for(kept.elements, kThreads / 32), kThreads, 0, kept,
           reduced, target_of(args.out), source, first, scale);
  else
    launch(reduce_kernel<op, T, kThreads, reads>, blocks_for(kept.elements, 1), kThreads, 0, kept, reduced,
           target_of(args.out), source, first, scale);
}

void sum(const KernelArgs& args) {
  as_number(args.out.dtype(), [&]<class T>(T) { reduce<Op::add, T>(args, 0); });
}

void mean(const KernelArgs& args) { reduce<Op::add, float>(args, 0, true); }

void prod(const KernelArgs& args) {
  as_number(args.out.dtype(), [&]<class T>(T) { reduce<Op::mul, T>(args, 1); });
}

void max(const KernelArgs& args) {
  as_number(args.out.dtype(), [&]<class T>(T) {
    using Limits = std::numeric_limits<T>;
    reduce<Op::maximum, T>(args, Limits::has_infinity ? -Limits::infinity() : Limits::lowest());
  });
}

void min(const KernelArgs& args) {
  as_number(args.out.dtype(), [&]<class T>(T) {
    using Limits = std::numeric_limits<T>;
    reduce<Op::minimum, T>(args, Limits::has_infinity ? Limits::infinity() : Limits::max());
  });
}

void any(const KernelArgs& args) {
  as_number(args.in[0].dtype(), [&]<class T>(T) { reduce<Op::maximum, T, Reads::truth>(args, 0); });
}

void all(const KernelArgs& args) {
  as_number(args.in[0].dtype(), [&]<class T>(T) { reduce<Op::minimum, T, Reads::truth>(args, 1); });
}

}  // namespace

void add_reductions(KernelTable& table) {
#define X(name, ...) table[static_cast<size_t>(Op::reduce_##name)] = {name, DType::f32, false};
  TL_REDUCE_OPS(X)
#undef X
}

}  // namespace tl::cuda
