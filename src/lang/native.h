// Functions of the host that programs can call: rows of signature, documentation and pointer.
#pragma once

#include <deque>
#include <memory>
#include <optional>
#include <span>
#include <string>
#include <string_view>
#include <unordered_map>
#include <vector>

#include "lang/ast.h"
#include "lang/documentation.h"
#include "lang/value.h"

namespace tl::lang {

class Interpreter;
class Args;

using NativeCall = Value (*)(Interpreter&, Args&);

/// A row as rooms write it. The signature is in the language's own syntax, the documentation in the layout of
/// documentation.h:
///   {"layer_norm|lnorm(x: tensor, axis|dim: int = -1) -> tensor", R"(Shifts and scales … )", &layer_norm}
/// `layer_norm|lnorm` is one function under two names; the first is the one in messages. Parameters without a
/// type take anything; `number` is int or float; `shape` a list of ints; `tensor` also takes a number or a
/// list of numbers. `axis|dim` can be passed under either keyword. `values...` takes the remaining positional
/// arguments. A parameter with a default of `void` may be left out.
struct NativeRow {
  std::string_view signature;
  std::string_view doc;
  NativeCall call;
};

struct NativeParameter {
  std::string name, alias;
  ast::Type type;
  bool is_required = true;
  bool is_variadic = false;
  Value default_value;
};

struct NativeFunction : Page {
  std::vector<NativeParameter> parameters;
  NativeCall call = nullptr;
  ast::Type result;
};

/// A table of native functions.
class Library {
 public:
  /// Adds rows of one subject; a name that is there already is replaced. A malformed signature is a bug
  /// (TL_CHECK).
  void add(std::string_view group, std::span<const NativeRow> rows);
  const NativeFunction* find(std::string_view name) const;
  /// All names, sorted.
  std::vector<std::string> names() const;
  /// All functions, in the order they were added.
  std::vector<const NativeFunction*> functions() const;

 private:
  void add(std::string_view group, const NativeRow& row);
  std::deque<NativeFunction> functions_;  // addresses stay valid
  std::deque<Source> signatures_;
  std::unordered_map<std::string, const NativeFunction*> by_name_;
};

/// The functions that belong to the language itself: print, len, str, int, float, assert …
void add_core_functions(Library& library);

/// The arguments of one call, one value per parameter (defaults filled in), then those of a variadic
/// parameter. The accessors check and convert; they throw ProgramError pointing at the argument: "argument
/// 'axis' of softmax must be an int, not a string".
class Args {
 public:
  Args(const NativeFunction& function, std::span<Value> values, const ast::Call* call);

  size_t size() const { return values_.size(); }
  const Value& operator[](size_t i) const { return values_[i]; }
  /// Moves argument `i` out.
  Value take(size_t i) { return std::move(values_[i]); }
  /// Whether an optional argument (default `void`) was given.
  bool has(size_t i) const { return i < values_.size() && !values_[i].is_nothing(); }
  /// What a variadic parameter took.
  std::span<Value> rest() const;

  bool boolean(size_t i) const;
  int64_t integer(size_t i) const;
  /// An int that is only put into a graph as a position (Value::position).
  int64_t position(size_t i) const;
  double number(size_t i) const;
  const std::string& string(size_t i) const;
  /// A tensor; a number becomes a rank-0 one (float32, or int64 for an int), a list of numbers a float32 one.
  graph::NodeRef tensor(size_t i) const;
  /// A list of ints; whole floats ([1.0, 32.0]) count as ints.
  std::vector<int64_t> ints(size_t i) const;
  /// An element type by name ("float16", or float16 unquoted).
  DType dtype(size_t i) const;
  template <class T>
  T& object(size_t i) const {
    if (T* found = values_[i].object_as<T>()) return *found;
    wrong_kind(i, T::kTypeName);
  }

  /// A failure about argument `i`.
  [[noreturn]] void fail(size_t i, const std::string& message) const;
  [[noreturn]] void wrong_kind(size_t i, std::string_view expected) const;
  /// Where argument `i` stands in the program, or the whole call.
  Span span(size_t i) const;
  Span span() const { return call_ ? call_->span : Span{}; }
  const NativeFunction& function() const { return function_; }

 private:
  const NativeFunction& function_;
  std::span<Value> values_;
  const ast::Call* call_;
};

/// A number or a (nested, rectangular) list of numbers as a constant tensor: float32, or int64 for an int
/// alone. Throws Error if it is neither.
graph::NodeRef to_tensor(const Value& value, std::optional<DType> dtype = std::nullopt);
/// A list literal's numbers as ints; whole floats count. Throws Error otherwise.
std::vector<int64_t> to_ints(const Value& value);

}  // namespace tl::lang
