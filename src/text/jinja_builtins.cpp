#include "text/jinja_builtins.h"

#include <fmt/format.h>

#include <algorithm>

#include "base/source.h"

namespace tl::jinja {
namespace {

std::vector<std::string_view> parameter_names(const Builtin& builtin) {
  std::vector<std::string_view> out;
  std::string_view rest = builtin.parameters;
  while (!rest.empty()) {
    const size_t comma = std::min(rest.find(','), rest.size());
    out.push_back(rest.substr(0, comma));
    rest.remove_prefix(std::min(comma + 1, rest.size()));
  }
  return out;
}

/// The methods that `object` has, if it has any.
std::optional<BuiltinKind> methods_of(const Value& object) {
  if (get<Text>(object)) return BuiltinKind::string_method;
  if (get<List*>(object)) return BuiltinKind::list_method;
  if (get<Loop*>(object)) return BuiltinKind::loop_method;
  if (const auto* d = get<Dict*>(object); d && !(*d)->is_namespace) return BuiltinKind::dict_method;
  return std::nullopt;
}

std::optional<Value> loop_attribute(const Loop& loop, const std::string& name) {
  const auto n = static_cast<int64_t>(loop.items->size());
  const auto i = static_cast<int64_t>(loop.index);
  if (name == "index") return i + 1;
  if (name == "index0") return i;
  if (name == "revindex") return n - i;
  if (name == "revindex0") return n - i - 1;
  if (name == "first") return i == 0;
  if (name == "last") return i + 1 == n;
  if (name == "length") return n;
  if (name == "depth") return int64_t{1};  // of recursion, which there is none of
  if (name == "depth0") return int64_t{0};
  if (name == "previtem" && i > 0) return (*loop.items)[loop.index - 1];
  if (name == "nextitem" && i + 1 < n) return (*loop.items)[loop.index + 1];
  return std::nullopt;
}

Value missing(const Value& object, const std::string& name) {
  return Undefined{std::make_shared<const std::string>(name), type_name(object)};
}

/// Attributes and methods, without a dict's entries.
std::optional<Value> own_attribute(Heap& heap, const Value& object, const std::string& name) {
  if (const auto* l = get<Loop*>(object)) {
    if (auto value = loop_attribute(**l, name)) return value;
  }
  if (const auto* d = get<Dict*>(object); d && (*d)->is_namespace) {
    const Value* value = (*d)->find(name);
    return value ? std::optional(*value) : std::nullopt;
  }
  if (const auto kind = methods_of(object)) {
    if (const Builtin* method = find(*kind, name)) {
      Function* bound = heap.function();
      bound->builtin = method;
      bound->self = object;
      return bound;
    }
  }
  return std::nullopt;
}

/// An index counted from the end if negative; nothing if out of range.
std::optional<size_t> place(int64_t index, size_t size) {
  const auto n = static_cast<int64_t>(size);
  if (index < 0) index += n;
  return index >= 0 && index < n ? std::optional(static_cast<size_t>(index)) : std::nullopt;
}

}  // namespace

std::span<const Builtin> all(BuiltinKind kind) {
  switch (kind) {
    case BuiltinKind::filter:
      return filter_rows();
    case BuiltinKind::test:
      return test_rows();
    case BuiltinKind::function:
      return function_rows();
    case BuiltinKind::string_method:
      return string_method_rows();
    case BuiltinKind::list_method:
      return list_method_rows();
    case BuiltinKind::dict_method:
      return dict_method_rows();
    case BuiltinKind::loop_method:
      return loop_method_rows();
  }
  return {};
}

const Builtin* find(BuiltinKind kind, std::string_view name) {
  for (const Builtin& row : all(kind)) {
    if (name == row.name) return &row;
  }
  return nullptr;
}

std::vector<std::string> names(BuiltinKind kind) {
  std::vector<std::string> out;
  for (const Builtin& row : all(kind)) out.emplace_back(row.name);
  return out;
}

Value call(Context& context, const Builtin& builtin, const Value& self, const Arguments& arguments) {
  context.heap.step();
  // Filters may apply filters; their lists may hold themselves.
  if (context.depth > kMaxNesting) throw Failure{fmt::format("filters nest more than {} deep", kMaxNesting)};
  const Deeper deeper(context.depth);
  if (std::string_view(builtin.parameters) == "*") {
    if (arguments.positional.size() < static_cast<size_t>(builtin.required)) {
      throw Failure{fmt::format("'{}' needs at least {} argument(s)", builtin.name, builtin.required)};
    }
    return builtin.function({context, self, arguments.positional, arguments.named});
  }
  const std::vector<std::string_view> parameters = parameter_names(builtin);
  if (arguments.positional.size() > parameters.size()) {
    throw Failure{fmt::format("'{}' takes at most {} argument(s), not {}", builtin.name, parameters.size(),
                              arguments.positional.size())};
  }
  std::vector<Value> bound = arguments.positional;
  bound.resize(parameters.size());
  size_t n_given = arguments.positional.size();
  for (const auto& [name, value] : arguments.named) {
    const auto it = std::find(parameters.begin(), parameters.end(), name);
    if (it == parameters.end()) {
      throw Failure{
          fmt::format("'{}' has no argument '{}'; it takes ({})", builtin.name, name, builtin.parameters)};
    }
    const auto i = static_cast<size_t>(it - parameters.begin());
    bound[i] = value;
    n_given = std::max(n_given, i + 1);
  }
  if (n_given < static_cast<size_t>(builtin.required)) {
    throw Failure{fmt::format("'{}' needs the argument '{}'", builtin.name, parameters[n_given])};
  }
  return builtin.function({context, self, bound, {}});
}

Value attribute_of(Heap& heap, const Value& object, const std::string& name) {
  require_defined(object);
  if (auto own = own_attribute(heap, object, name)) return *own;
  if (const auto* d = get<Dict*>(object)) {
    if (const Value* value = (*d)->find(name)) return *value;
  }
  return missing(object, name);
}

Value item_of(Heap& heap, const Value& object, const Value& key) {
  require_defined(object);
  require_defined(key);
  if (const auto* d = get<Dict*>(object); d && !(*d)->is_namespace) {
    if (const Value* value = (*d)->find(key)) return *value;
  }
  if (const int64_t* index = get<int64_t>(key)) {
    if (const auto* l = get<List*>(object)) {
      if (const auto i = place(*index, (*l)->items.size())) return (*l)->items[*i];
    }
    if (const std::string* s = text_of(object)) {
      const std::vector<size_t> offsets = character_offsets(heap, *s);
      if (const auto i = place(*index, offsets.size() - 1)) {
        return heap.text(s->substr(offsets[*i], offsets[*i + 1] - offsets[*i]));
      }
    }
  }
  if (const std::string* name = text_of(key)) {
    if (auto own = own_attribute(heap, object, *name)) return *own;
    return missing(object, *name);
  }
  return missing(object, repr(heap, key));
}

bool given(const Value& v) { return !is_undefined(v) && !get<None>(v); }

std::string text_argument(const Builtin::Call& call, size_t i, const char* name) {
  require_defined(call[i]);
  if (const std::string* s = text_of(call[i])) return *s;
  throw Failure{fmt::format("the argument '{}' must be a str, not a {}", name, type_name(call[i]))};
}

int64_t int_argument(const Builtin::Call& call, size_t i, const char* name, int64_t fallback) {
  if (!given(call[i])) return fallback;
  if (const int64_t* value = get<int64_t>(call[i])) return *value;
  if (const bool* value = get<bool>(call[i])) return *value ? 1 : 0;
  throw Failure{fmt::format("the argument '{}' must be an int, not a {}", name, type_name(call[i]))};
}

}  // namespace tl::jinja
