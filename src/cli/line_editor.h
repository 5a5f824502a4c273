// Lines from the user: with editing and history on a terminal, plainly from a pipe.
#pragma once

#include <functional>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

struct editline;
struct history;

namespace tl::cli {

/// What Tab offers for the line up to the cursor.
struct Completion {
  size_t begin = 0;                     ///< of the word that is being completed
  std::vector<std::string> candidates;  ///< whole words
};

struct LineEditorOptions {
  std::string history_file;  ///< lines are remembered there from run to run; "": they are not
  std::function<Completion(std::string_view)> complete;
};

/// Reads standard input line by line.
class LineEditor {
 public:
  /// `prompt` is shown on a terminal only.
  explicit LineEditor(std::string prompt, LineEditorOptions options = {});
  ~LineEditor();
  LineEditor(const LineEditor&) = delete;
  LineEditor& operator=(const LineEditor&) = delete;

  /// The next line without its end; a line that ends in a backslash goes on in the next. Nothing at the end
  /// of input. Throws Interrupted on Ctrl-C.
  std::optional<std::string> read();
  /// The next line as it is.
  std::optional<std::string> read_line();
  bool interactive() const { return editor_ != nullptr; }
  const std::string& prompt() const { return prompt_; }
  void set_prompt(std::string prompt) { prompt_ = std::move(prompt); }

 private:
  friend struct LineEditorCalls;
  std::optional<std::string> read_edited();
  std::optional<std::string> read_plain();
  /// Completes the word before the cursor, or lists what it could become. The result is one of libedit's
  /// codes.
  unsigned char complete();
  void load_history();
  void remember(const std::string& line);

  std::string prompt_;
  LineEditorOptions options_;
  editline* editor_ = nullptr;
  history* history_ = nullptr;
};

}  // namespace tl::cli
