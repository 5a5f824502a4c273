// tl quantize IN OUT TYPE: a model file in another element type.
#include <fmt/format.h>

#include <CLI/CLI.hpp>
#include <filesystem>
#include <memory>

#include "base/interrupt.h"
#include "cli/commands.h"
#include "cli/options.h"
#include "cli/output.h"
#include "cli/progress.h"
#include "formats/quantize.h"
#include "formats/registry.h"

namespace tl::cli {

namespace {

struct QuantizeCommand {
  std::string in, out, type, output_type;
  QuantizeOptions options;
};

void quantize(QuantizeCommand command) {
  const DType type = parse_weight_type(command.type);
  if (!command.output_type.empty()) command.options.output_type = parse_weight_type(command.output_type);
  const std::string in = resolve_model(command.in);
  std::error_code status;
  if (std::filesystem::equivalent(in, command.out, status)) {
    throw UsageError(
        fmt::format("{} would be overwritten by its own quantised form: name another output", in));
  }
  const auto source = open_model_file(in);
  Progress bar("Quantising", Progress::Unit::bytes);
  const QuantizeResult result =
      quantize_model(*source, command.out, type, command.options, [&](const QuantizeProgress& progress) {
        check_interrupt();
        if (!progress.message.empty()) say(progress.message);
        bar.update(progress.done_bytes, progress.total_bytes);
      });
  fmt::print("{}: {} of weights, from {}\n", command.out, format_size(result.result_bytes),
             format_size(result.source_bytes));
}

}  // namespace

void add_quantize(CLI::App& app) {
  auto options = std::make_shared<QuantizeCommand>();
  CLI::App* command = app.add_subcommand("quantize", "Write a model in another element type");
  command
      ->add_option("IN", options->in, "The model to read (GGUF or safetensors), or a name from `tl models`")
      ->required();
  command->add_option("OUT", options->out, "The GGUF file to write")->required();
  command->add_option("TYPE", options->type, "q4_0, q4_1, q8_0, q4_k, q6_k or f16")->required();
  command->add_flag("--pure", options->options.pure, "Every matrix gets TYPE, the output matrix too");
  command->add_option("--output-type", options->output_type, "Type of the output matrix; otherwise q6_k");
  command->add_option("-t,--threads", options->options.n_threads, "Threads; 0 is one per physical core")
      ->check(CLI::Range(0, 4096));
  command->callback([options] { quantize(*options); });
}

}  // namespace tl::cli
