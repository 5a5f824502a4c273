// Drafts change nothing but the time: whatever is guessed, a generation is the one without guesses.
#include "llm/draft.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <cmath>
#include <functional>

#include "base/error.h"
#include "base/interrupt.h"
#include "llm/generate.h"
#include "unit/llm/byte_tokenizer.h"

namespace tl {
namespace {

constexpr int32_t kVocabulary = 259;

/// A model whose logits are random, but a function of the last three tokens, and that likes to end.
class Oracle : public LanguageModel {
 public:
  std::span<const float> step(std::span<const int32_t> ids, bool all_rows) override {
    if (++steps == interrupted_at) throw Interrupted();
    logits_.clear();
    for (const int32_t& id : ids) {
      context.push_back(id);
      if (all_rows || &id == &ids.back()) add_row();
    }
    return logits_;
  }
  int64_t position() const override { return std::ssize(context); }
  void truncate(int64_t position) override {
    ASSERT_LE(position, this->position());
    context.resize(static_cast<size_t>(position));
  }
  int64_t n_vocab() const override { return kVocabulary; }

  std::vector<int32_t> context;
  int steps = 0, interrupted_at = 0;

 private:
  void add_row() {
    uint32_t state = 17;
    for (size_t i = context.size() - std::min<size_t>(3, context.size()); i < context.size(); ++i)
      state = (state ^ static_cast<uint32_t>(context[i])) * 16777619u;
    for (int32_t id = 0; id < kVocabulary; ++id) {
      state = state * 1664525u + 1013904223u;
      const bool is_letter = id >= 'a' && id < 'e';  // so few that sequences come again
      const auto random = static_cast<float>(state >> 8) / static_cast<float>(1 << 24);
      logits_.push_back(random * 3 + (is_letter ? 6.0f : id == 257 ? 3.2f : 0.0f));
    }
  }
  std::vector<float> logits_;
};

/// Guesses whatever a function says.
class Guesses : public Drafter {
 public:
  using Function = std::function<std::vector<int32_t>(std::span<const int32_t> ids, int64_t most)>;
  explicit Guesses(Function function) : function_(std::move(function)) {}
  std::vector<int32_t> propose(std::span<const int32_t> ids, int64_t most) override {
    return function_(ids, most);
  }

 private:
  Function function_;
};

const std::vector<int32_t> kPrompt = {256, 'a', 'b', 'a', 'c'};

GenerateOptions options_of(uint64_t seed) {
  GenerateOptions o;
  o.context_length = 80;
  o.max_tokens = seed % 3 == 0 ? 40 : -1;
  o.ignore_eos = seed % 2 == 0;
  o.n_logprobs = seed % 4 == 0 ? 3 : 0;
  if (seed % 5 == 0) o.stop_texts = {"abad", "cc"};
  o.sampling.seed = static_cast<int64_t>(seed);
  o.sampling.temp = seed % 7 == 0 ? 0 : 0.7;
  if (seed % 6 == 0) o.sampling.repeat_penalty = 1.3;
  return o;
}

struct Outcome {
  GenerateResult result;
  std::vector<int32_t> context;
  int steps = 0;
};

Outcome run(GenerateOptions options, Drafter* drafter, int64_t max = 5, int64_t min = 0) {
  Oracle model;
  options.draft = {drafter, max, min};
  Outcome run;
  run.result = generate(byte_tokenizer(), model, kPrompt, options);
  run.context = model.context;
  run.steps = model.steps;
  return run;
}

void expect_same(const Outcome& with, const Outcome& without, const std::string& what) {
  EXPECT_EQ(with.result.text, without.result.text) << what;
  EXPECT_EQ(with.result.reason, without.result.reason) << what;
  EXPECT_EQ(with.result.stop_text, without.result.stop_text) << what;
  EXPECT_EQ(with.context, without.context) << what << ": guesses are left in the context";
  ASSERT_EQ(with.result.tokens.size(), without.result.tokens.size()) << what;
  for (size_t i = 0; i < with.result.tokens.size(); ++i) {
    const GeneratedToken &a = with.result.tokens[i], &b = without.result.tokens[i];
    EXPECT_EQ(a.id, b.id) << what;
    EXPECT_EQ(a.logprob, b.logprob) << what;
    ASSERT_EQ(a.top.size(), b.top.size()) << what;
    for (size_t t = 0; t < a.top.size(); ++t) EXPECT_EQ(a.top[t].id, b.top[t].id) << what;
  }
}

/// What the run without drafts says at every place, with every n-th token changed.
Guesses::Function knowing(const std::vector<int32_t>& truth, size_t wrong_every) {
  return [truth, wrong_every](std::span<const int32_t> ids, int64_t most) {
    std::vector<int32_t> draft;
    for (size_t at = ids.size(); at < truth.size() && std::ssize(draft) < most; ++at)
      draft.push_back(at % wrong_every == 0 ? 'z' : truth[at]);
    return draft;
  };
}

TEST(Draft, ChangesNothingWhateverIsGuessed) {
  DraftStatistics all;
  std::vector<int> reasons(5);
  for (uint64_t seed = 0; seed < 60; ++seed) {
    const GenerateOptions o = options_of(seed);
    const Outcome without = run(o, nullptr);
    ++reasons[static_cast<size_t>(without.result.reason)];
    std::vector<int32_t> truth = kPrompt;
    for (const GeneratedToken& t : without.result.tokens) truth.push_back(t.id);
    truth.push_back(257);  // the end may be guessed too
    LookupDrafter lookup;
    Guesses right(knowing(truth, 1000)), half(knowing(truth, 3));
    Guesses wrong([](auto, int64_t most) { return std::vector<int32_t>(static_cast<size_t>(most), 'z'); });
    Guesses silent([](auto, int64_t) { return std::vector<int32_t>{}; });
    for (Drafter* drafter : std::initializer_list<Drafter*>{&lookup, &right, &half, &wrong, &silent}) {
      for (const int64_t max : {1, 4, 30}) {
        const Outcome with = run(o, drafter, max);
        expect_same(with, without, "seed " + std::to_string(seed) + ", " + std::to_string(max));
        EXPECT_LE(with.steps, without.steps);
        if (drafter == &lookup) {
          all.drafted += with.result.draft.drafted;
          all.accepted += with.result.draft.accepted;
        }
      }
    }
  }
  EXPECT_GT(all.accepted, 50);
  EXPECT_GT(all.drafted - all.accepted, 50);
  for (const StopReason reason : {StopReason::end_of_generation, StopReason::max_tokens,
                                  StopReason::stop_text, StopReason::context_full})
    EXPECT_GT(reasons[static_cast<size_t>(reason)], 2) << name(reason);
}

TEST(Draft, CountsAndSavesSteps) {
  GenerateOptions o = options_of(2);
  o.max_tokens = 21;
  const Outcome without = run(o, nullptr);
  ASSERT_EQ(without.result.tokens.size(), 21u);
  EXPECT_EQ(without.result.draft.drafts, 0);
  std::vector<int32_t> truth = kPrompt;
  for (const GeneratedToken& t : without.result.tokens) truth.push_back(t.id);
  Guesses right(knowing(truth, 1000));
  const Outcome with = run(o, &right, 4);
  EXPECT_EQ(with.steps, 1 + 4)
      << "the prompt, and five tokens at a time for the twenty that follow the first";
  EXPECT_EQ(with.result.draft.drafts, 4);
  EXPECT_EQ(with.result.draft.drafted, 16) << "none is guessed that could not be used";
  EXPECT_EQ(with.result.draft.accepted, 16);
}

TEST(Draft, LengthsAreKept) {
  const GenerateOptions o = options_of(2);
  int64_t longest = 0;
  Guesses three([&](std::span<const int32_t>, int64_t most) {
    longest = std::max(longest, most);
    return std::vector<int32_t>(static_cast<size_t>(std::min<int64_t>(3, most)), 'z');
  });
  EXPECT_EQ(run(o, &three, 7, 4).result.draft.drafts, 0) << "shorter than the shortest";
  EXPECT_EQ(longest, 7);
  EXPECT_GT(run(o, &three, 7, 3).result.draft.drafts, 0);
  EXPECT_EQ(run(o, &three, 0).result.draft.drafts, 0) << "no drafts at all";
  EXPECT_EQ(run(o, &three, 2, 3).result.draft.drafts, 0);
}

TEST(Draft, InterruptsLeaveNoGuessesBehind) {
  Oracle model;
  model.interrupted_at = 4;
  GenerateOptions o = options_of(2);
  Guesses wrong([](auto, int64_t most) { return std::vector<int32_t>(static_cast<size_t>(most), 'z'); });
  o.draft = {&wrong, 3, 0};
  const GenerateResult r = generate(byte_tokenizer(), model, kPrompt, o);
  EXPECT_EQ(r.reason, StopReason::interrupted);
  ASSERT_EQ(r.tokens.size(), 3u);
  EXPECT_EQ(model.context.size(), kPrompt.size() + 2) << "the last token was on its way";
  EXPECT_EQ(std::ranges::count(model.context, 'z'), 0);
}

TEST(LookupDrafter, ProposesWhatFollowedTheLongestAndLatestMatch) {
  LookupDrafter lookup;
  const std::vector<int32_t> longest = {0, 1, 2, 3, 4, 5, 6, 9, 1, 2, 3, 7, 8, 0, 1, 2, 3};
  EXPECT_EQ(lookup.propose(longest, 3), (std::vector<int32_t>{4, 5, 6}));
  LookupDrafter other;
  const std::vector<int32_t> latest = {1, 2, 3, 4, 5, 1, 2, 3, 7, 8, 1, 2, 3};
  EXPECT_EQ(other.propose(latest, 2), (std::vector<int32_t>{7, 8}));
}

TEST(LookupDrafter, SaysNothingWhereNothingCameBefore) {
  LookupDrafter lookup;
  for (const std::vector<int32_t>& ids :
       {std::vector<int32_t>{1}, std::vector<int32_t>{1, 2, 3, 4}, std::vector<int32_t>{3, 1, 2, 4, 1, 2}})
    EXPECT_EQ(lookup.propose(ids, 8).size(), 0u) << ids.size();
}

TEST(LookupDrafter, GoesOnWithAPeriod) {
  LookupDrafter lookup;
  const std::vector<int32_t> ids = {5, 6, 7, 6, 7, 6};
  EXPECT_EQ(lookup.propose(ids, 4), (std::vector<int32_t>{7, 6, 7, 6}));
}

TEST(LookupDrafter, ReachesFartherWhileItIsRight) {
  LookupDrafter lookup;
  std::vector<int32_t> ids;
  for (int i = 0; i < 400; ++i) ids.push_back(i % 100);
  const auto next = [&] { ids.push_back((ids.back() + 1) % 100); };
  std::vector<size_t> lengths;
  const auto propose = [&] {
    lengths.push_back(lookup.propose(ids, 30).size());
    return lengths.back();
  };
  for (int i = 0; i < 5; ++i)  // as many as were guessed, and one
    for (size_t n = propose() + 1; n > 0; --n) next();
  EXPECT_EQ(lengths, (std::vector<size_t>{8, 12, 18, 27, 30}));
  EXPECT_EQ(propose(), 30u) << "it could reach 60";
  next();  // of 30 guesses the first is right
  ids.push_back(200);
  for (const int32_t id : {50, 51, 52}) ids.push_back(id);
  EXPECT_EQ(propose(), 30u) << "half of 60, and half of one";
  for (int i = 0; i < 3; ++i) ids.push_back(201 + i);
  for (const int32_t id : {50, 51, 52}) ids.push_back(id);
  EXPECT_EQ(propose(), 15u);
}

/// A drafting model that is right, as long as it is sure.
TEST(ModelDrafter, FollowsTheContextBackAndForth) {
  auto owned = std::make_unique<Oracle>();
  Oracle& model = *owned;
  ModelDrafter drafter(std::move(owned), byte_tokenizer(), 4, 0.0);
  std::vector<int32_t> ids = kPrompt;
  const auto first = drafter.propose(ids, 3);
  ASSERT_EQ(first.size(), 3u);
  EXPECT_EQ(model.steps, 2 + 2) << "a prompt of five in batches of four, then two tokens";
  ids.push_back(first[0]);
  ids.push_back('x');  // not as guessed
  Oracle fresh;
  ModelDrafter other(std::make_unique<Oracle>(), byte_tokenizer(), 512, 0.0);
  EXPECT_EQ(drafter.propose(ids, 3), other.propose(ids, 3));
  EXPECT_EQ(model.position(), std::ssize(ids) + 2);
  EXPECT_EQ(drafter.propose(kPrompt, 3), first) << "a context that was cut";
}

TEST(ModelDrafter, StopsWhereItIsNotSure) {
  ModelDrafter always(std::make_unique<Oracle>(), byte_tokenizer(), 512, 0.0);
  ModelDrafter never(std::make_unique<Oracle>(), byte_tokenizer(), 512, 1.0);
  EXPECT_EQ(always.propose(kPrompt, 6).size(), 6u);
  EXPECT_EQ(never.propose(kPrompt, 6).size(), 0u);
}

/// One logit is the largest at every place.
class Constant : public Oracle {
 public:
  Constant(int32_t best, float logit) : best_(best), logit_(logit) {}
  std::span<const float> step(std::span<const int32_t> ids, bool all_rows) override {
    Oracle::step(ids, all_rows);
    logits_.assign(300, 0.0f);
    logits_[static_cast<size_t>(best_)] = logit_;
    return logits_;
  }
  int64_t n_vocab() const override { return 300; }

 private:
  int32_t best_;
  float logit_;
  std::vector<float> logits_;
};

TEST(ModelDrafter, GuessesWhatTheOtherModelCanTake) {
  const auto propose = [](int32_t best, float logit, const std::vector<int32_t>& ids = kPrompt) {
    return ModelDrafter(std::make_unique<Constant>(best, logit), byte_tokenizer(), 512, 0.5).propose(ids, 4);
  };
  EXPECT_EQ(propose('a', 20.0f), (std::vector<int32_t>{'a', 'a', 'a', 'a'}));
  EXPECT_EQ(propose(257, 20.0f), (std::vector<int32_t>{257})) << "nothing follows an end";
  EXPECT_EQ(propose(280, 20.0f).size(), 0u) << "no token of the other model";
  EXPECT_EQ(propose('a', NAN).size(), 0u);
  EXPECT_EQ(propose('a', INFINITY).size(), 0u);
  EXPECT_EQ(propose('a', 20.0f, {256, 310}).size(), 0u) << "a token that it does not know";
}

TEST(Draft, OtherVocabulariesAreRefused) {
  const auto tokenizer = [](const std::string& changed, int32_t more) {
    VocabularySpec spec = byte_vocabulary();
    spec.tokens.push_back(changed);
    for (int32_t i = 0; i < more; ++i) spec.tokens.push_back("<more " + std::to_string(i) + ">");
    spec.token_types.resize(spec.tokens.size(), static_cast<int32_t>(TokenType::control));
    spec.scores.assign(spec.tokens.size(), 0.0f);
    return Tokenizer::create(std::move(spec));
  };
  EXPECT_NO_THROW(require_same_tokens(byte_tokenizer(), byte_tokenizer()));
  EXPECT_NO_THROW(require_same_tokens(tokenizer("<bos>", 0), tokenizer("<bos>", 5)));
  EXPECT_NO_THROW(require_same_tokens(tokenizer("<bos>", 5), tokenizer("<bos>", 0)));
  try {
    require_same_tokens(byte_tokenizer(), tokenizer("<s>", 0));
    FAIL();
  } catch (const Error& error) {
    EXPECT_STREQ(
        error.what(),
        "the draft model has another vocabulary: token 256 is '<s>' there and '<bos>' in the model; a "
        "draft model must share the model's tokens (--draft lookup needs none)");
  }
}

}  // namespace
}  // namespace tl
