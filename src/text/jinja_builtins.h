// The filters, tests, functions and methods of the template language: rows of name, parameters and function.
#pragma once

#include <ctime>
#include <optional>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "text/jinja_value.h"

namespace tl::jinja {

/// What builtins may use of a rendering.
struct Context {
  Heap& heap;
  std::tm now;
  int depth = 0;  ///< of builtins within builtins
};

/// Counts one level of nesting while it lives.
struct Deeper {
  explicit Deeper(int& d) : depth(d) { ++depth; }
  ~Deeper() { --depth; }
  Deeper(const Deeper&) = delete;
  Deeper& operator=(const Deeper&) = delete;
  int& depth;
};

struct Arguments {
  std::vector<Value> positional;
  std::vector<std::pair<std::string, Value>> named;
};

enum class BuiltinKind { filter, test, function, string_method, list_method, dict_method, loop_method };

/// One builtin. `parameters` are names separated by commas, of which the first `required` must be given; what
/// is left out arrives as undefined. "*" takes any arguments as they come: positional ones in `arguments`,
/// the named ones in `named`.
struct Builtin {
  struct Call {
    Context& context;
    const Value& self;
    std::span<const Value> arguments;
    std::span<const std::pair<std::string, Value>> named;
    Heap& heap = context.heap;
    const Value& operator[](size_t i) const { return arguments[i]; }
  };
  const char* name;
  const char* parameters;
  int required;
  Value (*function)(const Call& call);
};

/// The builtins of one kind.
std::span<const Builtin> all(BuiltinKind kind);
/// The builtin of this name, or null.
const Builtin* find(BuiltinKind kind, std::string_view name);
std::vector<std::string> names(BuiltinKind kind);

/// Binds arguments to parameters and calls. Throws Failure, also for what the builtin refuses.
Value call(Context& context, const Builtin& builtin, const Value& self, const Arguments& arguments);

/// `object.name`: methods and attributes first, then a dict's entry; undefined where there is none. Throws
/// Failure on an undefined object.
Value attribute_of(Heap& heap, const Value& object, const std::string& name);
/// `object[key]`: entries and items first, then attributes; undefined where there is none. Throws Failure on
/// an undefined object.
Value item_of(Heap& heap, const Value& object, const Value& key);
/// Arguments as what a builtin needs. Throw Failure naming the parameter.
std::string text_argument(const Builtin::Call& call, size_t i, const char* name);
int64_t int_argument(const Builtin::Call& call, size_t i, const char* name, int64_t fallback);
bool given(const Value& v);

// Texts as Python treats them.
std::string_view strip(std::string_view text, std::optional<std::string_view> characters, bool left,
                       bool right);
std::string upper(std::string_view text);
std::string lower(std::string_view text);
std::string capitalize(std::string_view text);
std::string replace(Heap& heap, std::string_view text, std::string_view from, std::string_view to,
                    int64_t count);
std::vector<std::string_view> split_lines(std::string_view text);

std::span<const Builtin> filter_rows();
std::span<const Builtin> test_rows();
std::span<const Builtin> function_rows();
std::span<const Builtin> string_method_rows();
std::span<const Builtin> list_method_rows();
std::span<const Builtin> dict_method_rows();
std::span<const Builtin> loop_method_rows();

}  // namespace tl::jinja
