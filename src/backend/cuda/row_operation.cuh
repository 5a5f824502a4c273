// What launches compute where they work on a single row of activations: the steps of decoding, in words that
// joining them needs. Files of kernels tell what theirs do.
#pragma once

#include <unordered_map>
#include <variant>

#include "backend/cuda/blocks.cuh"
#include "backend/cuda/rope.cuh"
#include "backend/cuda/strided.cuh"

namespace tl::cuda {

/// out = x / rms(x) * weight (null: 1), of n elements; nobody writes to the weight.
struct RowNorm {
  int64_t n;
  float* out;
  const float *x, *weight;
  double eps;
};
/// x rounded (q8.cuh): the high parts of n quants, then the low ones.
struct RowRounding {
  int64_t n;
  const float* x;
  int8_t* quants;
  float* scales;
  int* sums;
};
/// out = w x + bias (null: 0). Quantised weights meet x's quants, rows of the others are `stride` elements
/// apart.
struct RowProduct {
  int64_t n, k;
  const float* bias;
  float* out;
  Blocks w;
  int64_t stride;
  const void* x;
};
struct RowRotation {
  Rope rope;
  float* out;
  const float* x;
};
/// Writes a row behind `*row` others.
struct RowAppend {
  int64_t n;
  Target to;
  const float* x;
  Number row;
  int64_t row_stride;
};
struct RowSum {
  int64_t n;
  float* out;
  const float *a, *b;
};
/// out = silu(gate) * up.
struct RowGate {
  int64_t n;
  float* out;
  const float *gate, *up;
};

/// std::monostate: something else.
using RowOperation =
    std::variant<std::monostate, RowNorm, RowRounding, RowProduct, RowRotation, RowAppend, RowSum, RowGate>;
/// What a launch computes, by kernel.
using RowMeaning = RowOperation (*)(const LaunchList& list, const LaunchList::Launch& launch);
using RowMeanings = std::unordered_map<const void*, RowMeaning>;

void tell_norms(RowMeanings& meanings);
void tell_roundings(RowMeanings& meanings);
void tell_products(RowMeanings& meanings);
void tell_rotations(RowMeanings& meanings);
void tell_appends(RowMeanings& meanings);
void tell_binary(RowMeanings& meanings);

/// The arguments of a launch.
class Arguments {
 public:
  Arguments(const LaunchList& list, const LaunchList::Launch& launch) : list_(list), launch_(launch) {}
  template <class T>
  const T& get(size_t i) const {
    return *static_cast<const T*>(list_.argument_of(launch_, i));
  }

 private:
  const LaunchList& list_;
  const LaunchList::Launch& launch_;
};

}  // namespace tl::cuda
