#include "formats/synth.h"

#include <cmath>

#include <fmt/format.h>

#include "base/thread_pool.h"
#include "formats/row_writer.h"
#include "tensor/blocks.h"

namespace tl {

namespace {

/// SplitMix64 (Steele, Lea, Flood 2014): a full-period generator that any 64-bit number seeds.
struct SplitMix64 {
  uint64_t state;
  uint64_t next() {
    uint64_t z = state += 0x9e3779b97f4a7c15u;
    z = (z ^ (z >> 30)) * 0xbf58476d1ce4e5b9u;
    z = (z ^ (z >> 27)) * 0x94d049bb133111ebu;
    return z ^ (z >> 31);
  }
};

/// A generator of its own for every row of every tensor, so that threads need no order.
SplitMix64 row_generator(uint64_t seed, const std::string& tensor, int64_t row) {
  uint64_t hash = 0xcbf29ce484222325u ^ seed;  // FNV-1a over the name
  for (const char c : tensor) hash = (hash ^ static_cast<unsigned char>(c)) * 0x100000001b3u;
  SplitMix64 mix{hash + static_cast<uint64_t>(row) * 0x9e3779b97f4a7c15u};
  mix.next();
  return {mix.next()};
}

/// Sums of four uniform 16-bit numbers about their mean, scaled to deviation `sigma`, plus `centre`.
void fill_bell(SplitMix64 random, float sigma, float centre, float* out, int64_t n) {
  const float scale = sigma / (65536.0f * 0.57735027f);  // sqrt(4 / 12)
  for (int64_t i = 0; i < n; ++i) {
    const uint64_t bits = random.next();
    const auto sum =
        static_cast<int32_t>((bits & 0xffff) + (bits >> 16 & 0xffff) + (bits >> 32 & 0xffff) + (bits >> 48));
    out[i] = centre + static_cast<float>(sum - 131070) * scale;
  }
}

struct Planned {
  std::string name;
  Shape shape;
  float sigma, centre;
  DType type;
};

void require(bool condition, const std::string& message) {
  if (!condition) throw UsageError("no such model can be: " + message);
}

void check(const SynthOptions& o) {
  require(o.architecture == "llama" || o.architecture == "qwen2",
          "architecture '" + o.architecture + "' is not known (llama and qwen2 are)");
  constexpr int64_t kMost = int64_t{1} << 24;
  const std::pair<const char*, int64_t> counts[] = {{"layers", o.n_layers},     {"hidden size", o.hidden},
                                                    {"FFN size", o.ffn},        {"heads", o.n_heads},
                                                    {"kv heads", o.n_kv_heads}, {"context", o.context}};
  for (const auto& [what, n] : counts)
    require(n >= 1 && n <= kMost, fmt::format("{} {} (1 to {})", n, what, kMost));
  require(o.hidden % o.n_heads == 0,
          fmt::format("{} heads do not divide a hidden size of {}", o.n_heads, o.hidden));
  require(o.n_heads % o.n_kv_heads == 0,
          fmt::format("{} kv heads do not divide {} heads", o.n_kv_heads, o.n_heads));
  require(o.hidden / o.n_heads % 2 == 0,
          fmt::format("RoPE needs an even head dimension, not {}", o.hidden / o.n_heads));
  require(o.rope_base > 0 && std::isfinite(o.rope_base), "the RoPE base must be positive");
  require(o.rms_norm_eps > 0 && std::isfinite(o.rms_norm_eps), "the norm's epsilon must be positive");
  require_encodable(o.type);
  if (o.output_type) require_encodable(*o.output_type);
}

/// <unk>, <s>, </s>, the 256 bytes, and fillers.
void add_byte_vocabulary(GgufWriter& writer, int64_t vocab) {
  enum : int64_t { kNormal = 1, kUnknown = 2, kControl = 3, kByte = 6 };  // llama.cpp's token types
  require(vocab >= 259, fmt::format("a vocabulary of {} tokens (the made-up one has at least 259)", vocab));
  std::vector<std::string> tokens{"<unk>", "<s>", "</s>"};
  std::vector<int64_t> types{kUnknown, kControl, kControl};
  for (int byte = 0; byte < 256; ++byte) {
    tokens.push_back(fmt::format("<0x{:02X}>", byte));
    types.push_back(kByte);
  }
  for (int64_t i = static_cast<int64_t>(tokens.size()); i < vocab; ++i) {
    tokens.push_back(fmt::format("<extra_{}>", i));
    types.push_back(kNormal);
  }
  writer.set("tokenizer.ggml.model", MetaValue::of_string("llama"));
  writer.set("tokenizer.ggml.scores", MetaValue::of_f32s(std::vector<double>(tokens.size(), 0.0)));
  writer.set("tokenizer.ggml.tokens", MetaValue::of_strings(std::move(tokens)));
  writer.set("tokenizer.ggml.token_type", MetaValue::of_i32s(std::move(types)));
  writer.set("tokenizer.ggml.bos_token_id", MetaValue::of_u32(1));
  writer.set("tokenizer.ggml.eos_token_id", MetaValue::of_u32(2));
  writer.set("tokenizer.ggml.unknown_token_id", MetaValue::of_u32(0));
  writer.set("tokenizer.ggml.add_bos_token", MetaValue::of_bool(true));
  writer.set("tokenizer.ggml.add_eos_token", MetaValue::of_bool(false));
}

/// Copies the tokenizer of another GGUF file, or makes one up. Returns the size of the vocabulary.
int64_t add_tokenizer(GgufWriter& writer, const SynthOptions& o) {
  if (o.tokenizer.empty()) {
    const int64_t vocab = o.vocab ? o.vocab : 32000;
    add_byte_vocabulary(writer, vocab);
    return vocab;
  }
  const auto donor = open_model_file(o.tokenizer);
  const auto tokens = static_cast<int64_t>(donor->get_strings("tokenizer.ggml.tokens").size());
  if (tokens == 0)
    throw FileError(o.tokenizer, "tokenizer.ggml.tokens", "this file has no tokenizer to copy");
  require(o.vocab == 0 || o.vocab == tokens,
          fmt::format("a vocabulary of {} with a tokenizer of {} tokens", o.vocab, tokens));
  for (const auto& entry : donor->metadata())
    if (entry.key.starts_with("tokenizer.")) writer.set(entry.key, entry.value);
  return tokens;
}

void add_hyperparameters(GgufWriter& writer, const SynthOptions& o) {
  const auto key = [&](const char* suffix) { return o.architecture + "." + suffix; };
  const auto u32 = [](int64_t n) { return MetaValue::of_u32(static_cast<uint32_t>(n)); };
  writer.set("general.architecture", MetaValue::of_string(o.architecture));
  writer.set("general.name",
             MetaValue::of_string(fmt::format("synthetic {} (seed {})", o.architecture, o.seed)));
  writer.set(key("block_count"), u32(o.n_layers));
  writer.set(key("context_length"), u32(o.context));
  writer.set(key("embedding_length"), u32(o.hidden));
  writer.set(key("feed_forward_length"), u32(o.ffn));
  writer.set(key("attention.head_count"), u32(o.n_heads));
  writer.set(key("attention.head_count_kv"), u32(o.n_kv_heads));
  writer.set(key("attention.layer_norm_rms_epsilon"), MetaValue::of_f32(static_cast<float>(o.rms_norm_eps)));
  writer.set(key("rope.freq_base"), MetaValue::of_f32(static_cast<float>(o.rope_base)));
  writer.set(key("rope.dimension_count"), u32(o.hidden / o.n_heads));
  writer.set("general.file_type", MetaValue::of_u32(gguf_file_type(o.type)));
  if (is_quantised(o.type)) writer.set("general.quantization_version", MetaValue::of_u32(2));
}

std::vector<Planned> plan_tensors(const SynthOptions& o, int64_t vocab) {
  const TypePolicy policy{o.type, o.output_type, false, o.tied};
  std::vector<Planned> plan;
  const auto add = [&](const std::string& name, const Shape& shape, double sigma, double centre = 0) {
    std::string unused;  // a shape that forces another type is what the caller asked for
    plan.push_back({name, shape, static_cast<float>(sigma), static_cast<float>(centre),
                    policy.choose(name, shape, unused)});
  };
  const auto width = [](int64_t n) { return 1 / std::sqrt(static_cast<double>(n)); };
  const double residual = 1 / std::sqrt(2.0 * static_cast<double>(o.n_layers));
  const int64_t kv = o.hidden / o.n_heads * o.n_kv_heads;
  add("token_embd.weight", Shape{vocab, o.hidden}, (o.tied ? 2.5 : 1.0) * width(o.hidden));
  for (int64_t i = 0; i < o.n_layers; ++i) {
    const std::string layer = fmt::format("blk.{}.", i);
    add(layer + "attn_norm.weight", Shape{o.hidden}, 0.1, 1);
    add(layer + "attn_q.weight", Shape{o.hidden, o.hidden}, width(o.hidden));
    add(layer + "attn_k.weight", Shape{kv, o.hidden}, width(o.hidden));
    add(layer + "attn_v.weight", Shape{kv, o.hidden}, width(o.hidden));
    if (o.architecture == "qwen2") {
      add(layer + "attn_q.bias", Shape{o.hidden}, 0.1);
      add(layer + "attn_k.bias", Shape{kv}, 0.1);
      add(layer + "attn_v.bias", Shape{kv}, 0.1);
    }
    add(layer + "attn_output.weight", Shape{o.hidden, o.hidden}, width(o.hidden) * residual);
    add(layer + "ffn_norm.weight", Shape{o.hidden}, 0.1, 1);
    add(layer + "ffn_gate.weight", Shape{o.ffn, o.hidden}, width(o.hidden));
    add(layer + "ffn_up.weight", Shape{o.ffn, o.hidden}, width(o.hidden));
    add(layer + "ffn_down.weight", Shape{o.hidden, o.ffn}, width(o.ffn) * residual);
  }
  add("output_norm.weight", Shape{o.hidden}, 0.1, 1);
  if (!o.tied) add("output.weight", Shape{vocab, o.hidden}, 2.5 * width(o.hidden));
  return plan;
}

}  // namespace

void synthesise_model(const std::string& out_path, const SynthOptions& options,
                      const std::function<void(const SynthProgress&)>& progress) {
  check(options);
  GgufWriter writer(out_path);
  add_hyperparameters(writer, options);
  const int64_t vocab = add_tokenizer(writer, options);
  writer.set(options.architecture + ".vocab_size", MetaValue::of_u32(static_cast<uint32_t>(vocab)));
  const auto plan = plan_tensors(options, vocab);
  SynthProgress done;
  for (const auto& t : plan) {
    writer.add_tensor(t.name, t.type, t.shape);
    done.total_elements += static_cast<uint64_t>(t.shape.elements());
  }
  ThreadPool pool(options.n_threads);
  for (const auto& t : plan) {
    done.tensor = t.name;
    const int64_t width = t.shape.back();
    const auto make = [&](int64_t row, std::byte* out) {
      thread_local std::vector<float> values;
      values.resize(static_cast<size_t>(width));
      fill_bell(row_generator(options.seed, t.name, row), t.sigma, t.centre, values.data(), width);
      encode_row(t.type, values.data(), out, width);
    };
    write_rows(writer, pool, t.shape.elements() / width, bytes_of(t.type, width), make, [&](int64_t rows) {
      done.done_elements += static_cast<uint64_t>(rows * width);
      if (progress) progress(done);
    });
  }
  writer.finish();
}

}  // namespace tl
