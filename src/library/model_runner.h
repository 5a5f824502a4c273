// A model together with the program that runs it.
#pragma once

#include <memory>
#include <span>
#include <string>
#include <vector>

#include "lang/interpreter.h"
#include "library/host.h"
#include "library/model_objects.h"
#include "runtime/step_replay.h"

namespace tl {

/// Feeds token ids to a model program's forward(m, ids, cache) and gives logits.
class ModelRunner {
 public:
  /// Finds the program by the model's architecture (ARCHITECTURE.tl in the programs folder), or the host's
  /// `program`. Throws Error naming the programs there are, or ProgramError.
  ModelRunner(std::shared_ptr<const Model> model, RuntimeHost& host);

  const Model& model() const { return *model_; }
  KvCache& cache() { return object_->cache(); }
  const KvCache& cache() const { return object_->cache(); }

  /// Appends `ids` to the cache; float32 logits of the last row, or of all rows one after another, valid
  /// until the next call. When it throws (Interrupted too) the cache is as before.
  std::span<const float> step(std::span<const int32_t> ids, bool all_rows);

 private:
  std::shared_ptr<const Model> model_;
  RuntimeHost& host_;
  CacheObject* object_;
  lang::Value model_value_, cache_value_;
  /// Computes the logits by the program, and learns from it whether the next step can do without.
  Tensor walk(const Tensor& ids, bool all_rows);

  std::unique_ptr<lang::Interpreter> interpreter_;
  StepReplay replay_;
  int64_t n_truncations_ = 0;  ///< of the cache, when `replay_` learned
  Tensor logits_;
};

/// The model program for an architecture: its path. Throws Error naming the programs there are.
std::string model_program(const std::string& architecture, const std::string& programs_dir);

}  // namespace tl
