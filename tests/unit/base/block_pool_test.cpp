// Blocks are used again, and may be given back on another thread.
#include <gtest/gtest.h>

#include <cstdint>
#include <memory>
#include <thread>
#include <vector>

#include "base/block_pool.h"

namespace tl {
namespace {

TEST(BlockPool, GivesTheLastBlockBackFirst) {
  using Pool = BlockPool<40>;
  void* a = Pool::take();
  void* b = Pool::take();
  EXPECT_NE(a, b);
  Pool::give(a);
  Pool::give(b);
  EXPECT_EQ(Pool::take(), b);
  EXPECT_EQ(Pool::take(), a);
  Pool::give(a);
  Pool::give(b);
}

struct Counted {
  explicit Counted(int& n) : count(n) { ++count; }
  ~Counted() { --count; }
  int& count;
  int64_t content[8] = {};
};

TEST(BlockPool, TakesBlocksFromOtherThreads) {
  int alive = 0;
  std::vector<std::shared_ptr<Counted>> made;
  std::thread([&] {
    for (int i = 0; i < 100; ++i)
      made.push_back(std::allocate_shared<Counted>(PoolAllocator<Counted>(), alive));
  }).join();
  EXPECT_EQ(alive, 100);
  made.clear();
  EXPECT_EQ(alive, 0);
}

}  // namespace
}  // namespace tl
