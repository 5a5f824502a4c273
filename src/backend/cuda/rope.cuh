// Rotary positions.
#pragma once

#include "backend/cuda/launch.h"

namespace tl::cuda {

/// How heads are rotated; the first of their positions is a number of the step.
struct Rope {
  int64_t rows, heads, positions, head_dim, half;
  Number first;
  Wide<bool> neox;
  double base, scale;
  const float* factors;
  int64_t factor_step;
  Wide<bool> constant = true;  ///< nobody writes to the factors

  /// The dimensions of pair d.
  __device__ int64_t left(int64_t d) const { return neox ? d : 2 * d; }
  __device__ int64_t right(int64_t d) const { return neox ? d + half : 2 * d + 1; }
};

/// The rotation of pair d at a position. Angles are formed and reduced in double: at position 1e6 a float
/// angle would be wrong in its second decimal.
struct Turn {
  float sine = 0, cosine = 1;

  Turn() = default;
  __device__ Turn(const Rope& r, int64_t position, int64_t d) {
    double frequency = r.scale * ::pow(r.base, -static_cast<double>(d) / static_cast<double>(r.half));
    if (r.factors != nullptr) frequency /= static_cast<double>(r.factors[d * r.factor_step]);
    double s, c;
    ::sincos(static_cast<double>(position) * frequency, &s, &c);
    sine = static_cast<float>(s), cosine = static_cast<float>(c);
  }
  __device__ float left(float a, float b) const { return a * cosine - b * sine; }
  __device__ float right(float a, float b) const { return a * sine + b * cosine; }
};

}  // namespace tl::cuda
