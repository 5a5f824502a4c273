// How kernels touch memory: in runs of elements along one axis, used in place where they lie next to each
// other in the type that is computed in, else gathered into a buffer.
#pragma once

#include <algorithm>
#include <array>
#include <cstdint>
#include <cstring>
#include <utility>

#include "backend/backend.h"
#include "backend/cpu/isa.h"
#include "base/half.h"
#include "tensor/tensor.h"

namespace tl::cpu {

/// Elements in a buffer on the stack.
constexpr int64_t kRun = 512;
/// Element operations that are worth waking a thread for.
constexpr int64_t kGrain = 16384;

template <class T>
constexpr DType kDTypeOf = std::is_same_v<T, float> ? DType::f32 : DType::i64;

/// Calls body(T{}) with the type that results of `dtype` are computed in.
template <class Body>
void as_number(DType dtype, Body body) {
  if (is_float(dtype))
    body(float{});
  else
    body(int64_t{});
}

/// n elements of a plain tensor from element offset `offset` on, `step` apart: in place, or in `buffer`.
template <class T>
const T* load_run(const Tensor& t, int64_t offset, int64_t step, int64_t n, T* buffer) {
  if (t.dtype() == kDTypeOf<T> && (step == 1 || n == 1)) return t.data<T>() + offset;
  const auto read = [&](const auto* data, auto convert) {
    data += offset;
    if (step == 0 && n > 0)
      std::fill_n(buffer, n, static_cast<T>(convert(data[0])));
    else
      for (int64_t i = 0; i < n; ++i) buffer[i] = static_cast<T>(convert(data[i * step]));
  };
  const auto same = [](auto x) { return x; };
  switch (t.dtype()) {
    case DType::f32:
      read(t.data<float>(), same);
      break;
    case DType::f64:
      read(t.data<double>(), same);
      break;
    case DType::f16:
      read(t.data<uint16_t>(), f16_to_f32);
      break;
    case DType::bf16:
      read(t.data<uint16_t>(), bf16_to_f32);
      break;
    case DType::i64:
      read(t.data<int64_t>(), same);
      break;
    case DType::i32:
      read(t.data<int32_t>(), same);
      break;
    case DType::i8:
      read(t.data<int8_t>(), same);
      break;
    case DType::boolean:
      read(t.data<uint8_t>(), [](uint8_t x) { return x != 0; });
      break;
    default:
      TL_CHECK(false, "elements of quantised tensors are read by rows");
  }
  return buffer;
}

/// Writes n elements to offset, offset + step …, rounding or wrapping to the tensor's type.
template <class T>
void store_run(const Tensor& t, int64_t offset, int64_t step, int64_t n, const T* values) {
  if (t.dtype() == kDTypeOf<T> && step == 1) {
    if (t.data<T>() + offset != values) std::copy_n(values, n, t.data<T>() + offset);
    return;
  }
  for (int64_t i = 0; i < n; ++i)
    if constexpr (std::is_same_v<T, float>)
      store_double(t, offset + i * step, static_cast<double>(values[i]));
    else
      store_int(t, offset + i * step, values[i]);
}

/// Where a kernel may write n results of type T: straight into the tensor if they fit it there, else
/// `buffer`.
template <class T>
T* place_for(const Tensor& t, int64_t offset, int64_t step, T* buffer) {
  return t.dtype() == kDTypeOf<T> && step == 1 ? t.data<T>() + offset : buffer;
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

/// Every index of `shape` in row-major order with the element offset it has in each of N tensors. Axes that
/// lie after one another in all of them are walked as one.
template <size_t N>
class Walk {
 public:
  using Offsets = std::array<int64_t, N>;

  Walk(const Shape& shape, const std::array<Shape, N>& strides) {
    for (int a = 0; a < shape.rank(); ++a) {
      if (shape[a] == 1) continue;
      const int last = shape_.rank() - 1;
      bool joins = last >= 0;
      for (size_t k = 0; joins && k < N; ++k) joins = strides_[k][last] == strides[k][a] * shape[a];
      if (joins)
        shape_[last] *= shape[a];
      else
        shape_.push_back(shape[a]);
      for (size_t k = 0; k < N; ++k) {
        if (joins)
          strides_[k][last] = strides[k][a];
        else
          strides_[k].push_back(strides[k][a]);
      }
    }
  }

  int64_t elements() const { return shape_.elements(); }
  /// How far apart the elements of a run are in tensor k.
  int64_t step(size_t k) const { return shape_.rank() ? strides_[k].back() : 0; }
  /// How many elements the innermost axis has.
  int64_t width() const { return shape_.rank() ? shape_.back() : 1; }

  Offsets offsets(int64_t element) const {
    Offsets offsets{};
    for (int a = shape_.rank() - 1; a >= 0; --a) {
      const int64_t index = element % shape_[a];
      element /= shape_[a];
      for (size_t k = 0; k < N; ++k) offsets[k] += index * strides_[k][a];
    }
    return offsets;
  }

  /// Calls visit(offsets, n) for runs of at most `most` elements that cover the elements [begin, end).
  template <class Visit>
  void runs(int64_t begin, int64_t end, Visit visit, int64_t most = kRun) const {
    if (begin >= end) return;  // an axis may have no elements
    std::array<int64_t, kMaxRank> index{};
    int64_t rest = begin;
    for (int a = shape_.rank() - 1; a >= 0; --a) {
      index[static_cast<size_t>(a)] = rest % shape_[a];
      rest /= shape_[a];
    }
    Offsets at = offsets(begin);
    const auto advance = [&](int a, int64_t n) {
      for (size_t k = 0; k < N; ++k) at[k] += n * strides_[k][a];
      return index[static_cast<size_t>(a)] += n;
    };
    for (const int last = shape_.rank() - 1; begin < end;) {
      const int64_t inside = last < 0 ? 0 : index[static_cast<size_t>(last)];
      const int64_t n = std::min({most, width() - inside, end - begin});
      visit(std::as_const(at), n);
      begin += n;
      if (last < 0 || advance(last, n) < shape_[last]) continue;
      for (int a = last; a > 0 && index[static_cast<size_t>(a)] == shape_[a]; --a) {
        advance(a, -shape_[a]);
        advance(a - 1, 1);
      }
    }
  }

  /// The same over all elements, in parallel. `cost` is the work per element, in element operations.
  template <class Visit>
  void parallel(ThreadPool& pool, int64_t cost, Visit visit) const {
    pool.parallel_for(elements(), std::max<int64_t>(1, kGrain / std::max<int64_t>(1, cost)),
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
    runs(0, elements(), singly(visit));
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

  Shape shape_;
  std::array<Shape, N> strides_;
};

/// A walk over tensors broadcast to `shape`.
template <class... Tensors>
Walk<sizeof...(Tensors)> walk(const Shape& shape, const Tensors&... tensors) {
  return {shape, {broadcast_strides(tensors, shape)...}};
}

/// The first rank - 1 axes of a contiguous tensor as rows.
struct Rows {
  int64_t n, width;
};
inline Rows rows_of(const Tensor& t) {
  const int64_t width = t.shape().back();
  return {width ? t.elements() / width : 0, width};
}

}  // namespace tl::cpu
