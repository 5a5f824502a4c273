#include "text/stream.h"

#include <utility>

#include "text/utf8.h"

namespace tl {

StreamDecoder::StreamDecoder(Tokenizer tokenizer, bool skip_special, bool at_text_start)
    : tokenizer_(std::move(tokenizer)),
      skip_special_(skip_special),
      strip_space_(at_text_start && tokenizer_.add_space_prefix()) {}

std::string StreamDecoder::push(int32_t id) {
  std::string_view piece = tokenizer_.piece(id);
  if (skip_special_ && tokenizer_.is_control(id)) return "";
  if (strip_space_ && piece.starts_with(' ')) piece.remove_prefix(1);
  strip_space_ = false;
  held_ += piece;
  const size_t complete = complete_utf8_prefix(held_);
  std::string text = valid_utf8(std::string_view(held_).substr(0, complete));
  held_.erase(0, complete);
  return text;
}

std::string StreamDecoder::flush() { return valid_utf8(std::exchange(held_, {})); }

}  // namespace tl
