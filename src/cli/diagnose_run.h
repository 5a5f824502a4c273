// The runs that `tl diagnose` looks at: a model's program fed a prompt, or the main of a program.
#pragma once

#include <functional>
#include <memory>
#include <string>
#include <vector>

#include "cli/engine.h"
#include "inspect/recording.h"

namespace tl::cli {

/// Whether a prompt is fed at once, or all but its last two tokens and then one by one, so that what goes
/// wrong after the prompt is seen too.
enum class Feed { at_once, in_steps };

/// A model about to be fed the ids of a prompt, once.
class Feeding {
 public:
  Feeding(const ModelOptions& options, std::vector<int32_t> ids, const KernelChoice& choice = {});

  Engine& engine() { return *engine_; }
  /// Logits of all rows. Calls `begin_step` with 0, 1 … before each bit that is fed.
  std::vector<float> run(Feed feed, const std::function<void(int)>& begin_step = {});

 private:
  std::unique_ptr<Engine> engine_;
  std::vector<int32_t> ids_;
};

/// A run with every value that it had.
struct Observed {
  inspect::Recording recording;
  std::vector<float> logits;  ///< rows, one after another
};

Observed record(const ModelOptions& options, const std::vector<int32_t>& ids, Feed feed);

/// Runs the main of `options.program`. The tokens of the recording are those whose embeddings it read first,
/// the logits those of that pass. Throws Error where it reads no embeddings of a model, or gives no logits.
Observed record_main(const ModelOptions& options, const std::vector<std::string>& args, int64_t n_vocab);

/// Whether a program defines forward(m, ids, cache). Throws ProgramError where it has mistakes, and Error
/// where it has no main either.
bool has_forward(const ModelOptions& options);

/// The program under test as the microscope looks at it: every operation by itself, activations not rounded
/// to 8 bits, which would hide small faults.
ModelOptions opened_up(ModelOptions options);
/// Our own program in float64, without what is planted.
ModelOptions oracle_of(ModelOptions options);

}  // namespace tl::cli
