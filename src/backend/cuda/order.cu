// Operations that depend on the order of elements along one axis. A block takes a line.
#include "backend/cuda/kernels.h"
#include "backend/cuda/strided.cuh"

namespace tl::cuda {

namespace {

template <class T>
__device__ bool is_nan(T x) {
  return x != x;
}

/// Lines along an axis of x: the walk holds where each starts in the result and in x.
struct Lines {
  Walk<2> starts;
  int64_t n, out_step, x_step;
};

/// Whether element (a, i) goes before (b, j): NaN first, then by value, then by place.
template <bool largest, class T>
__device__ bool goes_first(T a, int64_t i, T b, int64_t j) {
  if (is_nan(a) != is_nan(b)) return is_nan(a);
  if (!is_nan(a) && a != b) return largest ? a > b : a < b;
  return i < j;
}

template <bool largest, class T>
__global__ void arg_kernel(Lines lines, Target out, Source x) {
  __shared__ T values[kThreads];
  __shared__ int64_t places[kThreads];
  for (int64_t line = blockIdx.x; line < lines.starts.elements; line += gridDim.x) {
    const auto at = lines.starts.offsets(line);
    int64_t best = threadIdx.x < lines.n ? threadIdx.x : 0;
    T value = x.at<T>(at[1] + best * lines.x_step);
    for (int64_t i = best + kThreads; i < lines.n; i += kThreads) {
      const T other = x.at<T>(at[1] + i * lines.x_step);
      if (goes_first<largest>(other, i, value, best)) value = other, best = i;
    }
    values[threadIdx.x] = value;
    places[threadIdx.x] = best;
    for (int half = kThreads / 2; half > 0; half /= 2) {
      __syncthreads();
      const unsigned other = threadIdx.x + half;
      if (threadIdx.x < half &&
          goes_first<largest>(values[other], places[other], values[threadIdx.x], places[threadIdx.x])) {
        values[threadIdx.x] = values[other];
        places[threadIdx.x] = places[other];
      }
    }
    if (threadIdx.x == 0) out.set(at[0], places[0]);
    __syncthreads();
  }
}

template <bool largest>
void arg_first(const KernelArgs& args) {
  const Tensor& x = args.in[0];
  const int axis = args.attr<AxisAttrs>().axis;
  const Lines lines{{without(x.shape(), axis), {args.out.strides(), without(x.strides(), axis)}},
                    x.shape()[axis],
                    0,
                    x.strides()[axis]};
  if (lines.starts.elements == 0) return;
  as_number(x.dtype(), [&]<class T>(T) {
    const Source from = source_of(x);
    launch(arg_kernel<largest, T>, blocks_for(lines.starts.elements, 1), kThreads, 0, lines,
           target_of(args.out), from);
  });
}

Lines lines_of(const KernelArgs& args, int axis) {
  const Tensor& x = args.in[0];
  return {{without(x.shape(), axis), {without(args.out.strides(), axis), without(x.strides(), axis)}},
          x.shape()[axis],
          args.out.strides()[axis],
          x.strides()[axis]};
}

/// A thread a line: each partial sum is the one before it and an element, rounded.
template <class T>
__global__ void cumsum_kernel(Lines lines, Target out, Source x) {
  TL_EACH(line, lines.starts.elements) {
    const auto at = lines.starts.offsets(line);
    T total = 0;
    for (int64_t i = 0; i < lines.n; ++i) {
      const T value = x.at<T>(at[1] + i * lines.x_step);
      total = i == 0 ? value : static_cast<T>(total + value);
      out.set(at[0] + i * lines.out_step, total);
    }
  }
}

/// What a stable sort compares: NaN goes last.
template <class T>
__device__ bool before(T a, int64_t i, T b, int64_t j, bool descending) {
  if (is_nan(a) != is_nan(b)) return is_nan(b);
  if (!is_nan(a) && a != b) return descending ? a > b : a < b;
  return i < j;
}

/// The places of a line's elements in sorted order, by a bitonic network over n rounded up to a power of two;
/// places from n on stand for elements that go after all others.
template <class T>
__device__ void sort_places(const Lines& lines, const Source& x, int64_t start, int64_t padded,
                            bool descending, int64_t* places) {
  const auto precedes = [&](int64_t i, int64_t j) {
    if (i >= lines.n || j >= lines.n) return i < j;
    return before(x.at<T>(start + i * lines.x_step), i, x.at<T>(start + j * lines.x_step), j, descending);
  };
  for (int64_t i = threadIdx.x; i < padded; i += kThreads) places[i] = i;
  __syncthreads();
  for (int64_t size = 2; size <= padded; size *= 2)
    for (int64_t stride = size / 2; stride > 0; stride /= 2) {
      for (int64_t i = threadIdx.x; i < padded; i += kThreads) {
        const int64_t j = i ^ stride;
        if (j <= i) continue;
        const bool up = (i & size) == 0;
        if (precedes(places[j], places[i]) == up) {
          const int64_t kept = places[i];
          places[i] = places[j];
          places[j] = kept;
        }
      }
      __syncthreads();
    }
}

template <class T, bool values>
__global__ void sort_kernel(Lines lines, Target out, Source x, int64_t padded, bool descending,
                            int64_t* all_places) {
  int64_t* places = all_places + blockIdx.x * padded;
  for (int64_t line = blockIdx.x; line < lines.starts.elements; line += gridDim.x) {
    const auto at = lines.starts.offsets(line);
    sort_places<T>(lines, x, at[1], padded, descending, places);
    for (int64_t i = threadIdx.x; i < lines.n; i += kThreads) {
      if constexpr (values)
        out.set(at[0] + i * lines.out_step, x.at<T>(at[1] + places[i] * lines.x_step));
      else
        out.set(at[0] + i * lines.out_step, places[i]);
    }
    __syncthreads();
  }
}

template <bool values>
void sort_lines(const KernelArgs& args) {
  const Lines lines = lines_of(args, args.attr<SortAttrs>().axis);
  if (args.out.elements() == 0) return;
  int64_t padded = 1;
  while (padded < lines.n) padded *= 2;
  const auto blocks = static_cast<unsigned>(std::min<int64_t>(lines.starts.elements, 1024));
  const Scratch places(static_cast<size_t>(padded) * blocks * sizeof(int64_t));
  as_number(args.in[0].dtype(), [&]<class T>(T) {
    const Source from = source_of(args.in[0]);
    launch(sort_kernel<T, values>, blocks, kThreads, 0, lines, target_of(args.out), from, padded,
           args.attr<SortAttrs>().descending, places.as<int64_t>());
  });
}

}  // namespace

void argmax(const KernelArgs& args) { arg_first<true>(args); }
void argmin(const KernelArgs& args) { arg_first<false>(args); }

void cumsum(const KernelArgs& args) {
  const Lines lines = lines_of(args, args.attr<AxisAttrs>().axis);
  if (args.out.elements() == 0) return;
  as_number(args.out.dtype(), [&]<class T>(T) {
    const Source from = source_of(args.in[0]);
    launch(cumsum_kernel<T>, blocks_for(lines.starts.elements, 32), 32, 0, lines, target_of(args.out), from);
  });
}

void sort(const KernelArgs& args) { sort_lines<true>(args); }
void argsort(const KernelArgs& args) { sort_lines<false>(args); }

}  // namespace tl::cuda
