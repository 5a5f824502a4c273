// tl logits MODEL: the model's raw output for a prompt.
#include <fmt/format.h>

#include <CLI/CLI.hpp>
#include <algorithm>
#include <memory>
#include <nlohmann/json.hpp>
#include <numeric>

#include "base/file.h"
#include "base/interrupt.h"
#include "cli/commands.h"
#include "cli/engine.h"
#include "cli/input.h"
#include "cli/json.h"
#include "cli/npy.h"
#include "llm/generate.h"
#include "llm/sampling.h"

namespace tl::cli {

namespace {

struct LogitsOptions {
  ModelOptions model;
  PromptOptions prompt;
  int top = 10;
  bool json = false, verbose_prompt = false;
  std::string out;
};

/// Feeds the prompt batch by batch; returns the logits of its last token. Where `out` is named, those of all
/// tokens go there.
std::vector<float> run_prompt(Engine& engine, std::span<const int32_t> ids, const LogitsOptions& options) {
  std::unique_ptr<AtomicFile> out;
  if (!options.out.empty()) {
    out = std::make_unique<AtomicFile>(options.out);
    out->write(npy_header(std::ssize(ids), engine.n_vocab()));
  }
  std::span<const float> rows;
  while (!ids.empty()) {
    check_interrupt();
    const size_t n = std::min(ids.size(), static_cast<size_t>(options.model.batch));
    rows = engine.step(ids.first(n), out != nullptr);
    if (out) out->write(rows.data(), rows.size_bytes());
    ids = ids.subspan(n);
  }
  if (out) out->commit();
  const auto last = rows.last(static_cast<size_t>(engine.n_vocab()));
  return {last.begin(), last.end()};
}

std::vector<int32_t> most_probable(std::span<const float> logits, int n) {
  std::vector<int32_t> order(logits.size());
  std::iota(order.begin(), order.end(), 0);
  const auto end = order.begin() + std::min<std::ptrdiff_t>(n, std::ssize(order));
  const auto at = [&](int32_t id) { return logits[static_cast<size_t>(id)]; };
  std::partial_sort(order.begin(), end, order.end(),
                    [&](int32_t a, int32_t b) { return at(a) != at(b) ? at(a) > at(b) : a < b; });
  order.erase(end, order.end());
  return order;
}

void logits_command(const LogitsOptions& options) {
  const auto engine = Engine::open(options.model);
  const Tokenizer& tokenizer = engine->tokenizer();
  const std::vector<int32_t> ids = prompt_ids(options.prompt, tokenizer);
  if (options.verbose_prompt) print_prompt(ids, tokenizer);
  require_prompt_fits(ids, engine->context_length());
  const std::vector<float> logits = run_prompt(*engine, ids, options);
  const double normaliser = log_normaliser(logits);
  const std::vector<int32_t> best = most_probable(logits, options.top);
  const auto logit = [&](int32_t id) { return logits[static_cast<size_t>(id)]; };

  if (options.json) {
    nlohmann::ordered_json j;
    j["prompt_tokens"] = ids;
    j["rows"] = ids.size();
    j["n_vocab"] = logits.size();
    j["top"] = nlohmann::ordered_json::array();
    for (const int32_t id : best) {
      j["top"].push_back({{"id", id},
                          {"token", tokenizer.piece(id)},
                          {"logit", logit(id)},
                          {"logprob", logit(id) - normaliser}});
    }
    print_json(j);
    return;
  }
  fmt::print("{:>7}  {:20} {:>10} {:>10}\n", "id", "token", "logit", "logprob");
  for (const int32_t id : best) {
    fmt::print("{:>7}  {:20} {:>10.5f} {:>10.5f}\n", id, escaped(tokenizer.piece(id)), logit(id),
               logit(id) - normaliser);
  }
}

}  // namespace

void add_logits(CLI::App& app) {
  auto options = std::make_shared<LogitsOptions>();
  CLI::App* command = app.add_subcommand("logits", "Print the logits that follow a prompt");
  command->add_option("MODEL", options->model.model, "A model file, or a name from `tl models`")->required();
  add_prompt_options(*command, options->prompt);
  command->add_option("--top", options->top, "How many tokens to show, the most probable first")
      ->check(CLI::Range(0, 1 << 30))
      ->option_text("K");
  command->add_flag("--json", options->json, "Print JSON");
  command->add_option("--out", options->out, "Write all rows to a NumPy file: float32, tokens x vocabulary")
      ->option_text("FILE.npy");
  command->add_flag("--verbose-prompt", options->verbose_prompt,
                    "Show the prompt's token ids on standard error");
  add_model_options(*command, options->model);
  command->callback([options] { logits_command(*options); });
}

}  // namespace tl::cli
