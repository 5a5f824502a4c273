// The report of `tl diagnose`: the verdict first, then tables.
#include <fmt/format.h>
#include <fmt/ranges.h>

#include <cmath>
#include <nlohmann/json.hpp>

#include "cli/diagnose.h"
#include "cli/json.h"
#include "cli/output.h"

namespace tl::cli {

namespace {

using inspect::Candidate;
using inspect::Fault;
using inspect::Invariant;
using nlohmann::ordered_json;

/// "attention scores of layer 3"
std::string where(const Fault& f) {
  std::string text = fmt::format("the operation '{}'", f.operation);
  if (f.layer >= 0) text += fmt::format(" of layer {}", f.layer);
  text += fmt::format(", value {}", f.name);
  if (!f.place.empty()) text += fmt::format(" ({})", f.place);
  return text;
}

std::string verdict_of_fault(const Fault& f) {
  if (f.candidates.empty())
    return fmt::format(
        "FAULT FOUND: none of the known faults. The operation is {}: its result is {:.3g} away from what the "
        "reference computes from the same inputs, where rounding explains {:.2g}. Everything before it is "
        "right.",
        where(f), f.error, f.explained);
  const Candidate& best = f.candidates.front();
  return fmt::format(
      "FAULT FOUND: {}: {}. It is in {}. The result is {:.3g} away from what the reference computes from the "
      "same "
      "inputs, where rounding explains {:.2g}; with this fault put into the reference the distance falls to "
      "{:.2g}. "
      "Everything before it is right. What to do: {}.",
      best.name, best.sentence, where(f), f.error, f.explained, best.residual, best.remedy);
}

std::string first_failure(const std::vector<Invariant>& invariants) {
  for (const Invariant& i : invariants)
    if (!i.holds)
      return fmt::format("{} (off by {:.3g}, rounding explains {:.2g}, at {})", i.what, i.worst, i.bound,
                         i.where);
  return {};
}

ordered_json to_json(const Fault& f) {
  ordered_json j = {{"name", f.candidates.empty() ? "unknown" : f.candidates.front().name},
                    {"operation", f.operation},
                    {"layer", f.layer < 0 ? ordered_json() : ordered_json(f.layer)},
                    {"value", f.name},
                    {"role", f.role},
                    {"place", f.place},
                    {"error", f.error},
                    {"explained", f.explained},
                    {"max_abs", f.difference.max_abs},
                    {"cosine", f.difference.cosine}};
  j["hypotheses"] = ordered_json::array();
  for (const Candidate& c : f.candidates)
    j["hypotheses"].push_back(
        {{"name", c.name}, {"sentence", c.sentence}, {"residual", c.residual}, {"share", c.share}});
  return j;
}

ordered_json to_json(const inspect::LogitsSummary& l) {
  return {{"top", l.top}, {"min", l.min}, {"max", l.max}, {"entropy", l.entropy}};
}

void print_depths(const Diagnosis& d) {
  if (d.depths.empty()) return;
  fmt::print(
      "\n{:>6}  {:>9}  {:>9}  {:>22}  {:>22}  {:>8}  {:>8}  {:>9}   if the model ended after so many "
      "layers\n",
      "layers", "token", "float64", "logits from, to", "float64", "entropy", "float64", "KL");
  const auto range = [](const inspect::LogitsSummary& l) {
    return fmt::format("{:.4g} to {:.4g}", l.min, l.max);
  };
  for (const inspect::DepthRow& r : d.depths)
    fmt::print("{:>6}  {:>9}  {:>9}  {:>22}  {:>22}  {:>8.3g}  {:>8.3g}  {:>9.2g}\n", r.layers,
               r.observed.top, r.expected.top, range(r.observed), range(r.expected), r.observed.entropy,
               r.expected.entropy, r.divergence);
}

void print_fault(const Fault& f) {
  if (f.record < 0 || f.candidates.empty()) return;
  fmt::print("\n{:28}  {:>9}  {:>6}  {}\n", "hypothesis", "residual", "share", "what it says");
  for (const Candidate& c : f.candidates)
    fmt::print("{:28}  {:>9.2g}  {:>5.1f}%  {}\n", c.name, c.residual, 100 * c.share, c.sentence);
}

void print_layers(const Diagnosis& d) {
  if (d.layers.empty()) return;
  fmt::print("\n{:>5}  {:>14}  {:>14}  {:>9}   residual stream after each layer\n", "layer", "rms, float64",
             "rms, observed", "distance");
  for (const LayerRow& r : d.layers)
    fmt::print("{:>5}  {:>14.5g}  {:>14.5g}  {:>9.2g}\n", r.layer, r.expected_rms, r.observed_rms, r.error);
}

}  // namespace

bool Diagnosis::is_healthy() const {
  return weights.empty() && fault.record < 0 && kernels.empty() && first_failure(invariants).empty();
}

std::string verdict(const Diagnosis& d) {
  if (!d.weights.empty())
    return fmt::format(
        "FAULT FOUND: the weight {} is broken: {}. What it is multiplied with cannot come out right; "
        "get the file again, or convert it again.",
        d.weights[0].name, d.weights[0].faults[0]);
  if (d.fault.record >= 0) return verdict_of_fault(d.fault);
  if (!d.kernels.empty())
    return fmt::format("FAULT FOUND: the program is right, and a kernel is not: {} ({}): {}.",
                       d.kernels[0].name, d.kernels[0].op, d.kernels[0].faults[0]);
  if (const std::string failure = first_failure(d.invariants); !failure.empty())
    return fmt::format("FAULT FOUND: this does not hold: {}. Every operation that was judged is right.",
                       failure);
  return fmt::format(
      "HEALTHY: all {} values that were judged are what the reference computes from the same inputs, within "
      "rounding; the weights are sound, and what must hold in every model holds.",
      d.judged);
}

void print_report(const Diagnosis& d) {
  fmt::print("{}\n\n", verdict(d));
  fmt::print("{:8}  {:66}  {:>9}  {:>9}\n", "check", "", "worst", "explained");
  fmt::print(
      "{:8}  {:66}\n", d.weights.empty() ? "holds" : "FAILS",
      fmt::format("{} weights decode to what their blocks define, finite and of sane size", d.n_weights));
  for (const Invariant& i : d.invariants)
    fmt::print("{:8}  {:66}  {:>9.2g}  {:>9.2g}\n", i.holds ? "holds" : "FAILS", i.what, i.worst, i.bound);
  print_fault(d.fault);
  print_layers(d);
  print_depths(d);
  if (!d.logits) return;
  const inspect::LogitsSummary &a = d.logits->expected, &b = d.logits->observed;
  fmt::print("\n{:22}  {:>12}  {:>12}\n", "logits, last token", "observed", "float64");
  fmt::print("{:22}  {:>12}  {:>12}\n", "top token", b.top, a.top);
  fmt::print("{:22}  {:>12.5g}  {:>12.5g}\n", "least", b.min, a.min);
  fmt::print("{:22}  {:>12.5g}  {:>12.5g}\n", "greatest", b.max, a.max);
  fmt::print("{:22}  {:>12.4g}  {:>12.4g}\n", "entropy, nats", b.entropy, a.entropy);
  fmt::print("{:22}  {:>12.3g}\n", "KL from float64, nats", d.logits->divergence);
}

void print_json_report(const Diagnosis& d) {
  ordered_json j = {{"healthy", d.is_healthy()}, {"verdict", verdict(d)},   {"program", d.info.program},
                    {"model", d.info.model},     {"tokens", d.info.tokens}, {"judged", d.judged}};
  j["fault"] = d.fault.record < 0 ? ordered_json() : to_json(d.fault);
  j["checks"] = ordered_json::array();
  for (const Invariant& i : d.invariants)
    j["checks"].push_back(
        {{"what", i.what}, {"holds", i.holds}, {"worst", i.worst}, {"bound", i.bound}, {"where", i.where}});
  j["weights"] = ordered_json::array();
  for (const auto& w : d.weights) j["weights"].push_back({{"name", w.name}, {"faults", w.faults}});
  j["kernels"] = ordered_json::array();
  for (const auto& k : d.kernels)
    j["kernels"].push_back({{"name", k.name}, {"op", k.op}, {"faults", k.faults}});
  j["layers"] = ordered_json::array();
  for (const LayerRow& r : d.layers)
    j["layers"].push_back({{"layer", r.layer},
                           {"expected_rms", r.expected_rms},
                           {"observed_rms", r.observed_rms},
                           {"error", r.error}});
  if (!d.logits) return print_json(j);
  j["depths"] = ordered_json::array();
  for (const inspect::DepthRow& r : d.depths)
    j["depths"].push_back({{"layers", r.layers},
                           {"expected", to_json(r.expected)},
                           {"observed", to_json(r.observed)},
                           {"divergence", r.divergence}});
  j["logits"] = {{"expected", to_json(d.logits->expected)},
                 {"observed", to_json(d.logits->observed)},
                 {"divergence", d.logits->divergence}};
  print_json(j);
}

}  // namespace tl::cli
