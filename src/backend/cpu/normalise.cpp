// Operations that normalise lines of elements.
#include <fmt/format.h>
#include <algorithm>
#include <cmath>
#include <limits>
#include <string_view>
#include <vector>

#include "backend/cpu/isa.h"
#include "backend/cpu/kernels.h"
#include "backend/cpu/strided.h"

namespace tl::cpu {

namespace {

/// Replaces every line along `axis` of x by compute(line, result, offset of the line in `second`). Lines that
/// do not lie in one piece are gathered.
template <class Compute>
void map_lines(const KernelArgs& args, int axis, const Shape& second_strides, Compute compute) {
  const Tensor &x = args.in[0], &out = args.out;
  const int64_t n = x.shape()[axis], x_step = x.strides()[axis], out_step = out.strides()[axis];
  const Walk<3> over(without(x.shape(), axis), {without(out.strides(), axis), without(x.strides(), axis),
                                                without(second_strides, axis)});
  over.each(args.pool, 8 * n, [&](const auto& at) {
    thread_local std::vector<float> gathered, result;
    gathered.resize(static_cast<size_t>(n)), result.resize(static_cast<size_t>(n));
    const float* line = load_run(x, at[1], x_step, n, gathered.data());
    float* to = place_for(out, at[0], out_step, result.data());
    compute(line, to, at[2]);
    if (to == result.data()) store_run(out, at[0], out_step, n, to);
  });
}

const float* vector_input(const KernelArgs& args, size_t i) {
  return args.in.size() > i ? args.in[i].data<float>() : nullptr;
}

/// The largest element. Throws Error if a line is -inf throughout, which has no softmax.
float largest(const KernelArgs& args, std::string_view op, const float* x, int64_t n) {
  constexpr float kNone = -std::numeric_limits<float>::infinity();
  const float max = isa().max(x, n);
  if (max == kNone && n > 0 && std::all_of(x, x + n, [](float e) { return e == kNone; }))
    throw Error(fmt::format("[{}] a line along axis {} of {} is -inf throughout", op,
                            args.attr<AxisAttrs>().axis, to_string(args.in[0].shape())));
  return max;
}

/// out = e^x / sum
void softmax_line(const KernelArgs& args, const float* x, float* out, int64_t n) {
  const Isa& loops = isa();
  const float max = largest(args, "softmax", x, n);
  const float total = loops.exp_sum(x, max, out, n);
  loops.scale_row(out, 0.0f, 1.0f / total, nullptr, nullptr, out, n);
}

}  // namespace

void softmax(const KernelArgs& args) {
  const Tensor& x = args.in[0];
  const int axis = args.attr<AxisAttrs>().axis;
  const int64_t n = x.shape()[axis];
  if (args.in.size() == 1)
    return map_lines(args, axis, x.strides(),
                     [&](const float* line, float* out, int64_t) { softmax_line(args, line, out, n); });

  // What the mask keeps is packed, normalised, and put back between zeros.
  const Shape mask_strides = broadcast_strides(args.in[1], x.shape());
  const uint8_t* mask = args.in[1].data<uint8_t>();
  map_lines(args, axis, mask_strides, [&](const float* line, float* out, int64_t at) {
    thread_local std::vector<float> kept;
    kept.clear();
    const auto keeps = [&](int64_t i) { return mask[at + i * mask_strides[axis]] != 0; };
    for (int64_t i = 0; i < n; ++i)
      if (keeps(i)) kept.push_back(line[i]);
    if (kept.empty())
      throw Error(fmt::format("[softmax] a line along axis {} of {} has no element that its mask keeps", axis,
                              to_string(x.shape())));
    softmax_line(args, kept.data(), kept.data(), static_cast<int64_t>(kept.size()));
    size_t next = 0;
    for (int64_t i = 0; i < n; ++i) out[i] = keeps(i) ? kept[next++] : 0.0f;
  });
}

void log_softmax(const KernelArgs& args) {
  const int axis = args.attr<AxisAttrs>().axis;
  const int64_t n = args.in[0].shape()[axis];
  map_lines(args, axis, args.in[0].strides(), [&](const float* line, float* out, int64_t) {
    const Isa& loops = isa();
    const float max = largest(args, "log_softmax", line, n);
    thread_local std::vector<float> powers;
    powers.resize(static_cast<size_t>(n));
    const float total = loops.exp_sum(line, max, powers.data(), n);
    loops.scale_row(line, max, 1.0f, nullptr, nullptr, out, n);
    loops.scale_row(out, std::log(total), 1.0f, nullptr, nullptr, out, n);
  });
}

void rms_norm(const KernelArgs& args) {
  const Tensor& x = args.in[0];
  const int64_t n = x.shape().back();
  const double eps = args.params.floats[0];
  const float* w = vector_input(args, 1);
  map_lines(args, x.rank() - 1, x.strides(), [&](const float* line, float* out, int64_t) {
    const double mean = static_cast<double>(isa().sum_of_squares(line, n)) / static_cast<double>(n);
    isa().scale_row(line, 0.0f, static_cast<float>(1 / std::sqrt(mean + eps)), w, nullptr, out, n);
  });
}

void layer_norm(const KernelArgs& args) {
  const Tensor& x = args.in[0];
  const int64_t n = x.shape().back();
  const double eps = args.params.floats[0];
  const float *gamma = vector_input(args, 1), *beta = vector_input(args, 2);
  map_lines(args, x.rank() - 1, x.strides(), [&](const float* line, float* out, int64_t) {
    const float mean = isa().sum(line, n) / static_cast<float>(n);
    thread_local std::vector<float> centred;
    centred.resize(static_cast<size_t>(n));
    isa().scale_row(line, mean, 1.0f, nullptr, nullptr, centred.data(), n);
    const double variance =
        static_cast<double>(isa().sum_of_squares(centred.data(), n)) / static_cast<double>(n);
    isa().scale_row(centred.data(), 0.0f, static_cast<float>(1 / std::sqrt(variance + eps)), gamma, beta, out,
                    n);
  });
}

}  // namespace tl::cpu
