// Drawing tokens from candidates: a block a line, a thread a candidate. Exponentials are computed side by
// side and added by one thread in the order of the candidates, so that the sums are those of ops/draw.cpp.
#include "backend/cuda/kernels.h"
#include "backend/cuda/strided.cuh"
#include "ops/draw.h"

namespace tl::cuda {

namespace {

struct Drawing {
  const float* best;  ///< of each line k logits, then their places
  const int64_t* bits;
  int64_t* out;
  int64_t k;
  DrawOptions options;
};

/// The first thread for which something holds; `none` if it holds for none. For all threads of a block.
__device__ int first_where(bool holds, int none) {
  __shared__ int first;
  __syncthreads();  // who asked before has read the answer
  if (threadIdx.x == 0) first = none;
  __syncthreads();
  if (holds) atomicMin(&first, static_cast<int>(threadIdx.x));
  __syncthreads();
  return first;
}

/// Makes sums[i] the sum of the first n threads' weights up to thread i's. For all threads of a block.
__device__ void sum_in_order(double* sums, double weight, int n) {
  const int i = static_cast<int>(threadIdx.x);
  __syncthreads();
  if (i < n) sums[i] = weight;
  __syncthreads();
  if (i == 0)
    for (int j = 1; j < n; ++j) sums[j] += sums[j - 1];
  __syncthreads();
}

__global__ void __launch_bounds__(kMostTopK) draw_kernel(Drawing d) {
  __shared__ double sums[kMostTopK];
  const int i = static_cast<int>(threadIdx.x), k = static_cast<int>(d.k);
  const float *logits = d.best + blockIdx.x * 2 * d.k, *places = logits + d.k;
  let_next_begin();
  await_predecessors();
  double first = logits[0], logit = i < k ? logits[i] : -INFINITY;
  if (!is_drawable(first)) {
    if (i == 0) d.out[blockIdx.x] = refusal(first, static_cast<int64_t>(places[0]));
    return;
  }
  if (k == 1) {
    if (i == 0) d.out[blockIdx.x] = static_cast<int64_t>(places[0]);
    return;
  }
  int n = k;
  if (d.options.top_p < 1) {
    sum_in_order(sums, portable_exp(logit - first), n);
    n = first_where(i < n && sums[i] >= d.options.top_p * sums[n - 1], n - 1) + 1;
  }
  n = first_where(i < n && logit < first + d.options.min_log_p, n);
  first /= d.options.temp, logit /= d.options.temp;
  sum_in_order(sums, portable_exp(logit - first), n);
  const double target = unit_interval(d.bits[blockIdx.x]) * sums[n - 1];
  const int drawn = first_where(i < n && sums[i] > target, n - 1);
  if (i == 0) d.out[blockIdx.x] = static_cast<int64_t>(places[drawn]);
}

}  // namespace

void draw(const KernelArgs& args) {
  const Tensor &best = args.in[0], &bits = args.in[1];
  const int64_t lines = args.out.elements(), k = best.shape().back();
  if (lines == 0) return;
  constexpr unsigned kWarp = 32;
  const unsigned threads = (static_cast<unsigned>(k) + kWarp - 1) / kWarp * kWarp;
  // What the host has fetched of the token before is not sent back: that would end a recorded step.
  auto* out = reinterpret_cast<int64_t*>(overwrite_bytes(args.out));
  Drawing drawing{read<float>(best), nullptr, out, k, draw_options(args.params)};
  const bool is_of_step = lines == 1 && is_on_host(bits);  // other bits each step
  drawing.bits = is_of_step
                     ? Device::get().launches().number(load_int(bits, 0), {.source = bits.storage().get()})
                     : read<int64_t>(bits);
  launch_early(draw_kernel, dim3(static_cast<unsigned>(lines)), threads, 0, drawing);
}

}  // namespace tl::cuda
