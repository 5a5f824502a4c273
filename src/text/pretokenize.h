// Cutting text into words before byte-level BPE merges within them.
#pragma once

#include <memory>
#include <string>
#include <string_view>
#include <vector>

namespace tl {

/// A pre-tokenizer: regular expressions applied one after the other, each cutting the pieces left by the one
/// before into its matches and what lies between them.
class PreTokenizer {
 public:
  /// `name` is one of known_pre_tokenizers(); "" means "default". Throws Error, naming `origin`, for another.
  PreTokenizer(const std::string& name, const std::string& origin);

  /// The words of `text`, which must be valid UTF-8; together they are the whole text.
  std::vector<std::string_view> split(std::string_view text) const;

 private:
  std::vector<std::shared_ptr<void>>
      patterns_;  // compiled expressions; the library's header stays in the .cpp
};

/// The pre-tokenizer whose last expression a tokenizer.json spells as `regex`, or "".
std::string pre_tokenizer_of_regex(std::string_view regex);

}  // namespace tl
