// What `tl diagnose` finds, and how it is shown.
#pragma once

#include <map>
#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "cli/diagnose_precision.h"
#include "cli/options.h"
#include "inspect/audit.h"
#include "inspect/depth.h"
#include "inspect/diagnosis.h"
#include "inspect/invariants.h"
#include "inspect/weights.h"

namespace tl::cli {

/// What is diagnosed, and against what.
struct DiagnoseOptions {
  std::string what;               ///< a model, or a program (….tl)
  std::vector<std::string> args;  ///< of the program's main
  ModelOptions model;             ///< `model` is --model: what a program runs
  PromptOptions prompt;
  std::string reference;   ///< another engine's trace
  std::string depths;      ///< "0,1,2,10,22"
  std::string bundle;      ///< a folder for the failing operation by itself; "": none
  bool precision = false;  ///< also what precision costs
};

/// The residual stream after a layer.
struct LayerRow {
  int layer = 0;
  double expected_rms = 0, observed_rms = 0;
  double error = 0;  ///< relative distance from the float64 run
};

/// A value of a layer beside float64's.
struct OperationCell {
  std::string role;  ///< "attn_q.rope"
  int layer = 0;
  double error = 0, explained = 0;
};

/// How many of the most probable tokens are shown.
constexpr size_t kTopTokens = 5;

/// The logits of the last token, in float64 and as they came out.
struct LogitsHealth {
  inspect::LogitsSummary expected, observed;
  double divergence = 0;  ///< Kullback-Leibler, of the observed distribution from the expected
  std::vector<double> expected_row = {}, observed_row = {};
};

/// What a trace of another engine says of the same tokens.
struct ReferenceCheck {
  std::string path;
  inspect::RunInfo info;
  size_t compared = 0;  ///< values of the program under test that it has too
  size_t judged = 0;    ///< those of its own with which operations could be computed; none without elements
  /// The first of them that is farther from the trace than rounding explains; "" where none is.
  std::string name, foreign_name;
  double error = 0, explained = 0;
  /// Where the trace departs from what our operations give on its own values; record is -1 where it does not.
  inspect::Fault departure;
};

/// Everything that is found, in the order in which it is looked for.
struct Diagnosis {
  inspect::RunInfo info;
  std::vector<std::string> planted;           ///< what was put in on purpose
  std::vector<std::string> notes;             ///< what the runs had to say
  std::string inputs;                         ///< how the token ids differ, "" where they do not
  std::vector<inspect::WeightAudit> weights;  ///< those with faults
  size_t n_weights = 0;
  std::vector<inspect::Invariant> invariants;
  inspect::Fault fault;  ///< record is -1 where none was found
  std::vector<inspect::FurtherFault>
      all_faults;     ///< that one, and what is wrong after it and not because of it
  size_t judged = 0;  ///< values
  std::vector<inspect::OperationAudit> kernels;  ///< those with faults, of the run as it was asked for
  std::vector<LayerRow> layers;
  std::vector<OperationCell> operations;
  std::vector<inspect::DepthRow> depths;
  std::optional<LogitsHealth> logits;  ///< nothing is judged where weights are broken or token ids differ
  std::optional<ReferenceCheck> reference;
  std::optional<PrecisionStudy> precision;
  std::map<int32_t, std::string> texts;  ///< of tokens that are shown

  /// "284 ' the'"
  std::string text_of(int32_t token) const;

  /// Whether the trace that is the reference has the very fault that our own program sees.
  bool reference_has_the_fault() const;
  /// Whether the trace departs from the program under test where our own program does not.
  bool reference_departs() const;
  bool is_healthy() const;
};

/// Looks at one program on one prompt, as often as is asked for, each time with other faults put in: the runs
/// in float64 and the check of the weights, which these do not touch, are made once. Constructor and
/// examine() throw UsageError where the options do not fit, Error or ProgramError where something cannot be
/// run.
class Examiner {
 public:
  explicit Examiner(const DiagnoseOptions& options);
  Examiner(const Examiner&) = delete;
  Examiner& operator=(const Examiner&) = delete;
  ~Examiner();

  /// Looks at everything. `plant`: "rope-pairing@5" … in the place of the options' own.
  Diagnosis examine(const std::vector<std::string>& plant);

 private:
  class Examination;
  std::unique_ptr<Examination> examination_;
};

/// One paragraph that a person can act on.
std::string verdict(const Diagnosis& d);

void print_report(const Diagnosis& d);
/// Indented, or on one line.
void print_json_report(const Diagnosis& d, bool on_one_line = false);
/// With the headings of a report that people write.
void print_markdown_report(const Diagnosis& d);
/// One file with plots that loads nothing else. Throws Error where it cannot be written.
void write_page(const std::string& path, const Diagnosis& d);

/// The indices of the largest numbers, the largest first.
std::vector<int32_t> largest(const std::vector<double>& row, size_t n);

}  // namespace tl::cli
