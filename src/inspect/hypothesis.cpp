#include "inspect/hypothesis.h"

#include <algorithm>
#include <cmath>
#include <limits>

#include <fmt/format.h>

#include "inspect/hypothesis_rules.h"
#include "inspect/structure.h"
#include "inspect/values.h"

namespace tl::inspect {

namespace {

/// A fault is accepted where it leaves less than this part of the error: kernels round in their own order.
constexpr double kSmallPart = 0.05;

/// A value that equals the right one at some elements and is something else at the others.
std::optional<Candidate> unwritten(const std::vector<double>& expected, const std::vector<double>& observed,
                                   double tolerance) {
  size_t right = 0;
  double squares = 0;
  for (const double x : expected) squares += x * x;
  const double size = std::sqrt(squares / static_cast<double>(std::max<size_t>(1, expected.size())));
  for (size_t i = 0; i < expected.size(); ++i) {
    const double allowed = 4 * tolerance * std::max(std::fabs(expected[i]), size);
    right += std::fabs(observed[i] - expected[i]) <= allowed;  // false for NaN
  }
  const double share = static_cast<double>(right) / static_cast<double>(std::max<size_t>(1, expected.size()));
  if (share < 0.01 || share > 0.999 || expected.size() < 64) return std::nullopt;
  Candidate c;
  c.name = "unwritten-elements";
  c.sentence = fmt::format(
      "the kernel leaves elements unwritten: {:.1f} % of them are right to the last places and the others "
      "hold something else",
      100 * share);
  c.remedy = "look at how many threads the kernel starts, and at its handling of several rows and of tails";
  return c;
}

}  // namespace

std::vector<Hypothesis> hypotheses(Replay& replay, int record) {
  std::vector<Hypothesis> all;
  add_rope_rules(replay, record, all);
  add_attention_rules(replay, record, all);
  add_norm_rules(replay, record, all);
  add_stream_rules(replay, record, all);
  add_weight_rules(replay, record, all);
  return all;
}

std::vector<Candidate> explain(Replay& replay, int record, double error) {
  const Tensor observed = replay.observed(record), expected = replay.expected(record);
  const double allowed = replay.explained(record);
  std::vector<Candidate> found;
  const double enough = std::isfinite(error) ? std::max(allowed, kSmallPart * error) : allowed;
  for (const Hypothesis& h : hypotheses(replay, record)) {
    Candidate candidate{h.name, h.sentence, h.remedy};
    bool changed = false;
    const Replay::Change watched = [&](const Replayed& r) {
      std::optional<Tensor> result = h.change(r);
      if (result && !changed) {
        changed = true;
        candidate.operation = r.record.op;
        candidate.layer = layer_of(r.role.empty() ? r.record.name : r.role);
      }
      return result;
    };
    const Tensor predicted = replay.expected(record, watched);
    if (!changed || predicted.elements() != observed.elements()) continue;
    candidate.residual = difference(predicted, observed).relative();
    // A fault that changes nothing here explains nothing.
    if (std::isfinite(error) && difference(expected, predicted).relative() < error / 10) continue;
    if (candidate.residual <= enough) found.push_back(std::move(candidate));
  }
  if (found.empty())
    if (auto c = unwritten(values_of(expected), values_of(observed), allowed)) {
      const Record& last = replay.reference().records[static_cast<size_t>(record)];
      c->operation = last.op;
      c->layer = layer_of(replay.role(record).empty() ? last.name : replay.role(record));
      found.push_back(std::move(*c));
    }
  std::stable_sort(found.begin(), found.end(),
                   [](const Candidate& a, const Candidate& b) { return a.residual < b.residual; });
  double total = 0;
  const auto likelihood = [&](const Candidate& c) {
    const double r = c.residual / allowed;
    return 1 / (1 + r * r);
  };
  for (const Candidate& c : found) total += likelihood(c);
  for (Candidate& c : found) c.share = likelihood(c) / total;
  return found;
}

}  // namespace tl::inspect
