#include "lang/run_program.h"

#include <algorithm>
#include <filesystem>

#include "backend/backend.h"
#include "lang/interpreter.h"
#include "library/host.h"
#include "library/model_functions.h"
#include "runtime/session.h"

namespace tl::test {

namespace {

class CapturingHost : public RuntimeHost {
 public:
  explicit CapturingHost(Session& session) : RuntimeHost(session, {}) {}
  void print(std::string_view text) override { output += text; }
  std::string input(std::string_view) override { return ""; }
  std::string output;
};

}  // namespace

ProgramRun run_program(const std::string& path, const std::vector<std::string>& args) {
  SessionOptions options;
  options.n_threads = 1;
  Session session(reference_backend(), nullptr, options);
  CapturingHost host(session);
  ProgramRun run;
  try {
    const auto program = lang::Program::load(path, standard_library());
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
