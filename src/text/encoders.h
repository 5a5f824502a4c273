// The two ways of turning a stretch of plain text into token ids.
#pragma once

#include <memory>
#include <string_view>
#include <unordered_map>
#include <vector>

#include "text/tokenizer.h"

namespace tl {

using TokenIds = std::unordered_map<std::string_view, int32_t>;

/// Encodes text in which special tokens have been found already.
class FragmentEncoder {
 public:
  virtual ~FragmentEncoder() = default;
  /// Appends the ids of `text` to `out`. Any bytes are accepted.
  virtual void encode(std::string_view text, std::vector<int32_t>& out) const = 0;
};

/// SentencePiece-style merging by score (or by rank, if the vocabulary has merges), with byte fallback. The
/// texts in `ids` and `spec` must outlive the encoder. Throws Error when a character could not be written at
/// all.
std::unique_ptr<FragmentEncoder> make_spm_encoder(const VocabularySpec& spec, const TokenIds& ids);

/// Byte-level BPE (Radford et al. 2019, section 2.2): words from a pre-tokenizer, merges by rank. A byte that
/// the vocabulary cannot write is left out, as in llama.cpp and the tokenizers package.
std::unique_ptr<FragmentEncoder> make_bpe_encoder(const VocabularySpec& spec, const TokenIds& ids);

/// The bytes that a text in the byte-to-unicode alphabet stands for; characters outside it stand for
/// themselves.
std::string bytes_of_byte_level(std::string_view text);

/// The value of a byte token's text "<0xAB>", or -1.
int byte_of_token_text(std::string_view text);

/// `text` with every `from` replaced by `to`.
std::string replace_all(std::string_view text, std::string_view from, std::string_view to);

/// U+2581, which stands for a space in SentencePiece vocabularies.
inline constexpr std::string_view kSpaceMark = "\xe2\x96\x81";

}  // namespace tl
