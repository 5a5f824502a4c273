// Statements.
#include <fmt/format.h>

#include "graph/builder.h"
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
  }
  return Flow::normal;
}

Value& Interpreter::Run::variable(const Name& n) {
  return n.binding == Binding::local ? frame_->slots[n.slot] : globals_[n.slot];
}

/// Graph nodes carry the name of the variable they were first assigned to.
void Interpreter::Run::label(const Value& value, std::string_view name) {
  if (value.is_tensor()) graph::set_label(value.tensor(), name);
}

void Interpreter::Run::exec_let(const Let& s, Value* last) {
  Value value = eval(*s.value);
  if (s.is_tensor) {
    value = convert(value, s.type, s.value->span);
  } else if (s.type.kind != TypeKind::any) {
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

void Interpreter::Run::exec_equation(const Equation& s, Value* last) {
  if (!(s.may_set_element && set_element(s))) {
    graph::NodeRef old;
    if (!s.declares) {
      const Value& before = variable(*s.target);
      const bool is_number = before.is_tensor() || before.is_number() || before.is(ValueKind::list);
      if (is_number) old = guarded(s.lhs_span, [&] { return to_tensor(before); });
    }
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
