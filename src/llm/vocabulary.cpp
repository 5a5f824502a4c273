#include "llm/vocabulary.h"

#include <fmt/format.h>

#include <filesystem>

#include "base/file.h"
#include "text/tokenizer_json.h"

namespace tl {

namespace {

std::optional<int32_t> token_id(const ModelFile& file, const char* which) {
  const std::string key = fmt::format("tokenizer.ggml.{}_token_id", which);
  if (!file.has(key)) return std::nullopt;
  return static_cast<int32_t>(file.get_int(key));  // its range was checked when the file was opened
}

std::optional<bool> flag(const ModelFile& file, const char* which) {
  const std::string key = fmt::format("tokenizer.ggml.{}", which);
  if (!file.has(key)) return std::nullopt;
  return file.get_bool(key);
}

template <class To, class From>
std::vector<To> as(const std::vector<From>& values) {
  std::vector<To> result;
  result.reserve(values.size());
  for (const From value : values) result.push_back(static_cast<To>(value));
  return result;
}

/// What the metadata says of special tokens, whichever container the tokens themselves came from.
void apply_metadata(const ModelFile& file, VocabularySpec& spec) {
  const auto set = [](auto& target, const auto& value) {
    if (value) target = value;
  };
  set(spec.bos, token_id(file, "bos"));
  set(spec.eos, token_id(file, "eos"));
  set(spec.unk, token_id(file, "unknown"));
  set(spec.eot, token_id(file, "eot"));
  set(spec.pad, token_id(file, "padding"));
  set(spec.add_bos, flag(file, "add_bos_token"));
  set(spec.add_eos, flag(file, "add_eos_token"));
  set(spec.add_space_prefix, flag(file, "add_space_prefix"));
  for (const int64_t id : file.get_ints("tensorlogic.eos_token_ids")) {
    if (id >= 0 && id < std::ssize(spec.tokens)) spec.extra_eog.push_back(static_cast<int32_t>(id));
  }
}

VocabularySpec spec_from_metadata(const ModelFile& file) {
  constexpr const char* kModel = "tokenizer.ggml.model";
  VocabularySpec spec;
  spec.name = file.path();
  const std::string& kind = file.get_string(kModel);
  if (kind == "llama") {
    spec.kind = VocabularyKind::llama;
  } else if (kind == "gpt2") {
    spec.kind = VocabularyKind::gpt2;
  } else {
    throw FileError(
        file.path(), kModel,
        fmt::format("'{}' is a tokenizer that is not understood; known are 'llama' (SentencePiece) and "
                    "'gpt2' (byte-level BPE)",
                    kind));
  }
  spec.pre_tokenizer = file.get_string("tokenizer.ggml.pre", "");
  spec.tokens = file.get_strings("tokenizer.ggml.tokens");
  spec.scores = as<float>(file.get_floats("tokenizer.ggml.scores"));
  spec.token_types = as<int32_t>(file.get_ints("tokenizer.ggml.token_type"));
  spec.merges = file.get_strings("tokenizer.ggml.merges");
  return spec;
}

VocabularySpec spec_from_json(const ModelFile& file) {
  const std::filesystem::path path = file.tokenizer_json();
  VocabularySpec spec = spec_from_tokenizer_json(read_file(path.string()), path.string());
  const std::filesystem::path config = path.parent_path() / "tokenizer_config.json";
  if (std::filesystem::exists(config))
    apply_tokenizer_config(spec, read_file(config.string()), config.string());
  return spec;
}

/// Embeddings are often padded to a round number of rows. The ids of those rows are unused tokens, written as
/// llama.cpp's converter writes them into GGUF files.
void pad_to_embedding(const ModelFile& file, VocabularySpec& spec) {
  const TensorEntry* embedding = file.find_tensor("token_embd.weight");
  if (embedding == nullptr || embedding->shape.rank() != 2) return;
  const size_t n = spec.tokens.size(), rows = static_cast<size_t>(embedding->shape[0]);
  if (n == 0 || rows <= n) return;
  if (spec.token_types.empty()) spec.token_types.assign(n, static_cast<int32_t>(TokenType::normal));
  spec.token_types.resize(rows, static_cast<int32_t>(TokenType::unused));
  if (!spec.scores.empty()) spec.scores.resize(rows, 0.0f);
  for (size_t id = n; id < rows; ++id) spec.tokens.push_back(fmt::format("[PAD{}]", id));
}

}  // namespace

Tokenizer model_tokenizer(const ModelFile& file) {
  const bool from_metadata = file.has("tokenizer.ggml.model");
  if (!from_metadata && file.tokenizer_json().empty()) {
    throw FileError(file.path(), "",
                    "has no tokenizer: neither tokenizer.ggml.model in its metadata nor a "
                    "tokenizer.json beside it");
  }
  VocabularySpec spec = from_metadata ? spec_from_metadata(file) : spec_from_json(file);
  apply_metadata(file, spec);
  pad_to_embedding(file, spec);
  return Tokenizer::create(std::move(spec));
}

std::string model_chat_template(const ModelFile& file) {
  return file.get_string("tokenizer.chat_template", "");
}

}  // namespace tl
