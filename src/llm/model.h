// A model ready for a program: typed hyperparameters read from the file, weights as graph constants,
// tokenizer.
#pragma once

#include <map>
#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "formats/model_file.h"
#include "graph/node.h"
#include "text/tokenizer.h"

namespace tl {

/// What a LLaMA-like model's shape and constants are; nothing here is ever hard-coded in a program.
struct HyperParameters {
  std::string architecture;
  int64_t n_layers = 0;
  int64_t hidden_dim = 0;  ///< width of the residual stream (embedding_length)
  int64_t ffn_dim = 0;     ///< width of the feed-forward layer
  int64_t n_heads = 0;     ///< query heads
  int64_t n_kv_heads = 0;  ///< key and value heads
  int64_t head_dim = 0;
  int64_t vocab_size = 0;
  int64_t context_length = 0;  ///< tokens the model was trained for
  double rms_eps = 0;
  double rope_base = 0;
  int64_t rope_dims = 0;  ///< rotated dimensions of each head
  double rope_scale = 1;  ///< linear scaling: positions are multiplied by this
  RopeStyle rope_style = RopeStyle::norm;
};

/// Reads the hyperparameters. Throws FileError naming the key that is missing or makes no sense, or a RoPE
/// scaling that is not supported.
HyperParameters read_hyper_parameters(const ModelFile& file);

/// An open model as programs use it. Weights are graph constants over the mapped file, made at first use and
/// shared.
class Model {
 public:
  explicit Model(std::shared_ptr<const ModelFile> file);

  const ModelFile& file() const { return *file_; }
  const HyperParameters& config() const { return config_; }
  /// How many layers a run uses: all, unless set_layers() limited it.
  int64_t n_layers() const { return n_layers_; }
  /// Only the first `n`, then final norm and output. Throws Error when there are fewer.
  void set_layers(int64_t n);

  /// The weight of that name; "output.weight" is the token embedding where the file ties them. Throws
  /// FileError with the nearest name.
  graph::NodeRef weight(const std::string& name) const;
  bool has_weight(const std::string& name) const;
  /// Frequency factors of RoPE (Llama 3 scaling), [rope_dims / 2], or null where there is none.
  graph::NodeRef rope_factors() const { return rope_factors_; }
  /// Read at first use. Throws Error where the file has none, or one that is not known.
  const Tokenizer& tokenizer() const;

 private:
  void read_rope_factors();
  std::shared_ptr<const ModelFile> file_;
  HyperParameters config_;
  int64_t n_layers_ = 0;
  graph::NodeRef rope_factors_;
  mutable std::map<std::string, graph::NodeRef, std::less<>> weights_;
  mutable std::optional<Tokenizer> tokenizer_;
};

/// Llama 3's frequency factors: low frequencies are divided by `factor`, high ones left, those between
/// blended (the rule of Llama 3.1's reference code; wavelengths against original_context / low and / high).
std::vector<float> llama3_rope_factors(int64_t n_rot, double base, double factor, double low_freq_factor,
                                       double high_freq_factor, double original_context);

}  // namespace tl
