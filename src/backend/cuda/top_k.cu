// The largest elements of lines. Elements become keys that are different numbers in the order that is asked
// for; a block sorts up to kTile of them and keeps the first k, until one block's tile holds all that are
// left.
#include "backend/cuda/kernels.h"
#include "backend/cuda/strided.cuh"

namespace tl::cuda {

namespace {

using Key = unsigned long long;

constexpr int kTile = 2048, kSorters = 512;
static_assert(kMostTopK * 2 <= kTile, "a round at least halves what is left");

/// Larger for larger numbers, largest for NaN, the same for both zeros; and then larger for earlier places.
/// No key is 0.
__device__ Key key_of(float x, int64_t place) {
  const unsigned bits = __float_as_uint(x == 0 ? 0.0f : x);
  const unsigned order = isnan(x) ? ~0u : (bits & 0x80000000u) != 0 ? ~bits : bits | 0x80000000u;
  return static_cast<Key>(order) << 32 | (~0u - static_cast<unsigned>(place));
}
__device__ int64_t place_of(Key key) { return ~0u - static_cast<unsigned>(key); }

/// A round: tiles of n numbers of x (where `from` is null) or n keys of each line.
struct Round {
  Walk<2> starts;  ///< of lines, in the result and in x
  const float* x;
  int64_t x_step, n, k;
  const Key* from;  ///< may be null
  Key* to;          ///< k for each tile; null: the last round
  float* out;
  int64_t row_step, out_step;  ///< from values to places, and from one to the next
  int64_t padded;              ///< elements of a tile, rounded up to a power of two
};

/// Sorts `padded` keys, the largest first.
__device__ void sort_keys(Key* keys, int padded) {
  for (int size = 2; size <= padded; size *= 2)
    for (int stride = size / 2; stride > 0; stride /= 2) {
      for (int pair = static_cast<int>(threadIdx.x); pair < padded / 2; pair += kSorters) {
        const int i = pair / stride * 2 * stride + pair % stride, j = i + stride;
        const Key a = keys[i], b = keys[j];
        if ((a < b) == ((i & size) == 0)) keys[i] = b, keys[j] = a;
      }
      __syncthreads();
    }
}

__global__ void __launch_bounds__(kSorters) top_kernel(const __grid_constant__ Round r) {
  __shared__ Key keys[kTile];
  const int64_t line = blockIdx.y, first = static_cast<int64_t>(blockIdx.x) * kTile;
  const auto at = r.starts.offsets(line);
  const float* x = r.x + at[1];
  let_next_begin();
  await_predecessors();
  for (int i = static_cast<int>(threadIdx.x); i < r.padded; i += kSorters) {
    const int64_t place = first + i;
    keys[i] = place >= r.n        ? 0
              : r.from != nullptr ? r.from[line * r.n + place]
                                  : key_of(x[place * r.x_step], place);
  }
  __syncthreads();
  sort_keys(keys, static_cast<int>(r.padded));
  for (int i = static_cast<int>(threadIdx.x); i < r.k; i += kSorters) {
    const Key key = i < r.padded ? keys[i] : 0;
    if (r.to != nullptr) {
      r.to[(line * gridDim.x + blockIdx.x) * r.k + i] = key;
    } else {
      const int64_t place = place_of(key);
      r.out[at[0] + i * r.out_step] = x[place * r.x_step];
      r.out[at[0] + r.row_step + i * r.out_step] = static_cast<float>(place);
    }
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
  Round round{{without(x.shape(), last),
               {without(without(out.strides(), last + 1), last), without(x.strides(), last)}},
              read<float>(x),
              x.strides()[last],
              x.shape()[last],
              k,
              nullptr,
              nullptr,
              write<float>(out),
              out.strides()[last],
              out.strides()[last + 1],
              kTile};
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
