#include "backend/cpu/limits.h"

#include <algorithm>
#include <chrono>
#include <functional>
#include <vector>

#include "backend/cpu/isa.h"
#include "backend/cpu/memory.h"

namespace tl {

namespace {

constexpr int kRounds = 5;

/// Seconds of the fastest round in which every thread did `work(thread)`.
double fastest(ThreadPool& pool, const std::function<void(int64_t)>& work) {
  double best = 1e30;
  for (int round = 0; round < kRounds; ++round) {
    const auto start = std::chrono::steady_clock::now();
    pool.parallel_for(pool.size(), 1, [&](int64_t begin, int64_t end) {
      for (int64_t i = begin; i < end; ++i) work(i);
    });
    best = std::min(best, std::chrono::duration<double>(std::chrono::steady_clock::now() - start).count());
  }
  return best;
}

}  // namespace

MachineLimits measure_limits(ThreadPool& pool) {
  constexpr int64_t kFloats = int64_t{1} << 26;  // 256 MiB, shared by the threads
  constexpr int64_t kProductRounds = 400'000;
  const int64_t threads = pool.size(), part = kFloats / threads / 64 * 64;
  const cpu::Isa& isa = cpu::isa();
  std::vector<float> results(static_cast<size_t>(threads));  // kept, so that nothing is left out
  MachineLimits limits;
  {
    const auto memory = cpu::large_pages(static_cast<size_t>(kFloats) * sizeof(float), "measuring");
    auto* const data = reinterpret_cast<float*>(memory->data);
    std::fill(data, data + kFloats, 1.0f);
    const double seconds = fastest(pool, [&](int64_t thread) {
      results[static_cast<size_t>(thread)] += isa.read(data + thread * part, part);
    });
    limits.read_bytes_per_second = static_cast<double>(part * threads) * sizeof(float) / seconds;
  }
  const double seconds = fastest(pool, [&](int64_t thread) {
    results[static_cast<size_t>(thread)] += static_cast<float>(isa.multiply_add(kProductRounds));
  });
  limits.multiply_adds_per_second =
      static_cast<double>(cpu::kProductsPerRound * kProductRounds * threads) / seconds;
  return limits;
}

}  // namespace tl
