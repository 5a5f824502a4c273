#include "text/utf8.h"

#include <utf8proc.h>

#include <algorithm>

namespace tl {
namespace {

/// How many bytes at `at` begin a well-formed character: its length if it is complete, fewer if it is cut off
/// by the end of the text or an ill-formed byte, at least 1. `wanted` receives the length the first byte
/// announces.
size_t well_formed_part(std::string_view text, size_t at, size_t& wanted) {
  const auto byte = [&](size_t i) { return static_cast<unsigned char>(text[at + i]); };
  const unsigned char first = byte(0);
  wanted = first < 0x80 ? 1 : first < 0xc2 ? 0 : first < 0xe0 ? 2 : first < 0xf0 ? 3 : first < 0xf5 ? 4 : 0;
  if (wanted < 2) return 1;
  // The second byte's range excludes overlong forms, surrogates and what lies above U+10FFFF (table 3-7).
  const unsigned char low = first == 0xe0 ? 0xa0 : first == 0xf0 ? 0x90 : 0x80;
  const unsigned char high = first == 0xed ? 0x9f : first == 0xf4 ? 0x8f : 0xbf;
  const size_t available = std::min(wanted, text.size() - at);
  size_t n = 1;
  while (n < available && byte(n) >= (n == 1 ? low : 0x80) && byte(n) <= (n == 1 ? high : 0xbf)) ++n;
  return n;
}

}  // namespace

Utf8Char utf8_at(std::string_view text, size_t at) {
  if (at >= text.size()) return {};
  utf8proc_int32_t code = 0;
  const auto* bytes = reinterpret_cast<const utf8proc_uint8_t*>(text.data()) + at;
  const auto available = static_cast<utf8proc_ssize_t>(std::min<size_t>(text.size() - at, 4));
  const utf8proc_ssize_t length = utf8proc_iterate(bytes, available, &code);
  if (length <= 0) return {};
  return {static_cast<char32_t>(code), static_cast<size_t>(length)};
}

void append_utf8(std::string& out, char32_t code) {
  const auto value = static_cast<utf8proc_int32_t>(code);
  utf8proc_uint8_t bytes[4];
  const bool valid = code <= 0x10ffff && utf8proc_codepoint_valid(value);
  const utf8proc_ssize_t length = utf8proc_encode_char(valid ? value : 0xfffd, bytes);
  out.append(reinterpret_cast<const char*>(bytes), static_cast<size_t>(length));
}

size_t complete_utf8_prefix(std::string_view bytes) {
  for (size_t at = bytes.size(); at > 0 && bytes.size() - at < 3;) {
    --at;
    if ((static_cast<unsigned char>(bytes[at]) & 0xc0) == 0x80) continue;
    size_t wanted = 0;
    const size_t part = well_formed_part(bytes, at, wanted);
    return part < wanted && at + part == bytes.size() ? at : bytes.size();
  }
  return bytes.size();
}

std::string valid_utf8(std::string_view bytes) {
  std::string out;
  out.reserve(bytes.size());
  for (size_t at = 0; at < bytes.size();) {
    size_t wanted = 0;
    const size_t part = well_formed_part(bytes, at, wanted);
    if (part == wanted) {
      out += bytes.substr(at, part);
    } else {
      out += "\xef\xbf\xbd";
    }
    at += part;
  }
  return out;
}

}  // namespace tl
