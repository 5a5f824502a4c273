// The block formats against ggml's own code (golden files of tools/reference/blocks_golden.py).
#include "tensor/blocks.h"

#include <bit>
#include <cmath>
#include <cstring>
#include <string>
#include <vector>

#include <gtest/gtest.h>

#include "base/error.h"
#include "base/file.h"
#include "base/half.h"
#include "tensor/block_layouts.h"

namespace tl {
namespace {

struct Golden {
  std::vector<std::byte> blocks;
  std::vector<float> values;
};

Golden load(const std::string& kind, DType dtype) {
  const std::string path =
      std::string(TL_SOURCE_DIR) + "/tests/golden/blocks/" + kind + "_" + std::string(name(dtype)) + ".bin";
  const std::string text = read_file(path);
  const auto& type = info(dtype);
  uint32_t count = 0;
  std::memcpy(&count, text.data(), 4);
  const bool decode = kind == "decode";
  const size_t elements = decode ? count * static_cast<size_t>(type.block_elements) : count;
  const size_t bytes =
      elements / static_cast<size_t>(type.block_elements) * static_cast<size_t>(type.block_bytes);
  EXPECT_EQ(text.size(), 4 + bytes + 4 * elements);
  Golden g{std::vector<std::byte>(bytes), std::vector<float>(elements)};
  std::memcpy(g.blocks.data(), text.data() + (decode ? 4 : 4 + 4 * elements), bytes);
  std::memcpy(g.values.data(), text.data() + (decode ? 4 + bytes : 4), 4 * elements);
  return g;
}

class BlockFormat : public testing::TestWithParam<DType> {};

TEST_P(BlockFormat, DecodesBitEqualToGgml) {
  const Golden g = load("decode", GetParam());
  std::vector<float> out(g.values.size(), NAN);
  decode_row(GetParam(), g.blocks.data(), out.data(), static_cast<int64_t>(out.size()));
  for (size_t i = 0; i < out.size(); ++i)
    ASSERT_EQ(std::bit_cast<uint32_t>(out[i]), std::bit_cast<uint32_t>(g.values[i]))
        << "element " << i << ": " << out[i] << " instead of " << g.values[i];
}

// A float32 formula of at most four roundings of its two terms.
TEST_P(BlockFormat, DecodesToDoubleWithinFloatRounding) {
  const Golden g = load("decode", GetParam());
  const auto n = static_cast<int64_t>(g.values.size());
  std::vector<double> out(g.values.size(), NAN);
  decode_row(GetParam(), g.blocks.data(), out.data(), n);
  bool differs = false;
  for (size_t block = 0; block < out.size() / 32; ++block) {
    double largest = 0;
    for (size_t i = 32 * block; i < 32 * block + 32; ++i) largest = std::max(largest, std::fabs(out[i]));
    for (size_t i = 32 * block; i < 32 * block + 32; ++i) {
      ASSERT_TRUE(std::isfinite(out[i]));
      ASSERT_LE(std::fabs(out[i] - g.values[i]), 4 * largest * 0x1p-23) << i;
      differs = differs || out[i] != g.values[i];
    }
  }
  // d * q of one product is exact in float already.
  const bool one_product =
      GetParam() == DType::q4_0 || GetParam() == DType::q5_0 || GetParam() == DType::q8_0;
  EXPECT_EQ(differs, !one_product && GetParam() != DType::q3_k && GetParam() != DType::q6_k);
}

TEST_P(BlockFormat, DecodesRowsAtOddAddresses) {
  const Golden g = load("decode", GetParam());
  std::vector<std::byte> shifted(g.blocks.size() + 1);
  std::copy(g.blocks.begin(), g.blocks.end(), shifted.begin() + 1);
  std::vector<float> out(g.values.size());
  decode_row(GetParam(), shifted.data() + 1, out.data(), static_cast<int64_t>(out.size()));
  EXPECT_EQ(out, g.values);
}

INSTANTIATE_TEST_SUITE_P(Ggml, BlockFormat,
                         testing::Values(DType::q4_0, DType::q4_1, DType::q5_0, DType::q5_1, DType::q8_0,
                                         DType::q2_k, DType::q3_k, DType::q4_k, DType::q5_k, DType::q6_k),
                         [](const auto& param) { return std::string(name(param.param)); });

class BitEqualEncoder : public testing::TestWithParam<DType> {};

TEST_P(BitEqualEncoder, WritesGgmlsBytes) {
  const Golden g = load("encode", GetParam());
  std::vector<std::byte> out(g.blocks.size(), std::byte{0xaa});
  encode_row(GetParam(), g.values.data(), out.data(), static_cast<int64_t>(g.values.size()));
  const auto size = static_cast<size_t>(info(GetParam()).block_bytes);
  for (size_t i = 0; i < out.size(); ++i)
    ASSERT_EQ(out[i], g.blocks[i]) << "block " << i / size << " byte " << i % size;
}

INSTANTIATE_TEST_SUITE_P(Ggml, BitEqualEncoder, testing::Values(DType::q4_0, DType::q4_1, DType::q8_0),
                         [](const auto& param) { return std::string(name(param.param)); });

class FittedEncoder : public testing::TestWithParam<DType> {};

double rmse(DType dtype, const std::vector<std::byte>& blocks, const std::vector<float>& values, size_t begin,
            size_t end) {
  std::vector<double> out(values.size());
  decode_row(dtype, blocks.data(), out.data(), static_cast<int64_t>(out.size()));
  double sum = 0;
  for (size_t i = begin; i < end; ++i) sum += (out[i] - values[i]) * (out[i] - values[i]);
  return std::sqrt(sum / static_cast<double>(end - begin));
}

TEST_P(FittedEncoder, ErrsAtMostThreePercentMoreThanGgml) {
  const Golden g = load("encode", GetParam());
  std::vector<std::byte> out(g.blocks.size(), std::byte{0xaa});
  encode_row(GetParam(), g.values.data(), out.data(), static_cast<int64_t>(g.values.size()));
  for (size_t block = 0; block < g.values.size(); block += 256) {
    const double ours = rmse(GetParam(), out, g.values, block, block + 256);
    const double ggml = rmse(GetParam(), g.blocks, g.values, block, block + 256);
    EXPECT_LE(ours, 1.03 * ggml) << "super-block " << block / 256;
  }
}

TEST_P(FittedEncoder, ZerosStayZeros) {
  const std::vector<float> zeros(256, 0.0f);
  std::vector<std::byte> out(static_cast<size_t>(info(GetParam()).block_bytes), std::byte{0xaa});
  encode_row(GetParam(), zeros.data(), out.data(), 256);
  std::vector<float> back(256, 1.0f);
  decode_row(GetParam(), out.data(), back.data(), 256);
  EXPECT_EQ(back, zeros);
}

INSTANTIATE_TEST_SUITE_P(Ggml, FittedEncoder, testing::Values(DType::q4_k, DType::q6_k),
                         [](const auto& param) { return std::string(name(param.param)); });

TEST(Blocks, PlainTypesConvert) {
  const std::vector<float> values{0.0f, -1.5f, 65504.0f, 0x1p-24f, 3.14159f};
  std::vector<std::byte> bytes(4 * values.size());
  std::vector<float> back(values.size());
  const auto n = static_cast<int64_t>(values.size());
  encode_row(DType::f32, values.data(), bytes.data(), n);
  decode_row(DType::f32, bytes.data(), back.data(), n);
  EXPECT_EQ(back, values);
  encode_row(DType::f16, values.data(), bytes.data(), n);
  decode_row(DType::f16, bytes.data(), back.data(), n);
  for (size_t i = 0; i < values.size(); ++i) EXPECT_EQ(back[i], f16_to_f32(f32_to_f16(values[i])));
  EXPECT_EQ(back[2], 65504.0f);
  encode_row(DType::bf16, values.data(), bytes.data(), n);
  decode_row(DType::bf16, bytes.data(), back.data(), n);
  for (size_t i = 0; i < values.size(); ++i) EXPECT_EQ(back[i], bf16_to_f32(f32_to_bf16(values[i])));
  const double wide[] = {0.1, -1e300};
  double wide_back[2] = {};
  decode_row(DType::f64, reinterpret_cast<const std::byte*>(wide), wide_back, 2);
  EXPECT_EQ(wide_back[0], 0.1);
  EXPECT_EQ(wide_back[1], -1e300);
  const int64_t longs[] = {-(int64_t{1} << 53), 7};
  decode_row(DType::i64, reinterpret_cast<const std::byte*>(longs), wide_back, 2);
  EXPECT_EQ(wide_back[0], -0x1p53);
}

std::string message_of(DType dtype, std::vector<float> values) {
  std::vector<std::byte> out(values.size() * 4);
  try {
    encode_row(dtype, values.data(), out.data(), static_cast<int64_t>(values.size()));
  } catch (const Error& e) {
    return e.what();
  }
  return "";
}

TEST(Blocks, RefusesWhatCannotBeEncoded) {
  for (const DType dtype :
       {DType::f16, DType::bf16, DType::q4_0, DType::q4_1, DType::q8_0, DType::q4_k, DType::q6_k}) {
    std::vector<float> values(256, 1.0f);
    values[37] = NAN;
    EXPECT_EQ(message_of(dtype, values), "element 37 is nan: it cannot be quantised") << name(dtype);
    values[37] = -INFINITY;
    EXPECT_EQ(message_of(dtype, values), "element 37 is -inf: it cannot be quantised") << name(dtype);
  }
  EXPECT_EQ(message_of(DType::f16, {65520.0f}), "65520 exceeds float16's range");
  EXPECT_EQ(message_of(DType::bf16, {3.4e38f}), "3.4e+38 exceeds bfloat16's range");
  const std::string overflow = "exceeds float16's range; use F32 or BF16 for this tensor";
  for (const DType dtype : {DType::q4_0, DType::q4_1, DType::q8_0, DType::q4_k, DType::q6_k}) {
    std::vector<float> values(256, 0.5f);
    values[3] = 1e30f;
    EXPECT_NE(message_of(dtype, values).find(overflow), std::string::npos)
        << name(dtype) << message_of(dtype, values);
  }
  EXPECT_FALSE(can_encode(DType::q5_k));
  EXPECT_THROW(message_of(DType::q5_k, std::vector<float>(256)), std::logic_error);
  EXPECT_THROW(message_of(DType::q4_k, std::vector<float>(32)), std::logic_error);
}

}  // namespace
}  // namespace tl
