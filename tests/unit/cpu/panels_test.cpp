// Panels take the place of a mapped file's pages, and do not stand beside them.
#include "backend/cpu/panels.h"

#include <gtest/gtest.h>

#include <random>
#include <vector>

#include "backend/backend.h"

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

TEST(Panels, ComeWithTheSecondProductAndChangeNoBit) {
  ThreadPool pool(2);
  const int64_t k = 512, n = 2101;  // several ranges, the last panel not full; 2 MB and more of floats
  for (const DType dtype :
       {DType::q4_0, DType::q4_1, DType::q5_0, DType::q5_1, DType::q8_0, DType::q2_k, DType::q3_k,
        DType::q4_k, DType::q5_k, DType::q6_k, DType::f16, DType::bf16, DType::f32})
    for (const int64_t m : {1, 5, 9}) {
      Tensor w(dtype, {n, k}), x(DType::f32, {m, k});
      std::mt19937 random(1);
      for (int64_t i = 0; i < bytes_of(dtype, n * k); ++i)
        w.bytes()[i] = static_cast<std::byte>(random() % 0x3c);  // no scale is infinite
      for (int64_t i = 0; i < m * k; ++i) x.data<float>()[i] = static_cast<float>(random() % 1000) - 500.0f;
      const Tensor in[] = {x, w}, out(DType::f32, {m, n});
      const auto product = [&] {
        std::fill_n(out.data<float>(), m * n, -1.0f);
        cpu_backend().kernels()[static_cast<size_t>(Op::linear)].run({in, out, NoAttrs{}, {}, pool});
        return std::vector<float>(out.data<float>(), out.data<float>() + m * n);
      };
      given_back.clear();
      first_byte = w.bytes();
      w.storage()->give_back = record;
      const std::vector<float> first = product();
      EXPECT_TRUE(given_back.empty()) << "panels although the matrix is new";
      EXPECT_EQ(product(), first) << name(dtype) << " " << m;
      EXPECT_FALSE(given_back.empty());
      EXPECT_EQ(product(), first) << name(dtype) << " " << m;
      w.storage()->give_back = nullptr;
    }
}

TEST(Panels, ViewsOfFloatsAreReadWhereTheyAre) {
  ThreadPool pool(2);
  const int64_t n = 2100, k = 1024;
  const Tensor all(DType::f16, {n, k});
  for (int64_t i = 0; i < n * k; ++i)
    all.data<uint16_t>()[i] = static_cast<uint16_t>(0x3c00 + i % 1000);  // 1 to 2
  given_back.clear();
  first_byte = all.bytes();
  all.storage()->give_back = record;
  // Half of the columns, every second row, the rows in turn, and few of them: what lies behind the last row's
  // elements need not belong to the file.
  for (const Tensor& w : {all.view({n, k / 2}, {k, 1}, k / 2), all.view({n / 2, k}, {2 * k, 1}, k),
                          all.view({n, k}, {-k, 1}, (n - 1) * k), all.view({64, k}, {k, 1}, 0)}) {
    const Tensor x(DType::f32, {1, w.shape()[1]}), out(DType::f32, {1, w.shape()[0]});
    std::fill_n(x.data<float>(), x.elements(), 0.0f);
    x.data<float>()[1] = 1.0f;
    const Tensor in[] = {x, w};
    for (int times = 0; times < 3; ++times) {
      std::fill_n(out.data<float>(), out.elements(), -1.0f);
      cpu_backend().kernels()[static_cast<size_t>(Op::linear)].run({in, out, NoAttrs{}, {}, pool});
      for (int64_t i = 0; i < out.elements(); ++i)
        ASSERT_EQ(out.data<float>()[i], load_double(w, i * w.strides()[0] + 1)) << i;
    }
  }
  EXPECT_TRUE(given_back.empty());
  all.storage()->give_back = nullptr;
}

TEST(Panels, FloatsThatLieInNoFileAreReadWhereTheyAre) {
  ThreadPool pool(1);
  const int64_t n = 1024, k = 1024;  // as large as those of files that move
  const Tensor w(DType::f16, {n, k}), x(DType::f32, {1, k}), out(DType::f32, {1, n});
  const Tensor in[] = {x, w};
  std::fill_n(x.data<float>(), k, 0.0f);
  std::fill_n(x.data<float>(), 16, 1.0f);
  for (const uint16_t one : {uint16_t{0x3c00}, uint16_t{0x4000}, uint16_t{0x3c00}}) {  // 1, 2, 1
    std::fill_n(w.data<uint16_t>(), n * k, one);  // whoever computed it may do so again
    cpu_backend().kernels()[static_cast<size_t>(Op::linear)].run({in, out, NoAttrs{}, {}, pool});
    EXPECT_EQ(out.data<float>()[0], one == 0x4000 ? 32.0f : 16.0f);
  }
}

}  // namespace
}  // namespace tl::cpu
