// tl check FILE…: what can be said about programs without running them.
#include <fmt/format.h>

#include <CLI/CLI.hpp>
#include <memory>

#include "base/source.h"
#include "cli/commands.h"
#include "cli/options.h"
#include "cli/output.h"
#include "lang/program.h"
#include "library/model_functions.h"

namespace tl::cli {

namespace {

struct CheckOptions {
  std::vector<std::string> files;
  std::string models_dir;
};

/// Prints warnings and notes; throws the errors.
void check(const CheckOptions& options) {
  const std::vector<std::string> import_path = {model_programs_dir(options.models_dir)};
  std::vector<Diagnostic> errors;
  std::vector<std::shared_ptr<const lang::Program>> programs;  // diagnostics point into their sources
  for (const std::string& file : options.files) {
    programs.push_back(lang::Program::load(file, standard_library(), {import_path}));
    for (const Diagnostic& d : programs.back()->diagnostics()) {
      if (d.severity == Severity::error) {
        errors.push_back(d);
      } else {
        fmt::print("{}\n", render(d, use_colour(1)));
      }
    }
    if (programs.back()->ok()) fmt::print("{}: ok\n", file);
  }
  if (errors.empty()) return;
  std::fflush(stdout);
  for (const Diagnostic& d : errors) fmt::print(stderr, "{}\n", render(d, use_colour(2)));
  throw Error(fmt::format("{} error{} found", errors.size(), errors.size() == 1 ? "" : "s"));
}

}  // namespace

void add_check(CLI::App& app) {
  auto options = std::make_shared<CheckOptions>();
  CLI::App* command = app.add_subcommand("check", "Check programs without running them");
  command->add_option("FILE", options->files, "The programs")->required();
  command
      ->add_option("--models", options->models_dir,
                   "Where model programs are found; otherwise the installed ones")
      ->option_text("DIR");
  command->callback([options] { check(*options); });
}

}  // namespace tl::cli
