#include "backend/cuda/blocks.cuh"

#include "backend/cuda/q8.cuh"
#include "backend/cuda/row_operation.cuh"
#include "backend/cuda/staging.h"
#include "backend/cuda/strided.cuh"

namespace tl::cuda {

namespace {

/// Copies one field of every block: a thread moves a byte.
__global__ void separate_kernel(int64_t n, int block_bytes, Field field, const uint8_t* from, uint8_t* to) {
  TL_EACH(i, n * field.bytes) to[i] = from[i / field.bytes * block_bytes + field.offset + i % field.bytes];
}

/// A warp rounds a block of 32, of rows of k.
__global__ void round_kernel(int64_t blocks, int64_t k, const float* x, int8_t* quants, float* scales,
                             int* sums) {
  const int lane = static_cast<int>(threadIdx.x % 32);
  const int64_t warps = static_cast<int64_t>(gridDim.x) * (blockDim.x / 32);
  for (int64_t b = (static_cast<int64_t>(blockIdx.x) * blockDim.x + threadIdx.x) / 32; b < blocks;
       b += warps) {
    const RoundedLane rounded(x[b * 32 + lane]);
    int8_t* high = quants + b * 32 / k * k + b * 32 + lane;
    high[0] = static_cast<int8_t>((rounded.quant + Rounding::kHalf) >> 8);
    high[k] = static_cast<int8_t>(rounded.quant);  // its lowest byte
    if (lane % 16 == 0) sums[b * 2 + lane / 16] = rounded.sum;
    if (lane == 0) scales[b] = rounded.scale;
  }
}

RowOperation row_rounding(const LaunchList& list, const LaunchList::Launch& launch) {
  const Arguments a(list, launch);
  const auto k = a.get<int64_t>(1);
  if (a.get<int64_t>(0) * 32 != k) return {};
  return RowRounding{k, a.get<const float*>(2), a.get<int8_t*>(3), a.get<float*>(4), a.get<int*>(5)};
}

}  // namespace

void tell_roundings(RowMeanings& meanings) {
  meanings[reinterpret_cast<const void*>(round_kernel)] = row_rounding;
}

Blocks blocks_of(const Tensor& t) {
  const Format format = format_of(t.dtype());
  const int bytes = static_cast<int>(info(t.dtype()).block_bytes);
  const auto* data = reinterpret_cast<const uint8_t*>(read_bytes(t));
  Blocks blocks{t.dtype(), {}, {}};
  for (int f = 0; f < format.n_fields; ++f) {
    blocks.data[f] = data + format.fields[f].offset;
    blocks.stride[f] = bytes;
  }
  return blocks;
}

Planes::Planes(const Tensor& w)
    : memory_(static_cast<size_t>(bytes_of(w.dtype(), w.elements())) + 16 * kMaxFields) {
  const Format format = format_of(w.dtype());
  const DTypeInfo& type = info(w.dtype());
  const int64_t row_blocks = w.shape()[1] / type.block_elements, n = w.shape()[0] * row_blocks;
  const int64_t row_bytes = bytes_of(w.dtype(), w.strides()[0]);
  const bool dense = row_bytes == row_blocks * type.block_bytes;
  const size_t extent = static_cast<size_t>(
      std::max<int64_t>(0, (w.shape()[0] - 1) * row_bytes + row_blocks * type.block_bytes));
  // A constant's blocks pass through the device once; only the planes stay.
  const bool staged = w.storage()->constant;
  const Scratch stage(staged ? std::max<size_t>(1, extent) : 1);
  if (staged) upload_weights(stage.as<uint8_t>(), w.bytes(), extent);
  const auto* from = staged ? stage.as<uint8_t>() : reinterpret_cast<const uint8_t*>(read_bytes(w));
  auto* to = memory_.as<uint8_t>();
  blocks_ = {w.dtype(), {}, {}};
  for (int f = 0; f < format.n_fields; ++f) {
    const Field field = format.fields[f];
    blocks_.data[f] = to;
    blocks_.stride[f] = field.bytes;
    const int64_t pieces = dense ? 1 : w.shape()[0], blocks = n / std::max<int64_t>(1, pieces);
    for (int64_t r = 0; r < pieces && n > 0; ++r)
      launch(separate_kernel, blocks_for(blocks * field.bytes), kThreads, 0, blocks,
             static_cast<int>(type.block_bytes), field, from + r * row_bytes, to + r * blocks * field.bytes);
    to += (n * field.bytes + 15) / 16 * 16;
  }
}

std::shared_ptr<const Planes> planes_of(const Tensor& w) {
  std::shared_ptr<Derived>* kept = derived(w, DerivedKind::planes);
  if (kept == nullptr) return std::make_shared<Planes>(w);
  if (!*kept) *kept = std::make_shared<Planes>(w);
  return std::static_pointer_cast<const Planes>(*kept);
}

Q8Memory::Q8Memory(int64_t m, int64_t k)
    : m_(m),
      k_(k),
      quants_(static_cast<size_t>(2 * m * k)),
      scales_(static_cast<size_t>(m * k / 32) * sizeof(float)),
      sums_(static_cast<size_t>(m * k / 16) * sizeof(int)) {}

void Q8Memory::round(const float* x) const {
  const int64_t blocks = m_ * k_ / 32;
  launch(round_kernel, blocks_for(blocks * 32), kThreads, 0, blocks, k_, x, quants_.as<int8_t>(),
         scales_.as<float>(), sums_.as<int>());
}

}  // namespace tl::cuda
