// What `tl diagnose` finds, and how it is shown.
#pragma once

#include <optional>
#include <string>
#include <vector>

#include "inspect/audit.h"
#include "inspect/depth.h"
#include "inspect/diagnosis.h"
#include "inspect/invariants.h"
#include "inspect/weights.h"

namespace tl::cli {

/// The residual stream after a layer.
struct LayerRow {
  int layer = 0;
  double expected_rms = 0, observed_rms = 0;
  double error = 0;  ///< relative distance from the float64 run
};

/// The logits of the last token, in float64 and as they came out.
struct LogitsHealth {
  inspect::LogitsSummary expected, observed;
  double divergence = 0;  ///< Kullback-Leibler, of the observed distribution from the expected
};

/// Everything that is found, in the order in which it is looked for.
struct Diagnosis {
  inspect::RunInfo info;
  std::vector<inspect::WeightAudit> weights;  ///< those with faults
  size_t n_weights = 0;
  std::vector<inspect::Invariant> invariants;
  inspect::Fault fault;                          ///< record is -1 where none was found
  size_t judged = 0;                             ///< values
  std::vector<inspect::OperationAudit> kernels;  ///< those with faults, of the run as it was asked for
  std::vector<LayerRow> layers;
  std::vector<inspect::DepthRow> depths;
  std::optional<LogitsHealth> logits;  ///< nothing was run where weights are broken

  bool is_healthy() const;
};

/// One paragraph that a person can act on.
std::string verdict(const Diagnosis& d);

void print_report(const Diagnosis& d);
void print_json_report(const Diagnosis& d);

}  // namespace tl::cli
