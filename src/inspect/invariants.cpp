#include "inspect/invariants.h"

#include <algorithm>
#include <cmath>
#include <limits>
#include <unordered_map>

#include "inspect/structure.h"
#include "inspect/values.h"

namespace tl::inspect {

namespace {

/// Sums of n float32 terms and the exponentials before them.
double rounding(int64_t n) { return 16 * 0x1p-24 * std::sqrt(static_cast<double>(std::max<int64_t>(n, 1))); }

void note(Invariant& check, double deviation, double bound, const std::string& where) {
  ++check.checked;
  check.bound = std::max(check.bound, bound);
  if (deviation <= check.worst) return;  // false for NaN
  check.worst = std::isnan(deviation) ? std::numeric_limits<double>::infinity() : deviation;
  check.where = where;
  check.holds = check.holds && deviation <= bound;
}

class Checks {
 public:
  Checks(const Recording& recording, const ModelFile& file)
      : recording_(recording), file_(file), roles_(roles(recording)) {
    for (size_t i = 0; i < roles_.size(); ++i)
      if (!roles_[i].empty()) by_role_.emplace(roles_[i], static_cast<int>(i));
  }

  std::vector<Invariant> run() {
    Invariant sums{"rows of attention weights sum to 1"}, lengths{"RoPE keeps the length of every head"},
        norms{"normalised rows have a root mean square of 1"};
    for (size_t i = 0; i < roles_.size(); ++i) {
      const std::string& role = roles_[i];
      const Record& r = recording_.records[i];
      if (!r.value) continue;
      if (role.ends_with(".attn.weights")) check_sums(r, sums);
      if (role.ends_with(".rope")) check_lengths(r, role.substr(0, role.size() - 5), lengths);
      if (role.ends_with("_norm")) check_norm(r, norms);
    }
    std::vector<Invariant> all;
    for (Invariant* check : {&sums, &lengths, &norms})
      if (check->checked > 0) all.push_back(std::move(*check));
    return all;
  }

 private:
  void check_sums(const Record& r, Invariant& check) const {
    const std::vector<double> values = values_of(r.value);
    const auto width = static_cast<size_t>(std::max<int64_t>(1, r.shape.back()));
    for (size_t row = 0; row + width <= values.size(); row += width) {
      double sum = 0;
      for (size_t i = row; i < row + width; ++i) sum += values[i];
      note(check, std::fabs(sum - 1), rounding(r.shape.back()), r.name);
    }
  }

  void check_lengths(const Record& r, const std::string& unrotated, Invariant& check) const {
    const auto at = by_role_.find(unrotated);
    if (at == by_role_.end()) return;
    const Record& before = recording_.records[static_cast<size_t>(at->second)];
    if (!before.value || before.value.elements() != r.value.elements()) return;
    const std::vector<double> x = values_of(before.value), y = values_of(r.value);
    const auto width = static_cast<size_t>(std::max<int64_t>(1, r.shape.back()));
    for (size_t row = 0; row + width <= y.size(); row += width) {
      double of_x = 0, of_y = 0;
      for (size_t i = row; i < row + width; ++i) of_x += x[i] * x[i], of_y += y[i] * y[i];
      if (of_x > 0) note(check, std::fabs(std::sqrt(of_y / of_x) - 1), rounding(r.shape.back()), r.name);
    }
  }

  /// y / w has a mean square of ms / (ms + eps), ms being that of the input: below 1, and near it.
  void check_norm(const Record& r, Invariant& check) const {
    const Record* weight = nullptr;
    for (const int input : r.inputs)
      if (recording_.records[static_cast<size_t>(input)].is_weight)
        weight = &recording_.records[static_cast<size_t>(input)];
    if (weight == nullptr || r.inputs.empty() || r.op != "rms_norm") return;
    const TensorEntry* entry = file_.find_tensor(weight->name);
    if (entry == nullptr) return;
    const Record& input = recording_.records[static_cast<size_t>(r.inputs[0])];
    if (!input.value || input.value.elements() != r.value.elements()) return;
    const std::vector<double> x = values_of(input.value), y = values_of(r.value),
                              w = values_of(file_.tensor(*entry));
    for (size_t row = 0; row + w.size() <= y.size(); row += w.size()) {
      double squares = 0, of_x = 0;
      size_t n = 0;
      for (size_t i = 0; i < w.size(); ++i) {
        of_x += x[row + i] * x[row + i];
        if (std::fabs(w[i]) < 1e-6) continue;
        squares += std::pow(y[row + i] / w[i], 2), ++n;
      }
      if (n < w.size() || of_x == 0) continue;
      const double mean = of_x / static_cast<double>(n), eps = 1e-5;  // the largest in use
      note(check, std::fabs(std::sqrt(squares / static_cast<double>(n)) - 1),
           rounding(r.shape.back()) + eps / (2 * mean), r.name);
    }
  }

  const Recording& recording_;
  const ModelFile& file_;
  std::vector<std::string> roles_;
  std::unordered_map<std::string, int> by_role_;
};

}  // namespace

std::vector<Invariant> check_invariants(const Recording& recording, const ModelFile& file) {
  return Checks(recording, file).run();
}

Invariant same_logits(std::string what, std::span<const float> a, std::span<const float> b, int64_t width) {
  // Programs may sum in other orders for other numbers of rows: a thousandth of the logits' size is allowed.
  Invariant check{std::move(what)};
  check.bound = 1e-3;
  const size_t n = std::min(a.size(), b.size());
  for (size_t row = 0; row + static_cast<size_t>(width) <= n; row += static_cast<size_t>(width)) {
    double squares = 0, size = 0;
    for (size_t i = row; i < row + static_cast<size_t>(width); ++i) {
      squares += std::pow(static_cast<double>(a[i]) - b[i], 2);
      size += static_cast<double>(a[i]) * a[i];
    }
    note(check, size > 0 ? std::sqrt(squares / size) : 0, check.bound,
         "row " + std::to_string(row / static_cast<size_t>(width)));
  }
  return check;
}

}  // namespace tl::inspect
