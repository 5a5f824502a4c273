#include "cli/diagnose_run.h"

#include <algorithm>

#include <fmt/format.h>

#include "base/interrupt.h"
#include "cli/session.h"
#include "cli/subject.h"
#include "inspect/structure.h"
#include "inspect/values.h"
#include "lang/program.h"
#include "library/model_functions.h"
#include "llm/generate.h"

namespace tl::cli {

namespace {

using inspect::Record;
using inspect::Recording;

inspect::RunInfo info_of(const ModelOptions& options, const Session& session, std::vector<int32_t> tokens) {
  inspect::RunInfo info;
  info.tool = "tl";
  info.program = options.program;
  info.model = options.model;
  info.device = session.backend().name();
  info.activations = activations_name(options.precision);
  info.tokens = std::move(tokens);
  return info;
}

/// The logits of a recording's first pass; empty where it has none.
std::vector<float> logits_in(const Recording& recording, int64_t n_vocab) {
  const std::vector<std::string> roles = inspect::roles(recording);
  const auto at = std::find(roles.begin(), roles.end(), "output");
  if (at == roles.end()) return {};
  const std::vector<double> values =
      inspect::values_of(recording.records[static_cast<size_t>(at - roles.begin())].value);
  if (values.empty() || static_cast<int64_t>(values.size()) % n_vocab != 0) return {};
  return {values.begin(), values.end()};
}

}  // namespace

Feeding::Feeding(const ModelOptions& options, std::vector<int32_t> ids, const KernelChoice& choice)
    : engine_(Engine::open(options, choice)), ids_(std::move(ids)) {
  require_prompt_fits(ids_, engine_->context_length());
}

std::vector<float> Feeding::run(Feed how, const std::function<void(int)>& begin_step) {
  const size_t n = ids_.size(), alone = how == Feed::in_steps ? std::min<size_t>(2, n - 1) : 0;
  std::vector<float> logits;
  int step = 0;
  const auto feed = [&](size_t first, size_t count) {
    check_interrupt();
    if (begin_step) begin_step(step++);
    const auto rows = engine_->step(std::span(ids_).subspan(first, count), true);
    logits.insert(logits.end(), rows.begin(), rows.end());
  };
  feed(0, n - alone);
  for (size_t i = n - alone; i < n; ++i) feed(i, 1);
  return logits;
}

Observed record(const ModelOptions& options, const std::vector<int32_t>& ids, Feed feed) {
  Feeding feeding(options, ids);
  Session& session = feeding.engine().session();
  inspect::Recorder recorder(session.pool(), {.keep = {"*"}});
  session.set_observer(&recorder);
  Observed observed;
  observed.logits = feeding.run(feed, [&](int step) { recorder.begin_step(step); });
  session.set_observer(nullptr);
  observed.recording.info = info_of(options, session, ids);
  observed.recording.records = recorder.take();
  return observed;
}

Observed record_main(const ModelOptions& options, const std::vector<std::string>& args, int64_t n_vocab) {
  SubjectOptions main{.what = options.program, .args = args, .model = options, .prompt = {}};
  main.model.model.clear();
  main.model.program.clear();
  const auto subject = Subject::open(main);
  Session& session = subject->session();
  inspect::Recorder recorder(session.pool(), {.keep = {"*"}});
  session.set_observer(&recorder);
  subject->run([&](int step) { recorder.begin_step(step); });
  session.set_observer(nullptr);
  Observed observed;
  observed.recording.records = recorder.take();
  observed.recording.info = info_of(options, session, inspect::fed_ids(observed.recording));
  if (observed.recording.info.tokens.empty())
    throw Error(fmt::format(
        "{}: its main reads no embeddings of tokens (token_embd.weight), so there is nothing to hold against "
        "the reference. Did it get the arguments it wants? They were: {}",
        options.program, args.empty() ? "none" : fmt::format("'{}'", fmt::join(args, "' '"))));
  observed.logits = logits_in(observed.recording, n_vocab);
  return observed;
}

bool has_forward(const ModelOptions& options) {
  const auto program =
      lang::Program::load(options.program, standard_library(), {{host_options(options).programs_dir}});
  program->require_ok();
  if (program->find("forward") != nullptr) return true;
  if (program->main() == nullptr)
    throw Error(
        fmt::format("{}: neither fn forward(m, ids, cache) nor main: nothing to diagnose", options.program));
  return false;
}

ModelOptions opened_up(ModelOptions options) {
  options.passes = graph::PassOptions::none();
  options.precision.activations = Activations::float32;
  return options;
}

ModelOptions oracle_of(ModelOptions options) {
  options.device = "reference";
  options.program.clear();
  options.plant.clear();
  options.precision = {};
  return options;
}

}  // namespace tl::cli
