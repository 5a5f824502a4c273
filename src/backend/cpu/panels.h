// Weights in panels (panel_layouts.h): made from the blocks of a tensor at its first use, kept beside it.
#pragma once

#include <cstdint>
#include <memory>

#include "base/thread_pool.h"
#include "tensor/tensor.h"

namespace tl::cpu {

/// A quantised matrix [n, k] in panels of eight rows; rows beyond n are 0.
class Panels {
 public:
  /// Packs `w`, whose rows lie in one piece each.
  Panels(const Tensor& w, ThreadPool& pool);
  const std::byte* data() const { return storage_->data; }
  int64_t panel_bytes() const { return panel_bytes_; }
  int64_t count() const { return count_; }

 private:
  std::shared_ptr<Storage> storage_;
  int64_t panel_bytes_, count_;
};

/// The panels of `w`. They are made once for as long as the tensor's storage lives and then take the place of
/// its blocks: pages of a mapped file that were read for packing are given back to the system.
const Panels& panels_of(const Tensor& w, ThreadPool& pool);

}  // namespace tl::cpu
