// Memory plan: values whose lives do not overlap share a buffer. Decided by structure alone; how large a
// buffer must be is known when a run's shapes are.
#include <deque>

#include "graph/plan.h"

namespace tl::graph {

namespace {

/// Views look at their input's memory, and a cache_append at the state's.
bool shares_memory(Op op) { return is_view(op) || op == Op::cache_append; }

}  // namespace

void assign_buffers(Plan& plan, const Trace& trace) {
  const size_t n = trace.values.size();
  plan.parent.assign(n, -1);
  for (const Step& step : plan.steps)
    if (shares_memory(step.op)) plan.parent[static_cast<size_t>(step.output)] = step.inputs[0];
  // Whoever reads a view reads what it looks at. (A reshape of a strided input copies, so it has a buffer of
  // its own too.)
  const auto for_chain = [&](int value, const auto& visit) {
    for (; value >= 0; value = plan.parent[static_cast<size_t>(value)]) visit(static_cast<size_t>(value));
  };
  plan.last_use.assign(n, -1);
  for (size_t s = 0; s < plan.steps.size(); ++s)
    for (const int v : plan.steps[s].inputs)
      for_chain(v, [&](size_t value) { plan.last_use[value] = static_cast<int>(s); });
  std::vector<bool> escapes(n);
  for (const int root : trace.roots) for_chain(root, [&](size_t value) { escapes[value] = true; });

  plan.slot.assign(n, -1);
  // The slot that has been free for longest goes first: a backend may then run a step together with the next
  // ones, since these do not write where it reads.
  std::deque<int> free_slots;
  std::vector<std::vector<int>> dying(plan.steps.size());
  for (size_t v = 0; v < n; ++v)
    if (plan.last_use[v] >= 0) dying[static_cast<size_t>(plan.last_use[v])].push_back(static_cast<int>(v));
  for (size_t s = 0; s < plan.steps.size(); ++s) {
    const auto out = static_cast<size_t>(plan.steps[s].output);
    if (!escapes[out] && (!shares_memory(plan.steps[s].op) || plan.steps[s].op == Op::reshape)) {
      if (free_slots.empty()) {
        plan.slot[out] = plan.n_slots++;
      } else {
        plan.slot[out] = free_slots.front();
        free_slots.pop_front();
      }
    }
    for (const int v : dying[s])
      if (plan.slot[static_cast<size_t>(v)] >= 0) free_slots.push_back(plan.slot[static_cast<size_t>(v)]);
    if (plan.slot[out] >= 0 && plan.last_use[out] < 0) free_slots.push_back(plan.slot[out]);
  }
}

}  // namespace tl::graph
