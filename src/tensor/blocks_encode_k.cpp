// Encoding into Q4_K and Q6_K by weighted least squares.
//
// For a sub-block x and weights w we look for scale s (and minimum m >= 0) and integers q that minimise
// sum w (s q - m - x)^2. Given q, the best s and m solve a 2 x 2 system; given s and m, the best q is the
// nearest integer. Candidates for q come from a scan of the scale around its obvious value; each is judged
// with the s and m that suit it best. Large elements weigh more, since they matter more in a product.
#include <algorithm>
#include <cmath>
#include <cstring>

#include "base/half.h"
#include "tensor/block_layouts.h"
#include "tensor/blocks_encode.h"

namespace tl {

namespace {

/// Nearest integer, ties to even, for |x| < 2^22; unlike std::nearbyint it vectorises on every x86-64.
inline float nearest(float x) {
  constexpr float kMagic = 12582912.0f;  // 1.5 * 2^23
  return x + kMagic - kMagic;
}

/// sum a[i] in eight partial sums, an order that compilers can vectorise.
template <int N, class Term>
inline float sum(Term term) {
  float lanes[8] = {};
  for (int i = 0; i < N; i += 8)
    for (int k = 0; k < 8; ++k) lanes[k] += term(i + k);
  return ((lanes[0] + lanes[4]) + (lanes[2] + lanes[6])) + ((lanes[1] + lanes[5]) + (lanes[3] + lanes[7]));
}

/// Weights of 32 elements: their magnitude over a floor of the mean one.
void weigh(const float* x, float* w) {
  const float rms = std::sqrt(sum<32>([&](int i) { return x[i] * x[i]; }) / 32);
  for (int i = 0; i < 32; ++i) w[i] = rms + std::fabs(x[i]);
}

struct Affine {
  float scale = 0, min = 0;  // x ~ scale * q - min
};

/// The best scale and min for 32 elements and q in 0 … 15.
Affine fit_affine(const float* x) {
  constexpr int kN = 32;
  constexpr float kMax = 15;
  const float low = std::min(0.0f, *std::min_element(x, x + kN)), high = *std::max_element(x, x + kN);
  if (high <= low) return {0, -low};
  float w[kN], q[kN];
  weigh(x, w);
  const float sw = sum<kN>([&](int i) { return w[i]; }), swx = sum<kN>([&](int i) { return w[i] * x[i]; });
  Affine best{(high - low) / kMax, -low};
  float best_gain = -INFINITY;  // sum w x^2 less the error
  for (int step = -10; step <= 10; ++step) {
    const float inverse = (kMax + 0.1f * static_cast<float>(step)) / (high - low);
    if (!std::isfinite(inverse)) continue;
    for (int i = 0; i < kN; ++i) q[i] = std::min(kMax, nearest(inverse * (x[i] - low)));
    const float swq = sum<kN>([&](int i) { return w[i] * q[i]; });
    const float swqq = sum<kN>([&](int i) { return w[i] * q[i] * q[i]; });
    const float swqx = sum<kN>([&](int i) { return w[i] * q[i] * x[i]; });
    const float determinant = sw * swqq - swq * swq;
    if (!(determinant > 0)) continue;
    float scale = (sw * swqx - swq * swx) / determinant, offset = (swqq * swx - swq * swqx) / determinant;
    if (offset > 0) {
      offset = 0;
      scale = swqx / swqq;
    }
    const float gain = scale * swqx + offset * swx;
    if (gain > best_gain) {
      best_gain = gain;
      best = {scale, -offset};
    }
  }
  return best;
}

/// The best scale for 16 elements and q in -32 … 31; may be negative.
float fit_symmetric(const float* x) {
  constexpr int kN = 16;
  float extreme = 0;
  for (int i = 0; i < kN; ++i)
    if (std::fabs(x[i]) > std::fabs(extreme)) extreme = x[i];
  if (extreme == 0) return 0;
  float best = extreme / -32, best_gain = 0;
  float w[kN], q[kN];
  for (int i = 0; i < kN; ++i) w[i] = x[i] / extreme * (x[i] / extreme);
  for (int step = -9; step <= 9; ++step) {
    const float inverse = (-32 + 0.1f * static_cast<float>(step)) / extreme;  // the extreme near -32
    if (!std::isfinite(inverse)) continue;
    for (int i = 0; i < kN; ++i) q[i] = std::clamp(nearest(inverse * x[i]), -32.0f, 31.0f);
    const float swqq = sum<kN>([&](int i) { return w[i] * q[i] * q[i]; });
    const float swqx = sum<kN>([&](int i) { return w[i] * q[i] * x[i]; });
    if (swqq > 0 && swqx * swqx > best_gain * swqq) {
      best_gain = swqx * swqx / swqq;
      best = swqx / swqq;
    }
  }
  return best;
}

/// Nearest integer of x / step within low … high; 0 (or the nearest bound) where step is 0.
int quant(float x, float step, int low, int high) {
  if (step == 0) return std::clamp(0, low, high);
  return static_cast<int>(
      std::clamp(std::nearbyint(x / step), static_cast<float>(low), static_cast<float>(high)));
}

void pack_scale_min(uint8_t* packed, int j, int scale, int min) {
  if (j < 4) {
    packed[j] = static_cast<uint8_t>(packed[j] | scale);
    packed[j + 4] = static_cast<uint8_t>(packed[j + 4] | min);
  } else {
    packed[j + 4] = static_cast<uint8_t>((scale & 15) | (min & 15) << 4);
    packed[j - 4] = static_cast<uint8_t>(packed[j - 4] | scale >> 4 << 6);
    packed[j] = static_cast<uint8_t>(packed[j] | min >> 4 << 6);
  }
}

/// Throws where some element is so large that no scale could reach it, before squares overflow on the way.
void check_reach(const float* x, float largest_multiple) {
  float magnitude = 0;
  for (int i = 0; i < 256; ++i) magnitude = std::max(magnitude, std::fabs(x[i]));
  scale_to_f16(magnitude / largest_multiple);
}

/// sum w (scale q - min - x)^2 with the nearest q in 0 … 15.
float affine_error(const float* x, const float* w, float scale, float min) {
  const float inverse = scale != 0 ? 1 / scale : 0;
  float errors[32];
  for (int i = 0; i < 32; ++i) {
    const float q = nearest(std::clamp((x[i] + min) * inverse, 0.0f, 15.0f));
    const float error = scale * q - min - x[i];
    errors[i] = w[i] * error * error;
  }
  return sum<32>([&](int i) { return errors[i]; });
}

/// The 6-bit scale and min of one sub-block: those nearest to the fit or, since rounding one shifts the best
/// choice of the other, a neighbour that serves better.
ScaleMin round_affine(const float* x, const Affine& fit, float d, float dmin) {
  float w[32];
  weigh(x, w);
  const int scale = quant(fit.scale, d, 0, 63), min = quant(fit.min, dmin, 0, 63);
  ScaleMin best{};
  float best_error = INFINITY;
  for (int s = std::max(0, scale - 1); s <= std::min(63, scale + 1); ++s) {
    for (int m = std::max(0, min - 1); m <= std::min(63, min + 1); ++m) {
      const float error = affine_error(x, w, d * static_cast<float>(s), dmin * static_cast<float>(m));
      if (error < best_error) {
        best_error = error;
        best = {static_cast<uint8_t>(s), static_cast<uint8_t>(m)};
      }
    }
  }
  return best;
}

void encode(const float* x, BlockQ4K& b) {
  check_reach(x, 63 * 15);
  Affine fits[8];
  float max_scale = 0, max_min = 0;
  for (int s = 0; s < 8; ++s) {
    fits[s] = fit_affine(x + 32 * s);
    max_scale = std::max(max_scale, fits[s].scale);
    max_min = std::max(max_min, fits[s].min);
  }
  b = {};
  b.d = scale_to_f16(max_scale / 63);
  b.dmin = scale_to_f16(max_min / 63);
  const float d = f16_to_f32(b.d), dmin = f16_to_f32(b.dmin);
  for (int s = 0; s < 8; ++s) {
    const ScaleMin rounded = round_affine(x + 32 * s, fits[s], d, dmin);
    pack_scale_min(b.scales, s, rounded.scale, rounded.min);
    const float scale = d * static_cast<float>(rounded.scale), min = dmin * static_cast<float>(rounded.min);
    for (int l = 0; l < 32; ++l) {
      const int q = quant(x[32 * s + l] + min, scale, 0, 15);
      uint8_t& byte = b.qs[s / 2 * 32 + l];
      byte = static_cast<uint8_t>(byte | q << (s % 2 * 4));
    }
  }
}

void encode(const float* x, BlockQ6K& b) {
  check_reach(x, 128 * 32);
  float scales[16], extreme = 0;
  for (int s = 0; s < 16; ++s) {
    scales[s] = fit_symmetric(x + 16 * s);
    if (std::fabs(scales[s]) > std::fabs(extreme)) extreme = scales[s];
  }
  b = {};
  b.d = scale_to_f16(extreme / -128);
  const float d = f16_to_f32(b.d);
  for (int s = 0; s < 16; ++s) {
    const int scale_q = quant(scales[s], d, -128, 127);
    b.scales[s] = static_cast<int8_t>(scale_q);
    for (int l = 0; l < 16; ++l) {
      const int q = quant(x[16 * s + l], d * static_cast<float>(scale_q), -32, 31) + 32;
      uint8_t& low = b.ql[s / 8 * 64 + s % 4 * 16 + l];
      uint8_t& high = b.qh[s / 8 * 32 + s % 2 * 16 + l];
      low = static_cast<uint8_t>(low | (q & 15) << (s % 8 / 4 * 4));
      high = static_cast<uint8_t>(high | q >> 4 << (s % 8 / 2 * 2));
    }
  }
}

template <class Block>
void encode_blocks(const float* x, std::byte* out, int64_t n) {
  for (int64_t i = 0; i < n / 256; ++i) {
    Block block;
    encode(x + i * 256, block);
    std::memcpy(out + static_cast<size_t>(i) * sizeof block, &block, sizeof block);
  }
}

}  // namespace

void encode_q4_k(const float* x, std::byte* out, int64_t n) { encode_blocks<BlockQ4K>(x, out, n); }
void encode_q6_k(const float* x, std::byte* out, int64_t n) { encode_blocks<BlockQ6K>(x, out, n); }

}  // namespace tl
