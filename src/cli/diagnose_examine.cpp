// What `tl diagnose` looks at, in order of cost.
#include <fmt/format.h>

#include <algorithm>
#include <cmath>
#include <memory>

#include "cli/diagnose.h"
#include "cli/diagnose_run.h"
#include "cli/input.h"
#include "cli/output.h"
#include "cli/progress.h"
#include "inspect/bundle.h"
#include "inspect/structure.h"
#include "inspect/trace_file.h"
#include "inspect/values.h"

namespace tl::cli {

namespace {

using inspect::Recording;

/// What the check of the weights found.
struct Weights {
  std::vector<inspect::WeightAudit> faulty;
  size_t n = 0;
};

Weights look_at_weights(const ModelFile& file, ThreadPool& pool) {
  Progress progress("Looking at the weights", Progress::Unit::bytes);
  auto audits = inspect::audit_weights(file, nullptr, pool,
                                       [&](uint64_t done, uint64_t total) { progress.update(done, total); });
  Weights weights;
  weights.n = audits.size();
  std::erase_if(audits, [](const inspect::WeightAudit& w) { return w.faults.empty(); });
  weights.faulty = std::move(audits);
  return weights;
}

/// Prefill against single steps, and rows against later tokens: with the program as a black box.
void look_at_logits(const ModelOptions& options, const std::vector<int32_t>& ids,
                    const std::vector<float>& in_steps, Diagnosis& d) {
  if (ids.size() < 2) return;
  Feeding at_once(options, ids);
  const std::vector<float> whole = at_once.run(Feed::at_once);
  const int64_t width = at_once.engine().n_vocab();
  d.invariants.push_back(inspect::same_logits("a prompt fed at once and token by token gives the same logits",
                                              in_steps, whole, width));
  std::vector<int32_t> other = ids;
  other.back() = ids.back() == ids[0] ? (ids[0] + 1) % static_cast<int32_t>(width) : ids[0];
  Feeding changed(options, other);
  const std::vector<float> rows = changed.run(Feed::at_once);
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

/// Values of layers, by role: the farthest from what is explained over the steps of the run.
std::vector<OperationCell> operation_cells(const inspect::Comparison& c, const Recording& reference) {
  const std::vector<std::string> roles = inspect::roles(reference);
  std::map<std::pair<int, std::string>, size_t> known;
  std::vector<OperationCell> cells;
  for (const inspect::Pair& pair : c.pairs) {
    const std::string& role = roles[static_cast<size_t>(pair.a)];
    const size_t at = role.find("blk.");
    if (at == std::string::npos || !(pair.explained > 0)) continue;
    const int layer = inspect::layer_of(role);
    const std::string part = role.substr(role.find('.', at + 4) + 1);
    const auto [place, is_new] = known.try_emplace({layer, part}, cells.size());
    const OperationCell cell{part, layer, pair.error, pair.explained};
    if (is_new)
      cells.push_back(cell);
    else if (OperationCell& worst = cells[place->second];
             cell.error / cell.explained > worst.error / worst.explained)
      worst = cell;
  }
  return cells;
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
  feeding.run(Feed::in_steps, [&](int step) { auditor.begin_step(step); });
  feeding.engine().session().set_observer(nullptr);
  for (const inspect::OperationAudit& o : auditor.operations())
    if (!o.faults.empty()) d.kernels.push_back(o);
}

/// Says so where ids are others because a half type cannot hold them.
std::string narrowing(const std::vector<int32_t>& a, const std::vector<int32_t>& b) {
  for (const DType type : {DType::f16, DType::bf16})
    if (std::equal(a.begin(), a.end(), b.begin(), b.end(),
                   [&](int32_t x, int32_t y) { return inspect::rounded(type, x) == y; }))
      return fmt::format(
          ". Every one is what {} makes of the right one: token-ids-{}, keep ids in an integer type",
          name(type), name(type));
  return {};
}

/// "token 0 is 504 in the prompt and 1 in the run"; "" where both are equal.
std::string difference_of(const std::vector<int32_t>& a, const std::string& a_name,
                          const std::vector<int32_t>& b, const std::string& b_name) {
  const size_t n = std::min(a.size(), b.size());
  size_t i = 0;
  while (i < n && a[i] == b[i]) ++i;
  if (i < n)
    return fmt::format("token {} is {} in {} and {} in {}{}", i, a[i], a_name, b[i], b_name, narrowing(a, b));
  if (a.size() == b.size()) return {};
  return fmt::format("{} tokens are in {} and {} in {}", a.size(), a_name, b.size(), b_name);
}

}  // namespace

/// All that is looked at, in order of cost.
class Examiner::Examination {
 public:
  explicit Examination(const DiagnoseOptions& options) : options_(options), pool_(options.model.threads) {
    if (!options.reference.empty()) reference_ = inspect::read_trace(options.reference);
    choose_subject();
    engine_ = Engine::open(oracle_of(model_));
    depths(options.depths, n_layers());  // refused before anything is run
    model_.notice = [this](const std::string& text) { note(text); };
  }

  Diagnosis run(const std::vector<std::string>& plant) {
    d_ = {};
    observed_ = {};
    model_.plant = d_.planted = plant;
    d_.info.model = model_.model, d_.info.program = model_.program, d_.info.device = model_.device;
    if (!weights_) weights_ = look_at_weights(engine_->file(), pool_);
    d_.weights = weights_->faulty, d_.n_weights = weights_->n;
    if (!d_.weights.empty()) return std::move(d_);
    if (runs_main_) {
      say("running the program's main");
      observed_ = record_main(opened_up(model_), options_.args, engine_->n_vocab());
    }
    choose_tokens();
    if (!d_.inputs.empty() && !runs_main_) return std::move(d_);
    run_both(runs_main_ || reference_ ? Feed::at_once : Feed::in_steps);
    d_.invariants = inspect::check_invariants(observed_.recording, engine_->file());
    if (!runs_main_)
      look_at_logits(opened_up(model_), ids_,
                     reference_ ? Feeding(opened_up(model_), ids_).run(Feed::in_steps) : observed_.logits,
                     d_);
    judge();
    // Fed at once, as the trace was, all is right; what is wrong after the prompt shows in steps only.
    const bool steps_differ = std::any_of(d_.invariants.begin(), d_.invariants.end(),
                                          [](const inspect::Invariant& i) { return !i.holds; });
    if (reference_ && !runs_main_ && d_.fault.record < 0 && steps_differ) {
      run_both(Feed::in_steps);
      judge();
    }
    if (d_.fault.record < 0 && !runs_main_) look_at_kernels(model_, ids_, d_);
    if (!options_.bundle.empty() && d_.fault.record < 0)
      say("no bundle was written: no operation of the program is wrong by itself");
    if (options_.precision) look_at_precision();
    return std::move(d_);
  }

 private:
  /// Several runs say the same.
  void note(const std::string& text) {
    if (std::find(d_.notes.begin(), d_.notes.end(), text) != d_.notes.end()) return;
    d_.notes.push_back(text);
    say("note: " + text);
  }

  void choose_subject() {
    model_ = options_.model;
    if (options_.what.ends_with(".tl")) {
      if (model_.model.empty())
        throw UsageError(
            fmt::format("{} is a program: name the model that it runs with --model", options_.what));
      model_.program = options_.what;
      runs_main_ = !options_.args.empty() || !has_forward(model_);
      return;
    }
    if (!model_.model.empty()) throw UsageError("--model is for programs; the model to run is named already");
    if (!options_.args.empty())
      throw UsageError(
          fmt::format("'{}' is too much: only the main of a program takes arguments", options_.args[0]));
    model_.model = options_.what;
  }

  /// Those of the prompt, of the trace and of the program's main have to be the same.
  void choose_tokens() {
    const PromptOptions& p = options_.prompt;
    std::string whose;
    if (p.text || p.tokens || !p.file.empty()) {
      ids_ = prompt_ids(p, engine_->tokenizer()), whose = "the prompt";
    } else if (reference_) {
      ids_ = reference_->info.tokens, whose = "the trace";
      if (ids_.empty())
        throw UsageError(options_.reference + " does not say which tokens were fed: give them, --tokens IDS");
    } else if (runs_main_) {
      ids_ = observed_.recording.info.tokens;
    } else {
      throw UsageError("a prompt is needed: -p TEXT, -f FILE or --tokens IDS");
    }
    d_.info.tokens = ids_;
    if (reference_ && !reference_->info.tokens.empty())
      d_.inputs = difference_of(ids_, whose, reference_->info.tokens, options_.reference);
    if (!runs_main_) return;
    if (d_.inputs.empty())
      d_.inputs = difference_of(ids_, whose, observed_.recording.info.tokens, "the program's run");
    if (!d_.inputs.empty()) reference_.reset();
    ids_ = observed_.recording.info.tokens;  // what it made of those can be judged all the same
  }

  void run_both(Feed feed) {
    if (oracle_.logits.empty() || feed != oracle_feed_ || ids_ != oracle_.recording.info.tokens) {
      say("running the float64 reference");
      oracle_ = record(oracle_of(model_), ids_, feed);
      oracle_feed_ = feed;
    }
    if (runs_main_) return;
    say("running the program under test");
    observed_ = record(opened_up(model_), ids_, feed);
  }

  /// The program under test against our own; with a trace also the trace against both.
  void judge() {
    say("judging the operations");
    const inspect::Comparison c = inspect::compare(oracle_.recording, observed_.recording);
    inspect::Replay replay(oracle_.recording, observed_.recording, c, engine_->file(), reference_backend(),
                           pool_);
    d_.judged = replay.judged().size();
    d_.fault = inspect::first_fault(replay);
    if (d_.fault.record >= 0 && !options_.bundle.empty())
      inspect::write_bundle(options_.bundle, replay, observed_.recording, d_.fault);
    if (d_.fault.record >= 0) d_.all_faults = inspect::further_faults(replay, d_.fault);
    d_.layers = layer_rows(c, oracle_.recording, observed_.recording);
    d_.operations = operation_cells(c, oracle_.recording);
    d_.depths = inspect::by_depth(replay, depths(options_.depths, n_layers()));
    if (reference_ && !d_.reference) look_at_reference();
    if (observed_.logits.empty()) return;
    const std::vector<double> expected = last_of(oracle_.logits, engine_->n_vocab()),
                              found = last_of(observed_.logits, engine_->n_vocab());
    d_.logits = {inspect::summarise(expected), inspect::summarise(found),
                 inspect::divergence(expected, found), expected, found};
    name_tokens();
  }

  void name_tokens() {
    std::vector<int32_t> shown = largest(d_.logits->expected_row, kTopTokens);
    for (const int32_t id : largest(d_.logits->observed_row, kTopTokens)) shown.push_back(id);
    for (const inspect::DepthRow& r : d_.depths)
      shown.push_back(r.expected.top), shown.push_back(r.observed.top);
    for (const int32_t id : shown) d_.texts[id] = escaped(engine_->tokenizer().piece(id));
  }

  void look_at_reference() {
    ReferenceCheck check;
    check.path = options_.reference, check.info = reference_->info;
    const inspect::Comparison c = inspect::compare(*reference_, observed_.recording);
    check.compared = c.pairs.size();
    if (check.compared == 0)
      throw Error(
          fmt::format("{} and the program under test have no value in common; `tl compare --map` shows "
                      "what each calls its own",
                      options_.reference));
    if (c.first >= 0) {
      const inspect::Pair& pair = c.pairs[static_cast<size_t>(c.first)];
      check.name = observed_.recording.records[static_cast<size_t>(pair.b)].name;
      check.foreign_name = reference_->records[static_cast<size_t>(pair.a)].name;
      check.error = pair.error, check.explained = pair.explained;
    }
    const inspect::Comparison ours = inspect::compare(oracle_.recording, *reference_);
    inspect::Replay replay(oracle_.recording, *reference_, ours, engine_->file(), reference_backend(), pool_);
    check.judged = replay.judged().size();
    check.departure = inspect::first_fault(replay);
    d_.reference = std::move(check);
  }

  /// Of a main nothing can be exchanged: then it is the installed program that is looked at.
  void look_at_precision() {
    ModelOptions subject = model_;
    if (runs_main_) subject.program.clear();
    d_.precision = study_precision(subject, ids_);
  }

  int64_t n_layers() const {
    const ModelFile& file = engine_->file();
    return model_.layers ? *model_.layers
                         : file.get_int(file.get_string("general.architecture") + ".block_count");
  }

  const DiagnoseOptions& options_;
  ThreadPool pool_;
  ModelOptions model_;
  bool runs_main_ = false;
  std::optional<Recording> reference_;
  std::unique_ptr<Engine> engine_;
  std::vector<int32_t> ids_;
  std::optional<Weights> weights_;
  Observed oracle_, observed_;
  Feed oracle_feed_ = Feed::in_steps;
  Diagnosis d_;
};

Examiner::Examiner(const DiagnoseOptions& options) : examination_(new Examination(options)) {}
Examiner::~Examiner() = default;

Diagnosis Examiner::examine(const std::vector<std::string>& plant) { return examination_->run(plant); }

}  // namespace tl::cli
