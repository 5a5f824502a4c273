// tl perplexity MODEL FILE: how well the model predicts a text, computed as llama.cpp's llama-perplexity
// does.
//
// The text's tokens are cut into chunks of C tokens (-c, by default 512); what is left over is not used. The
// first token of a chunk becomes BOS where the model wants one. Each token in the second half of a chunk is
// predicted from all before it in the chunk; perplexity is exp of the mean of -log p over those predictions.
#include <fmt/format.h>

#include <CLI/CLI.hpp>
#include <cmath>
#include <memory>
#include <nlohmann/json.hpp>

#include "base/interrupt.h"
#include "cli/commands.h"
#include "cli/engine.h"
#include "cli/input.h"
#include "cli/json.h"
#include "cli/progress.h"
#include "llm/sampling.h"

namespace tl::cli {

namespace {

struct PerplexityOptions {
  ModelOptions model;
  std::string file;
  int64_t chunks = -1;
  bool json = false;
};

/// Sums over predictions.
struct Score {
  int64_t count = 0;
  double sum = 0, sum_of_squares = 0;  // of -log p

  void add(double surprise) {
    ++count;
    sum += surprise;
    sum_of_squares += surprise * surprise;
  }
  double perplexity() const { return std::exp(sum / static_cast<double>(count)); }
  /// The standard error of the mean, carried over to the perplexity.
  double uncertainty() const {
    if (count < 2) return 0;
    const double n = static_cast<double>(count), mean = sum / n;
    return perplexity() * std::sqrt(std::max(0.0, sum_of_squares / n - mean * mean) / (n - 1));
  }
};

void score_chunk(Engine& engine, std::span<const int32_t> ids, int64_t batch, Score& score) {
  engine.truncate(0);
  const size_t first = ids.size() / 2, width = static_cast<size_t>(engine.n_vocab());
  for (size_t begin = 0; begin < ids.size(); begin += static_cast<size_t>(batch)) {
    check_interrupt();
    const size_t n = std::min(ids.size() - begin, static_cast<size_t>(batch));
    const std::span<const float> rows = engine.step(ids.subspan(begin, n), true);
    for (size_t i = 0; i < n; ++i) {
      const size_t position = begin + i;
      if (position < first || position + 1 == ids.size()) continue;
      const auto row = rows.subspan(i * width, width);
      score.add(log_normaliser(row) - row[static_cast<size_t>(ids[position + 1])]);
    }
  }
}

void perplexity(PerplexityOptions options) {
  if (options.model.context == 0) options.model.context = 512;
  const size_t length = static_cast<size_t>(options.model.context);
  if (options.chunks == 0) throw UsageError("--chunks 0 leaves nothing to predict");
  if (length < 4)
    throw UsageError("-c must be at least 4: half of each chunk is predicted from the other half");
  const auto engine = Engine::open(options.model);
  const Tokenizer& tokenizer = engine->tokenizer();
  std::vector<int32_t> ids = tokenizer.encode(read_input(options.file), true, false);
  if (ids.size() < length) {
    throw Error(fmt::format("{} has {} tokens, fewer than one chunk of {}: use a longer text or a smaller -c",
                            options.file, ids.size(), length));
  }
  size_t n_chunks = ids.size() / length;
  if (options.chunks >= 0) n_chunks = std::min(n_chunks, static_cast<size_t>(options.chunks));

  Score score;
  {
    Progress bar("Predicting");
    for (size_t i = 0; i < n_chunks; ++i) {
      const auto chunk = std::span(ids).subspan(i * length, length);
      if (tokenizer.add_bos() && tokenizer.bos()) chunk[0] = *tokenizer.bos();
      score_chunk(*engine, chunk, options.model.batch, score);
      bar.update(i + 1, n_chunks);
    }
  }
  if (options.json) {
    nlohmann::ordered_json j = {{"perplexity", score.perplexity()},
                                {"uncertainty", score.uncertainty()},
                                {"predictions", score.count},
                                {"chunks", n_chunks},
                                {"context", length}};
    print_json(j);
  } else {
    fmt::print("perplexity {:.4f} +/- {:.4f} over {} predictions in {} chunks of {}\n", score.perplexity(),
               score.uncertainty(), score.count, n_chunks, length);
  }
}

}  // namespace

void add_perplexity(CLI::App& app) {
  auto options = std::make_shared<PerplexityOptions>();
  CLI::App* command = app.add_subcommand("perplexity", "Measure how well a model predicts a text");
  command->add_option("MODEL", options->model.model, "A model file, or a name from `tl models`")->required();
  command->add_option("FILE", options->file, "The text; - is standard input")->required();
  command->add_option("--chunks", options->chunks, "At most so many chunks; -1 is all")
      ->check(CLI::Range(int64_t{-1}, int64_t{1} << 40));
  command->add_flag("--json", options->json, "Print JSON");
  add_model_options(*command, options->model);
  command->callback([options] { perplexity(*options); });
}

}  // namespace tl::cli
