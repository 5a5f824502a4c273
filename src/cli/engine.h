// A model ready to run, as the commands see it.
#pragma once

#include <cstdint>
#include <memory>
#include <span>
#include <string>

#include "cli/options.h"
#include "cli/session.h"
#include "formats/model_file.h"
#include "runtime/session.h"
#include "text/tokenizer.h"

namespace tl::cli {

/// An open model with its program, its backend and a KV cache.
class Engine {
 public:
  /// Resolves and opens the model, chooses its program by architecture (or --program) and sizes the cache.
  /// Throws Error or ProgramError. `choice` may give other kernels than the backend's.
  static std::unique_ptr<Engine> open(const ModelOptions& options, const KernelChoice& choice = {});
  virtual ~Engine() = default;

  /// What it is computed in.
  virtual Session& session() = 0;
  virtual const ModelFile& file() const = 0;
  virtual const Tokenizer& tokenizer() const = 0;
  /// Logits per row.
  virtual int64_t n_vocab() const = 0;
  /// How many tokens the cache can hold.
  virtual int64_t context_length() const = 0;

  /// Appends `ids` to the cache; returns the logits of the last row, or those of all rows one after another.
  /// Valid until the next call. Throws Error where the cache cannot hold them, Interrupted on Ctrl-C
  /// (position() then says what was kept).
  virtual std::span<const float> step(std::span<const int32_t> ids, bool all_rows = false) = 0;
  /// How many tokens the cache holds.
  virtual int64_t position() const = 0;
  /// Forgets what follows `position`.
  virtual void truncate(int64_t position) = 0;
};

}  // namespace tl::cli
