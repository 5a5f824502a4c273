#include "tensor/tensor.h"

#include <cmath>
#include <cstdlib>
#include <vector>

#include <fmt/format.h>

#include "base/half.h"
#include "tensor/blocks.h"

namespace tl {

std::string to_string(const Shape& shape) {
  std::string text = "[";
  for (int i = 0; i < shape.rank(); ++i) text += (i ? ", " : "") + std::to_string(shape[i]);
  return text + "]";
}

Shape row_major_strides(const Shape& shape) {
  Shape strides = shape;
  int64_t step = 1;
  for (int i = shape.rank() - 1; i >= 0; --i) {
    strides[i] = step;
    step *= shape[i];
  }
  return strides;
}

std::shared_ptr<Storage> Storage::allocate(size_t bytes) {
  const size_t rounded = (std::max<size_t>(bytes, 1) + 63) / 64 * 64;
  auto* data = static_cast<std::byte*>(std::aligned_alloc(64, rounded));
  if (data == nullptr) throw Error(fmt::format("not enough memory: {} bytes for one tensor", bytes));
  auto storage = std::make_shared<Storage>();
  storage->data = data;
  storage->bytes = bytes;
  storage->owner = std::shared_ptr<const void>(data, [](const void* p) { std::free(const_cast<void*>(p)); });
  return storage;
}

std::shared_ptr<Storage> Storage::view(const std::byte* data, size_t bytes,
                                       std::shared_ptr<const void> owner) {
  auto storage = std::make_shared<Storage>();
  storage->data = const_cast<std::byte*>(data);
  storage->bytes = bytes;
  storage->owner = std::move(owner);
  storage->constant = true;
  return storage;
}

Tensor::Tensor(DType dtype, const Shape& shape)
    : Tensor(dtype, shape, Storage::allocate(static_cast<size_t>(bytes_of(dtype, shape.elements())))) {}

Tensor::Tensor(DType dtype, const Shape& shape, std::shared_ptr<Storage> storage, int64_t byte_offset)
    : Tensor(dtype, shape, row_major_strides(shape), std::move(storage), byte_offset) {}

Tensor::Tensor(DType dtype, const Shape& shape, const Shape& strides, std::shared_ptr<Storage> storage,
               int64_t byte_offset)
    : dtype_(dtype),
      shape_(shape),
      strides_(strides),
      storage_(std::move(storage)),
      byte_offset_(byte_offset) {}

bool Tensor::is_contiguous() const {
  int64_t step = 1;
  for (int i = rank() - 1; i >= 0; --i) {
    if (shape_[i] != 1 && strides_[i] != step) return false;
    step *= shape_[i];
  }
  return true;
}

Tensor Tensor::view(const Shape& shape, const Shape& strides, int64_t element_offset) const {
  const auto& type = info(dtype_);
  TL_CHECK(element_offset % type.block_elements == 0, "a view of a quantised tensor must start at a block");
  return {dtype_, shape, strides, storage_,
          byte_offset_ + element_offset / type.block_elements * type.block_bytes};
}

Tensor Tensor::reshaped(const Shape& shape) const {
  TL_CHECK(is_contiguous() && shape.elements() == elements(),
           "reshape needs a contiguous tensor of the same size");
  return view(shape, row_major_strides(shape));
}

double load_double(const Tensor& t, int64_t i) {
  switch (t.dtype()) {
    case DType::f32:
      return t.data<float>()[i];
    case DType::f16:
      return f16_to_f32(t.data<uint16_t>()[i]);
    case DType::bf16:
      return bf16_to_f32(t.data<uint16_t>()[i]);
    case DType::f64:
      return t.data<double>()[i];
    default:
      return static_cast<double>(load_int(t, i));
  }
}

int64_t load_int(const Tensor& t, int64_t i) {
  switch (t.dtype()) {
    case DType::i8:
      return t.data<int8_t>()[i];
    case DType::i32:
      return t.data<int32_t>()[i];
    case DType::i64:
      return t.data<int64_t>()[i];
    case DType::boolean:
      return t.data<uint8_t>()[i] != 0;
    default:
      TL_CHECK(is_float(t.dtype()), "single elements of quantised tensors cannot be read");
      return static_cast<int64_t>(load_double(t, i));
  }
}

void store_double(const Tensor& t, int64_t i, double value) {
  switch (t.dtype()) {
    case DType::f32:
      t.data<float>()[i] = static_cast<float>(value);
      break;
    case DType::f16:
      t.data<uint16_t>()[i] = f32_to_f16(static_cast<float>(value));
      break;
    case DType::bf16:
      t.data<uint16_t>()[i] = f32_to_bf16(static_cast<float>(value));
      break;
    case DType::f64:
      t.data<double>()[i] = value;
      break;
    case DType::boolean:
      t.data<uint8_t>()[i] = value != 0;
      break;
    default:
      store_int(t, i, static_cast<int64_t>(value));
  }
}

void store_int(const Tensor& t, int64_t i, int64_t value) {
  switch (t.dtype()) {
    case DType::i8:
      t.data<int8_t>()[i] = static_cast<int8_t>(value);
      break;
    case DType::i32:
      t.data<int32_t>()[i] = static_cast<int32_t>(value);
      break;
    case DType::i64:
      t.data<int64_t>()[i] = value;
      break;
    case DType::boolean:
      t.data<uint8_t>()[i] = value != 0;
      break;
    default:
      store_double(t, i, static_cast<double>(value));
  }
}

namespace {

/// Calls visit(offset in t) for each element in row-major order.
template <class Visit>
void for_each_offset(const Tensor& t, Visit visit) {
  const int rank = t.rank();
  if (t.elements() == 0) return;
  std::array<int64_t, kMaxRank> index{};
  int64_t offset = 0;
  for (;;) {
    visit(offset);
    int axis = rank - 1;
    for (; axis >= 0; --axis) {
      const auto a = static_cast<size_t>(axis);
      offset += t.strides()[axis];
      if (++index[a] < t.shape()[axis]) break;
      offset -= t.strides()[axis] * index[a];
      index[a] = 0;
    }
    if (axis < 0) return;
  }
}

Tensor decoded(const Tensor& t, DType dtype) {
  const int64_t width = t.shape().back();
  const int64_t rows = width ? t.elements() / width : 0;
  TL_CHECK(t.is_contiguous(), "decoding needs contiguous rows");
  Tensor out(dtype, t.shape());
  std::vector<double> row(static_cast<size_t>(width));
  for (int64_t r = 0; r < rows; ++r) {
    decode_row(t.dtype(), t.at(r * width), row.data(), width);
    for (int64_t i = 0; i < width; ++i) store_double(out, r * width + i, row[static_cast<size_t>(i)]);
  }
  return out;
}

}  // namespace

Tensor converted(const Tensor& t, DType dtype) {
  if (is_quantised(t.dtype())) return decoded(t, dtype);
  Tensor out(dtype, t.shape());
  int64_t i = 0;
  const bool exact_int = !is_float(t.dtype()) && !is_float(dtype);
  for_each_offset(t, [&](int64_t offset) {
    if (exact_int)
      store_int(out, i++, load_int(t, offset));
    else
      store_double(out, i++, load_double(t, offset));
  });
  return out;
}

}  // namespace tl
