// The generation loop: prompt in, tokens and text out. It knows no program and no language.
#pragma once

#include <cstdint>
#include <functional>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "llm/draft.h"
#include "llm/language_model.h"
#include "llm/sampling.h"
#include "text/tokenizer.h"

namespace tl {

struct GenerateOptions {
  int64_t max_tokens = -1;              ///< -1: until something else ends it
  int64_t context_length = 0;           ///< how many tokens the context can hold
  int64_t cached = 0;                   ///< so many of the prompt's first tokens are in the context already
  int64_t batch = 512;                  ///< at most so many prompt tokens per step
  bool ignore_eos = false;              ///< go on after a token that ends generation
  std::vector<std::string> stop_texts;  ///< generation ends where one appears; none of it is shown
  int n_logprobs = 0;                   ///< for each token, the most probable ones at its place
  SamplingOptions sampling;
  DraftOptions draft;  ///< they change no token
};

struct TokenLogprob {
  int32_t id = 0;
  double logprob =
      0;  ///< natural logarithm, of softmax over the raw logits (before penalties and temperature)
};

struct GeneratedToken {
  int32_t id = 0;
  double logprob = 0;             ///< 0 unless n_logprobs > 0
  std::vector<TokenLogprob> top;  ///< n_logprobs of them, most probable first
};

enum class StopReason { end_of_generation, max_tokens, stop_text, context_full, interrupted };

/// "end_of_generation" …
std::string_view name(StopReason reason);

struct GenerateResult {
  std::vector<GeneratedToken> tokens;  ///< without the one that ended generation
  std::string text;                    ///< what was given to on_text, in one piece
  StopReason reason = StopReason::max_tokens;
  std::string stop_text;  ///< the one that was met
  uint64_t seed = 0;
  int64_t prompt_tokens = 0;  ///< those that were fed
  double prompt_seconds = 0, generate_seconds = 0;
  DraftStatistics draft;
};

/// Throws Error where a prompt is empty or longer than the context.
void require_prompt_fits(std::span<const int32_t> prompt, int64_t context_length);

/// Feeds what is new of `prompt`, then samples until an end. `on_text` gets text as it becomes final: whole
/// characters, no part of a stop text. Ctrl-C (interrupt_requested) ends it between two steps with
/// StopReason::interrupted. The model's context then holds the prompt and the tokens that were fed back, none
/// that were only drafted. Throws Error where the prompt is empty or longer than the context.
GenerateResult generate(const Tokenizer& tokenizer, LanguageModel& model, std::span<const int32_t> prompt,
                        const GenerateOptions& options,
                        const std::function<void(std::string_view)>& on_text = {});

/// Text on its way out that may not show any part of a stop text: what could be the beginning of one is held
/// back until it cannot be any more.
class StopTextFilter {
 public:
  explicit StopTextFilter(std::vector<std::string> stop_texts);

  /// The text that became safe to show by adding `text`. Once a stop text was met, nothing more comes out.
  std::string push(std::string_view text);
  /// What is still held back when the text is at its end.
  std::string flush();
  /// The stop text that was met, or "".
  const std::string& met() const { return met_; }

 private:
  std::vector<std::string> stop_texts_;
  std::string held_, met_;
};

}  // namespace tl
