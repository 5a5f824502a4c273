// Token ids to text as they come, never showing half a character.
#pragma once

#include <cstdint>
#include <string>

#include "text/tokenizer.h"

namespace tl {

/// Length of the longest prefix of `bytes` that does not end within a UTF-8 character that more bytes could
/// complete.
size_t complete_utf8_prefix(std::string_view bytes);

/// `bytes` with every byte that is not part of valid UTF-8 replaced: one U+FFFD per maximal ill-formed part
/// (The Unicode Standard, section 3.9, "Substitution of Maximal Subparts").
std::string valid_utf8(std::string_view bytes);

/// Turns token ids into text piece by piece. What it returns is always whole, valid UTF-8: bytes of an
/// unfinished character are held back until they are complete; bytes that cannot become a character come out
/// as U+FFFD.
class StreamDecoder {
 public:
  /// `skip_special` leaves control tokens out. `at_text_start` removes the space that a llama vocabulary puts
  /// before a text; leave it false when continuing one.
  explicit StreamDecoder(Tokenizer tokenizer, bool skip_special = true, bool at_text_start = false);

  /// The text that became final by adding `id` (may be empty). Throws Error for an id out of range.
  std::string push(int32_t id);
  /// What is held back, with U+FFFD for the unfinished character; the decoder is empty afterwards.
  std::string flush();

 private:
  Tokenizer tokenizer_;
  bool skip_special_, strip_space_;
  std::string held_;
};

}  // namespace tl
