#include "graph/plan.h"

#include <algorithm>
#include <atomic>

#include <fmt/format.h>

namespace tl::graph {

Trace trace(std::span<const NodeRef> roots) {
  static std::atomic<uint64_t> counter{0};
  const uint64_t visit = ++counter;
  Trace t;
  struct Frame {
    Node* node;
    size_t next;
  };
  std::vector<Frame> stack;
  const auto enter = [&](Node* node) {
    if (node->visit == visit) return;
    node->visit = visit;
    stack.push_back({node, 0});
  };
  for (const auto& root : roots) {
    enter(root.get());
    while (!stack.empty()) {
      Frame& top = stack.back();
      if (!top.node->value && top.next < top.node->inputs.size()) {
        enter(top.node->inputs[top.next++].get());
        continue;
      }
      Node* node = top.node;
      stack.pop_back();
      node->index = static_cast<int>(t.values.size());
      t.values.push_back(node);
      if (!node->value)
        for (const auto& input : node->inputs) t.inputs.add(input->index);
      t.inputs.end_list();
    }
    t.roots.push_back(root->index);
    t.keep_alive.push_back(root);
  }
  return t;
}

bool covers_axis(const Node& node, size_t operand, size_t axis) {
  const auto& attrs = std::get<ContractAttrs>(node.attrs);
  const AxisIndex& index = attrs.operands[operand][axis];
  size_t offset_at = static_cast<size_t>(attrs.n_labels) + axis;
  for (size_t o = 0; o < operand; ++o) offset_at += attrs.operands[o].size();
  if (index.terms.size() != 1 || index.terms[0].coefficient != 1 || node.params.ints[offset_at] != 0)
    return false;
  const int64_t size = node.params.ints[static_cast<size_t>(index.terms[0].label)];
  return size == node.inputs[operand]->shape()[static_cast<int>(axis)] * index.divisor;
}

std::vector<int64_t> structure(const Trace& t) {
  std::vector<int64_t> words;
  words.reserve(t.values.size() * 8);
  for (size_t v = 0; v < t.values.size(); ++v) {
    const Node& node = *t.values[v];
    words.push_back(static_cast<int64_t>(node.dtype()) << 8 | node.shape().rank());
    if (node.value) {
      words.push_back(node.is_weight ? -2 : -1);
      if (node.is_weight) words.insert(words.end(), node.shape().begin(), node.shape().end());
      continue;
    }
    words.push_back(static_cast<int64_t>(node.op));
    const auto inputs = t.inputs[v];
    words.insert(words.end(), inputs.begin(), inputs.end());
    append_words(node.attrs, words);
    if (info(node.op).kind == OpKind::binary)
      words.push_back(node.inputs[0]->shape() == node.inputs[1]->shape());
    if (node.op == Op::contract) {
      const auto& operands = std::get<ContractAttrs>(node.attrs).operands;
      for (size_t o = 0; o < operands.size(); ++o)
        for (size_t a = 0; a < operands[o].size(); ++a) words.push_back(covers_axis(node, o, a));
    }
  }
  words.push_back(-3);
  words.insert(words.end(), t.roots.begin(), t.roots.end());
  return words;
}

Uses::Uses(const Plan& plan, const Trace& trace)
    : producer_(trace.values.size()), reader_(trace.values.size()), reads_(trace.values.size()) {
  for (const Step& step : plan.steps) {
    producer_[static_cast<size_t>(step.output)] = &step;
    for (const int v : step.inputs) {
      reader_[static_cast<size_t>(v)] = &step;
      ++reads_[static_cast<size_t>(v)];
    }
  }
  for (const int v : trace.roots) reads_[static_cast<size_t>(v)] += 2;  // somebody outside reads it too
}

const Step* Uses::only_reader(int value) const {
  const auto v = static_cast<size_t>(value);
  return reads_[v] == 1 ? reader_[v] : nullptr;
}

namespace {

/// Lets products of the same rows with stored weights follow one another: a backend may then do them
/// together.
void gather_products(Plan& plan, const Trace& t) {
  auto& steps = plan.steps;
  const auto is_product = [&](const Step& step) {
    return step.op == Op::linear && std::all_of(step.inputs.begin() + 1, step.inputs.end(), [&](int v) {
             return static_cast<bool>(t.values[static_cast<size_t>(v)]->value);
           });
  };
  for (auto at = steps.begin(); at != steps.end(); ++at) {
    if (!is_product(*at)) continue;
    const int rows = at->inputs[0];
    for (auto other = at + 1; other != steps.end(); ++other)
      if (is_product(*other) && other->inputs[0] == rows) std::rotate(++at, other, other + 1);
  }
}

}  // namespace

void PassOptions::switch_off(std::string_view name) {
  struct Pass {
    std::string_view name;
    bool PassOptions::*runs;
  };
  static constexpr Pass kPasses[] = {{"attention", &PassOptions::fuse_attention},
                                     {"swiglu", &PassOptions::fuse_swiglu},
                                     {"products", &PassOptions::gather_products}};
  std::string known;
  for (const Pass& pass : kPasses) {
    if (pass.name == name) {
      this->*pass.runs = false;
      return;
    }
    known += fmt::format("{}{}", known.empty() ? "" : ", ", pass.name);
  }
  throw Error(fmt::format("'{}' is no fusion that can be switched off; those are {}", name, known));
}

Plan plan(const Trace& t, const PassOptions& options) {
  Plan plan;
  for (size_t v = 0; v < t.values.size(); ++v) {
    const Node& node = *t.values[v];
    if (node.value) continue;
    const auto inputs = t.inputs[v];
    plan.steps.push_back(
        {node.op, {inputs.begin(), inputs.end()}, static_cast<int>(v), node.attrs, {static_cast<int>(v)}});
  }
  if (options.fuse_attention) fuse_attention(plan, t);
  if (options.fuse_swiglu) fuse_swiglu(plan, t);
  if (options.gather_products) gather_products(plan, t);
  assign_buffers(plan, t);
  verify(plan, t);
  return plan;
}

void verify(const Plan& plan, const Trace& t) {
  std::vector<bool> there(t.values.size());
  for (size_t v = 0; v < t.values.size(); ++v) there[v] = static_cast<bool>(t.values[v]->value);
  for (size_t s = 0; s < plan.steps.size(); ++s) {
    const Step& step = plan.steps[s];
    const auto place = [&] { return fmt::format("step {} ({})", s, name(step.op)); };
    std::vector<TensorType> types;
    for (const int v : step.inputs) {
      TL_CHECK(there[static_cast<size_t>(v)], place() + fmt::format(" reads %{} before it is there", v));
      types.push_back(t.values[static_cast<size_t>(v)]->type);
    }
    const auto out = static_cast<size_t>(step.output);
    TL_CHECK(!there[out], place() + fmt::format(" makes %{} again", step.output));
    there[out] = true;
    if (step.bind == nullptr) continue;
    std::vector<const Node*> members;
    for (const int m : step.members) members.push_back(t.values[static_cast<size_t>(m)]);
    const TensorType type = infer(step.op, types, step.attrs, step.bind(members));
    const TensorType& expected = t.values[out]->type;
    TL_CHECK(type.dtype == expected.dtype && type.shape == expected.shape,
             place() + " changes the type of what it replaces");
  }
  for (const int root : t.roots)
    TL_CHECK(there[static_cast<size_t>(root)], fmt::format("nothing makes the root %{}", root));
}

std::string to_string(const Plan& plan, const Trace& t) {
  std::string text;
  for (const Step& step : plan.steps) {
    const Node& node = *t.values[static_cast<size_t>(step.output)];
    text += fmt::format("%{} {} = {}(", step.output, node.path(), name(step.op));
    for (size_t i = 0; i < step.inputs.size(); ++i)
      text += fmt::format("{}%{}", i ? ", " : "", step.inputs[i]);
    text += fmt::format(") {} {}", name(node.dtype()), to_string(node.shape()));
    if (step.members.size() > 1) {
      text += "  // fuses";
      for (const int m : step.members) text += fmt::format(" %{}", m);
    }
    text += '\n';
  }
  return text;
}

}  // namespace tl::graph
