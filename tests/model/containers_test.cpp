// One model in two containers: a Hugging Face folder, whose Q and K are in halves, and the GGUF file made of
// it, whose are in pairs. Both must give the same logits.
#include <gtest/gtest.h>

#include <cmath>
#include <fstream>

#include "formats/quantize.h"
#include "formats/safetensors.h"
#include "llm/vocabulary.h"
#include "model/running.h"

namespace tl {
namespace {

using testing_models::Running;
using testing_models::small_llama;
using testing_models::TemporaryFile;

/// What Hugging Face calls the tensor.
std::string hugging_face_name(std::string name) {
  const std::pair<const char*, const char*> renamings[] = {{"token_embd.", "model.embed_tokens."},
                                                           {"output_norm.", "model.norm."},
                                                           {"output.", "lm_head."},
                                                           {"blk.", "model.layers."},
                                                           {"attn_q.", "self_attn.q_proj."},
                                                           {"attn_k.", "self_attn.k_proj."},
                                                           {"attn_v.", "self_attn.v_proj."},
                                                           {"attn_output.", "self_attn.o_proj."},
                                                           {"attn_norm.", "input_layernorm."},
                                                           {"ffn_norm.", "post_attention_layernorm."},
                                                           {"ffn_gate.", "mlp.gate_proj."},
                                                           {"ffn_up.", "mlp.up_proj."},
                                                           {"ffn_down.", "mlp.down_proj."}};
  for (const auto& [from, to] : renamings) {
    const size_t at = name.find(from);
    if (at == std::string::npos || (at > 0 && name[at - 1] != '.')) continue;
    name.replace(at, std::string(from).size(), to);
  }
  return name;
}

class Containers : public testing::TestWithParam<const char*> {};

/// Writes the tensors of `source` as a Hugging Face folder.
void write_folder(const std::string& source, const std::string& folder, const std::string& family) {
  std::filesystem::create_directory(folder);
  std::vector<std::pair<std::string, Tensor>> tensors;
  const auto file = open_model_file(source);
  for (const TensorEntry& t : file->tensors())
    tensors.emplace_back(hugging_face_name(t.name), file->tensor(t));
  write_safetensors(folder + "/model.safetensors", tensors);
  std::ofstream(folder + "/config.json") << R"({"model_type": ")" << family << R"(", "hidden_size": 256,
    "num_attention_heads": 8, "num_key_value_heads": 2, "num_hidden_layers": 3, "intermediate_size": 512,
    "vocab_size": 600, "max_position_embeddings": 512, "rms_norm_eps": 1e-5, "rope_theta": 10000.0,
    "hidden_act": "silu", "tie_word_embeddings": false})";
}

TEST(Vocabulary, RowsBeyondTheTokenizersTokensAreUnusedTokens) {
  const TemporaryFile source("padded.gguf"), folder("padded");
  synthesise_model(source.path(), small_llama(DType::f32));
  write_folder(source.path(), folder.path(), "llama");
  std::filesystem::copy(TL_SOURCE_DIR "/tests/golden/text/tokenizer_json/llama3.json",
                        folder.path() + "/tokenizer.json");
  const Tokenizer tokenizer = model_tokenizer(*open_model_file(folder.path()));
  EXPECT_EQ(tokenizer.vocab_size(), 600);
  EXPECT_EQ(tokenizer.piece(599), "");
  EXPECT_THROW(tokenizer.piece(600), Error);
  EXPECT_EQ(tokenizer.decode(tokenizer.encode("one two", false, false), false), "one two");
  std::filesystem::remove_all(folder.path());
}

TEST_P(Containers, GiveTheSameLogits) {
  const std::string family = GetParam();
  const TemporaryFile source("source.gguf"), folder("folder"), converted("converted.gguf");
  synthesise_model(source.path(), small_llama(DType::f32, family));
  write_folder(source.path(), folder.path(), family);
  quantize_model(*open_model_file(folder.path()), converted.path(), DType::f32);

  const std::vector<int32_t> ids = {5, 17, 400, 17, 599, 3, 88};
  const auto theirs = Running(folder.path(), {}).all(ids), ours = Running(converted.path(), {}).all(ids);
  ASSERT_EQ(theirs.size(), ours.size());
  double difference = 0, norm = 0;
  for (size_t i = 0; i < ours.size(); ++i) {
    ASSERT_TRUE(std::isfinite(ours[i]) && std::isfinite(theirs[i])) << i;
    difference += (double{ours[i]} - theirs[i]) * (double{ours[i]} - theirs[i]);
    norm += double{theirs[i]} * theirs[i];
  }
  EXPECT_LT(std::sqrt(difference / norm), 1e-5)
      << "only the order of sums over a head's dimensions may differ";

  // The same numbers read as pairs are another model.
  const auto misread = Running(source.path(), {}).all(ids);
  difference = 0;
  for (size_t i = 0; i < ours.size(); ++i)
    difference += (double{misread[i]} - theirs[i]) * (double{misread[i]} - theirs[i]);
  if (family == "qwen2") {
    EXPECT_EQ(misread, theirs) << "it has halves in both containers";
  } else {
    EXPECT_GT(std::sqrt(difference / norm), 1e-2);
  }
  std::filesystem::remove_all(folder.path());
}

INSTANTIATE_TEST_SUITE_P(Families, Containers, testing::Values("llama", "qwen2"),
                         [](const auto& param) { return std::string(param.param); });

}  // namespace
}  // namespace tl
