#include "base/thread_pool.h"

#include <sched.h>
#include <atomic>
#include <chrono>
#include <map>
#include <mutex>
#include <stdexcept>
#include <string>
#include <thread>
#include <vector>

#include <gtest/gtest.h>

#include "base/error.h"

namespace tl {
namespace {

TEST(ThreadPool, CoversTheRangeOnceInMultiplesOfTheGrain) {
  for (const int threads : {1, 2, 4}) {
    ThreadPool pool(threads);
    EXPECT_EQ(pool.size(), threads);
    for (const int64_t n : {0, 1, 7, 64, 1000})
      for (const int64_t grain : {1, 8, 2000}) {
        std::vector<std::atomic<int>> visits(static_cast<size_t>(n));
        std::atomic<int> unaligned = 0;
        pool.parallel_for(n, grain, [&](int64_t begin, int64_t end) {
          unaligned += begin % grain != 0 || (end % grain != 0 && end != n);
          for (int64_t i = begin; i < end; ++i) ++visits[static_cast<size_t>(i)];
        });
        EXPECT_EQ(unaligned, 0) << n << " by " << grain;
        for (const auto& count : visits) ASSERT_EQ(count, 1) << n << " by " << grain;
      }
  }
}

TEST(ThreadPool, PiecesAreSmallEnoughToBeSharedEvenly) {
  ThreadPool pool(2);
  for (const int64_t n : {17, 20, 79, 1000}) {
    std::atomic<int64_t> longest = 0, pieces = 0;
    pool.parallel_for(n, 1, [&](int64_t begin, int64_t end) {
      ++pieces;
      for (int64_t most = longest; end - begin > most && !longest.compare_exchange_weak(most, end - begin);) {
      }
    });
    EXPECT_LE(longest, n / 8) << n;
    EXPECT_LE(pieces, 16) << n;
  }
}

TEST(ThreadPool, AnExceptionOfABodyComesOutAndThePoolGoesOn) {
  ThreadPool pool(4);
  for (int round = 0; round < 50; ++round) {
    EXPECT_THROW(pool.parallel_for(100, 1,
                                   [](int64_t begin, int64_t) {
                                     if (begin >= 40) throw std::runtime_error("no");
                                   }),
                 std::runtime_error);
    std::atomic<int64_t> sum = 0;
    pool.parallel_for(100, 1, [&](int64_t begin, int64_t end) { sum += end - begin; });
    EXPECT_EQ(sum, 100);
  }
}

TEST(ThreadPool, LoopsInsideLoopsRunWhereTheyAre) {
  ThreadPool pool(2);
  std::atomic<int> count = 0;
  pool.parallel_for(8, 1, [&](int64_t begin, int64_t end) {
    for (int64_t i = begin; i < end; ++i) {
      const auto outer = std::this_thread::get_id();
      pool.parallel_for(5, 1, [&](int64_t b, int64_t e) {
        EXPECT_EQ(std::this_thread::get_id(), outer);
        count += static_cast<int>(e - b);
      });
    }
  });
  EXPECT_EQ(count, 40);
}

/// A worker that slept is not left to wait on the caller's processor for the caller.
TEST(ThreadPool, WakesAWorkerOnAnotherProcessorThanTheCallers) {
  if (ThreadPool::physical_cores() < 2) GTEST_SKIP() << "this needs two processors";
  using std::chrono::milliseconds;
  using std::chrono::steady_clock;
  constexpr int kRounds = 60;
  ThreadPool pool(2);
  int apart = 0;
  for (int round = 0; round < kRounds; ++round) {
    std::this_thread::sleep_for(milliseconds(1));  // by now the worker sleeps
    std::atomic<int> inside = 0;
    int cpus[2] = {-1, -1};
    pool.parallel_for(2, 1, [&](int64_t begin, int64_t) {
      cpus[begin] = sched_getcpu();
      ++inside;
      const auto end = steady_clock::now() + milliseconds(2);
      while (inside < 2 && steady_clock::now() < end) {
      }
    });
    apart += cpus[0] != cpus[1];
  }
  EXPECT_GT(apart, kRounds / 2);
}

/// The processors that this thread may run on.
std::vector<int> allowed() {
  cpu_set_t set;
  CPU_ZERO(&set);
  EXPECT_EQ(sched_getaffinity(0, sizeof set, &set), 0);
  std::vector<int> found;
  for (int cpu = 0; cpu < CPU_SETSIZE; ++cpu)
    if (CPU_ISSET(cpu, &set)) found.push_back(cpu);
  return found;
}

TEST(ThreadPool, PinsItsThreads) {
  const std::vector<int> before = allowed();
  for (const int n : {0, 1, 3}) {
    ThreadPool pool(n, before);
    EXPECT_EQ(pool.size(), n == 0 ? static_cast<int>(before.size()) : n);
    EXPECT_EQ(allowed(), std::vector<int>{before[0]});
    std::mutex mutex;
    std::map<std::thread::id, std::vector<int>> places;
    for (int again = 0; again < 50; ++again)
      pool.parallel_for(64, 1, [&](int64_t, int64_t) {
        const std::vector<int> mine = allowed();
        const std::lock_guard lock(mutex);
        const auto [at, is_new] = places.emplace(std::this_thread::get_id(), mine);
        EXPECT_EQ(at->second, mine);
      });
    for (const auto& [thread, place] : places) EXPECT_EQ(place.size(), 1u);
    EXPECT_EQ(places[std::this_thread::get_id()], std::vector<int>{before[0]});
  }
  EXPECT_EQ(allowed(), before) << "the calling thread is free again";
}

TEST(ThreadPool, PinnedPoolsMayLieInOneAnother) {
  const std::vector<int> before = allowed();
  {
    const ThreadPool outer(0, before);
    const ThreadPool inner(0, before);
    EXPECT_EQ(inner.size(), outer.size());
  }
  EXPECT_EQ(allowed(), before);
}

TEST(ThreadPool, ProcessorsThatCannotBeHadAreErrors) {
  const std::vector<int> before = allowed();
  try {
    ThreadPool pool(2, {before[0], 1023});
    FAIL();
  } catch (const Error& error) {
    EXPECT_STREQ(error.what(), "this process may not run on processor 1023");
  }
  EXPECT_EQ(allowed(), before);
}

}  // namespace
}  // namespace tl
