// The inner loops of every instruction set that this processor runs, against plain scalar code, over all
// tails.
#include "backend/cpu/isa.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <bit>
#include <cmath>
#include <cstring>
#include <limits>
#include <memory>
#include <random>
#include <vector>

#include "backend/cpu/panels.h"
#include "base/half.h"
#include "tensor/blocks.h"

namespace tl::cpu {
namespace {

constexpr float kInf = std::numeric_limits<float>::infinity();
constexpr float kNan = std::numeric_limits<float>::quiet_NaN();
constexpr float kPoison = 12345.0f;

std::vector<float> random_floats(size_t n, unsigned seed, float low = -2, float high = 2) {
  std::mt19937 generator(seed);
  std::uniform_real_distribution<float> distribution(low, high);
  std::vector<float> values(n);
  for (float& v : values) v = distribution(generator);
  return values;
}

double ulps(float actual, double expected) {
  const float nearest = static_cast<float>(expected);
  const double ulp =
      std::max(static_cast<double>(std::nextafter(std::fabs(nearest), kInf)) - std::fabs(nearest), 0x1p-149);
  return std::fabs(static_cast<double>(actual) - expected) / ulp;
}

class IsaTest : public testing::TestWithParam<const Isa*> {
 protected:
  const Isa& loops = *GetParam();
};

INSTANTIATE_TEST_SUITE_P(Sets, IsaTest, testing::ValuesIn(supported_isas().begin(), supported_isas().end()),
                         [](const auto& test) { return std::string(test.param->name); });

TEST_P(IsaTest, ExpIsWithinTwoUlpsAndRightAtTheEnds) {
  const auto exp = loops.unary[static_cast<size_t>(Op::exp)];
  std::vector<float> x = random_floats(20000, 1, -104, 88.7f), y(x.size());
  exp(x.data(), y.data(), static_cast<int64_t>(x.size()));
  double worst = 0;
  for (size_t i = 0; i < x.size(); ++i)
    worst = std::max(worst, ulps(y[i], std::exp(static_cast<double>(x[i]))));
  EXPECT_LT(worst, 2.0);

  const float ends[] = {0, kInf, -kInf, kNan, 88.73f, 1e30f, -1e30f, -103.97f, -0.0f};
  float results[9];
  exp(ends, results, 9);
  EXPECT_EQ(results[0], 1);
  EXPECT_EQ(results[1], kInf);
  EXPECT_EQ(results[2], 0);
  EXPECT_TRUE(std::isnan(results[3]));
  EXPECT_EQ(results[4], kInf);
  EXPECT_EQ(results[5], kInf);
  EXPECT_EQ(results[6], 0);
  EXPECT_EQ(results[7], std::numeric_limits<float>::denorm_min());
  EXPECT_EQ(results[8], 1);
}

TEST_P(IsaTest, ElementwiseLoopsDoEveryTailAndNotMore) {
  const std::vector<float> a = random_floats(70, 2), b = random_floats(70, 3);
  for (int64_t n = 0; n < 67; ++n) {
    std::vector<float> y(70, kPoison), z(70, kPoison);
    std::vector<uint8_t> less(70, 7);
    loops.unary[static_cast<size_t>(Op::silu)](a.data(), y.data(), n);
    loops.binary[static_cast<size_t>(Op::sub)](a.data(), b.data(), z.data(), n);
    loops.compare[static_cast<size_t>(Op::less)](a.data(), b.data(), less.data(), n);
    for (size_t i = 0; i < 70; ++i) {
      if (i >= static_cast<size_t>(n)) {
        EXPECT_EQ(y[i], kPoison);
        EXPECT_EQ(z[i], kPoison);
        EXPECT_EQ(less[i], 7);
        continue;
      }
      EXPECT_LT(ulps(y[i], a[i] / (1 + std::exp(-static_cast<double>(a[i])))), 5);
      EXPECT_EQ(z[i], a[i] - b[i]);
      EXPECT_EQ(less[i], a[i] < b[i]);
    }
  }
}

TEST_P(IsaTest, EveryHalfConverts) {
  std::vector<uint16_t> halves(65536), back(65536);
  std::vector<float> floats(65536);
  for (size_t i = 0; i < halves.size(); ++i) halves[i] = static_cast<uint16_t>(i);
  loops.f16_to_f32(halves.data(), floats.data(), 65536);
  loops.f32_to_f16(floats.data(), back.data(), 65536);
  for (size_t i = 0; i < halves.size(); ++i) {
    const float expected = f16_to_f32(halves[i]);
    if (std::isnan(expected)) {
      EXPECT_TRUE(std::isnan(floats[i])) << i;
      EXPECT_TRUE(std::isnan(f16_to_f32(back[i]))) << i;
    } else {
      EXPECT_EQ(std::bit_cast<uint32_t>(floats[i]), std::bit_cast<uint32_t>(expected)) << i;
      EXPECT_EQ(back[i], halves[i]);
    }
  }
}

TEST_P(IsaTest, RowsOfHalvesConvertOneByOne) {
  std::vector<uint16_t> halves(7 * 71);
  for (size_t i = 0; i < halves.size(); ++i) halves[i] = static_cast<uint16_t>(97 * i % 0x7c00);
  for (const int64_t n : {1, 8, 37, 64, 71}) {
    std::vector<float> rows(static_cast<size_t>(7 * n + 1), kPoison);
    loops.f16_rows_to_f32(halves.data(), 71, 7, n, 2, rows.data());
    EXPECT_EQ(rows.back(), kPoison);
    for (int64_t r = 0; r < 7; ++r)
      for (int64_t i = 0; i < n; ++i)
        EXPECT_EQ(rows[static_cast<size_t>(r * n + i)], f16_to_f32(halves[static_cast<size_t>(71 * r + i)]));
  }
}

TEST_P(IsaTest, FloatsRoundToHalvesToNearestEven) {
  std::mt19937 generator(4);
  std::vector<float> x;
  for (int i = 0; i < 100003; ++i)
    x.push_back(std::bit_cast<float>(static_cast<uint32_t>(0x30000000u + generator() % 0x18000000u)) *
                (i % 2 ? 1.0f : -1.0f));
  for (const float v : {65504.0f, 65519.0f, 65520.0f, 1e10f, 0x1p-25f, 0x1.8p-25f, 0x1p-26f, 1.0009765f})
    x.push_back(v);
  std::vector<uint16_t> halves(x.size());
  loops.f32_to_f16(x.data(), halves.data(), static_cast<int64_t>(x.size()));
  for (size_t i = 0; i < x.size(); ++i) ASSERT_EQ(halves[i], f32_to_f16(x[i])) << x[i];
}

TEST_P(IsaTest, RowLoopsDoEveryTail) {
  const std::vector<float> x = random_floats(140, 5);
  const std::vector<float> w = random_floats(140, 6);
  for (int64_t n = 1; n < 133; ++n) {
    double sum = 0, squares = 0, powers = 0;
    float max = -kInf;
    for (int64_t i = 0; i < n; ++i) max = std::max(max, x[static_cast<size_t>(i)]);
    for (int64_t i = 0; i < n; ++i) {
      const double v = x[static_cast<size_t>(i)];
      sum += v, squares += v * v, powers += std::exp(v - max);
    }
    const double bound = static_cast<double>(n) * 0x1p-24;
    EXPECT_NEAR(loops.sum(x.data(), n), sum, 2 * bound);
    EXPECT_NEAR(loops.sum_of_squares(x.data(), n), squares, 2 * bound * 2);
    EXPECT_EQ(loops.max(x.data(), n), max);
    std::vector<float> out(140, kPoison);
    EXPECT_NEAR(loops.exp_sum(x.data(), max, out.data(), n), powers, 4 * bound);
    EXPECT_NEAR(out[static_cast<size_t>(n - 1)],
                std::exp(static_cast<double>(x[static_cast<size_t>(n - 1)]) - max), 1e-7);
    EXPECT_EQ(out[static_cast<size_t>(n)], kPoison);
    loops.scale_row(x.data(), 0.5f, 3.0f, w.data(), x.data(), out.data(), n);
    const auto last = static_cast<size_t>(n - 1);
    EXPECT_EQ(out[last], (x[last] - 0.5f) * 3.0f * w[last] + x[last]);
    EXPECT_EQ(out[last + 1], kPoison);
  }
}

TEST_P(IsaTest, SumsIgnoreZerosAfterTheEnd) {
  std::vector<float> x = random_floats(300, 7);
  for (size_t n = 1; n < 100; ++n) {
    std::vector<float> padded(300, 0.0f);
    std::copy_n(x.begin(), n, padded.begin());
    EXPECT_EQ(loops.sum(padded.data(), static_cast<int64_t>(n)), loops.sum(padded.data(), 300));
  }
}

TEST_P(IsaTest, MaxOfNanIsNan) {
  for (size_t at = 0; at < 19; ++at) {
    std::vector<float> x = random_floats(19, 8);
    x[at] = kNan;
    EXPECT_TRUE(std::isnan(loops.max(x.data(), 19))) << at;
  }
  EXPECT_EQ(loops.max(nullptr, 0), -kInf);
}

// ---- Rounded activations

struct Rounded {
  std::vector<int8_t> q;
  std::vector<int16_t> words;
  std::vector<float> scale, scaled_sum;
  std::vector<Q8Rows::Sums> less_sums;
  Q8Rows rows{};
  Rounded(const Isa& loops, int64_t m, int64_t k) {
    const auto blocks = static_cast<size_t>(m * (k / 32));
    q.assign(static_cast<size_t>(m * k), 99);
    words.assign(static_cast<size_t>(m * k), 99);
    scale.assign(blocks, kPoison);
    scaled_sum.assign(blocks, kPoison);
    less_sums.assign(blocks, {{{99, 99}, {99, 99}}, {99, 99}});
    rows = {q.data(), scale.data(), scaled_sum.data(), less_sums.data(), m, k, loops.q8_group, words.data()};
  }
  int quant(int64_t row, int64_t i) const {
    return q[static_cast<size_t>(32 * rows.place(row, i / 32) + i % 32)];
  }
  double value(int64_t row, int64_t i) const {
    return static_cast<double>(scale[static_cast<size_t>(rows.place(row, i / 32))]) * quant(row, i);
  }
};

TEST_P(IsaTest, ActivationsAreRoundedToTheNearest127thOfTheirBlock) {
  const int64_t k = 96;
  std::vector<float> x = random_floats(2 * k, 9);
  std::fill_n(x.begin() + 32, 32, 0.0f);            // a block of zeros
  for (size_t i = 64; i < 96; ++i) x[i] *= 1e-39f;  // too small for a scale
  Rounded rounded(loops, 2, k);
  ASSERT_TRUE(loops.quantize_row(x.data(), rounded.rows, 0));
  ASSERT_TRUE(loops.quantize_row(x.data() + k, rounded.rows, 1));
  for (int64_t r = 0; r < 2; ++r) {
    for (int64_t b = 0; b < 3; ++b) {
      const auto at = static_cast<size_t>(rounded.rows.place(r, b));
      double largest = 0;
      int sums[2][2] = {};  // of halves, of lanes
      for (int64_t i = 32 * b; i < 32 * b + 32; ++i) {
        const double v = x[static_cast<size_t>(r * k + i)];
        largest = std::max(largest, std::fabs(v));
        sums[i % 32 / 16][i % 4 / 2] += rounded.quant(r, i);
        EXPECT_LE(std::fabs(rounded.value(r, i) - v), rounded.scale[at] * 0.50001 + 1e-36);
      }
      if (largest > 1e-30) {
        EXPECT_FLOAT_EQ(rounded.scale[at], static_cast<float>(largest / 127));
      }
      int total = 0;
      for (int lane = 0; lane < 2; ++lane) {
        for (int half = 0; half < 2; ++half)
          EXPECT_EQ(rounded.less_sums[at].halves[half][lane], -sums[half][lane]);
        EXPECT_EQ(rounded.less_sums[at].whole[lane], -(sums[0][lane] + sums[1][lane]));
        total += sums[0][lane] + sums[1][lane];
      }
      EXPECT_EQ(rounded.scaled_sum[at], rounded.scale[at] * static_cast<float>(total));
    }
  }
}

TEST_P(IsaTest, RowsWithNanOrInfinityAreNotRounded) {
  for (const float bad : {kNan, kInf, -kInf})
    for (size_t at = 0; at < 64; ++at) {
      std::vector<float> x = random_floats(64, 10);
      x[at] = bad;
      Rounded rounded(loops, 1, 64);
      EXPECT_FALSE(loops.quantize_row(x.data(), rounded.rows, 0)) << at;
      for (int64_t i = 0; i < 64; ++i) EXPECT_EQ(rounded.value(0, i), 0) << at;
      for (size_t b = 0; b < 2; ++b) {
        EXPECT_EQ(rounded.scaled_sum[b], 0) << at;
        for (int lane = 0; lane < 2; ++lane)
          EXPECT_TRUE(rounded.less_sums[b].halves[0][lane] == 0 &&
                      rounded.less_sums[b].halves[1][lane] == 0 && rounded.less_sums[b].whole[lane] == 0);
      }
    }
}

TEST_P(IsaTest, BlocksOfRowsTakenTogetherLieSideBySide) {
  EXPECT_EQ(loops.q8_group % 4, 0);
  for (const int64_t m : {1, 3, 4, 7, 8, 13, 15, 16, 23}) {
    const Rounded rounded(loops, m, 96);
    std::vector<int64_t> places;
    for (int64_t r = 0; r < m; ++r)
      for (int64_t b = 0; b < 3; ++b) {
        places.push_back(rounded.rows.place(r, b));
        EXPECT_EQ(places.back(), rounded.rows.place(r / 4 * 4, b) + (r < m / 4 * 4 ? r % 4 : r % 4 * 3));
      }
    std::sort(places.begin(), places.end());
    for (size_t i = 0; i < places.size(); ++i) EXPECT_EQ(places[i], static_cast<int64_t>(i)) << m << " rows";
  }
}

// ---- Quantised weights

struct Format {
  DType dtype;
  std::vector<size_t> scales;  ///< byte offsets of the float16 numbers in a block
};

const std::vector<Format> kFormats = {
    {DType::q4_0, {0}},    {DType::q4_1, {0, 2}},   {DType::q5_0, {0}},   {DType::q5_1, {0, 2}},
    {DType::q8_0, {0}},    {DType::q2_k, {80, 82}}, {DType::q3_k, {108}}, {DType::q4_k, {0, 2}},
    {DType::q5_k, {0, 2}}, {DType::q6_k, {208}},
};

/// Blocks of random quants whose scales are moderate numbers.
std::vector<std::byte> random_blocks(const Format& format, int64_t elements, unsigned seed) {
  std::mt19937 generator(seed);
  std::vector<std::byte> blocks(static_cast<size_t>(bytes_of(format.dtype, elements)));
  for (std::byte& b : blocks) b = static_cast<std::byte>(generator());
  const auto size = static_cast<size_t>(info(format.dtype).block_bytes);
  for (size_t block = 0; block < blocks.size(); block += size)
    for (const size_t at : format.scales) {
      const uint16_t scale =
          f32_to_f16(0.01f * static_cast<float>(static_cast<int>(generator() % 200) - 100));
      std::memcpy(&blocks[block + at], &scale, sizeof scale);
    }
  return blocks;
}

/// Holds the product of weights w[n, k] and x[m, k] against the decoded weights, and that of each row of x
/// alone against the product of all. `tolerance` is relative to the sum of the products' magnitudes.
void expect_product(const Isa& loops, const Format& format, const std::vector<std::byte>& w, int64_t n,
                    const std::vector<float>& x, int64_t m, int64_t k, double tolerance) {
  ThreadPool pool(1);
  Tensor matrix(format.dtype, {n, k});
  std::memcpy(matrix.bytes(), w.data(), w.size());
  PanelMemory memory;
  const Panels panels(matrix, memory, pool);
  Rounded rounded(loops, m, k);
  for (int64_t r = 0; r < m; ++r) ASSERT_TRUE(loops.quantize_row(x.data() + r * k, rounded.rows, r));
  std::vector<float> out(static_cast<size_t>(m * n), kPoison), single(static_cast<size_t>(n), kPoison);
  const auto kernel = loops.linear_q8[static_cast<size_t>(format.dtype)];
  ASSERT_NE(kernel, nullptr);
  kernel({panels.data(), panels.panel_bytes(), n, rounded.rows, out.data(), n});
  std::vector<double> decoded(static_cast<size_t>(k));
  for (int64_t i = 0; i < n; ++i) {
    decode_row(format.dtype, w.data() + i * bytes_of(format.dtype, k), decoded.data(), k);
    for (int64_t r = 0; r < m; ++r) {
      double expected = 0, magnitude = 0;
      for (int64_t j = 0; j < k; ++j) {
        const double term = decoded[static_cast<size_t>(j)] * rounded.value(r, j);
        expected += term, magnitude += std::fabs(term);
      }
      EXPECT_NEAR(out[static_cast<size_t>(r * n + i)], expected, tolerance * magnitude)
          << name(format.dtype) << " k " << k << " row " << r << " weight row " << i;
    }
  }
  for (int64_t r = 0; r < m; ++r) {
    Rounded one(loops, 1, k);
    ASSERT_TRUE(loops.quantize_row(x.data() + r * k, one.rows, 0));
    kernel({panels.data(), panels.panel_bytes(), n, one.rows, single.data(), n});
    for (int64_t i = 0; i < n; ++i)
      EXPECT_EQ(single[static_cast<size_t>(i)], out[static_cast<size_t>(r * n + i)])
          << "alone and among others";
  }
}

TEST_P(IsaTest, QuantisedProductsAreThoseOfTheDecodedWeights) {
  for (const Format& format : kFormats) {
    for (const int64_t k : info(format.dtype).block_elements == 32
                               ? std::vector<int64_t>{32, 64, 224, 256, 288, 576}
                               : std::vector<int64_t>{256, 512, 768}) {
      const int64_t n = 21, m = 15;  // whole panels and groups of rows, and parts of them
      expect_product(loops, format, random_blocks(format, n * k, static_cast<unsigned>(k)), n,
                     random_floats(static_cast<size_t>(m * k), 11), m, k, 1e-6);
    }
  }
}

TEST_P(IsaTest, TheLargestQuantsFitIntoTheSums) {
  for (const Format& format : kFormats) {
    const int64_t k = 256, n = 8, m = 16;
    std::vector<float> x(static_cast<size_t>(m * k));  // every pattern of signs of four neighbours
    for (int64_t r = 0; r < m; ++r)
      for (int64_t i = 0; i < k; ++i) x[static_cast<size_t>(r * k + i)] = r >> (i % 4) & 1 ? -1.0f : 1.0f;
    for (const int byte : {0x00, 0xff, 0x7f, 0x80, 0x0f}) {
      std::vector<std::byte> w = random_blocks(format, n * k, 1);
      const auto size = static_cast<size_t>(info(format.dtype).block_bytes);
      for (size_t at = 0; at < w.size(); ++at) {
        const auto is_scale = [&](size_t s) { return at % size == s || at % size == s + 1; };
        if (std::none_of(format.scales.begin(), format.scales.end(), is_scale))
          w[at] = static_cast<std::byte>(byte);
      }
      // Scales and minima may cancel, which is no concern here: a sum that overflows is wrong altogether.
      expect_product(loops, format, w, n, x, m, k, 1e-4);
    }
  }
}

TEST_P(IsaTest, FloatProductsDoEveryTail) {
  for (const DType dtype : {DType::f32, DType::f16, DType::bf16}) {
    for (int64_t k = 1; k < 50; ++k) {
      const int64_t n = 3, m = 6;
      const std::vector<float> x = random_floats(static_cast<size_t>(m * k), 12),
                               w = random_floats(static_cast<size_t>(n * k), 13);
      std::vector<std::byte> stored(static_cast<size_t>(bytes_of(dtype, n * k)));
      std::vector<float> rounded(w);
      for (size_t i = 0; i < w.size(); ++i) {
        const uint16_t half = dtype == DType::f16 ? f32_to_f16(w[i]) : f32_to_bf16(w[i]);
        if (dtype == DType::f32) {
          std::memcpy(&stored[4 * i], &w[i], 4);
        } else {
          std::memcpy(&stored[2 * i], &half, 2);
          rounded[i] = dtype == DType::f16 ? f16_to_f32(half) : bf16_to_f32(half);
        }
      }
      std::vector<float> out(static_cast<size_t>(m * n + 1), kPoison), single(static_cast<size_t>(n));
      const auto kernel = loops.linear_float[static_cast<size_t>(dtype)];
      kernel({stored.data(), bytes_of(dtype, k), n, x.data(), k, m, k, out.data(), n});
      EXPECT_EQ(out.back(), kPoison);
      for (int64_t r = 0; r < m; ++r) {
        kernel({stored.data(), bytes_of(dtype, k), n, x.data() + r * k, k, 1, k, single.data(), n});
        for (int64_t i = 0; i < n; ++i) {
          double expected = 0, magnitude = 0;
          for (int64_t j = 0; j < k; ++j) {
            const double term = static_cast<double>(x[static_cast<size_t>(r * k + j)]) *
                                rounded[static_cast<size_t>(i * k + j)];
            expected += term, magnitude += std::fabs(term);
          }
          const float actual = out[static_cast<size_t>(r * n + i)];
          EXPECT_NEAR(actual, expected, 4e-7 * magnitude) << name(dtype) << " k " << k;
          EXPECT_EQ(actual, single[static_cast<size_t>(i)]);
        }
      }
    }
  }
}

/// Rows of any number in the type, for products whose exact value is of no concern.
std::vector<std::byte> stored_floats(DType dtype, size_t n, unsigned seed) {
  const std::vector<float> numbers = random_floats(n, seed);
  std::vector<std::byte> stored(static_cast<size_t>(bytes_of(dtype, static_cast<int64_t>(n))));
  for (size_t i = 0; i < n; ++i) {
    const uint16_t half = dtype == DType::f16 ? f32_to_f16(numbers[i]) : f32_to_bf16(numbers[i]);
    if (dtype == DType::f32)
      std::memcpy(&stored[4 * i], &numbers[i], 4);
    else
      std::memcpy(&stored[2 * i], &half, 2);
  }
  return stored;
}

TEST_P(IsaTest, PackedRowsGiveTheBitsOfSingleOnes) {
  for (const DType dtype : {DType::f32, DType::f16, DType::bf16})
    for (const int64_t k : {1, 15, 16, 40, 1024, 1025, 2100})  // in one piece, in two and in three
      for (const int64_t n : {1, 5, 6, 7, 48})
        for (const int64_t m : {1, 4, 7, 64}) {
          const int64_t lines = (k + 15) / 16 * 16, row_bytes = bytes_of(dtype, k);
          const std::vector<float> x = random_floats(static_cast<size_t>(m * k), 21);
          const std::vector<std::byte> w = stored_floats(dtype, static_cast<size_t>(n * k), 22);
          std::vector<float> packed(static_cast<size_t>((m + 3) / 4 * 4 * lines), kPoison);
          const auto scratch = std::make_unique<PackedScratch>();
          std::fill(std::begin(scratch->weights), std::end(scratch->weights), kPoison);
          std::fill(std::begin(scratch->partial), std::end(scratch->partial), kPoison);
          std::vector<float> out(static_cast<size_t>(m * n + 1), kPoison), single(static_cast<size_t>(n));
          loops.pack_rows(x.data(), k, m, k, packed.data());
          loops.linear_packed[static_cast<size_t>(dtype)](
              {w.data(), row_bytes, n, packed.data(), m, k, out.data(), n, scratch.get()});
          EXPECT_EQ(out.back(), kPoison);
          for (int64_t r = 0; r < m; ++r) {
            loops.linear_float[static_cast<size_t>(dtype)](
                {w.data(), row_bytes, n, x.data() + r * k, k, 1, k, single.data(), n});
            ASSERT_EQ(std::memcmp(single.data(), out.data() + r * n, static_cast<size_t>(n) * sizeof(float)),
                      0)
                << name(dtype) << " k " << k << " n " << n << " row " << r << " of " << m;
          }
        }
}

TEST_P(IsaTest, GemmPanelsOfAnySizeSetOrAdd) {
  const int64_t k = 37, a_stride = k * kGemmRows + 5, most = 2 * kGemmRows + 1;
  const int64_t b_stride = k * kGemmColumns + 3, widest = 4 * kGemmColumns, c_stride = widest + 1;
  const std::vector<float> a = random_floats(static_cast<size_t>(3 * a_stride), 14);
  const std::vector<float> b = random_floats(static_cast<size_t>(4 * b_stride), 15);
  for (const bool adds : {false, true})
    for (int64_t columns = 1; columns <= widest; ++columns)
      for (int64_t rows = 1; rows <= most; ++rows) {
        std::vector<float> c(static_cast<size_t>(most * c_stride), 1.5f);
        loops.gemm_panels(
            {a.data(), a_stride, b.data(), b_stride, k, c.data(), c_stride, rows, columns, adds});
        for (int64_t i = 0; i < most; ++i)
          for (int64_t j = 0; j < c_stride; ++j) {
            const bool is_inside = i < rows && j < columns;
            double expected = !is_inside || adds ? 1.5 : 0;
            const int64_t row = i / kGemmRows * a_stride + i % kGemmRows;
            const int64_t column = j / kGemmColumns * b_stride + j % kGemmColumns;
            for (int64_t p = 0; is_inside && p < k; ++p)
              expected += static_cast<double>(a[static_cast<size_t>(row + p * kGemmRows)]) *
                          b[static_cast<size_t>(column + p * kGemmColumns)];
            ASSERT_NEAR(c[static_cast<size_t>(i * c_stride + j)], expected, 1e-5)
                << rows << " x " << columns << ": " << i << " " << j;
          }
      }
}

/// One row of a matrix product has the same bits by way of either loop.
TEST_P(IsaTest, AddRowsSumsAsGemmPanelsDo) {
  const int64_t stride = kGemmColumns;
  for (const int64_t k : {1, 3, 4, 5, 37})
    for (const int64_t n : {1, 7, 8, 9, 16}) {
      const std::vector<float> factors = random_floats(static_cast<size_t>(k), 17);
      const std::vector<float> rows = random_floats(static_cast<size_t>(k * stride), 18);
      std::vector<float> packed(static_cast<size_t>(k * kGemmRows)), sums(static_cast<size_t>(n + 1));
      for (int64_t p = 0; p < k; ++p)
        packed[static_cast<size_t>(p * kGemmRows)] = factors[static_cast<size_t>(p)];
      float expected[kGemmColumns];
      loops.gemm_panels(
          {packed.data(), k * kGemmRows, rows.data(), 0, k, expected, kGemmColumns, 1, kGemmColumns, false});
      loops.add_rows({factors.data(), rows.data(), stride, k, sums.data(), n});
      for (int64_t j = 0; j < n; ++j) EXPECT_EQ(sums[static_cast<size_t>(j)], expected[j]) << k << " " << n;
      EXPECT_EQ(sums.back(), 0.0f);
    }
}

TEST_P(IsaTest, PackLanesTransposes) {
  for (const int64_t k : {1, 7, 8, 9, 24, 31}) {
    const int64_t width = 10;
    const std::vector<float> x = random_floats(static_cast<size_t>(8 * k), 16);
    const float* lanes[8];
    for (int64_t l = 0; l < 8; ++l) lanes[l] = x.data() + l * k;
    std::vector<float> panel(static_cast<size_t>(k * width), -1.0f);
    loops.pack_lanes(lanes, k, width, 0, panel.data());
    for (int64_t p = 0; p < k; ++p)
      for (int64_t l = 0; l < width; ++l)
        EXPECT_EQ(panel[static_cast<size_t>(p * width + l)],
                  l < 8 ? x[static_cast<size_t>(l * k + p)] : -1.0f);
  }
}

TEST_P(IsaTest, DotOfAnyLength) {
  for (int64_t n = 0; n < 100; ++n) {
    const std::vector<float> a = random_floats(static_cast<size_t>(n), 17),
                             b = random_floats(static_cast<size_t>(n), 18);
    double expected = 0, magnitude = 0;
    for (size_t i = 0; i < a.size(); ++i) {
      expected += static_cast<double>(a[i]) * b[i];
      magnitude += std::abs(static_cast<double>(a[i]) * b[i]);
    }
    EXPECT_NEAR(loops.dot(a.data(), b.data(), n), expected, 1e-6 * magnitude) << n;
  }
}

TEST(IsaChoice, UnknownNameIsAnError) {
  GTEST_FLAG_SET(death_test_style, "threadsafe");
  const auto choose = [](const char* wanted) {
    setenv("TL_CPU_ISA", wanted, 1);
    try {
      std::fprintf(stderr, "chose %s", isa().name);
    } catch (const std::exception& e) {
      std::fprintf(stderr, "%s", e.what());
    }
    std::exit(0);
  };
  EXPECT_EXIT(choose("mmx"), testing::ExitedWithCode(0),
              "TL_CPU_ISA=mmx: not among .* processor runs: .*portable");
  EXPECT_EXIT(choose("portable"), testing::ExitedWithCode(0), "chose portable");
}

}  // namespace
}  // namespace tl::cpu
