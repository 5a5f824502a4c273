// Tests (`x is …`) and global functions.
#include <fmt/format.h>

#include <algorithm>
#include <array>

#include "text/jinja_builtins.h"

namespace tl::jinja {
namespace {

using Call = const Builtin::Call&;

bool is_mapping(const Value& v) {
  const auto* d = get<Dict*>(v);
  return d && !(*d)->is_namespace;
}
/// Undefined values are empty sequences, as they are to Python's jinja2.
bool is_sequence(const Value& v) { return get<Text>(v) || get<List*>(v) || is_mapping(v) || is_undefined(v); }

int64_t whole(Call c, const Value& v) {
  if (const int64_t* i = get<int64_t>(v)) return *i;
  if (const bool* b = get<bool>(v)) return *b ? 1 : 0;
  require_defined(v);
  throw Failure{fmt::format("{} is no int", repr(c.heap, v))};
}

bool same(Call c) {
  if (c.self.index() != c[0].index()) return false;
  if (const auto* l = get<List*>(c.self)) return *l == std::get<List*>(c[0]);
  if (const auto* d = get<Dict*>(c.self)) return *d == std::get<Dict*>(c[0]);
  return equal(c.heap, c.self, c[0]);
}

bool divisible(Call c) {
  const int64_t by = whole(c, c[0]);
  if (by == 0) throw Failure{"division by zero"};
  return by == -1 || whole(c, c.self) % by == 0;
}

/// str.isupper() and str.islower(), up to characters without case.
bool has_case(Call c, std::string (*wanted)(std::string_view), std::string (*other)(std::string_view)) {
  const std::string s = to_text(c.heap, c.self);
  return wanted(s) == s && other(s) != s;
}

Value eq(Call c) { return equal(c.heap, c.self, c[0]); }
Value ne(Call c) { return !equal(c.heap, c.self, c[0]); }
Value lt(Call c) { return less(c.heap, c.self, c[0]); }
Value gt(Call c) { return less(c.heap, c[0], c.self); }
Value le(Call c) { return less(c.heap, c.self, c[0]) || equal(c.heap, c.self, c[0]); }
Value ge(Call c) { return less(c.heap, c[0], c.self) || equal(c.heap, c.self, c[0]); }

/// A test of the value alone.
template <bool (*predicate)(const Value&)>
Value plain(Call c) {
  return predicate(c.self);
}
bool is_boolean(const Value& v) { return get<bool>(v); }
bool is_true(const Value& v) { return get<bool>(v) && *get<bool>(v); }
bool is_false(const Value& v) { return get<bool>(v) && !*get<bool>(v); }
bool is_integer(const Value& v) { return get<int64_t>(v); }
bool is_float(const Value& v) { return get<double>(v); }
bool is_number(const Value& v) { return get<bool>(v) || get<int64_t>(v) || get<double>(v); }
bool is_none(const Value& v) { return get<None>(v); }
bool is_string(const Value& v) { return get<Text>(v); }
bool is_callable(const Value& v) { return get<Function*>(v); }
bool is_defined(const Value& v) { return !is_undefined(v); }

constexpr std::array kTests = {
    Builtin{"!=", "other", 1, ne},
    Builtin{"<", "other", 1, lt},
    Builtin{"<=", "other", 1, le},
    Builtin{"==", "other", 1, eq},
    Builtin{">", "other", 1, gt},
    Builtin{">=", "other", 1, ge},
    Builtin{"boolean", "", 0, plain<is_boolean>},
    Builtin{"callable", "", 0, plain<is_callable>},
    Builtin{"defined", "", 0, plain<is_defined>},
    Builtin{"divisibleby", "num", 1, [](Call c) -> Value { return divisible(c); }},
    Builtin{"eq", "other", 1, eq},
    Builtin{"equalto", "other", 1, eq},
    Builtin{"even", "", 0, [](Call c) -> Value { return whole(c, c.self) % 2 == 0; }},
    Builtin{"false", "", 0, plain<is_false>},
    Builtin{"float", "", 0, plain<is_float>},
    Builtin{"ge", "other", 1, ge},
    Builtin{"greaterthan", "other", 1, gt},
    Builtin{"gt", "other", 1, gt},
    Builtin{"in", "seq", 1, [](Call c) -> Value { return contains(c.heap, c[0], c.self); }},
    Builtin{"integer", "", 0, plain<is_integer>},
    Builtin{"iterable", "", 0, plain<is_sequence>},
    Builtin{"le", "other", 1, le},
    Builtin{"lessthan", "other", 1, lt},
    Builtin{"lower", "", 0, [](Call c) -> Value { return has_case(c, lower, upper); }},
    Builtin{"lt", "other", 1, lt},
    Builtin{"mapping", "", 0, plain<is_mapping>},
    Builtin{"ne", "other", 1, ne},
    Builtin{"none", "", 0, plain<is_none>},
    Builtin{"number", "", 0, plain<is_number>},
    Builtin{"odd", "", 0, [](Call c) -> Value { return whole(c, c.self) % 2 != 0; }},
    Builtin{"sameas", "other", 1, [](Call c) -> Value { return same(c); }},
    Builtin{"sequence", "", 0, plain<is_sequence>},
    Builtin{"string", "", 0, plain<is_string>},
    Builtin{"true", "", 0, plain<is_true>},
    Builtin{"undefined", "", 0, plain<is_undefined>},
    Builtin{"upper", "", 0, [](Call c) -> Value { return has_case(c, upper, lower); }},
};

Value range(Call c) {
  const bool one = is_undefined(c[1]);
  const int64_t start = one ? 0 : whole(c, c[0]), stop = whole(c, one ? c[0] : c[1]);
  const int64_t step = int_argument(c, 2, "step", 1);
  if (step == 0) throw Failure{"the step of range() is zero"};
  List* out = c.heap.list();
  for (int64_t i = start; step > 0 ? i < stop : i > stop;) {
    c.heap.step();
    c.heap.append(out, i);
    if (__builtin_add_overflow(i, step, &i)) break;
  }
  return out;
}

/// dict(a=1, …) and namespace(a=1, …), also from another dict.
Value dict(Call c, bool is_namespace) {
  Dict* out = c.heap.dict(is_namespace);
  for (const Value& from : c.arguments) {
    const auto* d = get<Dict*>(from);
    if (!d) throw Failure{fmt::format("expected a dict, found a {}", type_name(from))};
    for (const auto& [key, value] : (*d)->entries) c.heap.set(out, key, value);
  }
  for (const auto& [name, value] : c.named) c.heap.set(out, c.heap.text(name), value);
  return out;
}

Value strftime_now(Call c) {
  const std::string format = text_argument(c, 0, "format");
  if (format.empty()) return c.heap.text("");
  char buffer[256];
  const size_t length = std::strftime(buffer, sizeof buffer, format.c_str(), &c.context.now);
  if (length == 0) throw Failure{"the date would be longer than 255 bytes"};
  return c.heap.text(std::string(buffer, length));
}

Value raise_exception(Call c) {
  throw Failure{"the template refuses this conversation: " + to_text(c.heap, c[0])};
}

constexpr std::array kFunctions = {
    Builtin{"dict", "*", 0, [](Call c) { return dict(c, false); }},
    Builtin{"namespace", "*", 0, [](Call c) { return dict(c, true); }},
    Builtin{"raise_exception", "message", 1, raise_exception},
    Builtin{"range", "start,stop,step", 1, range},
    Builtin{"strftime_now", "format", 1, strftime_now},
};

}  // namespace

std::span<const Builtin> test_rows() { return kTests; }
std::span<const Builtin> function_rows() { return kFunctions; }

}  // namespace tl::jinja
