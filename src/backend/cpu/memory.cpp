#include "backend/cpu/memory.h"

#include <sys/mman.h>
#include <algorithm>
#include <cstdlib>
#include <deque>
#include <mutex>

#include <fmt/format.h>

namespace tl::cpu {

namespace {

constexpr size_t kPage = size_t{4} << 10, kLargePage = size_t{2} << 20;

size_t whole(size_t bytes, size_t page) { return (bytes + page - 1) / page * page; }

/// `bytes` is a number of whole pages.
std::byte* take_pages(size_t bytes, size_t page, const char* purpose) {
  void* const data = std::aligned_alloc(page, bytes);
  if (data == nullptr) throw Error(fmt::format("not enough memory: {} bytes for {}", bytes, purpose));
  if (page == kLargePage) madvise(data, bytes, MADV_HUGEPAGE);  // without it all works, more slowly
  return static_cast<std::byte*>(data);
}

/// What results gave back, for the next to take.
class Kept {
 public:
  /// Never destroyed: results may live longer than any static object.
  static Kept& instance() {
    static Kept* const kept = new Kept;
    return *kept;
  }

  /// The smallest block that fits without wasting as much as it serves for, of several the last that came, or
  /// a new one; its size is put in `bytes`.
  std::byte* take(size_t& bytes, size_t page) {
    {
      const std::lock_guard lock(mutex_);
      auto best = blocks_.end();
      for (auto at = blocks_.begin(); at != blocks_.end(); ++at)
        if (at->bytes >= bytes && at->bytes < 2 * bytes &&
            (best == blocks_.end() || at->bytes <= best->bytes))
          best = at;
      if (best != blocks_.end()) {
        const Block block = *best;
        blocks_.erase(best);
        total_ -= block.bytes;
        bytes = block.bytes;
        return block.data;
      }
    }
    return take_pages(bytes, page, "one tensor");
  }

  /// Keeps a block; the oldest go where that would be too much.
  void give(std::byte* data, size_t bytes) {
    const std::lock_guard lock(mutex_);
    blocks_.push_back({data, bytes});
    total_ += bytes;
    while (total_ > kKept) {
      total_ -= blocks_.front().bytes;
      std::free(blocks_.front().data);
      blocks_.pop_front();
    }
  }

 private:
  struct Block {
    std::byte* data;
    size_t bytes;
  };
  std::mutex mutex_;
  std::deque<Block> blocks_;  ///< the oldest first
  size_t total_ = 0;
};

}  // namespace

std::shared_ptr<Storage> large_pages(size_t bytes, const char* purpose) {
  const size_t size = whole(bytes, kLargePage);
  std::byte* const data = take_pages(size, kLargePage, purpose);
  return Storage::view(
      data, size, std::shared_ptr<const void>(data, [](const void* p) { std::free(const_cast<void*>(p)); }));
}

std::shared_ptr<Storage> result_memory(size_t bytes) {
  if (bytes < kKeptResult) return Storage::allocate(bytes);
  const size_t page = bytes < kLargeResult ? kPage : kLargePage;
  size_t size = whole(bytes, page);
  std::byte* const data = Kept::instance().take(size, page);
  auto storage = Storage::view(data, bytes, std::shared_ptr<const void>(data, [data, size](const void*) {
                                 Kept::instance().give(data, size);
                               }));
  storage->constant = false;
  return storage;
}

}  // namespace tl::cpu
