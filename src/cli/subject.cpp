#include "cli/subject.h"

#include <fmt/format.h>

#include <CLI/CLI.hpp>
#include <algorithm>

#include "base/interrupt.h"
#include "cli/engine.h"
#include "cli/input.h"
#include "cli/session.h"
#include "cli/version.h"
#include "lang/interpreter.h"
#include "lang/program.h"
#include "library/model_functions.h"
#include "llm/generate.h"

namespace tl::cli {

namespace {

inspect::RunInfo info_of(const ModelOptions& options, const Session& session) {
  inspect::RunInfo info;
  info.tool = "tl";
  info.device = session.backend().name();
  info.activations = activations_name(session.options().precision);
  info.program = options.program;
  info.model = options.model;
  return info;
}

/// A model that is fed a prompt.
class ModelSubject : public Subject {
 public:
  ModelSubject(const ModelOptions& model, const SubjectOptions& options)
      : engine_(Engine::open(model)), info_(info_of(model, engine_->session())), batch_(model.batch) {
    info_.tokens = prompt_ids(options.prompt, engine_->tokenizer());
    follow_ = options.follow;
    require_prompt_fits(info_.tokens, engine_->context_length() - follow_);
  }

  Session& session() override { return engine_->session(); }
  const inspect::RunInfo& info() const override { return info_; }
  const std::vector<float>& logits() const override { return logits_; }

  void run(const std::function<void(int)>& begin_step) override {
    int step = 0;
    for (size_t at = 0; at < info_.tokens.size();) {
      const size_t n = std::min(info_.tokens.size() - at, static_cast<size_t>(batch_));
      begin_step(step++);
      feed(std::span(info_.tokens).subspan(at, n));
      at += n;
    }
    for (int64_t i = 0; i < follow_; ++i) {
      const auto best = std::max_element(logits_.begin(), logits_.end());
      const std::vector<int32_t> next{static_cast<int32_t>(best - logits_.begin())};
      begin_step(step++);
      feed(next);
    }
  }

 private:
  void feed(std::span<const int32_t> ids) {
    check_interrupt();
    const auto last = engine_->step(ids, true).last(static_cast<size_t>(engine_->n_vocab()));
    logits_.assign(last.begin(), last.end());
  }

  std::unique_ptr<Engine> engine_;
  inspect::RunInfo info_;
  int64_t batch_, follow_ = 0;
  std::vector<float> logits_;
};

/// What a program prints goes to standard error: standard output is the report's.
class QuietHost : public RuntimeHost {
 public:
  using RuntimeHost::RuntimeHost;
  void print(std::string_view text) override { fmt::print(stderr, "{}", text); }
};

/// A program's main.
class MainSubject : public Subject {
 public:
  explicit MainSubject(const SubjectOptions& options)
      : args_(options.args),
        session_(make_session(options.model)),
        host_(*session_, host_options(options.model)),
        info_(info_of(options.model, *session_)) {
    info_.program = options.what;
    const auto program =
        lang::Program::load(options.what, standard_library(), {{host_.options().programs_dir}});
    program->require_ok();
    interpreter_ = std::make_unique<lang::Interpreter>(program, host_);
  }

  Session& session() override { return *session_; }
  const inspect::RunInfo& info() const override { return info_; }
  const std::vector<float>& logits() const override { return logits_; }
  void run(const std::function<void(int)>& begin_step) override {
    begin_step(0);
    interpreter_->run_main(args_);
  }

 private:
  std::vector<std::string> args_;
  std::unique_ptr<Session> session_;
  QuietHost host_;
  inspect::RunInfo info_;
  std::unique_ptr<lang::Interpreter> interpreter_;
  std::vector<float> logits_;
};

}  // namespace

void add_subject_options(CLI::App& command, SubjectOptions& o) {
  command
      .add_option("MODEL|PROGRAM", o.what, "A model (a file, or a name from `tl models`), or a program (.tl)")
      ->required();
  command.add_option("ARGS", o.args, "The list `args` of the program's main");
  command
      .add_option("--model", o.model.model, "The model that the program's forward(m, ids, cache) is given")
      ->option_text("MODEL");
  add_prompt_options(command, o.prompt);
  command.add_option("-n,--follow", o.follow, "Greedy tokens to feed after the prompt, one step each")
      ->check(CLI::Range(int64_t{0}, int64_t{1} << 20));
  add_model_options(command, o.model);
}

std::unique_ptr<Subject> Subject::open(const SubjectOptions& options) {
  const bool is_program = options.what.ends_with(".tl");
  const bool has_prompt = options.prompt.text || options.prompt.tokens || !options.prompt.file.empty();
  ModelOptions model = options.model;
  if (is_program && model.model.empty()) {
    if (has_prompt || options.follow > 0)
      throw UsageError(
          fmt::format("{} runs its main, which takes no prompt; name a model with --model to feed "
                      "its forward",
                      options.what));
    return std::make_unique<MainSubject>(options);
  }
  if (!options.args.empty())
    throw UsageError(
        fmt::format("'{}' is too much: only the main of a program takes arguments", options.args[0]));
  if (is_program) {
    model.program = options.what;
  } else if (!model.model.empty()) {
    throw UsageError("--model is for programs; the model to run is named already");
  } else {
    model.model = options.what;
  }
  if (!has_prompt) throw UsageError("a prompt is needed: -p TEXT, -f FILE or --tokens IDS");
  return std::make_unique<ModelSubject>(model, options);
}

}  // namespace tl::cli
