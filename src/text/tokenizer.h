// Text to token ids and back: SentencePiece-style and byte-level BPE vocabularies behind one interface.
#pragma once

#include <cstdint>
#include <memory>
#include <optional>
#include <span>
#include <string>
#include <string_view>
#include <vector>

namespace tl {

/// How a vocabulary cuts text. The names are those of GGUF's `tokenizer.ggml.model`.
enum class VocabularyKind {
  llama,  ///< SentencePiece-style: spaces become U+2581, merges by score, unknown characters fall back to
          ///< bytes
  gpt2,   ///< byte-level BPE: a regular expression cuts words, merges by rank
};

/// What kind of token an id is; the numbers are those of GGUF's `tokenizer.ggml.token_type`.
enum class TokenType : int32_t {
  normal = 1,
  unknown = 2,
  control = 3,
  user_defined = 4,
  unused = 5,
  byte = 6
};

/// Everything a tokenizer is made of, as plain data, wherever it was read from.
struct VocabularySpec {
  std::string name;  ///< where it came from (a path); used in error messages
  VocabularyKind kind = VocabularyKind::gpt2;
  std::string pre_tokenizer;         ///< gpt2 only: one of known_pre_tokenizers(); "" means "default"
  std::vector<std::string> tokens;   ///< text of each id; gpt2: in the byte-to-unicode alphabet
  std::vector<float> scores;         ///< llama: one per token, unless `merges` are given
  std::vector<int32_t> token_types;  ///< one TokenType per token, or empty: all normal
  std::vector<std::string> merges;   ///< "LEFT RIGHT", best first; gpt2 always, llama instead of scores
  std::optional<int32_t> bos, eos, unk, eot, pad;
  std::optional<bool> add_bos;           ///< default: true for llama and for "llama-bpe", else false
  std::optional<bool> add_eos;           ///< default: false
  std::optional<bool> add_space_prefix;  ///< llama only; default: true
  std::optional<bool>
      ignore_merges;  ///< gpt2: a word that is a token is not merged; default: "llama-bpe" only
  /// llama only, where Hugging Face's tokenizers differ from llama.cpp: the space prefix goes to the start of
  /// the text alone, not also after special tokens; and not to what begins with a space already.
  bool prefix_first_only = false, prefix_unless_space = false;
  bool nfc = false;                     ///< gpt2 only: text is brought into Unicode's normal form C first
  std::vector<int32_t> lstrip, rstrip;  ///< special tokens that swallow whitespace on their left or right
  std::vector<int32_t> extra_eog;       ///< further ids that end generation
};

/// The pre-tokenizers that a gpt2 vocabulary may name.
const std::vector<std::string>& known_pre_tokenizers();

/// A tokenizer. Immutable, safe to use from several threads, cheap to copy.
class Tokenizer {
 public:
  /// Builds a tokenizer. Throws Error naming `spec.name` and what contradicts what: counts that differ, ids
  /// out of range, an unknown pre-tokenizer (the known ones are listed), malformed merges, no way to write
  /// some byte.
  static Tokenizer create(VocabularySpec spec);

  /// Token ids of `text`, as llama.cpp's llama_tokenize gives them. `add_special` adds BOS and EOS where the
  /// vocabulary says so; `parse_special` lets control tokens be written in the text ("<|im_start|>").
  /// Any bytes are accepted. What is not UTF-8: gpt2 reads each offending byte as U+FFFD, llama keeps the
  /// bytes.
  std::vector<int32_t> encode(std::string_view text, bool add_special, bool parse_special) const;

  /// Text of `ids`. `skip_special` leaves control and unknown tokens out. The space that a llama vocabulary
  /// puts before a text is removed again, so that decode(encode(t, true, false), true) == t for valid UTF-8.
  /// May hold incomplete UTF-8 where the ids do. Throws Error for an id out of range.
  std::string decode(std::span<const int32_t> ids, bool skip_special) const;

  /// The bytes that one token stands for (control tokens: their name). Throws Error for an id out of range.
  const std::string& piece(int32_t id) const;
  /// The token as the vocabulary writes it ("Ġthe", "▁the", "<0x0A>"). Throws Error for an id out of range.
  const std::string& token_text(int32_t id) const;
  /// The id whose token_text() is `text`, if there is one.
  std::optional<int32_t> find(std::string_view text) const;

  int32_t vocab_size() const;
  VocabularyKind kind() const;
  const std::string& pre_tokenizer() const;
  std::optional<int32_t> bos() const;
  std::optional<int32_t> eos() const;
  std::optional<int32_t> eot() const;
  std::optional<int32_t> unk() const;
  std::optional<int32_t> pad() const;
  bool add_bos() const;
  bool add_eos() const;
  bool add_space_prefix() const;
  TokenType type(int32_t id) const;
  /// Whether `id` is a control or unknown token, which decode(…, skip_special) leaves out.
  bool is_control(int32_t id) const;
  /// Whether generation ends at `id`: EOS, end of turn, and tokens known by name, as llama.cpp detects them.
  bool is_end_of_generation(int32_t id) const;
  /// All ids that end generation, ascending.
  const std::vector<int32_t>& end_of_generation() const;

 private:
  struct Data;
  friend struct TokenizerBuilder;
  explicit Tokenizer(std::shared_ptr<const Data> data) : data_(std::move(data)) {}
  std::shared_ptr<const Data> data_;
};

}  // namespace tl
