// tl tokenize MODEL TEXT: the token ids of a text.
#include <fmt/format.h>

#include <CLI/CLI.hpp>
#include <memory>
#include <nlohmann/json.hpp>
#include <optional>

#include "cli/commands.h"
#include "cli/input.h"
#include "cli/json.h"
#include "formats/registry.h"
#include "llm/vocabulary.h"

namespace tl::cli {

namespace {

struct TokenizeOptions {
  std::string model, file;
  std::optional<std::string> text;
  bool json = false, ids_only = false, add_special = true, parse_special = true;
};

void tokenize(const TokenizeOptions& options) {
  const Tokenizer tokenizer = model_tokenizer(*open_model_file(resolve_model(options.model)));
  const std::string text =
      options.text ? *options.text : read_input(options.file.empty() ? "-" : options.file);
  const std::vector<int32_t> ids = tokenizer.encode(text, options.add_special, options.parse_special);
  if (options.json) {
    nlohmann::ordered_json j;
    j["ids"] = ids;
    j["tokens"] = nlohmann::ordered_json::array();
    for (const int32_t id : ids) j["tokens"].push_back(tokenizer.piece(id));
    print_json(j);
  } else if (options.ids_only) {
    fmt::print("{}\n", fmt::join(ids, ","));
  } else {
    for (const int32_t id : ids) fmt::print("{:>7}  {}\n", id, escaped(tokenizer.piece(id)));
  }
}

}  // namespace

void add_tokenize(CLI::App& app) {
  auto options = std::make_shared<TokenizeOptions>();
  CLI::App* command = app.add_subcommand("tokenize", "Print the token ids of a text");
  command->add_option("MODEL", options->model, "A model file, or a name from `tl models`")->required();
  auto* text = command->add_option("TEXT", options->text, "The text; without it, standard input");
  command->add_option("-f,--file", options->file, "Read the text from a file; - is standard input")
      ->option_text("FILE")
      ->excludes(text);
  auto* json = command->add_flag("--json", options->json, "Print JSON");
  command->add_flag("--ids", options->ids_only, "Print only the ids, separated by commas")->excludes(json);
  command->add_flag_callback(
      "--no-special", [options] { options->add_special = false; }, "Do not add BOS or EOS");
  command->add_flag_callback(
      "--no-parse-special", [options] { options->parse_special = false; },
      "Take control tokens in the text (\"<|im_start|>\") for plain text");
  command->callback([options] { tokenize(*options); });
}

}  // namespace tl::cli
