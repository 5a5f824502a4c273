// tl test FILE|DIR…: runs the tests that programs hold.
#include <fmt/format.h>

#include <CLI/CLI.hpp>
#include <algorithm>
#include <filesystem>
#include <memory>
#include <nlohmann/json.hpp>

#include "cli/commands.h"
#include "cli/json.h"
#include "cli/output.h"
#include "cli/session.h"
#include "library/testing.h"

namespace tl::cli {

namespace {

struct TestOptions {
  std::vector<std::string> paths;
  std::string filter;
  bool json = false;
  bool verbose = false;
  ModelOptions run;
};

/// "FILE:LINE: NAME: MESSAGE", then the details, set in.
void print_failure(const TestResult& result) {
  const bool colour = use_colour(1);
  const auto paint = [&](const char* code, const std::string& text) {
    return colour ? fmt::format("\033[{}m{}\033[0m", code, text) : text;
  };
  fmt::print("{}: {}: {}\n", paint("1", fmt::format("{}:{}", result.file, result.line)), result.name,
             paint("1;31", result.message));
  for (size_t begin = 0; begin < result.details.size();) {
    const size_t end = std::min(result.details.find('\n', begin), result.details.size());
    const std::string line = result.details.substr(begin, end - begin);
    const char* code = line.starts_with('-') ? "31" : line.starts_with('+') ? "32" : "0";
    fmt::print("  {}\n", paint(code, line));
    begin = end + 1;
  }
}

void print_results(const std::vector<TestResult>& results, size_t failed, bool verbose) {
  for (const TestResult& r : results) {
    if (!r.passed)
      print_failure(r);
    else if (verbose)
      fmt::print("{}:{}: {}: passed\n", r.file, r.line, r.name);
  }
  fmt::print("{} passed, {} failed\n", results.size() - failed, failed);
}

void print_results_json(const std::vector<TestResult>& results, size_t failed) {
  nlohmann::ordered_json tests = nlohmann::ordered_json::array();
  for (const TestResult& r : results) {
    nlohmann::ordered_json test = {
        {"file", r.file}, {"line", r.line}, {"name", r.name}, {"passed", r.passed}};
    if (!r.passed) {
      test["message"] = r.message;
      test["details"] = r.details;
    }
    tests.push_back(std::move(test));
  }
  print_json({{"passed", results.size() - failed}, {"failed", failed}, {"tests", std::move(tests)}});
}

void run(const TestOptions& options) {
  const auto session = make_session(options.run);
  HostOptions host = host_options(options.run);  // tests run in the folders of their files
  host.programs_dir = std::filesystem::absolute(host.programs_dir).string();
  if (!host.program.empty()) host.program = std::filesystem::absolute(host.program).string();
  std::vector<TestResult> results;
  for (const std::string& path : options.paths)
    for (const std::string& file : program_files(path))
      for (TestResult& r : run_tests(file, *session, host, options.filter)) results.push_back(std::move(r));
  if (results.empty())
    throw Error(
        fmt::format("no tests{}: a test is a block test \"name\" {{ … }}, or a program with comments "
                    "// expect: …",
                    options.filter.empty() ? "" : fmt::format(" match '{}'", options.filter)));
  const auto failed = static_cast<size_t>(std::ranges::count(results, false, &TestResult::passed));
  options.json ? print_results_json(results, failed) : print_results(results, failed, options.verbose);
  if (failed > 0) throw CLI::RuntimeError(1);
}

}  // namespace

void add_test(CLI::App& app) {
  auto options = std::make_shared<TestOptions>();
  CLI::App* command = app.add_subcommand("test", "Run the tests in programs");
  command->add_option("PATH", options->paths, "Programs, or folders of them")->required();
  command->add_option("--filter", options->filter, "Only tests whose \"FILE: NAME\" contains the text")
      ->option_text("TEXT");
  command->add_flag("--json", options->json, "Print JSON");
  command->add_flag("-v,--verbose", options->verbose, "Name the tests that passed, too");
  add_model_options(*command, options->run);
  command->callback([options] { run(*options); });
}

}  // namespace tl::cli
