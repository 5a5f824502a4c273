#include "lang/value.h"

#include <fmt/format.h>

#include "lang/native.h"

namespace tl::lang {

std::string_view describe(ValueKind kind) {
  constexpr std::string_view kTexts[] = {"void",   "a bool",   "an int",     "a float",  "a string",
                                         "a list", "a record", "a function", "a tensor", "an object"};
  return kTexts[static_cast<size_t>(kind)];
}

Value NativeObject::get(Interpreter&, std::string_view name) const {
  throw Error(fmt::format("a {} has no member '{}'", type_name(), name));
}

Value NativeObject::index(Interpreter&, const Value&) const {
  throw Error(fmt::format("a {} cannot be indexed", type_name()));
}

std::string NativeObject::text() const { return fmt::format("<{}>", type_name()); }

namespace {
/// A new object with its one member set; the Value that takes it owns it.
template <class T, class Content>
T* fresh(Content T::*member, Content content) {
  T* object = new T;
  object->*member = std::move(content);
  return object;
}
}  // namespace

Value::Value(std::string s) : Value(ValueKind::string, fresh(&StringObject::value, std::move(s))) {}
Value::Value(std::vector<Value> items)
    : Value(ValueKind::list, fresh(&ListObject::items, std::move(items))) {}
Value::Value(graph::NodeRef node) : Value(ValueKind::tensor, fresh(&TensorObject::node, std::move(node))) {}

Value Value::record(std::vector<std::pair<std::string, Value>> fields) {
  return {ValueKind::record, fresh(&RecordObject::fields, std::move(fields))};
}
Value Value::function(const ast::Function* f) {
  return {ValueKind::function, fresh(&FunctionObject::user, f)};
}
Value Value::function(const NativeFunction* f) {
  return {ValueKind::function, fresh(&FunctionObject::native, f)};
}

std::string& Value::mutable_string() {
  if (!heap_->is_unique()) *this = Value(std::string(string()));
  return static_cast<StringObject*>(heap_)->value;
}
std::vector<Value>& Value::mutable_list() {
  if (!heap_->is_unique()) *this = Value(std::vector<Value>(list()));
  return static_cast<ListObject*>(heap_)->items;
}
std::vector<std::pair<std::string, Value>>& Value::mutable_fields() {
  if (!heap_->is_unique()) *this = record(fields());
  return static_cast<RecordObject*>(heap_)->fields;
}

const Value* Value::field(std::string_view name) const {
  for (const auto& [key, value] : fields())
    if (key == name) return &value;
  return nullptr;
}

std::string Value::describe() const {
  if (kind_ == ValueKind::object) return fmt::format("a {}", object().type_name());
  if (kind_ == ValueKind::tensor)
    return fmt::format("a tensor {}{}", name(tensor()->dtype()), to_string(tensor()->shape()));
  return std::string(lang::describe(kind_));
}

}  // namespace tl::lang
