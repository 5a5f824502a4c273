// Operations that depend on the order of elements along one axis.
#include <cmath>
#include <numeric>

#include "backend/reference/kernels.h"
#include "backend/reference/strided.h"
#include "ops/draw.h"
#include "ops/functors.h"

namespace tl::reference {

namespace {

template <class T>
bool is_nan(T x) {
  return x != x;
}

/// Calls body(values along the axis, offset of the line in the result) for every line of the first input.
template <class T, class Body>
void each_line(const KernelArgs& args, int axis, const Shape& out_strides, Body body) {
  const Tensor& x = args.in[0];
  const int64_t n = x.shape()[axis];
  const Walk<2> over{without(x.shape(), axis), {out_strides, without(x.strides(), axis)}};
  over.each(args.pool, n, [&](const auto& at) {
    std::vector<T> line(static_cast<size_t>(n));
    load_run(x, at[1], x.strides()[axis], n, line.data());
    body(line, at[0]);
  });
}

/// The first element that none comes before. NaN comes before everything.
template <class Before>
void arg_first(const KernelArgs& args, Before before) {
  const int axis = args.attr<AxisAttrs>().axis;
  as_number(args.in[0].dtype(), [&]<class T>(T) {
    each_line<T>(args, axis, args.out.strides(), [&](const std::vector<T>& line, int64_t at) {
      size_t best = 0;
      for (size_t i = 1; i < line.size() && !is_nan(line[best]); ++i)
        if (is_nan(line[i]) || before(line[i], line[best])) best = i;
      store_int(args.out, at, static_cast<int64_t>(best));
    });
  });
}

/// The order in which a stable sort leaves the elements of a line; NaN goes last.
template <class T>
std::vector<int64_t> sorted_order(const std::vector<T>& line, bool descending) {
  std::vector<int64_t> order(line.size());
  std::iota(order.begin(), order.end(), 0);
  std::stable_sort(order.begin(), order.end(), [&](int64_t i, int64_t j) {
    const T a = line[static_cast<size_t>(i)], b = line[static_cast<size_t>(j)];
    if (is_nan(a) || is_nan(b)) return !is_nan(a) && is_nan(b);
    return descending ? a > b : a < b;
  });
  return order;
}

/// Writes the elements of a line that come first, and their places, to the result.
template <class T>
void put_top(const Tensor& out, int64_t at, int64_t k, std::span<const T> line, std::vector<int64_t>& order) {
  order.resize(line.size());
  std::iota(order.begin(), order.end(), 0);
  std::partial_sort(order.begin(), order.begin() + k, order.end(), [&](int64_t i, int64_t j) {
    const T a = line[static_cast<size_t>(i)], b = line[static_cast<size_t>(j)];
    if (is_nan(a) != is_nan(b)) return is_nan(a);
    return is_nan(a) || a == b ? i < j : a > b;
  });
  const int64_t row = out.strides()[out.rank() - 2], step = out.strides().back();
  for (int64_t i = 0; i < k; ++i) {
    const int64_t place = order[static_cast<size_t>(i)];
    store_double(out, at + i * step, static_cast<double>(line[static_cast<size_t>(place)]));
    store_double(out, at + row + i * step, static_cast<double>(place));
  }
}

}  // namespace

void argmax(const KernelArgs& args) {
  arg_first(args, [](auto a, auto b) { return a > b; });
}

void argmin(const KernelArgs& args) {
  arg_first(args, [](auto a, auto b) { return a < b; });
}

void cumsum(const KernelArgs& args) {
  const int axis = args.attr<AxisAttrs>().axis;
  as_number(args.out.dtype(), [&]<class T>(T) {
    each_line<T>(args, axis, without(args.out.strides(), axis), [&](std::vector<T>& line, int64_t at) {
      std::partial_sum(line.begin(), line.end(), line.begin(),
                       [](T a, T b) { return Functor<Op::add>::apply(a, b); });
      store_run(args.out, at, args.out.strides()[axis], args.out.shape()[axis], line.data());
    });
  });
}

void sort(const KernelArgs& args) {
  const auto [axis, descending] = args.attr<SortAttrs>();
  as_number(args.out.dtype(), [&, axis = axis, descending = descending]<class T>(T) {
    each_line<T>(args, axis, without(args.out.strides(), axis), [&](const std::vector<T>& line, int64_t at) {
      std::vector<T> sorted;
      for (const int64_t i : sorted_order(line, descending)) sorted.push_back(line[static_cast<size_t>(i)]);
      store_run(args.out, at, args.out.strides()[axis], args.out.shape()[axis], sorted.data());
    });
  });
}

void argsort(const KernelArgs& args) {
  const auto [axis, descending] = args.attr<SortAttrs>();
  as_number(args.in[0].dtype(), [&, axis = axis, descending = descending]<class T>(T) {
    each_line<T>(args, axis, without(args.out.strides(), axis), [&](const std::vector<T>& line, int64_t at) {
      const std::vector<int64_t> order = sorted_order(line, descending);
      store_run(args.out, at, args.out.strides()[axis], args.out.shape()[axis], order.data());
    });
  });
}

void top_k(const KernelArgs& args) {
  const int last = args.in[0].rank() - 1;
  each_line<double>(args, last, without(without(args.out.strides(), last + 1), last),
                    [&](std::span<const double> line, int64_t at) {
                      std::vector<int64_t> order;
                      put_top(args.out, at, args.params.ints[0], line, order);
                    });
}

void draw(const KernelArgs& args) {
  const Tensor &best = args.in[0], &bits = args.in[1], &out = args.out;
  const int last = best.rank() - 1;
  const int64_t k = best.shape()[last], to_places = best.strides()[last - 1], step = best.strides()[last];
  const DrawOptions options = draw_options(args.params);
  const Shape starts = without(without(best.strides(), last), last - 1);
  const Walk<3> lines{out.shape(), {out.strides(), starts, bits.strides()}};
  lines.each(args.pool, k, [&](const auto& at) {
    std::vector<double> logits(static_cast<size_t>(k)), places(logits);
    load_run(best, at[1], step, k, logits.data());
    load_run(best, at[1] + to_places, step, k, places.data());
    store_int(out, at[0], drawn_place(logits, places, options, load_int(bits, at[2])));
  });
}

}  // namespace tl::reference
