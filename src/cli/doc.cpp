// tl doc [NAME]: the pages about the built-in functions and the language.
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
#include "lang/foreign_names.h"
#include "lang/topics.h"
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

using Pages = std::vector<const lang::Page*>;

/// The functions, then the language.
Pages all_pages() {
  Pages pages;
  for (const lang::NativeFunction* f : standard_library().functions()) pages.push_back(f);
  for (const lang::Page& page : lang::topics()) pages.push_back(&page);
  return pages;
}

/// The page with that name. Throws Error with the nearest names.
const lang::Page& find(const std::string& name) {
  if (const lang::NativeFunction* f = standard_library().find(name)) return *f;
  if (const lang::Page* page = lang::find_topic(name)) return *page;
  const std::string here = lang::help_written_here(lang::written_here(name));
  if (!here.empty()) throw Error(fmt::format("there is no page '{}'; {}", name, here));
  std::vector<std::string> names = standard_library().names();
  for (const lang::Page& page : lang::topics()) names.push_back(page.name);
  const std::vector<std::string> near = nearest_names(name, names);
  throw Error(fmt::format("there is no page '{}'{}; `tl doc` lists all", name,
                          near.empty() ? "" : fmt::format("; did you mean {}?", fmt::join(near, ", "))));
}

void show(const DocOptions& options) {
  const Pages pages = options.name.empty() ? all_pages() : Pages{&find(options.name)};
  const PageStyle style{output_width(), use_colour(1)};
  if (options.json) {
    nlohmann::ordered_json all = nlohmann::ordered_json::array();
    for (const lang::Page* page : pages) all.push_back(json_page(*page));
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
  CLI::App* command =
      app.add_subcommand("doc", "Show the pages about the built-in functions and the language");
  command->add_option("NAME", options->name, "A function, statement or operator; without it all are listed");
  auto* json = command->add_flag("--json", options->json, "Print JSON");
  command->add_flag("--markdown", options->markdown, "Print Markdown; without NAME the whole reference")
      ->excludes(json);
  command->callback([options] { show(*options); });
}

}  // namespace tl::cli
