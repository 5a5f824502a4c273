// A model and its context, as generation runs it.
#pragma once

#include <cstdint>
#include <span>
#include <vector>

namespace tl {

/// A token and its logit.
struct Candidate {
  int32_t id;
  double logit;
};

/// Takes tokens, gives logits, and can forget its latest tokens again.
class LanguageModel {
 public:
  virtual ~LanguageModel() = default;

  /// Appends `ids` to the context; returns the logits of the last row, or those of all rows one after
  /// another. Valid until the next call. Throws Error where the context cannot hold them, Interrupted on
  /// Ctrl-C; the context is as before then.
  virtual std::span<const float> step(std::span<const int32_t> ids, bool all_rows = false) = 0;
  /// Does the same, and gives the `k` tokens of the largest logits of the last row: the largest first, equal
  /// ones by id, NaN before all. k is 1 to most_best().
  virtual std::vector<Candidate> step_best(std::span<const int32_t> ids, int64_t k) {
    (void)ids, (void)k;
    return {};
  }
  /// The most tokens that step_best() gives; 0 where that is no faster than to look at all logits.
  virtual int64_t most_best() const { return 0; }
  /// How many tokens the context holds.
  virtual int64_t position() const = 0;
  /// Forgets what follows `position`.
  virtual void truncate(int64_t position) = 0;
  /// Logits per row.
  virtual int64_t n_vocab() const = 0;
};

}  // namespace tl
