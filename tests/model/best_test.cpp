// Tokens sampled from the largest logits, which backends with memory of their own look for themselves, are
// those sampled from all.
#include <gtest/gtest.h>

#include "llm/generate.h"
#include "model/running.h"

namespace tl {
namespace {

using testing_models::Running;
using testing_models::small_llama;
using testing_models::TemporaryFile;

/// The cpu backend, as if its results lay elsewhere.
class Apart final : public Backend {
 public:
  std::string_view name() const override { return "apart"; }
  const KernelTable& kernels() const override { return cpu_backend().kernels(); }
  DType storage(DType dtype) const override { return dtype; }
  bool fuses() const override { return true; }
  bool has_own_memory() const override { return true; }
  std::string description() const override { return ""; }
};

class Best : public testing::Test {
 protected:
  Best() : model_("best.gguf") { synthesise_model(model_.path(), small_llama(DType::q4_0)); }

  static std::vector<int32_t> tokens(Running& model, const GenerateOptions& options) {
    const std::vector<int32_t> prompt = {1, 40, 50, 60, 70, 40, 50, 60};
    std::vector<int32_t> ids;
    const auto& tokenizer = model.runner().model().tokenizer();
    for (const GeneratedToken& t : generate(tokenizer, model.runner(), prompt, options).tokens)
      ids.push_back(t.id);
    return ids;
  }
  static GenerateOptions options(double temp, int64_t top_k) {
    GenerateOptions o;
    o.max_tokens = 60;
    o.context_length = 512;
    o.batch = 5;
    o.ignore_eos = true;
    o.sampling.temp = temp;
    o.sampling.top_k = top_k;
    o.sampling.seed = 3;
    return o;
  }

  TemporaryFile model_;
  const Apart apart_;
};

TEST_F(Best, GiveTheTokensThatAllLogitsGive) {
  for (const auto& [temp, top_k] :
       std::vector<std::pair<double, int64_t>>{{0, 40}, {0.8, 40}, {2, 600}, {2, 9999}}) {
    Running here(model_.path(), {}), there(model_.path(), {.backend = &apart_});
    EXPECT_EQ(tokens(here, options(temp, top_k)), tokens(there, options(temp, top_k)))
        << "temperature " << temp << ", top-k " << top_k;
    EXPECT_GT(there.session().statistics().replays, 50);
  }
}

TEST_F(Best, AreTheLargestLogits) {
  Running here(model_.path(), {}), there(model_.path(), {.backend = &apart_});
  const std::vector<int32_t> ids = {1, 40, 50};
  const std::vector<float> logits = here.last(ids);
  const auto best = there.runner().step_best(ids, 2);
  ASSERT_EQ(best.size(), 2u);
  EXPECT_EQ(static_cast<float>(best.front().logit), *std::max_element(logits.begin(), logits.end()));
  for (const Candidate& c : best) EXPECT_EQ(static_cast<float>(c.logit), logits[static_cast<size_t>(c.id)]);
  EXPECT_EQ(there.runner().position(), 3);
}

TEST_F(Best, AreNotLookedForWhereTheLogitsAreAtHand) {
  Running here(model_.path(), {}), there(model_.path(), {.backend = &apart_});
  EXPECT_EQ(here.runner().most_best(), 0);
  EXPECT_EQ(there.runner().most_best(), 600) << "the vocabulary";
}

TEST_F(Best, AreNotEnoughWherePenaltiesOrLogProbabilitiesNeedAll) {
  GenerateOptions penalised = options(0.8, 40), probable = options(0.8, 40), all = options(0.8, 0);
  penalised.sampling.repeat_penalty = 1.3;
  probable.n_logprobs = 2;
  for (const GenerateOptions& o : {penalised, probable, all}) {
    Running here(model_.path(), {}), there(model_.path(), {.backend = &apart_});
    EXPECT_EQ(tokens(here, o), tokens(there, o));
  }
}

}  // namespace
}  // namespace tl
