// Vocabularies in Hugging Face's files: tokenizer.json and tokenizer_config.json.
#pragma once

#include <string>
#include <string_view>

#include "text/tokenizer.h"

namespace tl {

/// Reads the text of a tokenizer.json. `name` (a path) appears in error messages. Understood are byte-level
/// BPE (GPT-2, SmolLM, Llama 3, Qwen 2) and SentencePiece-style BPE with byte fallback (Llama 2, Mistral,
/// TinyLlama). Throws Error naming the file, the place in it, what was found and what would be understood.
VocabularySpec spec_from_tokenizer_json(std::string_view text, const std::string& name);

/// Applies the text of a tokenizer_config.json (bos_token, eos_token, add_bos_token …) to `spec` and returns
/// the chat template it holds, or "". Throws Error naming `name` and the key.
std::string apply_tokenizer_config(VocabularySpec& spec, std::string_view text, const std::string& name);

}  // namespace tl
