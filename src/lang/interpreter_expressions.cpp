// Expressions.
#include <algorithm>
#include <cmath>

#include <fmt/format.h>

#include "graph/builder.h"
#include "lang/foreign_names.h"
#include "lang/indexing.h"
#include "lang/interpreter_detail.h"
#include "lang/known.h"
#include "tensor/inverse.h"

namespace tl::lang {

using namespace ast;

/// Whether a list has a number in it that is not whole, or too large for an int.
static bool holds_fractions(const Value& value) {
  if (value.is(ValueKind::floating))
    return value.floating() != std::nearbyint(value.floating()) || std::abs(value.floating()) >= 0x1p63;
  return value.is(ValueKind::list) && std::any_of(value.list().begin(), value.list().end(), holds_fractions);
}

Value Interpreter::Run::eval(const Expr& e) {
  switch (e.kind) {
    case ExprKind::name:
      return eval_name(ast::as<Name>(e));
    case ExprKind::integer:
      return Value(ast::as<Integer>(e).value);
    case ExprKind::binary:
      return eval_binary(ast::as<Binary>(e));
    case ExprKind::call:
      return eval_call(ast::as<Call>(e));
    case ExprKind::index:
      return eval_index(ast::as<Index>(e));
    case ExprKind::member:
      return eval_member(ast::as<Member>(e));
    case ExprKind::floating:
      return Value(ast::as<Floating>(e).value);
    case ExprKind::boolean:
      return Value(ast::as<Boolean>(e).value);
    case ExprKind::string:
      return Value(ast::as<String>(e).value);
    case ExprKind::list: {
      std::vector<Value> items;
      items.reserve(ast::as<List>(e).items.size());
      for (const ExprPtr& item : ast::as<List>(e).items) items.push_back(eval(*item));
      return Value(std::move(items));
    }
    case ExprKind::record: {
      std::vector<std::pair<std::string, Value>> fields;
      for (const auto& field : ast::as<Record>(e).fields) fields.emplace_back(field.name, eval(*field.value));
      return Value::record(std::move(fields));
    }
    case ExprKind::unary:
      return eval_unary(ast::as<Unary>(e));
    case ExprKind::range:
      return eval_range(ast::as<Range>(e));
    case ExprKind::cast: {
      const auto& cast = ast::as<Cast>(e);
      Value operand = eval(*cast.operand);
      if (cast.type.dtype && is_int(*cast.type.dtype) && holds_fractions(operand))
        operand = Value(guarded(e.span, [&] { return to_tensor(operand, DType::f64); }));  // to be cut
      return convert(operand, cast.type, e.span);
    }
    case ExprKind::ask: {
      const Value value = eval(*ast::as<Ask>(e).operand);
      host_.print(guarded(e.span, [&] { return format_value(value, host_); }) + "\n");
      return {};
    }
    case ExprKind::reduce:
      break;  // refused by the checker outside equations
  }
  fail(e.span, "this belongs inside an equation");
}

/// A variable where it stands, or what `e` gives in `scratch`. Valid while the expression around it is
/// evaluated: expressions do not assign, and slots do not move.
const Value& Interpreter::Run::operand(const Expr& e, Value& scratch) {
  if (const auto* n = if_is<Name>(&e); n && n->binding == Binding::local) return frame_->slots[n->slot];
  return scratch = eval(e);
}

Value Interpreter::Run::eval_name(const Name& n) {
  switch (n.binding) {
    case Binding::local:
      return frame_->slots[n.slot];
    case Binding::global:
      if (globals_[n.slot].is_nothing())
        fail(n.span, fmt::format("'{}' is used before it has a value", n.text),
             "definitions at top level run in order");
      return globals_[n.slot];
    case Binding::function:
      return Value::function(n.function);
    case Binding::native:
      return Value::function(n.native);
    case Binding::dtype:
      return Value(n.text);
    case Binding::dimension: {
      const DimBinding& dim = dims_[frame_->dims + n.slot];
      if (dim.size < 0) fail(n.span, fmt::format("dimension '{}' has no size yet", n.text));
      StepNumbers::fix();
      return Value(dim.size);
    }
    case Binding::index:
    case Binding::unresolved:
      break;
  }
  fail(n.span, fmt::format("'{}' is an index name; it has a value only inside its equation", n.text),
       "no variable of that name is in scope; table[ids[p], d] is rows[p, d] after let rows = table[ids]");
}

Value Interpreter::Run::eval_unary(const Unary& e) {
  const Value operand = eval(*e.operand);
  return guarded(e.span, [&] {
    if (e.op != UnaryOp::inverse) return apply_unary(e.op, operand);
    return Value(graph::constant(inverse(host_.evaluate(to_tensor(operand)))));
  });
}

Value Interpreter::Run::eval_binary(const Binary& e) {
  if (e.op == BinaryOp::logical_and || e.op == BinaryOp::logical_or) return eval_logical(e);
  Value left, right;
  const Value& a = operand(*e.left, left);
  const Value& b = operand(*e.right, right);
  if (a.is_int() && b.is_int()) {  // the common case of loops and indices
    int64_t r = 0;
    const bool varies = a.varies() || b.varies();
    if (e.op == BinaryOp::add) {
      if (!__builtin_add_overflow(a.position(), b.position(), &r)) return Value::varying(r, varies);
    } else if (e.op == BinaryOp::subtract) {
      if (!__builtin_sub_overflow(a.position(), b.position(), &r)) return Value::varying(r, varies);
    }
    const int64_t x = a.integer(), y = b.integer();
    switch (e.op) {
      case BinaryOp::multiply:
        if (!__builtin_mul_overflow(x, y, &r)) return Value(r);
        break;
      case BinaryOp::less:
        return Value(x < y);
      case BinaryOp::less_equal:
        return Value(x <= y);
      case BinaryOp::greater:
        return Value(x > y);
      case BinaryOp::greater_equal:
        return Value(x >= y);
      case BinaryOp::equal:
        return Value(x == y);
      case BinaryOp::not_equal:
        return Value(x != y);
      default:
        break;
    }
  }
  return guarded(e.span, [&] { return apply_binary(e.op, a, b, limits_); });
}

/// and, or: short circuit on bools, elementwise on tensors.
Value Interpreter::Run::eval_logical(const Binary& e) {
  const Value a = eval(*e.left);
  if (a.is(ValueKind::boolean) && a.boolean() == (e.op == BinaryOp::logical_or)) return a;
  const Value b = eval(*e.right);
  for (const auto& [value, side] : {std::pair{&a, &e.left}, std::pair{&b, &e.right}})
    if (!value->is(ValueKind::boolean) && !value->is_tensor())
      fail((*side)->span, fmt::format("'{}' joins bools, not {}", spelling(e.op), value->describe()));
  if (a.is(ValueKind::boolean) && b.is(ValueKind::boolean)) return b;
  return guarded(e.span, [&] { return apply_binary(e.op, a, b, limits_); });
}

std::pair<int64_t, int64_t> Interpreter::Run::bounds(const Range& e) {
  const auto one = [&](const Expr& side) {
    const Value v = eval(side);
    if (!v.is_int()) fail(side.span, fmt::format("the bounds of a range are ints, not {}", v.describe()));
    return v.integer();
  };
  const int64_t begin = one(*e.begin);
  return {begin, one(*e.end)};
}

Value Interpreter::Run::eval_range(const Range& e) {
  const auto [begin, end] = bounds(e);
  int64_t count = 0;
  if (end > begin &&
      (__builtin_sub_overflow(end, begin, &count) || static_cast<uint64_t>(count) > limits_.elements))
    fail(e.span, "this range is too long for a list");
  std::vector<Value> items;
  items.reserve(static_cast<size_t>(count));
  for (int64_t i = begin; i < end; ++i) items.emplace_back(i);
  return Value(std::move(items));
}

Value Interpreter::Run::eval_call(const Call& e) {
  if (e.planned) {
    const auto& callee = ast::as<Name>(*e.callee);
    if (callee.binding == Binding::function) return call_planned(*callee.function, e);
    return call_planned(*callee.native, e);
  }
  return call_dynamic(eval(*e.callee), e);
}

Value Interpreter::Run::eval_member(const Member& e) {
  Value scratch;
  const Value& object = operand(*e.object, scratch);
  if (object.is(ValueKind::object))
    return guarded(e.name_span, [&] { return object.object().get(interpreter_, e.name); });
  if (!object.is(ValueKind::record))
    fail(e.name_span, fmt::format("{} has no member '{}'", object.describe(), e.name),
         help_written_here(member_written_here(e.name)));
  if (const Value* field = object.field(e.name)) return *field;
  std::vector<std::string> known;
  for (const auto& [name, value] : object.fields()) known.push_back(name);
  const std::string near = nearest_name(e.name, known);
  fail(e.name_span, fmt::format("this record has no field '{}'", e.name),
       near.empty() ? fmt::format("its fields are {}", fmt::join(known, ", "))
                    : fmt::format("did you mean '{}'?", near));
}

// ------------------------------------------------------------------------------------------------- indexing

Value Interpreter::Run::eval_index(const Index& e) {
  Value scratch;
  const Value& base = operand(*e.base, scratch);
  switch (base.kind()) {
    case ValueKind::list:
      return index_list(e, base);
    case ValueKind::tensor:
      return index_part(e, base);
    case ValueKind::string:
      return index_string(e, base);
    case ValueKind::object: {
      const Value key = single_key(e);
      return guarded(e.span, [&] { return base.object().index(interpreter_, key); });
    }
    case ValueKind::record: {
      const Value key = single_key(e);
      if (!key.is(ValueKind::string))
        fail(e.items[0].span, fmt::format("a record is indexed by a string, not {}", key.describe()));
      if (const Value* field = base.field(key.string())) return *field;
      fail(e.items[0].span, fmt::format("this record has no field '{}'", key.string()));
    }
    default:
      fail(e.span, fmt::format("{} cannot be indexed", base.describe()));
  }
}

Value Interpreter::Run::single_key(const Index& e) {
  if (e.items.size() != 1 || e.items[0].kind != IndexItem::Kind::value) fail(e.span, "this takes one index");
  return eval(*e.items[0].value);
}

std::optional<int64_t> Interpreter::Run::bound(const ExprPtr& e) {
  if (!e) return std::nullopt;
  const Value v = eval(*e);
  if (!v.is_int()) fail(e->span, fmt::format("a slice is given by ints, not {}", v.describe()));
  return v.integer();
}

namespace {

struct SliceRange {
  int64_t begin, end;
};
/// NumPy's rule for begin:end over `size` elements.
SliceRange clamp_slice(std::optional<int64_t> begin, std::optional<int64_t> end, int64_t size) {
  const auto place = [size](int64_t at) { return std::clamp<int64_t>(at < 0 ? at + size : at, 0, size); };
  const int64_t from = place(begin.value_or(0));
  return {from, std::max(from, place(end.value_or(size)))};
}

/// Byte offsets of the code points of a UTF-8 text, and its end.
std::vector<size_t> code_points(const std::string& text) {
  std::vector<size_t> out;
  for (size_t i = 0; i < text.size(); ++i)
    if ((static_cast<unsigned char>(text[i]) & 0xc0) != 0x80) out.push_back(i);
  out.push_back(text.size());
  return out;
}

}  // namespace

/// A tensor indexes tensors; its one element indexes a list once it is an int.
static std::string help_on_list_key(const Index& e, const Value& base, const Value& key) {
  if (!key.is_tensor()) return {};
  const std::string_view name = text_of(e.base->span), written = text_of(e.items[0].span);
  if (key.tensor()->shape().elements() == 1 || !if_is<Name>(e.base.get()))
    return fmt::format("int makes one of it: {}[int({})]", name, written);
  try {
    const graph::NodeRef content = to_tensor(base);
    return fmt::format("make the list a tensor: tensor {}: {}{} = …", name, tl::name(content->dtype()),
                       to_string(content->shape()));
  } catch (const Error&) {  // it holds something else than numbers
    return {};
  }
}

Value Interpreter::Run::index_list(const Index& e, const Value& base) {
  if (e.items.size() != 1) fail(e.span, "a list takes one index", "xs[i][j] reaches into a list of lists");
  const IndexItem& item = e.items[0];
  const auto& items = base.list();
  const auto size = static_cast<int64_t>(items.size());
  if (item.kind == IndexItem::Kind::slice) {
    const auto step = bound(item.step);
    if (step && *step != 1) fail(item.span, "a list is sliced with step 1");
    const auto begin = bound(item.begin), end = bound(item.end);
    const SliceRange range = clamp_slice(begin, end, size);
    return Value(std::vector<Value>(items.begin() + range.begin, items.begin() + range.end));
  }
  if (item.kind == IndexItem::Kind::ellipsis) fail(item.span, "'...' stands for axes of a tensor");
  const Value key = eval(*item.value);
  if (!key.is_int())
    fail(item.span, fmt::format("a list is indexed by an int, not {}", key.describe()),
         help_on_list_key(e, base, key));
  const int64_t at = key.integer() < 0 ? key.integer() + size : key.integer();
  if (at < 0 || at >= size)
    fail(item.span, fmt::format("index {} is outside a list of {}", key.integer(), size));
  return items[static_cast<size_t>(at)];
}

Value Interpreter::Run::index_string(const Index& e, const Value& base) {
  if (e.items.size() != 1 || e.items[0].kind == IndexItem::Kind::ellipsis)
    fail(e.span, "a string takes one index");
  const IndexItem& item = e.items[0];
  const std::vector<size_t> at = code_points(base.string());
  const auto size = static_cast<int64_t>(at.size()) - 1;
  SliceRange range{};
  if (item.kind == IndexItem::Kind::slice) {
    if (item.step) fail(item.span, "a string is sliced with step 1");
    const auto begin = bound(item.begin), end = bound(item.end);
    range = clamp_slice(begin, end, size);
  } else {
    const Value key = eval(*item.value);
    if (!key.is_int()) fail(item.span, fmt::format("a string is indexed by an int, not {}", key.describe()));
    const int64_t i = key.integer() < 0 ? key.integer() + size : key.integer();
    if (i < 0 || i >= size)
      fail(item.span, fmt::format("index {} is outside a string of {} characters", key.integer(), size));
    range = {i, i + 1};
  }
  const size_t begin = at[static_cast<size_t>(range.begin)], end = at[static_cast<size_t>(range.end)];
  return Value(base.string().substr(begin, end - begin));
}

Value Interpreter::Run::index_part(const Index& e, const Value& base) {
  std::vector<IndexPosition> positions;
  positions.reserve(e.items.size());
  for (const IndexItem& item : e.items) {
    IndexPosition& p = positions.emplace_back();
    p.kind = item.kind;
    p.span = item.span;
    if (item.kind == IndexItem::Kind::value) p.key = eval(*item.value);
    if (item.kind == IndexItem::Kind::slice)
      p.begin = bound(item.begin), p.end = bound(item.end), p.step = bound(item.step);
  }
  return Value(guarded(e.span, [&] { return index_tensor(base.tensor(), positions); }));
}

}  // namespace tl::lang
