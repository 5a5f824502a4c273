// What lies under the microscope: the run that `tl trace`, `tl audit` and their like watch.
#pragma once

#include <functional>
#include <memory>
#include <string>
#include <vector>

#include "cli/options.h"
#include "inspect/recording.h"

namespace CLI {
class App;
}

namespace tl::cli {

struct SubjectOptions {
  std::string what;               ///< a model, or a program (….tl)
  std::vector<std::string> args;  ///< of a program's main
  ModelOptions model;             ///< `model` is --model: what a program's forward is given
  PromptOptions prompt;
  int64_t follow = 0;  ///< greedy tokens fed after the prompt, each a step of its own
};

/// Adds the operands, the prompt and the model options.
void add_subject_options(CLI::App& command, SubjectOptions& options);

/// A model with its program and a prompt, or a program's main, ready to run once.
class Subject {
 public:
  /// A model is run by the program of its architecture (or --program); a program with --model by its forward;
  /// a program alone by its main. Throws Error or ProgramError; UsageError where the options do not fit.
  static std::unique_ptr<Subject> open(const SubjectOptions& options);
  virtual ~Subject() = default;

  virtual Session& session() = 0;
  /// What is run; tokens as they will be fed.
  virtual const inspect::RunInfo& info() const = 0;
  /// Runs it, all rows of the logits included. Calls `begin_step` with 0, 1 … before each bit that is fed.
  virtual void run(const std::function<void(int)>& begin_step) = 0;
  /// Float32 logits of the last row of the last step; empty after a main.
  virtual const std::vector<float>& logits() const = 0;
};

}  // namespace tl::cli
