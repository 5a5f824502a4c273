#include "llm/model.h"

#include <cmath>
#include <numbers>

#include <fmt/format.h>

#include "graph/builder.h"
#include "llm/vocabulary.h"

namespace tl {

HyperParameters read_hyper_parameters(const ModelFile& file) {
  HyperParameters c;
  c.architecture = file.get_string("general.architecture");
  const auto key = [&](std::string_view name) { return fmt::format("{}.{}", c.architecture, name); };
  c.n_layers = file.get_int(key("block_count"));
  c.hidden_dim = file.get_int(key("embedding_length"));
  c.ffn_dim = file.get_int(key("feed_forward_length"));
  c.n_heads = file.get_int(key("attention.head_count"));
  c.n_kv_heads = file.get_int(key("attention.head_count_kv"), c.n_heads);
  c.head_dim = file.get_int(key("attention.key_length"), c.n_heads > 0 ? c.hidden_dim / c.n_heads : 0);
  c.context_length = file.get_int(key("context_length"));
  c.rms_eps = file.get_float(key("attention.layer_norm_rms_epsilon"));
  c.rope_base = file.get_float(key("rope.freq_base"), 10000.0);
  c.rope_dims = file.get_int(key("rope.dimension_count"), c.head_dim);
  c.vocab_size = file.tensor("token_embd.weight").shape()[0];

  const std::string style = file.get_string("tensorlogic.rope_style", "");
  if (style != "norm" && style != "neox")
    throw FileError(file.path(), "general.architecture",
                    fmt::format("how '{}' pairs dimensions in RoPE is not known", c.architecture));
  c.rope_style = style == "norm" ? RopeStyle::norm : RopeStyle::neox;

  const std::string scaling = file.get_string(key("rope.scaling.type"), "none");
  if (scaling == "linear")
    c.rope_scale = 1.0 / file.get_float(key("rope.scaling.factor"));
  else if (scaling != "none" && scaling != "default" && scaling != "llama3")
    throw FileError(file.path(), key("rope.scaling.type"),
                    fmt::format("RoPE scaling '{}' is not supported; 'linear' and 'llama3' are", scaling));
  return c;
}

std::vector<float> llama3_rope_factors(int64_t n_rot, double base, double factor, double low, double high,
                                       double context) {
  std::vector<float> factors;
  for (int64_t i = 0; i < n_rot / 2; ++i) {
    const double frequency = std::pow(base, -2.0 * static_cast<double>(i) / static_cast<double>(n_rot));
    const double wavelength = 2 * std::numbers::pi / frequency;
    double f = 1;
    if (wavelength > context / low) {
      f = factor;
    } else if (wavelength > context / high) {
      const double smooth = (context / wavelength - low) / (high - low);
      f = 1 / ((1 - smooth) / factor + smooth);
    }
    factors.push_back(static_cast<float>(f));
  }
  return factors;
}

Model::Model(std::shared_ptr<const ModelFile> file)
    : file_(std::move(file)), config_(read_hyper_parameters(*file_)), n_layers_(config_.n_layers) {
  read_rope_factors();
}

void Model::read_rope_factors() {
  const auto key = [&](std::string_view name) {
    return fmt::format("{}.rope.scaling.{}", config_.architecture, name);
  };
  if (has_weight("rope_freqs.weight")) {
    rope_factors_ = weight("rope_freqs.weight");
  } else if (file_->get_string(key("type"), "none") == "llama3") {
    const auto factors = llama3_rope_factors(
        config_.rope_dims, config_.rope_base, file_->get_float(key("factor")),
        file_->get_float(key("low_freq_factor")), file_->get_float(key("high_freq_factor")),
        file_->get_float(key("original_context_length")));
    const Shape shape{static_cast<int64_t>(factors.size())};
    rope_factors_ = graph::constant(Tensor::from<float>(DType::f32, shape, factors), true);
  }
}

void Model::set_layers(int64_t n) {
  if (n < 0 || n > config_.n_layers)
    throw Error(fmt::format("{} has {} layers, and {} were asked for", file_->path(), config_.n_layers, n));
  n_layers_ = n;
}

bool Model::has_weight(const std::string& name) const { return file_->find_tensor(name) != nullptr; }

graph::NodeRef Model::weight(const std::string& name) const {
  if (const auto at = weights_.find(name); at != weights_.end()) return at->second;
  graph::NodeRef node;
  if (name == "output.weight" && !has_weight(name)) {
    node = weight("token_embd.weight");
  } else {
    node = graph::constant(file_->tensor(name), true);
    node->scope = nullptr;
    graph::set_label(node, name);
  }
  weights_.emplace(name, node);
  return node;
}

const Tokenizer& Model::tokenizer() const {
  if (!tokenizer_) tokenizer_ = model_tokenizer(*file_);
  return *tokenizer_;
}

}  // namespace tl
