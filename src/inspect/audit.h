// Every operation that a session runs, held against its definition while it runs: at the shapes, on the
// values and by the kernels of that run.
//
// - Local error: the observed result against float64 on the very inputs that the kernel read, over its
//   derived bound; above 1 the kernel is wrong. With a reference recording also the kernel's error on the
//   reference's inputs, which tells a kernel that fails on sick values from one that makes them sick.
// - Inherited error: the observed result against the reference's value of that name.
// - Replays: in poisoned memory (elements left unwritten show), with other numbers of threads, from inputs in
//   other memory layouts, single rows against many, other numbers of rows. All must give the same bits, but
//   for layouts, which another kernel may compute and which must keep the bound.
#pragma once

#include <functional>
#include <optional>
#include <string>
#include <unordered_set>
#include <vector>

#include "inspect/compare.h"
#include "inspect/operation.h"
#include "inspect/recording.h"

namespace tl::inspect {

/// Of results against float64 on the same inputs.
struct LocalError {
  double ratio = 0;                 ///< the largest error over its bound; above 1 is a fault
  double relative = 0;              ///< relative L2
  bool exact = false;               ///< the operation has to be exact: ratio is 0 or infinite
  std::vector<int64_t> worst = {};  ///< index of the element with the largest ratio
  double expected = 0, actual = 0;  ///< there
};

/// What was found about one operation.
struct OperationAudit {
  std::string name, op, place;
  DType dtype = DType::f32;
  Shape shape = {};
  std::vector<std::string> inputs = {};      ///< their names
  LocalError own = {};                       ///< on its own inputs
  std::optional<LocalError> healthy = {};    ///< on the reference's inputs
  std::optional<Difference> inherited = {};  ///< from the reference's value
  std::vector<std::string> faults = {};      ///< sentences; empty where all is well
};

struct AuditOptions {
  /// Values of a run of the same program by the reference backend, kept whole; may be null.
  const Recording* reference = nullptr;
  int64_t sampled_rows = 4;              ///< held against float64: half of them the first rows, half the last
  std::vector<int> threads = {1, 2, 4};  ///< replays
  bool variations = true;  ///< layouts, single rows, numbers of rows: for the first of each kind and shape
  std::function<void(const OperationAudit&)> done = {};  ///< told about each as the run goes
};

/// Audits what a session runs, from set_observer(&auditor) on.
class Auditor : public Observer {
 public:
  /// `oracle` computes in float64 (the reference backend). Replays have thread pools of their own.
  Auditor(Session& session, const Backend& oracle, AuditOptions options);
  ~Auditor() override;

  void begin_step(int number) { names_.begin_step(number); }
  const std::vector<OperationAudit>& operations() const { return operations_; }

  void on_run(const graph::Plan& plan, const graph::Trace& trace) override { names_.on_run(plan, trace); }
  void on_step(const ExecutedStep& step) override;

 private:
  bool is_first_of_its_kind(const Operation& operation);
  void compare_with_reference(const Operation& operation, const Tensor& observed,
                              OperationAudit& audit) const;

  Session& session_;
  const Backend& oracle_;
  AuditOptions options_;
  Recorder names_;  ///< gives values their names, and says which they are made of
  std::vector<std::unique_ptr<ThreadPool>> pools_;
  std::vector<OperationAudit> operations_;
  std::unordered_set<std::string> kinds_;
};

/// The error of a result that `backend` computed for `operation`, against float64 by `oracle`. Where the
/// operation works row by row only `sampled_rows` of them are looked at (0: all).
LocalError local_error(const Operation& operation, const Tensor& result, const Backend& backend,
                       const Backend& oracle, ThreadPool& pool, int64_t sampled_rows);

}  // namespace tl::inspect
