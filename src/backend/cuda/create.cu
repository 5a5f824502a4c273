// Tensors made from numbers alone, and rotary positions.
#include "backend/cuda/kernels.h"
#include "backend/cuda/row_operation.cuh"
#include "backend/cuda/strided.cuh"
#include "ops/random.h"

namespace tl::cuda {

namespace {

__global__ void iota_kernel(int64_t n, int64_t step, int64_t* out) { TL_EACH(i, n) out[i * step] = i; }

/// The mask is true where an index into an imaginary tensor with the coefficients as strides is not negative.
__global__ void affine_mask_kernel(Walk<2> over, int64_t offset, uint8_t* out) {
  TL_EACH(i, over.elements) {
    const auto at = over.offsets(i);
    out[at[0]] = at[1] + offset >= 0;
  }
}

/// tl::random_normal(), whose functions of <cmath> a device has under other names.
__device__ float normal(uint64_t seed, uint64_t i) {
  const auto words = random_block(seed, RandomStream::normal, i / 4);
  const uint64_t pair = i % 4 / 2 * 2;
  const double u = (words[pair] + 1.0) * 0x1p-32;
  const double angle = 2 * std::numbers::pi * (words[pair + 1] * 0x1p-32);
  return static_cast<float>(::sqrt(-2 * ::log(u)) * (i % 2 ? ::sin(angle) : ::cos(angle)));
}

template <RandomStream stream>
__global__ void random_kernel(int64_t n, uint64_t seed, float* out) {
  TL_EACH(i, n) {
    const auto at = static_cast<uint64_t>(i);
    if constexpr (stream == RandomStream::uniform)
      out[i] = tl::random_uniform(seed, at);
    else
      out[i] = normal(seed, at);
  }
}

template <RandomStream stream>
void fill_random(const KernelArgs& args) {
  TL_CHECK(args.out.is_contiguous(), "random numbers fill a contiguous result");
  const int64_t n = args.out.elements();
  if (n == 0) return;
  launch(random_kernel<stream>, blocks_for(n), kThreads, 0, n, static_cast<uint64_t>(args.params.ints[0]),
         write<float>(args.out));
}

constexpr int kSmall = 64;        ///< threads of a block, where there are few
constexpr int64_t kTogether = 8;  ///< heads that a thread rotates by the same angle

/// A thread for each pair of some heads, and for each dimension of theirs that is not rotated.
__global__ void rope_kernel(Rope r, float* out, const float* x) {
  take_turn();
  const int64_t width = r.head_dim - r.half, groups = (r.heads + kTogether - 1) / kTogether;
  TL_EACH(i, r.rows / r.heads * groups * width) {
    const int64_t d = i % width, place = i / width / groups, first = i / width % groups * kTogether;
    const Turn turn = d < r.half ? Turn(r, *r.first + place % r.positions, d) : Turn();
    const int64_t left = r.left(d), right = r.right(d);
    for (int64_t head = first; head < min(first + kTogether, r.heads); ++head) {
      const float* from = x + (place * r.heads + head) * r.head_dim;
      float* to = out + (place * r.heads + head) * r.head_dim;
      if (d >= r.half) {
        to[d + r.half] = from[d + r.half];
        continue;
      }
      const float a = from[left], b = from[right];
      to[left] = turn.left(a, b);
      to[right] = turn.right(a, b);
    }
  }
}

RowOperation row_rotation(const LaunchList& list, const LaunchList::Launch& launch) {
  const Arguments a(list, launch);
  const Rope& rope = a.get<Rope>(0);
  // A joined launch reads the factors before it waits.
  if (rope.positions != 1 || rope.rows != rope.heads || !rope.constant) return {};
  return RowRotation{rope, a.get<float*>(1), a.get<const float*>(2)};
}

}  // namespace

void tell_rotations(RowMeanings& meanings) {
  meanings[reinterpret_cast<const void*>(rope_kernel)] = row_rotation;
}

void iota(const KernelArgs& args) {
  const int64_t n = args.out.elements();
  if (n == 0) return;
  launch(iota_kernel, blocks_for(n), kThreads, 0, n, args.out.strides()[0], write<int64_t>(args.out));
}

void affine_mask(const KernelArgs& args) {
  const Shape& shape = args.out.shape();
  const Walk<2> over(shape, {args.out.strides(), Shape(args.attr<AffineMaskAttrs>().coefficients)});
  if (over.elements == 0) return;
  launch(affine_mask_kernel, blocks_for(over.elements), kThreads, 0, over,
         args.params.ints[static_cast<size_t>(shape.rank())], write<uint8_t>(args.out));
}

void random_uniform(const KernelArgs& args) { fill_random<RandomStream::uniform>(args); }
void random_normal(const KernelArgs& args) { fill_random<RandomStream::normal>(args); }

void rope(const KernelArgs& args) {
  const Tensor& x = args.in[0];
  if (x.elements() == 0) return;
  const int position_axis = x.rank() == 2 ? 0 : x.rank() - 3;
  const int64_t head_dim = x.shape().back();
  const float* from = read<float>(x);
  const float* factors = args.in.size() == 2 ? read<float>(args.in[1]) : nullptr;
  float* to = write<float>(args.out);
  const Rope r{x.elements() / head_dim,
               x.rank() == 2 ? 1 : x.shape()[x.rank() - 2],
               x.shape()[position_axis],
               head_dim,
               args.params.ints[1] / 2,
               Device::get().launches().number(args.params.ints[0]),
               args.attr<RopeAttrs>().style == RopeStyle::neox,
               args.params.floats[0],
               args.params.floats[1],
               factors,
               factors != nullptr ? args.in[1].strides()[0] : 0,
               factors == nullptr || args.in[1].storage()->constant};
  launch_early(
      rope_kernel,
      blocks_for(r.rows / r.heads * ((r.heads + kTogether - 1) / kTogether) * (head_dim - r.half), kSmall),
      kSmall, 0, r, to, from);
}

}  // namespace tl::cuda
