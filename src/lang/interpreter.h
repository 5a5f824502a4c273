// Runs a checked program.
#pragma once

#include <memory>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "lang/ast.h"
#include "lang/native.h"
#include "lang/program.h"
#include "lang/value.h"

namespace tl::lang {

/// What a running program needs of the world around it. `library` derives from it and adds what its functions
/// need.
class Host {
 public:
  virtual ~Host() = default;
  /// print; by default to standard output.
  virtual void print(std::string_view text);
  /// A line from the user after a prompt, without its line end; by default from standard input.
  virtual std::string input(std::string_view prompt);
  /// Computes a node (and what it depends on). Throws Error where there is no way to.
  virtual Tensor evaluate(const graph::NodeRef& node) = 0;
  /// The number for graph::PolicyScope of what `with VALUE { … }` says, within the current one. Throws Error
  /// where the value says nothing of the kind.
  virtual uint16_t policy(const Value& value);
};

struct Limits {
  uint32_t call_depth = 10'000;
  uint64_t steps = 0;                     ///< loop iterations and calls; 0: no limit
  uint64_t elements = uint64_t{1} << 31;  ///< of one list, or bytes of one string
};

/// Runs functions of one program. Values of names are slots of frames, decided by the checker: nothing is
/// looked up by name while running. Failures are ProgramError with the place, a caret and the calls that led
/// there.
class Interpreter {
 public:
  /// Sets the program's globals. Throws ProgramError where the program has errors outside of its test blocks.
  Interpreter(std::shared_ptr<const Program> program, Host& host, Limits limits = {});
  ~Interpreter();
  Interpreter(const Interpreter&) = delete;

  /// Runs main { … } with `args` visible as the list of strings `args`. Throws Error if the program has none.
  void run_main(const std::vector<std::string>& args);
  void run_test(const ast::Function& test);
  /// Sets the globals of a module that the program has gained since; the value of its last statement.
  Value run_module(const LoadedModule& module);
  /// What a global of the program holds.
  const Value& global(const Symbol& symbol) const;
  /// Calls a function that the program defines or imports, as `forward(m, ids, cache)`.
  Value call(std::string_view function, std::span<const Value> arguments);
  /// Calls a function value.
  Value call(const Value& function, std::span<const Value> arguments);

  Host& host() const { return host_; }
  const Program& program() const { return *program_; }
  const Limits& limits() const { return limits_; }
  /// The content of a tensor value.
  Tensor evaluate(const graph::NodeRef& node) { return host_.evaluate(node); }
  /// Fails at a place of the program, with the calls that led there as notes.
  [[noreturn]] void fail(Span span, std::string message, std::string help = {}) const;
  /// As print shows a value; `quoted`: a string in quotes, as inside lists.
  std::string text(const Value& value, bool quoted = false);
  /// Whether a value counts as true in a condition: a bool, or a bool tensor of one element.
  bool truth(const Value& value, Span span);

 private:
  class Run;
  std::shared_ptr<const Program> program_;
  Host& host_;
  Limits limits_;
  std::unique_ptr<Run> run_;
};

}  // namespace tl::lang
