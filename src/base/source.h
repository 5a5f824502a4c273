// Program text, places in it, and diagnostics that point at them.
#pragma once

#include <cstdint>
#include <memory>
#include <string>
#include <string_view>
#include <vector>

#include "base/error.h"

namespace tl {

/// One program text with its name (a path, or "<repl>"). Immutable; spans refer into it by byte offset.
class Source {
 public:
  Source(std::string name, std::string text);
  const std::string& name() const { return name_; }
  std::string_view text() const { return text_; }
  struct Position {
    int line;    ///< from 1
    int column;  ///< from 1, in Unicode code points
  };
  /// The line and column of a byte offset (clamped to the text).
  Position position(uint32_t offset) const;
  /// The text of line `line` (from 1) without its line end.
  std::string_view line(int line) const;

 private:
  std::string name_, text_;
  std::vector<uint32_t> line_starts_;
};

/// A half-open byte range of a source. A default span points nowhere.
struct Span {
  const Source* source = nullptr;
  uint32_t begin = 0, end = 0;
  explicit operator bool() const { return source != nullptr; }
};

/// A span over both.
Span join(Span a, Span b);

enum class Severity { error, warning, note };

/// One message about a place in a program, with further places (notes) and a remedy (help).
struct Diagnostic {
  struct Note {
    Span span;
    std::string message;
  };
  Severity severity = Severity::error;
  Span span;
  std::string message;
  std::vector<Note> notes = {};
  std::string help = {};
};

/// "FILE:LINE:COLUMN: error: MESSAGE", the line, a caret line, then notes and "help: …". No trailing newline.
std::string render(const Diagnostic& diagnostic, bool colour = false);

/// A program is wrong, or failed while running; carries what to show. what() is the rendered text,
/// uncoloured.
class ProgramError : public Error {
 public:
  explicit ProgramError(std::vector<Diagnostic> diagnostics);
  /// The rendered text with terminal colours.
  const std::string& coloured() const { return coloured_; }
  /// Usable while the sources that their spans point into live; the texts above outlive them.
  const std::vector<Diagnostic>& diagnostics() const { return diagnostics_; }

 private:
  std::string coloured_;
  std::vector<Diagnostic> diagnostics_;
};

/// The candidate nearest to `name` by edit distance, or "" when none is near enough to be a likely slip.
std::string nearest_name(std::string_view name, const std::vector<std::string>& candidates);

}  // namespace tl
