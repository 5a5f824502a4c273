// Calls, failures and the public face of the interpreter.
#include "lang/interpreter.h"

#include <sys/resource.h>

#include <algorithm>
#include <cstdio>
#include <new>
#include <numeric>

#include <fmt/format.h>

#include "base/interrupt.h"
#include "lang/checker.h"
#include "lang/interpreter_detail.h"
#include "runtime/session.h"

namespace tl::lang {

using namespace ast;

// ----------------------------------------------------------------------------------------------------- host

void Host::print(std::string_view text) {
  std::fwrite(text.data(), 1, text.size(), stdout);
  std::fflush(stdout);
}

std::string Host::input(std::string_view prompt) {
  print(prompt);
  std::string line;
  for (int c = std::getchar(); c != EOF && c != '\n'; c = std::getchar()) line += static_cast<char>(c);
  return line;
}

uint16_t Host::policy(const Value& value) {
  throw Error(
      fmt::format("a block is computed with device(…) or precision(…), not with {}", value.describe()));
}

// ---------------------------------------------------------------------------------------------- value stack

Value* ValueStack::push(size_t n) {
  const auto fits = [&] {
    return current_ < segments_.size() && segments_[current_].size - segments_[current_].used >= n;
  };
  if (!fits()) {
    if (!segments_.empty() && segments_[current_].used > 0) ++current_;
    segments_.resize(std::max(segments_.size(), current_ + 1));
    if (segments_[current_].size < n || !segments_[current_].values) {
      const size_t size = std::max(n, kSegment);
      segments_[current_] = {std::make_unique<Value[]>(size), size, 0};
    }
  }
  Segment& segment = segments_[current_];
  Value* slots = segment.values.get() + segment.used;
  segment.used += n;
  return slots;
}

void ValueStack::pop(Value* slots, size_t n) {
  for (size_t i = 0; i < n; ++i) slots[i] = Value();
  segments_[current_].used -= n;
  if (segments_[current_].used == 0 && current_ > 0) --current_;
}

// -------------------------------------------------------------------------------------------------- running

/// The frame of one call. The slots exist from construction, so that arguments can be evaluated into them
/// while the caller's frame is still the current one; enter() makes it current.
class Interpreter::Run::Activation {
 public:
  Activation(Run& run, uint32_t n_slots) : run_(run), n_slots_(n_slots), outer_(run.frame_) {
    frame_.slots = run.stack_.push(n_slots);
  }
  ~Activation() {
    if (entered_) {
      run_.calls_.pop_back();
      run_.dims_.resize(frame_.dims);
    }
    run_.frame_ = outer_;
    run_.stack_.pop(frame_.slots, n_slots_);
  }
  Activation(const Activation&) = delete;

  void enter(const Function& f, Span call) {
    run_.check_depth(call);
    run_.calls_.push_back({&f, call});
    entered_ = true;
    frame_.dims = run_.dims_.size();
    run_.dims_.resize(frame_.dims + f.n_dims);
    run_.frame_ = &frame_;
  }
  Value* slots() const { return frame_.slots; }

 private:
  Run& run_;
  uint32_t n_slots_;
  Frame* outer_;
  Frame frame_;
  bool entered_ = false;
};

Interpreter::Run::Run(Interpreter& interpreter)
    : interpreter_(interpreter),
      program_(*interpreter.program_),
      host_(interpreter.host_),
      limits_(interpreter.limits_),
      globals_(program_.n_globals()) {
  constexpr size_t kDefault = size_t{8} << 20;
  rlimit limit{};
  const bool known = getrlimit(RLIMIT_STACK, &limit) == 0 && limit.rlim_cur != RLIM_INFINITY;
  const size_t size = known ? std::min<size_t>(limit.rlim_cur, kDefault) : kDefault;
  stack_limit_ = size / 2;  // the rest is for expressions, native functions and whoever called us
}

void Interpreter::Run::set_globals() {
  for (const LoadedModule* module : program_.modules()) set_globals(*module);
}

/// Gives the value of the last statement.
Value Interpreter::Run::set_globals(const LoadedModule& module) {
  static const Function kTopLevel;
  globals_.resize(program_.n_globals());
  Value last;
  if (module.ast->globals.empty()) return last;
  Activation activation(*this, module.ast->n_slots);
  activation.enter(kTopLevel, {});
  for (const GlobalStep& step : module.ast->order) {
    if (step.is_together)
      exec_together(step);
    else
      exec(*step.statements[0], &last);
  }
  return last;
}

void Interpreter::Run::check_depth(Span span) const {
  const char* here = static_cast<const char*>(__builtin_frame_address(0));
  auto* self = const_cast<Run*>(this);
  if (calls_.empty()) self->stack_base_ = here;
  const auto used = static_cast<size_t>(stack_base_ > here ? stack_base_ - here : here - stack_base_);
  if (calls_.size() < limits_.call_depth && used < stack_limit_) return;
  fail(span, "the calls are nested too deeply", "does this recursion ever end?");
}

void Interpreter::Run::count_step(Span span) {
  check_interrupt();
  if (limits_.steps != 0 && ++steps_ > limits_.steps)
    fail(span, "the program has reached its limit of steps");
}

std::vector<Diagnostic::Note> Interpreter::Run::call_notes() const {
  std::vector<Diagnostic::Note> notes;
  for (auto call = calls_.rbegin(); call != calls_.rend(); ++call) {
    if (!call->call) continue;
    if (notes.size() == graph::kMostCallNotes) {
      notes.push_back({{}, "… and the calls that led there"});
      break;
    }
    notes.push_back({call->call, fmt::format("in this call of {}", call->function->name)});
  }
  return notes;
}

void Interpreter::Run::fail(Span span, std::string message, std::string help,
                            std::vector<Diagnostic::Note> notes) const {
  for (auto& note : call_notes()) notes.push_back(std::move(note));
  throw RuntimeFailure({{Severity::error, span, std::move(message), std::move(notes), std::move(help)}});
}

void Interpreter::Run::fail_with_calls(const ProgramError& e, Span span) const {
  std::vector<Diagnostic> diagnostics = e.diagnostics();
  Diagnostic& first = diagnostics.front();
  if (!first.span) first.span = span;
  if (dynamic_cast<const OperationFailure*>(&e) != nullptr) {  // it names the calls that made the operation
    const auto line = [](Span s) { return s.source->position(s.begin).line; };
    if (span && (span.source != first.span.source || line(span) != line(first.span)))
      first.notes.push_back({span, "its value is needed here"});
  } else {
    for (auto& note : call_notes()) first.notes.push_back(std::move(note));
  }
  throw RuntimeFailure(std::move(diagnostics));
}

bool Interpreter::Run::truth(const Value& value, Span span) {
  if (value.is(ValueKind::boolean)) return value.boolean();
  if (value.is_tensor() && value.tensor()->shape().elements() == 1) {
    const Tensor content = guarded(span, [&] { return host_.evaluate(value.tensor()); });
    return load_double(content, 0) != 0;
  }
  if (value.is_tensor())
    fail(span, fmt::format("a condition is one bool, not {}", value.describe()),
         "any(x) or all(x) gives one");
  fail(span, fmt::format("a condition is a bool, not {}", value.describe()));
}

// ---------------------------------------------------------------------------------------------------- calls

/// Runs the body in the frame that has been entered and filled.
Value Interpreter::Run::run_body(const Function& f, const Call* call) {
  count_step(call ? call->span : f.name_span);
  if (f.is_typed) check_parameters(f, call);
  Value last;
  result_span_ = {};
  const Flow flow = exec_block(f.body, &last);
  Value value = flow == Flow::return_value ? std::move(result_) : std::move(last);
  if (f.result.kind != TypeKind::any) {
    const Span span = result_span_ ? result_span_ : f.name_span;
    check_value(value, f.result, span, {Subject::Kind::result, {}, f.name});
  }
  return value;
}

void Interpreter::Run::fill_defaults(const Function& f, std::span<const uint32_t> plan) {
  if (plan.size() == f.parameters.size()) return;
  for (uint32_t i = 0; i < f.parameters.size(); ++i)
    if (std::find(plan.begin(), plan.end(), i) == plan.end())
      frame_->slots[i] = eval(*f.parameters[i].default_value);
}

Value Interpreter::Run::call_planned(const Function& f, const Call& call) {
  Activation activation(*this, f.n_slots);
  for (size_t i = 0; i < call.arguments.size(); ++i)
    activation.slots()[call.plan[i]] = eval(*call.arguments[i].value);
  activation.enter(f, call.span);
  const graph::Scope scope(f.name, -1, call.span);
  fill_defaults(f, call.plan);
  return run_body(f, &call);
}

Value Interpreter::Run::call_user(const Function& f, std::span<const Value> arguments) {
  const auto required = static_cast<size_t>(std::count_if(
      f.parameters.begin(), f.parameters.end(), [](const Parameter& p) { return !p.default_value; }));
  if (arguments.size() < required || arguments.size() > f.parameters.size())
    throw Error(fmt::format("{} takes {} arguments, not {}", f.name, f.parameters.size(), arguments.size()));
  Activation activation(*this, f.n_slots);
  std::vector<uint32_t> plan;
  for (uint32_t i = 0; i < arguments.size(); ++i) {
    activation.slots()[i] = arguments[i];
    plan.push_back(i);
  }
  activation.enter(f, {});
  const graph::Scope scope(f.name);
  fill_defaults(f, plan);
  return run_body(f, nullptr);
}

/// The values of a native call, on the stack: one per parameter, then what a variadic one takes.
class Interpreter::Run::NativeArguments {
 public:
  NativeArguments(Run& run, const NativeFunction& f, std::span<const uint32_t> plan)
      : run_(run), f_(f), plan_(plan), n_fixed_(f.parameters.size()) {
    if (n_fixed_ > 0 && f.parameters.back().is_variadic) --n_fixed_;
    size_ = n_fixed_;
    for (const uint32_t at : plan) size_ = std::max<size_t>(size_, at + 1);
    values_ = run_.stack_.push(size_);
  }
  ~NativeArguments() { run_.stack_.pop(values_, size_); }
  NativeArguments(const NativeArguments&) = delete;

  Value& operator[](uint32_t at) { return values_[at]; }
  /// All of them, once those in the plan are set.
  std::span<Value> complete() {
    for (uint32_t i = 0; i < n_fixed_ && plan_.size() < f_.parameters.size(); ++i)
      if (std::find(plan_.begin(), plan_.end(), i) == plan_.end())
        values_[i] = f_.parameters[i].default_value;
    return {values_, size_};
  }

 private:
  Run& run_;
  const NativeFunction& f_;
  std::span<const uint32_t> plan_;
  size_t n_fixed_, size_ = 0;
  Value* values_ = nullptr;
};

Value Interpreter::Run::call_planned(const NativeFunction& f, const Call& call) {
  NativeArguments arguments(*this, f, call.plan);
  for (size_t i = 0; i < call.arguments.size(); ++i) arguments[call.plan[i]] = eval(*call.arguments[i].value);
  return invoke(f, arguments.complete(), &call);
}

Value Interpreter::Run::call_native(const NativeFunction& f, std::span<const Value> arguments) {
  const bool is_variadic = !f.parameters.empty() && f.parameters.back().is_variadic;
  if (arguments.size() > f.parameters.size() && !is_variadic)
    throw Error(fmt::format("{} takes {} arguments, not {}", f.name, f.parameters.size(), arguments.size()));
  for (size_t i = arguments.size(); i < f.parameters.size(); ++i)
    if (f.parameters[i].is_required)
      throw Error(fmt::format("{} needs an argument '{}'", f.name, f.parameters[i].name));
  std::vector<uint32_t> plan(arguments.size());
  std::iota(plan.begin(), plan.end(), 0u);
  NativeArguments values(*this, f, plan);
  for (const uint32_t at : plan) values[at] = arguments[at];
  return invoke(f, values.complete(), nullptr);
}

Value Interpreter::Run::invoke(const NativeFunction& f, std::span<Value> values, const Call* call) {
  Args args(f, values, call);
  if (!call) return f.call(interpreter_, args);
  return guarded(call->span, [&] { return f.call(interpreter_, args); });
}

/// A call of a function value: its arguments are matched now.
Value Interpreter::Run::call_dynamic(const Value& callee, const Call& call) {
  if (!callee.is(ValueKind::function))
    fail(call.callee->span, fmt::format("{} cannot be called", callee.describe()),
         "a product is written with *");
  const FunctionObject& function = callee.function();
  const std::string& name = function.user ? function.user->name : function.native->name;
  const auto parameters = function.user ? parameter_names(*function.user) : parameter_names(*function.native);
  Call planned;
  planned.span = call.span;
  if (const auto failure = match_arguments(name, parameters, call.arguments, planned.plan))
    fail(failure->span ? failure->span : call.span, failure->message, failure->help);
  if (function.native) {
    NativeArguments arguments(*this, *function.native, planned.plan);
    for (size_t i = 0; i < call.arguments.size(); ++i)
      arguments[planned.plan[i]] = eval(*call.arguments[i].value);
    return invoke(*function.native, arguments.complete(), &planned);
  }
  Activation activation(*this, function.user->n_slots);
  for (size_t i = 0; i < call.arguments.size(); ++i)
    activation.slots()[planned.plan[i]] = eval(*call.arguments[i].value);
  activation.enter(*function.user, call.span);
  const graph::Scope scope(function.user->name, -1, call.span);
  fill_defaults(*function.user, planned.plan);
  return run_body(*function.user, &planned);
}

// ---------------------------------------------------------------------------------------------- public face

namespace {
/// Nodes that are made after a call belong to no place of the program, which may be gone by then.
struct PlaceOfCall {
  Span before = graph::current_span();
  ~PlaceOfCall() { graph::current_span() = before; }
};
}  // namespace

Interpreter::Interpreter(std::shared_ptr<const Program> program, Host& host, Limits limits)
    : program_(std::move(program)), host_(host), limits_(limits) {
  program_->require_ok_outside_tests();
  run_ = std::make_unique<Run>(*this);
  run_->global(kArgsSlot) = Value(std::vector<Value>{});
  const PlaceOfCall place;
  run_->set_globals();
}

Interpreter::~Interpreter() = default;

void Interpreter::run_main(const std::vector<std::string>& args) {
  const PlaceOfCall place;
  if (!program_->main())
    throw Error(
        fmt::format("{}: there is no main {{ … }} to run{}", program_->name(),
                    program_->find("main") ? "; fn main() {…} is a function: leave out `fn` and `()`" : ""));
  std::vector<Value> values;
  for (const std::string& a : args) values.emplace_back(a);
  run_->global(kArgsSlot) = Value(std::move(values));
  run_->call_user(*program_->main(), {});
}

void Interpreter::run_test(const Function& test) {
  program_->require_ok(test);
  const PlaceOfCall place;
  run_->call_user(test, {});
}

Value Interpreter::run_module(const LoadedModule& module) { return run_->set_globals(module); }

const Value& Interpreter::global(const Symbol& symbol) const { return run_->global(symbol.slot); }

Value Interpreter::call(std::string_view function, std::span<const Value> arguments) {
  const PlaceOfCall place;
  const Function* f = program_->find(function);
  if (!f) throw Error(fmt::format("{}: there is no function '{}'", program_->name(), function));
  return run_->call_user(*f, arguments);
}

Value Interpreter::call(const Value& function, std::span<const Value> arguments) {
  const PlaceOfCall place;
  if (!function.is(ValueKind::function)) throw Error(fmt::format("{} cannot be called", function.describe()));
  const FunctionObject& f = function.function();
  return f.user ? run_->call_user(*f.user, arguments) : run_->call_native(*f.native, arguments);
}

void Interpreter::fail(Span span, std::string message, std::string help) const {
  run_->fail(span, std::move(message), std::move(help));
}

std::string Interpreter::text(const Value& value, bool quoted) { return format_value(value, host_, quoted); }

bool Interpreter::truth(const Value& value, Span span) { return run_->truth(value, span); }

}  // namespace tl::lang
