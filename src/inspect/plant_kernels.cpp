// Faults that live in kernels.
#include <cmath>

#include <fmt/format.h>

#include "base/half.h"
#include "inspect/plant.h"
#include "tensor/blocks.h"

namespace tl::inspect {

namespace {

float through_float16(float x) { return f16_to_f32(f32_to_f16(x)); }

/// linear whose sum is a float16 that every addition rounds.
void accumulate_in_float16(const KernelArgs& args) {
  const Tensor &x = args.in[0], &w = args.in[1];
  const int64_t width = x.shape().back(), rows = x.elements() / width, n_out = w.shape()[0];
  args.pool.parallel_for(n_out, 8, [&](int64_t begin, int64_t end) {
    std::vector<float> weights(static_cast<size_t>(width));
    for (int64_t o = begin; o < end; ++o) {
      decode_row(w.dtype(), w.at(o * width), weights.data(), width);
      for (int64_t r = 0; r < rows; ++r) {
        const float* in = x.data<float>() + r * width;
        float sum = 0;
        for (int64_t i = 0; i < width; ++i)
          sum = through_float16(sum + through_float16(in[i] * weights[static_cast<size_t>(i)]));
        args.out.data<float>()[r * n_out + o] = sum;
      }
    }
  });
}

/// rms_norm that has started one thread a row where it should have been one an element: with B rows the first
/// of every B elements are written, and memory keeps what was there.
void leave_unwritten(const KernelArgs& args) {
  const Tensor& x = args.in[0];
  const int64_t width = x.shape().back(), rows = x.elements() / width;
  for (int64_t r = 0; r < rows; ++r) {
    const float* in = x.data<float>() + r * width;
    double squares = 0;
    for (int64_t i = 0; i < width; ++i) squares += static_cast<double>(in[i]) * in[i];
    const double scale = 1 / std::sqrt(squares / static_cast<double>(width) + args.params.floats[0]);
    for (int64_t i = 0; i < width; i += rows) {
      const double weight = args.in.size() > 1 ? load_double(args.in[1], i) : 1;
      args.out.data<float>()[r * width + i] = static_cast<float>(in[i] * scale * weight);
    }
  }
}

}  // namespace

const Kernel* planted_kernel(const Plant& plant, Op op, const std::string& weight) {
  static const Kernel float16_linear{accumulate_in_float16, DType::f32, true};
  static const Kernel unwritten_norm{leave_unwritten, DType::f32, true};
  if (plant.fault == "float16-accumulation" && op == Op::linear &&
      weight == fmt::format("blk.{}.ffn_down.weight", plant.layer))
    return &float16_linear;
  if (plant.fault == "unwritten-elements" && op == Op::rms_norm &&
      weight == fmt::format("blk.{}.ffn_norm.weight", plant.layer))
    return &unwritten_norm;
  return nullptr;
}

}  // namespace tl::inspect
