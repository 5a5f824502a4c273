// Errors that reach a user, and the check for bugs of ours.
#pragma once

#include <cstdint>
#include <optional>
#include <stdexcept>
#include <string>

namespace tl {

/// Something outside this program is wrong: a file, an argument, a request. The message is complete and meant
/// for the user: it names the file, the place, what was found and what to do. Commands print it and exit
/// with 1.
class Error : public std::runtime_error {
 public:
  using std::runtime_error::runtime_error;
};

/// A defect in a file that is being read. `where` is the metadata key or tensor name (may be empty); `offset`
/// is the byte offset in the file, where one is known. what() is "FILE: [WHERE: ]MESSAGE [(at byte N)]".
class FileError : public Error {
 public:
  FileError(const std::string& file, const std::string& where, const std::string& message,
            std::optional<uint64_t> offset = std::nullopt);
};

/// The command line is wrong. Commands print it with a pointer to --help and exit with 2.
class UsageError : public Error {
 public:
  using Error::Error;
};

/// Ctrl-C during a computation: unwinds to whoever can go on (the chat prompt, the REPL) or ends with 130.
class Interrupted : public std::runtime_error {
 public:
  Interrupted() : std::runtime_error("interrupted") {}
};

namespace detail {
[[noreturn]] void check_failed(const char* condition, const char* file, int line, const std::string& message);
}

/// A violated invariant of this program: always a bug of ours, never of the input. Throws std::logic_error.
#define TL_CHECK(condition, message) \
  ((condition) ? (void)0 : ::tl::detail::check_failed(#condition, __FILE__, __LINE__, message))

}  // namespace tl
