// What a variable of a program holds.
#pragma once

#include <cstdint>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "base/block_pool.h"
#include "graph/node.h"
#include "lang/step_numbers.h"

namespace tl::lang {

namespace ast {
struct Function;
}
class Interpreter;
class Value;
struct NativeFunction;

enum class ValueKind : uint8_t {
  nothing,  ///< void: what a function without a value returns
  boolean,
  integer,
  floating,
  string,
  list,
  record,
  function,
  tensor,
  object,  ///< a NativeObject: model, tokenizer, cache …
};

/// "an int", "a list": how messages call a kind.
std::string_view describe(ValueKind kind);

/// Anything a value refers to on the heap, counted. The count is not atomic: the values of one interpreter
/// belong to one thread.
class HeapObject {
 public:
  HeapObject() = default;
  HeapObject(const HeapObject&) = delete;
  HeapObject& operator=(const HeapObject&) = delete;
  virtual ~HeapObject() = default;
  void retain() const { ++references_; }
  void release() const {
    if (--references_ == 0) delete this;
  }
  bool is_unique() const { return references_ == 1; }

 private:
  mutable uint32_t references_ = 0;
};

/// A handle of the host as programs see it: x.member, x[key], print(x). Derived classes live in `library`.
class NativeObject : public HeapObject {
 public:
  /// The name of its type: "model".
  virtual std::string_view type_name() const = 0;
  /// object.name. Throws Error naming what there is (the caller adds the place in the program).
  virtual Value get(Interpreter& interpreter, std::string_view name) const;
  /// object[key].
  virtual Value index(Interpreter& interpreter, const Value& key) const;
  /// The names that get() knows, as far as they can be listed.
  virtual std::vector<std::string> members() const { return {}; }
  /// What print shows.
  virtual std::string text() const;
};

struct StringObject;
struct ListObject;
struct RecordObject;
struct FunctionObject;
struct TensorObject;

/// A value of the language, 16 bytes. Strings, lists, records and tensors behave as values: a copy that is
/// changed leaves the original as it was (they share memory until then). Native objects are references.
class Value {
 public:
  Value() : kind_(ValueKind::nothing), integer_(0) {}
  explicit Value(bool b) : kind_(ValueKind::boolean), boolean_(b) {}
  explicit Value(int64_t i) : kind_(ValueKind::integer), integer_(i) {}
  explicit Value(int i) : Value(static_cast<int64_t>(i)) {}
  explicit Value(double d) : kind_(ValueKind::floating), floating_(d) {}
  explicit Value(std::string s);
  explicit Value(const char* s) : Value(std::string(s)) {}
  explicit Value(std::vector<Value> items);
  explicit Value(graph::NodeRef node);
  explicit Value(NativeObject* object) : Value(ValueKind::object, object) {}
  static Value function(const ast::Function* f);
  static Value function(const NativeFunction* f);
  static Value record(std::vector<std::pair<std::string, Value>> fields);
  /// An int that is another one in the next step (step_numbers.h).
  static Value varying(int64_t i, bool varies = true) {
    Value v(i);
    v.varies_ = varies;
    return v;
  }

  Value(const Value& other) : kind_(other.kind_), varies_(other.varies_), integer_(other.integer_) {
    if (is_heap()) heap_->retain();
  }
  Value(Value&& other) noexcept : kind_(other.kind_), varies_(other.varies_), integer_(other.integer_) {
    other.kind_ = ValueKind::nothing;
  }
  Value& operator=(Value other) noexcept {
    std::swap(kind_, other.kind_);
    std::swap(varies_, other.varies_);
    std::swap(integer_, other.integer_);
    return *this;
  }
  ~Value() {
    if (is_heap()) heap_->release();
  }

  ValueKind kind() const { return kind_; }
  bool is(ValueKind kind) const { return kind_ == kind; }
  bool is_nothing() const { return kind_ == ValueKind::nothing; }
  bool is_int() const { return kind_ == ValueKind::integer; }
  bool is_number() const { return kind_ == ValueKind::integer || kind_ == ValueKind::floating; }
  bool is_tensor() const { return kind_ == ValueKind::tensor; }

  // The content; the caller has looked at kind().
  bool boolean() const { return boolean_; }
  int64_t integer() const {
    if (varies_) StepNumbers::fix();
    return integer_;
  }
  /// The int of one who only adds to it, or puts it into a graph as a number of the step.
  int64_t position() const { return integer_; }
  bool varies() const { return varies_; }
  double floating() const { return floating_; }
  /// An int or a float as double.
  double number() const { return kind_ == ValueKind::integer ? static_cast<double>(integer()) : floating_; }
  const std::string& string() const;
  const std::vector<Value>& list() const;
  const std::vector<std::pair<std::string, Value>>& fields() const;
  const FunctionObject& function() const;
  const graph::NodeRef& tensor() const;
  const NativeObject& object() const;
  /// The object as T, or nullptr if it is none.
  template <class T>
  T* object_as() const {
    return kind_ == ValueKind::object ? dynamic_cast<T*>(heap_) : nullptr;
  }

  // For changing in place: the content is copied first if somebody else shares it.
  std::string& mutable_string();
  std::vector<Value>& mutable_list();
  std::vector<std::pair<std::string, Value>>& mutable_fields();

  /// The field of a record, or nullptr.
  const Value* field(std::string_view name) const;

  /// The kind with what distinguishes it: "an int", "a tensor float32[2, 3]", "a model".
  std::string describe() const;

 private:
  Value(ValueKind kind, HeapObject* heap) : kind_(kind), heap_(heap) { heap_->retain(); }
  bool is_heap() const { return kind_ >= ValueKind::string; }

  ValueKind kind_;
  bool varies_ = false;
  union {
    bool boolean_;
    int64_t integer_;
    double floating_;
    HeapObject* heap_;
  };
};
static_assert(sizeof(Value) == 16);

struct StringObject : HeapObject {
  std::string value;
};
struct ListObject : HeapObject {
  std::vector<Value> items;
};
struct RecordObject : HeapObject {
  std::vector<std::pair<std::string, Value>> fields;  ///< in the order they were written
};
/// One of the two is set.
struct FunctionObject : HeapObject {
  const ast::Function* user = nullptr;
  const NativeFunction* native = nullptr;
};
struct TensorObject : HeapObject {
  graph::NodeRef node;
  static void* operator new(size_t) { return BlockPool<sizeof(TensorObject)>::take(); }
  static void operator delete(void* memory) { BlockPool<sizeof(TensorObject)>::give(memory); }
};

inline const std::string& Value::string() const { return static_cast<StringObject*>(heap_)->value; }
inline const std::vector<Value>& Value::list() const { return static_cast<ListObject*>(heap_)->items; }
inline const std::vector<std::pair<std::string, Value>>& Value::fields() const {
  return static_cast<RecordObject*>(heap_)->fields;
}
inline const FunctionObject& Value::function() const { return *static_cast<FunctionObject*>(heap_); }
inline const graph::NodeRef& Value::tensor() const { return static_cast<TensorObject*>(heap_)->node; }
inline const NativeObject& Value::object() const { return *static_cast<NativeObject*>(heap_); }

}  // namespace tl::lang
