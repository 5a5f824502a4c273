// The program `tl`: subcommands, signals, and how failures become messages and exit codes.
//   0    done
//   1    an error in a file, a program or a request ("tl: error: …", or diagnostics with source lines)
//   2    a wrong command line
//   3    `tl compare`, `tl audit` or `tl diagnose` found something wrong, and printed it
//   130  Ctrl-C
#include <fmt/format.h>

#include <CLI/CLI.hpp>
#include <algorithm>
#include <csignal>
#include <cstdio>
#include <new>
#include <string>
#include <string_view>
#include <system_error>
#include <utility>
#include <vector>

#include "base/error.h"
#include "base/file.h"
#include "base/interrupt.h"
#include "base/source.h"
#include "cli/commands.h"
#include "cli/output.h"
#include "cli/version.h"

namespace {

/// The first Ctrl-C asks running loops to stop; one more, before anybody has reacted, ends the program.
void on_interrupt(int) {
  if (!tl::interrupt_requested.exchange(true)) return;
  tl::remove_partial_files();
  std::_Exit(130);
}

/// Ends the program as the signal would, but leaves no half-written files.
void on_termination(int signal) {
  tl::remove_partial_files();
  std::signal(signal, SIG_DFL);
  std::raise(signal);
}

void install_signal_handlers() {
  struct sigaction action = {};
  action.sa_handler = on_interrupt;  // no SA_RESTART: a blocked read returns and sees the flag
  sigaction(SIGINT, &action, nullptr);
  std::signal(SIGPIPE, on_termination);  // `tl … | head` ends quietly, whatever our parent set
  for (const int signal : {SIGTERM, SIGHUP}) {
    struct sigaction inherited = {};
    sigaction(signal, nullptr, &inherited);
    if (inherited.sa_handler != SIG_IGN) std::signal(signal, on_termination);  // nohup stays nohup
  }
}

void report(const std::string& kind, const std::string& message) {
  std::fflush(stdout);
  const bool colour = tl::cli::use_colour(2);
  fmt::print(stderr, "tl: {}{}:{} {}\n", colour ? "\033[1;31m" : "", kind, colour ? "\033[0m" : "", message);
}

void report(const tl::ProgramError& error) {
  std::fflush(stdout);
  fmt::print(stderr, "{}\n", tl::cli::use_colour(2) ? error.coloured() : error.what());
}

/// "tl", or "tl generate" when the command line got as far as naming a subcommand.
std::string command_name(const CLI::App& app) {
  const std::vector<CLI::App*> chosen = app.get_subcommands();
  return chosen.empty() ? "tl" : "tl " + chosen.front()->get_name();
}

int usage_error(const CLI::App& app, const std::string& message) {
  report("error", message);
  fmt::print(stderr, "See '{} --help'.\n", command_name(app));
  return 2;
}

/// Names an unknown option or command, and the nearest one (the parser would only say that a command is
/// required).
void check_command(const CLI::App& app, const std::string& name) {
  if (name.starts_with('-') && app.get_option_no_throw(name) == nullptr) {
    throw tl::UsageError(fmt::format("there is no option {}", name));
  }
  if (name.empty() || name[0] == '-') return;
  std::vector<std::string> known;
  for (const CLI::App* command : app.get_subcommands(nullptr)) known.push_back(command->get_name());
  if (std::ranges::find(known, name) != known.end()) return;
  const std::string nearest = tl::nearest_name(name, known);
  const std::string hint = nearest.empty() ? "" : fmt::format("; did you mean '{}'?", nearest);
  throw tl::UsageError(fmt::format("there is no command '{}'{}", name, hint));
}

void add_commands(CLI::App& app) {
  using namespace tl::cli;
  app.set_help_flag("-h,--help", "Print this help and exit");
  app.set_version_flag("--version", version_text());
  app.require_subcommand(1);
  app.option_defaults()->always_capture_default();
  add_chat(app);
  add_generate(app);
  add_run(app);
  add_repl(app);
  add_check(app);
  add_trace(app);
  add_compare(app);
  add_audit(app);
  add_diagnose(app);
  add_test(app);
  add_doc(app);
  add_fmt(app);
  add_lsp(app);
  add_tokenize(app);
  add_logits(app);
  add_perplexity(app);
  add_bench(app);
  add_inspect(app);
  add_quantize(app);
  add_synth(app);
  add_pull(app);
  add_models(app);
  add_devices(app);
}

/// llama.cpp's short options of several letters, which the parser would read as one letter and its value.
const char* spelled_out(const char* argument) {
  constexpr std::pair<std::string_view, const char*> kNames[] = {
      {"-ctk", "--cache-type-k"}, {"-ctv", "--cache-type-v"}, {"-Cr", "--cpu-range"}};
  for (const auto& [name, option] : kNames)
    if (argument == name) return option;
  return argument;
}

int run(int argc, char** argv) {
  std::vector<const char*> arguments(argv, argv + argc);
  std::ranges::transform(arguments, arguments.begin(), spelled_out);
  CLI::App app("TensorLogic: models as programs one can read.", "tl");
  add_commands(app);
  try {
    if (argc == 1) {
      fmt::print(stderr, "{}", app.help());
      return 2;
    }
    check_command(app, argv[1]);
    app.parse(argc, arguments.data());
    tl::cli::flush_output();
    return 0;
  } catch (const CLI::Success& success) {  // --help, --version
    app.exit(success);
    tl::cli::flush_output();
    return 0;
  } catch (const CLI::RuntimeError& status) {  // a command that has said itself what is wrong
    tl::cli::flush_output();
    return status.get_exit_code();
  } catch (const CLI::ParseError& error) {
    return usage_error(app, error.what());
  } catch (const tl::UsageError& error) {
    return usage_error(app, error.what());
  }
}

}  // namespace

int main(int argc, char** argv) {
  install_signal_handlers();
  try {
    return run(argc, argv);
  } catch (const tl::cli::Found&) {
    tl::cli::flush_output();
    return 3;
  } catch (const tl::Interrupted&) {
    std::fflush(stdout);
    return 130;
  } catch (const tl::ProgramError& error) {
    report(error);
  } catch (const tl::Error& error) {
    report("error", error.what());
  } catch (const std::bad_alloc&) {
    report("error", "out of memory");
  } catch (const std::system_error& error) {  // the system refuses: a full disk under stdout, no more threads
    report("error", error.what());
  } catch (const std::exception& error) {
    report("internal error", error.what());
  }
  return 1;
}
