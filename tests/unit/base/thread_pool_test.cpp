#include "base/thread_pool.h"

#include <sched.h>
#include <atomic>
#include <chrono>
#include <stdexcept>
#include <thread>
#include <vector>

#include <gtest/gtest.h>

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

}  // namespace
}  // namespace tl
