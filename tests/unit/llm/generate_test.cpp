#include "llm/generate.h"

#include <gtest/gtest.h>

#include <cmath>
#include <string>

#include "base/error.h"
#include "base/interrupt.h"
#include "unit/llm/byte_tokenizer.h"

namespace tl {
namespace {

/// A model that says a fixed text after a prompt of three tokens, whatever it is told, and remembers what it
/// was told.
class Parrot : public LanguageModel {
 public:
  explicit Parrot(std::vector<int32_t> script) : script_(std::move(script)) {}
  explicit Parrot(const std::string& text, int32_t last = 257) {
    for (const char c : text) script_.push_back(static_cast<unsigned char>(c));
    script_.push_back(last);
  }
  std::span<const float> step(std::span<const int32_t> ids, bool all_rows) override {
    EXPECT_FALSE(all_rows) << "nobody drafts";
    if (calls.size() == interrupted_at) interrupt_requested = true;
    calls.emplace_back(ids.begin(), ids.end());
    position_ += std::ssize(ids);
    logits_.assign(259, -10.0f);
    const auto at = static_cast<size_t>(std::max<int64_t>(0, position_ - 3));
    if (at < script_.size()) logits_[static_cast<size_t>(script_[at])] = 10.0f;
    return logits_;
  }
  int64_t position() const override { return position_; }
  void truncate(int64_t position) override { position_ = position; }
  int64_t n_vocab() const override { return 259; }

  std::vector<std::vector<int32_t>> calls;
  size_t interrupted_at = SIZE_MAX;

 private:
  std::vector<int32_t> script_;
  std::vector<float> logits_;
  int64_t position_ = 0;
};

GenerateOptions greedy(int64_t max_tokens = -1) {
  GenerateOptions o;
  o.sampling.temp = 0;
  o.max_tokens = max_tokens;
  o.context_length = 1000;
  return o;
}

const std::vector<int32_t> kPrompt = {256, 'h', 'i'};

struct Answer {
  GenerateResult result;
  std::vector<std::string> pieces;
};

Answer run(Parrot& parrot, const GenerateOptions& options, const std::vector<int32_t>& prompt = kPrompt) {
  Answer answer;
  answer.result = generate(byte_tokenizer(), parrot, prompt, options,
                           [&](std::string_view text) { answer.pieces.emplace_back(text); });
  return answer;
}

TEST(Generate, StopsAtEndOfGenerationWithoutShowingIt) {
  for (const int32_t end : {257, 258}) {
    Parrot parrot("abc", end);
    const Answer r = run(parrot, greedy());
    EXPECT_EQ(r.result.text, "abc");
    EXPECT_EQ(r.result.tokens.size(), 3u);
    EXPECT_EQ(r.result.reason, StopReason::end_of_generation);
    EXPECT_EQ(r.pieces, (std::vector<std::string>{"a", "b", "c"}));
    EXPECT_EQ(parrot.calls, (std::vector<std::vector<int32_t>>{kPrompt, {'a'}, {'b'}, {'c'}}));
  }
}

TEST(Generate, IgnoreEosGoesOn) {
  Parrot parrot(std::vector<int32_t>{'a', 257, 'b'});
  GenerateOptions o = greedy(3);
  o.ignore_eos = true;
  EXPECT_EQ(run(parrot, o).result.text, "ab");
}

TEST(Generate, CountsTokens) {
  Parrot parrot("abcdef");
  const Answer r = run(parrot, greedy(4));
  EXPECT_EQ(r.result.text, "abcd");
  EXPECT_EQ(r.result.reason, StopReason::max_tokens);
  EXPECT_EQ(parrot.calls.size(), 4u) << "the last token needs no step";
  Parrot none("abc");
  EXPECT_EQ(run(none, greedy(0)).result.tokens.size(), 0u);
}

TEST(Generate, FeedsThePromptInBatches) {
  Parrot parrot("x");
  GenerateOptions o = greedy(1);
  o.batch = 2;
  EXPECT_EQ(run(parrot, o).result.text, "x");
  EXPECT_EQ(parrot.calls, (std::vector<std::vector<int32_t>>{{256, 'h'}, {'i'}}));
}

TEST(Generate, FeedsOnlyWhatIsNotCached) {
  Parrot parrot("x");
  parrot.truncate(2);
  GenerateOptions o = greedy(1);
  o.cached = 2;
  const Answer r = run(parrot, o);
  EXPECT_EQ(parrot.calls, (std::vector<std::vector<int32_t>>{{'i'}}));
  EXPECT_EQ(r.result.prompt_tokens, 1);
}

TEST(Generate, FullContextIsSaid) {
  Parrot parrot("abcdef");
  GenerateOptions o = greedy();
  o.context_length = 5;  // three of the prompt, two answers fed back
  const Answer r = run(parrot, o);
  EXPECT_EQ(r.result.reason, StopReason::context_full);
  EXPECT_EQ(r.result.text, "abc") << "the last token is sampled from the last logits that fit";
  size_t fed = 0;
  for (const auto& call : parrot.calls) fed += call.size();
  EXPECT_EQ(fed, 5u);
}

TEST(Generate, PromptsThatCannotBeRunAreErrors) {
  Parrot parrot("abc");
  EXPECT_THROW(run(parrot, greedy(), {}), Error);
  GenerateOptions o = greedy();
  o.context_length = 2;
  try {
    run(parrot, o);
    FAIL();
  } catch (const Error& error) {
    EXPECT_STREQ(
        error.what(),
        "the prompt has 3 tokens, but the context holds 2: enlarge it with -c, or shorten the prompt");
  }
  EXPECT_TRUE(parrot.calls.empty());
}

TEST(Generate, NeverShowsPartOfAStopText) {
  GenerateOptions o = greedy();
  o.stop_texts = {"</s>", "###", ""};
  Parrot met("one < two</s> three");
  Answer r = run(met, o);
  EXPECT_EQ(r.result.text, "one < two");
  EXPECT_EQ(r.result.reason, StopReason::stop_text);
  EXPECT_EQ(r.result.stop_text, "</s>");

  Parrot never("a ## b </");
  r = run(never, o);
  EXPECT_EQ(r.result.text, "a ## b </") << "what was held back comes out in the end";
  EXPECT_EQ(r.result.reason, StopReason::end_of_generation);
  EXPECT_EQ(r.pieces.back(), "</");
}

TEST(Generate, StreamsWholeCharacters) {
  Parrot parrot("aé🦙b");
  const Answer r = run(parrot, greedy());
  EXPECT_EQ(r.pieces, (std::vector<std::string>{"a", "é", "🦙", "b"}));
  Parrot cut(std::vector<int32_t>{'a', 0xf0, 0x9f});
  EXPECT_EQ(run(cut, greedy(3)).result.text, "a\xEF\xBF\xBD") << "an unfinished character ends as U+FFFD";
}

TEST(Generate, LogprobsAreOfTheRawLogits) {
  Parrot parrot("ab");
  GenerateOptions o = greedy(2);
  o.n_logprobs = 3;
  const Answer r = run(parrot, o);
  const double normaliser = std::log(std::exp(20.0) + 258) - 10;  // one logit 10, 258 of -10
  ASSERT_EQ(r.result.tokens.size(), 2u);
  for (const GeneratedToken& token : r.result.tokens) {
    ASSERT_EQ(token.top.size(), 3u);
    EXPECT_EQ(token.top[0].id, token.id);
    EXPECT_NEAR(token.logprob, 10 - normaliser, 1e-9);
    EXPECT_NEAR(token.top[1].logprob, -10 - normaliser, 1e-9);
    EXPECT_LT(token.top[1].id, token.top[2].id) << "equal ones by id";
  }
}

TEST(Generate, InterruptEndsItBetweenSteps) {
  Parrot parrot("abcdef");
  parrot.interrupted_at = 2;
  const GenerateResult r = run(parrot, greedy()).result;
  interrupt_requested = false;
  EXPECT_EQ(r.reason, StopReason::interrupted);
  EXPECT_EQ(r.text, "abc");
}

TEST(StopTextFilter, HoldsBackTheLongestPossibleBeginning) {
  StopTextFilter filter({"abab", "bc"});
  EXPECT_EQ(filter.push("xa"), "x");
  EXPECT_EQ(filter.push("b"), "");
  EXPECT_EQ(filter.push("a"), "");
  EXPECT_EQ(filter.push("d"), "abad");
  EXPECT_EQ(filter.push("ab"), "");
  EXPECT_EQ(filter.push("cxyz"), "a");
  EXPECT_EQ(filter.met(), "bc");
  EXPECT_EQ(filter.push("more"), "");
  EXPECT_EQ(filter.flush(), "");
}

TEST(StopTextFilter, TakesTheEarliestOfSeveral) {
  StopTextFilter filter({"late", "early"});
  EXPECT_EQ(filter.push("an early, a late"), "an ");
  EXPECT_EQ(filter.met(), "early");
}

}  // namespace
}  // namespace tl
