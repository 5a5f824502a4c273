// Drafts on models with real arithmetic: logits of several rows are those of single steps, bit for bit, so
// the tokens are too.
#include <gtest/gtest.h>

#include "formats/quantize.h"
#include "llm/generate.h"
#include "model/running.h"

namespace tl {
namespace {

using testing_models::Running;
using testing_models::small_llama;
using testing_models::TemporaryFile;

class Drafts : public testing::Test {
 protected:
  Drafts() : exact_("draft-f16.gguf"), rounded_("draft-q4.gguf"), other_("draft-other.gguf") {
    SynthOptions o = small_llama(DType::f16);
    synthesise_model(exact_.path(), o);
    quantize_model(*open_model_file(exact_.path()), rounded_.path(), DType::q4_0);
    o.seed = 2;
    synthesise_model(other_.path(), o);
  }

  static GenerateOptions options(double temp, int64_t n) {
    GenerateOptions o;
    o.max_tokens = n;
    o.context_length = 512;
    o.ignore_eos = true;
    o.n_logprobs = 2;
    o.sampling.temp = temp;
    o.sampling.seed = 3;
    return o;
  }
  static GenerateResult generate_with(Running& model, GenerateOptions o, Drafter* drafter, int64_t max = 6) {
    o.draft = {drafter, max, 0};
    const std::vector<int32_t> prompt = {1, 40, 50, 60, 70, 40, 50, 60};
    return generate(model.runner().model().tokenizer(), model.runner(), prompt, o);
  }
  static std::unique_ptr<ModelDrafter> model_drafter(Running& beside, const std::string& path, double p_min) {
    auto runner = std::make_unique<ModelRunner>(beside.host().open_model(path), beside.host());
    return std::make_unique<ModelDrafter>(std::move(runner), beside.runner().model().tokenizer(), 512, p_min);
  }
  /// The same tokens and the same log probabilities: the logits' bits.
  static void expect_same(const GenerateResult& a, const GenerateResult& b) {
    ASSERT_EQ(a.tokens.size(), b.tokens.size());
    for (size_t i = 0; i < a.tokens.size(); ++i) {
      EXPECT_EQ(a.tokens[i].id, b.tokens[i].id) << i;
      EXPECT_EQ(a.tokens[i].logprob, b.tokens[i].logprob) << i;
      EXPECT_EQ(a.tokens[i].top[1].logprob, b.tokens[i].top[1].logprob) << i;
    }
  }

  TemporaryFile exact_, rounded_, other_;
};

TEST_F(Drafts, OfModelsGiveTheSameBits) {
  for (const double temp : {0.0, 0.8}) {
    for (const DType cache : {DType::f32, DType::f16}) {
      for (const std::string& path : {exact_.path(), rounded_.path()}) {
        Running alone(path, {.caches = {cache, cache}});
        const GenerateResult expected = generate_with(alone, options(temp, 60), nullptr);
        for (const std::string& drafts : {rounded_.path(), other_.path()}) {
          Running model(path, {.caches = {cache, cache}});
          const auto drafter = model_drafter(model, drafts, 0.0);
          const GenerateResult r = generate_with(model, options(temp, 60), drafter.get());
          expect_same(r, expected);
          if (path != drafts) {
            EXPECT_LT(r.draft.accepted, r.draft.drafted);
          }
          if (drafts == rounded_.path()) {
            EXPECT_GT(r.draft.accepted, 10) << "a model that is nearly the same is often right";
          }
          EXPECT_EQ(model.runner().position(), 8 + 59);
        }
      }
    }
  }
}

TEST_F(Drafts, OnTheReferenceBackendToo) {
  Running alone(exact_.path(), {.reference = true});
  const GenerateResult expected = generate_with(alone, options(0.8, 12), nullptr);
  Running model(exact_.path(), {.reference = true});
  const auto drafter = model_drafter(model, rounded_.path(), 0.0);
  const GenerateResult r = generate_with(model, options(0.8, 12), drafter.get(), 3);
  expect_same(r, expected);
  EXPECT_GT(r.draft.accepted, 0);
}

TEST_F(Drafts, OfTheTextItselfEndWithTheContext) {
  GenerateOptions o = options(0, -1);
  o.context_length = 64;
  Running alone(rounded_.path(), {.context = 64});
  const GenerateResult expected = generate_with(alone, o, nullptr);
  EXPECT_EQ(expected.reason, StopReason::context_full);
  Running model(rounded_.path(), {.context = 64});
  LookupDrafter lookup;
  const GenerateResult r = generate_with(model, o, &lookup, 16);
  EXPECT_EQ(r.reason, StopReason::context_full);
  expect_same(r, expected);
}

TEST_F(Drafts, OfAnyLengthShareTwoPlans) {
  Running alone(rounded_.path(), {});
  const GenerateResult expected = generate_with(alone, options(0.8, 100), nullptr);
  const int64_t plans = alone.session().statistics().plans;
  Running model(rounded_.path(), {});
  const auto drafter = model_drafter(model, exact_.path(), 0.02);
  generate_with(model, options(0.8, 20), drafter.get(), 9);
  const int64_t with_drafts = model.session().statistics().plans;
  EXPECT_LE(with_drafts, 2 * plans + 2)
      << "of two models, with rows of logits for all tokens and for the last";
  model.runner().truncate(0);
  expect_same(generate_with(model, options(0.8, 100), drafter.get(), 13), expected);
  EXPECT_EQ(model.session().statistics().plans, with_drafts);
}

/// Nothing is walked again because guesses were taken back.
TEST_F(Drafts, StepsAreReplayed) {
  Running model(rounded_.path(), {});
  class Sometimes : public Drafter {
   public:
    std::vector<int32_t> propose(std::span<const int32_t> ids, int64_t) override {
      return ids.size() % 10 == 0 ? std::vector<int32_t>{5, 5} : std::vector<int32_t>{};
    }
  } sometimes;
  const GenerateResult r = generate_with(model, options(0.8, 100), &sometimes);
  EXPECT_GT(r.draft.drafts, 8);
  EXPECT_GE(model.session().statistics().replays, 88) << "all but three of one row and three of three rows";
}

}  // namespace
}  // namespace tl
