#include "inspect/perturb.h"

#include "inspect/bounds.h"
#include "inspect/values.h"
#include "ops/random.h"

namespace tl::inspect {

Perturber::Perturber(Session& session, const Backend& imitated, Activations activations, uint64_t seed,
                     Observer* next)
    : session_(session), imitated_(imitated), activations_(activations), seed_(seed), next_(next) {}

void Perturber::on_run(const graph::Plan& plan, const graph::Trace& trace) {
  if (next_ != nullptr) next_->on_run(plan, trace);
}

void Perturber::on_step(const ExecutedStep& step) {
  const Op op = step.step.op;
  const bool computes = !is_view(op) && op != Op::scalar && op != Op::cache_append;
  if (computes && step.output.dtype() == DType::f64) {
    Operation o = operation_of(step, session_);
    o.activations = activations_;
    const std::vector<double> exact = values_of(step.output);
    const std::vector<double> bounds =
        error_bound(o, arithmetic_of(imitated_), DType::f32, exact, session_.backend());
    auto* out = step.output.data<double>();
    for (size_t i = 0; i < bounds.size(); ++i) out[i] += bounds[i] / 6 * random_normal(seed_, next_number_++);
  }
  if (next_ != nullptr) next_->on_step(step);
}

}  // namespace tl::inspect
