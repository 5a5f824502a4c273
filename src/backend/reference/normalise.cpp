// Operations that normalise lines of elements.
#include <algorithm>
#include <cmath>
#include <limits>

#include <fmt/format.h>

#include "backend/reference/kernels.h"
#include "backend/reference/strided.h"

namespace tl::reference {

namespace {

/// Replaces every line along `axis` of x by what compute(line, offset of the line in `second`) makes of it.
template <class Compute>
void map_lines(const KernelArgs& args, int axis, const Shape& second_strides, Compute compute) {
  const Tensor& x = args.in[0];
  const int64_t n = x.shape()[axis];
  const Walk<3> over{
      without(x.shape(), axis),
      {without(args.out.strides(), axis), without(x.strides(), axis), without(second_strides, axis)}};
  over.each(args.pool, 8 * n, [&](const auto& at) {
    std::vector<double> line(static_cast<size_t>(n));
    load_run(x, at[1], x.strides()[axis], n, line.data());
    compute(line, at[2]);
    store_run(args.out, at[0], args.out.strides()[axis], n, line.data());
  });
}

/// The largest number. A NaN is passed over here: it reaches the result through the sum.
double largest(const std::vector<double>& line) {
  double most = -std::numeric_limits<double>::infinity();
  for (const double x : line) most = x > most ? x : most;
  return most;
}

/// Whether no element can have a weight: then the formula would divide 0 by 0.
bool is_all_excluded(const std::vector<double>& line) {
  return std::ranges::all_of(line, [](double x) { return x == -std::numeric_limits<double>::infinity(); });
}

[[noreturn]] void refuse_infinite(const KernelArgs& args, std::string_view op) {
  throw Error(fmt::format("[{}] a line along axis {} of {} is -inf throughout", op,
                          args.attr<AxisAttrs>().axis, to_string(args.in[0].shape())));
}

double sum(const std::vector<double>& line) {
  double total = 0;
  for (const double x : line) total += x;
  return total;
}

/// The optional one-dimensional input `i`, or `n` times `otherwise`.
std::vector<double> vector_input(const KernelArgs& args, size_t i, int64_t n, double otherwise) {
  std::vector<double> values(static_cast<size_t>(n), otherwise);
  if (args.in.size() > i) load_run(args.in[i], 0, args.in[i].strides()[0], n, values.data());
  return values;
}

}  // namespace

void softmax(const KernelArgs& args) {
  const Tensor& x = args.in[0];
  const int axis = args.attr<AxisAttrs>().axis;
  const bool masked = args.in.size() == 2;
  const Shape mask_strides = masked ? broadcast_strides(args.in[1], x.shape()) : x.strides();
  map_lines(args, axis, mask_strides, [&](std::vector<double>& line, int64_t at) {
    std::vector<int64_t> keep(line.size(), 1);
    if (masked) load_run(args.in[1], at, mask_strides[axis], static_cast<int64_t>(line.size()), keep.data());
    std::vector<double> kept;
    for (size_t i = 0; i < line.size(); ++i)
      if (keep[i]) kept.push_back(line[i]);
    if (kept.empty())
      throw Error(fmt::format("[softmax] a line along axis {} of {} has no element that its mask keeps", axis,
                              to_string(x.shape())));
    if (is_all_excluded(kept)) refuse_infinite(args, "softmax");
    const double most = largest(kept);
    for (double& e : kept) e = std::exp(e - most);
    const double total = sum(kept);
    size_t next = 0;
    for (size_t i = 0; i < line.size(); ++i) line[i] = keep[i] ? kept[next++] / total : 0;
  });
}

void log_softmax(const KernelArgs& args) {
  map_lines(args, args.attr<AxisAttrs>().axis, args.in[0].strides(), [&](std::vector<double>& line, int64_t) {
    if (!line.empty() && is_all_excluded(line)) refuse_infinite(args, "log_softmax");
    const double most = largest(line);
    double total = 0;
    for (const double x : line) total += std::exp(x - most);
    const double logarithm = std::log(total);
    for (double& x : line) x = x - most - logarithm;
  });
}

void rms_norm(const KernelArgs& args) {
  const Tensor& x = args.in[0];
  const int64_t n = x.shape().back();
  const double eps = args.params.floats[0];
  const std::vector<double> w = vector_input(args, 1, n, 1);
  map_lines(args, x.rank() - 1, x.strides(), [&](std::vector<double>& line, int64_t) {
    double squares = 0;
    for (const double v : line) squares += v * v;
    const double root = std::sqrt(squares / static_cast<double>(n) + eps);
    for (size_t i = 0; i < line.size(); ++i) line[i] = line[i] / root * w[i];
  });
}

void layer_norm(const KernelArgs& args) {
  const Tensor& x = args.in[0];
  const int64_t n = x.shape().back();
  const double eps = args.params.floats[0];
  const std::vector<double> gamma = vector_input(args, 1, n, 1), beta = vector_input(args, 2, n, 0);
  map_lines(args, x.rank() - 1, x.strides(), [&](std::vector<double>& line, int64_t) {
    const double mean = sum(line) / static_cast<double>(n);
    double squares = 0;
    for (const double v : line) squares += (v - mean) * (v - mean);
    const double root = std::sqrt(squares / static_cast<double>(n) + eps);
    for (size_t i = 0; i < line.size(); ++i) line[i] = (line[i] - mean) / root * gamma[i] + beta[i];
  });
}

}  // namespace tl::reference
