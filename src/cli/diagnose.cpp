// tl diagnose MODEL|PROGRAM: which operation of which layer is wrong, and why.
#include "cli/diagnose.h"

#include <fmt/format.h>

#include <CLI/CLI.hpp>
#include <iterator>
#include <memory>
#include <sstream>

#include "base/error.h"
#include "cli/commands.h"
#include "cli/input.h"
#include "cli/output.h"
#include "inspect/plant.h"

namespace tl::cli {

namespace {

struct DiagnoseCommand {
  DiagnoseOptions what;
  std::string html, plant_each;
  bool json = false, markdown = false;
};

/// The plants of each line of a file: "rope-pairing@5 rms-eps@0". Throws Error naming the line of what is no
/// fault.
std::vector<std::vector<std::string>> plants_in(const std::string& path) {
  const std::string name = path == "-" ? "standard input" : path;
  std::istringstream text(read_input(path));
  std::vector<std::vector<std::string>> lines;
  for (std::string line; std::getline(text, line);) {
    std::istringstream words(line);
    lines.emplace_back(std::istream_iterator<std::string>(words), std::istream_iterator<std::string>());
    for (const std::string& plant : lines.back()) try {
        inspect::parse_plant(plant);
      } catch (const UsageError& e) {
        throw Error(fmt::format("{}:{}: {}", name, lines.size(), e.what()));
      }
  }
  if (lines.empty())
    throw Error(fmt::format("{}: no line, so nothing to diagnose; an empty line puts nothing in", name));
  return lines;
}

void show(const Diagnosis& d, const DiagnoseCommand& options) {
  const bool one_of_many = !options.plant_each.empty();
  if (one_of_many && !options.json)
    fmt::print("\nPlanted: {}\n\n",
               d.planted.empty() ? "nothing" : fmt::to_string(fmt::join(d.planted, " ")));
  if (options.json)
    print_json_report(d, one_of_many);
  else if (options.markdown)
    print_markdown_report(d);
  else
    print_report(d);
  if (one_of_many) flush_output();  // whoever reads can go on with it
}

void diagnose(const DiagnoseCommand& options) {
  std::vector<std::vector<std::string>> plants{options.what.model.plant};
  if (!options.plant_each.empty()) plants = plants_in(options.plant_each);
  Examiner examiner(options.what);
  bool healthy = true;
  for (const std::vector<std::string>& plant : plants) {
    const Diagnosis d = examiner.examine(plant);
    if (!options.html.empty()) write_page(options.html, d);
    show(d, options);
    healthy = healthy && d.is_healthy();
  }
  if (!healthy) throw Found();
}

}  // namespace

void add_diagnose(CLI::App& app) {
  auto options = std::make_shared<DiagnoseCommand>();
  CLI::App* command =
      app.add_subcommand("diagnose", "Find the layer, the operation and the name of a numerical fault");
  command
      ->add_option("MODEL|PROGRAM", options->what.what,
                   "A model (a file, or a name from `tl models`), or a program (.tl): with forward(m, ids, "
                   "cache), or with a "
                   "main that computes logits")
      ->required();
  command->add_option("ARGS", options->what.args, "The list `args` of the program's main, which is then run");
  command->add_option("--model", options->what.model.model, "The model that the program runs")
      ->option_text("MODEL");
  add_prompt_options(*command, options->what.prompt);
  command
      ->add_option("--depths", options->what.depths,
                   "Numbers of layers after which to show what the model would say: 0,1,2,10,22")
      ->option_text("LIST");
  command
      ->add_option("--reference", options->what.reference,
                   "A trace (.tlt) of llama.cpp or Hugging Face on the same tokens; without a prompt its own")
      ->check(CLI::ExistingFile)
      ->option_text("TRACE");
  command->add_flag("--precision", options->what.precision,
                    "Also run the model in other precisions, and parts of it in float64 (64 runs and more)");
  command->add_flag("--json", options->json, "Print JSON");
  command->add_flag("--markdown", options->markdown, "Print a report in Markdown")->excludes("--json");
  CLI::Option* html =
      command->add_option("--html", options->html, "Also write the report as one page with plots")
          ->option_text("FILE");
  CLI::Option* bundle =
      command
          ->add_option("--bundle", options->what.bundle,
                       "Also write the failing operation by itself: its inputs, both results, and a program")
          ->option_text("DIR");
  add_model_options(*command, options->what.model);
  command
      ->add_option(
          "--plant-each", options->plant_each,
          "Diagnose once with the faults of each line of FILE put in, in the place of --plant; an empty "
          "line puts in none. What they do not touch is computed once. JSON then takes one line each")
      ->option_text("FILE")
      ->excludes("--plant")
      ->excludes(html)
      ->excludes(bundle);
  command->footer(
      "The program is held against the installed program of the model's architecture in float64, and with\n"
      "--reference also against another engine's trace.\n"
      "Exit status: 0 healthy, 3 a fault was found.");
  command->callback([options] { diagnose(*options); });
}

}  // namespace tl::cli
