// A model together with the program that runs it.
#pragma once

#include <map>
#include <memory>
#include <optional>
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
  int32_t step_and_draw(std::span<const int32_t> ids, const Draw& draw) override;
  int64_t most_candidates() const override;
  int64_t position() const override { return cache().length(); }
  void truncate(int64_t position) override { cache().truncate(position); }
  int64_t n_vocab() const override { return model_->config().vocab_size; }

 private:
  std::shared_ptr<const Model> model_;
  RuntimeHost& host_;
  CacheObject* object_;
  lang::Value model_value_, cache_value_;
  /// What is wanted of a step: logits of the last row, those of all, or a token.
  struct Wanted {
    bool all_rows = false;
    std::optional<Draw> draw = {};
  };
  Tensor feed(std::span<const int32_t> ids, const Wanted& wanted);
  /// Computes it by the program from the step's inputs, the ids and what is drawn by, and learns from that
  /// whether the next step can do without.
  Tensor walk(std::span<const Tensor> inputs, const Wanted& wanted);

  /// What is known of steps that differ in their inputs only; null where such steps are not likely to come
  /// again.
  StepReplay* replay_of(int64_t rows, const Wanted& wanted);
  void forget_replays();

  std::unique_ptr<lang::Interpreter> interpreter_;
  std::map<int64_t, StepReplay> replays_;  ///< of steps that give logits, by rows
  /// Of steps of a row that draw, from so many candidates with these options.
  struct DrawReplay {
    int64_t candidates;
    DrawOptions options;
    StepReplay replay = {};
  };
  std::optional<DrawReplay> draw_replay_;
  int64_t n_copies_ = 0;  ///< of the cache, when they learned
  Tensor logits_;
};

/// The model program for an architecture: its path. Throws Error naming the programs there are.
std::string model_program(const std::string& architecture, const std::string& programs_dir);

}  // namespace tl
