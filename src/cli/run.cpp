// tl run FILE [ARGS]: run a program.
#include <fmt/format.h>

#include <CLI/CLI.hpp>
#include <memory>

#include "base/source.h"
#include "cli/commands.h"
#include "cli/output.h"
#include "cli/profile.h"
#include "cli/session.h"
#include "lang/interpreter.h"
#include "lang/program.h"
#include "library/model_functions.h"

namespace tl::cli {

namespace {

/// Warnings and notes; errors are thrown by require_ok().
void print_remarks(const lang::Program& program) {
  for (const Diagnostic& d : program.diagnostics()) {
    if (d.severity == Severity::warning) fmt::print(stderr, "{}\n", render(d, use_colour(2)));
  }
}

void run(const ModelOptions& options, const ProfileOptions& profile, const std::vector<std::string>& words) {
  if (words.empty()) throw UsageError("FILE is required: the program to run");
  if (words[0].starts_with("-")) throw UsageError(fmt::format("there is no option {}", words[0]));
  const auto session = make_session(options);
  RuntimeHost host(*session, host_options(options));
  const auto program = lang::Program::load(words[0], standard_library(), {{host.options().programs_dir}});
  print_remarks(*program);
  program->require_ok();
  lang::Interpreter interpreter(program, host);
  Profiler profiler(profile, *session);
  {
    const auto timed = profiler.program();
    interpreter.run_main({words.begin() + 1, words.end()});
  }
  profiler.report();
}

}  // namespace

void add_run(CLI::App& app) {
  auto options = std::make_shared<ModelOptions>();
  auto profile = std::make_shared<ProfileOptions>();
  CLI::App* command =
      app.add_subcommand("run", "Run a program; what follows FILE is its own: the list `args`");
  command->prefix_command();  // FILE and all that follows it are left to us: options after FILE are the
                              // program's
  command->footer("FILE [ARGS...] stand after the options.");
  add_model_options(*command, *options);
  add_profile_options(*command, *profile);
  command->callback([options, profile, command] { run(*options, *profile, command->remaining()); });
}

}  // namespace tl::cli
