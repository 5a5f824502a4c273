// tl pull NAME|URL|hf:USER/REPO/FILE: fetch a model into the cache.
#include "cli/pull.h"

#include <fmt/format.h>

#include <CLI/CLI.hpp>
#include <memory>

#include "base/interrupt.h"
#include "cli/commands.h"
#include "cli/output.h"
#include "cli/progress.h"
#include "formats/registry.h"

namespace tl::cli {

std::string pull(const std::string& what) {
  Progress bar("Fetching " + what, Progress::Unit::bytes);
  return pull_model(what, [&](const PullProgress& progress) {
    if (!progress.message.empty()) say(progress.message);
    bar.update(progress.done_bytes, progress.total_bytes);
    return !interrupt_requested.load();
  });
}

void add_pull(CLI::App& app) {
  auto what = std::make_shared<std::string>();
  CLI::App* command = app.add_subcommand("pull", "Fetch a model into the model cache and print its path");
  command->add_option("MODEL", *what, "A name from `tl models`, a URL, or hf:USER/REPO/FILE")->required();
  command->callback([what] { fmt::print("{}\n", pull(*what)); });
}

}  // namespace tl::cli
