#include "formats/safetensors.h"

#include <cstring>
#include <fstream>

#include <gtest/gtest.h>

#include "base/file.h"
#include "unit/formats/gguf_builder.h"
#include "unit/formats/temp_folder.h"

namespace tl::test {
namespace {

const std::string kGolden = std::string(TL_SOURCE_DIR) + "/tests/golden/gguf/hugging_face";

void write_text(const std::string& path, const std::string& text) {
  std::ofstream(path, std::ios::binary) << text;
}

/// A safetensors file of this header and `data` zero bytes.
std::vector<std::byte> file_of(const std::string& header, size_t data) {
  ByteBuilder b;
  b.string(header).zeros(data);
  return b.bytes();
}

std::string refusal(std::span<const std::byte> bytes) {
  return message_of([&] { read_safetensors(MappedFile::of_bytes("bad.safetensors", bytes)); });
}

// What the Python package writes (tools/reference/gguf_golden.py): two shards, an index, config.json.
TEST(Safetensors, ReadsAHuggingFaceFolderInGgufsTerms) {
  for (const std::string& path : {kGolden, kGolden + "/model.safetensors.index.json"}) {
    const auto model = open_model_file(path);
    EXPECT_EQ(model->container(), "safetensors");
    EXPECT_EQ(model->architecture(), "llama");
    EXPECT_EQ(model->get_int("llama.embedding_length"), 8);
    EXPECT_EQ(model->get_int("llama.feed_forward_length"), 12);
    EXPECT_EQ(model->get_int("llama.block_count"), 1);
    EXPECT_EQ(model->get_int("llama.attention.head_count"), 2);
    EXPECT_EQ(model->get_int("llama.attention.head_count_kv"), 1);
    EXPECT_EQ(model->get_int("llama.rope.dimension_count"), 4);
    EXPECT_EQ(model->get_int("llama.context_length"), 131072);
    EXPECT_EQ(model->get_int("llama.vocab_size"), 10);
    EXPECT_EQ(model->get_float("llama.attention.layer_norm_rms_epsilon"), static_cast<double>(1e-5f));
    EXPECT_EQ(model->get_float("llama.rope.freq_base"), 500000.0);
    EXPECT_EQ(model->get_string("llama.rope.scaling.type"), "llama3");
    EXPECT_EQ(model->get_float("llama.rope.scaling.factor"), 8.0);
    EXPECT_EQ(model->get_float("llama.rope.scaling.low_freq_factor"), 1.0);
    EXPECT_EQ(model->get_float("llama.rope.scaling.high_freq_factor"), 4.0);
    EXPECT_EQ(model->get_int("llama.rope.scaling.original_context_length"), 8192);
    EXPECT_EQ(model->get_string("tensorlogic.rope_style"), "neox");
    EXPECT_EQ(model->get_int("tokenizer.ggml.bos_token_id"), 1);
    EXPECT_EQ(model->get_int("tokenizer.ggml.eos_token_id"), 2);
    EXPECT_EQ(model->get_ints("tensorlogic.eos_token_ids"), (std::vector<int64_t>{2, 3}));
    EXPECT_TRUE(model->get_bool("tokenizer.ggml.add_bos_token"));
    EXPECT_EQ(model->get_string("tokenizer.chat_template"), "{{ bos_token }}");
    EXPECT_EQ(model->tokenizer_json(), kGolden + "/tokenizer.json");
    EXPECT_EQ(model->files().size(), 2u);
    EXPECT_EQ(model->tensors().size(), 12u) << "inv_freq is left out";
    const Tensor q = model->tensor("blk.0.attn_q.weight");  // tensor 1, float16
    EXPECT_EQ(q.dtype(), DType::f16);
    EXPECT_EQ(q.shape(), (Shape{8, 8}));
    EXPECT_EQ(load_double(q, 63), 1 + 63 / 1024.0);
    const Tensor down = model->tensor("blk.0.ffn_down.weight");  // tensor 8, of the second shard
    EXPECT_EQ(down.shape(), (Shape{8, 12}));
    EXPECT_EQ(down.data<float>()[95], 8 + 95 / 1024.0f);
    EXPECT_EQ(model->find_tensor("output.weight")->original, "lm_head.weight");
    EXPECT_EQ(load_double(model->tensor("output_norm.weight"), 7),
              11 + 8.0 / 1024);  // 11 + 7 / 1024 in float16
  }
}

TEST(Safetensors, NamesMap) {
  EXPECT_EQ(gguf_tensor_name("model.layers.31.self_attn.q_proj.bias"), "blk.31.attn_q.bias");
  EXPECT_EQ(gguf_tensor_name("model.layers.0.mlp.gate_proj.weight"), "blk.0.ffn_gate.weight");
  EXPECT_EQ(gguf_tensor_name("model.layers.0.input_layernorm.weight"), "blk.0.attn_norm.weight");
  EXPECT_EQ(gguf_tensor_name("model.layers.0.post_attention_layernorm.weight"), "blk.0.ffn_norm.weight");
  EXPECT_EQ(gguf_tensor_name("model.embed_tokens.weight"), "token_embd.weight");
  EXPECT_EQ(gguf_tensor_name("model.layers.0.unknown.weight"), "");
  EXPECT_EQ(gguf_tensor_name("model.layers.0"), "");
  EXPECT_EQ(gguf_tensor_name("other"), "");
}

TEST(Safetensors, WhatIsWrittenIsReadBack) {
  const TempFolder folder;
  const std::string path = folder.file("x.safetensors");
  const std::vector<double> f64{0.1, -2};
  const std::vector<int64_t> i64{-5, int64_t{1} << 60};
  const std::vector<uint8_t> flags{1, 0, 1};
  const std::vector<float> f32{1.5f, 2.5f};
  write_safetensors(path,
                    {{"flags", Tensor::from<uint8_t>(DType::boolean, Shape{3}, flags)},
                     {"a", Tensor::from<double>(DType::f64, Shape{2, 1}, f64)},
                     {"b \"quoted\"", Tensor::from<int64_t>(DType::i64, Shape{2}, i64)},
                     {"c", Tensor::from<float>(DType::f32, Shape{2}, f32)}},
                    {{"author", "me"}});
  const auto model = open_model_file(path);
  EXPECT_EQ(model->get_string("author"), "me");
  // "flags" has three bytes, so that what follows is misaligned and read through a copy.
  EXPECT_EQ(load_double(model->tensor("a"), 0), 0.1);
  EXPECT_EQ(model->tensor("a").shape(), (Shape{2, 1}));
  EXPECT_EQ(load_int(model->tensor("b \"quoted\""), 1), int64_t{1} << 60);
  EXPECT_EQ(load_int(model->tensor("flags"), 1), 0);
  EXPECT_EQ(load_double(model->tensor("c"), 1), 2.5);
  EXPECT_EQ(open_model_file(path, false)->tensors().size(), 4u);
}

TEST(Safetensors, BadFilesAreRefused) {
  const std::string good = R"({"w":{"dtype":"F32","shape":[2,2],"data_offsets":[0,16]}})";
  EXPECT_EQ(refusal(file_of(good, 16)), "no error");
  const auto with = [&](const std::string& from, const std::string& to) {
    std::string header = good;
    header.replace(header.find(from), from.size(), to);
    return refusal(file_of(header, 16));
  };
  const std::string at = "bad.safetensors: tensor 'w': ";
  EXPECT_EQ(refusal(std::vector<std::byte>(5)), "bad.safetensors: not a safetensors file: it has 5 bytes");
  ByteBuilder long_header;
  long_header.put(uint64_t{1} << 63).zeros(8);
  EXPECT_EQ(refusal(long_header.bytes()),
            "bad.safetensors: the header claims 9223372036854775808 bytes, but only 8 follow: not a "
            "safetensors file, or a "
            "truncated one (at byte 0)");
  EXPECT_EQ(refusal(file_of("{\"w\":", 0)), "bad.safetensors: this is no valid JSON (at byte 13)");
  EXPECT_EQ(refusal(file_of("{\"w\":1e999}", 0)),
            "bad.safetensors: this JSON holds a number too large for a double");
  EXPECT_EQ(refusal(file_of("[1]", 0)), "bad.safetensors: the header is no JSON object (at byte 8)");
  EXPECT_EQ(refusal(file_of(good.substr(0, good.size() - 1) + "," + good.substr(1), 16)),
            at + "this tensor appears twice");
  EXPECT_EQ(refusal(file_of(R"({"__metadata__":3})", 0)),
            "bad.safetensors: __metadata__: expected an object, found 3");
  EXPECT_EQ(refusal(file_of(R"({"__metadata__":{"k":3}})", 0)),
            "bad.safetensors: __metadata__.k: expected a string, found 3");
  EXPECT_EQ(refusal(file_of(R"({"w":[]})", 0)), at + "expected an object, found an array (at byte 9)");
  EXPECT_EQ(refusal(file_of(R"({"":{}})", 0)), "bad.safetensors: tensor '': its name is empty (at byte 9)");
  EXPECT_EQ(refusal(file_of(R"({"a\u0001":{}})", 0)),
            "bad.safetensors: tensor 'a\x01': its name contains a control character");
  EXPECT_EQ(with("\"dtype\"", "\"type\""), at + "\"dtype\" is missing (at byte 9)");
  EXPECT_EQ(
      with("\"F32\"", "\"F8_E4M3\""),
      at + "dtype \"F8_E4M3\" is not supported (F32, F16, BF16, F64, I8, I32, I64 and BOOL are) (at byte 9)");
  EXPECT_EQ(with("[2,2]", "4"), at + "\"shape\" is 4 instead of an array (at byte 9)");
  EXPECT_EQ(with("[2,2]", "[2,-2]"), at + "the dimension -2 is no positive integer (at byte 9)");
  EXPECT_EQ(with("[2,2]", "[2,0]"), at + "the dimension 0 is no positive integer (at byte 9)");
  EXPECT_EQ(with("[2,2]", "[2.5]"), at + "the dimension 2.5 is no positive integer (at byte 9)");
  EXPECT_EQ(with("[2,2]", "[1,1,1,1,1,1,1,1,1]"), at + "9 dimensions; at most 8 are allowed (at byte 9)");
  EXPECT_EQ(with("[2,2]", "[4611686018427387904]"),
            at + "the dimension 4611686018427387904: the number of elements overflows (at byte 9)");
  EXPECT_EQ(with("[2,2]", "[18446744073709551615]"),
            at + "the dimension 18446744073709551615: the number of elements overflows (at byte 9)");
  EXPECT_EQ(with("[0,16]", "[0]"), at + "\"data_offsets\" are no pair of positive integers (at byte 9)");
  EXPECT_EQ(with("[0,16]", "[-1,16]"), at + "\"data_offsets\" are no pair of positive integers (at byte 9)");
  EXPECT_EQ(with("[0,16]", "[16,0]"), at + "its data ends at 0 before it begins at 16 (at byte 9)");
  EXPECT_EQ(with("[0,16]", "[4,20]"), at + "its data (bytes 4 to 20 of the data) lies past the end of the "
                                           "file, which has 16 bytes of data: the file "
                                           "is truncated or damaged, fetch it again (at byte 9)");
  EXPECT_EQ(with("[0,16]", "[0,12]"), at + "it has 12 bytes of data, but [2, 2] of F32 need 16 (at byte 9)");
  EXPECT_EQ(refusal(file_of(R"({"v":{"dtype":"I8","shape":[4],"data_offsets":[0,4]},)"
                            R"("w":{"dtype":"I8","shape":[2],"data_offsets":[3,5]}})",
                            5)),
            at + "its data overlaps that of tensor 'v' (at byte 61)");
}

TEST(Safetensors, BadFoldersAreRefused) {
  const TempFolder folder;
  const auto refused = [&](const std::string& name) {
    std::string text = message_of([&] { open_model_file(name.empty() ? folder.path() : folder.file(name)); });
    for (size_t at; (at = text.find(folder.path())) != std::string::npos;)
      text.replace(at, folder.path().size(), "DIR");
    return text;
  };
  EXPECT_EQ(refused(""),
            "DIR: this folder holds no .safetensors file instead of model.safetensors or "
            "model.safetensors.index.json; "
            "name the model file itself");
  const std::string index = "model.safetensors.index.json";
  write_text(folder.file(index), "{}");
  EXPECT_EQ(refused(""),
            "DIR/" + index + ": weight_map: this object is missing: not an index of safetensors files");
  write_text(folder.file(index), R"({"weight_map": {"w": 3}})");
  EXPECT_EQ(refused(""), "DIR/" + index + ": tensor 'w': expected a file name, found 3");
  write_text(folder.file(index), R"({"weight_map": {"w": "../secret"}})");
  EXPECT_EQ(refused(""), "DIR/" + index + ": tensor 'w': '../secret' is no name of a file in this folder");
  write_text(folder.file(index), R"({"weight_map": {"w": "a.safetensors"}})");
  EXPECT_EQ(refused(""), "DIR/a.safetensors: cannot open: No such file or directory");
  const std::vector<float> one{1};
  write_safetensors(folder.file("a.safetensors"), {{"v", Tensor::from<float>(DType::f32, Shape{1}, one)}});
  EXPECT_EQ(refused(""), "DIR/" + index + ": tensor 'w': it is not in a.safetensors, where the index has it");
  std::filesystem::remove(folder.file(index));
  EXPECT_EQ(refused(""), "no error") << "the only .safetensors file of a folder is its model";
  write_safetensors(folder.file("b.safetensors"), {{"v", Tensor::from<float>(DType::f32, Shape{1}, one)}});
  EXPECT_EQ(refused("").substr(0, 44), "DIR: this folder holds 2 .safetensors files ");
}

class ConfigTest : public testing::Test {
 protected:
  ConfigTest() {
    const std::vector<float> zeros(80);
    write_safetensors(folder_.file("model.safetensors"),
                      {{"model.embed_tokens.weight", Tensor::from<float>(DType::f32, Shape{10, 8}, zeros)},
                       {"lm_head.weight", Tensor::from<float>(DType::f32, Shape{10, 8}, zeros)}});
    config_ = read_file(kGolden + "/config.json");
  }
  /// Opens the folder with one line of its config.json replaced.
  std::shared_ptr<const ModelFile> open(const std::string& from, const std::string& to) {
    std::string text = config_;
    text.replace(text.find(from), from.size(), to);
    write_text(folder_.file("config.json"), text);
    return open_model_file(folder_.path());
  }
  std::string refusal(const std::string& from, const std::string& to) {
    std::string text = message_of([&] { open(from, to); });
    const size_t at = text.find(folder_.path());
    return at == std::string::npos ? text : text.replace(at, folder_.path().size(), "DIR");
  }
  TempFolder folder_;
  std::string config_;
};

TEST_F(ConfigTest, Variants) {
  EXPECT_TRUE(open("", "")->find_tensor("output.weight"));
  const auto tied = open("\"tie_word_embeddings\": false", "\"tie_word_embeddings\": true");
  EXPECT_FALSE(tied->find_tensor("output.weight")) << "a copy of token_embd";
  const auto qwen = open("\"model_type\": \"llama\"", "\"model_type\": \"qwen2\", \"sliding_window\": 4096");
  EXPECT_EQ(qwen->architecture(), "qwen2");
  EXPECT_EQ(qwen->get_int("qwen2.block_count"), 1);
  EXPECT_EQ(qwen->get_int("qwen2.attention.sliding_window"), 4096);
  const auto off = open("\"model_type\": \"llama\"",
                        "\"model_type\": \"qwen2\", \"sliding_window\": 4096, \"use_sliding_window\": false");
  EXPECT_FALSE(off->has("qwen2.attention.sliding_window"));
  EXPECT_EQ(open("\"llama\"", "\"mistral\"")->architecture(), "llama");
  const auto heads = open("\"num_key_value_heads\": 1", "\"head_dim\": 16");
  EXPECT_EQ(heads->get_int("llama.attention.head_count_kv"), 2);
  EXPECT_EQ(heads->get_int("llama.attention.key_length"), 16);
  const auto linear = open("\"rope_type\": \"llama3\"", "\"type\": \"linear\"");
  EXPECT_EQ(linear->get_string("llama.rope.scaling.type"), "linear");
  const auto parameters = open("\"rope_theta\": 500000.0,\n \"rope_scaling\": {",
                               "\"rope_parameters\": {\"rope_theta\": 250000.0,");
  EXPECT_EQ(parameters->get_float("llama.rope.freq_base"), 250000.0);
  EXPECT_EQ(parameters->get_string("llama.rope.scaling.type"), "llama3");
  const auto foreign = open("\"model_type\": \"llama\"", "\"model_type\": \"mamba\"");
  EXPECT_EQ(foreign->architecture(), "mamba");
  EXPECT_TRUE(foreign->find_tensor("lm_head.weight")) << "names stay where they are not known";
}

TEST_F(ConfigTest, Mistakes) {
  const std::string at = "DIR/config.json: ";
  EXPECT_EQ(refusal("\"hidden_size\": 8", "\"hidden_size\": -8"),
            at + "hidden_size: expected an unsigned 32-bit integer, found -8");
  EXPECT_EQ(refusal("\"hidden_size\": 8,", ""), at + "hidden_size: this key is missing");
  EXPECT_EQ(refusal("\"num_attention_heads\": 2", "\"num_attention_heads\": 0"),
            at + "num_attention_heads: 0 heads do not divide a hidden size of 8");
  EXPECT_EQ(refusal("500000.0", "\"big\""), at + "rope_theta: expected a number, found \"big\"");
  EXPECT_EQ(refusal("\"factor\": 8.0", "\"factor\": []"),
            at + "rope_scaling.factor: expected a number, found an array");
  EXPECT_EQ(refusal("\"silu\"", "\"gelu\""), at + "hidden_act: 'gelu' is not supported (silu is)");
  EXPECT_EQ(refusal("\"eos_token_id\": [", "\"eos_token_id\": [-1,"),
            at + "eos_token_id: expected token ids, found an array");
  EXPECT_EQ(refusal("{", ""), at + "this is no valid JSON (at byte 17)");
  EXPECT_EQ(refusal("\"vocab_size\": 10", "\"vocab_size\": 11").substr(0, 119),
            "DIR/model.safetensors: tensor 'output.weight': its shape [10, 8] contradicts the "
            "hyperparameters, which "
            "make it [11, 8]");
}

}  // namespace
}  // namespace tl::test
