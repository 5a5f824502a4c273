// Tensors in memory: element type, shape, strides, and shared storage.
#pragma once

#include <algorithm>
#include <array>
#include <atomic>
#include <cstddef>
#include <cstdint>
#include <initializer_list>
#include <memory>
#include <span>
#include <string>

#include "base/error.h"
#include "tensor/dtype.h"

namespace tl {

constexpr int kMaxRank = 8;

/// Extents, outermost dimension first. Rank 0 is a scalar. A value type without allocation.
class Shape {
 public:
  Shape() = default;
  Shape(std::initializer_list<int64_t> dims) : Shape(std::span(dims.begin(), dims.size())) {}
  explicit Shape(std::span<const int64_t> dims) {
    TL_CHECK(dims.size() <= kMaxRank, "rank above 8");
    for (const int64_t d : dims) dims_[rank_++] = d;
  }
  int rank() const { return rank_; }
  int64_t operator[](int axis) const { return dims_[static_cast<size_t>(axis)]; }
  int64_t& operator[](int axis) { return dims_[static_cast<size_t>(axis)]; }
  int64_t back() const { return dims_[static_cast<size_t>(rank_ - 1)]; }
  const int64_t* begin() const { return dims_.data(); }
  const int64_t* end() const { return dims_.data() + rank_; }
  void push_back(int64_t d) {
    TL_CHECK(rank_ < kMaxRank, "rank above 8");
    dims_[static_cast<size_t>(rank_++)] = d;
  }
  int64_t elements() const {
    int64_t n = 1;
    for (const int64_t d : *this) n *= d;
    return n;
  }
  bool operator==(const Shape& other) const { return std::equal(begin(), end(), other.begin(), other.end()); }

 private:
  std::array<int64_t, kMaxRank> dims_{};
  int rank_ = 0;
};

/// "[3, 64]"
std::string to_string(const Shape& shape);

/// Strides in elements, one per axis; row-major (contiguous) strides of a shape.
Shape row_major_strides(const Shape& shape);

struct Storage;

/// A copy of a storage's content in other memory (a device's), where a backend works on it.
class Mirror {
 public:
  virtual ~Mirror() = default;
  /// Brings the newest content to `storage.data`. The copy counts as out of date afterwards, for whoever
  /// asked may write. Called while `storage.elsewhere` holds, by several threads at once too.
  virtual void fetch(Storage& storage) = 0;
};

/// A block of memory and whoever keeps it alive (a heap allocation, a mapped file).
struct Storage {
  std::byte* data = nullptr;  ///< through Tensor::bytes(), which sees to it that the newest content is there
  size_t bytes = 0;
  std::shared_ptr<const void> owner;
  /// What a backend keeps beside this memory for as long as it lives: weights in its kernels' own layout.
  std::shared_ptr<void> attachment = {};
  bool constant = false;  ///< nobody writes to it: what view() gives
  std::shared_ptr<Mirror> mirror = {};
  std::atomic<bool> elsewhere = false;  ///< the mirror holds the newest content
  /// Tells the system that a range of a mapped file need not stay in memory (it is read again when touched);
  /// null for other memory.
  void (*give_back)(const std::byte* data, size_t bytes) = nullptr;
  /// 64-byte aligned memory, uninitialised. Throws Error when it cannot be had.
  static std::shared_ptr<Storage> allocate(size_t bytes);
  /// Memory somebody else owns. Kernels write only to what allocate() gave.
  static std::shared_ptr<Storage> view(const std::byte* data, size_t bytes,
                                       std::shared_ptr<const void> owner);
};

/// A (possibly strided) view of storage. Copies share it. Quantised tensors have contiguous rows along their
/// last axis, in whole blocks; their strides are counted in elements like everyone's.
class Tensor {
 public:
  Tensor() = default;
  /// New contiguous storage, uninitialised.
  Tensor(DType dtype, const Shape& shape);
  /// A contiguous tensor at `byte_offset` of `storage`.
  Tensor(DType dtype, const Shape& shape, std::shared_ptr<Storage> storage, int64_t byte_offset = 0);
  /// A strided view.
  Tensor(DType dtype, const Shape& shape, const Shape& strides, std::shared_ptr<Storage> storage,
         int64_t byte_offset);

  template <class T>
  static Tensor from(DType dtype, const Shape& shape, std::span<const T> values) {
    Tensor t(dtype, shape);
    TL_CHECK(static_cast<int64_t>(values.size()) == shape.elements(), "value count differs from the shape");
    std::copy(values.begin(), values.end(), t.data<T>());
    return t;
  }

  explicit operator bool() const { return storage_ != nullptr; }
  DType dtype() const { return dtype_; }
  const Shape& shape() const { return shape_; }
  const Shape& strides() const { return strides_; }
  int rank() const { return shape_.rank(); }
  int64_t elements() const { return shape_.elements(); }
  bool is_contiguous() const;
  const std::shared_ptr<Storage>& storage() const { return storage_; }
  int64_t byte_offset() const { return byte_offset_; }

  std::byte* bytes() const {
    if (storage_->elsewhere.load(std::memory_order_acquire)) storage_->mirror->fetch(*storage_);
    return storage_->data + byte_offset_;
  }
  template <class T>
  T* data() const {
    return reinterpret_cast<T*>(bytes());
  }
  /// The address of the row that starts at element offset `element` (a multiple of the block).
  std::byte* at(int64_t element) const {
    const auto& type = info(dtype_);
    return bytes() + element / type.block_elements * type.block_bytes;
  }

  /// The same storage seen with other extents and strides, starting `element_offset` elements on.
  Tensor view(const Shape& shape, const Shape& strides, int64_t element_offset = 0) const;
  /// The same elements in another shape; must be contiguous.
  Tensor reshaped(const Shape& shape) const;

 private:
  DType dtype_ = DType::f32;
  Shape shape_, strides_;
  std::shared_ptr<Storage> storage_;
  int64_t byte_offset_ = 0;
};

/// One element of a plain (not quantised) tensor at element offset `offset`, as double or integer.
double load_double(const Tensor& t, int64_t offset);
int64_t load_int(const Tensor& t, int64_t offset);
/// Rounds to the tensor's type (floats: nearest even).
void store_double(const Tensor& t, int64_t offset, double value);
void store_int(const Tensor& t, int64_t offset, int64_t value);

/// A contiguous copy converted to `dtype` (quantised sources are decoded exactly, then rounded once).
Tensor converted(const Tensor& t, DType dtype);

}  // namespace tl
