// Names, calls and what is known about the kinds of values.
#include <algorithm>
#include <array>

#include <fmt/format.h>

#include "lang/checker_detail.h"

namespace tl::lang {

using namespace ast;

std::string_view describe(TypeKind kind) {
  switch (kind) {
    case TypeKind::any:
      return "anything";
    case TypeKind::boolean:
      return "a bool";
    case TypeKind::integer:
      return "an int";
    case TypeKind::floating:
      return "a float";
    case TypeKind::string:
      return "a string";
    case TypeKind::list:
      return "a list";
    case TypeKind::record:
      return "a record";
    case TypeKind::function:
      return "a function";
    case TypeKind::nothing:
      return "void";
    case TypeKind::tensor:
      return "a tensor";
    case TypeKind::object:
      return "an object";
  }
  return "";
}

// ---------------------------------------------------------------------------------------- argument matching

std::vector<ParameterName> parameter_names(const Function& f) {
  std::vector<ParameterName> out;
  for (const Parameter& p : f.parameters) out.push_back({p.name, {}, !p.default_value, false});
  return out;
}

std::vector<ParameterName> parameter_names(const NativeFunction& f) {
  std::vector<ParameterName> out;
  for (const NativeParameter& p : f.parameters)
    out.push_back({p.name, p.alias, p.is_required, p.is_variadic});
  return out;
}

static std::string count_text(const std::vector<ParameterName>& parameters) {
  const auto required = std::count_if(parameters.begin(), parameters.end(),
                                      [](const ParameterName& p) { return p.is_required; });
  const size_t most = parameters.size();
  const auto plural = [](size_t n) { return n == 1 ? "argument" : "arguments"; };
  if (static_cast<size_t>(required) == most) return fmt::format("{} {}", most, plural(most));
  return fmt::format("{} to {} arguments", required, most);
}

std::optional<MatchFailure> match_arguments(std::string_view function,
                                            const std::vector<ParameterName>& parameters,
                                            const std::vector<Argument>& arguments,
                                            std::vector<uint32_t>& plan) {
  const bool is_variadic = !parameters.empty() && parameters.back().is_variadic;
  std::vector<bool> filled(parameters.size());
  plan.clear();
  uint32_t next = 0;
  bool had_keyword = false;
  for (const Argument& a : arguments) {
    uint32_t at = next;
    if (a.name.empty()) {
      if (had_keyword)
        return MatchFailure{a.value->span, "a positional argument follows a keyword argument", {}};
      if (next >= parameters.size() && !is_variadic)
        return MatchFailure{
            a.value->span,
            fmt::format("{} takes {}, not {}", function, count_text(parameters), arguments.size()),
            {}};
      ++next;
    } else {
      had_keyword = true;
      const auto found = std::find_if(parameters.begin(), parameters.end(), [&](const ParameterName& p) {
        return p.name == a.name || (!p.alias.empty() && p.alias == a.name);
      });
      if (found == parameters.end() || found->is_variadic) {
        std::vector<std::string> known;
        for (const ParameterName& p : parameters) known.emplace_back(p.name);
        const std::string near = nearest_name(a.name, known);
        return MatchFailure{a.name_span, fmt::format("{} has no parameter '{}'", function, a.name),
                            near.empty() ? std::string() : fmt::format("did you mean '{}'?", near)};
      }
      at = static_cast<uint32_t>(found - parameters.begin());
    }
    if (at < parameters.size() && !parameters[at].is_variadic) {
      if (filled[at])
        return MatchFailure{a.name.empty() ? a.value->span : a.name_span,
                            fmt::format("{} gets its argument '{}' twice", function, parameters[at].name),
                            {}};
      filled[at] = true;
    }
    plan.push_back(at);
  }
  for (size_t i = 0; i < parameters.size(); ++i) {
    if (!parameters[i].is_required || filled[i]) continue;
    if (arguments.empty() || parameters.size() == 1)
      return MatchFailure{
          {}, fmt::format("{} takes {}, not {}", function, count_text(parameters), arguments.size()), {}};
    return MatchFailure{{}, fmt::format("{} needs an argument '{}'", function, parameters[i].name), {}};
  }
  return std::nullopt;
}

// ---------------------------------------------------------------------------------------------------- names

bool Checker::resolve(Name& n) {
  const bool found = look_up(n);
  if (uses_ && n.binding == Binding::global) uses_->globals.insert(n.slot);
  if (uses_ && n.binding == Binding::function) uses_->functions.insert(n.function);
  return found;
}

bool Checker::look_up(Name& n) {
  if (const Variable* variable = find_variable(n.text)) {
    bind(n, *variable);
    return true;
  }
  if (const auto found = module_.visible.find(n.text); found != module_.visible.end()) {
    // A global of this file exists once its statement has run; before that only functions may refer to it.
    const Symbol& symbol = found->second;
    n.binding = symbol.function ? Binding::function : Binding::global;
    n.function = symbol.function;
    n.slot = symbol.slot;
    return true;
  }
  if (n.text == "args") {
    n.binding = Binding::global;
    n.slot = kArgsSlot;
    return true;
  }
  if (const NativeFunction* f = library_.find(n.text)) {
    n.binding = Binding::native;
    n.native = f;
    return true;
  }
  if (const auto dtype = dtype_from_name(n.text); dtype && tl::name(*dtype) == n.text) {
    n.binding = Binding::dtype;
    return true;
  }
  return false;
}

std::vector<std::string> Checker::names_in_scope(bool with_library) const {
  std::vector<std::string> out;
  for (auto v = variables_.rbegin(); v != variables_.rend(); ++v) out.push_back(v->name);
  for (const auto& [name, symbol] : module_.visible) out.push_back(name);
  if (with_library)
    for (const std::string& name : library_.names()) out.push_back(name);
  return out;
}

void Checker::unknown_name(const Name& n, bool is_function) {
  auto& d = report(n.span, fmt::format("unknown {} '{}'", is_function ? "function" : "name", n.text));
  const auto closed = std::find_if(closed_.rbegin(), closed_.rend(),
                                   [&](const ClosedVariable& c) { return c.name == n.text; });
  if (closed != closed_.rend()) {
    d.notes.push_back({closed->span, fmt::format("this '{}' ends with the block it stands in", n.text)});
    d.help = fmt::format("declare it before the block: let {} = …", n.text);
    return;
  }
  // A function of the library is seldom meant where nothing is called: 'count' is no slip of 'chunk'.
  const std::string near = nearest_name(n.text, names_in_scope(is_function));
  if (!near.empty()) d.help = fmt::format("did you mean '{}'?", near);
}

Known Checker::name(Name& n) {
  if (!resolve(n)) {
    unknown_name(n, false);
    return {};
  }
  if (const Variable* variable = find_variable(n.text)) return variable->known;
  if (n.binding == Binding::function || n.binding == Binding::native) return {TypeKind::function, nullptr};
  return {};
}

// ---------------------------------------------------------------------------------------------- expressions

Known Checker::expression(ExprPtr& e) {
  switch (e->kind) {
    case ExprKind::integer:
      return {TypeKind::integer, nullptr};
    case ExprKind::floating:
      return {TypeKind::floating, nullptr};
    case ExprKind::boolean:
      return {TypeKind::boolean, nullptr};
    case ExprKind::string:
      return {TypeKind::string, nullptr};
    case ExprKind::list:
      for (ExprPtr& item : ast::as<List>(*e).items) expression(item);
      return {TypeKind::list, nullptr};
    case ExprKind::record: {
      std::set<std::string_view> seen;
      for (auto& field : ast::as<Record>(*e).fields) {
        if (!seen.insert(field.name).second)
          report(field.span, fmt::format("field '{}' is given twice", field.name));
        expression(field.value);
      }
      return {TypeKind::record, nullptr};
    }
    case ExprKind::name:
      return name(ast::as<Name>(*e));
    case ExprKind::unary:
      return unary(ast::as<Unary>(*e));
    case ExprKind::binary:
      return binary(ast::as<Binary>(*e));
    case ExprKind::range: {
      auto& range = ast::as<Range>(*e);
      for (ExprPtr* bound : {&range.begin, &range.end}) {
        const Known known = expression(*bound);
        if (known.kind != TypeKind::any && known.kind != TypeKind::integer)
          report((*bound)->span, fmt::format("the bounds of a range are ints, not {}", describe(known.kind)));
      }
      return {TypeKind::list, nullptr};
    }
    case ExprKind::cast:
      return cast(ast::as<Cast>(*e));
    case ExprKind::call:
      return call(e);
    case ExprKind::member: {
      auto& member = ast::as<Member>(*e);
      const Known known = expression(member.object);
      if (known.kind != TypeKind::any && known.kind != TypeKind::record && known.kind != TypeKind::object)
        report(member.name_span, fmt::format("{} has no members", describe(known.kind)));
      return {};
    }
    case ExprKind::index:
      return index(ast::as<Index>(*e));
    case ExprKind::reduce: {
      report(e->span, "a reduction over an index belongs to an equation",
             "y = sum[j](x[j]) is one, or use sum(x)");
      return {};
    }
    case ExprKind::ask:
      expression(ast::as<Ask>(*e).operand);
      return {TypeKind::nothing, nullptr};
  }
  return {};
}

Known Checker::unary(Unary& e) {
  const Known known = expression(e.operand);
  switch (known.kind) {
    case TypeKind::any:
    case TypeKind::tensor:
      return {known.kind, nullptr};
    case TypeKind::list:
      return {};
    case TypeKind::boolean:
      if (e.op == UnaryOp::logical_not) return known;
      break;
    case TypeKind::integer:
    case TypeKind::floating:
      if (e.op == UnaryOp::negate) return known;
      break;
    default:
      break;
  }
  constexpr std::string_view kNames[] = {"-", "not", "inv"};
  report(e.span,
         fmt::format("'{}' does not apply to {}", kNames[static_cast<size_t>(e.op)], describe(known.kind)));
  return {};
}

namespace {

bool is_number(TypeKind k) { return k == TypeKind::integer || k == TypeKind::floating; }
bool is_arithmetic(BinaryOp op) { return op >= BinaryOp::add; }
bool can_calculate(TypeKind k) {
  return k == TypeKind::any || is_number(k) || k == TypeKind::tensor || k == TypeKind::list;
}

}  // namespace

Known Checker::binary(Binary& e) {
  const TypeKind a = expression(e.left).kind;
  const TypeKind b = expression(e.right).kind;
  if (e.juxtaposed) {
    report(e.right->span, "two values stand side by side",
           "an operator or a comma is missing; only the factors of an equation multiply this way");
    return {};
  }
  const auto mismatch = [&](std::string help = {}) {
    report(e.span, fmt::format("'{}' does not apply to {} and {}", spelling(e.op), describe(a), describe(b)),
           std::move(help));
    return Known{};
  };
  if (is_arithmetic(e.op)) {
    if (a == TypeKind::string || b == TypeKind::string) {
      if (a == TypeKind::any || b == TypeKind::any) return {};
      if (e.op == BinaryOp::add && a == b) return {TypeKind::string, nullptr};
      if (e.op == BinaryOp::multiply && (a == TypeKind::integer || b == TypeKind::integer))
        return {TypeKind::string, nullptr};
      return mismatch(e.op == BinaryOp::add ? "str(x) makes a string of a value" : "");
    }
    if (!can_calculate(a) || !can_calculate(b)) return mismatch();
    if (a == TypeKind::tensor || b == TypeKind::tensor) return {TypeKind::tensor, nullptr};
    const bool is_plain = e.op != BinaryOp::matmul && e.op != BinaryOp::outer && e.op != BinaryOp::hadamard;
    if (a == TypeKind::integer && b == TypeKind::integer && is_plain && e.op != BinaryOp::power)
      return {TypeKind::integer, nullptr};
    if (is_number(a) && is_number(b) && is_plain && (a != b || a == TypeKind::floating))
      return {TypeKind::floating, nullptr};
    return {};
  }
  if (e.op == BinaryOp::logical_and || e.op == BinaryOp::logical_or) {
    for (const auto& [kind, side] : {std::pair{a, &e.left}, std::pair{b, &e.right}})
      if (kind != TypeKind::any && kind != TypeKind::boolean && kind != TypeKind::tensor)
        report((*side)->span, fmt::format("'{}' joins bools, not {}", spelling(e.op), describe(kind)));
    return a == TypeKind::boolean && b == TypeKind::boolean ? Known{TypeKind::boolean, nullptr} : Known{};
  }
  const bool is_order = e.op >= BinaryOp::less && e.op <= BinaryOp::approximately;
  const bool is_scalar = (is_number(a) && is_number(b)) || (a == TypeKind::string && b == TypeKind::string);
  if (is_order && a != TypeKind::any && b != TypeKind::any && !is_scalar &&
      (!can_calculate(a) || !can_calculate(b)))
    return mismatch();
  return is_scalar ? Known{TypeKind::boolean, nullptr} : Known{};
}

Known Checker::cast(Cast& e) {
  expression(e.operand);
  switch (e.type.kind) {
    case TypeKind::tensor:
    case TypeKind::integer:
    case TypeKind::floating:
    case TypeKind::string:
    case TypeKind::boolean:
      break;
    default:
      report(e.type.span, fmt::format("nothing converts to '{}'", e.type.name),
             "as takes an element type, int, float, bool or string");
  }
  if (e.type.has_shape) report(e.type.span, "'as' converts elements and takes no shape", "use reshape");
  return {e.type.kind, nullptr};
}

void Checker::index_items(std::vector<IndexItem>& items) {
  for (IndexItem& item : items) {
    if (item.normalised || item.last_only)
      report(item.span, fmt::format("'{}' marks an index of an equation", item.normalised ? "j." : "*t"));
    for (ExprPtr* part : {&item.value, &item.begin, &item.end, &item.step})
      if (*part) expression(*part);
  }
}

Known Checker::index(Index& e) {
  const Known base = expression(e.base);
  index_items(e.items);
  switch (base.kind) {
    case TypeKind::integer:
    case TypeKind::floating:
    case TypeKind::boolean:
    case TypeKind::function:
    case TypeKind::nothing:
      report(e.span, fmt::format("{} cannot be indexed", describe(base.kind)));
      return {};
    default:
      break;
  }
  if (base.type && base.type->has_shape) {
    const auto positions = std::count_if(e.items.begin(), e.items.end(), [](const IndexItem& i) {
      return i.kind != IndexItem::Kind::ellipsis;
    });
    const bool has_rest = std::any_of(base.type->dims.begin(), base.type->dims.end(),
                                      [](const Dim& d) { return d.kind == Dim::Kind::rest; });
    if (!has_rest && static_cast<size_t>(positions) > base.type->dims.size())
      report(e.span, fmt::format("{} positions index a tensor of rank {}", positions, base.type->dims.size()))
          .notes.push_back({base.type->span, "it is declared here"});
  }
  return base.kind == TypeKind::tensor ? Known{TypeKind::tensor, nullptr} : Known{};
}

// ---------------------------------------------------------------------------------------------------- calls

/// dim(d): the size of a symbolic dimension.
bool Checker::dimension_value(ExprPtr& e) {
  auto& node = ast::as<Call>(*e);
  const auto* callee = if_is<Name>(node.callee.get());
  if (!callee || callee->text != "dim" || find_variable("dim") || module_.visible.contains("dim"))
    return false;
  const auto* which = node.arguments.size() == 1 ? if_is<Name>(node.arguments[0].value.get()) : nullptr;
  if (!which) {
    report(e->span, "dim takes the name of a dimension", "dim(d), for a d of this function's types");
    return true;
  }
  auto value = std::make_unique<Name>();
  value->text = which->text;
  value->span = which->span;
  const std::vector<std::string> none;
  const auto& dims = function_ ? function_->dim_names : none;
  const auto found = std::find(dims.begin(), dims.end(), which->text);
  if (found == dims.end()) {
    const std::string near = nearest_name(which->text, dims);
    report(which->span, fmt::format("no type in this function has a dimension '{}'", which->text),
           near.empty() ? "" : fmt::format("did you mean '{}'?", near));
    return true;
  }
  value->binding = Binding::dimension;
  value->slot = static_cast<uint32_t>(found - dims.begin());
  e = std::move(value);
  return true;
}

Known Checker::call(ExprPtr& e) {
  if (dimension_value(e)) return {TypeKind::integer, nullptr};
  auto& node = ast::as<Call>(*e);
  auto* callee = if_is<Name>(node.callee.get());
  if (callee && !resolve(*callee)) {
    unknown_name(*callee, true);
  } else if (callee && callee->binding == Binding::function) {
    return call_user(node, *callee->function);
  } else if (callee && callee->binding == Binding::native) {
    return call_native(node, *callee->native);
  } else if (callee && callee->binding == Binding::dtype) {
    report(callee->span, fmt::format("'{}' is a type, not a function", callee->text),
           fmt::format("x as {} converts", callee->text));
  } else {
    const Known known = expression(node.callee);
    if (known.kind != TypeKind::any && known.kind != TypeKind::function)
      report(node.callee->span, fmt::format("{} cannot be called", describe(known.kind)),
             "a product is written with *");
  }
  for (Argument& a : node.arguments) expression(a.value);
  return {};
}

Known Checker::call_user(Call& e, const Function& f) {
  std::vector<Known> known;
  for (Argument& a : e.arguments) known.push_back(expression(a.value));
  if (const auto failure = match_arguments(f.name, parameter_names(f), e.arguments, e.plan)) {
    report(failure->span ? failure->span : e.span, failure->message, failure->help)
        .notes.push_back({f.name_span, fmt::format("'{}' is defined here", f.name)});
    e.plan.clear();
    return {f.result.kind, &f.result};
  }
  e.planned = true;
  for (size_t i = 0; i < e.arguments.size(); ++i) {
    const Parameter& p = f.parameters[e.plan[i]];
    argument(e.arguments[i], known[i], p.type, p.name, f.name, p.span);
  }
  return {f.result.kind, &f.result};
}

Known Checker::call_native(Call& e, const NativeFunction& f) {
  std::vector<Known> known;
  for (Argument& a : e.arguments) known.push_back(expression(a.value));
  if (const auto failure = match_arguments(f.name, parameter_names(f), e.arguments, e.plan)) {
    report(failure->span ? failure->span : e.span, failure->message,
           failure->help.empty() ? f.signature : failure->help);
    e.plan.clear();
    return {};
  }
  e.planned = true;
  for (size_t i = 0; i < e.arguments.size(); ++i) {
    const NativeParameter& p = f.parameters[std::min<size_t>(e.plan[i], f.parameters.size() - 1)];
    const bool may_be_void = !p.is_required && known[i].kind == TypeKind::nothing;
    if (!may_be_void) argument(e.arguments[i], known[i], p.type, p.name, f.name, {});
  }
  return {f.result, nullptr};
}

namespace {

/// Whether a value of kind `value` may be passed where `type` is declared.
bool accepts(const Type& type, TypeKind value) {
  if (type.kind == TypeKind::any || value == TypeKind::any || type.kind == value) return true;
  switch (type.kind) {
    case TypeKind::integer:
      return value == TypeKind::floating && type.is_native;  // whole floats, decided later
    case TypeKind::floating:
      return value == TypeKind::integer;
    case TypeKind::tensor:
      return is_number(value) || value == TypeKind::list || value == TypeKind::boolean;
    case TypeKind::list:
      return false;
    default:
      return false;
  }
}

/// The first dimension that cannot agree, or nothing. Both shapes are given.
bool shapes_may_agree(const Type& a, const Type& b) {
  const auto has_rest = [](const Type& t) {
    return std::any_of(t.dims.begin(), t.dims.end(), [](const Dim& d) { return d.kind == Dim::Kind::rest; });
  };
  if (!a.has_shape || !b.has_shape || has_rest(a) || has_rest(b)) return true;
  if (a.dims.size() != b.dims.size()) return false;
  for (size_t i = 0; i < a.dims.size(); ++i)
    if (a.dims[i].kind == Dim::Kind::fixed && b.dims[i].kind == Dim::Kind::fixed &&
        a.dims[i].size != b.dims[i].size)
      return false;
  return true;
}

std::string type_text(const Type& t) {
  return std::string(t.span.source->text().substr(t.span.begin, t.span.end - t.span.begin));
}

}  // namespace

/// Reports an argument (or, without a parameter name, a result) that cannot be of the declared type.
void Checker::argument(const Argument& a, Known value, const Type& type, std::string_view parameter,
                       std::string_view function, Span declared) {
  const auto subject = [&] {
    if (parameter.empty()) return fmt::format("the result of {}", function);
    if (function.empty()) return fmt::format("'{}'", parameter);
    return fmt::format("argument '{}' of {}", parameter, function);
  };
  const auto note = [&](Diagnostic& d) {
    if (declared) d.notes.push_back({declared, "it is declared here"});
  };
  if (!accepts(type, value.kind)) {
    std::string expected(describe(type.kind));
    if (type.kind == TypeKind::object) expected = fmt::format("a {}", type.name);
    return note(report(a.value->span,
                       fmt::format("{} must be {}, not {}", subject(), expected, describe(value.kind))));
  }
  if (type.kind != TypeKind::tensor || !value.type || value.kind != TypeKind::tensor) return;
  if (!shapes_may_agree(*value.type, type))
    note(report(a.value->span,
                fmt::format("{} must be {}, not {}", subject(), type_text(type), type_text(*value.type))));
}

}  // namespace tl::lang
