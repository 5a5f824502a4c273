// UTF-8: what is well-formed, and what to do with what is not.
#pragma once

#include <cstddef>
#include <string>
#include <string_view>

namespace tl {

/// One character read from a text: its code point and its length in bytes; length 0 where there is none.
struct Utf8Char {
  char32_t code = 0;
  size_t length = 0;
};

/// The well-formed character at byte `at`, or length 0 if the bytes there are ill-formed or the text ends.
Utf8Char utf8_at(std::string_view text, size_t at);

/// Appends the UTF-8 form of a Unicode scalar value; anything else appends U+FFFD.
void append_utf8(std::string& out, char32_t code);

/// Length of the longest prefix of `bytes` that does not end within a UTF-8 character that more bytes could
/// complete.
size_t complete_utf8_prefix(std::string_view bytes);

/// `bytes` with every byte that is not part of valid UTF-8 replaced: one U+FFFD per maximal ill-formed part
/// (The Unicode Standard, section 3.9, "Substitution of Maximal Subparts").
std::string valid_utf8(std::string_view bytes);

}  // namespace tl
