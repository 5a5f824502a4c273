#include "llm/sampling.h"

#include <fmt/format.h>

#include <algorithm>
#include <cmath>
#include <unordered_map>

#include "base/error.h"

namespace tl {

namespace {

/// Throws Error where a logit makes softmax undefined.
void check(int64_t id, double logit) {
  if (!std::isnan(logit) && logit != INFINITY) return;
  throw Error(
      fmt::format("the logit of token {} is {}: the model's output is not usable; look for the first "
                  "operation that gives it with --device reference",
                  id, std::fabs(logit)));  // NaN may have a sign
}

/// Throws Error where the largest logit is none.
void check_maximum(double maximum) {
  if (maximum == -INFINITY) throw Error("every logit is -inf: there is no token to choose");
}

/// The largest logit, once it is known that softmax of them is defined.
float checked_maximum(std::span<const float> logits) {
  TL_CHECK(!logits.empty(), "no logits");
  float maximum = -INFINITY;
  for (size_t i = 0; i < logits.size(); ++i) {
    check(static_cast<int64_t>(i), logits[i]);
    maximum = std::max(maximum, logits[i]);
  }
  check_maximum(maximum);
  return maximum;
}

uint64_t random_seed() {
  std::random_device device;
  return device();  // 32 bits, so that the seed is short enough to type again
}

void require(bool ok, const char* option, double value, const char* range) {
  if (!ok) throw UsageError(fmt::format("--{} {} is outside its range: {}", option, value, range));
}

}  // namespace

double log_normaliser(std::span<const float> logits) {
  const double maximum = checked_maximum(logits);
  double sum = 0;
  for (const float logit : logits) sum += std::exp(logit - maximum);
  return maximum + std::log(sum);
}

std::vector<double> log_probabilities(std::span<const float> logits) {
  const double normaliser = log_normaliser(logits);
  std::vector<double> result(logits.size());
  std::ranges::transform(logits, result.begin(), [&](float logit) { return logit - normaliser; });
  return result;
}

int32_t argmax(std::span<const float> logits) {
  const float maximum = checked_maximum(logits);
  return static_cast<int32_t>(std::ranges::find(logits, maximum) - logits.begin());
}

int32_t drawn_token(int64_t drawn) {
  if (drawn < 0) {  // one of the two throws
    const auto [id, logit] = refused_candidate(drawn);
    check(id, logit);
    check_maximum(logit);
  }
  return static_cast<int32_t>(drawn);
}

Sampler::Sampler(const SamplingOptions& options)
    : options_(options),
      draw_options_{options.temp, options.top_p, std::log(options.min_p)},
      seed_(options.seed == -1 ? random_seed() : static_cast<uint64_t>(options.seed)),
      generator_(seed_) {
  require(std::isfinite(options.temp), "temp", options.temp, "a finite number");
  require(options.top_p >= 0 && options.top_p <= 1, "top-p", options.top_p, "0 to 1");
  require(options.min_p >= 0 && options.min_p <= 1, "min-p", options.min_p, "0 to 1");
  require(options.repeat_penalty > 0 && std::isfinite(options.repeat_penalty), "repeat-penalty",
          options.repeat_penalty, "above 0 (1 is none)");
  require(std::isfinite(options.presence_penalty), "presence-penalty", options.presence_penalty,
          "a finite number");
  require(std::isfinite(options.frequency_penalty), "frequency-penalty", options.frequency_penalty,
          "a finite number");
  require(options.repeat_last_n >= -1, "repeat-last-n", static_cast<double>(options.repeat_last_n),
          "-1 (all), 0 (none) or more");
  require(options.seed >= -1, "seed", static_cast<double>(options.seed), "-1 (random), 0 or more");
}

int32_t Sampler::sample(std::span<const float> logits, std::span<const int32_t> recent) {
  checked_maximum(logits);
  candidates_.resize(logits.size());
  for (size_t i = 0; i < logits.size(); ++i) candidates_[i] = {static_cast<int32_t>(i), logits[i]};
  penalise(recent);
  if (options_.temp <= 0) {
    return std::ranges::max_element(candidates_, {}, &Candidate::logit)->id;  // the first of equals
  }
  keep_top_k();
  kept_.clear();
  for (const Candidate& c : candidates_) kept_.push_back(c.logit);
  return candidates_[drawn_index(kept_, draw_options_, random_bits())].id;
}

std::optional<int64_t> Sampler::deciding() const {
  if (penalises()) return std::nullopt;
  if (options_.temp <= 0) return 1;
  return options_.top_k > 0 ? std::optional(options_.top_k) : std::nullopt;
}

Draw Sampler::next_draw(int64_t candidates) {
  if (options_.temp <= 0) return {candidates, {}, 0};
  return {candidates, draw_options_, random_bits()};
}

bool Sampler::penalises() const {
  return options_.repeat_penalty != 1 || options_.presence_penalty != 0 || options_.frequency_penalty != 0;
}

void Sampler::penalise(std::span<const int32_t> recent) {
  if (!penalises()) return;
  if (options_.repeat_last_n >= 0) {
    recent = recent.last(std::min(recent.size(), static_cast<size_t>(options_.repeat_last_n)));
  }
  std::unordered_map<int32_t, int> counts;
  for (const int32_t id : recent) ++counts[id];
  for (const auto& [id, count] : counts) {
    if (id < 0 || static_cast<size_t>(id) >= candidates_.size()) continue;
    double& logit = candidates_[static_cast<size_t>(id)].logit;
    logit = logit <= 0 ? logit * options_.repeat_penalty : logit / options_.repeat_penalty;
    logit -= options_.presence_penalty + count * options_.frequency_penalty;
  }
}

void Sampler::keep_top_k() {
  const auto better = [](const Candidate& a, const Candidate& b) {
    return a.logit != b.logit ? a.logit > b.logit : a.id < b.id;
  };
  const size_t k = options_.top_k <= 0 ? candidates_.size()
                                       : std::min(candidates_.size(), static_cast<size_t>(options_.top_k));
  std::partial_sort(candidates_.begin(), candidates_.begin() + static_cast<std::ptrdiff_t>(k),
                    candidates_.end(), better);
  candidates_.resize(k);
}

}  // namespace tl
