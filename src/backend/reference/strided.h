// How the reference kernels touch memory: in runs of elements along one axis, loaded into a buffer of double
// or int64_t whatever the tensor's type and strides are, computed there, and stored.
#pragma once

#include <algorithm>
#include <array>
#include <cstdint>
#include <vector>

#include "backend/backend.h"
#include "base/half.h"
#include "tensor/tensor.h"

namespace tl::reference {

/// Elements in a buffer on the stack.
constexpr int64_t kRun = 256;
/// Elements that are worth waking a thread for.
constexpr int64_t kGrain = 4096;

/// Reads n elements of a plain tensor from element offset `offset` on, `step` apart.
template <class T>
void load_run(const Tensor& t, int64_t offset, int64_t step, int64_t n, T* out) {
  const auto read = [&](const auto* data, auto convert) {
    for (int64_t i = 0; i < n; ++i) out[i] = static_cast<T>(convert(data[offset + i * step]));
  };
  const auto same = [](auto x) { return x; };
  switch (t.dtype()) {
    case DType::f64:
      return read(t.data<double>(), same);
    case DType::f32:
      return read(t.data<float>(), same);
    case DType::f16:
      return read(t.data<uint16_t>(), f16_to_f32);
    case DType::bf16:
      return read(t.data<uint16_t>(), bf16_to_f32);
    case DType::i64:
      return read(t.data<int64_t>(), same);
    case DType::i32:
      return read(t.data<int32_t>(), same);
    case DType::i8:
      return read(t.data<int8_t>(), same);
    case DType::boolean:
      return read(t.data<uint8_t>(), [](uint8_t x) { return x != 0; });
    default:
      TL_CHECK(false, "elements of quantised tensors are read by rows");
  }
}

/// Writes n elements likewise, rounding or wrapping to the tensor's type.
inline void store_run(const Tensor& t, int64_t offset, int64_t step, int64_t n, const double* values) {
  for (int64_t i = 0; i < n; ++i) store_double(t, offset + i * step, values[i]);
}
inline void store_run(const Tensor& t, int64_t offset, int64_t step, int64_t n, const int64_t* values) {
  for (int64_t i = 0; i < n; ++i) store_int(t, offset + i * step, values[i]);
}

/// The strides that read `t` as if repeated to `shape` by NumPy's rule.
inline Shape broadcast_strides(const Tensor& t, const Shape& shape) {
  Shape strides = shape;
  const int lead = shape.rank() - t.rank();
  for (int a = 0; a < shape.rank(); ++a)
    strides[a] = a < lead || t.shape()[a - lead] == 1 ? 0 : t.strides()[a - lead];
  return strides;
}

/// `shape` (or strides) without one axis.
inline Shape without(const Shape& shape, int axis) {
  Shape rest;
  for (int a = 0; a < shape.rank(); ++a)
    if (a != axis) rest.push_back(shape[a]);
  return rest;
}

/// Every index of `shape` in row-major order, cut into runs along the last axis and shared among threads,
/// with the element offset it has in each of N tensors.
template <size_t N>
struct Walk {
  using Offsets = std::array<int64_t, N>;

  Shape shape;
  std::array<Shape, N> strides;

  /// How far apart the elements of a run are in tensor k.
  int64_t step(size_t k) const { return shape.rank() ? strides[k].back() : 0; }

  /// Calls visit(offsets, n) for runs of at most kRun elements that cover the elements [begin, end).
  template <class Visit>
  void runs(int64_t begin, int64_t end, Visit visit) const {
    const int64_t width = shape.rank() ? shape.back() : 1;
    while (begin < end) {
      const int64_t n = std::min({kRun, width - begin % width, end - begin});
      Offsets offsets{};
      int64_t rest = begin;
      for (int a = shape.rank() - 1; a >= 0; --a) {
        const int64_t index = rest % shape[a];
        rest /= shape[a];
        for (size_t k = 0; k < N; ++k) offsets[k] += index * strides[k][a];
      }
      visit(offsets, n);
      begin += n;
    }
  }

  /// The same over the whole shape, in parallel. `cost` is the work per element, in element operations.
  template <class Visit>
  void parallel(ThreadPool& pool, int64_t cost, Visit visit) const {
    pool.parallel_for(shape.elements(), std::max<int64_t>(1, kGrain / std::max<int64_t>(1, cost)),
                      [&](int64_t begin, int64_t end) { runs(begin, end, visit); });
  }

  /// Calls visit(offsets) for every single index, in parallel.
  template <class Visit>
  void each(ThreadPool& pool, int64_t cost, Visit visit) const {
    parallel(pool, cost, singly(visit));
  }

  /// The same on the calling thread, in row-major order.
  template <class Visit>
  void each_in_order(Visit visit) const {
    runs(0, shape.elements(), singly(visit));
  }

 private:
  template <class Visit>
  auto singly(Visit& visit) const {
    return [this, &visit](Offsets offsets, int64_t n) {
      for (int64_t i = 0; i < n; ++i) {
        visit(offsets);
        for (size_t k = 0; k < N; ++k) offsets[k] += step(k);
      }
    };
  }
};

/// A walk over tensors broadcast to `shape`.
template <class... Tensors>
Walk<sizeof...(Tensors)> walk(const Shape& shape, const Tensors&... tensors) {
  return {shape, {broadcast_strides(tensors, shape)...}};
}

/// A walk over the lines along `axis` of tensors that agree in their other extents: all indices but that
/// axis.
template <class... Tensors>
Walk<sizeof...(Tensors)> lines(const Shape& shape, int axis, const Tensors&... tensors) {
  return {without(shape, axis), {without(tensors.strides(), axis)...}};
}

/// Calls body(T{}) with the type that results of `dtype` are computed in.
template <class Body>
void as_number(DType dtype, Body body) {
  if (is_float(dtype))
    body(double{});
  else
    body(int64_t{});
}

}  // namespace tl::reference
