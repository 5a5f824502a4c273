#include "text/jinja_value.h"

#include <fmt/format.h>

#include <algorithm>
#include <cmath>

#include "text/utf8.h"

namespace tl::jinja {

const Value* Dict::find(const Value& key) const {
  const auto it = index.find(key_of(key));
  return it == index.end() ? nullptr : &entries[it->second].second;
}

const Value* Dict::find(std::string_view key) const {
  const auto it = index.find("s" + std::string(key));
  return it == index.end() ? nullptr : &entries[it->second].second;
}

void Dict::set(const Value& key, Value value) {
  const auto [it, added] = index.emplace(key_of(key), entries.size());
  if (added) {
    entries.emplace_back(key, std::move(value));
  } else {
    entries[it->second].second = std::move(value);
  }
}

void Heap::step(size_t n) {
  steps_ += static_cast<int64_t>(std::min<size_t>(n, kMaxSteps));
  if (steps_ > kMaxSteps) {
    throw Failure{fmt::format("rendering takes more than {} steps", kMaxSteps),
                  "the template loops too long; use another template or a shorter conversation"};
  }
}

void Heap::charge(size_t bytes) {
  bytes_ += std::min(bytes, kMaxBytes + 1);
  if (bytes_ > kMaxBytes) {
    throw Failure{fmt::format("rendering takes more than {} MiB of memory", kMaxBytes >> 20),
                  "the template makes too much text; use another template or a shorter conversation"};
  }
}

Value Heap::text(std::string s) {
  charge(s.size() + 64);
  return std::make_shared<const std::string>(std::move(s));
}

List* Heap::list(std::vector<Value> items, bool tuple) {
  charge(items.size() * sizeof(Value) + sizeof(List));
  return &lists_.emplace_back(List{std::move(items), tuple});
}

Dict* Heap::dict(bool is_namespace) {
  charge(sizeof(Dict) + 64);
  Dict* result = &dicts_.emplace_back();
  result->is_namespace = is_namespace;
  return result;
}

void Heap::set(Dict* dict, const Value& key, Value value) {
  const std::string* text = text_of(key);
  charge(128 + (text ? text->size() : 0));
  dict->set(key, std::move(value));
}

void Heap::append(List* list, Value value) {
  charge(2 * sizeof(Value));
  list->items.push_back(std::move(value));
}

Loop* Heap::loop() {
  charge(sizeof(Loop));
  return &loops_.emplace_back();
}

Function* Heap::function() {
  charge(sizeof(Function));
  return &functions_.emplace_back();
}

Scope* Heap::scope(Scope* parent) {
  charge(sizeof(Scope) + 128);
  Scope* result = &scopes_.emplace_back();
  result->parent = parent;
  return result;
}

namespace {

struct TypeName {
  const char* operator()(const Undefined&) const { return "undefined"; }
  const char* operator()(const None&) const { return "None"; }
  const char* operator()(bool) const { return "bool"; }
  const char* operator()(int64_t) const { return "int"; }
  const char* operator()(double) const { return "float"; }
  const char* operator()(const Text&) const { return "str"; }
  const char* operator()(const List* l) const { return l->tuple ? "tuple" : "list"; }
  const char* operator()(const Dict* d) const { return d->is_namespace ? "namespace" : "dict"; }
  const char* operator()(const Loop*) const { return "loop"; }
  const char* operator()(const Function*) const { return "function"; }
};

/// A number as a double, if `v` is one; bool counts, as in Python.
bool number_of(const Value& v, double& out) {
  if (const bool* b = get<bool>(v))
    out = *b ? 1 : 0;
  else if (const int64_t* i = get<int64_t>(v))
    out = static_cast<double>(*i);
  else if (const double* d = get<double>(v))
    out = *d;
  else
    return false;
  return true;
}

void check_depth(int depth) {
  if (depth > kMaxNesting) throw Failure{fmt::format("values are nested more than {} deep", kMaxNesting)};
}

std::string float_repr(double d) {
  if (std::isnan(d)) return "nan";
  if (std::isinf(d)) return d < 0 ? "-inf" : "inf";
  std::string s = fmt::format("{}", d);
  if (s.find_first_of(".e") == std::string::npos) s += ".0";
  return s;
}

std::string quoted(std::string_view text) {
  const bool single = text.find('\'') == std::string_view::npos || text.find('"') != std::string_view::npos;
  const char quote = single ? '\'' : '"';
  std::string out(1, quote);
  for (const char c : text) {
    const auto byte = static_cast<unsigned char>(c);
    if (c == quote || c == '\\')
      out += {'\\', c};
    else if (c == '\n')
      out += "\\n";
    else if (c == '\r')
      out += "\\r";
    else if (c == '\t')
      out += "\\t";
    else if (byte < 0x20 || byte == 0x7f)
      out += fmt::format("\\x{:02x}", byte);
    else
      out += c;
  }
  return out + quote;
}

std::string json_string(std::string_view text) {
  std::string out = "\"";
  for (const char c : text) {
    const auto byte = static_cast<unsigned char>(c);
    switch (c) {
      case '"':
        out += "\\\"";
        break;
      case '\\':
        out += "\\\\";
        break;
      case '\n':
        out += "\\n";
        break;
      case '\r':
        out += "\\r";
        break;
      case '\t':
        out += "\\t";
        break;
      case '\b':
        out += "\\b";
        break;
      case '\f':
        out += "\\f";
        break;
      default:
        if (byte < 0x20)
          out += fmt::format("\\u{:04x}", byte);
        else
          out += c;
    }
  }
  return out + '"';
}

/// Writes JSON as Python's json module lays it out.
class JsonWriter {
 public:
  JsonWriter(Heap& heap, int64_t indent, bool sort_keys)
      : heap_(heap), indent_(indent), sort_keys_(sort_keys) {}

  void write(const Value& v, int depth) {
    check_depth(depth);
    heap_.step();
    if (get<None>(v))
      add("null");
    else if (const bool* b = get<bool>(v))
      add(*b ? "true" : "false");
    else if (const int64_t* i = get<int64_t>(v))
      add(fmt::format("{}", *i));
    else if (const double* d = get<double>(v))
      add(number(*d));
    else if (const std::string* s = text_of(v))
      add(json_string(*s));
    else if (const auto* l = get<List*>(v))
      write_list(**l, depth);
    else if (const auto* m = get<Dict*>(v); m && !(*m)->is_namespace)
      write_dict(**m, depth);
    else if (const auto* u = get<Undefined>(v))
      throw Failure{describe(*u) + ", so it cannot become JSON"};
    else
      throw Failure{fmt::format("a {} cannot become JSON", type_name(v))};
  }
  std::string take() { return std::move(out_); }

 private:
  static std::string number(double d) {
    if (std::isnan(d)) return "NaN";
    if (std::isinf(d)) return d < 0 ? "-Infinity" : "Infinity";
    return float_repr(d);
  }
  void add(std::string_view s) {
    heap_.charge(s.size());
    out_ += s;
  }
  void line(int depth) {
    if (indent_ < 0) return;
    const size_t width = static_cast<size_t>(indent_) * static_cast<size_t>(depth);
    heap_.charge(width + 1);
    out_ += '\n';
    out_.append(width, ' ');
  }
  void separator(bool first, int depth) {
    if (!first) add(indent_ < 0 ? ", " : ",");
    line(depth);
  }
  void write_list(const List& list, int depth) {
    if (list.items.empty()) return add("[]");
    add("[");
    bool first = true;
    for (const Value& item : list.items) {
      separator(first, depth + 1);
      first = false;
      write(item, depth + 1);
    }
    line(depth);
    add("]");
  }
  void write_dict(const Dict& dict, int depth) {
    if (dict.entries.empty()) return add("{}");
    std::vector<std::pair<std::string, const Value*>> entries;
    for (const auto& [key, value] : dict.entries) entries.emplace_back(key_text(key), &value);
    if (sort_keys_)
      std::stable_sort(entries.begin(), entries.end(), [](auto& a, auto& b) { return a.first < b.first; });
    add("{");
    bool first = true;
    for (const auto& [key, value] : entries) {
      separator(first, depth + 1);
      first = false;
      add(json_string(key));
      add(": ");
      write(*value, depth + 1);
    }
    line(depth);
    add("}");
  }
  std::string key_text(const Value& key) {
    if (const std::string* s = text_of(key)) return *s;
    if (get<None>(key)) return "null";
    if (const bool* b = get<bool>(key)) return *b ? "true" : "false";
    return repr(heap_, key);
  }

  Heap& heap_;
  int64_t indent_;
  bool sort_keys_;
  std::string out_;
};

}  // namespace

const char* type_name(const Value& v) { return std::visit(TypeName{}, v); }

std::string describe(const Undefined& u) {
  if (u.name == nullptr) return "the value is undefined";
  if (u.owner == nullptr) return fmt::format("'{}' is undefined", *u.name);
  return fmt::format("the {} has no '{}'", u.owner, *u.name);
}

void require_defined(const Value& v) {
  if (const auto* u = get<Undefined>(v)) throw Failure{describe(*u)};
}

bool truth(const Value& v) {
  if (const std::string* s = text_of(v)) return !s->empty();
  if (const auto* l = get<List*>(v)) return !(*l)->items.empty();
  if (const auto* d = get<Dict*>(v)) return (*d)->is_namespace || !(*d)->entries.empty();
  double number = 0;
  if (number_of(v, number)) return number != 0;
  return get<Loop*>(v) || get<Function*>(v);
}

bool equal(Heap& heap, const Value& a, const Value& b, int depth) {
  check_depth(depth);
  heap.step();
  double x = 0, y = 0;
  if (get<int64_t>(a) && get<int64_t>(b)) return std::get<int64_t>(a) == std::get<int64_t>(b);
  if (number_of(a, x) && number_of(b, y)) return x == y;
  if (a.index() != b.index()) return false;
  if (const std::string* s = text_of(a)) {
    heap.step(s->size() / 64);
    return *s == *text_of(b);
  }
  if (const auto* l = get<List*>(a)) {
    const List &left = **l, &right = *std::get<List*>(b);
    if (left.tuple != right.tuple || left.items.size() != right.items.size()) return false;
    for (size_t i = 0; i < left.items.size(); ++i) {
      if (!equal(heap, left.items[i], right.items[i], depth + 1)) return false;
    }
    return true;
  }
  if (const auto* d = get<Dict*>(a); d && !(*d)->is_namespace) {
    const Dict &left = **d, &right = *std::get<Dict*>(b);
    if (left.entries.size() != right.entries.size()) return false;
    for (const auto& [key, value] : left.entries) {
      const Value* other = right.find(key);
      if (other == nullptr || !equal(heap, value, *other, depth + 1)) return false;
    }
    return true;
  }
  if (const auto* d = get<Dict*>(a)) return *d == std::get<Dict*>(b);
  if (const auto* l = get<Loop*>(a)) return *l == std::get<Loop*>(b);
  if (const auto* f = get<Function*>(a)) return *f == std::get<Function*>(b);
  return true;  // None, undefined
}

bool less(Heap& heap, const Value& a, const Value& b, int depth) {
  check_depth(depth);
  heap.step();
  double x = 0, y = 0;
  if (get<int64_t>(a) && get<int64_t>(b)) return std::get<int64_t>(a) < std::get<int64_t>(b);
  if (number_of(a, x) && number_of(b, y)) return x < y;
  const std::string *s = text_of(a), *t = text_of(b);
  if (s && t) {
    heap.step(std::min(s->size(), t->size()) / 64);
    return *s < *t;  // the order of UTF-8 is that of code points
  }
  const auto *l = get<List*>(a), *m = get<List*>(b);
  if (l && m && (*l)->tuple == (*m)->tuple) {
    const auto &left = (*l)->items, &right = (*m)->items;
    for (size_t i = 0; i < std::min(left.size(), right.size()); ++i) {
      if (!equal(heap, left[i], right[i], depth + 1)) return less(heap, left[i], right[i], depth + 1);
    }
    return left.size() < right.size();
  }
  require_defined(a);
  require_defined(b);
  throw Failure{fmt::format("a {} and a {} have no order", type_name(a), type_name(b))};
}

bool contains(Heap& heap, const Value& container, const Value& item) {
  if (const std::string* s = text_of(container)) {
    const std::string* part = text_of(item);
    if (!part) throw Failure{fmt::format("only a str can be in a str; this is a {}", type_name(item))};
    heap.step(s->size() / 16);
    return s->find(*part) != std::string::npos;
  }
  if (const auto* d = get<Dict*>(container); d && !(*d)->is_namespace) return (*d)->find(item) != nullptr;
  if (const auto* l = get<List*>(container)) {
    return std::any_of((*l)->items.begin(), (*l)->items.end(),
                       [&](const Value& v) { return equal(heap, v, item); });
  }
  if (is_undefined(container)) return false;
  throw Failure{fmt::format("nothing can be in a {}", type_name(container))};
}

std::string key_of(const Value& v) {
  if (const std::string* s = text_of(v)) return "s" + *s;
  if (get<None>(v)) return "n";
  if (const int64_t* i = get<int64_t>(v)) return fmt::format("i{}", *i);
  if (const bool* b = get<bool>(v)) return *b ? "i1" : "i0";
  if (const double* d = get<double>(v)) {
    return std::abs(*d) < 1e15 && *d == std::floor(*d) ? fmt::format("i{:.0f}", *d + 0.0)
                                                       : fmt::format("f{}", *d);
  }
  require_defined(v);
  throw Failure{fmt::format("a {} cannot be the key of a dict", type_name(v))};
}

std::string to_text(Heap& heap, const Value& v) {
  if (is_undefined(v)) return "";
  if (const std::string* s = text_of(v)) return *s;
  return repr(heap, v);
}

std::string repr(Heap& heap, const Value& v, int depth) {
  check_depth(depth);
  heap.step();
  if (is_undefined(v)) return "Undefined";
  if (get<None>(v)) return "None";
  if (const bool* b = get<bool>(v)) return *b ? "True" : "False";
  if (const int64_t* i = get<int64_t>(v)) return fmt::format("{}", *i);
  if (const double* d = get<double>(v)) return float_repr(*d);
  if (const std::string* s = text_of(v)) return quoted(*s);
  std::string out;
  const auto add = [&](const std::string& s) {
    heap.charge(s.size());
    out += s;
  };
  if (const auto* l = get<List*>(v)) {
    const List& list = **l;
    out = list.tuple ? "(" : "[";
    for (size_t i = 0; i < list.items.size(); ++i) {
      if (i > 0) out += ", ";
      add(repr(heap, list.items[i], depth + 1));
    }
    if (list.tuple && list.items.size() == 1) out += ",";
    return out + (list.tuple ? ")" : "]");
  }
  if (const auto* d = get<Dict*>(v); d && !(*d)->is_namespace) {
    out = "{";
    for (const auto& [key, value] : (*d)->entries) {
      if (out.size() > 1) out += ", ";
      add(repr(heap, key, depth + 1) + ": ");
      add(repr(heap, value, depth + 1));
    }
    return out + "}";
  }
  return fmt::format("<{}>", type_name(v));
}

std::string to_json(Heap& heap, const Value& v, int64_t indent, bool sort_keys) {
  JsonWriter writer(heap, std::min<int64_t>(indent, 1000), sort_keys);
  writer.write(v, 0);
  return writer.take();
}

std::vector<Value> items_of(Heap& heap, const Value& v) {
  if (const auto* l = get<List*>(v)) {
    heap.charge((*l)->items.size() * sizeof(Value));
    return (*l)->items;
  }
  std::vector<Value> items;
  if (const auto* d = get<Dict*>(v); d && !(*d)->is_namespace) {
    heap.charge((*d)->entries.size() * sizeof(Value));
    for (const auto& entry : (*d)->entries) items.push_back(entry.first);
    return items;
  }
  if (const std::string* s = text_of(v)) {
    const std::vector<size_t> offsets = character_offsets(heap, *s);
    for (size_t i = 0; i + 1 < offsets.size(); ++i) {
      items.push_back(heap.text(s->substr(offsets[i], offsets[i + 1] - offsets[i])));
    }
    return items;
  }
  if (is_undefined(v)) return items;
  throw Failure{fmt::format("a {} cannot be iterated over", type_name(v))};
}

std::vector<size_t> character_offsets(Heap& heap, std::string_view text) {
  heap.step(text.size() / 16);
  std::vector<size_t> offsets;
  for (size_t at = 0; at < text.size();) {
    offsets.push_back(at);
    at += std::max<size_t>(utf8_at(text, at).length, 1);
  }
  offsets.push_back(text.size());
  return offsets;
}

int64_t length_of(Heap& heap, const Value& v) {
  if (const auto* l = get<List*>(v)) return static_cast<int64_t>((*l)->items.size());
  if (const auto* d = get<Dict*>(v); d && !(*d)->is_namespace)
    return static_cast<int64_t>((*d)->entries.size());
  if (const std::string* s = text_of(v)) return static_cast<int64_t>(character_offsets(heap, *s).size()) - 1;
  if (is_undefined(v)) return 0;
  throw Failure{fmt::format("a {} has no length", type_name(v))};
}

}  // namespace tl::jinja
