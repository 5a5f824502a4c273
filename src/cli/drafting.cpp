#include "cli/drafting.h"

#include <fmt/format.h>

#include <CLI/CLI.hpp>

#include "base/error.h"

namespace tl::cli {

namespace {

constexpr const char* kLookup = "lookup";

/// With the token before them they stay below 64 rows: from there on GPUs round products in another way.
constexpr int64_t kLongestDraft = 62;

}  // namespace

void add_draft_options(CLI::App& command, DraftChoice& choice, DraftOptions& lengths) {
  constexpr const char* kGroup = "Guessing ahead (faster, and the same tokens)";
  command
      .add_option(
          "--draft", choice.drafter,
          "A smaller model of the same vocabulary that guesses tokens, or `lookup`: what followed the "
          "last tokens where they stood before")
      ->option_text("MODEL|lookup")
      ->group(kGroup);
  command.add_option("--draft-max", lengths.max, "At most so many tokens at once")
      ->check(CLI::Range(int64_t{0}, kLongestDraft))
      ->group(kGroup);
  command.add_option("--draft-min", lengths.min, "Use no guesses of fewer tokens")
      ->check(CLI::Range(int64_t{0}, kLongestDraft))
      ->group(kGroup);
  command
      .add_option("--draft-p-min", choice.min_probability,
                  "A model guesses on while its tokens are at least so probable")
      ->check(CLI::Range(0.0, 1.0))
      ->group(kGroup);
}

std::unique_ptr<Drafter> make_drafter(const DraftChoice& choice, Engine& target,
                                      const ModelOptions& options) {
  if (choice.drafter.empty()) return nullptr;
  if (choice.drafter == kLookup) return std::make_unique<LookupDrafter>();
  ModelOptions smaller = options;
  smaller.model = choice.drafter;
  smaller.context = target.context_length();
  smaller.layers.reset();
  smaller.program.clear();
  auto engine = Engine::open_beside(target, smaller);
  require_same_tokens(target.tokenizer(), engine->tokenizer());
  return std::make_unique<ModelDrafter>(std::move(engine), target.tokenizer(), options.batch_size(),
                                        choice.min_probability);
}

std::string to_string(const DraftStatistics& s) {
  const double share =
      s.drafted > 0 ? 100 * static_cast<double>(s.accepted) / static_cast<double>(s.drafted) : 0.0;
  return fmt::format("{} tokens in {} drafts, {} accepted ({:.1f} %), {:.2f} s", s.drafted, s.drafts,
                     s.accepted, share, s.seconds);
}

}  // namespace tl::cli
