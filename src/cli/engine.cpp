#include "cli/engine.h"

#include <fmt/format.h>

#include "cli/output.h"
#include "cli/session.h"
#include "library/host.h"
#include "library/model_runner.h"

namespace tl::cli {

namespace {

class ProgramEngine : public Engine {
 public:
  ProgramEngine(const ModelOptions& options, std::unique_ptr<Session> session)
      : ProgramEngine(options, *session) {
    own_session_ = std::move(session);
  }
  ProgramEngine(const ModelOptions& options, Session& session)
      : host_(session, host_options(options)), runner_(host_.open_model(options.model), host_) {}

  Session& session() override { return host_.session(); }
  const ModelFile& file() const override { return runner_.model().file(); }
  const Tokenizer& tokenizer() const override { return runner_.model().tokenizer(); }
  int64_t n_vocab() const override { return runner_.n_vocab(); }
  int64_t context_length() const override { return runner_.cache().capacity(); }
  std::span<const float> step(std::span<const int32_t> ids, bool all_rows) override {
    return runner_.step(ids, all_rows);
  }
  int32_t step_and_draw(std::span<const int32_t> ids, const Draw& draw) override {
    return runner_.step_and_draw(ids, draw);
  }
  int64_t most_candidates() const override { return runner_.most_candidates(); }
  int64_t position() const override { return runner_.position(); }
  void truncate(int64_t position) override { runner_.truncate(position); }
  int64_t trained_context() const { return runner_.model().config().context_length; }

 private:
  std::unique_ptr<Session> own_session_;  ///< null where it is somebody else's
  RuntimeHost host_;
  ModelRunner runner_;
};

}  // namespace

std::unique_ptr<Engine> Engine::open(const ModelOptions& options, const KernelChoice& choice) {
  auto engine = std::make_unique<ProgramEngine>(options, make_session(options, choice));
  if (engine->context_length() > engine->trained_context()) {
    say(fmt::format("note: a context of {} tokens is more than the {} this model was trained for",
                    engine->context_length(), engine->trained_context()));
  }
  return engine;
}

std::unique_ptr<Engine> Engine::open_beside(Engine& engine, const ModelOptions& options) {
  return std::make_unique<ProgramEngine>(options, engine.session());
}

}  // namespace tl::cli
