#include "text/jinja_eval.h"

#include <fmt/format.h>

#include <algorithm>
#include <cmath>
#include <utility>

namespace tl::jinja {
namespace {

using E = ExpressionKind;
using S = StatementKind;

/// How deep evaluation may nest, macros that call themselves included. Bounded by the stack of a thread.
constexpr int kMaxDepth = 400;

/// A failure whose place is known.
[[noreturn]] void fail_at(Span span, Failure failure) {
  Diagnostic d;
  d.span = span;
  d.message = std::move(failure.message);
  d.help = std::move(failure.help);
  throw ProgramError({std::move(d)});
}

double as_real(const Value& v) {
  if (const int64_t* i = get<int64_t>(v)) return static_cast<double>(*i);
  if (const bool* b = get<bool>(v)) return *b ? 1.0 : 0.0;
  return std::get<double>(v);
}
bool is_whole(const Value& v) { return get<int64_t>(v) || get<bool>(v); }
bool is_number(const Value& v) { return is_whole(v) || get<double>(v); }
int64_t as_whole(const Value& v) { return get<bool>(v) ? int64_t{std::get<bool>(v)} : std::get<int64_t>(v); }

[[noreturn]] void bad_operands(const std::string& op, const Value& a, const Value& b) {
  require_defined(a);
  require_defined(b);
  throw Failure{fmt::format("'{}' does not apply to a {} and a {}", op, type_name(a), type_name(b)),
                op == "+" && (text_of(a) || text_of(b)) ? "'~' joins values of any type as text" : ""};
}

int64_t whole_power(int64_t base, int64_t exponent) {
  int64_t result = 1;
  for (; exponent > 0; exponent >>= 1) {
    if ((exponent & 1) && __builtin_mul_overflow(result, base, &result))
      throw Failure{"the number is too large"};
    if (exponent > 1 && __builtin_mul_overflow(base, base, &base)) throw Failure{"the number is too large"};
  }
  return result;
}

Value whole_arithmetic(const std::string& op, int64_t a, int64_t b) {
  int64_t result = 0;
  bool overflow = false;
  if (op == "+")
    overflow = __builtin_add_overflow(a, b, &result);
  else if (op == "-")
    overflow = __builtin_sub_overflow(a, b, &result);
  else if (op == "*")
    overflow = __builtin_mul_overflow(a, b, &result);
  else if (op == "**")
    return b < 0 ? Value(std::pow(static_cast<double>(a), static_cast<double>(b))) : whole_power(a, b);
  else if (b == 0)
    throw Failure{"division by zero"};
  else if (op == "/")
    return static_cast<double>(a) / static_cast<double>(b);
  else if (b == -1) {  // apart, because the smallest number has no negative
    if (op == "%") return int64_t{0};
    overflow = __builtin_sub_overflow(int64_t{0}, a, &result);
  } else {  // Python rounds towards minus infinity
    const int64_t remainder = a % b;
    const bool adjust = remainder != 0 && (remainder < 0) != (b < 0);
    result = op == "%" ? remainder + (adjust ? b : 0) : a / b - (adjust ? 1 : 0);
  }
  if (overflow) throw Failure{"the number is too large"};
  return result;
}

Value real_arithmetic(const std::string& op, double a, double b) {
  if (op == "+") return a + b;
  if (op == "-") return a - b;
  if (op == "*") return a * b;
  if (op == "**") return std::pow(a, b);
  if (b == 0) throw Failure{"division by zero"};
  if (op == "/") return a / b;
  if (op == "//") return std::floor(a / b);
  const double remainder = std::fmod(a, b);
  return remainder != 0 && (remainder < 0) != (b < 0) ? remainder + b : remainder;
}

Value repeat(Heap& heap, const Value& sequence, int64_t times) {
  const auto n = static_cast<size_t>(std::max<int64_t>(times, 0));
  if (const std::string* s = text_of(sequence)) {
    if (!s->empty() && n > Heap::kMaxBytes / s->size()) heap.charge(Heap::kMaxBytes + 1);
    heap.charge(n * s->size());
    std::string out;
    for (size_t i = 0; i < n && !s->empty(); ++i) out += *s;
    return heap.text(std::move(out));
  }
  const List* list = std::get<List*>(sequence);
  List* out = heap.list({}, list->tuple);
  const size_t length = list->items.size();
  for (size_t i = 0; i < n && length > 0; ++i) {
    for (size_t k = 0; k < length; ++k) heap.append(out, list->items[k]);
  }
  return out;
}

Value arithmetic(Heap& heap, const std::string& op, const Value& a, const Value& b) {
  if (is_whole(a) && is_whole(b)) return whole_arithmetic(op, as_whole(a), as_whole(b));
  if (is_number(a) && is_number(b)) return real_arithmetic(op, as_real(a), as_real(b));
  const bool a_sequence = get<Text>(a) || get<List*>(a), b_sequence = get<Text>(b) || get<List*>(b);
  if (op == "*" && a_sequence && is_whole(b)) return repeat(heap, a, as_whole(b));
  if (op == "*" && b_sequence && is_whole(a)) return repeat(heap, b, as_whole(a));
  if (op == "+" && get<Text>(a) && get<Text>(b)) {
    heap.charge(text_of(a)->size() + text_of(b)->size());
    return heap.text(*text_of(a) + *text_of(b));
  }
  const auto *l = get<List*>(a), *m = get<List*>(b);
  if (op == "+" && l && m && (*l)->tuple == (*m)->tuple) {
    List* out = heap.list((*l)->items, (*l)->tuple);
    heap.charge((*m)->items.size() * sizeof(Value));
    out->items.insert(out->items.end(), (*m)->items.begin(), (*m)->items.end());
    return out;
  }
  bad_operands(op, a, b);
}

/// The indices that a slice takes of `size` items, as Python's slice.indices().
std::vector<size_t> slice_indices(Heap& heap, int64_t size, const Value& start, const Value& stop,
                                  const Value& step) {
  const auto bound = [&](const Value& v, int64_t fallback) -> int64_t {
    if (get<None>(v)) return fallback;
    if (!is_whole(v)) throw Failure{fmt::format("the bounds of a slice must be int, not {}", type_name(v))};
    return as_whole(v);
  };
  const int64_t by = bound(step, 1);
  if (by == 0) throw Failure{"the step of a slice is zero"};
  const int64_t low = by > 0 ? 0 : -1, high = by > 0 ? size : size - 1;
  const auto clip = [&](const Value& v, int64_t fallback) {
    int64_t at = bound(v, fallback);
    if (get<None>(v)) return at;
    if (at < 0) at = at < -size ? low : at + size;
    return std::clamp(at, low, high);
  };
  const int64_t from = clip(start, by > 0 ? 0 : size - 1), to = clip(stop, by > 0 ? size : -1);
  std::vector<size_t> out;
  for (int64_t at = from; by > 0 ? at < to : at > to;) {
    out.push_back(static_cast<size_t>(at));
    if (__builtin_add_overflow(at, by, &at)) break;
  }
  heap.step(out.size() / 4);
  return out;
}

Value slice(Heap& heap, const Value& object, const Value& start, const Value& stop, const Value& step) {
  if (const auto* l = get<List*>(object)) {
    const auto& items = (*l)->items;
    List* out = heap.list({}, (*l)->tuple);
    for (const size_t i : slice_indices(heap, static_cast<int64_t>(items.size()), start, stop, step)) {
      heap.append(out, items[i]);
    }
    return out;
  }
  if (const std::string* s = text_of(object)) {
    const std::vector<size_t> offsets = character_offsets(heap, *s);
    std::string out;
    for (const size_t i : slice_indices(heap, static_cast<int64_t>(offsets.size()) - 1, start, stop, step)) {
      out.append(*s, offsets[i], offsets[i + 1] - offsets[i]);
    }
    heap.charge(out.size());
    return heap.text(std::move(out));
  }
  require_defined(object);
  throw Failure{fmt::format("a {} has no slices", type_name(object))};
}

/// Walks the tree. Statements write to a text, expressions give values.
class Interpreter {
 public:
  explicit Interpreter(Context& context) : context_(context), heap_(context.heap) {}

  enum class Flow { next, break_loop, continue_loop };

  Flow execute(const std::vector<Statement*>& body, Scope& scope, std::string& out) {
    for (const Statement* s : body) {
      const Flow flow = execute(*s, scope, out);
      if (flow != Flow::next) return flow;
    }
    return Flow::next;
  }

 private:
  // --- statements ---

  Flow execute(const Statement& s, Scope& scope, std::string& out) {
    const Deeper deeper(depth_);
    try {
      check_depth();
      heap_.step();
      return execute_kind(s, scope, out);
    } catch (Failure& failure) {
      fail_at(s.span, std::move(failure));
    }
  }

  Flow execute_kind(const Statement& s, Scope& scope, std::string& out) {
    switch (s.kind) {
      case S::text:
        write(out, s.name);
        return Flow::next;
      case S::print:
        write(out, to_text(heap_, evaluate(*s.value, scope)));
        return Flow::next;
      case S::branch:
        return execute(truth(evaluate(*s.value, scope)) ? s.body : s.other, scope, out);
      case S::loop:
        return loop(s, scope, out);
      case S::set:
        assign(s.targets, evaluate(*s.value, scope), scope);
        return Flow::next;
      case S::set_block:
        set_block(s, scope);
        return Flow::next;
      case S::macro:
        define_macro(s, scope);
        return Flow::next;
      case S::with:
        return with(s, scope, out);
      case S::filter: {
        std::string inner;
        const Flow flow = execute(s.body, *heap_.scope(&scope), inner);
        write(out, to_text(heap_, filtered(s.value, heap_.text(std::move(inner)), scope)));
        return flow;
      }
      case S::group:
        return execute(s.body, scope, out);
      case S::break_:
        return Flow::break_loop;
      case S::continue_:
        return Flow::continue_loop;
    }
    return Flow::next;
  }

  void check_depth() const {
    if (depth_ > kMaxDepth) {
      throw Failure{fmt::format("evaluation nests more than {} deep", kMaxDepth),
                    "does a macro call itself forever?"};
    }
  }

  void write(std::string& out, const std::string& text) {
    heap_.charge(text.size());
    out += text;
  }

  Flow loop(const Statement& s, Scope& scope, std::string& out) {
    std::vector<Value> items = items_of(heap_, evaluate(*s.value, scope));
    if (s.condition) {
      std::vector<Value> kept;
      for (const Value& item : items) {
        Scope& inner = *heap_.scope(&scope);
        assign(s.targets, item, inner);
        if (truth(evaluate(*s.condition, inner))) kept.push_back(item);
      }
      items = std::move(kept);
    }
    if (items.empty()) return execute(s.other, *heap_.scope(&scope), out);
    // The items stay with the heap: a loop variable may be kept, in a namespace, beyond its loop.
    const List* kept = heap_.list(std::move(items));
    for (size_t i = 0; i < kept->items.size(); ++i) {
      heap_.step();
      Scope& inner = *heap_.scope(&scope);
      Loop* variable = heap_.loop();
      *variable = {&kept->items, i};
      inner.variables["loop"] = variable;
      assign(s.targets, kept->items[i], inner);
      if (execute(s.body, inner, out) == Flow::break_loop) break;
    }
    return Flow::next;
  }

  void assign(const std::vector<Expression*>& targets, const Value& value, Scope& scope) {
    if (targets.size() == 1) return assign_one(*targets[0], value, scope);
    const std::vector<Value> items = items_of(heap_, value);
    if (items.size() != targets.size()) {
      throw Failure{fmt::format("{} values cannot go into {} variables", items.size(), targets.size())};
    }
    for (size_t i = 0; i < targets.size(); ++i) assign_one(*targets[i], items[i], scope);
  }

  void assign_one(const Expression& target, const Value& value, Scope& scope) {
    if (target.kind == E::name) {
      heap_.charge(128);
      scope.variables[target.name] = value;
      return;
    }
    const Value object = evaluate(*target.parts[0], scope);
    const auto* dict = get<Dict*>(object);
    if (!dict || !(*dict)->is_namespace) {
      throw Failure{fmt::format("attributes of a {} cannot be set", type_name(object)),
                    "only those of a namespace() can"};
    }
    heap_.set(*dict, heap_.text(target.name), value);
  }

  void set_block(const Statement& s, Scope& scope) {
    std::string text;
    execute(s.body, *heap_.scope(&scope), text);
    assign(s.targets, filtered(s.value, heap_.text(std::move(text)), scope), scope);
  }

  /// `text` through a chain of filters that ends in nothing; null: no filters.
  Value filtered(const Expression* chain, Value text, Scope& scope) {
    if (chain == nullptr) return text;
    const Value outer = std::exchange(block_text_, std::move(text));
    Value result = evaluate(*chain, scope);
    block_text_ = outer;
    return result;
  }

  void define_macro(const Statement& s, Scope& scope) {
    Function* macro = heap_.function();
    macro->macro = &s;
    macro->closure = &scope;
    scope.variables[s.name] = macro;
  }

  Flow with(const Statement& s, Scope& scope, std::string& out) {
    Scope& inner = *heap_.scope(&scope);
    for (const auto& [name, value] : s.parameters) inner.variables[name] = evaluate(*value, scope);
    return execute(s.body, inner, out);
  }

  // --- expressions ---

  Value evaluate(const Expression& e, Scope& scope) {
    const Deeper deeper(depth_);
    try {
      check_depth();
      heap_.step();
      return evaluate_kind(e, scope);
    } catch (Failure& failure) {
      fail_at(e.span, std::move(failure));
    }
  }

  Value evaluate_kind(const Expression& e, Scope& scope) {
    switch (e.kind) {
      case E::literal:
        return e.value;
      case E::name:
        return variable(e, scope);
      case E::list:
        return heap_.list(evaluate_all(e.parts, scope));
      case E::tuple:
        return heap_.list(evaluate_all(e.parts, scope), true);
      case E::dict:
        return dict(e, scope);
      case E::attribute:
        return attribute_of(heap_, evaluate(*e.parts[0], scope), e.name);
      case E::subscript: {
        const Value object = evaluate(*e.parts[0], scope);
        return item_of(heap_, object, evaluate(*e.parts[1], scope));
      }
      case E::slice:
        return slice_of(e, scope);
      case E::call:
        return call_value(e, scope);
      case E::filter: {
        const Value input = e.parts[0] ? evaluate(*e.parts[0], scope) : block_text_;
        return call(context_, *e.builtin, input, arguments(e, scope));
      }
      case E::test: {
        const Value input = evaluate(*e.parts[0], scope);
        return call(context_, *e.builtin, input, arguments(e, scope));
      }
      case E::negate:
        return !truth(evaluate(*e.parts[0], scope));
      case E::unary:
        return unary(e, scope);
      case E::binary: {
        const Value left = evaluate(*e.parts[0], scope);
        return arithmetic(heap_, e.name, left, evaluate(*e.parts[1], scope));
      }
      case E::logical_and: {
        Value left = evaluate(*e.parts[0], scope);
        return truth(left) ? evaluate(*e.parts[1], scope) : left;
      }
      case E::logical_or: {
        Value left = evaluate(*e.parts[0], scope);
        return truth(left) ? left : evaluate(*e.parts[1], scope);
      }
      case E::compare:
        return compare(e, scope);
      case E::concat:
        return concat(e, scope);
      case E::conditional:
        if (truth(evaluate(*e.parts[1], scope))) return evaluate(*e.parts[0], scope);
        return e.parts[2] ? evaluate(*e.parts[2], scope) : Value(Undefined{});
    }
    return Undefined{};
  }

  std::vector<Value> evaluate_all(const std::vector<Expression*>& parts, Scope& scope) {
    std::vector<Value> out;
    for (const Expression* part : parts) out.push_back(evaluate(*part, scope));
    return out;
  }

  Value variable(const Expression& e, const Scope& scope) {
    for (const Scope* s = &scope; s != nullptr; s = s->parent) {
      if (const auto it = s->variables.find(e.name); it != s->variables.end()) return it->second;
    }
    if (const Builtin* builtin = find(BuiltinKind::function, e.name)) {
      Function* function = heap_.function();
      function->builtin = builtin;
      return function;
    }
    return Undefined{std::make_shared<const std::string>(e.name), nullptr};
  }

  Value dict(const Expression& e, Scope& scope) {
    Dict* out = heap_.dict();
    for (size_t i = 0; i < e.parts.size(); i += 2) {
      const Value key = evaluate(*e.parts[i], scope);
      heap_.set(out, key, evaluate(*e.parts[i + 1], scope));
    }
    return out;
  }

  Value slice_of(const Expression& e, Scope& scope) {
    const Value object = evaluate(*e.parts[0], scope);
    const auto bound = [&](size_t i) { return e.parts[i] ? evaluate(*e.parts[i], scope) : Value(None{}); };
    const Value start = bound(1), stop = bound(2), step = bound(3);
    return slice(heap_, object, start, stop, step);
  }

  Value unary(const Expression& e, Scope& scope) {
    const Value v = evaluate(*e.parts[0], scope);
    require_defined(v);
    if (!is_number(v)) throw Failure{fmt::format("a {} has no sign", type_name(v))};
    if (get<double>(v)) return e.name == "-" ? -as_real(v) : as_real(v);
    return whole_arithmetic(e.name, 0, as_whole(v));
  }

  Value compare(const Expression& e, Scope& scope) {
    Value left = evaluate(*e.parts[0], scope);
    for (size_t i = 0; i < e.operators.size(); ++i) {
      Value right = evaluate(*e.parts[i + 1], scope);
      if (!holds(e.operators[i], left, right)) return false;
      left = std::move(right);
    }
    return true;
  }

  bool holds(const std::string& op, const Value& a, const Value& b) {
    if (op == "==") return equal(heap_, a, b);
    if (op == "!=") return !equal(heap_, a, b);
    if (op == "in") return contains(heap_, b, a);
    if (op == "not in") return !contains(heap_, b, a);
    if (op == "<") return less(heap_, a, b);
    if (op == ">") return less(heap_, b, a);
    if (op == "<=") return less(heap_, a, b) || equal(heap_, a, b);
    return less(heap_, b, a) || equal(heap_, a, b);
  }

  Value concat(const Expression& e, Scope& scope) {
    std::string out;
    for (const Expression* part : e.parts) write(out, to_text(heap_, evaluate(*part, scope)));
    return heap_.text(std::move(out));
  }

  // --- calls ---

  /// The arguments of a call, filter or test; parts[0] is what they are given to.
  Arguments arguments(const Expression& e, Scope& scope) {
    Arguments out;
    for (size_t i = 1; i < e.parts.size(); ++i) out.positional.push_back(evaluate(*e.parts[i], scope));
    for (const auto& [name, value] : e.named) out.named.emplace_back(name, evaluate(*value, scope));
    return out;
  }

  Value call_value(const Expression& e, Scope& scope) {
    const Value callee = evaluate(*e.parts[0], scope);
    require_defined(callee);
    const auto* function = get<Function*>(callee);
    if (!function) throw Failure{fmt::format("a {} cannot be called", type_name(callee))};
    const Arguments given = arguments(e, scope);
    if ((*function)->macro) return call_macro(**function, given);
    return call(context_, *(*function)->builtin, (*function)->self, given);
  }

  Value call_macro(const Function& function, const Arguments& given) {
    const Statement& macro = *function.macro;
    const size_t n = macro.parameters.size();
    if (given.positional.size() > n) {
      throw Failure{
          fmt::format("the macro '{}' takes {} argument(s), not {}", macro.name, n, given.positional.size())};
    }
    Scope& scope = *heap_.scope(function.closure);
    for (size_t i = 0; i < n; ++i) {
      const auto& [name, fallback] = macro.parameters[i];
      const auto named = std::find_if(given.named.begin(), given.named.end(),
                                      [&wanted = name](const auto& a) { return a.first == wanted; });
      if (i < given.positional.size())
        scope.variables[name] = given.positional[i];
      else if (named != given.named.end())
        scope.variables[name] = named->second;
      else if (fallback)
        scope.variables[name] = evaluate(*fallback, scope);
      else
        scope.variables[name] = Undefined{std::make_shared<const std::string>(name), nullptr};
    }
    for (const auto& [name, value] : given.named) {
      const bool known = std::any_of(macro.parameters.begin(), macro.parameters.end(),
                                     [&wanted = name](const auto& p) { return p.first == wanted; });
      if (!known) throw Failure{fmt::format("the macro '{}' has no parameter '{}'", macro.name, name)};
    }
    std::string out;
    execute(macro.body, scope, out);
    return heap_.text(std::move(out));
  }

  Context& context_;
  Heap& heap_;
  Value block_text_;  // what a filter block or a block set has produced, for its filters
  int depth_ = 0;
};

}  // namespace

std::string run(const Program& program, Context& context, const Scope& variables) {
  std::string out;
  Scope globals = variables;
  Interpreter(context).execute(program.body, globals, out);
  return out;
}

}  // namespace tl::jinja
