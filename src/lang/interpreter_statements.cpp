// Statements.
#include <fmt/format.h>

#include "graph/builder.h"
#include "lang/csv.h"
#include "lang/interpreter_detail.h"

namespace tl::lang {

using namespace ast;

Flow Interpreter::Run::exec_block(const Block& block, Value* last) {
  const size_t n = block.statements.size();
  for (size_t i = 0; i < n; ++i) {
    const Flow flow = exec(*block.statements[i], i + 1 == n ? last : nullptr);
    if (flow != Flow::normal) return flow;
  }
  return Flow::normal;
}

/// Runs a statement. `last` (may be null) receives its value if it is the last of a function.
Flow Interpreter::Run::exec(const Stmt& s, Value* last) {
  switch (s.kind) {
    case StmtKind::assign:
      exec_assign(ast::as<Assign>(s), last);
      return Flow::normal;
    case StmtKind::let:
      exec_let(ast::as<Let>(s), last);
      return Flow::normal;
    case StmtKind::expression: {
      const Expr& e = *ast::as<Expression>(s).value;
      Value value = eval(e);
      if (!last) return Flow::normal;
      result_span_ = e.span;
      *last = std::move(value);
      return Flow::normal;
    }
    case StmtKind::equation:
      exec_equation(ast::as<Equation>(s), last);
      return Flow::normal;
    case StmtKind::conditional:
      return exec_conditional(ast::as<Conditional>(s), last);
    case StmtKind::for_loop:
      return exec_for(ast::as<For>(s));
    case StmtKind::while_loop:
      return exec_while(ast::as<While>(s));
    case StmtKind::break_loop:
      return Flow::break_loop;
    case StmtKind::continue_loop:
      return Flow::continue_loop;
    case StmtKind::return_value: {
      const Expr* e = ast::as<Return>(s).value.get();
      result_ = e ? eval(*e) : Value();
      result_span_ = s.span;
      return Flow::return_value;
    }
    case StmtKind::block:
      return exec_block(ast::as<BlockStatement>(s).body, last);
    case StmtKind::policy_block:
      return exec_policy_block(ast::as<PolicyBlock>(s), last);
  }
  return Flow::normal;
}

Value& Interpreter::Run::variable(const Name& n) {
  if (n.binding == Binding::local) return frame_->slots[n.slot];
  StepNumbers::fix();  // the next walk finds it changed
  return globals_[n.slot];
}

/// Graph nodes carry the name of the variable they were first assigned to.
void Interpreter::Run::label(const Value& value, std::string_view name) {
  if (value.is_tensor()) graph::set_label(value.tensor(), name);
}

/// What a tensor holds that is declared without a value: 0, or nothing as long as its shape is open.
Value Interpreter::Run::without_value(const Type& type) const {
  Shape shape;
  for (const Dim& d : type.dims) {
    if (d.kind != Dim::Kind::fixed) return {};
    shape.push_back(d.size);
  }
  return Value(guarded(type.span, [&] { return graph::full(shape, 0, type.dtype.value_or(DType::f32)); }));
}

/// A file of numbers as a tensor of a declared type.
Value Interpreter::Run::read_tensor(const std::string& path, const Type& type, Span span) {
  std::vector<int64_t> extents;
  for (const Dim& d : type.dims) extents.push_back(d.kind == Dim::Kind::fixed ? d.size : -1);
  if (!type.has_shape) extents = {-1, -1};
  const Value read(guarded(
      span, [&] { return graph::constant(read_csv(path, type.dtype.value_or(DType::f32), extents)); }));
  return convert(read, type, span);
}

void Interpreter::Run::exec_let(const Let& s, Value* last) {
  Value value = s.value ? eval(*s.value) : without_value(s.type);
  if (s.is_tensor && value.is(ValueKind::string)) value = read_tensor(value.string(), s.type, s.value->span);
  if (s.is_tensor && s.value) {
    value = convert(value, s.type, s.value->span);
  } else if (s.value && s.type.kind != TypeKind::any) {
    check_value(value, s.type, s.value->span, {Subject::Kind::variable, s.names[0]->text, {}});
  }
  if (last) *last = value;
  if (!s.is_tuple) {
    label(value, s.names[0]->text);
    variable(*s.names[0]) = std::move(value);
    return;
  }
  if (!value.is(ValueKind::list))
    fail(s.value->span, fmt::format("let (…) takes a list apart, not {}", value.describe()));
  if (value.list().size() != s.names.size())
    fail(s.value->span, fmt::format("{} names for a list of {} values", s.names.size(), value.list().size()));
  for (size_t i = 0; i < s.names.size(); ++i) {
    label(value.list()[i], s.names[i]->text);
    variable(*s.names[i]) = value.list()[i];
  }
}

void Interpreter::Run::update(Value& target, AssignOp op, Value value, Span span) {
  constexpr BinaryOp kOps[] = {BinaryOp::add /* unused */, BinaryOp::add, BinaryOp::subtract,
                               BinaryOp::multiply, BinaryOp::divide};
  if (op == AssignOp::set) {
    target = std::move(value);
  } else if (op == AssignOp::add && target.is(ValueKind::list) && value.is(ValueKind::list)) {
    auto& items = target.mutable_list();  // in place: appending in a loop is linear
    if (items.size() + value.list().size() > limits_.elements) fail(span, "this list grows too long");
    const auto more = value.list();
    items.insert(items.end(), more.begin(), more.end());
  } else {
    target =
        guarded(span, [&] { return apply_binary(kOps[static_cast<size_t>(op)], target, value, limits_); });
  }
}

void Interpreter::Run::exec_assign(const Assign& s, Value* last) {
  Value value = eval(*s.value);
  if (const auto* file = if_is<String>(s.target.get())) {
    guarded(s.span, [&] { write_csv(file->value, host_.evaluate(to_tensor(value))); });
    return;
  }
  if (s.reads_as) value = read_tensor(value.string(), *s.reads_as, s.value->span);
  if (const auto* name = if_is<Name>(s.target.get())) {
    Value& target = variable(*name);
    if (s.op == AssignOp::set) {
      label(value, name->text);
      target = std::move(value);
    } else {
      update(target, s.op, std::move(value), s.span);
      label(target, name->text);
    }
    if (last) *last = target;
  } else {
    Value& target = place(*s.target);
    update(target, s.op, std::move(value), s.span);
    if (last) *last = target;
  }
  if (last) result_span_ = s.value->span;
}

/// The storage that `x`, `x[i]`, `r.field` stand for, made unshared on the way so that writing changes only
/// it.
Value& Interpreter::Run::place(const Expr& e) {
  if (const auto* name = if_is<Name>(&e)) return variable(*name);
  if (const auto* index = if_is<Index>(&e)) {
    const Value key = eval(*index->items[0].value);
    return element(place(*index->base), key, e.span);
  }
  const auto& member = ast::as<Member>(e);
  Value& object = place(*member.object);
  if (!object.is(ValueKind::record))
    fail(member.name_span, fmt::format("{} has no fields to set", object.describe()));
  return element(object, Value(member.name), e.span);
}

/// An element of a list, or a field of a record (made if it is new).
Value& Interpreter::Run::element(Value& base, const Value& key, Span span) {
  if (base.is(ValueKind::list)) {
    if (!key.is_int()) fail(span, fmt::format("a list is indexed by an int, not {}", key.describe()));
    auto& items = base.mutable_list();
    const auto size = static_cast<int64_t>(items.size());
    const int64_t at = key.integer() < 0 ? key.integer() + size : key.integer();
    if (at < 0 || at >= size)
      fail(span, fmt::format("index {} is outside a list of {}", key.integer(), size));
    return items[static_cast<size_t>(at)];
  }
  if (base.is(ValueKind::record)) {
    if (!key.is(ValueKind::string))
      fail(span, fmt::format("a record is indexed by a string, not {}", key.describe()));
    auto& fields = base.mutable_fields();
    for (auto& [name, value] : fields)
      if (name == key.string()) return value;
    return fields.emplace_back(key.string(), Value()).second;
  }
  fail(span, fmt::format("an element of {} cannot be set", base.describe()));
}

/// xs[i] = value on a list or record. False where the target is a tensor, so that it is an equation after
/// all.
bool Interpreter::Run::set_element(const Equation& s) {
  Value& target = variable(*s.target);
  if (!target.is(ValueKind::list) && !target.is(ValueKind::record)) {
    if (target.is_tensor() || target.is_nothing()) return false;
    fail(s.lhs_span, fmt::format("an element of {} cannot be set", target.describe()));
  }
  Value value = eval(*s.rhs);
  std::vector<Value> keys;
  for (const IndexItem& item : s.lhs) keys.push_back(eval(*item.value));
  Value* at = &variable(*s.target);
  for (const Value& key : keys) at = &element(*at, key, s.lhs_span);
  update(*at, s.projection == Projection::sum ? AssignOp::add : AssignOp::set, std::move(value), s.span);
  return true;
}

/// The target's value as a tensor, or null if it has none.
graph::NodeRef Interpreter::Run::before(const Equation& s) {
  if (s.declares) return nullptr;
  const Value& value = variable(*s.target);
  if (!value.is_tensor() && !value.is_number() && !value.is(ValueKind::list)) return nullptr;
  return guarded(s.lhs_span, [&] { return to_tensor(value); });
}

/// Equations at top level that define their targets from earlier steps of one another.
void Interpreter::Run::exec_together(const GlobalStep& step) {
  std::vector<StepDefinition> definitions;
  for (const Stmt* s : step.statements) {
    const auto& equation = ast::as<Equation>(*s);
    definitions.push_back({&equation, before(equation)});
  }
  const auto nodes = guarded(step.statements[0]->span, [&] { return lower_steps(definitions, *this); });
  for (size_t i = 0; i < nodes.size(); ++i) {
    const Name& target = *definitions[i].equation->target;
    label(Value(nodes[i]), target.text);
    variable(target) = Value(nodes[i]);
  }
}

void Interpreter::Run::exec_equation(const Equation& s, Value* last) {
  if (!(s.may_set_element && set_element(s))) {
    const graph::NodeRef old = before(s);
    Value value(guarded(s.span, [&] { return equations_.lower(s, *this, old); }));
    label(value, s.target->text);
    variable(*s.target) = std::move(value);
  }
  if (!last) return;
  *last = variable(*s.target);
  result_span_ = s.lhs_span;
}

Flow Interpreter::Run::exec_conditional(const Conditional& s, Value* last) {
  for (const auto& arm : s.arms)
    if (!arm.condition || truth(eval(*arm.condition), arm.condition->span)) return exec_block(arm.body, last);
  return Flow::normal;
}

/// Runs the body for each value that `next` puts into the variable until it says false.
template <class Next>
Flow Interpreter::Run::iterate(const For& s, Next next) {
  Value& slot = variable(*s.variable);
  graph::Scope scope(s.variable->text, 0);
  int64_t index = 0;
  while (next(slot, index)) {
    count_step(s.span);
    scope.set_index(index);
    const Flow flow = exec_block(s.body, nullptr);
    if (flow == Flow::break_loop) break;
    if (flow == Flow::return_value) return flow;
  }
  return Flow::normal;
}

Flow Interpreter::Run::exec_for(const For& s) {
  if (const auto* range = if_is<Range>(s.sequence.get())) {
    const auto [begin, end] = bounds(*range);
    return iterate(s, [i = begin, stop = end](Value& slot, int64_t& index) mutable {
      if (i >= stop) return false;
      slot = Value(i);
      index = i++;
      return true;
    });
  }
  const Value sequence = eval(*s.sequence);
  size_t at = 0;
  const auto advance = [&at](int64_t& index) { index = static_cast<int64_t>(at++); };
  if (sequence.is(ValueKind::list)) {
    return iterate(s, [&](Value& slot, int64_t& index) {
      if (at >= sequence.list().size()) return false;
      slot = sequence.list()[at];
      advance(index);
      return true;
    });
  }
  if (sequence.is_tensor() && sequence.tensor()->shape().rank() > 0) {
    return iterate(s, [&](Value& slot, int64_t& index) {
      const auto row = static_cast<int64_t>(at);
      if (row >= sequence.tensor()->shape()[0]) return false;
      slot = Value(graph::select_index(sequence.tensor(), 0, row));
      advance(index);
      return true;
    });
  }
  fail(s.sequence->span, fmt::format("a loop goes over a list or a range, not {}", sequence.describe()),
       sequence.is_int() ? "for i in 0..n { … }" : "");
}

Flow Interpreter::Run::exec_policy_block(const PolicyBlock& s, Value* last) {
  const Value value = eval(*s.policy);
  StepNumbers::fix();  // a kept graph knows one way to be computed
  const graph::PolicyScope under(guarded(s.policy->span, [&] { return host_.policy(value); }));
  return exec_block(s.body, last);
}

Flow Interpreter::Run::exec_while(const While& s) {
  while (!s.condition || truth(eval(*s.condition), s.condition->span)) {
    count_step(s.span);
    const Flow flow = exec_block(s.body, nullptr);
    if (flow == Flow::break_loop) break;
    if (flow == Flow::return_value) return flow;
  }
  return Flow::normal;
}

}  // namespace tl::lang
