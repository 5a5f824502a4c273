#include "lang/run_program.h"

#include <algorithm>
#include <filesystem>

#include "backend/backend.h"
#include "lang/interpreter.h"
#include "runtime/session.h"

namespace tl::test {

namespace {

class CapturingHost : public lang::Host {
 public:
  CapturingHost() : session_(reference_backend(), nullptr, {}) {}
  void print(std::string_view text) override { output += text; }
  std::string input(std::string_view) override { return ""; }
  Tensor evaluate(const graph::NodeRef& node) override { return session_.value(node); }
  std::string output;

 private:
  Session session_;
};

}  // namespace

ProgramRun run_program(const std::string& path, const std::vector<std::string>& args) {
  lang::Library library;
  lang::add_core_functions(library);
  CapturingHost host;
  ProgramRun run;
  try {
    const auto program = lang::Program::load(path, library);
    program->require_ok();
    lang::Interpreter interpreter(program, host);
    if (program->main()) interpreter.run_main(args);
    for (const auto& test : program->tests()) interpreter.run_test(*test);
  } catch (const Error& e) {
    run.error = e.what();
  }
  run.output = host.output;
  return run;
}

std::vector<std::string> programs_in(const std::string& folder) {
  std::vector<std::string> names;
  for (const auto& entry : std::filesystem::directory_iterator(folder))
    if (entry.path().extension() == ".tl") names.push_back(entry.path().stem().string());
  std::sort(names.begin(), names.end());
  return names;
}

}  // namespace tl::test
