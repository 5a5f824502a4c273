// The report of `tl diagnose --markdown`: that of an engineer who looked for a fault layer by layer, with its
// tables filled in.
#include <fmt/format.h>

#include <algorithm>
#include <cmath>
#include <ctime>

#include "cli/diagnose.h"

namespace tl::cli {

namespace {

std::string today() {
  const std::time_t now = std::time(nullptr);
  char text[16];
  std::strftime(text, sizeof text, "%Y-%m-%d", std::gmtime(&now));
  return text;
}

const char* mark(bool good) { return good ? "✅" : "❌"; }

/// Text in a table's cell.
std::string cell(std::string text) {
  for (size_t at = 0; (at = text.find('|', at)) != std::string::npos; at += 2) text.insert(at, 1, '\\');
  return text;
}

std::string range(const inspect::LogitsSummary& l) { return fmt::format("{:.4g} to {:.4g}", l.min, l.max); }

void print_results(const Diagnosis& d) {
  if (d.depths.empty()) return;
  fmt::print(
      "## Test Results\n\n| Layers | Predicted token | float64 predicts | Quality | Logits range | float64's "
      "| KL, nats |\n"
      "|---|---|---|---|---|---|---|\n");
  for (const inspect::DepthRow& r : d.depths)
    fmt::print("| {} | {} | {} | {} | {} | {} | {:.2g} |\n", r.layers, cell(d.text_of(r.observed.top)),
               cell(d.text_of(r.expected.top)),
               r.observed.top != r.expected.top ? "❌ another token"
               : r.divergence > 0.01            ? "⚠️ same token, other odds"
                                                : "✅ the same",
               range(r.observed), range(r.expected), r.divergence);
  fmt::print("\n");
}

void print_observations(const Diagnosis& d) {
  fmt::print(
      "## Observations\n\n### Weights\n- {} {} weights decode to what their blocks define, finite and of "
      "sane size\n",
      mark(d.weights.empty()), d.n_weights);
  for (const inspect::WeightAudit& w : d.weights) fmt::print("- ❌ {}: {}\n", w.name, w.faults.front());
  fmt::print("\n### Individual operations\n");
  if (!d.inputs.empty()) fmt::print("- ❌ the inputs differ: {}\n", d.inputs);
  if (d.judged > 0)
    fmt::print(
        "- {} {}\n", mark(d.fault.record < 0),
        d.fault.record < 0
            ? fmt::format("all {} values are what float64 gives from the same inputs", d.judged)
            : fmt::format("`{}` of {}: {:.3g} from what float64 gives from the same inputs, where rounding "
                          "explains {:.2g}",
                          d.fault.operation, d.fault.name, d.fault.error, d.fault.explained));
  for (const inspect::OperationAudit& k : d.kernels)
    fmt::print("- ❌ kernel `{}` ({}): {}\n", k.op, k.name, k.faults.front());
  for (const inspect::Invariant& i : d.invariants)
    fmt::print("- {} {} (worst {:.2g}, rounding explains {:.2g})\n", mark(i.holds), i.what, i.worst, i.bound);
  if (d.reference)
    fmt::print("- {} {} values are those of {}, within rounding{}\n", mark(d.reference->name.empty()),
               d.reference->compared, d.reference->info.tool,
               d.reference->name.empty() ? "" : "; the first that is not: " + d.reference->name);
  fmt::print("\n### Key finding\n{}\n\n", verdict(d));
}

void print_hypotheses(const Diagnosis& d) {
  if (d.fault.record < 0) return;
  fmt::print("## Hypotheses (ordered by likelihood)\n\n");
  if (d.fault.candidates.empty()) fmt::print("None of the known faults reproduces what was observed.\n");
  int number = 0;
  for (const inspect::Candidate& c : d.fault.candidates)
    fmt::print(
        "### {}. {} ({:.1f} %)\n- **What it says**: {}\n- **Evidence**: put into the reference it leaves a "
        "distance of "
        "{:.2g} of {:.2g}\n- **Remedy**: {}\n\n",
        ++number, c.name, 100 * c.share, c.sentence, c.residual, d.fault.error, c.remedy);
}

void print_logits(const Diagnosis& d) {
  if (!d.logits) return;
  const LogitsHealth& l = *d.logits;
  fmt::print("## Expected vs Actual Logits\n\n| last token | observed | float64 |\n|---|---|---|\n");
  fmt::print("| range | {} | {} |\n", range(l.observed), range(l.expected));
  fmt::print("| entropy, nats | {:.4g} | {:.4g} |\n", l.observed.entropy, l.expected.entropy);
  fmt::print("| KL from float64, nats | {:.3g} | |\n", l.divergence);
  const std::vector<int32_t> a = largest(l.observed_row, kTopTokens), b = largest(l.expected_row, kTopTokens);
  for (size_t i = 0; i < std::min(a.size(), b.size()); ++i)
    fmt::print("| {}. | {} {:.4f} | {} {:.4f} |\n", i + 1, cell(d.text_of(a[i])),
               l.observed_row[static_cast<size_t>(a[i])], cell(d.text_of(b[i])),
               l.expected_row[static_cast<size_t>(b[i])]);
  fmt::print("\n");
}

void print_layers(const Diagnosis& d) {
  if (d.layers.empty()) return;
  fmt::print(
      "## Intermediate Value Magnitudes\n\n| Layer | Residual rms | float64's | growth | Distance from "
      "float64 |\n"
      "|---|---|---|---|---|\n");
  double before = std::nan("");
  for (const LayerRow& r : d.layers) {
    fmt::print("| {} | {:.4g} | {:.4g} | {} | {:.2g} |\n", r.layer, r.observed_rms, r.expected_rms,
               std::isnan(before) ? "" : fmt::format("{:.2f}", r.observed_rms / before), r.error);
    before = r.observed_rms;
  }
  fmt::print("\n");
}

void print_precision(const PrecisionStudy& s) {
  fmt::print("## Precision\n\nKL from float64 in nats and agreeing next tokens over {} positions.\n\n",
             s.positions);
  fmt::print("| activations | residual |");
  for (const DType t : kPrecisions) fmt::print(" {} sums |", name(t));
  fmt::print("\n|---|---|---|---|---|---|");
  for (size_t i = 0; i < s.matrix.size(); ++i) {
    const PrecisionRow& r = s.matrix[i];
    if (i % std::size(kPrecisions) == 0)
      fmt::print("\n| {} | {} |", name(r.precision.activations), name(r.precision.residual));
    fmt::print(" {:.1e}, {:.0f} % |", r.distance.divergence, 100 * r.distance.agreement);
  }
  fmt::print(
      "\n\nThe run as it was asked for, with one part in float64:\n\n| part | KL | agreement | explains "
      "|\n|---|---|---|---|\n");
  fmt::print("| nothing | {:.2g} | {:.0f} % | |\n", s.as_asked.divergence, 100 * s.as_asked.agreement);
  for (const auto* rows : {&s.operations, &s.layers})
    for (const SensitivityRow& r : *rows)
      fmt::print("| {} | {:.2g} | {:.0f} % | {:.1f} % |\n", r.part, r.distance.divergence,
                 100 * r.distance.agreement, 100 * r.share);
  fmt::print("\n");
}

}  // namespace

void print_markdown_report(const Diagnosis& d) {
  fmt::print("# Layer-by-Layer Analysis\n\n## Date\n{}\n\n## Problem Statement\n", today());
  fmt::print("{}{} on {} tokens ({}).\n\n**{}**\n\n", d.info.program.empty() ? "" : d.info.program + ", ",
             d.info.model, d.info.tokens.size(), d.info.device, verdict(d));
  print_results(d);
  print_observations(d);
  print_hypotheses(d);
  print_logits(d);
  print_layers(d);
  if (d.precision) print_precision(*d.precision);
  fmt::print("## Next Steps\n");
  if (d.is_healthy())
    fmt::print("None.\n");
  else if (d.fault.record >= 0 && !d.fault.candidates.empty())
    fmt::print("1. {}\n2. Run the diagnosis again: what is behind this fault could not be seen yet.\n",
               d.fault.candidates.front().remedy);
  else
    fmt::print("1. Mend what the key finding names.\n2. Run the diagnosis again.\n");
}

}  // namespace tl::cli
