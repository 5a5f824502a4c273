#include "formats/quantize.h"

#include <cmath>
#include <numeric>

#include <gtest/gtest.h>

#include "base/file.h"
#include "formats/gguf.h"
#include "formats/safetensors.h"
#include "formats/synth.h"
#include "tensor/blocks.h"
#include "tensor/statistics.h"
#include "unit/formats/gguf_builder.h"
#include "unit/formats/temp_folder.h"

namespace tl::test {
namespace {

SynthOptions small() {
  SynthOptions o;
  o.n_layers = 2;
  o.hidden = 256;
  o.ffn = 512;
  o.n_heads = 8;
  o.n_kv_heads = 2;
  o.vocab = 300;
  return o;
}

std::vector<double> values_of(const Tensor& t) {
  std::vector<double> values(static_cast<size_t>(t.elements()));
  decode_row(t.dtype(), t.bytes(), values.data(), t.elements());
  return values;
}

double relative_error(const Tensor& a, const Tensor& b) {
  const auto x = values_of(a), y = values_of(b);
  double error = 0, norm = 0;
  for (size_t i = 0; i < x.size(); ++i) {
    error += (x[i] - y[i]) * (x[i] - y[i]);
    norm += x[i] * x[i];
  }
  return std::sqrt(error / norm);
}

TEST(Synth, WritesAModelOfTheShape) {
  const TempFolder folder;
  SynthOptions o = small();
  uint64_t done = 0, total = 0;
  synthesise_model(folder.file("m.gguf"), o, [&](const SynthProgress& p) {
    EXPECT_GE(p.done_elements, done);
    done = p.done_elements;
    total = p.total_elements;
  });
  EXPECT_EQ(done, total);
  const auto m = open_model_file(folder.file("m.gguf"));
  EXPECT_EQ(m->architecture(), "llama");
  EXPECT_EQ(m->get_int("llama.block_count"), 2);
  EXPECT_EQ(m->get_int("llama.attention.head_count_kv"), 2);
  EXPECT_EQ(m->get_string("tensorlogic.rope_style"), "norm");
  EXPECT_EQ(m->get_strings("tokenizer.ggml.tokens").size(), 300u);
  EXPECT_EQ(m->get_strings("tokenizer.ggml.tokens")[3 + 0x41], "<0x41>");
  EXPECT_EQ(m->tensors().size(), 2u * 9 + 3);
  EXPECT_EQ(m->find_tensor("blk.1.ffn_down.weight")->dtype, DType::q4_0);
  EXPECT_EQ(m->find_tensor("blk.1.ffn_down.weight")->shape, (Shape{256, 512}));
  EXPECT_EQ(m->find_tensor("blk.0.attn_k.weight")->shape, (Shape{64, 256}));
  EXPECT_EQ(m->find_tensor("output.weight")->dtype, DType::q6_k);
  EXPECT_EQ(m->find_tensor("output_norm.weight")->dtype, DType::f32);
  ThreadPool pool(1);
  const auto q = tensor_statistics(m->tensor("blk.0.attn_q.weight"), pool);
  EXPECT_NEAR(q.mean, 0, 0.001);
  EXPECT_NEAR(q.std, 1 / 16.0, 0.002);
  const auto norm = tensor_statistics(m->tensor("blk.0.attn_norm.weight"), pool);
  EXPECT_NEAR(norm.mean, 1, 0.03);
  EXPECT_NEAR(norm.std, 0.1, 0.02);
  const auto rows = values_of(m->tensor("blk.0.attn_q.weight"));
  EXPECT_NE(rows[0], rows[256]) << "rows differ";
}

TEST(Synth, TheBytesDependOnTheSeedAndNotOnThreads) {
  const TempFolder folder;
  SynthOptions o = small();
  o.n_threads = 1;
  synthesise_model(folder.file("1.gguf"), o);
  o.n_threads = 4;
  synthesise_model(folder.file("4.gguf"), o);
  o.seed = 2;
  synthesise_model(folder.file("other.gguf"), o);
  EXPECT_EQ(read_file(folder.file("1.gguf")), read_file(folder.file("4.gguf")));
  EXPECT_NE(read_file(folder.file("1.gguf")), read_file(folder.file("other.gguf")));
}

TEST(Synth, Variants) {
  const TempFolder folder;
  SynthOptions o = small();
  o.architecture = "qwen2";
  o.tied = true;
  o.type = DType::f16;
  synthesise_model(folder.file("q.gguf"), o);
  const auto m = open_model_file(folder.file("q.gguf"));
  EXPECT_EQ(m->get_string("tensorlogic.rope_style"), "neox");
  EXPECT_EQ(m->find_tensor("blk.0.attn_k.bias")->shape, (Shape{64}));
  EXPECT_EQ(m->find_tensor("output.weight"), nullptr);
  EXPECT_EQ(m->find_tensor("token_embd.weight")->dtype, DType::f16);
  o = small();
  o.vocab = 0;
  o.tokenizer = folder.file("q.gguf");
  synthesise_model(folder.file("copied.gguf"), o);
  const auto copied = open_model_file(folder.file("copied.gguf"));
  EXPECT_EQ(*copied->find("tokenizer.ggml.tokens"), *m->find("tokenizer.ggml.tokens"));
  EXPECT_EQ(copied->find_tensor("token_embd.weight")->shape[0], 300);
}

TEST(Synth, RefusesShapesThatMakeNoModel) {
  const TempFolder folder;
  const auto refusal = [&](const std::function<void(SynthOptions&)>& change) {
    SynthOptions o = small();
    change(o);
    return message_of([&] { synthesise_model(folder.file("x.gguf"), o); });
  };
  const std::string no = "no such model can be: ";
  EXPECT_EQ(refusal([](auto& o) { o.n_heads = 7; }), no + "7 heads do not divide a hidden size of 256");
  EXPECT_EQ(refusal([](auto& o) { o.n_kv_heads = 3; }), no + "3 kv heads do not divide 8 heads");
  EXPECT_EQ(refusal([](auto& o) { o.n_heads = o.n_kv_heads = 256; }),
            no + "RoPE needs an even head dimension, not 1");
  EXPECT_EQ(refusal([](auto& o) { o.n_layers = 0; }), no + "0 layers (1 to 16777216)");
  EXPECT_EQ(refusal([](auto& o) { o.vocab = 100; }),
            no + "a vocabulary of 100 tokens (the made-up one has at least 259)");
  EXPECT_EQ(refusal([](auto& o) { o.architecture = "gpt"; }),
            no + "architecture 'gpt' is not known (llama and qwen2 are)");
  EXPECT_EQ(refusal([](auto& o) { o.rope_base = -1; }), no + "the RoPE base must be positive");
  EXPECT_EQ(refusal([](auto& o) { o.rms_norm_eps = NAN; }), no + "the norm's epsilon must be positive");
  EXPECT_EQ(
      refusal([](auto& o) { o.type = DType::q5_k; }),
      "cannot write Q5_K; the types that can be written are F32, F16, BF16, Q4_0, Q4_1, Q8_0, Q4_K and Q6_K");
  EXPECT_TRUE(std::filesystem::is_empty(folder.path()));
}

class QuantizeTest : public testing::Test {
 protected:
  QuantizeTest() {
    SynthOptions o = small();
    o.type = DType::f32;
    synthesise_model(folder_.file("f32.gguf"), o);
    source_ = open_model_file(folder_.file("f32.gguf"));
  }
  std::shared_ptr<const ModelFile> quantised(DType type, const QuantizeOptions& options = {}) {
    const std::string path = folder_.file("out.gguf");
    quantize_model(*source_, path, type, options, [&](const QuantizeProgress& p) {
      if (!p.message.empty()) messages_.push_back(p.message);
      done_ = p.done_bytes;
      total_ = p.total_bytes;
    });
    return open_model_file(path);
  }
  TempFolder folder_;
  std::shared_ptr<const ModelFile> source_;
  std::vector<std::string> messages_;
  uint64_t done_ = 0, total_ = 0;
};

TEST_F(QuantizeTest, EveryTypeKeepsTheWeights) {
  // Bounds: the formats' own relative errors on bell-shaped rows, with half as much again.
  const std::pair<DType, double> cases[] = {{DType::f32, 0},      {DType::f16, 3e-4},  {DType::bf16, 2.4e-3},
                                            {DType::q8_0, 0.008}, {DType::q6_k, 0.03}, {DType::q4_k, 0.1},
                                            {DType::q4_1, 0.12},  {DType::q4_0, 0.13}};
  for (const auto& [type, bound] : cases) {
    const auto m = quantised(type);
    EXPECT_EQ(done_, total_);
    ASSERT_EQ(m->tensors().size(), source_->tensors().size());
    for (const auto& t : m->tensors()) {
      const bool one_dimensional = t.shape.rank() == 1;
      const bool output = t.name == "output.weight" && type >= DType::q4_0 && type != DType::q8_0;
      EXPECT_EQ(t.dtype, one_dimensional ? DType::f32 : output ? DType::q6_k : type) << t.name;
      const double error = relative_error(source_->tensor(t.name), m->tensor(t.name));
      EXPECT_LE(error, one_dimensional ? 0 : bound) << t.name << " " << name(type);
      if (!one_dimensional) {
        EXPECT_GE(error, bound / 8) << t.name << " " << name(type);
      }
    }
    for (const auto& entry : source_->metadata()) {
      if (entry.key == "general.file_type") continue;
      EXPECT_EQ(*m->find(entry.key), entry.value) << entry.key;
    }
  }
  EXPECT_EQ(quantised(DType::q4_0)->get_int("general.file_type"), 2);
  EXPECT_EQ(quantised(DType::q4_0)->get_int("general.quantization_version"), 2);
  EXPECT_EQ(quantised(DType::q4_k)->get_int("general.file_type"), 14);
  EXPECT_TRUE(messages_.empty());
}

TEST_F(QuantizeTest, Options) {
  QuantizeOptions pure;
  pure.pure = true;
  EXPECT_EQ(quantised(DType::q4_0, pure)->find_tensor("output.weight")->dtype, DType::q4_0);
  QuantizeOptions own;
  own.output_type = DType::f16;
  EXPECT_EQ(quantised(DType::q4_0, own)->find_tensor("output.weight")->dtype, DType::f16);
  EXPECT_EQ(
      message_of([&] { quantised(DType::q3_k); }),
      "cannot write Q3_K; the types that can be written are F32, F16, BF16, Q4_0, Q4_1, Q8_0, Q4_K and Q6_K");
}

TEST_F(QuantizeTest, ABlockTypeOfTheSameTypeIsCopied) {
  quantised(DType::q4_0);
  const auto once = open_model_file(folder_.file("out.gguf"));
  quantize_model(*once, folder_.file("twice.gguf"), DType::q4_0);
  EXPECT_EQ(read_file(folder_.file("out.gguf")), read_file(folder_.file("twice.gguf")));
}

TEST(Quantize, WidthsThatDoNotFitFallBackAloud) {
  const TempFolder folder;
  SynthOptions o = small();
  o.hidden = 96;
  o.ffn = 72;
  o.n_heads = 4;
  o.tied = true;
  o.type = DType::f32;
  synthesise_model(folder.file("m.gguf"), o);
  std::vector<std::string> messages;
  quantize_model(*open_model_file(folder.file("m.gguf")), folder.file("q.gguf"), DType::q4_0, {},
                 [&](const QuantizeProgress& p) {
                   if (!p.message.empty()) messages.push_back(p.message);
                 });
  const auto m = open_model_file(folder.file("q.gguf"));
  EXPECT_EQ(m->find_tensor("blk.0.attn_q.weight")->dtype, DType::q4_0);
  EXPECT_EQ(m->find_tensor("token_embd.weight")->dtype, DType::q8_0) << "it is the output too";
  EXPECT_EQ(m->find_tensor("blk.0.ffn_down.weight")->dtype, DType::f16);
  ASSERT_EQ(messages.size(), 3u);
  EXPECT_EQ(
      messages[0],
      "token_embd.weight: its rows of 96 elements are no multiple of Q6_K's block of 256: written as Q8_0");
  EXPECT_EQ(
      messages[1],
      "blk.0.ffn_down.weight: its rows of 72 elements are no multiple of Q4_0's block of 32: written as F16");
}

TEST(Quantize, NanNamesTensorAndRow) {
  const TempFolder folder;
  GgufWriter writer(folder.file("m.gguf"));
  writer.add_tensor("w", DType::f32, Shape{3, 32});
  std::vector<float> values(96, 1.0f);
  values[2 * 32 + 5] = NAN;
  writer.write(std::as_bytes(std::span(values)));
  writer.finish();
  const auto m = open_model_file(folder.file("m.gguf"));
  EXPECT_EQ(
      message_of([&] { quantize_model(*m, folder.file("q.gguf"), DType::q8_0); }),
      folder.file("m.gguf") + ": tensor 'w': row 2: element 5 is nan: it cannot be quantised (at byte 24)");
  EXPECT_FALSE(std::filesystem::exists(folder.file("q.gguf")));
}

// Q and K of a Hugging Face folder are halves (i, i + n/2); GGUF's llama has pairs (2i, 2i + 1).
TEST(Quantize, RopeOrderBecomesGgufs) {
  const TempFolder folder;
  const auto source = open_model_file(std::string(TL_SOURCE_DIR) + "/tests/golden/gguf/hugging_face");
  std::vector<std::string> messages;
  quantize_model(*source, folder.file("m.gguf"), DType::f32, {}, [&](const QuantizeProgress& p) {
    if (!p.message.empty()) messages.push_back(p.message);
  });
  const auto m = open_model_file(folder.file("m.gguf"));
  EXPECT_EQ(m->get_string("tensorlogic.rope_style"), "norm");
  const auto from = values_of(source->tensor("blk.0.attn_q.weight")),
             to = values_of(m->tensor("blk.0.attn_q.weight"));
  const size_t order[] = {0, 2, 1, 3, 4, 6, 5, 7};  // two heads of 4
  for (size_t row = 0; row < 8; ++row)
    for (size_t i = 0; i < 8; ++i) EXPECT_EQ(to[row * 8 + i], from[order[row] * 8 + i]) << row;
  EXPECT_EQ(values_of(m->tensor("blk.0.attn_v.weight")), values_of(source->tensor("blk.0.attn_v.weight")));
  ASSERT_EQ(messages.size(), 1u);
  EXPECT_EQ(messages[0],
            "the tokenizer is not part of the GGUF file: keep " + source->tokenizer_json() + " beside it");
}

TEST(Statistics, CountsAndMoments) {
  ThreadPool one(1), four(4);
  std::vector<float> values(200000);
  for (size_t i = 0; i < values.size(); ++i) values[i] = 1000 + static_cast<float>(i % 7);
  values[5] = NAN;
  values[150000] = INFINITY;
  values[150001] = -INFINITY;
  values[7] = 0;
  const Tensor t = Tensor::from<float>(DType::f32, Shape{2, 100000}, values);
  const auto s = tensor_statistics(t, one);
  EXPECT_EQ(s.count, 200000);
  EXPECT_EQ(s.nan, 1);
  EXPECT_EQ(s.inf, 2);
  EXPECT_EQ(s.zero, 1);
  EXPECT_EQ(s.min, 0);
  EXPECT_EQ(s.max, 1006);
  double sum = 0, squares = 0;
  for (const float x : values) sum += std::isfinite(x) ? x : 0;
  const double mean = sum / 199997;
  for (const float x : values) squares += std::isfinite(x) ? (x - mean) * (x - mean) : 0;
  EXPECT_NEAR(s.mean, mean, 1e-9);
  EXPECT_NEAR(s.std, std::sqrt(squares / 199997), 1e-9);
  const auto again = tensor_statistics(t, four);
  EXPECT_EQ(again.mean, s.mean);
  EXPECT_EQ(again.std, s.std);
  const std::vector<float> none{NAN, NAN};
  const auto empty = tensor_statistics(Tensor::from<float>(DType::f32, Shape{2}, none), one);
  EXPECT_EQ(empty.nan, 2);
  EXPECT_EQ(empty.max, 0);
}

}  // namespace
}  // namespace tl::test
