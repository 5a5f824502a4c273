#include "inspect/prediction.h"

#include <algorithm>

#include "inspect/values.h"

namespace tl::inspect {

namespace {

/// Two runs round once each, and errors of one operation scatter around the model's.
constexpr double kMargin = 4;
/// How much a weighted sum may raise a relative error: directions that weights favour.
constexpr double kGain = 2;
/// Numbers as 8-bit blocks of 32: steps of largest / 127 give errors of largest / 127 / sqrt(12), and the
/// largest of 32 normal numbers is some three times their root mean square; outliers make it six.
constexpr double kBlockRounding = 6 / 127.0 / 3.4641016;

class Prediction {
 public:
  Prediction(const Recording& graph, const Coarseness& coarseness, const std::vector<ObservedError>& observed)
      : graph_(graph), coarseness_(coarseness), observed_(observed) {}

  std::vector<double> run() {
    for (const Record& r : graph_.records) {
      const double rounding = r.is_leaf() ? 0 : own(r);
      double hidden = rounding;
      for (const int input : r.inputs) hidden = std::max(hidden, hidden_[static_cast<size_t>(input)]);
      hidden_.push_back(hidden);
      predicted_.push_back(r.is_leaf() ? 0 : inherited(r) + rounding);
    }
    for (double& p : predicted_) p *= kMargin;
    return std::move(predicted_);
  }

 private:
  const Record& record(int number) const { return graph_.records[static_cast<size_t>(number)]; }

  double error_of(int input) const {
    const auto i = static_cast<size_t>(input);
    const double seen = observed_[i].error;
    if (std::isnan(seen)) return predicted_[i];
    // Statistics may agree by chance; an error as large as the largest rounding on the way may hide there.
    return observed_[i].is_lower_bound ? std::max(seen, hidden_[i]) : seen;
  }

  double row_error_of(int input) const {
    const ObservedError& seen = observed_[static_cast<size_t>(input)];
    return std::isnan(seen.row_error) || seen.is_lower_bound ? error_of(input) : seen.row_error;
  }

  static double rms(const Record& r) { return r.statistics ? r.statistics->rms() : 0; }

  /// The weight that an operation reads, or null.
  const Record* weight(const Record& r) const {
    for (const int input : r.inputs)
      if (record(input).is_weight) return &record(input);
    return nullptr;
  }

  /// Errors are spread evenly, values need not be: where a product with a matrix is smaller than that of even
  /// values (what stands out in x is suppressed), its relative error grows by as much. At least 1.
  double suppression(const Record& r) const {
    const Record* w = weight(r);
    if (r.op != "linear" || w == nullptr || w->weight_rms == 0 || rms(r) == 0) return 1;
    const double even =
        w->weight_rms * std::sqrt(static_cast<double>(w->shape.back())) * rms(record(r.inputs[0]));
    return std::max(1.0, even / rms(r));
  }

  /// The relative rounding error of the operation itself: u for each of the operations that meet in an
  /// element, as independent errors (a sum of n terms: sqrt(n) of them).
  double own(const Record& r) const {
    const Record* w = weight(r);
    if (r.op == "linear" && w != nullptr && is_quantised(w->dtype) && coarseness_.activations_q8)
      return kBlockRounding * suppression(r);
    if (r.op == "cache_append" && coarseness_.cache_blocks) return kBlockRounding;
    double u = unit_roundoff(DType::f32), terms = 4;
    if (is_float(r.dtype) && r.dtype != DType::f64) u = std::max(u, unit_roundoff(r.dtype));
    if (coarseness_.attention_f16 && (r.op == "attention" || r.op == "contract" || r.op == "softmax"))
      u = unit_roundoff(DType::f16);
    for (const int input : r.inputs)
      if (record(input).shape.rank() > 0)
        terms = std::max(terms, static_cast<double>(record(input).shape.back()));
    return u * std::sqrt(terms) * suppression(r);
  }

  double inherited(const Record& r) const {
    double squares = 0, absolute = 0;
    for (const int input : r.inputs) {
      const double e = error_of(input);
      squares += e * e;
      absolute += std::pow(e * rms(record(input)), 2);
    }
    squares = std::sqrt(squares), absolute = std::sqrt(absolute);
    const double size = rms(r);
    // Sums may cancel, so absolute errors are carried; exponentials turn them into relative ones.
    if ((r.op == "add" || r.op == "sub") && size > 0) return absolute / size;
    if (r.op == "softmax" || r.op == "exp") return kGain * absolute;
    if (r.op == "attention" && r.inputs.size() >= 3)  // q and k through scores of a few units, v as it is
      return kGain * std::hypot(2 * error_of(r.inputs[0]), 2 * error_of(r.inputs[1]), error_of(r.inputs[2]));
    // Weights of a norm often make small what is large in its input, while errors are spread over all
    // elements.
    const Record* w = weight(r);
    const double largest = w != nullptr && w->statistics && size > 0 ? w->statistics->largest() / size : 0;
    if (r.op == "rms_norm" || r.op == "layer_norm")
      return row_error_of(r.inputs[0]) * (1 + std::max(1.0, largest));
    if (r.op == "mul" && largest > 0) return absolute * largest;
    return kGain * squares * suppression(r);
  }

  const Recording& graph_;
  const Coarseness coarseness_;
  const std::vector<ObservedError>& observed_;
  std::vector<double> predicted_;
  std::vector<double> hidden_;  ///< the largest rounding error of any operation that led to a value
};

}  // namespace

void Coarseness::add(const Recording& run) {
  activations_q8 |= run.info.activations == "q8" && run.info.device != "reference";
  attention_f16 |= run.info.tool == "llama.cpp";
  for (const Record& r : run.records)
    if (r.op == "cache_append" && !r.inputs.empty())
      cache_blocks |= is_quantised(run.records[static_cast<size_t>(r.inputs[0])].dtype);
}

std::vector<double> explained_by_rounding(const Recording& graph, const Coarseness& coarseness,
                                          const std::vector<ObservedError>& observed) {
  return Prediction(graph, coarseness, observed).run();
}

}  // namespace tl::inspect
