// What every container's metadata and tensors must agree on.
#include <array>
#include <charconv>
#include <cmath>
#include <optional>

#include <fmt/format.h>

#include "formats/model_file.h"

namespace tl {

namespace {

constexpr int64_t kLargestCount = int64_t{1} << 31;  // of layers, heads, widths, tokens: none comes near it

/// Hyperparameters of the families whose tensors we know.
struct Shapes {
  int64_t layers, hidden, ffn, heads, kv_heads, key_length, value_length, vocab;
};

class Checker {
 public:
  explicit Checker(const ModelFile& model) : model_(model), architecture_(model.architecture()) {}

  void check() const {
    check_counts();
    check_floats();
    check_tokens();
    if (architecture_ != "llama" && architecture_ != "qwen2") return;
    const Shapes shapes = read_shapes();
    check_heads(shapes);
    for (const auto& t : model_.tensors()) check_tensor(t, shapes);
  }

 private:
  std::string key(std::string_view suffix) const { return architecture_ + "." + std::string(suffix); }

  FileError error(const std::string& at, const std::string& message) const {
    return model_.error(*model_.find_entry(at), message);
  }

  /// The key's value; 0 where it is absent or one value per layer.
  int64_t count(std::string_view suffix) const {
    const std::string at = key(suffix);
    const MetaValue* value = model_.find(at);
    return value && !value->is_array() ? model_.get_int(at) : 0;
  }

  void check_counts() const {
    for (const std::string_view suffix :
         {"block_count", "embedding_length", "feed_forward_length", "context_length", "vocab_size",
          "attention.head_count", "attention.head_count_kv", "attention.key_length", "attention.value_length",
          "rope.dimension_count", "rope.scaling.original_context_length"}) {
      const MetaValue* found = model_.find(key(suffix));
      if (!found || found->is_array()) continue;
      const int64_t value = model_.get_int(key(suffix));
      if (value <= 0 || value > kLargestCount)
        throw error(key(suffix), fmt::format("{} is out of range (1 to {})", value, kLargestCount));
    }
    const MetaValue* window = model_.find(key("attention.sliding_window"));
    if (window && !window->is_array() && model_.get_int(key("attention.sliding_window")) < 0)
      throw error(key("attention.sliding_window"), "must not be negative");
  }

  void check_floats() const {
    for (const std::string_view suffix :
         {"attention.layer_norm_rms_epsilon", "attention.layer_norm_epsilon", "rope.freq_base",
          "rope.scaling.factor", "rope.scaling.low_freq_factor", "rope.scaling.high_freq_factor"}) {
      if (!model_.has(key(suffix))) continue;
      const double value = model_.get_float(key(suffix));
      if (!std::isfinite(value) || value <= 0)
        throw error(key(suffix), fmt::format("{} is not finite and positive", value));
    }
  }

  void check_tokens() const {
    const auto& tokens = model_.get_strings("tokenizer.ggml.tokens");
    if (tokens.empty()) return;
    for (const std::string at : {"tokenizer.ggml.scores", "tokenizer.ggml.token_type"}) {
      const MetaValue* found = model_.find(at);
      if (found && found->size() != tokens.size())
        throw error(at, fmt::format("{} entries for {} tokens", found->size(), tokens.size()));
    }
    // Only ids that are used; files with a padding id past their vocabulary exist and work.
    for (const std::string id : {"bos", "eos", "unknown", "eot", "eom"}) {
      const std::string at = "tokenizer.ggml." + id + "_token_id";
      if (!model_.has(at)) continue;
      const int64_t value = model_.get_int(at);
      if (value < 0 || value >= static_cast<int64_t>(tokens.size()))
        throw error(at,
                    fmt::format("token id {} is out of range: there are {} tokens", value, tokens.size()));
    }
  }

  Shapes read_shapes() const {
    Shapes s{};
    s.layers = count("block_count");
    s.hidden = count("embedding_length");
    s.ffn = count("feed_forward_length");
    s.heads = count("attention.head_count");
    s.kv_heads = model_.has(key("attention.head_count_kv")) ? count("attention.head_count_kv") : s.heads;
    const int64_t head_dim = s.heads ? s.hidden / s.heads : 0;
    s.key_length = model_.has(key("attention.key_length")) ? count("attention.key_length") : head_dim;
    s.value_length = model_.has(key("attention.value_length")) ? count("attention.value_length") : head_dim;
    s.vocab = static_cast<int64_t>(model_.get_strings("tokenizer.ggml.tokens").size());
    if (s.vocab == 0) s.vocab = count("vocab_size");
    return s;
  }

  void check_heads(const Shapes& s) const {
    if (s.heads && s.hidden % s.heads != 0 && !model_.has(key("attention.key_length")))
      throw error(key("attention.head_count"),
                  fmt::format("{} heads do not divide an embedding length of {}", s.heads, s.hidden));
    if (s.heads && s.kv_heads && s.heads % s.kv_heads != 0)
      throw error(key("attention.head_count_kv"),
                  fmt::format("{} key/value heads do not divide {} heads", s.kv_heads, s.heads));
    if (!model_.has(key("rope.dimension_count")) || !s.key_length) return;
    const int64_t rotated = count("rope.dimension_count");
    if (rotated % 2 != 0 || rotated > s.key_length)
      throw error(key("rope.dimension_count"),
                  fmt::format("{} must be even and at most the head dimension {}", rotated, s.key_length));
  }

  /// Expected extents; 0 where the metadata does not say.
  static std::optional<std::array<int64_t, 2>> expected(std::string_view what, const Shapes& s) {
    const int64_t q = s.heads * s.key_length, k = s.kv_heads * s.key_length, v = s.kv_heads * s.value_length;
    const std::pair<std::string_view, std::array<int64_t, 2>> rows[] = {
        {"token_embd.weight", {s.vocab, s.hidden}},
        {"output.weight", {s.vocab, s.hidden}},
        {"output_norm.weight", {s.hidden, -1}},
        {"attn_norm.weight", {s.hidden, -1}},
        {"ffn_norm.weight", {s.hidden, -1}},
        {"attn_q.weight", {q, s.hidden}},
        {"attn_k.weight", {k, s.hidden}},
        {"attn_v.weight", {v, s.hidden}},
        {"attn_q.bias", {q, -1}},
        {"attn_k.bias", {k, -1}},
        {"attn_v.bias", {v, -1}},
        {"attn_output.weight", {s.hidden, s.heads * s.value_length}},
        {"ffn_gate.weight", {s.ffn, s.hidden}},
        {"ffn_up.weight", {s.ffn, s.hidden}},
        {"ffn_down.weight", {s.hidden, s.ffn}},
    };
    for (const auto& [name, extents] : rows)
      if (name == what) return extents;
    return std::nullopt;
  }

  void check_tensor(const TensorEntry& t, const Shapes& s) const {
    std::string_view what = t.name;
    if (what.starts_with("blk.")) {
      what.remove_prefix(4);
      int64_t layer = -1;
      const auto [end, failure] = std::from_chars(what.data(), what.data() + what.size(), layer);
      if (failure != std::errc{}) return;
      if (s.layers && layer >= s.layers)
        throw model_.error(
            t, fmt::format("layer {} contradicts {}, which is {}", layer, key("block_count"), s.layers));
      what.remove_prefix(std::min(static_cast<size_t>(end - what.data()) + 1, what.size()));
    }
    const auto extents = expected(what, s);
    if (!extents) return;
    const int rank = (*extents)[1] < 0 ? 1 : 2;
    bool fits = t.shape.rank() == rank;
    std::string wanted = "[";
    for (int i = 0; i < rank; ++i) {
      const int64_t extent = (*extents)[static_cast<size_t>(i)];
      fits = fits && (extent == 0 || t.shape[i] == extent);
      wanted += (i ? ", " : "") + (extent == 0 ? "?" : std::to_string(extent));
    }
    if (!fits)
      throw model_.error(t, fmt::format("its shape {} contradicts the hyperparameters, which make it {}]",
                                        to_string(t.shape), wanted));
  }

  const ModelFile& model_;
  std::string architecture_;
};

}  // namespace

void check_model(const ModelFile& model) { Checker(model).check(); }

}  // namespace tl
