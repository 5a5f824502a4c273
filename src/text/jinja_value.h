// Values of the template language, and the heap that owns and counts them.
#pragma once

#include <cstdint>
#include <deque>
#include <memory>
#include <string>
#include <string_view>
#include <unordered_map>
#include <variant>
#include <vector>

namespace tl::jinja {

struct List;
struct Dict;
struct Loop;
struct Function;

/// What a missing variable or attribute gives. It prints as nothing, is false and empty; anything else fails.
struct Undefined {
  std::shared_ptr<const std::string> name =
      nullptr;                  ///< what was missing, or null where nothing was asked for
  const char* owner = nullptr;  ///< the type it was missing from; null for a variable
};
struct None {};
using Text = std::shared_ptr<const std::string>;

/// A value with Python's semantics. Lists, dicts, loops and functions are owned by a Heap and shared.
using Value = std::variant<Undefined, None, bool, int64_t, double, Text, List*, Dict*, Loop*, Function*>;

struct List {
  std::vector<Value> items;
  bool tuple = false;
};

/// A dict in order of insertion, or a namespace(): the same, but its entries are attributes.
struct Dict {
  std::vector<std::pair<Value, Value>> entries;
  std::unordered_map<std::string, size_t> index;  // key_of(key) → place in entries
  bool is_namespace = false;

  const Value* find(const Value& key) const;
  const Value* find(std::string_view key) const;
  void set(const Value& key, Value value);
};

/// What `loop` is inside a for.
struct Loop {
  const std::vector<Value>* items = nullptr;
  size_t index = 0;
};

struct Builtin;
struct Statement;
struct Scope;

/// A macro, a function, or a method bound to its object.
struct Function {
  const Statement* macro = nullptr;
  Scope* closure = nullptr;
  const Builtin* builtin = nullptr;
  Value self;
};

/// Variables of one block of a template.
struct Scope {
  Scope* parent = nullptr;
  std::unordered_map<std::string_view, Value> variables;
};

/// What went wrong, before the place is known.
struct Failure {
  std::string message;
  std::string help = {};
};

/// Owns everything a rendering makes, until it ends, and bounds how much that is and how long it takes.
/// Throws Failure beyond the bounds.
class Heap {
 public:
  static constexpr int64_t kMaxSteps = 5'000'000;
  static constexpr size_t kMaxBytes = size_t{256} << 20;

  void step(size_t n = 1);
  void charge(size_t bytes);
  Value text(std::string s);
  List* list(std::vector<Value> items = {}, bool tuple = false);
  Dict* dict(bool is_namespace = false);
  void set(Dict* dict, const Value& key, Value value);
  void append(List* list, Value value);
  Loop* loop();
  Function* function();
  Scope* scope(Scope* parent);

 private:
  int64_t steps_ = 0;
  size_t bytes_ = 0;
  std::deque<List> lists_;
  std::deque<Dict> dicts_;
  std::deque<Loop> loops_;
  std::deque<Function> functions_;
  std::deque<Scope> scopes_;
};

/// How deep lists and dicts may hold one another where they are printed or compared.
inline constexpr int kMaxNesting = 100;

template <class T>
const T* get(const Value& v) {
  return std::get_if<T>(&v);
}
inline bool is_undefined(const Value& v) { return get<Undefined>(v) != nullptr; }
/// The characters of a text, or null.
inline const std::string* text_of(const Value& v) {
  const Text* t = get<Text>(v);
  return t ? t->get() : nullptr;
}

/// "str", "dict object" and so on: the type as messages name it.
const char* type_name(const Value& v);
/// "'x' is undefined", or what else an undefined value has to say.
std::string describe(const Undefined& u);
/// Throws Failure if `v` is undefined.
void require_defined(const Value& v);

bool truth(const Value& v);
bool equal(Heap& heap, const Value& a, const Value& b, int depth = 0);
/// Less than, for numbers, texts and lists. Throws Failure for others.
bool less(Heap& heap, const Value& a, const Value& b, int depth = 0);
/// Whether `item` is in `container`, as Python's `in`.
bool contains(Heap& heap, const Value& container, const Value& item);
/// The key under which a dict keeps `v`: equal for equal keys. Throws Failure for what cannot be a key.
std::string key_of(const Value& v);

/// str(v); nothing for an undefined value.
std::string to_text(Heap& heap, const Value& v);
/// repr(v).
std::string repr(Heap& heap, const Value& v, int depth = 0);
/// json.dumps(v, ensure_ascii=False, indent=…); indent < 0 means on one line.
std::string to_json(Heap& heap, const Value& v, int64_t indent, bool sort_keys = false);
/// The items that iterating over `v` gives: of a list, the keys of a dict, the characters of a text.
std::vector<Value> items_of(Heap& heap, const Value& v);

/// Byte offsets of the characters of a text, and its size at the end.
std::vector<size_t> character_offsets(Heap& heap, std::string_view text);
/// len(v).
int64_t length_of(Heap& heap, const Value& v);

}  // namespace tl::jinja
