// Text that comes in, and how tokens are shown.
#pragma once

#include <string>
#include <string_view>
#include <vector>

#include "cli/options.h"
#include "text/tokenizer.h"

namespace tl::cli {

/// The content of a file, or of standard input for "-". Throws Error where it cannot be read.
std::string read_input(const std::string& path);

/// The ids of a prompt: its --tokens as given, else its text (or file, or standard input) with the BOS that
/// the model's metadata asks for. Control tokens may be written in the text. Throws UsageError for ids
/// outside the vocabulary.
std::vector<int32_t> prompt_ids(const PromptOptions& options, const Tokenizer& tokenizer);

/// The bytes of a token in quotes, line ends and what is no printable UTF-8 escaped.
std::string escaped(std::string_view bytes);

/// One line per token, on standard error: its id and its text (--verbose-prompt).
void print_prompt(const std::vector<int32_t>& ids, const Tokenizer& tokenizer);

}  // namespace tl::cli
