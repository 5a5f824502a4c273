#include "inspect/depth.h"

#include <algorithm>
#include <cmath>

#include <fmt/format.h>

#include "inspect/rows.h"
#include "inspect/values.h"

namespace tl::inspect {

namespace {

bool all_finite(std::span<const double> x) {
  return std::all_of(x.begin(), x.end(), [](double v) { return std::isfinite(v); });
}

double log_normaliser(std::span<const double> logits) {
  const double most = *std::max_element(logits.begin(), logits.end());
  double sum = 0;
  for (const double x : logits) sum += std::exp(x - most);
  return most + std::log(sum);
}

/// The record that has the role in the last step of the run, or -1.
int last_with_role(const Replay& replay, const std::string& role) {
  for (int i = static_cast<int>(replay.reference().records.size()); i-- > 0;)
    if (replay.role(i) == role || replay.role(i).ends_with("/" + role)) return i;
  return -1;
}

/// The final norm and the output matrix on a row of the residual stream.
class Head {
 public:
  Head(Replay& replay, const Record& norm, const Record& output)
      : replay_(replay), norm_(norm), output_(output) {
    const auto weight = [&](const Record& r) {
      for (const int input : r.inputs) {
        const Record& w = replay.reference().records[static_cast<size_t>(input)];
        if (w.is_weight) return replay.stored_weight(w.name);
      }
      return Tensor();
    };
    norm_weight_ = weight(norm), output_weight_ = weight(output);
  }

  std::vector<double> logits(const Tensor& row) {
    const Tensor normed =
        replay_.run({.op = Op::rms_norm, .in = {row, norm_weight_}, .params = norm_.params});
    return values_of(replay_.run({.op = Op::linear, .in = {normed, output_weight_}, .attrs = output_.attrs}));
  }

 private:
  Replay& replay_;
  const Record &norm_, &output_;
  Tensor norm_weight_, output_weight_;
};

Tensor last_row(const Tensor& x) {
  const Tensor plain = converted(x, DType::f64);
  return converted(part_of(plain, 0, plain.shape()[0] - 1, 1), DType::f64);
}

}  // namespace

LogitsSummary summarise(std::span<const double> logits) {
  LogitsSummary s;
  const auto [low, high] = std::minmax_element(logits.begin(), logits.end());
  s.min = *low, s.max = *high;
  s.top = static_cast<int32_t>(high - logits.begin());
  if (!all_finite(logits)) {
    s.entropy = std::nan("");
    return s;
  }
  const double normaliser = log_normaliser(logits);
  for (const double x : logits) s.entropy -= std::exp(x - normaliser) * (x - normaliser);
  return s;
}

double divergence(std::span<const double> a, std::span<const double> b) {
  if (!all_finite(a) || !all_finite(b)) return std::nan("");
  const double of_a = log_normaliser(a), of_b = log_normaliser(b);
  double sum = 0;
  for (size_t i = 0; i < a.size(); ++i) sum += std::exp(a[i] - of_a) * ((a[i] - of_a) - (b[i] - of_b));
  return std::max(0.0, sum);  // rounding may leave less than nothing
}

std::vector<DepthRow> by_depth(Replay& replay, const std::vector<int64_t>& layer_counts) {
  const int norm = last_with_role(replay, "output_norm"), output = last_with_role(replay, "output");
  const auto& records = replay.reference().records;
  std::vector<DepthRow> rows;
  if (norm < 0 || output < 0 || records[static_cast<size_t>(norm)].op != "rms_norm") return rows;
  Head head(replay, records[static_cast<size_t>(norm)], records[static_cast<size_t>(output)]);
  for (const int64_t layers : layer_counts) {
    const std::string role = layers == 0 ? "token_embd" : fmt::format("blk.{}.ffn_residual", layers - 1);
    const int record = last_with_role(replay, role);
    if (record < 0 || !replay.observed(record)) continue;
    const std::vector<double> a = head.logits(last_row(records[static_cast<size_t>(record)].value)),
                              b = head.logits(last_row(replay.observed(record)));
    rows.push_back({layers, summarise(a), summarise(b), divergence(a, b)});
  }
  return rows;
}

}  // namespace tl::inspect
