// tl diagnose MODEL|PROGRAM: which operation of which layer is wrong, and why.
#include "cli/diagnose.h"

#include <fmt/format.h>

#include <CLI/CLI.hpp>
#include <algorithm>
#include <cmath>
#include <memory>

#include "base/interrupt.h"
#include "cli/commands.h"
#include "cli/engine.h"
#include "cli/input.h"
#include "cli/output.h"
#include "cli/progress.h"
#include "cli/subject.h"
#include "inspect/structure.h"
#include "llm/generate.h"

namespace tl::cli {

namespace {

using inspect::Recording;

struct DiagnoseCommand {
  std::string what;
  ModelOptions model;
  PromptOptions prompt;
  std::string depths;
  bool json = false;
};

/// A model fed in steps: all but the last two tokens, then one by one, so that what goes wrong after the
/// prompt is seen too.
class Feeding {
 public:
  Feeding(const ModelOptions& options, std::vector<int32_t> ids)
      : engine_(Engine::open(options)), ids_(std::move(ids)) {
    require_prompt_fits(ids_, engine_->context_length());
  }

  Engine& engine() { return *engine_; }

  /// Logits of all rows.
  std::vector<float> run(bool in_steps, const std::function<void(int)>& begin_step = {}) {
    const size_t n = ids_.size(), alone = in_steps ? std::min<size_t>(2, n - 1) : 0;
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

 private:
  std::unique_ptr<Engine> engine_;
  std::vector<int32_t> ids_;
};

struct Observed {
  Recording recording;
  std::vector<float> logits;
};

Observed record(const ModelOptions& options, const std::vector<int32_t>& ids) {
  Feeding feeding(options, ids);
  Session& session = feeding.engine().session();
  inspect::Recorder recorder(session.pool(), {.keep = {"*"}});
  session.set_observer(&recorder);
  Observed observed;
  observed.logits = feeding.run(true, [&](int step) { recorder.begin_step(step); });
  session.set_observer(nullptr);
  observed.recording.info.tool = "tl";
  observed.recording.info.device = session.backend().name();
  observed.recording.info.activations = options.activations;
  observed.recording.info.tokens = ids;
  observed.recording.records = recorder.take();
  return observed;
}

/// The program under test as the microscope looks at it: every operation by itself, activations not rounded
/// to 8 bits, which would hide small faults.
ModelOptions opened_up(ModelOptions options) {
  options.unfused = true;
  options.activations = "float32";
  return options;
}

/// Our own program in float64, without what is planted.
ModelOptions oracle_of(ModelOptions options) {
  options.device = "reference";
  options.program.clear();
  options.plant.clear();
  return options;
}

void look_at_weights(const ModelOptions& options, Diagnosis& d) {
  ModelOptions clean = oracle_of(options);
  const auto engine = Engine::open(clean);
  ThreadPool pool(options.threads);
  Progress progress("Looking at the weights", Progress::Unit::bytes);
  auto audits = inspect::audit_weights(engine->file(), nullptr, pool,
                                       [&](uint64_t done, uint64_t total) { progress.update(done, total); });
  d.n_weights = audits.size();
  std::erase_if(audits, [](const inspect::WeightAudit& w) { return w.faults.empty(); });
  d.weights = std::move(audits);
}

/// Prefill against single steps, and rows against later tokens: with the program as a black box.
void look_at_logits(const ModelOptions& options, const std::vector<int32_t>& ids,
                    const std::vector<float>& in_steps, Diagnosis& d) {
  if (ids.size() < 2) return;
  Feeding at_once(options, ids);
  const std::vector<float> whole = at_once.run(false);
  const int64_t width = at_once.engine().n_vocab();
  d.invariants.push_back(inspect::same_logits("a prompt fed at once and token by token gives the same logits",
                                              in_steps, whole, width));
  std::vector<int32_t> other = ids;
  other.back() = ids.back() == ids[0] ? (ids[0] + 1) % static_cast<int32_t>(width) : ids[0];
  Feeding changed(options, other);
  const std::vector<float> rows = changed.run(false);
  const size_t before = whole.size() - static_cast<size_t>(width);
  d.invariants.push_back(inspect::same_logits("changing the last token leaves the rows before it unchanged",
                                              std::span(whole).first(before), std::span(rows).first(before),
                                              width));
}

/// The last row of the logits.
std::vector<double> last_of(const std::vector<float>& logits, int64_t width) {
  return {logits.end() - width, logits.end()};
}

/// "0,1,2,10,22": numbers of layers; the default is the first, the second, the middle and all.
std::vector<int64_t> depths(const std::string& text, int64_t n_layers) {
  std::vector<int64_t> counts;
  if (text.empty()) {
    counts = {0, 1, 2, n_layers / 2, n_layers};
    std::sort(counts.begin(), counts.end());
    counts.erase(std::unique(counts.begin(), counts.end()), counts.end());
    std::erase_if(counts, [&](int64_t n) { return n > n_layers; });
    return counts;
  }
  for (const int32_t n : parse_token_ids(text)) {
    if (n > n_layers) throw UsageError(fmt::format("--depths {}: the model has {} layers", n, n_layers));
    counts.push_back(n);
  }
  return counts;
}

std::vector<LayerRow> layer_rows(const inspect::Comparison& c, const Recording& a, const Recording& b) {
  const std::vector<std::string> roles = inspect::roles(a);
  std::vector<LayerRow> rows;
  for (const inspect::Pair& pair : c.pairs) {
    const std::string& role = roles[static_cast<size_t>(pair.a)];
    if (!role.starts_with("blk.") || !role.ends_with(".ffn_residual")) continue;
    const auto rms = [](const Recording& r, int i) {
      const auto& s = r.records[static_cast<size_t>(i)].statistics;
      return s ? s->rms() : std::nan("");
    };
    rows.push_back({inspect::layer_of(role), rms(a, pair.a), rms(b, pair.b), pair.error});
  }
  return rows;
}

/// The kernels of the run as it was asked for, fused and with its activations.
void look_at_kernels(const ModelOptions& options, const std::vector<int32_t>& ids, Diagnosis& d) {
  Feeding feeding(options, ids);
  inspect::AuditOptions how;
  how.sampled_rows = 2;
  how.threads = {1, 2};
  how.variations = false;
  Progress progress("Auditing kernels");
  uint64_t done = 0;
  how.done = [&](const inspect::OperationAudit&) { progress.update(++done, 0); };
  inspect::Auditor auditor(feeding.engine().session(), reference_backend(), how);
  feeding.engine().session().set_observer(&auditor);
  feeding.run(true, [&](int step) { auditor.begin_step(step); });
  feeding.engine().session().set_observer(nullptr);
  for (const inspect::OperationAudit& o : auditor.operations())
    if (!o.faults.empty()) d.kernels.push_back(o);
}

Diagnosis examine(const DiagnoseCommand& options) {
  ModelOptions model = options.model;
  if (options.what.ends_with(".tl")) {
    if (model.model.empty())
      throw UsageError(
          fmt::format("{} is a program: name the model that it runs with --model", options.what));
    model.program = options.what;
  } else {
    if (!model.model.empty()) throw UsageError("--model is for programs; the model to run is named already");
    model.model = options.what;
  }
  const PromptOptions& p = options.prompt;
  if (!p.text && !p.tokens && p.file.empty())
    throw UsageError("a prompt is needed: -p TEXT, -f FILE or --tokens IDS");
  Diagnosis d;
  look_at_weights(model, d);
  d.info.model = model.model, d.info.program = model.program;
  if (!d.weights.empty()) return d;

  const auto engine = Engine::open(oracle_of(model));
  const int64_t n_layers =
      model.layers
          ? *model.layers
          : engine->file().get_int(engine->file().get_string("general.architecture") + ".block_count");
  depths(options.depths, n_layers);  // refused before anything is run
  const std::vector<int32_t> ids = prompt_ids(p, engine->tokenizer());
  say("running the float64 reference");
  const Observed reference = record(oracle_of(model), ids);
  say("running the program under test");
  const Observed observed = record(opened_up(model), ids);
  d.info = observed.recording.info;
  d.info.model = model.model, d.info.program = model.program, d.info.device = model.device;

  d.invariants = inspect::check_invariants(observed.recording, engine->file());
  look_at_logits(opened_up(model), ids, observed.logits, d);

  const inspect::Comparison c = inspect::compare(reference.recording, observed.recording);
  d.layers = layer_rows(c, reference.recording, observed.recording);
  ThreadPool pool(model.threads);
  inspect::Replay replay(reference.recording, observed.recording, c, engine->file(), reference_backend(),
                         pool);
  d.judged = replay.judged().size();
  say("judging the operations");
  d.fault = inspect::first_fault(replay);
  if (d.fault.record < 0) look_at_kernels(model, ids, d);

  d.depths = inspect::by_depth(replay, depths(options.depths, n_layers));
  const std::vector<double> expected = last_of(reference.logits, engine->n_vocab()),
                            found = last_of(observed.logits, engine->n_vocab());
  d.logits = {inspect::summarise(expected), inspect::summarise(found), inspect::divergence(expected, found)};
  return d;
}

void diagnose(const DiagnoseCommand& options) {
  const Diagnosis d = examine(options);
  if (options.json)
    print_json_report(d);
  else
    print_report(d);
  if (!d.is_healthy()) throw Found();
}

}  // namespace

void add_diagnose(CLI::App& app) {
  auto options = std::make_shared<DiagnoseCommand>();
  CLI::App* command =
      app.add_subcommand("diagnose", "Find the layer, the operation and the name of a numerical fault");
  command
      ->add_option(
          "MODEL|PROGRAM", options->what,
          "A model (a file, or a name from `tl models`), or a program (.tl) with forward(m, ids, cache)")
      ->required();
  command->add_option("--model", options->model.model, "The model that the program's forward is given")
      ->option_text("MODEL");
  add_prompt_options(*command, options->prompt);
  command
      ->add_option("--depths", options->depths,
                   "Numbers of layers after which to show what the model would say: 0,1,2,10,22")
      ->option_text("LIST");
  command->add_flag("--json", options->json, "Print JSON");
  add_model_options(*command, options->model);
  command->footer(
      "The program is held against the installed program of the model's architecture in float64.\n"
      "Exit status: 0 healthy, 3 a fault was found.");
  command->callback([options] { diagnose(*options); });
}

}  // namespace tl::cli
