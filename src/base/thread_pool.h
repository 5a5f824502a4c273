// A small pool of worker threads for data-parallel loops.
#pragma once

#include <condition_variable>
#include <cstdint>
#include <functional>
#include <mutex>
#include <thread>
#include <vector>

namespace tl {

/// Runs loops on a fixed number of threads, the caller's included. What a loop body computes must not depend
/// on which thread runs it or how the range is cut: that is what makes results equal for any number of
/// threads.
class ThreadPool {
 public:
  /// `n_threads` >= 1; 0 means the number of physical cores, or of `processors`. Where there are some, each
  /// thread stays on one of them, in their order; the first is for the calling thread, which may run where it
  /// could before when the pool goes. Throws Error where this process may not run on one.
  explicit ThreadPool(int n_threads = 0, std::vector<int> processors = {});
  ~ThreadPool();
  ThreadPool(const ThreadPool&) = delete;
  ThreadPool& operator=(const ThreadPool&) = delete;

  int size() const { return static_cast<int>(workers_.size()) + 1; }

  /// Calls body(begin, end) on disjoint ranges that cover [0, n), in multiples of `grain` (the last may be
  /// shorter), and returns when all have returned. The first exception thrown by a body is rethrown here. A
  /// parallel_for inside a body runs on the calling thread.
  void parallel_for(int64_t n, int64_t grain, const std::function<void(int64_t, int64_t)>& body);

  /// The number of physical cores this process may run on.
  static int physical_cores();

 private:
  void pin_caller();
  void work(uint64_t seen);
  void run_chunks();

  std::vector<int> processors_;
  std::vector<int> processors_before_;  ///< where the calling thread could run
  std::vector<std::thread> workers_;
  std::mutex mutex_;
  std::condition_variable wake_, done_;
  uint64_t generation_ = 0;
  int active_ = 0;
  bool stop_ = false;
  const std::function<void(int64_t, int64_t)>* body_ = nullptr;
  int64_t n_ = 0, chunk_ = 1, next_ = 0;  // next_ is accessed atomically
  std::exception_ptr failure_;
};

}  // namespace tl
