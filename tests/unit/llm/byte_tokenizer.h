// The vocabulary of the generation loop's tests.
#pragma once

#include <string>

#include "text/tokenizer.h"

namespace tl {

/// A vocabulary whose tokens are the 256 bytes.
inline VocabularySpec byte_vocabulary() {
  VocabularySpec spec;
  spec.name = "bytes";
  spec.kind = VocabularyKind::llama;
  for (int i = 0; i < 256; ++i) {
    constexpr const char* kHex = "0123456789ABCDEF";
    spec.tokens.push_back(std::string("<0x") + kHex[i / 16] + kHex[i % 16] + ">");
    spec.token_types.push_back(static_cast<int32_t>(TokenType::byte));
  }
  return spec;
}

/// The 256 bytes, then <bos> (256), <eos> (257) and <eot> (258).
inline Tokenizer byte_tokenizer() {
  VocabularySpec spec = byte_vocabulary();
  for (const char* name : {"<bos>", "<eos>", "<|eot_id|>"}) {
    spec.tokens.push_back(name);
    spec.token_types.push_back(static_cast<int32_t>(TokenType::control));
  }
  spec.scores.assign(spec.tokens.size(), 0.0f);
  spec.bos = 256;
  spec.eos = 257;
  spec.eot = 258;
  return Tokenizer::create(std::move(spec));
}

}  // namespace tl
