// What rounding does to a whole model, measured: a run of the reference backend whose every operation is
// disturbed by errors as large as a backend's rounding may make them.
#pragma once

#include <cstdint>

#include "inspect/operation.h"

namespace tl::inspect {

/// Disturbs what a session of the reference backend computes, from set_observer(&perturber) on: to each
/// element of each result it adds a normally distributed error. Bounds are six standard deviations of sums
/// (bounds.h), so a sixth of the derived bound is the standard deviation. Run with several seeds; the spread
/// of any value over them is what rounding explains of it. May hand on what it sees to another observer, a
/// Recorder say.
class Perturber : public Observer {
 public:
  /// `imitated` is the backend whose rounding is imitated, as it meets quantised weights with `activations`.
  Perturber(Session& session, const Backend& imitated, Activations activations, uint64_t seed,
            Observer* next = nullptr);

  void on_run(const graph::Plan& plan, const graph::Trace& trace) override;
  void on_step(const ExecutedStep& step) override;

 private:
  Session& session_;
  const Backend& imitated_;
  Activations activations_;
  uint64_t seed_, next_number_ = 0;
  Observer* next_;
};

}  // namespace tl::inspect
