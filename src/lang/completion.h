// What could be written at a place of a program text.
#pragma once

#include <cstdint>
#include <string>
#include <string_view>
#include <vector>

namespace tl::lang {

/// The word that ends at a place, as far as it has been written.
struct CompletionPlace {
  uint32_t begin = 0;  ///< where the word starts
  std::string prefix;  ///< its beginning, may be empty
  std::string object;  ///< for a member: what stands left of the point, a path like `m.blk[0]`
  bool is_member = false;
  bool is_name = false;  ///< whether a name can stand here: not in a comment, a string or a number
};
CompletionPlace completion_place(std::string_view text, uint32_t offset);

/// Those of the candidates that start with the prefix, sorted, each once.
std::vector<std::string> matching(std::vector<std::string> candidates, std::string_view prefix);

/// The element types, and the words that only some places give a meaning.
std::vector<std::string> words_of_the_language();

}  // namespace tl::lang
