#include "lang/equation_memo.h"

#include <algorithm>

#include "graph/builder.h"

namespace tl::lang {

using graph::Node;
using graph::NodeRef;

namespace {

/// All that lowering may decide by when it looks at an operand.
struct Operand {
  DType dtype;
  Shape shape;
  Op op;
  bool is_weight, is_computed;
  size_t same_as;  ///< the first operand that is the same node

  Operand(const NodeRef& node, const std::vector<NodeRef>& operands)
      : dtype(node->dtype()),
        shape(node->shape()),
        op(node->op),
        is_weight(node->is_weight),
        is_computed(static_cast<bool>(node->value)),
        same_as(static_cast<size_t>(std::find(operands.begin(), operands.end(), node) - operands.begin())) {}
  bool operator==(const Operand&) const = default;
};

bool same_number(const Value& a, const Value& b) {
  if (a.kind() != b.kind()) return false;
  if (a.is(ValueKind::boolean)) return a.boolean() == b.boolean();
  if (a.is_int()) return a.position() == b.position() && a.varies() == b.varies();
  return a.floating() == b.floating();
}

/// The program around the equation, asked once for each expression.
class Answers : public EquationEnvironment {
 public:
  struct Answer {
    const ast::Expr* expression;
    Value value;
    uint64_t first_node, end_node;  ///< the numbers of the nodes that answering made
  };
  explicit Answers(EquationEnvironment& outer) : outer_(outer) { given.reserve(8); }
  Value evaluate(const ast::Expr& e) override {
    for (const Answer& answer : given)
      if (answer.expression == &e) return answer.value;
    const uint64_t first = graph::next_node_number();
    Value value = outer_.evaluate(e);
    return given.emplace_back(Answer{&e, std::move(value), first, graph::next_node_number()}).value;
  }
  /// Whether a node was made while answering, not by the lowering itself.
  bool made(const Node& node) const {
    return std::any_of(given.begin(), given.end(), [&](const Answer& answer) {
      return node.number >= answer.first_node && node.number < answer.end_node;
    });
  }
  void compute_step(const NodeRef& node, Span span) override { outer_.compute_step(node, span); }
  std::vector<Answer> given;  ///< in the order they were asked

 private:
  EquationEnvironment& outer_;
};

}  // namespace

/// An equation as it was lowered last: what was asked and answered, and the nodes that came of it.
struct EquationMemo::Entry {
  struct Question {
    const ast::Expr* expression;
    Value number;  ///< the answer, or void: a tensor, the next of `operands`
  };
  struct Made {
    Node pattern;             ///< without inputs
    std::vector<int> inputs;  ///< places in `made`, or -1 - i for operand i
  };
  std::vector<Question> questions;
  std::vector<Operand> operands;
  std::vector<Made> made;  ///< inputs before users
  int result = 0;
  bool has_old = false;
  bool is_usable = false;
  bool is_fixed = false;  ///< lowering decided by a number of the step
  bool is_busy = false;   ///< being lowered: an operand may call the function that the equation stands in

  bool matches(Answers& answers, const NodeRef& old, std::vector<NodeRef>& nodes) const;
  NodeRef repeat(const std::vector<NodeRef>& nodes) const;
  void record(const Answers& answers, const NodeRef& old, const NodeRef& root, uint64_t first);
};

/// Asks what was asked then; the tensors among the answers go to `nodes`. Stops at the first difference.
bool EquationMemo::Entry::matches(Answers& answers, const NodeRef& old, std::vector<NodeRef>& nodes) const {
  if (!is_usable || has_old != (old != nullptr)) return false;
  const auto is_same_operand = [&](const NodeRef& node) {
    nodes.push_back(node);
    return Operand(node, nodes) == operands[nodes.size() - 1];
  };
  if (old && !is_same_operand(old)) return false;
  for (const Question& question : questions) {
    const Value answer = answers.evaluate(*question.expression);
    const bool is_same = question.number.is_nothing() ? answer.is_tensor() && is_same_operand(answer.tensor())
                                                      : same_number(answer, question.number);
    if (!is_same) return false;
  }
  return true;
}

NodeRef EquationMemo::Entry::repeat(const std::vector<NodeRef>& nodes) const {
  std::vector<NodeRef> fresh;
  fresh.reserve(made.size());
  const auto at = [&](int place) -> const NodeRef& {
    return place < 0 ? nodes[static_cast<size_t>(-1 - place)] : fresh[static_cast<size_t>(place)];
  };
  for (const Made& m : made) {
    graph::NodeRefs inputs;
    inputs.reserve(m.inputs.size());
    for (const int place : m.inputs) inputs.push_back(at(place));
    fresh.push_back(graph::make_like(m.pattern, std::move(inputs)));
  }
  return at(result);
}

/// Remembers the nodes between `root` and the operands. Not usable if one of them is not of this lowering's
/// making, or holds data: then the outcome may depend on more than the answers.
void EquationMemo::Entry::record(const Answers& answers, const NodeRef& old, const NodeRef& root,
                                 uint64_t first) {
  questions.clear();
  operands.clear();
  made.clear();
  is_usable = false;
  has_old = old != nullptr;
  std::vector<NodeRef> nodes;
  const auto add_operand = [&](const NodeRef& node) {
    nodes.push_back(node);
    operands.emplace_back(node, nodes);
  };
  if (old) add_operand(old);
  for (const Answers::Answer& answer : answers.given) {
    const Value& value = answer.value;
    const bool is_number = value.is_number() || value.is(ValueKind::boolean);
    if (!is_number && !value.is_tensor()) return;
    questions.push_back({answer.expression, is_number ? value : Value()});
    if (!is_number) add_operand(value.tensor());
  }
  std::unordered_map<const Node*, int> places;
  for (size_t i = nodes.size(); i-- > 0;) places[nodes[i].get()] = -1 - static_cast<int>(i);
  const auto visit = [&](const auto& self, const Node& node) -> bool {
    if (places.contains(&node)) return true;
    if (node.number < first || answers.made(node) || node.value) return false;
    for (const NodeRef& input : node.inputs)
      if (!self(self, *input)) return false;
    Made m{node, {}};
    for (const NodeRef& input : m.pattern.inputs) m.inputs.push_back(places.at(input.get()));
    m.pattern.inputs.clear();
    places[&node] = static_cast<int>(made.size());
    made.push_back(std::move(m));
    return true;
  };
  if (!visit(visit, *root)) return;
  result = places.at(root.get());
  is_usable = true;
}

EquationMemo::EquationMemo() = default;
EquationMemo::~EquationMemo() = default;

NodeRef EquationMemo::lower(const ast::Equation& equation, EquationEnvironment& environment,
                            const NodeRef& old) {
  Entry& entry = entries_[&equation];
  if (entry.is_busy) return lower_equation(equation, environment, old);
  struct Busy {
    Entry& entry;
    explicit Busy(Entry& e) : entry(e) { entry.is_busy = true; }
    ~Busy() { entry.is_busy = false; }
  } const busy(entry);
  Answers answers(environment);
  std::vector<NodeRef> nodes;
  nodes.reserve(entry.operands.size());
  if (entry.matches(answers, old, nodes)) {
    if (entry.is_fixed) StepNumbers::fix();
    return entry.repeat(nodes);
  }
  const uint64_t first = graph::next_node_number();
  const bool was_fixed = StepNumbers::exchange(false);
  NodeRef result = lower_equation(equation, answers, old);
  entry.record(answers, old, result, first);
  entry.is_fixed = StepNumbers::are_fixed();
  if (was_fixed) StepNumbers::fix();
  return result;
}

}  // namespace tl::lang
