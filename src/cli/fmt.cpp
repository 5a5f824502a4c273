// tl fmt FILE…: one layout for every program.
#include <fmt/format.h>

#include <CLI/CLI.hpp>
#include <algorithm>
#include <filesystem>
#include <memory>

#include "base/file.h"
#include "base/source.h"
#include "cli/commands.h"
#include "cli/input.h"
#include "cli/output.h"
#include "lang/formatter.h"

namespace tl::cli {

namespace {

namespace fs = std::filesystem;

struct FmtOptions {
  std::vector<std::string> paths;
  bool check = false;
};

/// The files to format: a folder stands for the programs in it and in its folders.
std::vector<std::string> programs_of(const std::vector<std::string>& paths) {
  std::vector<std::string> files;
  for (const std::string& path : paths) {
    if (!fs::is_directory(path)) {
      files.push_back(path);
      continue;
    }
    const auto first = files.size();
    for (const auto& entry : fs::recursive_directory_iterator(path))
      if (entry.is_regular_file() && entry.path().extension() == ".tl")
        files.push_back(entry.path().string());
    std::sort(files.begin() + static_cast<std::ptrdiff_t>(first), files.end());
    if (files.size() == first) throw Error(fmt::format("{}: there is no .tl file in this folder", path));
  }
  return files;
}

/// Writes through links, and keeps the permissions.
void replace(const std::string& path, const std::string& text) {
  const fs::path target = fs::canonical(path);
  const fs::perms permissions = fs::status(target).permissions();
  AtomicFile file(target.string());
  file.write(text);
  file.commit();
  fs::permissions(target, permissions);
}

/// Formats one file, or standard input to standard output; whether its layout was another.
bool format(const std::string& path, bool check) {
  const bool is_input = path == "-";
  const Source source(is_input ? "<stdin>" : path, read_input(path));
  const std::string text = lang::format_source(source);
  const bool differs = text != source.text();
  if (is_input && !check) {
    fmt::print("{}", text);
    return differs;
  }
  if (differs) fmt::print("{}\n", path);
  if (differs && !check) replace(path, text);
  return differs;
}

void format_all(const FmtOptions& options) {
  size_t n_different = 0, n_failed = 0;
  for (const std::string& path : programs_of(options.paths)) {
    try {
      if (format(path, options.check)) ++n_different;
    } catch (const ProgramError& e) {
      std::fflush(stdout);
      fmt::print(stderr, "{}\n", use_colour(2) ? e.coloured() : e.what());
      ++n_failed;
    }
  }
  const auto files = [](size_t n) { return fmt::format("{} file{}", n, n == 1 ? "" : "s"); };
  if (n_failed > 0) throw Error(fmt::format("{} left as written: not valid programs", files(n_failed)));
  if (options.check && n_different > 0)
    throw Error(fmt::format("{} not in the canonical layout: tl fmt writes it", files(n_different)));
}

}  // namespace

void add_fmt(CLI::App& app) {
  auto options = std::make_shared<FmtOptions>();
  CLI::App* command = app.add_subcommand("fmt", "Give programs their canonical layout");
  command->add_option("FILE", options->paths, "Programs, folders of them, or - (standard input to output)")
      ->required();
  command->add_flag("--check", options->check,
                    "Write nothing: list the files that differ, and fail if any does");
  command->callback([options] { format_all(*options); });
}

}  // namespace tl::cli
