#include "base/thread_pool.h"

#include <sched.h>
#include <algorithm>
#include <atomic>
#include <chrono>
#include <fstream>
#include <set>
#include <string>
#include <utility>

#include "base/error.h"

namespace tl {

namespace {

thread_local bool inside_loop = false;

/// In active_, beside the number of workers that are in the loop: no more may enter it.
constexpr int kClosed = 1 << 30;

/// How long a thread looks before it sleeps: longer than what lies between two steps of a model or two
/// equations of a program (some 100 microseconds), for being woken costs as much. It does not yield: on a
/// busy machine that would give a whole time slice away for a wait of microseconds.
constexpr std::chrono::microseconds kLook{200};

/// The processor that the last loop was called on, of whichever pool.
std::atomic<int> calling_cpu{-1};

/// While it lives, this thread stays off the processor that the last loop was called on. Where processors
/// share no cache (in virtual machines above all), Linux wakes a thread on the processor of whoever wakes it,
/// to wait there until the caller of the loop is done with it, or until the scheduler looks again,
/// milliseconds later.
class AwayFromCaller {
 public:
  AwayFromCaller() {
    const int cpu = calling_cpu.load(std::memory_order_relaxed);
    if (cpu < 0 || sched_getaffinity(0, sizeof before_, &before_) != 0 || !CPU_ISSET(cpu, &before_)) return;
    others_ = before_;
    CPU_CLR(cpu, &others_);
    is_away_ = CPU_COUNT(&others_) > 0 && sched_setaffinity(0, sizeof others_, &others_) == 0;
  }
  /// It may run anywhere again, unless somebody else has said where meanwhile.
  ~AwayFromCaller() {
    cpu_set_t now;
    if (is_away_ && sched_getaffinity(0, sizeof now, &now) == 0 && CPU_EQUAL(&now, &others_))
      sched_setaffinity(0, sizeof before_, &before_);
  }
  AwayFromCaller(const AwayFromCaller&) = delete;
  AwayFromCaller& operator=(const AwayFromCaller&) = delete;

 private:
  cpu_set_t before_, others_;
  bool is_away_ = false;
};

/// The processors that this thread may run on.
std::vector<int> allowed_processors() {
  cpu_set_t set;
  CPU_ZERO(&set);
  std::vector<int> found;
  if (sched_getaffinity(0, sizeof set, &set) != 0) return found;
  for (int cpu = 0; cpu < CPU_SETSIZE; ++cpu)
    if (CPU_ISSET(cpu, &set)) found.push_back(cpu);
  return found;
}

/// Keeps this thread on some processors; whether it may run on one of them at all.
bool stay_on(const std::vector<int>& processors) {
  cpu_set_t set;
  CPU_ZERO(&set);
  for (const int cpu : processors)
    if (cpu < CPU_SETSIZE) CPU_SET(cpu, &set);
  return sched_setaffinity(0, sizeof set, &set) == 0;
}

/// Whether `is_there()` becomes true within that time.
template <class Condition>
bool look_for(Condition is_there) {
  const auto start = std::chrono::steady_clock::now();
  do {
    for (int i = 0; i < 64; ++i) {
      if (is_there()) return true;
#if defined(__x86_64__)
      __builtin_ia32_pause();
#elif defined(__aarch64__)
      asm volatile("yield");
#endif
    }
  } while (std::chrono::steady_clock::now() - start < kLook);
  return false;
}

}  // namespace

int ThreadPool::physical_cores() {
  const std::vector<int> allowed = allowed_processors();
  if (allowed.empty()) return std::max(1, static_cast<int>(std::thread::hardware_concurrency()));
  std::set<std::string> cores;  // hyper-threads of one core name the same set of siblings
  for (const int cpu : allowed) {
    std::ifstream file("/sys/devices/system/cpu/cpu" + std::to_string(cpu) +
                       "/topology/thread_siblings_list");
    std::string siblings;
    if (!std::getline(file, siblings)) siblings = std::to_string(cpu);
    cores.insert(siblings);
  }
  return std::max(1, static_cast<int>(cores.size()));
}

ThreadPool::ThreadPool(int n_threads, std::vector<int> processors)
    : processors_(std::move(processors)), active_(kClosed) {
  if (n_threads <= 0)
    n_threads = processors_.empty() ? physical_cores() : static_cast<int>(processors_.size());
  if (!processors_.empty()) pin_caller();
  for (int i = 1; i < n_threads; ++i)
    workers_.emplace_back([this, i] {
      if (!processors_.empty()) stay_on({processors_[static_cast<size_t>(i) % processors_.size()]});
      work(0);
    });
}

void ThreadPool::pin_caller() {
  processors_before_ = allowed_processors();
  for (const int wanted : processors_) {
    if (stay_on({wanted})) continue;
    stay_on(processors_before_);
    throw Error("this process may not run on processor " + std::to_string(wanted));
  }
  stay_on({processors_[0]});
}

ThreadPool::~ThreadPool() {
  if (!processors_before_.empty()) stay_on(processors_before_);
  {
    const std::lock_guard lock(mutex_);
    stop_ = true;
    std::atomic_ref(generation_).fetch_add(1);
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
  const std::atomic_ref generation(generation_);
  const std::atomic_ref active(active_);
  const auto is_new = [&] { return generation.load(std::memory_order_acquire) != seen; };
  const auto enter = [&] {
    int inside = active.load(std::memory_order_relaxed);
    while ((inside & kClosed) == 0)
      if (active.compare_exchange_weak(inside, inside + 1, std::memory_order_acquire)) return true;
    return false;
  };
  for (;;) {
    if (!look_for(is_new)) {
      const AwayFromCaller away;
      std::unique_lock lock(mutex_);
      wake_.wait(lock, is_new);
    }
    seen = generation.load(std::memory_order_acquire);
    if (stop_) return;
    if (!enter()) continue;
    run_chunks();
    if (active.fetch_sub(1) != (kClosed | 1)) continue;
    { const std::lock_guard lock(mutex_); }  // whoever waits has looked before, or sees it now
    done_.notify_one();
  }
}

/// Workers enter a loop while it is open; one that comes too late is not waited for.
void ThreadPool::parallel_for(int64_t n, int64_t grain, const std::function<void(int64_t, int64_t)>& body) {
  if (n <= 0) return;
  grain = std::max<int64_t>(1, grain);
  if (workers_.empty() || inside_loop || n <= grain) {
    body(0, n);
    return;
  }
  // Four chunks a thread, or a few more, even out uneven progress without much contention on the counter.
  // Fewer might not: of seven, one of two threads would have to do four.
  const int64_t wanted = n / (size() * 4);
  body_ = &body;
  n_ = n;
  chunk_ = std::max(grain, wanted / grain * grain);
  failure_ = nullptr;
  std::atomic_ref(next_).store(0, std::memory_order_relaxed);
  const std::atomic_ref active(active_);
  active.store(0, std::memory_order_release);
  calling_cpu.store(sched_getcpu(), std::memory_order_relaxed);
  std::atomic_ref(generation_).fetch_add(1);
  { const std::lock_guard lock(mutex_); }  // a worker that is about to sleep has seen it, or is told
  wake_.notify_all();
  run_chunks();
  active.fetch_or(kClosed);
  const auto all_left = [&] { return active.load(std::memory_order_acquire) == kClosed; };
  if (!look_for(all_left)) {
    std::unique_lock lock(mutex_);
    done_.wait(lock, all_left);
  }
  if (failure_) std::rethrow_exception(failure_);
}

}  // namespace tl
