// Lines from the user: with editing and history on a terminal, plainly from a pipe.
#pragma once

#include <optional>
#include <string>

struct editline;
struct history;

namespace tl::cli {

/// Reads standard input line by line.
class LineEditor {
 public:
  /// `prompt` is shown on a terminal only.
  explicit LineEditor(std::string prompt);
  ~LineEditor();
  LineEditor(const LineEditor&) = delete;
  LineEditor& operator=(const LineEditor&) = delete;

  /// The next line without its end; a line that ends in a backslash goes on in the next. Nothing at the end
  /// of input. Throws Interrupted on Ctrl-C.
  std::optional<std::string> read();
  bool interactive() const { return editor_ != nullptr; }
  const std::string& prompt() const { return prompt_; }

 private:
  std::optional<std::string> read_edited();
  std::optional<std::string> read_plain();

  std::string prompt_;
  editline* editor_ = nullptr;
  history* history_ = nullptr;
};

}  // namespace tl::cli
