// Tokens that backends with memory of their own draw themselves are those that are sampled from all logits.
#include <algorithm>
#include <fstream>
#include <functional>
#include <optional>
#include <random>
#include <sstream>

#include <fmt/format.h>
#include <gtest/gtest.h>

#include "backend/step_recorder.h"
#include "graph/builder.h"
#include "llm/generate.h"
#include "model/running.h"

namespace tl {
namespace {

using testing_models::Running;
using testing_models::small_llama;
using testing_models::TemporaryFile;

/// The cpu backend, as if its results lay elsewhere.
class Apart : public Backend {
 public:
  std::string_view name() const override { return "apart"; }
  const KernelTable& kernels() const override { return cpu_backend().kernels(); }
  DType storage(DType dtype) const override { return dtype; }
  bool fuses() const override { return true; }
  bool has_own_memory() const override { return true; }
  std::string description() const override { return ""; }
};

class Drawing : public testing::Test {
 protected:
  Drawing() : model_("drawing.gguf") { synthesise_model(model_.path(), small_llama(DType::q4_0)); }

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

/// Replayed steps, each with bits of its own, and walked ones.
TEST_F(Drawing, GivesTheTokensThatAllLogitsGive) {
  const std::vector<std::pair<double, int64_t>> choices = {{0, 40},  {0.8, 40}, {1, 1},
                                                           {2, 600}, {2, 9999}, {30, 600}};
  for (const auto& [temp, top_k] : choices) {
    Running here(model_.path(), {}), there(model_.path(), {.backend = &apart_});
    Running walked(model_.path(), {.backend = &apart_, .replays = false});
    const auto expected = tokens(here, options(temp, top_k));
    const std::string what = fmt::format("temperature {}, top-k {}", temp, top_k);
    EXPECT_EQ(expected.size(), 60u);
    EXPECT_EQ(expected, tokens(there, options(temp, top_k))) << what;
    EXPECT_EQ(expected, tokens(walked, options(temp, top_k))) << what;
    EXPECT_GT(there.session().statistics().replays, 50);
    EXPECT_EQ(walked.session().statistics().replays, 0);
  }
}

/// What a recorder of steps was asked for.
struct Asked {
  int64_t position;
  std::vector<int64_t> inputs, after;
};

/// Knows what steps give without computing them: as many tokens as it was given.
class Foreseeing final : public StepRecorder {
 public:
  Foreseeing(std::vector<Asked>& asked, std::span<const int32_t> tokens) : asked_(asked), tokens_(tokens) {}
  void begin() override {}
  void end(int64_t, std::span<const Tensor>, const Tensor&) override {}
  std::optional<Tensor> repeat(int64_t position, std::span<const Tensor> inputs,
                               std::span<const Tensor> after, const Tensor& output) override {
    EXPECT_TRUE(after.empty() || !after[0]) << "what this step gives is not known yet";
    asked_.push_back({position, numbers(inputs), numbers(after.empty() ? after : after.subspan(1))});
    const int64_t token = tokens_[asked_.size() - 1];
    return Tensor::from<int64_t>(DType::i64, output.shape(), std::span(&token, 1));
  }
  void forget() override {}

 private:
  static std::vector<int64_t> numbers(std::span<const Tensor> tensors) {
    std::vector<int64_t> all;
    for (const Tensor& t : tensors) all.push_back(load_int(t, 0));
    return all;
  }
  std::vector<Asked>& asked_;
  std::span<const int32_t> tokens_;
};

class Ahead final : public Apart, public RecordsSteps {
 public:
  explicit Ahead(std::span<const int32_t> tokens) : tokens_(tokens) {}
  std::unique_ptr<StepRecorder> recorder() const override {
    return std::make_unique<Foreseeing>(asked, tokens_);
  }
  mutable std::vector<Asked> asked;

 private:
  std::span<const int32_t> tokens_;
};

TEST_F(Drawing, TellsDevicesOfTheNextStep) {
  std::vector<int32_t> foreseen(100);
  for (int32_t i = 0; i < 100; ++i) foreseen[static_cast<size_t>(i)] = 100 + i;
  const Ahead ahead(foreseen);
  Running model(model_.path(), {.backend = &ahead});
  const auto ids = tokens(model, options(0.8, 40));
  const std::vector<Asked>& asked = ahead.asked;
  ASSERT_GT(asked.size(), 50u);
  ASSERT_EQ(ids.size(), 60u);
  for (size_t i = 0; i < asked.size(); ++i) {
    EXPECT_EQ(ids[ids.size() - asked.size() + i], foreseen[i]);
    EXPECT_EQ(asked[i].position, asked[0].position + static_cast<int64_t>(i));
    if (i > 0) {
      EXPECT_EQ(asked[i].inputs[0], foreseen[i - 1]);
    }
    if (i + 1 < asked.size()) {
      EXPECT_EQ(asked[i].after, std::vector<int64_t>{asked[i + 1].inputs[1]}) << "the bits it is drawn by";
    } else {
      EXPECT_TRUE(asked[i].after.empty()) << "60 tokens were asked for";
    }
  }
  // Where the context is full there is no step after.
  GenerateOptions full = options(0, 40);
  full.context_length = 40;
  Running again(model_.path(), {.backend = &ahead});
  ahead.asked.clear();
  EXPECT_EQ(tokens(again, full).size(), 33u);
  EXPECT_TRUE(asked.back().after.empty());
  EXPECT_EQ(asked[asked.size() - 2].after, std::vector<int64_t>{0});
}

/// The most probable of five tokens, then the least probable, then that of six.
TEST_F(Drawing, HasTheOptionsOfEachStep) {
  Running here(model_.path(), {}), there(model_.path(), {.backend = &apart_});
  const int64_t last = (int64_t{1} << 53) - 1;
  for (int32_t id = 1; id < 90; ++id) {
    auto logits = here.last({id});
    const Draw draw = id < 30   ? Draw{5, {.temp = 100, .top_p = 0}, last}
                      : id < 60 ? Draw{5, {.temp = 100}, last}
                                : Draw{6, {.temp = 100}, last};
    const int32_t drawn = there.runner().step_and_draw(std::span(&id, 1), draw);
    const float logit = logits[static_cast<size_t>(drawn)];
    std::ranges::sort(logits, std::greater<>());
    EXPECT_EQ(logit, logits[id < 30 ? 0 : id < 60 ? 4 : 5]) << id;
  }
  EXPECT_GT(there.session().statistics().replays, 75);
}

TEST_F(Drawing, StepsBetweenMayGiveLogits) {
  Running here(model_.path(), {}), there(model_.path(), {.backend = &apart_});
  for (int32_t id = 1; id < 40; ++id) {
    const auto logits = here.last({id});
    EXPECT_EQ(there.runner().step_and_draw(std::span(&id, 1), {1, {}, 0}), argmax(logits));
    EXPECT_EQ(here.last({id}), there.last({id}));
  }
  EXPECT_EQ(there.runner().position(), 78);
}

TEST_F(Drawing, IsNotAskedForWhereTheLogitsAreAtHand) {
  Running here(model_.path(), {}), there(model_.path(), {.backend = &apart_});
  EXPECT_EQ(here.runner().most_candidates(), 0);
  EXPECT_EQ(there.runner().most_candidates(), 600) << "the vocabulary";
}

TEST_F(Drawing, IsNotEnoughWherePenaltiesOrLogProbabilitiesNeedAll) {
  GenerateOptions penalised = options(0.8, 40), probable = options(0.8, 40), all = options(0.8, 0);
  penalised.sampling.repeat_penalty = 1.3;
  probable.n_logprobs = 2;
  for (const GenerateOptions& o : {penalised, probable, all}) {
    Running here(model_.path(), {}), there(model_.path(), {.backend = &apart_});
    EXPECT_EQ(tokens(here, o), tokens(there, o));
  }
}

TEST_F(Drawing, LogitsThatAreNotUsableAreTheSameErrors) {
  std::ifstream in(TL_SOURCE_DIR "/models/llama.tl");
  std::stringstream text;
  text << in.rdbuf();
  for (const auto& [logits, message] : std::vector<std::pair<std::string, std::string>>{
           {"sqrt(logits * 0.0 - 1.0)", "the logit of token 0 is nan: the model's output is not usable"},
           {"exp(logits * 0.0 + 1000.0)", "the logit of token 0 is inf: the model's output is not usable"},
           {"log(logits * 0.0)", "every logit is -inf: there is no token to choose"}}) {
    std::string changed = text.str();
    const std::string last = "return logits";
    changed.replace(changed.find(last), last.size(), "return " + logits);
    const TemporaryFile program("drawing.tl");
    std::ofstream(program.path()) << changed;
    for (const double temp : {0.0, 0.8})
      for (const Backend* backend : {static_cast<const Backend*>(&apart_), &cpu_backend()}) {
        Running model(model_.path(), {.backend = backend, .program = program.path()});
        try {
          tokens(model, options(temp, 40));
          ADD_FAILURE() << message;
        } catch (const Error& e) {
          EXPECT_EQ(std::string(e.what()).substr(0, message.size()), message);
        }
      }
  }
}

/// The sampler that sees all logits, and the operations, on many logits.
TEST(DrawOperation, GivesWhatTheSamplerGives) {
  std::mt19937_64 random(1);
  std::normal_distribution<float> normal;
  const auto pick = [&](std::initializer_list<double> choices) {
    return choices.begin()[random() % choices.size()];
  };
  Session cpu(cpu_backend(), &reference_backend()), reference(reference_backend(), nullptr);
  for (int64_t i = 0; i < 400; ++i) {
    const int64_t n = 1 + static_cast<int64_t>(random() % 300);
    const Tensor logits(DType::f32, {1, n});
    const bool ties = i % 3 == 0;
    for (int64_t j = 0; j < n; ++j)
      logits.data<float>()[j] = ties ? std::round(normal(random)) : 4 * normal(random);
    for (int64_t j = 1; j < n; j += 5) logits.data<float>()[j] = -INFINITY;
    const SamplingOptions options{.temp = pick({0, 0.1, 0.8, 1, 5}),
                                  .top_k = static_cast<int64_t>(pick({1, 2, 40, 1000})),
                                  .top_p = pick({0, 0.3, 0.95, 1}),
                                  .min_p = pick({0, 0.05, 0.5, 1}),
                                  .seed = i};
    Sampler all(options), few(options);
    for (int again = 0; again < 5; ++again) {
      const int32_t expected = all.sample({logits.data<float>(), static_cast<size_t>(n)}, {});
      const Draw draw = few.next_draw(std::min(n, *few.deciding()));
      for (Session* session : {&cpu, &reference}) {
        const auto best = graph::top_k(graph::constant(logits), draw.candidates);
        const auto bits = graph::constant(Tensor::from<int64_t>(DType::i64, {1}, std::span(&draw.bits, 1)));
        const Tensor drawn = session->value(graph::draw(best, bits, draw.options));
        ASSERT_EQ(drawn_token(load_int(drawn, 0)), expected)
            << "logits " << i << " on " << session->backend().name();
      }
    }
  }
}

TEST(DrawOperation, PlacesAreNotRoundedWhereResultsAre) {
  SessionOptions options;
  options.precision.results = DType::bf16;
  Session session(cpu_backend(), &reference_backend(), options);
  const Tensor logits(DType::f32, {1, 600});
  for (int64_t i = 0; i < 600; ++i) logits.data<float>()[i] = i == 515 ? 9 : 1;
  const auto bits = graph::constant(Tensor::from<int64_t>(DType::i64, {1}, std::vector<int64_t>{0}));
  const auto best = graph::top_k(graph::constant(logits), 3);
  EXPECT_EQ(load_int(session.value(graph::draw(best, bits, {})), 0), 515);
}

}  // namespace
}  // namespace tl
