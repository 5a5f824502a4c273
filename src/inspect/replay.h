// The reference's program on the observed run's values: each value computed in float64 from what the observed
// run had where the program last agreed. So errors that were inherited do not count, and a value that is
// wrong by itself shows even where the run was far off before.
#pragma once

#include <functional>
#include <optional>
#include <string>
#include <vector>

#include "formats/model_file.h"
#include "inspect/compare.h"
#include "inspect/operation.h"

namespace tl::inspect {

/// One operation of the reference's program, about to be computed from observed inputs.
struct Replayed {
  const Record& record;
  const std::string& role;  ///< see structure.h
  Operation operation;
  std::vector<std::string> weights;  ///< per input: the name of the weight that it is, or ""
  int64_t step;                      ///< the number of the record
};

class Replay {
 public:
  /// Changes an operation: gives its result, or nothing where it is to be computed as it is.
  using Change = std::function<std::optional<Tensor>(const Replayed&)>;

  /// `aligned` is compare(reference, observed). Both recordings keep all values; the reference's weights are
  /// read from `file`.
  Replay(const Recording& reference, const Recording& observed, const Comparison& aligned,
         const ModelFile& file, const Backend& oracle, ThreadPool& pool);

  /// The values that can be judged, in the order of the reference: computed ones that the observed run has.
  const std::vector<int>& judged() const { return judged_; }
  /// The observed value that belongs to a record of the reference, float64, in the reference's axes.
  Tensor observed(int record) const { return observed_[static_cast<size_t>(record)]; }
  /// The record of the observed run that belongs to it.
  const Record& partner(int record) const;
  const std::string& role(int record) const { return roles_[static_cast<size_t>(record)]; }
  const Recording& reference() const { return reference_; }

  /// What the record's value should be, from the nearest observed values that it is made of. Operations go
  /// through `change`.
  Tensor expected(int record, const Change& change = {});
  /// The relative distance that rounding explains between expected() and observed().
  double explained(int record) const;
  /// The operations that expected() computes, the last first.
  std::vector<const Record*> operations(int record) const;

  /// A weight by its name in the file, float64; empty where there is none.
  Tensor weight(const std::string& name) const;
  /// The same as it is stored.
  Tensor stored_weight(const std::string& name) const { return file_.tensor(name); }
  /// Computes an operation in float64.
  Tensor run(const Operation& operation);

 private:
  Tensor value(int record, bool is_target, const Change& change, std::vector<Tensor>& known);
  Tensor appended(const Record& record, const Tensor& x, int number) const;

  const Recording& reference_;
  const Recording& recording_;
  const ModelFile& file_;
  const Backend& oracle_;
  ThreadPool& pool_;
  std::vector<std::string> roles_;
  std::vector<int> partner_, judged_;
  std::vector<Tensor> observed_;
  std::vector<double> explained_;
};

}  // namespace tl::inspect
