#include "unit/text/vocabulary_file.h"

#include <cstring>

#include "base/error.h"
#include "base/file.h"

namespace tl::test {
namespace {

constexpr std::string_view kReplacement = "\xef\xbf\xbd";

std::string length_prefix(size_t length) {
  std::string bytes(8, '\0');
  bytes[0] = static_cast<char>(length);
  return bytes;
}

class Reader {
 public:
  explicit Reader(std::string_view bytes) : bytes_(bytes) {}

  /// Places the reader after `key` and the type of its value; false if the key is not there.
  bool find(const std::string& key) {
    at_ = bytes_.find(length_prefix(key.size()) + key);
    if (at_ == std::string_view::npos) return false;
    at_ += 8 + key.size() + 4;
    return true;
  }
  /// An unsigned number of `n_bytes`, or -1 if it is damaged.
  int64_t number(int n_bytes) {
    uint64_t value = 0;
    bool damaged = false;
    for (int i = 0; i < n_bytes; ++i) {
      if (bytes_.substr(at_, 3) == kReplacement) {
        damaged = true;
        at_ += 3;
      } else {
        value |= static_cast<uint64_t>(static_cast<unsigned char>(bytes_.at(at_++))) << (8 * i);
      }
    }
    return damaged ? -1 : static_cast<int64_t>(value);
  }
  std::string text() {
    const int64_t announced = number(8);
    size_t length = static_cast<size_t>(announced);
    if (announced < 0) {  // more than 127 bytes: it ends where the next length begins
      const size_t zero = bytes_.find('\0', at_);
      length = zero - at_ - (bytes_.substr(zero - 3, 3) == kReplacement ? 3 : 1);
    }
    std::string result(bytes_.substr(at_, length));
    at_ += length;
    return result;
  }
  /// The texts of an array; where its count is damaged, up to the next key.
  std::vector<std::string> texts() {
    number(4);
    const int64_t count = number(8);
    std::vector<std::string> result;
    while (count < 0 || static_cast<int64_t>(result.size()) < count) {
      const size_t before = at_;
      if (count < 0 && before + 8 > bytes_.size()) break;
      result.push_back(text());
      if (count < 0 && result.back().starts_with("tokenizer.ggml.")) {
        result.pop_back();
        at_ = before;
        break;
      }
    }
    return result;
  }

 private:
  std::string_view bytes_;
  size_t at_ = 0;
};

std::vector<float> scores_of(Reader& reader, const VocabularySpec& spec, bool damaged) {
  std::vector<float> scores(spec.tokens.size());
  reader.number(4);
  reader.number(8);
  constexpr size_t kLastByteToken = 258;
  for (size_t i = 0; i < scores.size(); ++i) {
    if (damaged) {
      const bool spaces =
          spec.tokens[i].size() > 3 && spec.tokens[i].find_first_not_of("▁") == std::string::npos;
      scores[i] = i <= kLastByteToken ? 0.0f : spaces ? -1e9f : -static_cast<float>(i - kLastByteToken);
    } else {
      const auto bits = static_cast<uint32_t>(reader.number(4));
      std::memcpy(&scores[i], &bits, sizeof bits);
    }
  }
  return scores;
}

}  // namespace

VocabularySpec read_vocabulary(const std::string& path) {
  const auto file = MappedFile::open(path);
  const auto bytes = file->bytes();
  const std::string_view view(reinterpret_cast<const char*>(bytes.data()), bytes.size());
  Reader reader(view);
  const std::string prefix = "tokenizer.ggml.";
  VocabularySpec spec;
  spec.name = path;
  if (!reader.find(prefix + "model")) throw Error(path + ": no tokenizer.ggml.model in it");
  const std::string model = reader.text();
  spec.kind = model == "llama" ? VocabularyKind::llama : VocabularyKind::gpt2;
  if (reader.find(prefix + "pre") && spec.kind == VocabularyKind::gpt2) spec.pre_tokenizer = reader.text();
  if (reader.find(prefix + "tokens")) spec.tokens = reader.texts();
  if (reader.find(prefix + "merges")) spec.merges = reader.texts();
  // A score has its sign in a byte above 127, so that no vocabulary of scores survives a text conversion.
  const bool damaged = view.substr(0, 1 << 26).find("\xef\xbf\xbd\xef\xbf\xbd") != std::string_view::npos;
  if (spec.kind == VocabularyKind::llama && reader.find(prefix + "scores")) {
    spec.scores = scores_of(reader, spec, damaged);
  }
  if (reader.find(prefix + "token_type")) {
    reader.number(4);
    reader.number(8);
    for (size_t i = 0; i < spec.tokens.size(); ++i)
      spec.token_types.push_back(static_cast<int32_t>(reader.number(4)));
  }
  const auto id = [&](const char* name) -> std::optional<int32_t> {
    if (!reader.find(prefix + name)) return std::nullopt;
    const int64_t value = reader.number(4);
    return value < 0 ? std::nullopt : std::optional(static_cast<int32_t>(value));
  };
  spec.bos = id("bos_token_id");
  spec.eos = id("eos_token_id");
  spec.unk = id("unknown_token_id");
  spec.pad = id("padding_token_id");
  if (reader.find(prefix + "add_bos_token")) spec.add_bos = reader.number(1) != 0;
  if (reader.find(prefix + "add_space_prefix")) spec.add_space_prefix = reader.number(1) != 0;
  return spec;
}

std::string unescape(const std::string& text) {
  std::string out;
  for (size_t i = 0; i < text.size(); ++i) {
    if (text[i] != '\\') {
      out += text[i];
      continue;
    }
    const char c = text.at(++i);
    if (c == 'x') {
      out += static_cast<char>(std::stoi(text.substr(i + 1, 2), nullptr, 16));
      i += 2;
    } else {
      out += c == 'n' ? '\n' : c == 't' ? '\t' : '\\';
    }
  }
  return out;
}

uint32_t hash_of(const std::vector<int32_t>& ids) {
  uint32_t hash = 2166136261u;
  for (const int32_t id : ids) {
    for (int shift = 0; shift < 32; shift += 8) {
      hash = (hash ^ ((static_cast<uint32_t>(id) >> shift) & 0xffu)) * 16777619u;
    }
  }
  return hash;
}

}  // namespace tl::test
