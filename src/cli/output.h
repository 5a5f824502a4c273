// What the commands print with: terminal and colour detection, sizes for people, JSON strings, warnings.
#pragma once

#include <cstdint>
#include <string>
#include <string_view>

namespace tl::cli {

/// Whether standard output (1) or standard error (2) is a terminal.
bool is_terminal(int descriptor);

/// Whether to colour what goes to the descriptor: a terminal, NO_COLOR (https://no-color.org) unset or empty,
/// TERM not "dumb".
bool use_colour(int descriptor);

/// Thrown by commands that judge, once they have printed what is wrong: ends the program with status 3.
struct Found {};

/// 1536 -> "1.50 KiB".
std::string format_size(uint64_t bytes);

/// Prints "tl: TEXT" on standard error.
void say(std::string_view text);

/// Flushes standard output. Throws Error if what was written could not be (a full disk); a closed pipe ends
/// the program quietly.
void flush_output();

}  // namespace tl::cli
