// --profile and --profile-json: where the time of a command's runs goes.
#pragma once

#include <memory>
#include <string>

#include "inspect/profile.h"
#include "llm/language_model.h"

namespace CLI {
class App;
}

namespace tl::cli {

struct ProfileOptions {
  bool show = false;
  std::string json;  ///< a file for the Chrome trace, or ""
};

void add_profile_options(CLI::App& command, ProfileOptions& options);

/// Watches a session while it lives, if the options ask for that.
class Profiler {
 public:
  Profiler(const ProfileOptions& options, Session& session);
  ~Profiler();
  Profiler(const Profiler&) = delete;
  Profiler& operator=(const Profiler&) = delete;

  /// Marks the time until the result's end: tokens that are fed, several as a prompt, or to verify a draft.
  std::unique_ptr<inspect::Profile::Stretch> feed(size_t tokens, bool is_draft = false);
  /// The same of a whole program.
  std::unique_ptr<inspect::Profile::Stretch> program();
  /// Prints the tables on standard error and writes the trace.
  void report();

 private:
  ProfileOptions options_;
  Session& session_;
  std::unique_ptr<inspect::Profile> profile_;
};

/// A model whose steps are marked for a profiler.
class ProfiledModel final : public LanguageModel {
 public:
  ProfiledModel(LanguageModel& model, Profiler& profiler) : model_(model), profiler_(profiler) {}

  std::span<const float> step(std::span<const int32_t> ids, bool all_rows) override {
    const auto timed = profiler_.feed(ids.size(), all_rows);
    return model_.step(ids, all_rows);
  }
  int32_t step_and_draw(std::span<const int32_t> ids, const Draw& draw) override {
    const auto timed = profiler_.feed(ids.size());
    return model_.step_and_draw(ids, draw);
  }
  int64_t most_candidates() const override { return model_.most_candidates(); }
  int64_t position() const override { return model_.position(); }
  void truncate(int64_t position) override { model_.truncate(position); }
  int64_t n_vocab() const override { return model_.n_vocab(); }

 private:
  LanguageModel& model_;
  Profiler& profiler_;
};

}  // namespace tl::cli
