// Which elements of a head RoPE rotates together, by architecture and container.
#pragma once

#include <string_view>

namespace tl {

/// "norm": pairs (2i, 2i+1). "neox": halves (i, i + n/2).
inline constexpr const char* kRopeStyleKey = "tensorlogic.rope_style";

/// The style in which GGUF files of this architecture store the rows of Q and K; empty if we do not know.
/// (Files for "norm" architectures were converted from Hugging Face's halves by permuting those rows.)
inline std::string_view gguf_rope_style(std::string_view architecture) {
  for (const std::string_view norm :
       {"llama", "llama4", "mistral3", "baichuan", "internlm2", "minicpm", "granite"})
    if (architecture == norm) return "norm";
  for (const std::string_view neox : {"qwen", "qwen2", "qwen2moe", "qwen3", "gemma", "gemma2", "gemma3",
                                      "phi2", "phi3", "stablelm", "falcon"})
    if (architecture == neox) return "neox";
  return "";
}

}  // namespace tl
