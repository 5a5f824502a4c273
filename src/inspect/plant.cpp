#include "inspect/plant.h"

#include <algorithm>
#include <array>
#include <cstdlib>
#include <functional>
#include <unordered_set>

#include <fmt/format.h>
#include <fmt/ranges.h>

#include "base/error.h"
#include "base/source.h"

namespace tl::inspect {

using graph::Node;
using graph::NodeRef;

namespace {

constexpr std::array kFaults = {
    PlantableFault{"rope-pairing", "RoPE rotates the pairs of the other convention", true},
    PlantableFault{"rope-missing-k", "keys are not rotated", true},
    PlantableFault{"rope-missing-q", "queries are not rotated", true},
    PlantableFault{"rope-position", "queries are rotated for the next position", true},
    PlantableFault{"rope-restarted", "after the prompt positions begin at 0 again", true},
    PlantableFault{"rope-base", "RoPE's base is not the file's", true},
    PlantableFault{"rope-half", "RoPE's frequencies are kept in bfloat16", true},
    PlantableFault{"qk-permuted", "rows of Q and K stand in the order of the other RoPE convention", true},
    PlantableFault{"q-permuted-kv-heads", "rows of Q are reordered by the number of KV heads", true},
    PlantableFault{"kv-head-modulo", "query head h reads KV head h % n_kv instead of h / group", true},
    PlantableFault{"heads-interleaved", "queries are split as [head_dim, heads]", true},
    PlantableFault{"attention-scale", "scores are divided by sqrt(hidden) instead of sqrt(head_dim)", true},
    PlantableFault{"mask-missing", "every query sees every key", true},
    PlantableFault{"mask-off-by-one", "every query sees one key too many", true},
    PlantableFault{"mask-inverted", "queries see what comes after them", true},
    PlantableFault{"scores-float16", "attention scores are rounded to float16", true},
    PlantableFault{"rms-eps", "rms_norm uses an eps of its own", true},
    PlantableFault{"norm-missing", "the norm before attention is missing", true},
    PlantableFault{"norm-weight-missing", "the norm before attention has no weight", true},
    PlantableFault{"final-norm-missing", "the norm before the output is missing", false},
    PlantableFault{"final-norm-weight-missing", "the norm before the output has no weight", false},
    PlantableFault{"residual-lost", "attention's result replaces the residual stream", true},
    PlantableFault{"residual-doubled", "the residual stream is added twice", true},
    PlantableFault{"residual-scaled", "attention's result is scaled by 1 / sqrt(2 layers)", true},
    PlantableFault{"gate-up-swapped", "gate and up are exchanged", true},
    PlantableFault{"silu-missing", "the gate is used without SiLU", true},
    PlantableFault{"silu-replaced", "GELU in the place of SiLU", true},
    PlantableFault{"weight-transposed", "a square weight is used transposed", true},
    PlantableFault{"layer-repeated", "the weights of a neighbouring layer", true},
    PlantableFault{"output-tied", "the embedding is the output matrix where the file has another", false},
    PlantableFault{"nibble-order", "4-bit blocks read as neighbours (2k, 2k + 1)", true},
    PlantableFault{"repack-tail", "the last rows of a weight repeat those before", true},
    PlantableFault{"unwritten-elements", "rms_norm writes 1 / rows of its elements", true},
    PlantableFault{"strided-as-contiguous", "the heads are read in the order of [head, position]", true},
    PlantableFault{"float16-accumulation", "ffn_down adds up in float16", true},
    PlantableFault{"token-ids-float16", "token ids pass through float16", false},
    PlantableFault{"cache-shared", "the next layer's keys and values lie in the same buffer", true},
};

bool keeps_meaning(Op op) { return is_view(op) || op == Op::cast; }

}  // namespace

std::span<const PlantableFault> plantable_faults() { return kFaults; }

Plant parse_plant(const std::string& text) {
  const size_t at = text.find('@');
  Plant plant{text.substr(0, at)};
  std::vector<std::string> names;
  for (const PlantableFault& fault : kFaults) names.emplace_back(fault.name);
  const auto* known = std::find_if(kFaults.begin(), kFaults.end(),
                                   [&](const PlantableFault& fault) { return fault.name == plant.fault; });
  if (known == kFaults.end()) {
    const std::string near = nearest_name(plant.fault, names);
    throw UsageError(fmt::format("--plant knows no fault '{}'{}; there are: {}", plant.fault,
                                 near.empty() ? "" : fmt::format(" (did you mean '{}'?)", near),
                                 fmt::join(names, ", ")));
  }
  if (at != std::string::npos) {
    char* end = nullptr;
    const std::string layer = text.substr(at + 1);
    const long value = std::strtol(layer.c_str(), &end, 10);
    if (layer != "all" && (layer.empty() || *end != '\0' || value < 0 || value > 1 << 20))
      throw UsageError(fmt::format("--plant {}: after @ stands a layer, counted from 0, or 'all'", text));
    plant.layer = layer == "all" ? Plant::kEveryLayer : static_cast<int>(value);
  }
  if (known->in_layers && at == std::string::npos)
    throw UsageError(fmt::format("--plant {0}: say in which layer: {0}@0", plant.fault));
  if (!known->in_layers && at != std::string::npos)
    throw UsageError(fmt::format("--plant {}: this fault belongs to no layer; leave out {}", plant.fault,
                                 text.substr(at)));
  return plant;
}

Anatomy::Anatomy(std::span<const NodeRef> roots) {
  std::unordered_set<const Node*> met;
  std::vector<std::pair<NodeRef, size_t>> stack;
  const auto enter = [&](const NodeRef& node) {
    if (!met.insert(node.get()).second) return;
    stack.emplace_back(node, 0);
  };
  for (const NodeRef& root : roots) {
    enter(root);
    while (!stack.empty()) {
      const NodeRef node = stack.back().first;
      if (!node->value && stack.back().second < node->inputs.size()) {
        enter(node->inputs[stack.back().second++]);
        continue;
      }
      stack.pop_back();
      if (node->value) {
        if (!node->label.empty()) leaves_.emplace(node->label, node);
        continue;
      }
      parts_[node.get()] = find(*node);
      nodes_.push_back(node);
    }
  }
}

Part Anatomy::part(const Node* node) const {
  const auto at = parts_.find(node);
  return at == parts_.end() ? Part{} : at->second;
}

Part Anatomy::origin(const NodeRef& input) const {
  const Node* node = input.get();
  while (!node->value && keeps_meaning(node->op) && part(node).name.empty() && !node->inputs.empty())
    node = node->inputs[0].get();
  return part(node);
}

NodeRef Anatomy::leaf(const std::string& label) const {
  const auto at = leaves_.find(label);
  return at == leaves_.end() ? nullptr : at->second;
}

Part Anatomy::find(const Node& node) const {
  if (keeps_meaning(node.op)) return {};
  for (const NodeRef& input : node.inputs) {  // the weight it reads
    if (!input->is_weight || node.op == Op::rope || !input->label.ends_with(".weight")) continue;
    std::string name = input->label.substr(0, input->label.size() - 7);
    if (name == "token_embd" && node.op == Op::linear) return {"output"};
    if (!name.starts_with("blk.")) return {name};
    const size_t dot = name.find('.', 4);
    return {name.substr(dot + 1), std::atoi(name.c_str() + 4)};
  }
  std::vector<Part> from;
  for (const NodeRef& input : node.inputs) from.push_back(origin(input));
  const auto made_of = [&](std::string_view begin) -> const Part* {
    for (const Part& p : from)
      if (p.name.starts_with(begin)) return &p;
    return nullptr;
  };
  const auto becomes = [](const Part* p, std::string name) { return Part{std::move(name), p->layer}; };
  if (node.op == Op::rope) return {from[0].name + ".rope", from[0].layer};
  if (node.op == Op::cache_append) return {from[1].name + ".cache", from[1].layer};
  if (node.op == Op::contract) {
    if (made_of("weights")) return becomes(made_of("weights"), "heads");
    if (made_of("attn_q") && made_of("attn_k")) return becomes(made_of("attn_q"), "product");
  }
  if ((node.op == Op::div || node.op == Op::mul) && made_of("product"))
    return becomes(made_of("product"), "scores");
  if (node.op == Op::softmax && made_of("scores")) return becomes(made_of("scores"), "weights");
  if (node.op == Op::silu && made_of("ffn_gate")) return becomes(made_of("ffn_gate"), "act");
  if (node.op == Op::mul && made_of("act")) return becomes(made_of("act"), "gated");
  if (node.op == Op::add && made_of("attn_output")) return becomes(made_of("attn_output"), "attn_residual");
  if (node.op == Op::add && made_of("ffn_down")) return becomes(made_of("ffn_down"), "ffn_residual");
  return {};
}

Planter::Planter(std::vector<Plant> plants) {
  for (Plant& plant : plants) plants_.push_back({std::move(plant)});
}

namespace {

/// The plant for a place in a layer: a plant of every layer is one of that layer.
Plant in_layer_of(const Plant& plant, int layer) {
  return plant.layer == Plant::kEveryLayer ? Plant{plant.fault, layer} : plant;
}

}  // namespace

void Planter::rewrite(std::span<const NodeRef> roots) {
  const Anatomy anatomy(roots);
  std::vector<NodeRef> fresh;
  for (const NodeRef& node : anatomy.nodes()) {
    auto& known = seen_[node.get()];
    if (known.lock() == node) continue;
    known = node;
    fresh.push_back(node);
  }
  for (Planted& p : plants_)
    for (const NodeRef& node : fresh)
      p.used |= plant_in_graph(in_layer_of(p.plant, anatomy.part(node.get()).layer), node, anatomy);
  const Anatomy planted(roots);
  for (const NodeRef& node : planted.nodes()) seen_[node.get()] = node;
  std::erase_if(seen_, [](const auto& entry) { return entry.second.expired(); });
}

const Kernel* Planter::kernel(const graph::Step& step, const graph::Trace& trace) {
  for (Planted& p : plants_)
    for (const int input : step.inputs) {
      const Node& node = *trace.values[static_cast<size_t>(input)];
      if (!node.is_weight) continue;
      const Part part = node.label.starts_with("blk.") ? Part{"", std::atoi(node.label.c_str() + 4)} : Part{};
      if (const Kernel* wrong = planted_kernel(in_layer_of(p.plant, part.layer), step.op, node.label)) {
        p.used = true;
        return wrong;
      }
    }
  return nullptr;
}

std::vector<std::string> Planter::unused() const {
  std::vector<std::string> names;
  for (const Planted& p : plants_)
    if (!p.used && p.plant.layer == Plant::kEveryLayer)
      names.push_back(p.plant.fault + "@all");
    else if (!p.used)
      names.push_back(p.plant.layer < 0 ? p.plant.fault : fmt::format("{}@{}", p.plant.fault, p.plant.layer));
  return names;
}

}  // namespace tl::inspect
