// The quantised blocks on the device. A weight that nobody writes to is kept field by field: all quants of
// its rows, then all scales …, so that threads read 16 bytes at a time whatever a block's size is.
#pragma once

#include <cuda_bf16.h>
#include <cuda_fp16.h>

#include "backend/cuda/device.h"
#include "tensor/block_layouts.h"

namespace tl::cuda {

constexpr int kMaxFields = 4;

/// Where the fields of a tensor's blocks lie: field f of block b at data[f] + b * stride[f].
struct Blocks {
  static constexpr bool kReadOnce = false;
  Wide<DType> dtype;
  const uint8_t* data[kMaxFields];
  int stride[kMaxFields];

  __device__ const uint8_t* field(int f, int64_t block) const { return data[f] + block * stride[f]; }
  __device__ float half_at(int f, int64_t block, int offset = 0) const {
    const uint8_t* p = field(f, block) + offset;
    return __half2float(__ushort_as_half(static_cast<unsigned short>(p[0] | p[1] << 8)));
  }

  /// Element `i` of the tensor, rounded as tensor/blocks.h says; plain float types too.
  __device__ float decode(int64_t i) const;

 private:
  __device__ float decode_small(int64_t block, int j) const;
  __device__ float decode_k(int64_t block, int j) const;
};

/// The fields of a format in the order of Blocks::data: their places and sizes in a block.
struct Field {
  int offset, bytes;
};
struct Format {
  int n_fields;
  Field fields[kMaxFields];
};

/// Q4_0: qs, d. Q4_1: qs, (d, m). Q5_0: qs, d, qh. Q5_1: qs, (d, m), qh. Q8_0: qs, d. Q2_K: qs, (d, dmin),
/// scales. Q3_K: qs, d, scales, hmask. Q4_K: qs, (d, dmin, scales). Q5_K: qs, (d, dmin, scales), qh. Q6_K:
/// ql, d, qh, scales.
constexpr Format quantised_format(DType dtype) {
  switch (dtype) {
    case DType::q4_0:
      return {2, {{2, 16}, {0, 2}}};
    case DType::q4_1:
      return {2, {{4, 16}, {0, 4}}};
    case DType::q5_0:
      return {3, {{6, 16}, {0, 2}, {2, 4}}};
    case DType::q5_1:
      return {3, {{8, 16}, {0, 4}, {4, 4}}};
    case DType::q8_0:
      return {2, {{2, 32}, {0, 2}}};
    case DType::q2_k:
      return {3, {{16, 64}, {80, 4}, {0, 16}}};
    case DType::q3_k:
      return {4, {{32, 64}, {108, 2}, {96, 12}, {0, 32}}};
    case DType::q4_k:
      return {2, {{16, 128}, {0, 16}}};
    case DType::q5_k:
      return {3, {{48, 128}, {0, 16}, {16, 32}}};
    case DType::q6_k:
      return {4, {{0, 128}, {208, 2}, {128, 64}, {192, 16}}};
    default:
      return {};
  }
}
/// Other types are one field.
inline Format format_of(DType dtype) {
  return is_quantised(dtype) ? quantised_format(dtype)
                             : Format{1, {{0, static_cast<int>(info(dtype).block_bytes)}}};
}

/// The blocks as they lie in the tensor's memory.
Blocks blocks_of(const Tensor& t);

/// A weight's blocks field by field, rows in order; `w` has its rows in one piece each, one after another.
class Planes final : public Derived {
 public:
  explicit Planes(const Tensor& w);
  const Blocks& blocks() const { return blocks_; }

 private:
  Scratch memory_;
  Blocks blocks_;
};

/// The planes of a weight: kept with it if it is constant.
std::shared_ptr<const Planes> planes_of(const Tensor& w);

// ---- Decoding

__device__ inline float Blocks::decode_small(int64_t block, int j) const {
  const uint8_t* qs = field(0, block);
  const float d = half_at(1, block);
  if (dtype == DType::q8_0) return static_cast<float>(static_cast<int8_t>(qs[j])) * d;
  int q = j < 16 ? qs[j] & 15 : qs[j - 16] >> 4;
  if (dtype == DType::q4_0) return static_cast<float>(q - 8) * d;
  if (dtype == DType::q4_1) return static_cast<float>(q) * d + half_at(1, block, 2);
  q |= (field(2, block)[j / 8] >> (j % 8) & 1) << 4;
  if (dtype == DType::q5_0) return static_cast<float>(q - 16) * d;
  return static_cast<float>(q) * d + half_at(1, block, 2);
}

__device__ inline float Blocks::decode_k(int64_t block, int j) const {
  const uint8_t* qs = field(0, block);
  const float d = half_at(1, block);
  switch (dtype) {
    case DType::q2_k: {
      const int s = field(2, block)[j / 16], q = qs[j / 128 * 32 + j % 32] >> (j % 128 / 32 * 2) & 3;
      return d * static_cast<float>(s & 15) * static_cast<float>(q) -
             half_at(1, block, 2) * static_cast<float>(s >> 4);
    }
    case DType::q3_k: {
      const int low = qs[j / 128 * 32 + j % 32] >> (j % 128 / 32 * 2) & 3;
      const int q = (low | (field(3, block)[j % 32] >> (j / 32) & 1) << 2) - 4;
      return d * static_cast<float>(scale_q3k(field(2, block), j / 16)) * static_cast<float>(q);
    }
    case DType::q6_k: {
      const int half = j / 128, l = j % 128, low = qs[half * 64 + l % 64] >> (l / 64 * 4) & 15;
      const int q = (low | (field(2, block)[half * 32 + l % 32] >> (l / 32 * 2) & 3) << 4) - 32;
      return d * static_cast<float>(static_cast<int8_t>(field(3, block)[j / 16])) * static_cast<float>(q);
    }
    default: {  // Q4_K and Q5_K
      const uint8_t* packed = field(1, block) + 4;
      const int s = j / 32;
      const int scale = s < 4 ? packed[s] & 63 : (packed[s + 4] & 15) | packed[s - 4] >> 6 << 4;
      const int min = s < 4 ? packed[s + 4] & 63 : packed[s + 4] >> 4 | packed[s] >> 6 << 4;
      int q = qs[j / 64 * 32 + j % 32] >> (j % 64 / 32 * 4) & 15;
      if (dtype == DType::q5_k) q |= (field(2, block)[j % 32] >> s & 1) << 4;
      return d * static_cast<float>(scale) * static_cast<float>(q) -
             half_at(1, block, 2) * static_cast<float>(min);
    }
  }
}

__device__ inline float Blocks::decode(int64_t i) const {
  switch (dtype) {
    case DType::f32:
      return reinterpret_cast<const float*>(data[0])[i];
    case DType::f16:
      return __half2float(reinterpret_cast<const __half*>(data[0])[i]);
    case DType::bf16:
      return __bfloat162float(reinterpret_cast<const __nv_bfloat16*>(data[0])[i]);
    case DType::f64:
      return static_cast<float>(reinterpret_cast<const double*>(data[0])[i]);
    case DType::q4_0:
    case DType::q4_1:
    case DType::q5_0:
    case DType::q5_1:
    case DType::q8_0:
      return decode_small(i / 32, static_cast<int>(i % 32));
    default:
      return decode_k(i / 256, static_cast<int>(i % 256));
  }
}

}  // namespace tl::cuda
