// Models with random weights, of any shape: for testing and timing shapes whose weights cannot be had (`tl
// synth`).
#pragma once

#include <cstdint>
#include <functional>
#include <optional>
#include <string>

#include "formats/model_file.h"

namespace tl {

/// Defaults: TinyLlama 1.1B.
struct SynthOptions {
  std::string architecture = "llama";  ///< or "qwen2" (biases on q, k, v; neox RoPE)
  int64_t n_layers = 22;
  int64_t hidden = 2048;
  int64_t ffn = 5632;
  int64_t n_heads = 32;
  int64_t n_kv_heads = 4;
  int64_t vocab = 0;  ///< 0: the tokenizer's, else 32000
  int64_t context = 2048;
  double rope_base = 10000.0;
  double rms_norm_eps = 1e-5;
  bool tied = false;  ///< no output tensor: token_embd serves
  DType type = DType::q4_0;
  std::optional<DType> output_type;  ///< default as quantize_model() has it
  uint64_t seed = 1;
  int n_threads = 0;  ///< the file's bytes do not depend on it
  std::string
      tokenizer;  ///< a GGUF whose tokenizer.* metadata is copied; empty: a made-up byte-level vocabulary
};

struct SynthProgress {
  std::string tensor;
  uint64_t done_elements = 0, total_elements = 0;
};

/// Writes the model to `out_path`. Throws UsageError for shapes that make no model.
///
/// Weights are sums of four uniform 16-bit numbers (bell-shaped, integer arithmetic alone: the same bytes on
/// every machine) of deviation 1/sqrt(fan-in), which is 0.02 at width 2048, so that queries, keys and gates
/// have deviation 1 after a norm; those that add to the residual stream (attn_output, ffn_down) are smaller
/// by sqrt(2 n_layers), so that it grows evenly with depth; the output has 2.5/sqrt(hidden), which gives
/// logits the deviation 2.5 of real models. Norm weights lie around 1, biases around 0 (deviation 0.1 each).
void synthesise_model(const std::string& out_path, const SynthOptions& options,
                      const std::function<void(const SynthProgress&)>& progress = {});

}  // namespace tl
