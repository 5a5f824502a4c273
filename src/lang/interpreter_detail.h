// The running program, shared by interpreter.cpp (calls), interpreter_statements.cpp,
// interpreter_expressions.cpp and interpreter_types.cpp.
#pragma once

#include <memory>
#include <span>
#include <string>
#include <vector>

#include "graph/scope.h"
#include "lang/equation_memo.h"
#include "lang/interpreter.h"

namespace tl::lang {

/// Variables of all active functions, in segments so that slots never move.
class ValueStack {
 public:
  /// `n` slots, all void.
  Value* push(size_t n);
  /// Gives back the last pushed slots.
  void pop(Value* slots, size_t n);

 private:
  static constexpr size_t kSegment = 1 << 14;
  struct Segment {
    std::unique_ptr<Value[]> values;
    size_t size = 0, used = 0;
  };
  std::vector<Segment> segments_;
  size_t current_ = 0;
};

/// A symbolic dimension of the running function: its size once bound, and where it was bound.
struct DimBinding {
  int64_t size = -1;
  Span span;
};

/// One activation of a function.
struct Frame {
  Value* slots = nullptr;
  size_t dims = 0;  ///< where its symbolic dimensions begin among those of all active functions
};

/// What a value that is checked against a type is called in messages; spelled only when one is needed.
struct Subject {
  enum class Kind : uint8_t { argument, result, variable, value };
  Kind kind = Kind::value;
  std::string_view name = {}, function = {};
  std::string text() const;
};

/// Nodes that are made during the life of this object remember `span`: what fails later is traced to it.
class SpanScope {
 public:
  explicit SpanScope(Span span) : outer_(graph::current_span()) { graph::current_span() = span; }
  ~SpanScope() { graph::current_span() = outer_; }
  SpanScope(const SpanScope&) = delete;
  SpanScope& operator=(const SpanScope&) = delete;

 private:
  Span outer_;
};

/// How a statement ended.
enum class Flow : uint8_t { normal, break_loop, continue_loop, return_value };

/// A failure that already names the calls that led to it.
class RuntimeFailure : public ProgramError {
 public:
  using ProgramError::ProgramError;
};

class Interpreter::Run final : public EquationEnvironment {
 public:
  explicit Run(Interpreter& interpreter);

  void set_globals();
  Value set_globals(const LoadedModule& module);
  Value& global(uint32_t slot) { return globals_[slot]; }
  /// Calls from outside, and from native functions.
  Value call_user(const ast::Function& f, std::span<const Value> arguments);
  Value call_native(const NativeFunction& f, std::span<const Value> arguments);
  [[noreturn]] void fail(Span span, std::string message, std::string help = {},
                         std::vector<Diagnostic::Note> notes = {}) const;
  bool truth(const Value& value, Span span);

  /// EquationEnvironment
  Value evaluate(const ast::Expr& expression) override { return eval(expression); }
  void compute_step(const graph::NodeRef& node, Span span) override {
    count_step(span);
    host_.evaluate(node);
  }

 private:
  /// A frame for the life of this object: slots, call record, scope name. Entered by enter().
  class Activation;
  class NativeArguments;
  struct CallRecord {
    const ast::Function* function;
    Span call;
  };

  // Calls (interpreter.cpp)
  Value run_body(const ast::Function& f, const ast::Call* call);
  Value call_planned(const ast::Function& f, const ast::Call& call);
  Value call_planned(const NativeFunction& f, const ast::Call& call);
  Value call_dynamic(const Value& callee, const ast::Call& call);
  Value invoke(const NativeFunction& f, std::span<Value> values, const ast::Call* call);
  void fill_defaults(const ast::Function& f, std::span<const uint32_t> plan);
  void check_depth(Span span) const;
  void count_step(Span span);
  std::vector<Diagnostic::Note> call_notes() const;
  [[noreturn]] void fail_with_calls(const ProgramError& e, Span span) const;
  /// Runs `body`, giving errors without a place the place `span`, and all errors the calls that led there.
  template <class Body>
  auto guarded(Span span, Body body) const -> decltype(body());

  // Types (interpreter_types.cpp)
  void check_parameters(const ast::Function& f, const ast::Call* call);
  void check_value(Value& value, const ast::Type& type, Span span, const Subject& subject);
  void check_shape(const Value& value, const ast::Type& type, Span span, const Subject& subject);
  Value convert(const Value& value, const ast::Type& type, Span span);
  Value scalar_of(const Value& tensor);

  // Statements (interpreter_statements.cpp)
  Flow exec(const ast::Stmt& s, Value* last);
  Flow exec_block(const ast::Block& block, Value* last);
  void exec_let(const ast::Let& s, Value* last);
  void exec_assign(const ast::Assign& s, Value* last);
  Value without_value(const ast::Type& type) const;
  Value read_tensor(const std::string& path, const ast::Type& type, Span span);
  void exec_equation(const ast::Equation& s, Value* last);
  void exec_together(const ast::GlobalStep& step);
  graph::NodeRef before(const ast::Equation& s);
  bool set_element(const ast::Equation& s);
  Flow exec_conditional(const ast::Conditional& s, Value* last);
  Flow exec_for(const ast::For& s);
  Flow exec_while(const ast::While& s);
  Flow exec_policy_block(const ast::PolicyBlock& s, Value* last);
  template <class Next>
  Flow iterate(const ast::For& s, Next next);
  Value& variable(const ast::Name& n);
  Value& place(const ast::Expr& e);
  Value& element(Value& base, const Value& key, Span span);
  void update(Value& place, ast::AssignOp op, Value value, Span span);
  static void label(const Value& value, std::string_view name);

  // Expressions (interpreter_expressions.cpp)
  Value eval(const ast::Expr& e);
  const Value& operand(const ast::Expr& e, Value& scratch);
  Value eval_name(const ast::Name& n);
  Value eval_unary(const ast::Unary& e);
  Value eval_binary(const ast::Binary& e);
  Value eval_logical(const ast::Binary& e);
  Value eval_range(const ast::Range& e);
  std::pair<int64_t, int64_t> bounds(const ast::Range& e);
  Value eval_call(const ast::Call& e);
  Value eval_member(const ast::Member& e);
  Value eval_index(const ast::Index& e);
  Value index_list(const ast::Index& e, const Value& base);
  Value index_string(const ast::Index& e, const Value& base);
  Value index_part(const ast::Index& e, const Value& base);
  Value single_key(const ast::Index& e);
  std::optional<int64_t> bound(const ast::ExprPtr& e);

  Interpreter& interpreter_;
  const Program& program_;
  Host& host_;
  const Limits& limits_;
  std::vector<Value> globals_;
  ValueStack stack_;
  Frame* frame_ = nullptr;
  std::vector<DimBinding> dims_;
  std::vector<CallRecord> calls_;
  EquationMemo equations_;
  uint64_t steps_ = 0;
  Value result_;      ///< of the function that is returning
  Span result_span_;  ///< where it was given
  size_t stack_limit_ = 0;
  const char* stack_base_ = nullptr;
};

template <class Body>
auto Interpreter::Run::guarded(Span span, Body body) const -> decltype(body()) {
  const SpanScope here(span);
  try {
    return body();
  } catch (const RuntimeFailure&) {
    throw;
  } catch (const ProgramError& e) {
    fail_with_calls(e, span);
  } catch (const Error& e) {
    fail(span, e.what());
  } catch (const std::bad_alloc&) {
    fail(span, "there is not enough memory for this");
  }
}

// Operators on values (operators.cpp). They throw Error without a place.
Value apply_unary(ast::UnaryOp op, const Value& operand);
Value apply_binary(ast::BinaryOp op, const Value& a, const Value& b, const Limits& limits);
/// Deep equality of values that hold no tensors; tensors are equal if they are the same node.
bool equal_values(const Value& a, const Value& b);

// How values look (format.cpp).
/// As print shows it; tensors are computed. `quoted`: strings in quotes, as inside lists.
std::string format_value(const Value& value, Host& host, bool quoted = false);
std::string format_tensor(const Tensor& tensor);

}  // namespace tl::lang
