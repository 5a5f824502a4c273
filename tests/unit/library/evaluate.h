// Evaluates expressions of the language with the built-in functions.
#pragma once

#include <memory>
#include <string>

#include "backend/backend.h"
#include "lang/interpreter.h"
#include "library/library.h"
#include "runtime/session.h"

namespace tl::test {

/// The language's own functions and the built-in ones; without models.
inline const lang::Library& builtins() {
  static const auto* library = [] {
    auto* all = new lang::Library;
    lang::add_core_functions(*all);
    add_tensor_functions(*all);
    add_neural_functions(*all);
    add_sampling_functions(*all);
    add_inspection_functions(*all);
    return all;
  }();
  return *library;
}

/// A backend to evaluate on. Output of print is collected.
class Evaluator : public lang::Host {
 public:
  explicit Evaluator(const Backend& backend)
      : session_(backend, &reference_backend(), SessionOptions{.n_threads = 1}) {}

  /// The value of an expression, or of `statements; expression`. Throws what the program throws.
  lang::Value value(const std::string& code) {
    const auto program = lang::Program::from_text("test.tl", "fn value() {\n" + code + "\n}\n", builtins());
    program->require_ok();
    interpreter_ = std::make_unique<lang::Interpreter>(program, *this);
    return interpreter_->call("value", {});
  }
  /// What print shows for it.
  std::string text(const std::string& code) {
    const lang::Value v = value(code);
    return interpreter_->text(v);
  }

  void print(std::string_view text) override { output += text; }
  Tensor evaluate(const graph::NodeRef& node) override { return session_.value(node); }
  std::string output;

 private:
  Session session_;
  std::unique_ptr<lang::Interpreter> interpreter_;
};

}  // namespace tl::test
