// The report of `tl diagnose`: the verdict first, then tables.
#include <fmt/format.h>
#include <fmt/ranges.h>

#include <algorithm>
#include <cmath>
#include <nlohmann/json.hpp>
#include <numeric>

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

std::string name_of(const Fault& f) {
  return f.candidates.empty() ? "none of the known faults" : f.candidates.front().name;
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

/// "Further faults: unwritten-elements (rms_norm, first in layer 0, 61 places)."
std::string also(const std::vector<inspect::FurtherFault>& all) {
  std::string text;
  if (!all.empty() && all[0].places > 1 && !all[0].fault.candidates.empty())
    text += fmt::format(" The same is wrong in {} places.", all[0].places);
  for (size_t i = 1; i < all.size(); ++i) {
    const Fault& f = all[i].fault;
    text += fmt::format("{}{} ({}{}, {} place{}): {}",
                        i == 1 ? " Not because of it, these are wrong too: " : "; ", name_of(f), f.operation,
                        f.layer < 0 ? "" : fmt::format(" of layer {} first", f.layer), all[i].places,
                        all[i].places == 1 ? "" : "s", f.candidates.front().sentence);
  }
  return all.size() > 1 ? text + "." : text;
}

/// What the trace that is the reference says of a fault of the program.
std::string reference_on_fault(const ReferenceCheck& r) {
  if (r.judged == 0)
    return fmt::format(
        " {} ({}) holds no elements (tl trace --full '*'), so it says nothing of who is right.", r.info.tool,
        r.path);
  if (r.departure.record < 0)
    return fmt::format(
        " {} ({}) agrees: all its values are what the right operations give, within its rounding.",
        r.info.tool, r.path);
  return fmt::format(" {} ({}) departs from our own program by another fault: {} at {}.", r.info.tool, r.path,
                     name_of(r.departure), r.departure.name);
}

/// The program under test computes what our own does, and the trace something else.
std::string verdict_of_departure(const ReferenceCheck& r) {
  const Fault& f = r.departure;
  std::string text = fmt::format(
      "FAULT FOUND: the program departs from the reference, {} ({}): in {} the reference is {:.3g} away from "
      "what the program's operation gives on the same inputs, where rounding explains {:.2g}. ",
      r.info.tool, r.path, where(f), f.error, f.explained);
  if (f.candidates.empty())
    return text + "None of the known faults explains it. Do both have the same weights and settings?";
  const Candidate& best = f.candidates.front();
  return text +
         fmt::format(
             "Seen from the program the reference has the fault {} ({}), which leaves {:.2g}. Either the "
             "reference is the wrong side, or the program lacks what the reference does: {}.",
             best.name, best.sentence, best.residual, best.remedy);
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

ordered_json to_json(const ReferenceCheck& r) {
  ordered_json j = {{"tool", r.info.tool}, {"trace", r.path}, {"compared", r.compared}};
  j["first"] = r.name.empty() ? ordered_json()
                              : ordered_json{{"value", r.name},
                                             {"reference", r.foreign_name},
                                             {"error", r.error},
                                             {"explained", r.explained}};
  j["departure"] = r.departure.record < 0 ? ordered_json() : to_json(r.departure);
  return j;
}

ordered_json to_json(const PrecisionStudy& s) {
  ordered_json j = {
      {"positions", s.positions},
      {"as_asked", {{"divergence", s.as_asked.divergence}, {"agreement", s.as_asked.agreement}}}};
  j["matrix"] = ordered_json::array();
  for (const PrecisionRow& r : s.matrix)
    j["matrix"].push_back({{"activations", name(r.precision.activations)},
                           {"residual", name(r.precision.residual)},
                           {"accumulation", name(r.precision.accumulation)},
                           {"divergence", r.distance.divergence},
                           {"agreement", r.distance.agreement}});
  j["sensitivity"] = ordered_json::array();
  for (const auto* rows : {&s.operations, &s.layers})
    for (const SensitivityRow& r : *rows)
      j["sensitivity"].push_back({{"part", r.part},
                                  {"divergence", r.distance.divergence},
                                  {"agreement", r.distance.agreement},
                                  {"share", r.share}});
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

void print_reference(const ReferenceCheck& r) {
  fmt::print("{:8}  {:66}  {:>9}  {:>9}\n", r.name.empty() ? "holds" : "departs",
             fmt::format("{} values are those of {}, within rounding", r.compared, r.info.tool),
             r.name.empty() ? "" : fmt::format("{:.2g}", r.error),
             r.name.empty() ? "" : fmt::format("{:.2g}", r.explained));
  if (!r.name.empty()) fmt::print("          first at {}, which is {} there\n", r.name, r.foreign_name);
}

void print_layers(const Diagnosis& d) {
  if (d.layers.empty()) return;
  fmt::print("\n{:>5}  {:>14}  {:>14}  {:>9}   residual stream after each layer\n", "layer", "rms, float64",
             "rms, observed", "distance");
  for (const LayerRow& r : d.layers)
    fmt::print("{:>5}  {:>14.5g}  {:>14.5g}  {:>9.2g}\n", r.layer, r.expected_rms, r.observed_rms, r.error);
}

std::string cell(const DistanceOfLogits& d) {
  return fmt::format("{:>8.1e} {:>3.0f}%", d.divergence, 100 * d.agreement);
}

void print_precision(const PrecisionStudy& s) {
  fmt::print(
      "\nthe model in other precisions: KL from float64 in nats and agreeing next tokens, {} positions\n",
      s.positions);
  fmt::print("{:>12}  {:>10} ", "activations", "residual");
  for (const DType sums : kPrecisions) fmt::print("  {:>13}", fmt::format("{} sums", name(sums)));
  for (size_t i = 0; i < s.matrix.size(); ++i) {
    const FloatTypes& p = s.matrix[i].precision;
    if (i % std::size(kPrecisions) == 0)
      fmt::print("\n{:>12}  {:>10} ", name(p.activations), name(p.residual));
    fmt::print("  {}", cell(s.matrix[i].distance));
  }
  fmt::print("\n\n{:12}  {:>13}  {:>11}   with this part in float64; as asked: {}\n", "part", "KL, agreement",
             "explains", cell(s.as_asked));
  for (const auto* rows : {&s.operations, &s.layers})
    for (const SensitivityRow& r : *rows)
      fmt::print("{:12}  {:>13}  {:>10.1f}%\n", r.part, cell(r.distance), 100 * r.share);
}

}  // namespace

std::string Diagnosis::text_of(int32_t token) const {
  const auto at = texts.find(token);
  return at == texts.end() ? std::to_string(token) : fmt::format("{} {}", token, at->second);
}

std::vector<int32_t> largest(const std::vector<double>& row, size_t n) {
  std::vector<int32_t> order(row.size());
  std::iota(order.begin(), order.end(), 0);
  n = std::min(n, row.size());
  const auto is_larger = [&](int32_t a, int32_t b) {  // NaN last
    const double x = row[static_cast<size_t>(a)], y = row[static_cast<size_t>(b)];
    return x > y || (!std::isnan(x) && std::isnan(y));
  };
  std::partial_sort(order.begin(), order.begin() + static_cast<std::ptrdiff_t>(n), order.end(), is_larger);
  order.resize(n);
  return order;
}

bool Diagnosis::reference_has_the_fault() const {
  if (!reference || fault.record < 0 || reference->departure.record < 0) return false;
  const Fault& other = reference->departure;
  return name_of(other) == name_of(fault) && other.layer == fault.layer && !fault.candidates.empty();
}

bool Diagnosis::reference_departs() const {
  if (!reference || fault.record >= 0 || reference->departure.record < 0) return false;
  return !reference->departure.candidates.empty() || !reference->name.empty();
}

bool Diagnosis::is_healthy() const {
  if (!weights.empty() || !inputs.empty() || !kernels.empty() || reference_departs()) return false;
  if (fault.record >= 0) return reference_has_the_fault();
  return first_failure(invariants).empty();
}

namespace {

/// What came of comparing values.
std::string verdict_of_values(const Diagnosis& d) {
  if (d.reference_has_the_fault())
    return fmt::format(
        "HEALTHY by the reference: the program does what {} ({}) does. Both depart from TensorLogic's own "
        "program of this architecture, by what it calls {}: {}.",
        d.reference->info.tool, d.reference->path, name_of(d.fault), d.fault.candidates.front().sentence);
  if (d.fault.record >= 0)
    return verdict_of_fault(d.fault) + also(d.all_faults) +
           (d.reference ? reference_on_fault(*d.reference) : "");
  if (d.reference_departs()) return verdict_of_departure(*d.reference);
  if (!d.kernels.empty())
    return fmt::format("FAULT FOUND: the program is right, and a kernel is not: {} ({}): {}.",
                       d.kernels[0].name, d.kernels[0].op, d.kernels[0].faults[0]);
  if (const std::string failure = first_failure(d.invariants); !failure.empty())
    return fmt::format("FAULT FOUND: this does not hold: {}. Every operation that was judged is right.",
                       failure);
  std::string text = fmt::format(
      "HEALTHY: all {} values that were judged are what the reference computes from the same inputs, within "
      "rounding; the weights are sound, and what must hold in every model holds.",
      d.judged);
  if (d.reference && d.reference->name.empty())
    text += fmt::format(" The {} values that {} ({}) has too are within rounding of it.",
                        d.reference->compared, d.reference->info.tool, d.reference->path);
  return text;
}

}  // namespace

std::string verdict(const Diagnosis& d) {
  if (!d.weights.empty())
    return fmt::format(
        "FAULT FOUND: the weight {} is broken: {}. What it is multiplied with cannot come out right; "
        "get the file again, or convert it again.",
        d.weights[0].name, d.weights[0].faults[0]);
  if (d.inputs.empty()) return verdict_of_values(d);
  const std::string text = fmt::format("FAULT FOUND: different inputs: {}. ", d.inputs);
  if (d.judged > 0) return text + "On the tokens that the program read: " + verdict_of_values(d);
  return text +
         "Nothing else was compared. Is a BOS missing or too much, or does the tokenizer split the text in "
         "another "
         "way?";
}

void print_report(const Diagnosis& d) {
  fmt::print("{}\n\n", verdict(d));
  fmt::print("{:8}  {:66}  {:>9}  {:>9}\n", "check", "", "worst", "explained");
  fmt::print(
      "{:8}  {:66}\n", d.weights.empty() ? "holds" : "FAILS",
      fmt::format("{} weights decode to what their blocks define, finite and of sane size", d.n_weights));
  for (const Invariant& i : d.invariants)
    fmt::print("{:8}  {:66}  {:>9.2g}  {:>9.2g}\n", i.holds ? "holds" : "FAILS", i.what, i.worst, i.bound);
  if (d.reference) print_reference(*d.reference);
  print_fault(d.fault);
  print_layers(d);
  print_depths(d);
  if (d.precision) print_precision(*d.precision);
  if (!d.logits) return;
  const inspect::LogitsSummary &a = d.logits->expected, &b = d.logits->observed;
  fmt::print("\n{:22}  {:>12}  {:>12}\n", "logits, last token", "observed", "float64");
  fmt::print("{:22}  {:>12}  {:>12}\n", "top token", b.top, a.top);
  fmt::print("{:22}  {:>12.5g}  {:>12.5g}\n", "least", b.min, a.min);
  fmt::print("{:22}  {:>12.5g}  {:>12.5g}\n", "greatest", b.max, a.max);
  fmt::print("{:22}  {:>12.4g}  {:>12.4g}\n", "entropy, nats", b.entropy, a.entropy);
  fmt::print("{:22}  {:>12.3g}\n", "KL from float64, nats", d.logits->divergence);
}

void print_json_report(const Diagnosis& d, bool on_one_line) {
  ordered_json j = {{"healthy", d.is_healthy()}, {"verdict", verdict(d)},   {"program", d.info.program},
                    {"model", d.info.model},     {"tokens", d.info.tokens}, {"judged", d.judged}};
  j["fault"] = d.fault.record < 0 ? ordered_json() : to_json(d.fault);
  if (!d.planted.empty()) j["planted"] = d.planted;
  if (!d.notes.empty()) j["notes"] = d.notes;
  if (!d.inputs.empty()) j["inputs"] = d.inputs;
  if (d.reference) j["reference"] = to_json(*d.reference);
  j["further_faults"] = ordered_json::array();
  for (size_t i = 1; i < d.all_faults.size(); ++i) {
    j["further_faults"].push_back(to_json(d.all_faults[i].fault));
    j["further_faults"].back()["places"] = d.all_faults[i].places;
  }
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
  if (d.precision) j["precision"] = to_json(*d.precision);
  if (!d.logits) return print_json(j, on_one_line);
  j["depths"] = ordered_json::array();
  for (const inspect::DepthRow& r : d.depths)
    j["depths"].push_back({{"layers", r.layers},
                           {"expected", to_json(r.expected)},
                           {"observed", to_json(r.observed)},
                           {"divergence", r.divergence}});
  j["logits"] = {{"expected", to_json(d.logits->expected)},
                 {"observed", to_json(d.logits->observed)},
                 {"divergence", d.logits->divergence}};
  print_json(j, on_one_line);
}

}  // namespace tl::cli
