// tl audit MODEL|PROGRAM: every operation of a run against its definition.
#include "inspect/audit.h"

#include <fmt/format.h>

#include <CLI/CLI.hpp>
#include <algorithm>
#include <map>
#include <memory>
#include <nlohmann/json.hpp>

#include "cli/commands.h"
#include "cli/json.h"
#include "cli/output.h"
#include "cli/progress.h"
#include "cli/subject.h"
#include "formats/registry.h"
#include "inspect/weights.h"

namespace tl::cli {

namespace {

using inspect::OperationAudit;
using inspect::WeightAudit;
using nlohmann::ordered_json;

struct AuditCommand {
  SubjectOptions subject;
  std::string against;
  int64_t rows = 4;
  bool inherited = true, weights_only = false, json = false;
};

/// Everything that was found.
struct Findings {
  inspect::RunInfo info;
  std::vector<OperationAudit> operations;
  std::vector<WeightAudit> weights;

  size_t faults() const {
    size_t n = 0;
    for (const auto& o : operations) n += o.faults.size();
    for (const auto& w : weights) n += w.faults.size();
    return n;
  }
};

/// The run by the reference backend, its values kept.
inspect::Recording reference_run(const AuditCommand& options) {
  SubjectOptions subject = options.subject;
  subject.model.device = "reference";
  const auto run = Subject::open(subject);
  inspect::Recorder recorder(run->session().pool(), {.statistics = false, .keep = {"*"}});
  run->session().set_observer(&recorder);
  run->run([&](int step) { recorder.begin_step(step); });
  run->session().set_observer(nullptr);
  return {run->info(), recorder.take()};
}

void audit_operations(const AuditCommand& options, Findings& findings) {
  inspect::Recording reference;
  inspect::AuditOptions how;
  how.sampled_rows = options.rows;
  if (options.inherited && options.subject.model.device != "reference") {
    say("running the reference backend");
    reference = reference_run(options);
    how.reference = &reference;
  }
  Progress progress("Auditing operations");
  uint64_t done = 0;
  how.done = [&](const OperationAudit&) { progress.update(++done, 0); };
  const auto run = Subject::open(options.subject);
  inspect::Auditor auditor(run->session(), reference_backend(), how);
  run->session().set_observer(&auditor);
  run->run([&](int step) { auditor.begin_step(step); });
  run->session().set_observer(nullptr);
  findings.info = run->info();
  findings.operations = auditor.operations();
}

void audit_weights(const AuditCommand& options, Findings& findings) {
  const std::string& name =
      options.subject.model.model.empty() ? options.subject.what : options.subject.model.model;
  if (name.ends_with(".tl")) return;
  const auto file = open_model_file(resolve_model(name), options.subject.model.mmap);
  std::shared_ptr<const ModelFile> other;
  if (!options.against.empty())
    other = open_model_file(resolve_model(options.against), options.subject.model.mmap);
  ThreadPool pool(options.subject.model.threads);
  Progress progress("Auditing weights", Progress::Unit::bytes);
  findings.weights = inspect::audit_weights(
      *file, other.get(), pool, [&](uint64_t done, uint64_t total) { progress.update(done, total); });
}

/// Operations of one kind together.
struct Row {
  size_t count = 0, faults = 0;
  double ratio = 0, relative = 0, healthy = 0, inherited = 0;
};

void print_operations(const std::vector<OperationAudit>& operations) {
  std::map<std::string, Row> rows;
  for (const OperationAudit& o : operations) {
    Row& row = rows[o.op];
    ++row.count;
    row.faults += o.faults.size();
    row.ratio = std::max(row.ratio, o.own.ratio);
    row.relative = std::max(row.relative, o.own.relative);
    if (o.healthy) row.healthy = std::max(row.healthy, o.healthy->ratio);
    if (o.inherited) row.inherited = std::max(row.inherited, o.inherited->relative());
  }
  fmt::print("{:16}  {:>6}  {:>12}  {:>12}  {:>14}  {:>12}  {:>6}\n", "operation", "runs", "error/bound",
             "relative", "on reference's", "inherited", "faults");
  for (const auto& [op, row] : rows)
    fmt::print("{:16}  {:>6}  {:>12.3g}  {:>12.3g}  {:>14.3g}  {:>12.3g}  {:>6}\n", op, row.count, row.ratio,
               row.relative, row.healthy, row.inherited, row.faults);
  for (const OperationAudit& o : operations)
    for (const std::string& fault : o.faults)
      fmt::print("FAULT {} ({} {}{}): {}\n", o.name, o.op, to_string(o.shape),
                 o.place.empty() ? "" : ", " + o.place, fault);
}

void print_weights(const std::vector<WeightAudit>& weights, bool against) {
  if (weights.empty()) return;
  fmt::print("\n{} tensors of weights", weights.size());
  const auto worst =
      std::max_element(weights.begin(), weights.end(),
                       [](const WeightAudit& a, const WeightAudit& b) { return a.outlier < b.outlier; });
  fmt::print("; largest element over root mean square: {:.3g} ({})\n", worst->outlier, worst->name);
  if (against) {
    fmt::print("{:32}  {:8}  {:>9}\n", "name", "type", "SNR, dB");
    for (const WeightAudit& w : weights)
      if (w.snr) fmt::print("{:32}  {:8}  {:>9.2f}\n", w.name, info(w.dtype).gguf_name, *w.snr);
  }
  for (const WeightAudit& w : weights)
    for (const std::string& fault : w.faults)
      fmt::print("FAULT {} ({}): {}\n", w.name, info(w.dtype).gguf_name, fault);
}

ordered_json to_json(const inspect::LocalError& e) {
  return {{"ratio", e.ratio}, {"relative", e.relative}, {"exact", e.exact},
          {"worst", e.worst}, {"expected", e.expected}, {"actual", e.actual}};
}

void print_json_report(const Findings& findings) {
  ordered_json j = {
      {"device", findings.info.device}, {"tokens", findings.info.tokens}, {"faults", findings.faults()}};
  j["operations"] = ordered_json::array();
  for (const OperationAudit& o : findings.operations) {
    ordered_json row = {{"name", o.name}, {"op", o.op}, {"place", o.place}, {"own", to_json(o.own)}};
    if (o.healthy) row["on_reference_inputs"] = to_json(*o.healthy);
    if (o.inherited) row["inherited"] = {{"nmse", o.inherited->nmse}, {"max_abs", o.inherited->max_abs}};
    row["faults"] = o.faults;
    j["operations"].push_back(std::move(row));
  }
  j["weights"] = ordered_json::array();
  for (const WeightAudit& w : findings.weights) {
    ordered_json row = {
        {"name", w.name}, {"type", info(w.dtype).gguf_name}, {"outlier", w.outlier}, {"faults", w.faults}};
    if (w.snr) row["snr_db"] = *w.snr;
    j["weights"].push_back(std::move(row));
  }
  print_json(j);
}

void audit(const AuditCommand& options) {
  Findings findings;
  audit_weights(options, findings);
  if (!options.weights_only) audit_operations(options, findings);
  if (options.json) {
    print_json_report(findings);
  } else {
    if (!options.weights_only) print_operations(findings.operations);
    print_weights(findings.weights, !options.against.empty());
    const size_t n = findings.faults();
    fmt::print("{}\n", n == 0 ? std::string("No faults.") : fmt::format("{} faults.", n));
  }
  if (findings.faults() > 0) throw Found();
}

}  // namespace

void add_audit(CLI::App& app) {
  auto options = std::make_shared<AuditCommand>();
  CLI::App* command = app.add_subcommand(
      "audit", "Hold every operation of a run, and the weights, against their definitions");
  add_subject_options(*command, options->subject);
  command
      ->add_option("--against", options->against,
                   "Compare the weights with those of another file: signal to noise")
      ->option_text("MODEL");
  command->add_option("--rows", options->rows, "Rows of each result to hold against float64; 0 is all")
      ->check(CLI::Range(int64_t{0}, int64_t{1} << 20));
  command->add_flag("!--no-inherited", options->inherited, "Do not run the reference: local errors only");
  command->add_flag("--weights-only", options->weights_only, "Look at the weights and run nothing");
  command->add_flag("--json", options->json, "Print JSON");
  command->footer("Exit status: 0 without faults, 3 with.");
  command->callback([options] { audit(*options); });
}

}  // namespace tl::cli
