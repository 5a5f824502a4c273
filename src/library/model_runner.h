// A model together with the program that runs it.
#pragma once

#include <map>
#include <memory>
#include <span>
#include <string>
#include <vector>

#include "lang/interpreter.h"
#include "library/host.h"
#include "library/model_objects.h"
#include "llm/language_model.h"
#include "runtime/step_replay.h"

namespace tl {

/// Feeds token ids to a model program's forward(m, ids, cache) and gives logits.
class ModelRunner : public LanguageModel {
 public:
  /// Finds the program by the model's architecture (ARCHITECTURE.tl in the programs folder), or the host's
  /// `program`. Throws Error naming the programs there are, or ProgramError.
  ModelRunner(std::shared_ptr<const Model> model, RuntimeHost& host);

  const Model& model() const { return *model_; }
  KvCache& cache() { return object_->cache(); }
  const KvCache& cache() const { return object_->cache(); }

  std::span<const float> step(std::span<const int32_t> ids, bool all_rows = false) override;
  std::vector<Candidate> step_best(std::span<const int32_t> ids, int64_t k) override;
  int64_t most_best() const override;
  int64_t position() const override { return cache().length(); }
  void truncate(int64_t position) override { cache().truncate(position); }
  int64_t n_vocab() const override { return model_->config().vocab_size; }

 private:
  std::shared_ptr<const Model> model_;
  RuntimeHost& host_;
  CacheObject* object_;
  lang::Value model_value_, cache_value_;
  /// What is wanted of a step: logits of the last row, those of all, or the largest of the last row.
  struct Wanted {
    bool all_rows = false;
    int64_t best = 0;  ///< so many; 0: all
  };
  Tensor feed(std::span<const int32_t> ids, Wanted wanted);
  /// Computes it by the program, and learns from that whether the next step can do without.
  Tensor walk(const Tensor& ids, Wanted wanted);

  /// What is known of steps of that many rows; null where such steps are not likely to come again.
  StepReplay* replay_of(int64_t rows, Wanted wanted);

  std::unique_ptr<lang::Interpreter> interpreter_;
  std::map<std::pair<int64_t, int64_t>, StepReplay> replays_;  ///< by rows, and by what is best
  int64_t n_copies_ = 0;                                       ///< of the cache, when they learned
  Tensor logits_;
};

/// The model program for an architecture: its path. Throws Error naming the programs there are.
std::string model_program(const std::string& architecture, const std::string& programs_dir);

}  // namespace tl
