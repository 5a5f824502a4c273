// The largest elements of lines. Elements become keys that are different numbers in the order that is asked
// for. A few of not too many are found by one block a line: what is at least as large as the k-th of its
// threads' largest. Otherwise a block sorts up to kTile keys and keeps the first k, until one block's tile
// holds all that are left. The largest one alone of a long line, the next token, is found by several blocks.
#include "backend/cuda/kernels.h"
#include "backend/cuda/strided.cuh"

namespace tl::cuda {

namespace {

using Key = unsigned long long;

constexpr int kTile = 2048, kSorters = 512;
static_assert(kMostTopK * 2 <= kTile, "a round at least halves what is left");
constexpr int kFinders = 1024, kMostKeys = 4096;
static_assert(kMostTopK <= kFinders, "one of each thread's largest is the k-th");

/// Larger for larger numbers, largest for NaN, the same for both zeros; and then larger for earlier places.
/// No key is 0.
__device__ Key key_of(float x, int64_t place) {
  const unsigned bits = __float_as_uint(x == 0 ? 0.0f : x);
  const unsigned order = isnan(x) ? ~0u : (bits & 0x80000000u) != 0 ? ~bits : bits | 0x80000000u;
  return static_cast<Key>(order) << 32 | (~0u - static_cast<unsigned>(place));
}
__device__ int64_t place_of(Key key) { return ~0u - static_cast<unsigned>(key); }

/// Lines, of each of which the k largest elements are wanted.
struct Lines {
  Walk<2> starts;  ///< of lines, in the result and in x
  const float* x;
  int64_t x_step, n, k;
  float* out;
  int64_t row_step, out_step;  ///< from values to places, and from one to the next

  /// Writes the i-th of a line that starts there.
  __device__ void write(const Walk<2>::Offsets& at, int64_t i, Key key) const {
    const int64_t place = place_of(key);
    out[at[0] + i * out_step] = x[at[1] + place * x_step];
    out[at[0] + row_step + i * out_step] = static_cast<float>(place);
  }
};

/// A round: tiles of n numbers of x (where `from` is null) or n keys of each line.
struct Round {
  Lines lines;
  int64_t n;
  const Key* from;  ///< may be null
  Key* to;          ///< k for each tile; null: the last round
  int64_t padded;   ///< elements of a tile, rounded up to a power of two
};

/// Sorts `padded` keys, a power of two, the largest first.
__device__ void sort_keys(Key* keys, int padded) {
  for (int size = 2; size <= padded; size *= 2)
    for (int stride = size / 2; stride > 0; stride /= 2) {
      for (int pair = static_cast<int>(threadIdx.x); pair < padded / 2;
           pair += static_cast<int>(blockDim.x)) {
        const int i = 2 * pair - (pair & (stride - 1)), j = i + stride;
        const Key a = keys[i], b = keys[j];
        if ((a < b) == ((i & size) == 0)) keys[i] = b, keys[j] = a;
      }
      __syncthreads();
    }
}

/// The same for a key a thread, `n` threads at a time.
__device__ Key sort_key(Key mine, int n, Key* room) {
  constexpr int kWarp = 32;
  const int i = static_cast<int>(threadIdx.x);
  for (int size = 2; size <= n; size *= 2)
    for (int stride = size / 2; stride > 0; stride /= 2) {
      Key other = 0;
      if (stride < kWarp) {
        other = __shfl_xor_sync(~0u, mine, stride);
      } else {
        __syncthreads();  // who read before has done so
        room[i] = mine;
        __syncthreads();
        other = room[i ^ stride];
      }
      mine = ((i & stride) == 0) == ((i & size) == 0) ? max(mine, other) : min(mine, other);
    }
  return mine;
}

/// The largest of all threads' keys, for the first thread.
__device__ Key largest_key(Key mine, Key* room) {
  constexpr unsigned kWarp = 32;
  const auto of_warp = [](Key key) {
    for (int lanes = kWarp / 2; lanes > 0; lanes /= 2) key = max(key, __shfl_xor_sync(~0u, key, lanes));
    return key;
  };
  mine = of_warp(mine);
  if (threadIdx.x % kWarp == 0) room[threadIdx.x / kWarp] = mine;
  __syncthreads();
  return threadIdx.x < kWarp ? of_warp(threadIdx.x < blockDim.x / kWarp ? room[threadIdx.x] : 0) : 0;
}

/// A line a block. An element is among the k largest only if it is at least the k-th of the threads' largest
/// ones, and no more than k threads have such: there are kMostKeys at most.
__global__ void __launch_bounds__(kFinders) few_kernel(const __grid_constant__ Lines lines) {
  __shared__ Key keys[kMostKeys];
  __shared__ Key least;
  __shared__ int n_keys;
  const auto at = lines.starts.offsets(blockIdx.x);
  const float* x = lines.x + at[1];
  const int thread = static_cast<int>(threadIdx.x), n = static_cast<int>(lines.n),
            k = static_cast<int>(lines.k);
  let_next_begin();
  await_predecessors();
  Key best = 0;
#pragma unroll 16
  for (int i = thread; i < n; i += kFinders) best = max(best, key_of(x[i * lines.x_step], i));
  if (k == 1) {
    best = largest_key(best, keys);
    if (thread == 0) lines.write(at, 0, best);
    return;
  }
  best = sort_key(best, kFinders, keys);
  if (thread == k - 1) least = best;
  if (thread == 0) n_keys = 0;
  __syncthreads();
#pragma unroll 16
  for (int i = thread; i < n; i += kFinders)
    if (const Key key = key_of(x[i * lines.x_step], i); key >= least) keys[atomicAdd(&n_keys, 1)] = key;
  __syncthreads();
  int padded = 1;
  while (padded < n_keys) padded *= 2;
  if (padded <= kFinders) {
    const Key mine = sort_key(thread < n_keys ? keys[thread] : 0, padded, keys);
    if (thread < k) lines.write(at, thread, mine);
  } else {
    for (int i = n_keys + thread; i < padded; i += kFinders) keys[i] = 0;
    __syncthreads();
    sort_keys(keys, padded);
    for (int i = thread; i < k; i += kFinders) lines.write(at, i, keys[i]);
  }
}

/// What blocks found of a line: zeros before and after.
struct Largest {
  Key key;
  unsigned blocks;  ///< that have ended
};

/// The largest element of one line; the last block to end writes it.
__global__ void __launch_bounds__(kSorters)
    largest_kernel(const __grid_constant__ Lines lines, Largest* __restrict__ of_all) {
  __shared__ Key room[kSorters / 32];
  const auto at = lines.starts.offsets(0);
  const float* x = lines.x + at[1];
  const int n = static_cast<int>(lines.n), stride = static_cast<int>(gridDim.x * blockDim.x);
  let_next_begin();
  await_predecessors();
  Key best = 0;
#pragma unroll 4
  for (int i = static_cast<int>(blockIdx.x * blockDim.x + threadIdx.x); i < n; i += stride)
    best = max(best, key_of(x[i * lines.x_step], i));
  best = largest_key(best, room);
  if (threadIdx.x != 0) return;
  atomicMax(&of_all->key, best);
  __threadfence();
  if (atomicAdd(&of_all->blocks, 1u) + 1 != gridDim.x) return;
  __threadfence();
  lines.write(at, 0, atomicExch(&of_all->key, Key{0}));
  of_all->blocks = 0;
}

Largest* largest_of_all() {
  static Largest* const found = [] {
    void* memory = nullptr;
    check(cudaMalloc(&memory, sizeof(Largest)), "memory");
    check(cudaMemsetAsync(memory, 0, sizeof(Largest), Device::get().stream()), "setting memory");
    return static_cast<Largest*>(memory);
  }();
  return found;
}

__global__ void __launch_bounds__(kSorters) top_kernel(const __grid_constant__ Round r) {
  __shared__ Key keys[kTile];
  const int64_t line = blockIdx.y, first = static_cast<int64_t>(blockIdx.x) * kTile, k = r.lines.k;
  const auto at = r.lines.starts.offsets(line);
  const float* x = r.lines.x + at[1];
  let_next_begin();
  await_predecessors();
  for (int i = static_cast<int>(threadIdx.x); i < r.padded; i += kSorters) {
    const int64_t place = first + i;
    keys[i] = place >= r.n        ? 0
              : r.from != nullptr ? r.from[line * r.n + place]
                                  : key_of(x[place * r.lines.x_step], place);
  }
  __syncthreads();
  sort_keys(keys, static_cast<int>(r.padded));
  for (int i = static_cast<int>(threadIdx.x); i < k; i += kSorters) {
    const Key key = i < r.padded ? keys[i] : 0;
    if (r.to != nullptr)
      r.to[(line * gridDim.x + blockIdx.x) * k + i] = key;
    else
      r.lines.write(at, i, key);
  }
}

}  // namespace

void top_k(const KernelArgs& args) {
  const Tensor &x = args.in[0], &out = args.out;
  const int last = x.rank() - 1;
  const int64_t lines = x.elements() / std::max<int64_t>(1, x.shape()[last]), k = args.params.ints[0];
  if (lines == 0) return;
  constexpr int64_t kMostLines = 65535;
  TL_CHECK(lines <= kMostLines, "the largest elements of too many lines for a grid");
  const Lines all{{without(x.shape(), last),
                   {without(without(out.strides(), last + 1), last), without(x.strides(), last)}},
                  read<float>(x),
                  x.strides()[last],
                  x.shape()[last],
                  k,
                  write<float>(out),
                  out.strides()[last],
                  out.strides()[last + 1]};
  constexpr int64_t kOfThread = 4, kMostBlocks = 64;
  if (k == 1 && lines == 1 && all.n >= 2 * kOfThread * kSorters) {
    const int64_t blocks = std::min(kMostBlocks, all.n / (kOfThread * kSorters));
    return launch_early(largest_kernel, dim3(static_cast<unsigned>(blocks)), kSorters, 0, all,
                        largest_of_all());
  }
  if (k * ((all.n + kFinders - 1) / kFinders) <= kMostKeys)
    return launch_early(few_kernel, dim3(static_cast<unsigned>(lines)), kFinders, 0, all);
  Round round{all, all.n, nullptr, nullptr, kTile};
  const auto tiles_of = [](int64_t n) { return (n + kTile - 1) / kTile; };
  const auto bytes = static_cast<size_t>(lines * k * tiles_of(round.n)) * sizeof(Key);
  const Scratch even(bytes), odd(bytes);
  for (bool is_even = true;; is_even = !is_even) {
    const int64_t tiles = tiles_of(round.n);
    round.to = tiles == 1 ? nullptr : (is_even ? even : odd).as<Key>();
    while (round.padded / 2 >= round.n) round.padded /= 2;
    launch_early(top_kernel, dim3(static_cast<unsigned>(tiles), static_cast<unsigned>(lines)), kSorters, 0,
                 round);
    if (tiles == 1) return;
    round.from = round.to;
    round.n = tiles * k;
  }
}

}  // namespace tl::cuda
