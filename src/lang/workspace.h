// A program that is entered piece by piece, as in `tl repl`.
#pragma once

#include <memory>
#include <string>
#include <string_view>
#include <vector>

#include "lang/interpreter.h"
#include "lang/program.h"

namespace tl::lang {

/// Runs texts one after the other: statements, functions, equations and imports, each seeing what those
/// before it left. What failed leaves its names as they were, and the work goes on.
class Workspace {
 public:
  Workspace(const Library& library, Host& host, LoadOptions options);

  /// Checks and runs a text. The value of its last statement, if that is an expression; else void. Throws
  /// ProgramError; diagnostics that are none are left in remarks().
  Value run(const std::string& name, std::string text);
  /// Runs main { … } of the last text, if it has one.
  void run_main();

  /// What the last text was warned about.
  const std::vector<Diagnostic>& remarks() const { return program_->diagnostics(); }
  const Program& program() const { return *program_; }
  Interpreter& interpreter() { return *interpreter_; }

 private:
  std::shared_ptr<Program> program_;
  std::unique_ptr<Interpreter> interpreter_;
};

/// Whether a text stops in the middle of something, so that more lines belong to it: a bracket or comment is
/// open, or the last line ends in an operator.
bool is_unfinished(const std::string& text);
/// Whether it is inside brackets or a comment.
bool is_enclosed(const std::string& text);

}  // namespace tl::lang
