#include "text/tokenizer.h"

#include <fmt/format.h>

#include <algorithm>
#include <array>
#include <set>
#include <unordered_set>

#include "base/error.h"
#include "text/encoders.h"

namespace tl {
namespace {

// Tokens that are known by name, as llama.cpp knows them. A vocabulary does not always name its end of turn,
// and answers would not stop. Order: which one is the end of turn when several are there.
constexpr std::array<std::string_view, 9> kEndOfTurnNames = {
    "<|eot_id|>",         "<|im_end|>", "<|end|>", "<end_of_turn>",
    "<end_of_utterance>", "<EOT>",      "_<EOT>",  "<｜end▁of▁sentence｜>",
    "<|endoftext|>"};
constexpr std::array<std::string_view, 4> kEndNames = {"<|eom_id|>", "<|end_of_text|>", "<|return|>",
                                                       "<|call|>"};
// Separators of code models: padding, repository and file marks begin something else.
constexpr std::array<std::string_view, 10> kFillInTheMiddleNames = {
    "<|fim_pad|>",   "<fim-pad>",  "<fim_pad>", "<PAD>",      "<|fim_repo|>",
    "<|repo_name|>", "<fim-repo>", "<REPO>",    "<reponame>", "<|file_sep|>"};

bool is_space(char c) { return c == ' ' || (c >= '\t' && c <= '\r'); }

}  // namespace

struct Tokenizer::Data {
  VocabularySpec spec;
  std::vector<TokenType> types;
  std::vector<std::string> pieces;  // bytes of each id
  TokenIds ids;                     // keys point into spec.tokens
  std::vector<int32_t> special;     // ids that are found in text before it is encoded, longest text first
  std::unordered_set<int32_t> lstrip, rstrip;
  std::set<int32_t> eog;
  std::vector<int32_t> eog_list;
  std::unique_ptr<FragmentEncoder> encoder;

  size_t checked(int32_t id) const {
    if (id < 0 || static_cast<size_t>(id) >= spec.tokens.size()) {
      throw Error(fmt::format("{}: token id {} is out of range; the vocabulary has {} tokens", spec.name, id,
                              spec.tokens.size()));
    }
    return static_cast<size_t>(id);
  }
  bool is_control(size_t id) const {
    return types[id] == TokenType::control || types[id] == TokenType::unknown;
  }
};

/// Checks a specification and completes it, step by step.
struct TokenizerBuilder {
  Tokenizer::Data& data;
  VocabularySpec& spec = data.spec;

  [[noreturn]] void fail(const std::string& message) const { throw Error(spec.name + ": " + message); }

  void build() {
    check_counts();
    index_tokens();
    check_ids();
    set_defaults();
    find_end_of_generation();
    spell_pieces();
    find_special();
    data.encoder = spec.kind == VocabularyKind::llama ? make_spm_encoder(spec, data.ids)
                                                      : make_bpe_encoder(spec, data.ids);
  }

  void check_counts() {
    const size_t n = spec.tokens.size();
    if (n == 0) fail("the vocabulary has no tokens");
    if (n > 0x7fffffff / 2) fail(fmt::format("the vocabulary has {} tokens, more than ids can number", n));
    if (!spec.token_types.empty() && spec.token_types.size() != n) {
      fail(fmt::format("the vocabulary has {} tokens, but {} token types", n, spec.token_types.size()));
    }
    if (!spec.scores.empty() && spec.scores.size() != n) {
      fail(fmt::format("the vocabulary has {} tokens, but {} scores", n, spec.scores.size()));
    }
    if (spec.kind == VocabularyKind::llama && spec.scores.empty() && spec.merges.empty()) {
      fail("a vocabulary of kind \"llama\" needs scores or merges; it has neither");
    }
    for (size_t i = 0; i < spec.scores.size(); ++i) {
      if (!(spec.scores[i] == spec.scores[i])) fail(fmt::format("the score of token {} is not a number", i));
    }
    data.types.assign(n, TokenType::normal);
    for (size_t i = 0; i < spec.token_types.size(); ++i) {
      const int32_t type = spec.token_types[i];
      if (type < 1 || type > 6) fail(fmt::format("token {} has type {}; types are 1 to 6", i, type));
      data.types[i] = static_cast<TokenType>(type);
    }
  }

  void index_tokens() {
    data.ids.reserve(spec.tokens.size());
    for (size_t i = 0; i < spec.tokens.size(); ++i) {
      if (spec.tokens[i].empty()) continue;  // a gap in the numbering; no text leads to it
      const auto [it, added] = data.ids.emplace(spec.tokens[i], static_cast<int32_t>(i));
      if (!added) fail(fmt::format("tokens {} and {} are both \"{}\"", it->second, i, spec.tokens[i]));
    }
  }

  void check_ids() const {
    const auto check = [&](const char* role, int32_t id) {
      if (id < 0 || static_cast<size_t>(id) >= spec.tokens.size()) {
        fail(fmt::format("the {} token is {}, but the vocabulary has {} tokens", role, id,
                         spec.tokens.size()));
      }
    };
    if (spec.bos) check("BOS", *spec.bos);
    if (spec.eos) check("EOS", *spec.eos);
    if (spec.unk) check("unknown", *spec.unk);
    if (spec.eot) check("end-of-turn", *spec.eot);
    if (spec.pad) check("padding", *spec.pad);
    for (const int32_t id : spec.extra_eog) check("end-of-generation", id);
    for (const int32_t id : spec.lstrip) check("left-stripping", id);
    for (const int32_t id : spec.rstrip) check("right-stripping", id);
  }

  void set_defaults() {
    const bool llama = spec.kind == VocabularyKind::llama;
    if (!llama && spec.pre_tokenizer.empty()) spec.pre_tokenizer = "default";
    const bool llama3 = !llama && spec.pre_tokenizer == "llama-bpe";
    // A default says only what usually is; a vocabulary without the token cannot follow it.
    if (!spec.add_bos) spec.add_bos = (llama || llama3) && spec.bos;
    if (!spec.add_eos) spec.add_eos = false;
    if (!spec.ignore_merges) spec.ignore_merges = llama3;
    spec.add_space_prefix = llama && spec.add_space_prefix.value_or(true);
    if (*spec.add_bos && !spec.bos) fail("it says that BOS is added to every text, but names no BOS token");
    if (*spec.add_eos && !spec.eos) fail("it says that EOS is added to every text, but names no EOS token");
  }

  void find_end_of_generation() {
    data.eog.insert(spec.extra_eog.begin(), spec.extra_eog.end());
    const auto find = [&](std::string_view name) -> std::optional<int32_t> {
      const auto it = data.ids.find(name);
      return it == data.ids.end() ? std::nullopt : std::optional(it->second);
    };
    const auto add_ending = [&](int32_t id) {
      data.eog.insert(id);
      data.types[static_cast<size_t>(id)] = TokenType::control;  // converters have been known to forget it
    };
    for (const std::string_view name : kEndOfTurnNames) {
      const auto id = find(name);
      if (!id) continue;
      add_ending(*id);
      if (!spec.eot) spec.eot = id;
    }
    for (const std::string_view name : kEndNames) {
      if (const auto id = find(name)) add_ending(*id);
    }
    for (const std::string_view name : kFillInTheMiddleNames) {
      if (const auto id = find(name)) data.eog.insert(*id);
    }
    if (spec.eos) data.eog.insert(*spec.eos);
    if (spec.eot) data.eog.insert(*spec.eot);
    data.eog_list.assign(data.eog.begin(), data.eog.end());
  }

  void spell_pieces() {
    data.pieces.reserve(spec.tokens.size());
    for (size_t i = 0; i < spec.tokens.size(); ++i)
      data.pieces.push_back(spell(spec.tokens[i], data.types[i], i));
  }

  std::string spell(const std::string& text, TokenType type, size_t id) const {
    switch (type) {
      case TokenType::unknown:
      case TokenType::control:
      case TokenType::user_defined:
        return text;
      case TokenType::unused:
        return "";
      case TokenType::byte: {
        const int byte = byte_of_token_text(text);
        if (byte < 0)
          fail(fmt::format("token {} is a byte token, but its text is \"{}\", not \"<0x..>\"", id, text));
        return std::string(1, static_cast<char>(byte));
      }
      case TokenType::normal:
        break;
    }
    return spec.kind == VocabularyKind::llama ? replace_all(text, kSpaceMark, " ")
                                              : bytes_of_byte_level(text);
  }

  void find_special() {
    for (size_t i = 0; i < spec.tokens.size(); ++i) {
      const bool special = data.is_control(i) || data.types[i] == TokenType::user_defined;
      if (special && !spec.tokens[i].empty()) data.special.push_back(static_cast<int32_t>(i));
    }
    std::stable_sort(data.special.begin(), data.special.end(), [&](int32_t a, int32_t b) {
      return spec.tokens[static_cast<size_t>(a)].size() > spec.tokens[static_cast<size_t>(b)].size();
    });
    data.lstrip.insert(spec.lstrip.begin(), spec.lstrip.end());
    data.rstrip.insert(spec.rstrip.begin(), spec.rstrip.end());
  }
};

namespace {

/// A stretch of text still to be encoded, or (id >= 0) a token found in it.
struct Fragment {
  std::string_view text;
  int32_t id = -1;
};

/// Cuts every text fragment at each occurrence of `token`.
std::vector<Fragment> cut_at(const std::vector<Fragment>& fragments, std::string_view token, int32_t id,
                             bool lstrip, bool rstrip) {
  std::vector<Fragment> out;
  for (const Fragment& fragment : fragments) {
    std::string_view rest = fragment.text;
    for (size_t at; fragment.id < 0 && (at = rest.find(token)) != std::string_view::npos;) {
      std::string_view left = rest.substr(0, at);
      rest.remove_prefix(at + token.size());
      while (lstrip && !left.empty() && is_space(left.back())) left.remove_suffix(1);
      while (rstrip && !rest.empty() && is_space(rest.front())) rest.remove_prefix(1);
      if (!left.empty()) out.push_back({left});
      out.push_back({token, id});
    }
    if (fragment.id >= 0 || !rest.empty()) out.push_back({rest, fragment.id});
  }
  return out;
}

}  // namespace

Tokenizer Tokenizer::create(VocabularySpec spec) {
  auto data = std::make_shared<Data>();
  data->spec = std::move(spec);
  TokenizerBuilder{*data}.build();
  return Tokenizer(std::move(data));
}

std::vector<int32_t> Tokenizer::encode(std::string_view text, bool add_special, bool parse_special) const {
  const VocabularySpec& spec = data_->spec;
  std::vector<Fragment> fragments;
  if (!text.empty()) fragments.push_back({text});
  for (const int32_t id : data_->special) {
    const auto index = static_cast<size_t>(id);
    if (!parse_special && data_->is_control(index)) continue;
    if (text.find(spec.tokens[index]) == std::string_view::npos) continue;
    fragments =
        cut_at(fragments, spec.tokens[index], id, data_->lstrip.contains(id), data_->rstrip.contains(id));
  }
  std::vector<int32_t> ids;
  if (add_special && *spec.add_bos) ids.push_back(*spec.bos);
  bool prefix = *spec.add_space_prefix;  // the beginning counts as the end of a special token
  for (const Fragment& fragment : fragments) {
    if (fragment.id >= 0) {
      ids.push_back(fragment.id);
      prefix = *spec.add_space_prefix && !spec.prefix_first_only;
      continue;
    }
    const bool has_space =
        spec.prefix_unless_space && (fragment.text.starts_with(' ') || fragment.text.starts_with(kSpaceMark));
    if (prefix && !has_space) {
      data_->encoder->encode(" " + std::string(fragment.text), ids);
    } else {
      data_->encoder->encode(fragment.text, ids);
    }
    prefix = false;
  }
  if (add_special && *spec.add_eos) ids.push_back(*spec.eos);
  return ids;
}

std::string Tokenizer::decode(std::span<const int32_t> ids, bool skip_special) const {
  std::string text;
  bool strip_space = add_space_prefix();
  for (const int32_t id : ids) {
    const size_t index = data_->checked(id);
    if (skip_special && data_->is_control(index)) continue;
    std::string_view piece = data_->pieces[index];
    if (strip_space && piece.starts_with(' ')) piece.remove_prefix(1);
    strip_space = false;
    text += piece;
  }
  return text;
}

const std::string& Tokenizer::piece(int32_t id) const { return data_->pieces[data_->checked(id)]; }
const std::string& Tokenizer::token_text(int32_t id) const { return data_->spec.tokens[data_->checked(id)]; }

std::optional<int32_t> Tokenizer::find(std::string_view text) const {
  const auto it = data_->ids.find(text);
  return it == data_->ids.end() ? std::nullopt : std::optional(it->second);
}

int32_t Tokenizer::vocab_size() const { return static_cast<int32_t>(data_->spec.tokens.size()); }
VocabularyKind Tokenizer::kind() const { return data_->spec.kind; }
const std::string& Tokenizer::pre_tokenizer() const { return data_->spec.pre_tokenizer; }
std::optional<int32_t> Tokenizer::bos() const { return data_->spec.bos; }
std::optional<int32_t> Tokenizer::eos() const { return data_->spec.eos; }
std::optional<int32_t> Tokenizer::eot() const { return data_->spec.eot; }
std::optional<int32_t> Tokenizer::unk() const { return data_->spec.unk; }
std::optional<int32_t> Tokenizer::pad() const { return data_->spec.pad; }
bool Tokenizer::add_bos() const { return *data_->spec.add_bos; }
bool Tokenizer::add_eos() const { return *data_->spec.add_eos; }
bool Tokenizer::add_space_prefix() const { return *data_->spec.add_space_prefix; }
TokenType Tokenizer::type(int32_t id) const { return data_->types[data_->checked(id)]; }
bool Tokenizer::is_control(int32_t id) const { return data_->is_control(data_->checked(id)); }
bool Tokenizer::is_end_of_generation(int32_t id) const { return data_->eog.contains(id); }
const std::vector<int32_t>& Tokenizer::end_of_generation() const { return data_->eog_list; }

}  // namespace tl
