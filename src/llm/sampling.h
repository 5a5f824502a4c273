// Choosing the next token from logits, with llama.cpp's options, names, defaults and order.
#pragma once

#include <cstdint>
#include <optional>
#include <random>
#include <span>
#include <vector>

#include "llm/language_model.h"

namespace tl {

/// How to sample. The defaults are llama.cpp's.
struct SamplingOptions {
  double temp = 0.8;               ///< divides the logits; 0 (or less) takes the largest logit
  int64_t top_k = 40;              ///< keep the k largest; 0 or less: all
  double top_p = 0.95;             ///< keep the fewest whose probabilities reach p; 1: all
  double min_p = 0.05;             ///< keep those at least p times as probable as the best; 0: all
  double repeat_penalty = 1.0;     ///< divides positive and multiplies negative logits of recent tokens
  double presence_penalty = 0.0;   ///< subtracted from the logits of recent tokens
  double frequency_penalty = 0.0;  ///< subtracted once per occurrence
  int64_t repeat_last_n = 64;      ///< how many tokens are recent; -1: all, 0: none
  int64_t seed = -1;               ///< -1: a random one
};

/// log Σ exp(logit), in double: a logit minus this is the log of its probability. Throws Error where a logit
/// is NaN or +Inf, or none is finite.
double log_normaliser(std::span<const float> logits);

/// The log of softmax(logits)[id], for all ids, in double. Throws Error as log_normaliser() does.
std::vector<double> log_probabilities(std::span<const float> logits);

/// The index of the largest logit, the first of equals. Throws Error as log_normaliser() does.
int32_t argmax(std::span<const float> logits);

/// The token that Op::draw gave. Throws Error as Sampler::sample() does.
int32_t drawn_token(int64_t drawn);

/// Draws tokens: penalties, top-k, top-p, min-p, temperature, then one draw. The same seed and logits give
/// the same tokens on every machine: the generator is std::mt19937_64, whose output the C++ standard fixes; a
/// draw takes the upper 53 bits of one output as u in [0, 1) and the first candidate, from the most probable
/// on (equal logits by id), at which the cumulative probability exceeds u.
class Sampler {
 public:
  /// Throws UsageError for options outside their range.
  explicit Sampler(const SamplingOptions& options);

  /// The next token, given the tokens so far (for the penalties). Throws Error where a logit is NaN or +Inf,
  /// or none is finite.
  int32_t sample(std::span<const float> logits, std::span<const int32_t> recent);

  /// How many of the largest logits decide, if not all of them do: top-k keeps no more (and temperature 0
  /// one), and nobody is penalised.
  std::optional<int64_t> deciding() const;
  /// What draws the token from `candidates` of the largest logits that sample() would: at most so many as
  /// decide, and fewer only if there are no more. Goes on with the generator as that does.
  Draw next_draw(int64_t candidates);

  /// The seed in use: the option's, or the one drawn for -1.
  uint64_t seed() const { return seed_; }

 private:
  bool penalises() const;
  void penalise(std::span<const int32_t> recent);
  void keep_top_k();
  int64_t random_bits() { return static_cast<int64_t>(generator_() >> 11); }

  SamplingOptions options_;
  DrawOptions draw_options_;
  uint64_t seed_;
  std::mt19937_64 generator_;
  struct Candidate {
    int32_t id;
    double logit;
  };
  std::vector<Candidate> candidates_;
  std::vector<double> kept_;  ///< logits of those that top-k keeps
};

}  // namespace tl
