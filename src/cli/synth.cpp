// tl synth OUT: a model with random weights, of any shape.
#include <fmt/format.h>

#include <CLI/CLI.hpp>
#include <filesystem>
#include <memory>

#include "base/interrupt.h"
#include "cli/commands.h"
#include "cli/options.h"
#include "cli/output.h"
#include "cli/progress.h"
#include "formats/registry.h"
#include "formats/synth.h"

namespace tl::cli {

namespace {

struct SynthCommand {
  std::string out, type = "q4_0", output_type;
  SynthOptions options;
};

void synth(SynthCommand command) {
  command.options.type = parse_weight_type(command.type);
  if (!command.output_type.empty()) command.options.output_type = parse_weight_type(command.output_type);
  if (!command.options.tokenizer.empty())
    command.options.tokenizer = resolve_model(command.options.tokenizer);
  Progress bar("Writing random weights");
  synthesise_model(command.out, command.options, [&](const SynthProgress& progress) {
    check_interrupt();
    bar.update(progress.done_elements, progress.total_elements);
  });
  fmt::print("{}: {}\n", command.out, format_size(std::filesystem::file_size(command.out)));
}

}  // namespace

void add_synth(CLI::App& app) {
  auto options = std::make_shared<SynthCommand>();
  SynthOptions& o = options->options;
  CLI::App* command =
      app.add_subcommand("synth", "Write a model of random weights; the defaults are TinyLlama 1.1B's shape");
  command->add_option("OUT", options->out, "The GGUF file to write")->required();
  command->add_option("--arch", o.architecture, "Architecture: llama or qwen2");
  command->add_option("--layers", o.n_layers, "Layers");
  command->add_option("--hidden", o.hidden, "Width of the residual stream");
  command->add_option("--ffn", o.ffn, "Width of the feed-forward part");
  command->add_option("--heads", o.n_heads, "Attention heads");
  command->add_option("--kv-heads", o.n_kv_heads, "Heads of keys and values");
  command->add_option("--vocab", o.vocab, "Vocabulary size");
  command->add_option("--context", o.context, "Context length");
  command->add_option("--rope-base", o.rope_base, "RoPE base");
  command->add_flag("--tied", o.tied, "The embedding is the output matrix too");
  command->add_option("--type", options->type, "Element type of the matrices");
  command->add_option("--output-type", options->output_type, "Type of the output matrix; otherwise q6_k");
  command->add_option("--seed", o.seed, "Seed of the random weights");
  command->add_option("--tokenizer", o.tokenizer, "Take the tokenizer of this GGUF")
      ->option_text("FROM.gguf");
  command->add_option("-t,--threads", o.n_threads, "Threads; 0 is one per physical core")
      ->check(CLI::Range(0, 4096));
  command->callback([options] { synth(*options); });
}

}  // namespace tl::cli
