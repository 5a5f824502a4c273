// Program text: lexed, parsed, formatted, checked, and run with little time and memory. Whatever the bytes,
// the outcome is a result or a diagnostic that can be rendered; what parses has one layout.
#include <cstddef>
#include <cstdint>
#include <string>

#include "backend/backend.h"
#include "lang/formatter.h"
#include "lang/interpreter.h"
#include "lang/lexer.h"
#include "library/library.h"
#include "runtime/session.h"

namespace {

class FuzzHost : public tl::lang::Host {
 public:
  FuzzHost() : session_(tl::reference_backend(), nullptr, one_thread()) {}
  void print(std::string_view) override {}
  std::string input(std::string_view) override { return "input"; }
  tl::Tensor evaluate(const tl::graph::NodeRef& node) override {
    if (node->shape().elements() > (1 << 16)) throw tl::Error("too large for a fuzzer");
    return session_.value(node);
  }

 private:
  static tl::SessionOptions one_thread() {
    tl::SessionOptions options;
    options.n_threads = 1;
    return options;
  }
  tl::Session session_;
};

/// Only functions without effects outside: no files, no environment.
const tl::lang::Library& library() {
  static const tl::lang::Library kLibrary = [] {
    tl::lang::Library out;
    tl::lang::add_core_functions(out);
    tl::add_tensor_functions(out);
    tl::add_neural_functions(out);
    return out;
  }();
  return kLibrary;
}

/// Formatting again changes nothing; that it leaves the program's tokens alone it checks itself.
void format(const std::string& text) {
  try {
    const tl::Source once("fuzz.tl", tl::lang::format_source({"fuzz.tl", text}));
    if (tl::lang::format_source(once) != once.text()) __builtin_trap();
  } catch (const tl::ProgramError&) {
  }
}

}  // namespace

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  const std::string text(reinterpret_cast<const char*>(data), size);
  format(text);
  if (text.find("write_text") != std::string::npos || text.find("import") != std::string::npos) return 0;
  try {
    const auto program = tl::lang::Program::from_text("fuzz.tl", text, library());
    for (const auto& diagnostic : program->diagnostics()) (void)tl::render(diagnostic);
    for (const auto* module : program->modules())
      for (const auto& [expression, known] : module->types)
        (void)tl::lang::describe_type(*module, *expression);
    if (!program->ok() || !program->main()) return 0;
    FuzzHost host;
    tl::lang::Limits limits;
    limits.steps = 2000;
    limits.elements = 1 << 12;
    limits.call_depth = 100;
    tl::lang::Interpreter interpreter(program, host, limits);
    interpreter.run_main({"a", "b"});
  } catch (const tl::Error&) {
  }
  return 0;
}
