// tl diagnose MODEL|PROGRAM: which operation of which layer is wrong, and why.
#include "cli/diagnose.h"

#include <CLI/CLI.hpp>
#include <memory>

#include "cli/commands.h"
#include "cli/output.h"

namespace tl::cli {

namespace {

struct DiagnoseCommand {
  DiagnoseOptions what;
  std::string html;
  bool json = false, markdown = false;
};

void diagnose(const DiagnoseCommand& options) {
  const Diagnosis d = examine(options.what);
  if (!options.html.empty()) write_page(options.html, d);
  if (options.json)
    print_json_report(d);
  else if (options.markdown)
    print_markdown_report(d);
  else
    print_report(d);
  if (!d.is_healthy()) throw Found();
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
  command->add_option("--html", options->html, "Also write the report as one page with plots")
      ->option_text("FILE");
  command
      ->add_option("--bundle", options->what.bundle,
                   "Also write the failing operation by itself: its inputs, both results, and a program")
      ->option_text("DIR");
  add_model_options(*command, options->what.model);
  command->footer(
      "The program is held against the installed program of the model's architecture in float64, and with\n"
      "--reference also against another engine's trace.\n"
      "Exit status: 0 healthy, 3 a fault was found.");
  command->callback([options] { diagnose(*options); });
}

}  // namespace tl::cli
