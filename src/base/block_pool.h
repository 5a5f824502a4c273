// Memory for many small objects of one size that come and go together: the nodes of a graph, the values of a
// program.
#pragma once

#include <cstddef>
#include <new>

namespace tl {

/// Blocks of `kBytes`, kept for the next taker by the thread that gives them back. A block may be given back
/// on another thread than the one that took it.
template <size_t kBytes>
class BlockPool {
 public:
  static void* take() {
    if (free_.top == nullptr) return ::operator new(kBytes);
    Block* block = free_.top;
    free_.top = block->next;
    --free_.count;
    return block;
  }
  static void give(void* memory) {
    if (ended_ || free_.count == kMost) return ::operator delete(memory);
    free_.top = new (memory) Block{free_.top};
    ++free_.count;
  }

 private:
  static constexpr size_t kMost = (size_t{16} << 20) / kBytes;  ///< what a thread holds back at most
  struct Block {
    Block* next;
  };
  static_assert(kBytes >= sizeof(Block));
  struct List {
    Block* top = nullptr;
    size_t count = 0;
    ~List() {
      ended_ = true;
      while (top != nullptr) {
        Block* next = top->next;
        ::operator delete(top);
        top = next;
      }
    }
  };
  static inline thread_local bool ended_ = false;  ///< the thread's list is gone; outlives it
  static inline thread_local List free_;
};

/// For containers and std::allocate_shared.
template <class T>
struct PoolAllocator {
  using value_type = T;
  PoolAllocator() = default;
  template <class U>
  PoolAllocator(const PoolAllocator<U>&) {}
  T* allocate(size_t n) {
    if (n != 1) return static_cast<T*>(::operator new(n * sizeof(T)));
    return static_cast<T*>(BlockPool<sizeof(T)>::take());
  }
  void deallocate(T* memory, size_t n) {
    if (n != 1) return ::operator delete(memory);
    BlockPool<sizeof(T)>::give(memory);
  }
  template <class U>
  bool operator==(const PoolAllocator<U>&) const {
    return true;
  }
};

}  // namespace tl
