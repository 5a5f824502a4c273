// A Hugging Face model folder seen in GGUF's terms.
#include <algorithm>
#include <filesystem>
#include <set>

#include <fmt/format.h>

#include "formats/json_file.h"
#include "formats/rope_style.h"
#include "formats/safetensors.h"

namespace tl {

namespace fs = std::filesystem;
using nlohmann::json;

namespace {

/// One JSON object of a model folder with typed access; `path` names the file in messages.
class Config {
 public:
  static std::optional<Config> open(const fs::path& path) {
    std::error_code ignored;
    if (!fs::exists(path, ignored)) return std::nullopt;
    Config config{path.string(), parse_json(path.string(), read_file(path.string()))};
    if (!config.object.is_object())
      throw FileError(config.path, "", "expected an object, found " + describe(config.object));
    return config;
  }
  /// The value, or nothing where it is absent or null.
  const json* find(const std::string& key) const {
    const auto found = object.find(key);
    return found == object.end() || found->is_null() ? nullptr : &*found;
  }
  FileError wrong(const std::string& key, const std::string& expected, const json& found) const {
    return {path, prefix + key, "expected " + expected + ", found " + describe(found)};
  }
  std::optional<uint32_t> count(const std::string& key) const {
    const json* value = find(key);
    if (!value) return std::nullopt;
    if (!value->is_number_unsigned() || value->get<uint64_t>() > UINT32_MAX)
      throw wrong(key, "an unsigned 32-bit integer", *value);
    return value->get<uint32_t>();
  }
  uint32_t require_count(const std::string& key) const {
    if (const auto value = count(key)) return *value;
    throw FileError(path, prefix + key, "this key is missing");
  }
  std::optional<double> number(const std::string& key) const {
    const json* value = find(key);
    if (!value) return std::nullopt;
    if (!value->is_number()) throw wrong(key, "a number", *value);
    return value->get<double>();
  }
  std::optional<std::string> string(const std::string& key) const {
    const json* value = find(key);
    if (!value) return std::nullopt;
    if (!value->is_string()) throw wrong(key, "a string", *value);
    return value->get<std::string>();
  }
  std::optional<bool> boolean(const std::string& key) const {
    const json* value = find(key);
    if (!value) return std::nullopt;
    if (!value->is_boolean()) throw wrong(key, "true or false", *value);
    return value->get<bool>();
  }
  /// An id or a list of ids, as bos_token_id and eos_token_id may be.
  std::vector<int64_t> ids(const std::string& key) const {
    const json* value = find(key);
    if (!value) return {};
    std::vector<int64_t> out;
    for (const json& id : value->is_array() ? *value : json::array({*value})) {
      if (!id.is_number_unsigned() || id.get<uint64_t>() > UINT32_MAX) throw wrong(key, "token ids", *value);
      out.push_back(id.get<int64_t>());
    }
    return out;
  }
  std::optional<Config> child(const std::string& key) const {
    const json* value = find(key);
    if (!value) return std::nullopt;
    if (!value->is_object()) throw wrong(key, "an object", *value);
    return Config{path, *value, key + "."};
  }

  std::string path;
  json object;
  std::string prefix = {};
};

/// Collects metadata under the architecture's prefix.
class Hyperparameters {
 public:
  Hyperparameters(const Config& config, std::string architecture, std::vector<MetaEntry>& out)
      : config_(config), architecture_(std::move(architecture)), out_(out) {}

  void read() {
    add("general.architecture", MetaValue::of_string(architecture_));
    add("general.name", MetaValue::of_string(fs::path(config_.path).parent_path().filename().string()));
    const uint32_t hidden = count("hidden_size", "embedding_length");
    const uint32_t heads = count("num_attention_heads", "attention.head_count");
    count("num_hidden_layers", "block_count");
    count("intermediate_size", "feed_forward_length");
    count("vocab_size", "vocab_size");
    count("max_position_embeddings", "context_length");
    add_u32("attention.head_count_kv", config_.count("num_key_value_heads").value_or(heads));
    const auto stated = config_.count("head_dim");
    if (!stated && (heads == 0 || hidden % heads != 0))
      throw FileError(config_.path, "num_attention_heads",
                      fmt::format("{} heads do not divide a hidden size of {}", heads, hidden));
    const uint32_t head_dim = stated ? *stated : hidden / heads;
    add_u32("attention.key_length", head_dim);
    add_u32("attention.value_length", head_dim);
    add_f32("attention.layer_norm_rms_epsilon", config_.number("rms_norm_eps").value_or(1e-6));
    read_window();
    read_rope(head_dim);
    const auto activation = config_.string("hidden_act");
    if (activation && *activation != "silu")
      throw FileError(config_.path, "hidden_act", "'" + *activation + "' is not supported (silu is)");
  }

 private:
  void add(const std::string& key, MetaValue value) { out_.push_back({key, std::move(value), 0}); }
  void add_u32(const std::string& key, uint32_t v) { add(architecture_ + "." + key, MetaValue::of_u32(v)); }
  void add_f32(const std::string& key, double v) {
    add(architecture_ + "." + key, MetaValue::of_f32(static_cast<float>(v)));
  }
  uint32_t count(const std::string& theirs, const std::string& ours) {
    const uint32_t value = config_.require_count(theirs);
    add_u32(ours, value);
    return value;
  }

  void read_window() {
    const auto window = config_.count("sliding_window");
    if (window && config_.boolean("use_sliding_window").value_or(true))
      add_u32("attention.sliding_window", *window);
  }

  void read_rope(uint32_t head_dim) {
    // Files of newer transformers gather all of it in rope_parameters.
    auto rope = config_.child("rope_parameters");
    if (!rope) rope = config_.child("rope_scaling");
    const double base =
        config_.number("rope_theta").value_or(rope ? rope->number("rope_theta").value_or(1e4) : 1e4);
    add_f32("rope.freq_base", base);
    const double part = config_.number("partial_rotary_factor").value_or(1.0);
    add_u32("rope.dimension_count", static_cast<uint32_t>(std::clamp(part, 0.0, 1.0) * head_dim));
    add(kRopeStyleKey, MetaValue::of_string("neox"));
    if (!rope) return;
    const auto type = rope->find("rope_type") ? rope->string("rope_type") : rope->string("type");
    if (!type || *type == "default") return;
    add(architecture_ + ".rope.scaling.type", MetaValue::of_string(*type));
    for (const char* key : {"factor", "low_freq_factor", "high_freq_factor"})
      if (const auto value = rope->number(key)) add_f32(std::string("rope.scaling.") + key, *value);
    if (const auto length = rope->count("original_max_position_embeddings"))
      add_u32("rope.scaling.original_context_length", *length);
  }

  const Config& config_;
  std::string architecture_;
  std::vector<MetaEntry>& out_;
};

/// The chat template: chat_template.jinja, or the default one in tokenizer_config.json.
std::optional<std::string> chat_template(const fs::path& folder, const std::optional<Config>& tokenizer) {
  std::error_code ignored;
  if (fs::exists(folder / "chat_template.jinja", ignored))
    return read_file((folder / "chat_template.jinja").string());
  const json* value = tokenizer ? tokenizer->find("chat_template") : nullptr;
  if (value && value->is_string()) return value->get<std::string>();
  if (!value || !value->is_array()) return std::nullopt;
  for (const json& one : *value)
    if (one.is_object() && one.value("name", "") == "default" && one.contains("template") &&
        one["template"].is_string())
      return one["template"].get<std::string>();
  return std::nullopt;
}

void read_tokens(const fs::path& folder, const Config& config, std::vector<MetaEntry>& out) {
  const auto generation = Config::open(folder / "generation_config.json");
  const auto tokenizer = Config::open(folder / "tokenizer_config.json");
  const auto ids = [&](const std::string& key) {
    auto found = generation ? generation->ids(key) : std::vector<int64_t>{};
    return found.empty() ? config.ids(key) : found;
  };
  const auto add = [&](const std::string& key, MetaValue value) {
    out.push_back({key, std::move(value), 0});
  };
  if (const auto bos = ids("bos_token_id"); !bos.empty())
    add("tokenizer.ggml.bos_token_id", MetaValue::of_u32(static_cast<uint32_t>(bos[0])));
  if (const auto eos = ids("eos_token_id"); !eos.empty()) {
    add("tokenizer.ggml.eos_token_id", MetaValue::of_u32(static_cast<uint32_t>(eos[0])));
    add("tensorlogic.eos_token_ids", MetaValue::of_i32s(eos));
  }
  for (const char* which : {"bos", "eos"}) {
    const auto flag = tokenizer ? tokenizer->boolean(fmt::format("add_{}_token", which)) : std::nullopt;
    if (flag) add(fmt::format("tokenizer.ggml.add_{}_token", which), MetaValue::of_bool(*flag));
  }
  if (const auto text = chat_template(folder, tokenizer))
    add("tokenizer.chat_template", MetaValue::of_string(*text));
}

/// Names and hyperparameters in GGUF's terms, where config.json is of a family we know.
void apply_config(ModelParts& parts, const fs::path& folder) {
  std::error_code ignored;
  if (fs::exists(folder / "tokenizer.json", ignored))
    parts.tokenizer_json = (folder / "tokenizer.json").string();
  const auto config = Config::open(folder / "config.json");
  if (!config) return;
  const std::string type = config->string("model_type").value_or("");
  std::erase_if(parts.metadata, [](const MetaEntry& e) { return e.key == "format"; });  // {"format": "pt"}
  if (type != "llama" && type != "mistral" && type != "qwen2") {
    parts.metadata.push_back({"general.architecture", MetaValue::of_string(type), 0});
    return;
  }
  Hyperparameters(*config, type == "qwen2" ? "qwen2" : "llama", parts.metadata).read();
  read_tokens(folder, *config, parts.metadata);
  for (auto& t : parts.tensors) {
    std::string mapped = gguf_tensor_name(t.name);
    if (mapped.empty()) continue;
    t.original = std::move(t.name);
    t.name = std::move(mapped);
  }
  const bool tied = config->boolean("tie_word_embeddings").value_or(false);
  std::erase_if(parts.tensors, [&](const TensorEntry& t) {
    return t.name.ends_with("rotary_emb.inv_freq") ||  // computed from the base
           (tied && t.name == "output.weight");        // a copy of token_embd
  });
}

ModelParts read_shards(const fs::path& index_path, bool use_mmap) {
  const std::string path = index_path.string();
  const json index = parse_json(path, read_file(path));
  const auto map = index.is_object() ? index.find("weight_map") : index.end();
  if (!index.is_object() || map == index.end() || !map->is_object())
    throw FileError(path, "weight_map", "this object is missing: not an index of safetensors files");
  std::set<std::string> names;
  for (const auto& [tensor, file] : map->items()) {
    if (!file.is_string())
      throw FileError(path, "tensor '" + tensor + "'", "expected a file name, found " + describe(file));
    const auto& name = file.get_ref<const std::string&>();
    if (name.empty() || name.find('/') != std::string::npos || name == "." || name == "..")
      throw FileError(path, "tensor '" + tensor + "'", "'" + name + "' is no name of a file in this folder");
    names.insert(name);
  }
  ModelParts all;
  std::set<std::pair<std::string, std::string>> held;  // tensor, file
  for (const std::string& name : names) {
    ModelParts part =
        read_safetensors(MappedFile::open((index_path.parent_path() / name).string(), use_mmap));
    const int number = static_cast<int>(all.files.size());
    for (auto& t : part.tensors) {
      t.file = number;
      held.emplace(t.name, name);
      all.tensors.push_back(std::move(t));
    }
    all.files.push_back(part.files[0]);
  }
  for (const auto& [tensor, file] : map->items())
    if (!held.contains({tensor, file.get<std::string>()}))
      throw FileError(path, "tensor '" + tensor + "'",
                      "it is not in " + file.get<std::string>() + ", where the index has it");
  all.path = path;
  all.container = "safetensors";
  return all;
}

/// The index or the single file of a model folder.
fs::path find_weights(const fs::path& folder) {
  std::error_code failure;
  for (const char* name : {"model.safetensors.index.json", "model.safetensors"})
    if (fs::exists(folder / name, failure)) return folder / name;
  std::vector<fs::path> found;
  fs::directory_iterator entries(folder, failure);
  if (failure) throw Error(folder.string() + ": cannot open: " + failure.message());
  for (const auto& entry : entries)
    if (entry.path().extension() == ".safetensors") found.push_back(entry.path());
  if (found.size() == 1) return found[0];
  throw Error(fmt::format(
      "{}: this folder holds {} instead of model.safetensors or model.safetensors.index.json; name the "
      "model file itself",
      folder.string(),
      found.empty() ? "no .safetensors file" : fmt::format("{} .safetensors files", found.size())));
}

}  // namespace

std::string gguf_tensor_name(const std::string& theirs) {
  static const std::map<std::string_view, std::string_view> kWhole = {
      {"model.embed_tokens.weight", "token_embd.weight"},
      {"model.norm.weight", "output_norm.weight"},
      {"lm_head.weight", "output.weight"}};
  static const std::map<std::string_view, std::string_view> kOfLayer = {
      {"self_attn.q_proj", "attn_q"},          {"self_attn.k_proj", "attn_k"},
      {"self_attn.v_proj", "attn_v"},          {"self_attn.o_proj", "attn_output"},
      {"mlp.gate_proj", "ffn_gate"},           {"mlp.up_proj", "ffn_up"},
      {"mlp.down_proj", "ffn_down"},           {"input_layernorm", "attn_norm"},
      {"post_attention_layernorm", "ffn_norm"}};
  if (const auto whole = kWhole.find(theirs); whole != kWhole.end()) return std::string(whole->second);
  constexpr std::string_view kPrefix = "model.layers.";
  std::string_view rest = theirs;
  if (!rest.starts_with(kPrefix)) return "";
  rest.remove_prefix(kPrefix.size());
  const size_t dot = rest.find('.'), last = rest.rfind('.');
  if (dot == std::string_view::npos || last <= dot) return "";
  const auto module = kOfLayer.find(rest.substr(dot + 1, last - dot - 1));
  if (module == kOfLayer.end()) return "";
  return fmt::format("blk.{}.{}{}", rest.substr(0, dot), module->second, rest.substr(last));
}

ModelParts read_safetensors_model(const std::string& path, bool use_mmap) {
  std::error_code ignored;
  const fs::path weights = fs::is_directory(path, ignored) ? find_weights(path) : fs::path(path);
  ModelParts parts = weights.extension() == ".json"
                         ? read_shards(weights, use_mmap)
                         : read_safetensors(MappedFile::open(weights.string(), use_mmap));
  apply_config(parts, weights.parent_path());
  parts.path = path;
  return parts;
}

}  // namespace tl
