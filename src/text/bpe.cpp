#include <utf8proc.h>

#include <array>
#include <cstdlib>

#include "base/error.h"
#include "text/encoders.h"
#include "text/merge.h"
#include "text/pretokenize.h"
#include "text/utf8.h"

namespace tl {
namespace {

/// GPT-2's alphabet: every byte has a visible character. Printable Latin-1 bytes stand for themselves, the
/// others for U+0100 and up in ascending order.
struct ByteAlphabet {
  std::array<std::string, 256> of_byte;
  std::array<int, 0x144> byte_of{};  // by code point; -1: not in the alphabet

  ByteAlphabet() {
    byte_of.fill(-1);
    char32_t next = 0x100;
    for (unsigned byte = 0; byte < 256; ++byte) {
      const bool visible = (byte >= '!' && byte <= '~') || (byte >= 0xa1 && byte != 0xad);
      const char32_t code = visible ? byte : next++;
      append_utf8(of_byte[byte], code);
      byte_of[code] = static_cast<int>(byte);
    }
  }
};

const ByteAlphabet& byte_alphabet() {
  static const ByteAlphabet alphabet;
  return alphabet;
}

/// `text` with each byte that is not part of valid UTF-8 replaced by U+FFFD (llama.cpp replaces byte by byte,
/// too).
std::string replace_bytes(std::string_view text) {
  std::string out;
  out.reserve(text.size());
  for (size_t at = 0; at < text.size();) {
    const size_t length = utf8_at(text, at).length;
    if (length == 0) {
      append_utf8(out, 0xfffd);
      ++at;
    } else {
      out += text.substr(at, length);
      at += length;
    }
  }
  return out;
}

/// Normal form C (Unicode Standard Annex 15) of valid UTF-8.
std::string normalize_nfc(const std::string& text) {
  utf8proc_uint8_t* result = nullptr;
  const auto* bytes = reinterpret_cast<const utf8proc_uint8_t*>(text.data());
  const auto options = static_cast<utf8proc_option_t>(UTF8PROC_STABLE | UTF8PROC_COMPOSE);
  const utf8proc_ssize_t length =
      utf8proc_map(bytes, static_cast<utf8proc_ssize_t>(text.size()), &result, options);
  TL_CHECK(length >= 0, utf8proc_errmsg(length));
  std::string out(reinterpret_cast<const char*>(result), static_cast<size_t>(length));
  std::free(result);
  return out;
}

class BpeEncoder : public FragmentEncoder {
 public:
  BpeEncoder(const VocabularySpec& spec, const TokenIds& ids)
      : ids_(ids),
        n_tokens_(static_cast<int32_t>(spec.tokens.size())),
        ignore_merges_(spec.ignore_merges.value_or(false)),
        nfc_(spec.nfc),
        words_(spec.pre_tokenizer, spec.name),
        merges_(spec.merges, ids, spec.tokens.size(), spec.name) {
    for (size_t byte = 0; byte < 256; ++byte) {
      byte_symbols_[byte] = merges_.symbol(byte_alphabet().of_byte[byte]);
    }
  }

  void encode(std::string_view text, std::vector<int32_t>& out) const override {
    std::string valid = replace_bytes(text);
    if (nfc_) valid = normalize_nfc(valid);
    for (const std::string_view word : words_.split(valid)) encode_word(word, out);
  }

 private:
  void encode_word(std::string_view word, std::vector<int32_t>& out) const {
    if (ignore_merges_) {
      std::string visible;
      for (const char c : word) visible += byte_alphabet().of_byte[static_cast<unsigned char>(c)];
      if (const auto it = ids_.find(visible); it != ids_.end()) {
        out.push_back(it->second);
        return;
      }
    }
    std::vector<Piece> pieces;
    pieces.reserve(word.size());
    for (size_t at = 0; at < word.size(); ++at) {
      pieces.push_back({at, 1, byte_symbols_[static_cast<unsigned char>(word[at])]});
    }
    merge_pieces(pieces, [&](const Piece& l, const Piece& r) { return merges_.find(l.symbol, r.symbol); });
    for (const Piece& piece : pieces) {
      if (piece.symbol >= 0 && piece.symbol < n_tokens_) {
        out.push_back(piece.symbol);
        continue;
      }
      // Merges led to a text that is no token: what its bytes are tokens for is the most that can be said.
      for (const char c : word.substr(piece.begin, piece.length)) {
        const int32_t symbol = byte_symbols_[static_cast<unsigned char>(c)];
        if (symbol >= 0 && symbol < n_tokens_) out.push_back(symbol);
      }
    }
  }

  const TokenIds& ids_;
  int32_t n_tokens_;
  bool ignore_merges_, nfc_;
  PreTokenizer words_;
  MergeTable merges_;
  std::array<int32_t, 256> byte_symbols_{};
};

}  // namespace

std::unique_ptr<FragmentEncoder> make_bpe_encoder(const VocabularySpec& spec, const TokenIds& ids) {
  return std::make_unique<BpeEncoder>(spec, ids);
}

std::string bytes_of_byte_level(std::string_view text) {
  std::string out;
  for (size_t at = 0; at < text.size();) {
    const Utf8Char c = utf8_at(text, at);
    const size_t length = c.length == 0 ? 1 : c.length;
    const auto& byte_of = byte_alphabet().byte_of;
    if (c.length != 0 && c.code < byte_of.size() && byte_of[c.code] >= 0) {
      out += static_cast<char>(byte_of[c.code]);
    } else {
      out += text.substr(at, length);
    }
    at += length;
  }
  return out;
}

}  // namespace tl
