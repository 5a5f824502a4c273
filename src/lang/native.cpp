#include "lang/native.h"

#include <algorithm>
#include <cmath>

#include <fmt/format.h>

#include "graph/builder.h"
#include "lang/interpreter.h"
#include "lang/parser.h"

namespace tl::lang {

namespace {

/// The value of a default in a signature: a literal, possibly negative, or a list of them.
Value literal(const ast::Expr& e) {
  using ast::ExprKind;
  switch (e.kind) {
    case ExprKind::integer:
      return Value(ast::as<ast::Integer>(e).value);
    case ExprKind::floating:
      return Value(ast::as<ast::Floating>(e).value);
    case ExprKind::boolean:
      return Value(ast::as<ast::Boolean>(e).value);
    case ExprKind::string:
      return Value(ast::as<ast::String>(e).value);
    case ExprKind::name: {  // `void`: may be left out; an element type: its name
      const std::string& text = ast::as<ast::Name>(e).text;
      return text == "void" ? Value() : Value(text);
    }
    case ExprKind::unary: {
      const Value v = literal(*ast::as<ast::Unary>(e).operand);
      return v.is_int() ? Value(-v.integer()) : Value(-v.floating());
    }
    case ExprKind::list: {
      std::vector<Value> items;
      for (const auto& item : ast::as<ast::List>(e).items) items.push_back(literal(*item));
      return Value(std::move(items));
    }
    default:
      TL_CHECK(false, "a default in a native signature is no literal");
      return {};
  }
}

}  // namespace

void Library::add(std::string_view group, std::span<const NativeRow> rows) {
  for (const NativeRow& row : rows) add(group, row);
}

void Library::add(std::string_view group, const NativeRow& row) {
  NativeFunction& f = functions_.emplace_back();
  f.signature = row.signature;
  while (f.signature.find('|') < f.signature.find('(')) {  // "concat|cat(tensors)": cat is an alias
    const size_t begin = f.signature.rfind('|', f.signature.find('('));
    const size_t end = f.signature.find('(');
    f.aliases.insert(f.aliases.begin(), f.signature.substr(begin + 1, end - begin - 1));
    f.signature.erase(begin, end - begin);
  }
  const Source& source = signatures_.emplace_back("<signature>", f.signature);
  const auto parsed = parse_signature(source);
  f.name = parsed->name;
  f.group = group;
  f.doc = parse_documentation(row.doc);
  f.call = row.call;
  f.result = parsed->result;
  for (ast::Parameter& p : parsed->parameters) {
    NativeParameter& out = f.parameters.emplace_back();
    out.name = p.name;
    out.alias = p.alias;
    out.type = std::move(p.type);
    out.type.is_native = true;
    out.is_variadic = p.is_variadic;
    out.is_required = !p.default_value && !p.is_variadic;
    if (p.default_value) out.default_value = literal(*p.default_value);
  }
  by_name_[f.name] = &f;
  for (const std::string& alias : f.aliases) by_name_[alias] = &f;
}

const NativeFunction* Library::find(std::string_view name) const {
  const auto found = by_name_.find(std::string(name));
  return found == by_name_.end() ? nullptr : found->second;
}

std::vector<std::string> Library::names() const {
  std::vector<std::string> out;
  for (const auto& [name, f] : by_name_) out.push_back(name);
  std::sort(out.begin(), out.end());
  return out;
}

std::vector<const NativeFunction*> Library::functions() const {
  std::vector<const NativeFunction*> out;
  for (const NativeFunction& f : functions_)
    if (find(f.name) == &f) out.push_back(&f);
  return out;
}

Args::Args(const NativeFunction& function, std::span<Value> values, const ast::Call* call)
    : function_(function), values_(values), call_(call) {}

std::span<Value> Args::rest() const {
  const auto& parameters = function_.parameters;
  if (parameters.empty() || !parameters.back().is_variadic) return {};
  return values_.subspan(parameters.size() - 1);
}

bool Args::boolean(size_t i) const {
  if (!values_[i].is(ValueKind::boolean)) wrong_kind(i, "a bool");
  return values_[i].boolean();
}

int64_t Args::position(size_t i) const { return values_[i].is_int() ? values_[i].position() : integer(i); }

int64_t Args::integer(size_t i) const {
  const Value& v = values_[i];
  if (v.is_int()) return v.integer();
  // Old scripts write whole numbers as floats.
  if (v.is(ValueKind::floating) && std::nearbyint(v.floating()) == v.floating() &&
      std::abs(v.floating()) < 0x1p53)
    return static_cast<int64_t>(v.floating());
  wrong_kind(i, "an int");
}

double Args::number(size_t i) const {
  if (!values_[i].is_number()) wrong_kind(i, "a number");
  return values_[i].number();
}

const std::string& Args::string(size_t i) const {
  if (!values_[i].is(ValueKind::string)) wrong_kind(i, "a string");
  return values_[i].string();
}

graph::NodeRef Args::tensor(size_t i) const {
  const Value& v = values_[i];
  if (v.is_tensor()) return v.tensor();
  if (!v.is_number() && !v.is(ValueKind::list) && !v.is(ValueKind::boolean)) wrong_kind(i, "a tensor");
  try {
    return to_tensor(v);
  } catch (const ProgramError&) {
    throw;
  } catch (const Error& e) {
    fail(i, e.what());
  }
}

std::vector<int64_t> Args::ints(size_t i) const {
  if (!values_[i].is(ValueKind::list)) wrong_kind(i, "a list of ints");
  try {
    return to_ints(values_[i]);
  } catch (const Error& e) {
    fail(i, e.what());
  }
}

DType Args::dtype(size_t i) const {
  const auto found = dtype_from_name(string(i));
  if (!found) fail(i, fmt::format("'{}' is no element type", string(i)));
  return *found;
}

Span Args::span(size_t i) const {
  if (!call_) return {};
  for (size_t a = 0; a < call_->arguments.size() && a < call_->plan.size(); ++a)
    if (call_->plan[a] == i) return call_->arguments[a].value->span;
  return call_->span;
}

void Args::fail(size_t i, const std::string& message) const {
  throw ProgramError({{Severity::error, span(i), message, {}, {}}});
}

void Args::wrong_kind(size_t i, std::string_view expected) const {
  const size_t last = function_.parameters.size() - 1;
  fail(i, fmt::format("argument '{}' of {} must be {}, not {}", function_.parameters[std::min(i, last)].name,
                      function_.name, expected, values_[i].describe()));
}

// ------------------------------------------------------------------------------------------------
// conversions

namespace {

/// The extents of a nested list; throws Error where it is ragged or holds something else.
void measure(const Value& value, Shape& shape) {
  if (!value.is(ValueKind::list)) return;
  if (shape.rank() == kMaxRank) throw Error(fmt::format("a tensor has at most {} axes", kMaxRank));
  shape.push_back(static_cast<int64_t>(value.list().size()));
  if (!value.list().empty()) measure(value.list()[0], shape);
}

void flatten(const Value& value, const Shape& shape, int axis, std::vector<const Value*>& out) {
  if (axis == shape.rank()) {
    if (value.is(ValueKind::list)) throw Error("the rows of a list of numbers must have equal lengths");
    if (!value.is_number() && !value.is(ValueKind::boolean))
      throw Error(fmt::format("a tensor is made of numbers, not of {}", value.describe()));
    return out.push_back(&value);
  }
  if (!value.is(ValueKind::list) || static_cast<int64_t>(value.list().size()) != shape[axis])
    throw Error("the rows of a list of numbers must have equal lengths");
  for (const Value& item : value.list()) flatten(item, shape, axis + 1, out);
}

}  // namespace

graph::NodeRef to_tensor(const Value& value, std::optional<DType> dtype) {
  if (value.is_tensor()) return dtype ? graph::cast(value.tensor(), *dtype) : value.tensor();
  if (value.is_int() && (!dtype || is_int(*dtype)))
    return graph::scalar_int(value.integer(), dtype.value_or(DType::i64));
  if (!value.is_number() && !value.is(ValueKind::list) && !value.is(ValueKind::boolean))
    throw Error(fmt::format("expected a tensor, found {}", value.describe()));
  Shape shape;
  measure(value, shape);
  std::vector<const Value*> items;
  flatten(value, shape, 0, items);
  const bool all_bool =
      std::all_of(items.begin(), items.end(), [](auto* v) { return v->is(ValueKind::boolean); });
  const DType type = dtype.value_or(all_bool && !items.empty() ? DType::boolean : DType::f32);
  Tensor tensor(type, shape);
  for (size_t i = 0; i < items.size(); ++i) {
    const Value& v = *items[i];
    const auto at = static_cast<int64_t>(i);
    const double number = v.is(ValueKind::boolean) ? v.boolean() : v.number();
    if (is_float(type)) {
      store_double(tensor, at, number);
    } else if (v.is(ValueKind::floating) && number != std::nearbyint(number)) {
      throw Error(fmt::format("{} is not a whole number, as {} needs", number, name(type)));
    } else if (!v.is_int() && !(std::abs(number) < 0x1p63)) {
      throw Error(fmt::format("{} does not fit in {}", number, name(type)));
    } else {
      store_int(tensor, at, v.is_int() ? v.integer() : static_cast<int64_t>(number));
    }
  }
  return graph::constant(std::move(tensor));
}

std::vector<int64_t> to_ints(const Value& value) {
  std::vector<int64_t> out;
  for (const Value& item : value.list()) {
    const bool is_whole = item.is_number() && item.number() == std::nearbyint(item.number());
    if (!item.is_int() && (!is_whole || std::abs(item.number()) >= 0x1p53))
      throw Error(fmt::format("expected a list of ints, found {} in it", item.describe()));
    out.push_back(item.is_int() ? item.integer() : static_cast<int64_t>(item.floating()));
  }
  return out;
}

}  // namespace tl::lang
