// What goes wrong with norms.
#include <algorithm>
#include <cmath>

#include <fmt/format.h>

#include "inspect/hypothesis_rules.h"
#include "inspect/values.h"

namespace tl::inspect {

namespace {

bool is_norm(const Replayed& r) { return r.operation.op == Op::rms_norm; }

/// The norm before the output, or one of the others.
bool is_norm(const Replayed& r, bool is_final) {
  const bool reads_it =
      std::find(r.weights.begin(), r.weights.end(), "output_norm.weight") != r.weights.end();
  return is_norm(r) && is_final == reads_it;
}

/// The eps under which the observed rows come nearest to the definition: each element gives one, the median
/// of those where it shows is taken. Negative where there is none.
double fitted_eps(Replay& replay, int record) {
  const std::vector<const Record*> operations = replay.operations(record);
  if (operations.size() != 1 || operations[0]->op != "rms_norm") return -1;
  Tensor x, w;
  replay.expected(record, [&](const Replayed& r) -> std::optional<Tensor> {
    x = r.operation.in[0];
    if (r.operation.in.size() > 1) w = r.operation.in[1];
    return std::nullopt;
  });
  const std::vector<double> in = values_of(x), out = values_of(replay.observed(record));
  const std::vector<double> weight = w ? values_of(w) : std::vector<double>();
  const auto width = static_cast<size_t>(x.shape().back());
  double sum = 0, total = 0;
  for (size_t row = 0; row + width <= in.size(); row += width) {
    double squares = 0, product = 0, of_out = 0;
    for (size_t i = 0; i < width; ++i) {
      const double y = in[row + i] * (weight.empty() ? 1 : weight[i]);
      squares += in[row + i] * in[row + i];
      product += y * out[row + i];
      of_out += y * y;
    }
    const double mean = squares / static_cast<double>(width),
                 scale = product / of_out;  // 1 / sqrt(mean + eps)
    if (!(scale > 0) || mean == 0) continue;
    sum += (1 / (scale * scale) - mean) / (mean * mean);  // rows of small values say more about eps
    total += 1 / (mean * mean);
  }
  return total > 0 ? sum / total : -1;
}

void add_missing_rules(Replay& replay, bool is_final, Hypotheses& all) {
  const std::string prefix = is_final ? "final-norm" : "norm",
                    what = is_final ? "the norm before the output" : "a norm";
  all.push_back({prefix + "-missing", what + " is missing",
                 "what follows reads the normalised stream, not the stream itself",
                 [is_final](const Replayed& r) -> std::optional<Tensor> {
                   if (!is_norm(r, is_final)) return std::nullopt;
                   return r.operation.in[0];
                 }});
  all.push_back({prefix + "-weight-missing", what + " is used without its weight",
                 "multiply the normalised rows by the weight of the norm",
                 [&replay, is_final](const Replayed& r) -> std::optional<Tensor> {
                   if (!is_norm(r, is_final) || r.operation.in.size() < 2) return std::nullopt;
                   Operation o = r.operation;
                   o.in.resize(1);
                   return replay.run(o);
                 }});
}

}  // namespace

void add_norm_rules(Replay& replay, int record, Hypotheses& all) {
  for (const bool is_final : {false, true}) add_missing_rules(replay, is_final, all);
  all.push_back({"norm-mean", "a norm subtracts the mean of its row (LayerNorm) where RMSNorm is meant",
                 "divide by the root mean square and subtract nothing",
                 [&replay](const Replayed& r) -> std::optional<Tensor> {
                   if (!is_norm(r)) return std::nullopt;
                   Operation o = r.operation;
                   o.op = Op::layer_norm;
                   return replay.run(o);
                 }});
  const double eps = fitted_eps(replay, record);
  if (eps < 0) return;
  const double known = std::pow(10.0, std::round(std::log10(std::max(eps, 1e-13))));
  all.push_back({"rms-eps", fmt::format("the eps of a norm is about {:.1g} and not the file's", known),
                 "read attention.layer_norm_rms_epsilon from the model file",
                 [&replay, known](const Replayed& r) -> std::optional<Tensor> {
                   if (!is_norm(r) || r.operation.params.floats[0] == known) return std::nullopt;
                   Operation o = r.operation;
                   o.params.floats[0] = known;
                   return replay.run(o);
                 }});
}

}  // namespace tl::inspect
