// Rewriting a model file in another element type (`tl quantize`).
#pragma once

#include <cstdint>
#include <functional>
#include <optional>
#include <string>

#include "formats/model_file.h"

namespace tl {

struct QuantizeOptions {
  int n_threads = 0;  ///< 0: all cores
  /// Every 2-D weight gets `type`, the output tensor included.
  bool pure = false;
  /// Overrides the type of the output tensor (or of a tied token_embd).
  std::optional<DType> output_type;
};

struct QuantizeProgress {
  std::string tensor;
  uint64_t done_bytes = 0, total_bytes = 0;  ///< of the source's tensors
  std::string message;                       ///< where not empty: something to tell aloud
};

struct QuantizeResult {
  uint64_t source_bytes = 0, result_bytes = 0;  ///< of all tensors
};

/// Writes `source` to `out_path` (GGUF) with its 2-D weights in `type`: one that encode_row() can write, else
/// UsageError. 1-D tensors (norms, biases) become F32. For types of fewer bits than Q8_0 the output tensor
/// (or token_embd where that is the output too) becomes Q6_K unless told otherwise, as llama.cpp has it. A
/// row width that the type's block does not divide falls back to Q8_0, then F16, with a message. Sources are
/// decoded exactly; the Q and K rows of a Hugging Face container are put into the RoPE order that GGUF has
/// for the architecture. Progress is reported on the caller's thread.
QuantizeResult quantize_model(const ModelFile& source, const std::string& out_path, DType type,
                              const QuantizeOptions& options = {},
                              const std::function<void(const QuantizeProgress&)>& progress = {});

}  // namespace tl
