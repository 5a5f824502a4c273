// A model and its context, as generation runs it.
#pragma once

#include <cstdint>
#include <span>

namespace tl {

/// Takes tokens, gives logits, and can forget its latest tokens again.
class LanguageModel {
 public:
  virtual ~LanguageModel() = default;

  /// Appends `ids` to the context; returns the logits of the last row, or those of all rows one after
  /// another. Valid until the next call. Throws Error where the context cannot hold them, Interrupted on
  /// Ctrl-C; the context is as before then.
  virtual std::span<const float> step(std::span<const int32_t> ids, bool all_rows = false) = 0;
  /// How many tokens the context holds.
  virtual int64_t position() const = 0;
  /// Forgets what follows `position`.
  virtual void truncate(int64_t position) = 0;
  /// Logits per row.
  virtual int64_t n_vocab() const = 0;
};

}  // namespace tl
