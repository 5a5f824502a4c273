// silu(gate) * up in one pass over memory.
#include <algorithm>

#include "graph/plan.h"

namespace tl::graph {

void fuse_swiglu(Plan& plan, const Trace& trace) {
  const Uses uses(plan, trace);
  std::vector<int> gone;
  std::vector<std::pair<size_t, Step>> found;
  for (size_t s = 0; s < plan.steps.size(); ++s) {
    const Step& product = plan.steps[s];
    if (product.op != Op::mul) continue;
    const Node& node = *trace.values[static_cast<size_t>(product.output)];
    if (!is_float(node.dtype()) || node.inputs[0]->shape() != node.inputs[1]->shape()) continue;
    for (const size_t g : {size_t{0}, size_t{1}}) {
      const Step* gate = uses.producer(product.inputs[g]);
      if (gate == nullptr || gate->op != Op::silu || uses.only_reader(gate->output) != &product) continue;
      found.emplace_back(s, Step{Op::swiglu,
                                 {gate->inputs[0], product.inputs[1 - g]},
                                 product.output,
                                 NoAttrs{},
                                 {gate->output, product.output},
                                 [](std::span<const Node* const>) { return Params{}; }});
      gone.push_back(gate->output);
      break;
    }
  }
  for (auto& [s, step] : found) plan.steps[s] = std::move(step);
  std::erase_if(plan.steps, [&](const Step& step) {
    return std::find(gone.begin(), gone.end(), step.output) != gone.end();
  });
}

}  // namespace tl::graph
