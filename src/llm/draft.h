// Speculative decoding (arXiv:2211.17192) that changes nothing but the time: tokens are guessed, fed at once,
// and sampled one by one from the logits that come back. A guess is right when it is the token that was
// sampled; what follows a wrong one is taken back. Since rows of logits do not depend on what is fed with
// them, and every token takes one draw of the same generator, the tokens are those of a run without guesses,
// greedy or not.
#pragma once

#include <memory>
#include <vector>

#include "llm/language_model.h"
#include "text/tokenizer.h"

namespace tl {

/// Guesses how a text goes on.
class Drafter {
 public:
  virtual ~Drafter() = default;
  /// At most `most` tokens (> 0) that may follow `ids`, which are all so far. Tokens are ids of the model
  /// that is drafted for.
  virtual std::vector<int32_t> propose(std::span<const int32_t> ids, int64_t most) = 0;
};

/// Takes what followed the last tokens where they stood before: summaries, code that is changed, and whatever
/// else repeats itself.
class LookupDrafter : public Drafter {
 public:
  std::vector<int32_t> propose(std::span<const int32_t> ids, int64_t most) override;

 private:
  void learn(std::span<const int32_t> ids);

  std::vector<int32_t> last_;  ///< the draft before
  size_t last_at_ = 0;         ///< where it began
  int64_t limit_ = 8;          ///< how far the next one reaches
};

/// Asks a smaller model, greedily, as long as that is sure of itself.
class ModelDrafter : public Drafter {
 public:
  /// `batch`: so many tokens that are new are fed at once. It stops before a token that has a probability
  /// below `min_probability`, at an end of generation, and at what is no token of `tokenizer`, that of the
  /// model that is drafted for.
  ModelDrafter(std::unique_ptr<LanguageModel> model, Tokenizer tokenizer, int64_t batch,
               double min_probability)
      : model_(std::move(model)),
        tokenizer_(std::move(tokenizer)),
        batch_(batch),
        min_probability_(min_probability) {}

  std::vector<int32_t> propose(std::span<const int32_t> ids, int64_t most) override;

 private:
  std::span<const float> feed(std::span<const int32_t> ids);

  std::unique_ptr<LanguageModel> model_;
  Tokenizer tokenizer_;
  int64_t batch_;
  double min_probability_;
  std::vector<int32_t> fed_;  ///< what the model's context holds
};

/// Throws Error naming the first token that is another one in `draft`'s vocabulary. A vocabulary may be
/// longer: models are filled up to sizes that suit their matrices.
void require_same_tokens(const Tokenizer& target, const Tokenizer& draft);

/// How drafts are used.
struct DraftOptions {
  Drafter* drafter = nullptr;  ///< null: none are made
  int64_t max = 16;            ///< tokens of a draft, at most
  int64_t min = 0;             ///< shorter drafts are not worth verifying
};

struct DraftStatistics {
  int64_t drafts = 0;    ///< that were verified
  int64_t drafted = 0;   ///< their tokens
  int64_t accepted = 0;  ///< those of them that were sampled
  double seconds = 0;    ///< spent on guessing
};

/// The logits of a generation, token after token, computed for several tokens at once where a drafter guesses
/// them.
class Lookahead {
 public:
  Lookahead(LanguageModel& model, const DraftOptions& options) : model_(model), options_(options) {}

  /// The logits after `ids`: all tokens of the context and one more. No more than `most` tokens are guessed.
  /// Valid until the next call.
  std::span<const float> after(std::span<const int32_t> ids, int64_t most);
  /// Takes guesses that did not come true out of the context again.
  void settle();

  const DraftStatistics& statistics() const { return statistics_; }

 private:
  std::vector<int32_t> draft(std::span<const int32_t> ids, int64_t most);

  LanguageModel& model_;
  DraftOptions options_;
  DraftStatistics statistics_;
  std::vector<int32_t> draft_;   ///< in the context, behind the token that it followed
  size_t accepted_ = 0;          ///< so many of it have been sampled
  std::span<const float> rows_;  ///< after that token, and after each of the draft
};

}  // namespace tl
