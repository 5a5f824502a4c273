// Weights in panels (panel_layouts.h): made from the blocks of a tensor or its rows of floats, kept beside
// it.
#pragma once

#include <cstdint>
#include <memory>

#include "base/thread_pool.h"
#include "tensor/tensor.h"

namespace tl::cpu {

/// Memory for the panels of many matrices, in large pages: a matrix of a small model is smaller than one of
/// them, and a kernel that reads a matrix once spends more time on finding 4 KiB pages than on waiting for
/// what is in them.
class PanelMemory {
 public:
  std::shared_ptr<Storage> take(size_t bytes);

 private:
  std::shared_ptr<Storage> chunk_;
  size_t taken_ = 0;  ///< bytes of the chunk
};

/// A matrix [n, k] in panels of eight rows; rows beyond n are 0, or anything where they are floats.
class Panels {
 public:
  /// Packs `w`, whose rows lie in one piece each. Pages of a mapped file are given back to the system as soon
  /// as they have been read.
  Panels(const Tensor& w, PanelMemory& memory, ThreadPool& pool);
  const std::byte* data() const { return storage_->data; }
  int64_t panel_bytes() const { return panel_bytes_; }
  int64_t count() const { return count_; }

 private:
  std::shared_ptr<Storage> storage_;
  int64_t panel_bytes_, count_;
};

/// The panels of `w`. They are made once for as long as the tensor's storage lives and then take the place of
/// its blocks.
const Panels& panels_of(const Tensor& w, ThreadPool& pool);

/// The same, but null the first time. Panels of a whole model take memory that the system has to clear, which
/// takes longer than to pack them: whoever gets none packs what it needs with pack_panels() into a little
/// memory that stays in the cache (or reads floats where they are), and a first prompt's token comes earlier.
const Panels* panels_unless_new(const Tensor& w, ThreadPool& pool);

/// Whether a matrix of floats is kept in panels too, its rows as they lie: one of a mapped file is that has
/// rows behind one another, of as many bytes as a large page. A kernel that reads each weight once would
/// spend a quarter of its time on pages of 4 KiB.
bool floats_have_panels(const Tensor& w);

int64_t panel_bytes_of(const Tensor& w);
/// The panels of the rows [first, first + n) of `w`, one after another; `first` is a multiple of eight.
void pack_panels(const Tensor& w, int64_t first, int64_t n, std::byte* out);

}  // namespace tl::cpu
