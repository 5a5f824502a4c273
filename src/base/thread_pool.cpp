#include "base/thread_pool.h"

#include <sched.h>
#include <algorithm>
#include <atomic>
#include <fstream>
#include <set>
#include <string>

namespace tl {

namespace {
thread_local bool inside_loop = false;
}

int ThreadPool::physical_cores() {
  cpu_set_t allowed;
  CPU_ZERO(&allowed);
  if (sched_getaffinity(0, sizeof allowed, &allowed) != 0)
    return std::max(1, static_cast<int>(std::thread::hardware_concurrency()));
  std::set<std::string> cores;  // hyper-threads of one core name the same set of siblings
  for (int cpu = 0; cpu < CPU_SETSIZE; ++cpu) {
    if (!CPU_ISSET(cpu, &allowed)) continue;
    std::ifstream file("/sys/devices/system/cpu/cpu" + std::to_string(cpu) +
                       "/topology/thread_siblings_list");
    std::string siblings;
    if (!std::getline(file, siblings)) siblings = std::to_string(cpu);
    cores.insert(siblings);
  }
  return std::max(1, static_cast<int>(cores.size()));
}

ThreadPool::ThreadPool(int n_threads) {
  if (n_threads <= 0) n_threads = physical_cores();
  for (int i = 1; i < n_threads; ++i) workers_.emplace_back([this] { work(0); });
}

ThreadPool::~ThreadPool() {
  {
    const std::lock_guard lock(mutex_);
    stop_ = true;
  }
  wake_.notify_all();
  for (auto& worker : workers_) worker.join();
}

void ThreadPool::run_chunks() {
  inside_loop = true;
  std::atomic_ref<int64_t> next(next_);
  for (;;) {
    const int64_t begin = next.fetch_add(chunk_, std::memory_order_relaxed);
    if (begin >= n_) break;
    try {
      (*body_)(begin, std::min(n_, begin + chunk_));
    } catch (...) {
      const std::lock_guard lock(mutex_);
      if (!failure_) failure_ = std::current_exception();
      next.store(n_, std::memory_order_relaxed);
    }
  }
  inside_loop = false;
}

void ThreadPool::work(uint64_t seen) {
  std::unique_lock lock(mutex_);
  for (;;) {
    wake_.wait(lock, [&] { return stop_ || generation_ != seen; });
    if (stop_) return;
    seen = generation_;
    lock.unlock();
    run_chunks();
    lock.lock();
    if (--active_ == 0) done_.notify_one();
  }
}

void ThreadPool::parallel_for(int64_t n, int64_t grain, const std::function<void(int64_t, int64_t)>& body) {
  if (n <= 0) return;
  grain = std::max<int64_t>(1, grain);
  if (workers_.empty() || inside_loop || n <= grain) {
    body(0, n);
    return;
  }
  // About four chunks a thread even out uneven progress without much contention on the counter.
  const int64_t wanted = (n + size() * 4 - 1) / (size() * 4);
  {
    const std::lock_guard lock(mutex_);
    body_ = &body;
    n_ = n;
    chunk_ = (wanted + grain - 1) / grain * grain;
    next_ = 0;
    failure_ = nullptr;
    active_ = static_cast<int>(workers_.size());
    ++generation_;
  }
  wake_.notify_all();
  run_chunks();
  std::unique_lock lock(mutex_);
  done_.wait(lock, [&] { return active_ == 0; });
  if (failure_) std::rethrow_exception(failure_);
}

}  // namespace tl
