// Filters: what follows a bar.
#include <fmt/format.h>

#include <algorithm>
#include <array>
#include <charconv>
#include <cmath>
#include <cstdlib>

#include "text/jinja_builtins.h"

namespace tl::jinja {
namespace {

using Call = const Builtin::Call&;

std::string self_text(Call c) {
  std::string s = to_text(c.heap, c.self);
  c.heap.charge(s.size());
  return s;
}

/// "a.b.0": attributes of attributes, and items by number; `fallback`, if given, where one is missing.
Value follow(Heap& heap, Value value, std::string_view path, const Value* fallback = nullptr) {
  for (;;) {
    const size_t dot = std::min(path.find('.'), path.size());
    const std::string part(path.substr(0, dot));
    int64_t index = 0;
    const auto [end, error] = std::from_chars(part.data(), part.data() + part.size(), index);
    const bool number = error == std::errc() && end == part.data() + part.size();
    value = item_of(heap, value, number ? Value(index) : heap.text(part));
    if (fallback && is_undefined(value)) value = *fallback;
    if (dot == path.size()) return value;
    path.remove_prefix(dot + 1);
  }
}

/// What an item is sorted or compared by: an attribute of it if `attribute` is given; texts without regard to
/// case.
Value sort_key(Heap& heap, const Value& item, const Value& attribute, bool case_sensitive) {
  Value key = item;
  if (given(attribute)) {
    if (const int64_t* index = get<int64_t>(attribute))
      key = item_of(heap, item, *index);
    else if (const std::string* path = text_of(attribute))
      key = follow(heap, item, *path);
    else
      throw Failure{fmt::format("the argument 'attribute' must be a str, not a {}", type_name(attribute))};
  }
  const std::string* text = text_of(key);
  return text && !case_sensitive ? heap.text(lower(*text)) : key;
}

List* sorted(Call c, const std::vector<Value>& items, const Value& attribute, bool case_sensitive,
             bool reverse) {
  std::vector<std::pair<Value, Value>> keyed;
  for (const Value& item : items) keyed.emplace_back(sort_key(c.heap, item, attribute, case_sensitive), item);
  std::stable_sort(keyed.begin(), keyed.end(), [&](const auto& a, const auto& b) {
    return reverse ? less(c.heap, b.first, a.first) : less(c.heap, a.first, b.first);
  });
  List* out = c.heap.list();
  for (auto& [key, item] : keyed) c.heap.append(out, item);
  return out;
}

Value dictsort_filter(Call c) {
  const auto* d = get<Dict*>(c.self);
  if (!d) throw Failure{fmt::format("dictsort needs a dict, not a {}", type_name(c.self))};
  const std::string by = given(c[1]) ? text_argument(c, 1, "by") : "key";
  if (by != "key" && by != "value") throw Failure{"the argument 'by' must be 'key' or 'value'"};
  std::vector<Value> pairs;
  for (const auto& [key, value] : (*d)->entries) pairs.emplace_back(c.heap.list({key, value}, true));
  return sorted(c, pairs, int64_t{by == "key" ? 0 : 1}, truth(c[0]), truth(c[2]));
}

Value unique_filter(Call c) {
  List* out = c.heap.list();
  Dict* seen = c.heap.dict();
  for (const Value& item : items_of(c.heap, c.self)) {
    const Value key = sort_key(c.heap, item, c[1], truth(c[0]));
    if (seen->find(key) != nullptr) continue;
    c.heap.set(seen, key, true);
    c.heap.append(out, item);
  }
  return out;
}

/// min and max; of equal ones the first.
Value extreme(Call c, bool largest) {
  const std::vector<Value> items = items_of(c.heap, c.self);
  if (items.empty()) return Undefined{};
  size_t best = 0;
  Value best_key = sort_key(c.heap, items[0], c[1], truth(c[0]));
  for (size_t i = 1; i < items.size(); ++i) {
    Value key = sort_key(c.heap, items[i], c[1], truth(c[0]));
    if (!(largest ? less(c.heap, best_key, key) : less(c.heap, key, best_key))) continue;
    best = i;
    best_key = std::move(key);
  }
  return items[best];
}

Value join_filter(Call c) {
  const std::string separator = given(c[0]) ? to_text(c.heap, c[0]) : "";
  std::string out;
  bool first = true;
  for (const Value& item : items_of(c.heap, c.self)) {
    const std::string text =
        to_text(c.heap, given(c[1]) ? follow(c.heap, item, text_argument(c, 1, "attribute")) : item);
    c.heap.charge(text.size() + separator.size());
    if (!first) out += separator;
    first = false;
    out += text;
  }
  return c.heap.text(std::move(out));
}

/// Calls the filter or test named by the first argument from `from` on, with the arguments after it.
Value apply_named(Call c, BuiltinKind kind, size_t from, const Value& item) {
  const std::string name = text_argument(c, from, kind == BuiltinKind::filter ? "filter" : "test");
  const Builtin* builtin = find(kind, name);
  if (!builtin)
    throw Failure{fmt::format("unknown {} '{}'", kind == BuiltinKind::filter ? "filter" : "test", name)};
  Arguments arguments;
  arguments.positional.assign(c.arguments.begin() + static_cast<std::ptrdiff_t>(from) + 1, c.arguments.end());
  arguments.named.assign(c.named.begin(), c.named.end());
  return call(c.context, *builtin, item, arguments);
}

Value map_filter(Call c) {
  List* out = c.heap.list();
  const auto named = [&](const char* name) -> const Value* {
    for (const auto& [key, value] : c.named) {
      if (key == name) return &value;
    }
    return nullptr;
  };
  const Value* attribute = named("attribute");
  const Value* fallback = named("default");
  if (!attribute && c.arguments.empty()) throw Failure{"'map' needs the name of a filter or attribute='…'"};
  for (const Value& item : items_of(c.heap, c.self)) {
    c.heap.step();
    if (!attribute) {
      c.heap.append(out, apply_named(c, BuiltinKind::filter, 0, item));
      continue;
    }
    const std::string* path = text_of(*attribute);
    const int64_t* index = get<int64_t>(*attribute);
    if (!path && !index) throw Failure{"the argument 'attribute' must be a str"};
    const std::string name = path ? *path : std::to_string(*index);
    c.heap.append(out, follow(c.heap, item, name, fallback));
  }
  return out;
}

/// select and reject; with `by_attribute` the first argument names what of the item is tested.
Value select(Call c, bool by_attribute, bool keep) {
  List* out = c.heap.list();
  const size_t from = by_attribute ? 1 : 0;
  for (const Value& item : items_of(c.heap, c.self)) {
    c.heap.step();
    const Value tested = by_attribute ? follow(c.heap, item, text_argument(c, 0, "attribute")) : item;
    const bool passes =
        truth(c.arguments.size() > from ? apply_named(c, BuiltinKind::test, from, tested) : tested);
    if (passes == keep) c.heap.append(out, item);
  }
  return out;
}

Value indent_filter(Call c) {
  std::string indentation;
  if (const std::string* s = text_of(c[0])) {
    indentation = *s;
  } else {
    const int64_t width = int_argument(c, 0, "width", 4);
    c.heap.charge(static_cast<size_t>(std::max<int64_t>(width, 0)));
    indentation.assign(static_cast<size_t>(std::max<int64_t>(width, 0)), ' ');
  }
  const std::string text = self_text(c) + "\n";
  std::string out;
  bool first = true;
  for (const std::string_view line : split_lines(text)) {
    if (!first) out += '\n';
    const bool indented = first ? truth(c[1]) : truth(c[2]) || !line.empty();
    first = false;
    c.heap.charge(indentation.size() + line.size() + 1);
    if (indented) out += indentation;
    out += line;
  }
  return c.heap.text(std::move(out));
}

/// int() of a text: an optional sign and digits, white space around them; nothing for another text.
std::optional<int64_t> parse_int(const std::string& text, int base) {
  std::string_view s = strip(text, std::nullopt, true, true);
  const bool negative = s.starts_with('-');
  if (negative || s.starts_with('+')) s.remove_prefix(1);
  if (base == 16 && (s.starts_with("0x") || s.starts_with("0X"))) s.remove_prefix(2);
  if (s.empty() || s[0] == '-') return std::nullopt;
  int64_t value = 0;
  const auto [end, error] = std::from_chars(s.data(), s.data() + s.size(), value, base);
  if (error != std::errc() || end != s.data() + s.size()) return std::nullopt;
  return negative ? -value : value;
}

/// float() of a text, or nothing.
std::optional<double> parse_float(const std::string& text) {
  std::string_view s = strip(text, std::nullopt, true, true);
  if (s.starts_with('+')) s.remove_prefix(1);
  double value = 0;
  const auto [end, error] = std::from_chars(s.data(), s.data() + s.size(), value);
  if (s.empty() || error != std::errc() || end != s.data() + s.size()) return std::nullopt;
  return value;
}

Value int_filter(Call c) {
  const Value fallback = is_undefined(c[0]) ? Value(int64_t{0}) : c[0];
  const int64_t base = int_argument(c, 1, "base", 10);
  if (base < 2 || base > 36) throw Failure{"the argument 'base' must be from 2 to 36"};
  const auto whole = [&](double d) -> Value {
    return std::abs(d) < 9e18 ? Value(static_cast<int64_t>(d)) : fallback;  // also for NaN
  };
  if (const std::string* s = text_of(c.self)) {
    if (const auto value = parse_int(*s, static_cast<int>(base))) return *value;
    if (const auto value = parse_float(*s)) return whole(*value);
    return fallback;
  }
  if (const double* d = get<double>(c.self)) return whole(*d);
  if (const bool* b = get<bool>(c.self)) return int64_t{*b ? 1 : 0};
  return get<int64_t>(c.self) ? c.self : fallback;
}

Value float_filter(Call c) {
  const Value fallback = is_undefined(c[0]) ? Value(0.0) : c[0];
  if (const std::string* s = text_of(c.self)) {
    if (const auto value = parse_float(*s)) return *value;
    return fallback;
  }
  if (const int64_t* i = get<int64_t>(c.self)) return static_cast<double>(*i);
  if (const bool* b = get<bool>(c.self)) return *b ? 1.0 : 0.0;
  return get<double>(c.self) ? c.self : fallback;
}

Value round_filter(Call c) {
  double value = 0;
  if (const int64_t* i = get<int64_t>(c.self))
    value = static_cast<double>(*i);
  else if (const double* d = get<double>(c.self))
    value = *d;
  else
    throw Failure{fmt::format("round needs a number, not a {}", type_name(c.self))};
  const int64_t precision = std::clamp<int64_t>(int_argument(c, 0, "precision", 0), -300, 300);
  const std::string method = given(c[1]) ? text_argument(c, 1, "method") : "common";
  const double scale = std::pow(10.0, static_cast<double>(precision));
  if (method == "ceil") return std::ceil(value * scale) / scale;
  if (method == "floor") return std::floor(value * scale) / scale;
  if (method == "common") {
    if (get<int64_t>(c.self) && precision >= 0) return c.self;
    if (precision < 0) return std::nearbyint(value * scale) / scale;
    return std::strtod(fmt::format("{:.{}f}", value, precision).c_str(), nullptr);  // exact, ties to even
  }
  throw Failure{"the argument 'method' must be 'common', 'ceil' or 'floor'"};
}

Value abs_filter(Call c) {
  if (const double* d = get<double>(c.self)) return std::abs(*d);
  const int64_t* i = get<int64_t>(c.self);
  if (!i || *i == std::numeric_limits<int64_t>::min()) {
    throw Failure{fmt::format("{} has no absolute value", repr(c.heap, c.self))};
  }
  return std::abs(*i);
}

Value sum_filter(Call c) {
  int64_t whole = 0;
  double real = 0;
  bool is_real = false;
  const auto add = [&](const Value& v) {
    if (const double* d = get<double>(v)) {
      is_real = true;
      real += *d;
    } else if (const int64_t* i = get<int64_t>(v); i && !__builtin_add_overflow(whole, *i, &whole)) {
    } else if (const bool* b = get<bool>(v); b && !__builtin_add_overflow(whole, int64_t{*b}, &whole)) {
    } else {
      throw Failure{fmt::format("{} cannot be added up", repr(c.heap, v))};
    }
  };
  if (given(c[1])) add(c[1]);
  for (const Value& item : items_of(c.heap, c.self)) {
    add(given(c[0]) ? follow(c.heap, item, text_argument(c, 0, "attribute")) : item);
  }
  return is_real ? Value(real + static_cast<double>(whole)) : Value(whole);
}

Value escape_filter(Call c) {
  std::string out;
  for (const char ch : self_text(c)) {
    switch (ch) {
      case '&':
        out += "&amp;";
        break;
      case '<':
        out += "&lt;";
        break;
      case '>':
        out += "&gt;";
        break;
      case '\'':
        out += "&#39;";
        break;
      case '"':
        out += "&#34;";
        break;
      default:
        out += ch;
    }
  }
  return c.heap.text(std::move(out));
}

/// The title filter: a word begins after white space, a hyphen or an opening bracket.
Value title_filter(Call c) {
  const std::string text = self_text(c);
  std::string out;
  for (size_t at = 0; at < text.size();) {
    const size_t end = std::min(text.find_first_of("- \t\n\v\f\r({[<", at), text.size());
    out += capitalize(std::string_view(text).substr(at, end - at));
    if (end < text.size()) out += text[end];
    at = end + 1;
  }
  return c.heap.text(std::move(out));
}

Value reverse_filter(Call c) {
  std::vector<Value> items = items_of(c.heap, c.self);
  std::reverse(items.begin(), items.end());
  if (!text_of(c.self)) return c.heap.list(std::move(items));
  std::string out;
  for (const Value& character : items) out += *text_of(character);
  return c.heap.text(std::move(out));
}

Value items_filter(Call c) {
  if (is_undefined(c.self)) return c.heap.list();
  const auto* d = get<Dict*>(c.self);
  if (!d || (*d)->is_namespace) throw Failure{fmt::format("items needs a dict, not a {}", type_name(c.self))};
  List* out = c.heap.list();
  for (const auto& [key, value] : (*d)->entries) c.heap.append(out, c.heap.list({key, value}, true));
  return out;
}

Value first_or_last(Call c, bool first) {
  const std::vector<Value> items = items_of(c.heap, c.self);
  return items.empty() ? Value(Undefined{}) : first ? items.front() : items.back();
}

Value tojson_filter(Call c) {
  return c.heap.text(to_json(c.heap, c.self, int_argument(c, 0, "indent", -1), truth(c[3])));
}

Value default_filter(Call c) {
  if (!is_undefined(c.self) && (truth(c.self) || !truth(c[1]))) return c.self;
  return is_undefined(c[0]) ? c.heap.text("") : c[0];
}

Value replace_filter(Call c) {
  return c.heap.text(replace(c.heap, self_text(c), to_text(c.heap, c[0]), to_text(c.heap, c[1]),
                             int_argument(c, 2, "count", -1)));
}

Value trim_filter(Call c) {
  std::optional<std::string> characters;
  if (given(c[0])) characters = text_argument(c, 0, "chars");
  const std::string text = self_text(c);
  return c.heap.text(std::string(strip(text, characters, true, true)));
}

Value length_filter(Call c) { return length_of(c.heap, c.self); }
Value same(Call c) { return c.self; }

constexpr std::array kFilters = {
    Builtin{"abs", "", 0, abs_filter},
    Builtin{"attr", "name", 1,
            [](Call c) { return attribute_of(c.heap, c.self, text_argument(c, 0, "name")); }},
    Builtin{"capitalize", "", 0, [](Call c) { return c.heap.text(capitalize(self_text(c))); }},
    Builtin{"count", "", 0, length_filter},
    Builtin{"d", "default_value,boolean", 0, default_filter},
    Builtin{"default", "default_value,boolean", 0, default_filter},
    Builtin{"dictsort", "case_sensitive,by,reverse", 0, dictsort_filter},
    Builtin{"e", "", 0, escape_filter},
    Builtin{"escape", "", 0, escape_filter},
    Builtin{"first", "", 0, [](Call c) { return first_or_last(c, true); }},
    Builtin{"float", "default", 0, float_filter},
    Builtin{"indent", "width,first,blank", 0, indent_filter},
    Builtin{"int", "default,base", 0, int_filter},
    Builtin{"items", "", 0, items_filter},
    Builtin{"join", "d,attribute", 0, join_filter},
    Builtin{"last", "", 0, [](Call c) { return first_or_last(c, false); }},
    Builtin{"length", "", 0, length_filter},
    Builtin{"list", "", 0, [](Call c) -> Value { return c.heap.list(items_of(c.heap, c.self)); }},
    Builtin{"lower", "", 0, [](Call c) { return c.heap.text(lower(self_text(c))); }},
    Builtin{"map", "*", 0, map_filter},
    Builtin{"max", "case_sensitive,attribute", 0, [](Call c) { return extreme(c, true); }},
    Builtin{"min", "case_sensitive,attribute", 0, [](Call c) { return extreme(c, false); }},
    Builtin{"reject", "*", 0, [](Call c) { return select(c, false, false); }},
    Builtin{"rejectattr", "*", 1, [](Call c) { return select(c, true, false); }},
    Builtin{"replace", "old,new,count", 2, replace_filter},
    Builtin{"reverse", "", 0, reverse_filter},
    Builtin{"round", "precision,method", 0, round_filter},
    Builtin{"safe", "", 0, same},
    Builtin{"select", "*", 0, [](Call c) { return select(c, false, true); }},
    Builtin{"selectattr", "*", 1, [](Call c) { return select(c, true, true); }},
    Builtin{
        "sort", "reverse,case_sensitive,attribute", 0,
        [](Call c) -> Value { return sorted(c, items_of(c.heap, c.self), c[2], truth(c[1]), truth(c[0])); }},
    Builtin{"string", "", 0, [](Call c) { return c.heap.text(self_text(c)); }},
    Builtin{"sum", "attribute,start", 0, sum_filter},
    Builtin{"title", "", 0, title_filter},
    Builtin{"tojson", "indent,ensure_ascii,separators,sort_keys", 0, tojson_filter},
    Builtin{"trim", "chars", 0, trim_filter},
    Builtin{"unique", "case_sensitive,attribute", 0, unique_filter},
    Builtin{"upper", "", 0, [](Call c) { return c.heap.text(upper(self_text(c))); }},
};

}  // namespace

std::span<const Builtin> filter_rows() { return kFilters; }

}  // namespace tl::jinja
