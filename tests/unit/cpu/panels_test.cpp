// Panels take the place of a mapped file's pages, and do not stand beside them.
#include "backend/cpu/panels.h"

#include <gtest/gtest.h>

#include <vector>

namespace tl::cpu {
namespace {

std::vector<size_t> given_back;  ///< how far each time, from the matrix's first byte on
const std::byte* first_byte = nullptr;

void record(const std::byte* data, size_t bytes) {
  EXPECT_EQ(data, first_byte);
  given_back.push_back(bytes);
}

TEST(Panels, PagesAreGivenBackWhileAMatrixIsPacked) {
  const int64_t n = 5001, k = 4096;  // 11 MB of Q4_0, the last panel not full
  Tensor w(DType::q4_0, {n, k});
  const auto bytes = static_cast<size_t>(bytes_of(DType::q4_0, n * k));
  std::fill_n(w.bytes(), bytes, std::byte{});
  first_byte = w.bytes();
  w.storage()->give_back = record;
  ThreadPool pool(2);
  given_back.clear();
  panels_of(w, pool);
  ASSERT_GE(given_back.size(), 3u);
  size_t before = 0;
  for (const size_t now : given_back) {
    EXPECT_GT(now, before);
    EXPECT_LE(now - before, size_t{4} << 20);
    before = now;
  }
  EXPECT_EQ(given_back.back(), bytes);
  const size_t times = given_back.size();
  panels_of(w, pool);
  EXPECT_EQ(given_back.size(), times) << "packed again";
  w.storage()->give_back = nullptr;
}

}  // namespace
}  // namespace tl::cpu
