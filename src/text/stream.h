// Token ids to text as they come, never showing half a character.
#pragma once

#include <cstdint>
#include <string>

#include "text/tokenizer.h"

namespace tl {

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
