#include "inspect/values.h"

#include <cmath>
#include <cstring>

#include "base/half.h"
#include "tensor/blocks.h"

namespace tl::inspect {

std::string to_string(Layout layout) {
  switch (layout) {
    case Layout::contiguous:
      return "contiguous";
    case Layout::permuted:
      return "permuted";
    case Layout::sliced:
      return "sliced";
    case Layout::reversed:
      return "reversed";
  }
  return "?";
}

namespace {

/// Calls visit(offset) for each element in row-major order.
template <class Visit>
void each_offset(const Tensor& t, Visit visit) {
  for (int64_t i = 0; i < t.elements(); ++i) {
    int64_t rest = i, offset = 0;
    for (int a = t.rank() - 1; a >= 0; --a) {
      offset += rest % t.shape()[a] * t.strides()[a];
      rest /= t.shape()[a];
    }
    visit(offset);
  }
}

void copy_values(const Tensor& from, const Tensor& to) {
  const auto width = static_cast<size_t>(info(from.dtype()).block_bytes);
  std::vector<const std::byte*> sources;
  each_offset(from, [&](int64_t at) { sources.push_back(from.at(at)); });
  size_t i = 0;
  each_offset(to, [&](int64_t at) { std::memcpy(to.at(at), sources[i++], width); });
}

/// A tensor of all-ones bits: NaN in every float type.
Tensor filled_with_ones(DType dtype, const Shape& shape) {
  Tensor t(dtype, shape);
  std::memset(t.bytes(), 0xff, static_cast<size_t>(bytes_of(dtype, shape.elements())));
  return t;
}

}  // namespace

Tensor laid_out(const Tensor& t, Layout layout) {
  if (layout == Layout::contiguous || t.rank() == 0) return t;
  Shape memory, strides = t.strides();
  int64_t start = 0;
  if (layout == Layout::permuted) {  // axes stored in the opposite order
    for (int a = t.rank() - 1; a >= 0; --a) memory.push_back(t.shape()[a]);
    const Shape stored = row_major_strides(memory);
    for (int a = 0; a < t.rank(); ++a) strides[a] = stored[t.rank() - 1 - a];
  } else {  // every second element of a larger tensor, forwards or backwards
    for (const int64_t d : t.shape()) memory.push_back(2 * d + 1);
    strides = row_major_strides(memory);
    for (int a = 0; a < t.rank(); ++a) {
      const int64_t first = layout == Layout::sliced ? 1 : std::max<int64_t>(0, 2 * t.shape()[a] - 1);
      start += first * strides[a];
      strides[a] *= layout == Layout::sliced ? 2 : -2;
    }
  }
  const Tensor view = filled_with_ones(t.dtype(), memory).view(t.shape(), strides, start);
  copy_values(t, view);
  return view;
}

Tensor broadcast_view(const Tensor& t, const Shape& shape) {
  Shape strides = shape;
  const int lead = shape.rank() - t.rank();
  for (int a = 0; a < shape.rank(); ++a)
    strides[a] = a < lead || t.shape()[a - lead] == 1 ? 0 : t.strides()[a - lead];
  return t.view(shape, strides);
}

Tensor rows(const Tensor& t, int64_t first, int64_t n) {
  Shape shape = t.shape();
  shape[0] = n;
  return t.view(shape, t.strides(), first * t.strides()[0]);
}

bool same_bits(const Tensor& a, const Tensor& b) {
  return a.dtype() == b.dtype() && a.shape() == b.shape() &&
         std::memcmp(a.bytes(), b.bytes(), static_cast<size_t>(bytes_of(a.dtype(), a.elements()))) == 0;
}

std::vector<double> values_of(const Tensor& t) {
  std::vector<double> values;
  if (is_quantised(t.dtype())) {
    const int64_t width = t.shape().back();
    values.resize(static_cast<size_t>(t.elements()));
    Shape firsts = t.shape();  // one element of each row
    firsts[t.rank() - 1] = 1;
    double* row = values.data();
    each_offset(t.view(firsts, t.strides()), [&](int64_t at) {
      decode_row(t.dtype(), t.at(at), row, width);
      row += width;
    });
  } else {
    each_offset(t, [&](int64_t at) { values.push_back(load_double(t, at)); });
  }
  return values;
}

double rounded(DType dtype, double x) {
  switch (dtype) {
    case DType::f32:
      return static_cast<float>(x);
    case DType::f16:
      return f16_to_f32(f32_to_f16(static_cast<float>(x)));
    case DType::bf16:
      return bf16_to_f32(f32_to_bf16(static_cast<float>(x)));
    default:
      return x;
  }
}

double unit_roundoff(DType dtype) {
  switch (dtype) {
    case DType::f32:
      return 0x1p-24;
    case DType::f16:
      return 0x1p-11;
    case DType::bf16:
      return 0x1p-8;
    case DType::f64:
      return 0x1p-53;
    default:
      return 0;
  }
}

double half_smallest(DType dtype) {
  switch (dtype) {
    case DType::f32:
      return 0x1p-150;
    case DType::f16:
      return 0x1p-25;
    case DType::bf16:
      return 0x1p-134;
    default:
      return 0;
  }
}

}  // namespace tl::inspect
