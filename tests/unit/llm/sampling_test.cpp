#include "llm/sampling.h"

#include <gtest/gtest.h>

#include <cmath>
#include <functional>
#include <map>
#include <set>
#include <string>

#include "base/error.h"

namespace tl {
namespace {

/// Options that pass the raw distribution through.
SamplingOptions plain(int64_t seed = 1) {
  SamplingOptions o;
  o.temp = 1;
  o.top_k = 0;
  o.top_p = 1;
  o.min_p = 0;
  o.seed = seed;
  return o;
}

std::map<int32_t, double> frequencies(const SamplingOptions& options, const std::vector<float>& logits,
                                      const std::vector<int32_t>& recent = {}, int draws = 40000) {
  Sampler sampler(options);
  std::map<int32_t, double> counts;
  for (int i = 0; i < draws; ++i) counts[sampler.sample(logits, recent)] += 1.0 / draws;
  return counts;
}

/// Six standard deviations of a frequency near p over 40000 draws.
double slack(double p) { return 6 * std::sqrt(p * (1 - p) / 40000); }

std::vector<float> logits_of(std::vector<double> probabilities) {
  std::vector<float> logits;
  for (const double p : probabilities) logits.push_back(static_cast<float>(std::log(p) + 3.0));
  return logits;
}

void expect_message(const std::function<void()>& f, const std::string& part) {
  try {
    f();
    FAIL() << "no error; expected \"" << part << "\"";
  } catch (const Error& error) {
    EXPECT_NE(std::string(error.what()).find(part), std::string::npos) << error.what();
  }
}

const std::vector<double> kProbabilities = {0.05, 0.4, 0.1, 0.25, 0.2};

TEST(Sampling, DefaultsAreLlamaCpps) {
  const SamplingOptions o;
  EXPECT_EQ(o.temp, 0.8);
  EXPECT_EQ(o.top_k, 40);
  EXPECT_EQ(o.top_p, 0.95);
  EXPECT_EQ(o.min_p, 0.05);
  EXPECT_EQ(o.repeat_penalty, 1.0);
  EXPECT_EQ(o.repeat_last_n, 64);
  EXPECT_EQ(o.seed, -1);
}

TEST(Sampling, TemperatureZeroTakesTheFirstMaximum) {
  SamplingOptions o;
  o.temp = 0;
  Sampler sampler(o);
  EXPECT_EQ(sampler.sample(std::vector<float>{1, 5, 2, 5}, {}), 1);
  EXPECT_EQ(sampler.sample(std::vector<float>{-INFINITY, -9}, {}), 1);
  EXPECT_EQ(argmax(std::vector<float>{1, 5, 2, 5}), 1);
}

TEST(Sampling, DrawsFollowSoftmax) {
  const auto found = frequencies(plain(), logits_of(kProbabilities));
  for (size_t i = 0; i < kProbabilities.size(); ++i) {
    EXPECT_NEAR(found.at(static_cast<int32_t>(i)), kProbabilities[i], slack(kProbabilities[i]))
        << "token " << i;
  }
}

TEST(Sampling, TemperatureSharpens) {
  SamplingOptions o = plain();
  o.temp = 0.5;  // squares the probabilities
  double sum = 0;
  for (const double p : kProbabilities) sum += p * p;
  const auto found = frequencies(o, logits_of(kProbabilities));
  for (size_t i = 0; i < kProbabilities.size(); ++i) {
    const double expected = kProbabilities[i] * kProbabilities[i] / sum;
    EXPECT_NEAR(found.at(static_cast<int32_t>(i)), expected, slack(expected)) << "token " << i;
  }
}

TEST(Sampling, TopKKeepsTheLargest) {
  SamplingOptions o = plain();
  o.top_k = 2;
  const auto found = frequencies(o, logits_of(kProbabilities));
  ASSERT_EQ(found.size(), 2u);
  EXPECT_NEAR(found.at(1), 0.4 / 0.65, slack(0.4 / 0.65));
  EXPECT_NEAR(found.at(3), 0.25 / 0.65, slack(0.25 / 0.65));
}

TEST(Sampling, TopKBreaksTiesById) {
  SamplingOptions o = plain();
  o.top_k = 2;
  const auto found = frequencies(o, {1, 1, 1, 1}, {}, 1000);
  EXPECT_EQ(found.size(), 2u);
  EXPECT_TRUE(found.contains(0) && found.contains(1));
}

TEST(Sampling, TopPKeepsTheFewestThatReachIt) {
  SamplingOptions o = plain();
  o.top_p = 0.6;  // 0.4 + 0.25 reaches it
  EXPECT_EQ(frequencies(o, logits_of(kProbabilities)).size(), 2u);
  o.top_p = 0.7;
  EXPECT_EQ(frequencies(o, logits_of(kProbabilities)).size(), 3u);
  o.top_p = 0;
  EXPECT_EQ(frequencies(o, logits_of(kProbabilities)).size(), 1u);
}

TEST(Sampling, MinPIsRelativeToTheBest) {
  SamplingOptions o = plain();
  o.min_p = 0.45;  // 0.45 * 0.4 = 0.18: leaves 0.4, 0.25, 0.2
  const auto found = frequencies(o, logits_of(kProbabilities));
  ASSERT_EQ(found.size(), 3u);
  EXPECT_NEAR(found.at(4), 0.2 / 0.85, slack(0.2 / 0.85));
}

TEST(Sampling, FiltersSeeTheDistributionBeforeTheTemperature) {
  SamplingOptions o = plain();
  o.temp = 100;  // nearly uniform; were it applied first, top-p would keep everything
  o.top_p = 0.6;
  EXPECT_EQ(frequencies(o, logits_of(kProbabilities)).size(), 2u);
}

TEST(Sampling, RepeatPenaltyDividesPositiveAndMultipliesNegativeLogits) {
  SamplingOptions o = plain();
  o.temp = 0;
  o.repeat_penalty = 2;
  Sampler sampler(o);
  const std::vector<float> positive = {4, 3};
  EXPECT_EQ(sampler.sample(positive, std::vector<int32_t>{0}), 1);
  const std::vector<float> negative = {-3, -4};
  EXPECT_EQ(sampler.sample(negative, std::vector<int32_t>{0}), 1);
  EXPECT_EQ(sampler.sample(negative, std::vector<int32_t>{}), 0);
}

TEST(Sampling, PenaltiesSeeOnlyTheLastTokens) {
  SamplingOptions o = plain();
  o.temp = 0;
  o.repeat_penalty = 2;
  o.repeat_last_n = 2;
  const std::vector<float> logits = {4, 3, 0, 0};
  EXPECT_EQ(Sampler(o).sample(logits, std::vector<int32_t>{0, 2, 3}), 0);
  EXPECT_EQ(Sampler(o).sample(logits, std::vector<int32_t>{2, 0, 3}), 1);
  o.repeat_last_n = -1;
  EXPECT_EQ(Sampler(o).sample(logits, std::vector<int32_t>{0, 2, 3}), 1);
  o.repeat_last_n = 0;
  EXPECT_EQ(Sampler(o).sample(logits, std::vector<int32_t>{0}), 0);
}

TEST(Sampling, FrequencyAndPresencePenaltiesSubtract) {
  SamplingOptions o = plain();
  o.temp = 0;
  o.frequency_penalty = 0.6;
  EXPECT_EQ(Sampler(o).sample(std::vector<float>{4, 3}, std::vector<int32_t>{0}), 0);
  EXPECT_EQ(Sampler(o).sample(std::vector<float>{4, 3}, std::vector<int32_t>{0, 0}), 1);
  o.frequency_penalty = 0;
  o.presence_penalty = 0.6;
  EXPECT_EQ(Sampler(o).sample(std::vector<float>{4, 3}, std::vector<int32_t>{0, 0}), 0);
  o.presence_penalty = 1.1;
  EXPECT_EQ(Sampler(o).sample(std::vector<float>{4, 3}, std::vector<int32_t>{0, 0}), 1);
}

TEST(Sampling, TheSameSeedGivesTheSameTokens) {
  const std::vector<float> logits = logits_of(kProbabilities);
  std::vector<int32_t> first, again, other;
  Sampler a(plain(7)), b(plain(7)), c(plain(8));
  for (int i = 0; i < 50; ++i) {
    first.push_back(a.sample(logits, {}));
    again.push_back(b.sample(logits, {}));
    other.push_back(c.sample(logits, {}));
  }
  EXPECT_EQ(first, again);
  EXPECT_NE(first, other);
  // std::mt19937_64 is fixed by the C++ standard, the draw by us: these ids hold on every machine.
  EXPECT_EQ(std::vector<int32_t>(first.begin(), first.begin() + 8),
            (std::vector<int32_t>{4, 2, 1, 2, 1, 1, 4, 2}));
}

TEST(Sampling, SeedMinusOneIsRandomAndReported) {
  EXPECT_EQ(Sampler(plain(42)).seed(), 42u);
  std::set<uint64_t> seeds;
  for (int i = 0; i < 5; ++i) seeds.insert(Sampler(plain(-1)).seed());
  EXPECT_GT(seeds.size(), 1u);
}

TEST(Sampling, UnusableLogitsAreErrors) {
  SamplingOptions greedy = plain();
  greedy.temp = 0;
  for (const SamplingOptions& o : {plain(), greedy}) {
    Sampler sampler(o);
    expect_message([&] { sampler.sample(std::vector<float>{1, NAN}, {}); }, "the logit of token 1 is nan");
    expect_message(
        [&] {
          sampler.sample(std::vector<float>{INFINITY, 1}, {});
        },
        "the logit of token 0 is inf");
    expect_message([&] { sampler.sample(std::vector<float>{-INFINITY}, {}); }, "every logit is -inf");
  }
  expect_message([] { (void)log_probabilities(std::vector<float>{NAN}); }, "the logit of token 0 is nan");
}

TEST(Sampling, TheLargestLogitsAreEnoughWhereTheyDecide) {
  SamplingOptions o = plain();
  EXPECT_EQ(Sampler(o).deciding(), std::nullopt) << "all are kept";
  o.top_k = 3;
  EXPECT_EQ(Sampler(o).deciding(), 3);
  o.temp = 0;
  EXPECT_EQ(Sampler(o).deciding(), 1);
  for (double SamplingOptions::*penalty :
       {&SamplingOptions::repeat_penalty, &SamplingOptions::presence_penalty,
        &SamplingOptions::frequency_penalty}) {
    SamplingOptions penalised = o;
    penalised.*penalty = 1.5;
    EXPECT_EQ(Sampler(penalised).deciding(), std::nullopt);
  }
  const std::vector<float> logits = {1, 3, -INFINITY, 2.5, 3, 0};
  for (const double temp : {0.0, 0.7}) {
    o.temp = temp, o.top_p = 0.9;
    Sampler a(o), b(o);
    for (int i = 0; i < 50; ++i) {
      const Draw draw = b.next_draw(*b.deciding());
      EXPECT_EQ(draw.candidates, temp == 0 ? 1 : 3);
      std::vector<double> best = {3, 3, 2.5}, places = {1, 4, 3};
      best.resize(static_cast<size_t>(draw.candidates)), places.resize(best.size());
      EXPECT_EQ(a.sample(logits, {}), drawn_token(drawn_place(best, places, draw.options, draw.bits))) << i;
    }
  }
}

TEST(Sampling, GreedyChoiceTakesNothingFromTheGenerator) {
  SamplingOptions o = plain();
  o.temp = 0;
  Sampler greedy(o);
  for (int i = 0; i < 5; ++i) EXPECT_EQ(greedy.next_draw(1).bits, 0);
  Sampler sampler(plain(5));
  std::mt19937_64 generator(5);
  for (int i = 0; i < 5; ++i)
    EXPECT_EQ(sampler.next_draw(1).bits, static_cast<int64_t>(generator() >> 11)) << "one for each token";
}

TEST(Sampling, UnusableLargestLogitsAreErrors) {
  const auto of = [](double logit) {
    std::vector<double> best = {logit, -1};
    const std::vector<double> places = {7, 3};
    return [drawn = drawn_place(best, places, {}, 0)] { (void)drawn_token(drawn); };
  };
  expect_message(of(NAN), "the logit of token 7 is nan");
  expect_message(of(-NAN), "the logit of token 7 is nan");
  expect_message(of(INFINITY), "the logit of token 7 is inf");
  expect_message(of(-INFINITY), "every logit is -inf");
}

TEST(Sampling, MaskedTokensAreNeverDrawn) {
  const auto found = frequencies(plain(), {1, -INFINITY, 1}, {}, 2000);
  EXPECT_EQ(found.size(), 2u);
  EXPECT_FALSE(found.contains(1));
}

TEST(Sampling, OptionsOutsideTheirRangeAreUsageErrors) {
  const auto expect = [](auto set, const std::string& part) {
    SamplingOptions o;
    set(o);
    EXPECT_THROW(Sampler{o}, UsageError);
    expect_message([&] { Sampler sampler(o); }, part);
  };
  expect([](auto& o) { o.temp = NAN; }, "--temp nan");
  expect([](auto& o) { o.top_p = 1.5; }, "--top-p 1.5");
  expect([](auto& o) { o.min_p = -0.1; }, "--min-p -0.1");
  expect([](auto& o) { o.repeat_penalty = 0; }, "--repeat-penalty 0");
  expect([](auto& o) { o.presence_penalty = INFINITY; }, "--presence-penalty inf");
  expect([](auto& o) { o.frequency_penalty = NAN; }, "--frequency-penalty nan");
  expect([](auto& o) { o.repeat_last_n = -2; }, "--repeat-last-n -2");
  expect([](auto& o) { o.seed = -5; }, "--seed -5");
}

TEST(Sampling, LogProbabilitiesSumToOne) {
  const std::vector<double> found = log_probabilities(logits_of(kProbabilities));
  for (size_t i = 0; i < found.size(); ++i) EXPECT_NEAR(found[i], std::log(kProbabilities[i]), 1e-6);
}

}  // namespace
}  // namespace tl
