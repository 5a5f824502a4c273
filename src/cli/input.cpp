#include "cli/input.h"

#include <fmt/format.h>
#include <unistd.h>

#include <array>
#include <cerrno>
#include <cstdio>
#include <cstring>

#include "base/file.h"
#include "base/interrupt.h"
#include "cli/output.h"
#include "text/utf8.h"

namespace tl::cli {

namespace {

std::string read_standard_input() {
  if (is_terminal(STDIN_FILENO)) say("reading standard input; Ctrl-D on a line of its own ends it");
  std::string text;
  std::array<char, 1 << 16> buffer;
  while (true) {
    const ssize_t n = ::read(STDIN_FILENO, buffer.data(), buffer.size());
    if (n == 0) return text;
    if (n > 0) {
      text.append(buffer.data(), static_cast<size_t>(n));
    } else {
      check_interrupt();
      if (errno != EINTR) throw Error(fmt::format("standard input: {}", std::strerror(errno)));
    }
  }
}

}  // namespace

std::string read_input(const std::string& path) {
  return path == "-" ? read_standard_input() : read_file(path);
}

std::vector<int32_t> prompt_ids(const PromptOptions& options, const Tokenizer& tokenizer) {
  if (options.tokens) {
    for (const int32_t id : *options.tokens) {
      if (id >= tokenizer.vocab_size()) {
        throw UsageError(
            fmt::format("--tokens: {} is no token of this vocabulary of {}", id, tokenizer.vocab_size()));
      }
    }
    return *options.tokens;
  }
  const std::string text =
      options.text ? *options.text : read_input(options.file.empty() ? "-" : options.file);
  return tokenizer.encode(text, true, true);
}

std::string escaped(std::string_view bytes) {
  const bool whole = valid_utf8(bytes) == bytes;  // a token may be a part of a character
  std::string out = "'";
  for (const char c : bytes) {
    const auto byte = static_cast<unsigned char>(c);
    if (c == '\n') {
      out += "\\n";
    } else if (c == '\t') {
      out += "\\t";
    } else if (c == '\r') {
      out += "\\r";
    } else if (byte < 0x20 || byte == 0x7f || (byte >= 0x80 && !whole)) {
      out += fmt::format("\\x{:02x}", byte);
    } else {
      out += c;
    }
  }
  return out + "'";
}

void print_prompt(const std::vector<int32_t>& ids, const Tokenizer& tokenizer) {
  fmt::print(stderr, "prompt: {} tokens\n", ids.size());
  for (const int32_t id : ids) fmt::print(stderr, "{:>7}  {}\n", id, escaped(tokenizer.piece(id)));
}

}  // namespace tl::cli
