#include <fmt/format.h>

#include <algorithm>
#include <array>

#include "base/error.h"
#include "text/encoders.h"
#include "text/merge.h"

namespace tl {
namespace {

/// The length a UTF-8 character announces in its first byte. A continuation byte counts as a character of its
/// own.
size_t announced_length(char first) {
  const auto byte = static_cast<unsigned char>(first);
  return byte < 0xc0 ? 1 : byte < 0xe0 ? 2 : byte < 0xf0 ? 3 : 4;
}

class SpmEncoder : public FragmentEncoder {
 public:
  SpmEncoder(const VocabularySpec& spec, const TokenIds& ids)
      : spec_(spec), ids_(ids), merges_(spec.merges, ids, spec.tokens.size(), spec.name) {
    for (int byte = 0; byte < 256; ++byte) byte_ids_[static_cast<size_t>(byte)] = id_of_byte(byte);
  }

  void encode(std::string_view text, std::vector<int32_t>& out) const override {
    const std::string marked = replace_all(text, " ", kSpaceMark);
    const std::string_view view = marked;
    std::vector<Piece> pieces;
    pieces.reserve(view.size());
    for (size_t at = 0; at < view.size();) {
      const size_t length = std::min(announced_length(view[at]), view.size() - at);
      pieces.push_back({at, length, merges_.symbol(view.substr(at, length))});
      at += length;
    }
    if (spec_.merges.empty()) {
      merge_pieces(pieces, [&](const Piece& left, const Piece& right) -> std::optional<Join> {
        const auto it = ids_.find(view.substr(left.begin, left.length + right.length));
        if (it == ids_.end()) return std::nullopt;
        return Join{-static_cast<double>(spec_.scores[static_cast<size_t>(it->second)]), it->second};
      });
    } else {
      merge_pieces(pieces, [&](const Piece& l, const Piece& r) { return merges_.find(l.symbol, r.symbol); });
    }
    for (const Piece& piece : pieces) emit(view.substr(piece.begin, piece.length), piece.symbol, out);
  }

 private:
  int32_t id_of_byte(int byte) const {
    if (const auto it = ids_.find(fmt::format("<0x{:02X}>", byte)); it != ids_.end()) return it->second;
    if (spec_.unk) return *spec_.unk;
    throw Error(
        fmt::format("{}: the vocabulary has neither a token <0x{:02X}> nor an unknown token, so some texts "
                    "could not be written; it is incomplete",
                    spec_.name, byte));
  }

  void emit(std::string_view text, int32_t symbol, std::vector<int32_t>& out) const {
    if (symbol >= 0 && static_cast<size_t>(symbol) < spec_.tokens.size()) {
      out.push_back(symbol);
      return;
    }
    for (const char c : text) out.push_back(byte_ids_[static_cast<unsigned char>(c)]);
  }

  const VocabularySpec& spec_;
  const TokenIds& ids_;
  MergeTable merges_;
  std::array<int32_t, 256> byte_ids_{};
};

}  // namespace

std::unique_ptr<FragmentEncoder> make_spm_encoder(const VocabularySpec& spec, const TokenIds& ids) {
  return std::make_unique<SpmEncoder>(spec, ids);
}

int byte_of_token_text(std::string_view text) {
  if (text.size() != 6 || !text.starts_with("<0x") || text[5] != '>') return -1;
  int value = 0;
  for (const char c : text.substr(3, 2)) {
    const int digit = c >= '0' && c <= '9' ? c - '0' : c >= 'A' && c <= 'F' ? c - 'A' + 10 : -1;
    if (digit < 0) return -1;
    value = value * 16 + digit;
  }
  return value;
}

std::string replace_all(std::string_view text, std::string_view from, std::string_view to) {
  std::string out;
  out.reserve(text.size());
  size_t done = 0;
  for (size_t at; (at = text.find(from, done)) != std::string_view::npos; done = at + from.size()) {
    out += text.substr(done, at - done);
    out += to;
  }
  out += text.substr(done);
  return out;
}

}  // namespace tl
