// tl trace MODEL|PROGRAM: what every named value of a run was.
#include <fmt/format.h>

#include <CLI/CLI.hpp>
#include <algorithm>
#include <memory>
#include <nlohmann/json.hpp>

#include "cli/commands.h"
#include "cli/json.h"
#include "cli/output.h"
#include "cli/subject.h"
#include "cli/trace_table.h"
#include "inspect/perturb.h"
#include "inspect/trace_file.h"

namespace tl::cli {

namespace {

using inspect::Record;
using nlohmann::ordered_json;

struct TraceOptions {
  SubjectOptions subject;
  std::string out;
  std::vector<std::string> full, show;
  std::optional<uint64_t> perturb;
  bool json = false;
};

bool is_shown(const Record& r, const TraceOptions& options) {
  if (options.show.empty()) return !r.is_leaf() && r.name.find('#') == std::string::npos;
  return std::any_of(options.show.begin(), options.show.end(),
                     [&](const std::string& pattern) { return inspect::matches(pattern, r.name); });
}

ordered_json to_json(const Record& r) {
  ordered_json j = {{"name", r.name},
                    {"op", r.op},
                    {"dtype", name(r.dtype)},
                    {"shape", std::vector<int64_t>(r.shape.begin(), r.shape.end())}};
  if (!r.place.empty()) j["place"] = r.place;
  if (!r.statistics) return j;
  const TensorStatistics& s = *r.statistics;
  j.update({{"min", s.min},
            {"max", s.max},
            {"mean", s.mean},
            {"std", s.std},
            {"rms", s.rms()},
            {"nan", s.nan},
            {"inf", s.inf},
            {"zero", s.zero},
            {"denormal", s.denormal},
            {"f16_share", s.f16_share()},
            {"bf16_share", s.bf16_share()},
            {"above_f16", s.above_f16},
            {"below_f16", s.below_f16},
            {"checksum", fmt::format("{:016x}", s.checksum)}});
  return j;
}

void print_report(const inspect::RunInfo& info, const std::vector<Record>& records,
                  const TraceOptions& options) {
  std::vector<const Record*> shown;
  for (const Record& r : records)
    if (is_shown(r, options)) shown.push_back(&r);
  if (!options.json) return print_records(shown);
  ordered_json j = {
      {"program", info.program}, {"model", info.model}, {"device", info.device}, {"tokens", info.tokens}};
  j["values"] = ordered_json::array();
  for (const Record* r : shown) j["values"].push_back(to_json(*r));
  print_json(j);
}

/// The first value that is not finite, said aloud: everything after it is in doubt.
void warn_of_not_finite(const std::vector<Record>& records) {
  for (const Record& r : records) {
    if (!r.statistics || r.statistics->nan + r.statistics->inf == 0) continue;
    say(fmt::format("note: {} is the first value with NaN ({}) or infinity ({}){}", r.name, r.statistics->nan,
                    r.statistics->inf, r.place.empty() ? "" : ", made at " + r.place));
    return;
  }
}

void trace(const TraceOptions& options) {
  if (!options.full.empty() && options.out.empty())
    throw UsageError("--full keeps values in the trace file; name one with -o");
  if (options.perturb && options.subject.model.device != "reference")
    throw UsageError("--perturb disturbs the exact run: add --device reference");
  const auto subject = Subject::open(options.subject);
  std::unique_ptr<inspect::TraceWriter> writer;
  inspect::RecorderOptions recorder_options{.keep = options.full};
  if (!options.out.empty()) {
    writer = std::make_unique<inspect::TraceWriter>(options.out, subject->info());
    recorder_options.sink = [&](const Record& record) { writer->write(record); };
  }
  inspect::Recorder recorder(subject->session().pool(), recorder_options);
  inspect::Perturber perturber(subject->session(), cpu_backend(),
                               subject->session().options().precision.activations,
                               options.perturb.value_or(0), &recorder);
  subject->session().set_observer(options.perturb ? static_cast<Observer*>(&perturber) : &recorder);
  subject->run([&](int step) { recorder.begin_step(step); });
  subject->session().set_observer(nullptr);
  if (writer) writer->finish();
  warn_of_not_finite(recorder.records());
  if (options.json || !writer || !options.show.empty())
    print_report(subject->info(), recorder.records(), options);
  if (writer && !options.json)
    fmt::print("{}: {} values, {}\n", options.out, recorder.records().size(), format_size(writer->bytes()));
}

}  // namespace

void add_trace(CLI::App& app) {
  auto options = std::make_shared<TraceOptions>();
  CLI::App* command = app.add_subcommand("trace", "Record what every named value of a run was");
  add_subject_options(*command, options->subject);
  command->add_option("-o,--out", options->out, "Write the trace here; otherwise named values are printed")
      ->option_text("FILE.tlt");
  command
      ->add_option("--full", options->full, "Keep all elements of values whose names match (may be repeated)")
      ->option_text("GLOB")
      ->allow_extra_args(false);
  command->add_option("--show", options->show, "Print the values whose names match (may be repeated)")
      ->option_text("GLOB")
      ->allow_extra_args(false);
  command
      ->add_option(
          "--perturb", options->perturb,
          "Disturb every result by errors as large as the cpu backend's rounding (for tl compare --noise)")
      ->option_text("SEED");
  command->add_flag("--json", options->json, "Print JSON");
  command->callback([options] { trace(*options); });
}

}  // namespace tl::cli
