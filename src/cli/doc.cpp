// tl doc [NAME]: the pages of the functions that programs can call.
#include <fmt/format.h>
#include <sys/ioctl.h>
#include <unistd.h>

#include <CLI/CLI.hpp>
#include <algorithm>
#include <memory>
#include <nlohmann/json.hpp>

#include "base/source.h"
#include "cli/commands.h"
#include "cli/doc_page.h"
#include "cli/json.h"
#include "cli/output.h"
#include "library/model_functions.h"

namespace tl::cli {

namespace {

struct DocOptions {
  std::string name;
  bool json = false;
  bool markdown = false;
};

/// Columns of the terminal, at most 100; 80 where there is none.
size_t output_width() {
  winsize size = {};
  if (!is_terminal(1) || ::ioctl(STDOUT_FILENO, TIOCGWINSZ, &size) != 0 || size.ws_col < 20) return 80;
  return std::min<size_t>(size.ws_col, 100);
}

using Functions = std::vector<const lang::NativeFunction*>;

/// The page with that name. Throws Error with the nearest names.
const lang::NativeFunction& find(const std::string& name) {
  const lang::Library& library = standard_library();
  if (const lang::NativeFunction* f = library.find(name)) return *f;
  const std::vector<std::string> near = nearest_pages(name, library);
  throw Error(fmt::format("there is no function '{}'{}; `tl doc` lists all", name,
                          near.empty() ? "" : fmt::format("; did you mean {}?", fmt::join(near, ", "))));
}

void show(const DocOptions& options) {
  const lang::Library& library = standard_library();
  const Functions pages = options.name.empty() ? library.functions() : Functions{&find(options.name)};
  const PageStyle style{output_width(), use_colour(1)};
  if (options.json) {
    nlohmann::ordered_json all = nlohmann::ordered_json::array();
    for (const lang::NativeFunction* f : pages) all.push_back(json_page(*f));
    print_json(options.name.empty() ? all : all[0]);
  } else if (options.markdown) {
    fmt::print("{}", options.name.empty() ? markdown_reference(pages) : markdown_page(*pages[0]));
  } else {
    fmt::print("{}", options.name.empty() ? text_list(pages, style) : text_page(*pages[0], style));
  }
}

}  // namespace

void print_page(const std::string& name) {
  fmt::print("{}", text_page(find(name), PageStyle{output_width(), use_colour(1)}));
}

void add_doc(CLI::App& app) {
  auto options = std::make_shared<DocOptions>();
  CLI::App* command = app.add_subcommand("doc", "Show what the built-in functions do");
  command->add_option("NAME", options->name, "A function; without it all are listed");
  auto* json = command->add_flag("--json", options->json, "Print JSON");
  command->add_flag("--markdown", options->markdown, "Print Markdown; without NAME the whole reference")
      ->excludes(json);
  command->callback([options] { show(*options); });
}

}  // namespace tl::cli
