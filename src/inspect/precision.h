// A model in other precisions: a run of the reference backend that rounds what it keeps and what it sums, and
// a run of another backend of which parts are computed in float64.
#pragma once

#include <string>
#include <unordered_set>

#include "inspect/recording.h"
#include "runtime/session.h"

namespace tl::inspect {

/// The float types that values are kept and summed in.
struct Precision {
  DType activations = DType::f64;   ///< results of operations
  DType residual = DType::f64;      ///< the residual stream
  DType accumulation = DType::f64;  ///< sums of products, norms and softmax; rounded after every addition
};

/// The types that are tried, the narrowest first.
constexpr DType kPrecisions[] = {DType::f16, DType::bf16, DType::f32, DType::f64};

/// The names of the values that are the residual stream: the embeddings, and what each sublayer leaves.
std::unordered_set<std::string> residual_stream(const Recording& recording);

/// Rounds the results of a session of the reference backend, from set_observer(&rounder) on. Weights stay as
/// they are stored.
class Rounder : public Observer {
 public:
  /// `residual` holds names as residual_stream() gives them, of the same program on as many tokens.
  Rounder(Session& session, const Precision& precision, const std::unordered_set<std::string>& residual);

  void on_run(const graph::Plan& plan, const graph::Trace& trace) override { names_.on_run(plan, trace); }
  void on_step(const ExecutedStep& step) override;

 private:
  Precision precision_;
  const std::unordered_set<std::string>& residual_;
  Recorder names_;
};

/// A kernel of the reference backend's kind that sums in `type`, for SessionOptions::kernel; null where an
/// operation sums nothing, or the type is float64.
const Kernel* summing_kernel(Op op, DType type);

}  // namespace tl::inspect
