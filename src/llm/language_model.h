// A model and its context, as generation runs it.
#pragma once

#include <cstdint>
#include <optional>
#include <span>

#include "ops/draw.h"

namespace tl {

/// How the next token is to be drawn.
struct Draw {
  int64_t candidates;  ///< so many of the largest logits, from 1 on
  DrawOptions options;
  int64_t bits;  ///< 53 random ones
  /// Those of the token after it, if that will be drawn likewise once this one was fed: a device may begin
  /// before it is asked to.
  std::optional<int64_t> bits_after = {};
};

/// Takes tokens, gives logits, and can forget its latest tokens again.
class LanguageModel {
 public:
  virtual ~LanguageModel() = default;

  /// Appends `ids` to the context; returns the logits of the last row, or those of all rows one after
  /// another. Valid until the next call. Throws Error where the context cannot hold them, Interrupted on
  /// Ctrl-C; the context is as before then.
  virtual std::span<const float> step(std::span<const int32_t> ids, bool all_rows = false) = 0;
  /// Appends `ids` likewise, and gives a token drawn from the largest logits of the last row (equal ones by
  /// id). Throws also where one of the logits is NaN or +Inf, or none is finite; the context holds `ids`
  /// then.
  virtual int32_t step_and_draw(std::span<const int32_t> ids, const Draw& draw) {
    (void)ids, (void)draw;
    return -1;
  }
  /// The most candidates that step_and_draw() takes; 0 where it is no faster than to look at all logits.
  virtual int64_t most_candidates() const { return 0; }
  /// How many tokens the context holds.
  virtual int64_t position() const = 0;
  /// Forgets what follows `position`.
  virtual void truncate(int64_t position) = 0;
  /// Logits per row.
  virtual int64_t n_vocab() const = 0;
};

}  // namespace tl
