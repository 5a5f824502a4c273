// Names, calls and what is known about the kinds of values.
#include <algorithm>
#include <array>

#include <fmt/format.h>

#include "lang/checker_detail.h"
#include "lang/foreign_names.h"

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
        const std::string near = a.name.size() > 1 ? nearest_name(a.name, known) : "";  // x is no slip of y
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
  if (function_ && !is_function &&
      std::ranges::find(function_->dim_names, n.text) != function_->dim_names.end())
    d.help = fmt::format("the size of the dimension '{0}' is dim({0})", n.text);
  else
    d.help = help_written_here(written_here(n.text));
  if (!d.help.empty()) return;
  // A function of the library is seldom meant where nothing is called: 'count' is no slip of 'chunk'.
  const std::string near = nearest_name(n.text, names_in_scope(is_function));
  if (!near.empty()) d.help = fmt::format("did you mean '{}'?", near);
}

Known Checker::name(Name& n) {
  if (n.binding == Binding::dimension) return int_of(Extent::named(n.text));  // of dim(d), checked before
  if (!resolve(n)) {
    unknown_name(n, false);
    return {};
  }
  if (const Variable* variable = find_variable(n.text)) return variable->known;
  if (n.binding == Binding::function || n.binding == Binding::native) return {TypeKind::function};
  Known known;
  if (n.binding == Binding::dtype) {
    known.kind = TypeKind::string;
    known.literal = Value(n.text);
  }
  return known;
}

// ---------------------------------------------------------------------------------------------- expressions

/// Checks an expression, and remembers what is known of its value.
Known Checker::expression(ExprPtr& e) {
  Known known = infer(e);
  remember(*e, known);
  return known;
}

void Checker::remember(const Expr& e, const Known& known) {
  if (known.kind != TypeKind::any) module_.types[&e] = known;
}

/// A value that is written down.
static Known literal(TypeKind kind, Value value) {
  Known known{kind};
  known.literal = std::move(value);
  return known;
}

Known Checker::infer(ExprPtr& e) {
  switch (e->kind) {
    case ExprKind::integer:
      return int_of(Extent::constant(ast::as<Integer>(*e).value));
    case ExprKind::floating:
      return literal(TypeKind::floating, Value(ast::as<Floating>(*e).value));
    case ExprKind::boolean:
      return literal(TypeKind::boolean, Value(ast::as<Boolean>(*e).value));
    case ExprKind::string:
      return literal(TypeKind::string, Value(ast::as<String>(*e).value));
    case ExprKind::list: {
      constexpr size_t kMostItems = 32;
      auto items = std::make_shared<std::vector<Known>>();
      for (ExprPtr& item : ast::as<List>(*e).items) items->push_back(expression(item));
      Known known{TypeKind::list};
      if (items->size() <= kMostItems) known.items = std::move(items);
      return known;
    }
    case ExprKind::record: {
      std::set<std::string_view> seen;
      for (auto& field : ast::as<Record>(*e).fields) {
        if (!seen.insert(field.name).second)
          report(field.span, fmt::format("field '{}' is given twice", field.name));
        expression(field.value);
      }
      return {TypeKind::record};
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
          report((*bound)->span, fmt::format("the bounds of a range are ints, not {}", describe(known)),
                 known.is_tensor() ? "int(x) is the number of a tensor with one element" : "");
      }
      return {TypeKind::list};
    }
    case ExprKind::cast:
      return cast(ast::as<Cast>(*e));
    case ExprKind::call:
      return call(e);
    case ExprKind::member: {
      auto& member = ast::as<Member>(*e);
      const Known known = expression(member.object);
      if (known.kind != TypeKind::any && known.kind != TypeKind::record && known.kind != TypeKind::object)
        report(member.name_span, fmt::format("{} has no members", describe(known.kind)),
               known.kind == TypeKind::tensor || known.kind == TypeKind::list
                   ? help_written_here(member_written_here(member.name))
                   : "");
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
      return {TypeKind::nothing};
  }
  return {};
}

Known Checker::unary(Unary& e) {
  const Known known = expression(e.operand);
  switch (known.kind) {
    case TypeKind::any:
      return {};
    case TypeKind::tensor:
      return shape_of_unary(e, known);
    case TypeKind::list:
      return {};
    case TypeKind::boolean:
      if (e.op == UnaryOp::logical_not) return {TypeKind::boolean};
      break;
    case TypeKind::integer:
    case TypeKind::floating:
      if (e.op == UnaryOp::negate) return shape_of_unary(e, known);
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
  const Known left = expression(e.left), right = expression(e.right);
  const TypeKind a = left.kind, b = right.kind;
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
      if (e.op == BinaryOp::add && a == b) return {TypeKind::string};
      if (e.op == BinaryOp::multiply && (a == TypeKind::integer || b == TypeKind::integer))
        return {TypeKind::string};
      return mismatch(e.op == BinaryOp::add ? "str(x) makes a string of a value" : "");
    }
    if (!can_calculate(a) || !can_calculate(b)) return mismatch();
    warn_of_share(e, left, right);
    if (a == TypeKind::tensor || b == TypeKind::tensor) return shape_of_binary(e, left, right);
    const bool is_plain = e.op != BinaryOp::matmul && e.op != BinaryOp::outer && e.op != BinaryOp::hadamard;
    if (a == TypeKind::integer && b == TypeKind::integer && is_plain && e.op != BinaryOp::power)
      return shape_of_binary(e, left, right);
    if (is_number(a) && is_number(b) && is_plain && (a != b || a == TypeKind::floating))
      return {TypeKind::floating};
    return {};
  }
  if (e.op == BinaryOp::logical_and || e.op == BinaryOp::logical_or) {
    for (const auto& [kind, side] : {std::pair{a, &e.left}, std::pair{b, &e.right}})
      if (kind != TypeKind::any && kind != TypeKind::boolean && kind != TypeKind::tensor)
        report((*side)->span, fmt::format("'{}' joins bools, not {}", spelling(e.op), describe(kind)));
    return a == TypeKind::boolean && b == TypeKind::boolean ? Known{TypeKind::boolean} : Known{};
  }
  const bool is_order = e.op >= BinaryOp::less && e.op <= BinaryOp::approximately;
  const bool is_scalar = (is_number(a) && is_number(b)) || (a == TypeKind::string && b == TypeKind::string);
  if (is_order && a != TypeKind::any && b != TypeKind::any && !is_scalar &&
      (!can_calculate(a) || !can_calculate(b)))
    return mismatch();
  const bool is_elementwise =
      (a == TypeKind::tensor && can_calculate(b)) || (b == TypeKind::tensor && can_calculate(a));
  if (is_elementwise && e.op != BinaryOp::in) return shape_of_binary(e, left, right);
  return is_scalar ? Known{TypeKind::boolean} : Known{};
}

Known Checker::cast(Cast& e) {
  const Known known = expression(e.operand);
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
  if (e.type.kind == TypeKind::tensor && known.is_tensor()) {
    Known converted = known;
    converted.type = nullptr;
    converted.dtype = e.type.dtype;
    return converted;
  }
  // A tensor stays one, unless it has rank 0 and becomes a number.
  const bool may_be_tensor = known.kind == TypeKind::any || known.is_tensor();
  if (may_be_tensor && e.type.kind != TypeKind::tensor && e.type.kind != TypeKind::string) return {};
  return {e.type.kind};
}

/// What is known of the positions: of each item its value, or the bounds and the step of a slice.
std::vector<Known> Checker::index_items(std::vector<IndexItem>& items) {
  std::vector<Known> known;
  for (IndexItem& item : items) {
    if (item.normalised || item.last_only)
      report(item.span, fmt::format("'{}' marks an index of an equation", item.normalised ? "j." : "*t"));
    if (item.kind == IndexItem::Kind::value) known.push_back(expression(item.value));
    if (item.kind != IndexItem::Kind::slice) continue;
    for (ExprPtr* part : {&item.begin, &item.end, &item.step})
      known.push_back(*part ? expression(*part) : Known{TypeKind::nothing});
  }
  return known;
}

Known Checker::index(Index& e) {
  const Known base = expression(e.base);
  const size_t n_before = diagnostics_.size();
  const std::vector<Known> keys = index_items(e.items);
  for (size_t i = n_before; i < diagnostics_.size(); ++i)
    if (diagnostics_[i].message.starts_with("unknown name") && diagnostics_[i].help.empty())
      diagnostics_[i].help = fmt::format("index names belong to an equation, as y = {}", text_of(e.span));
  switch (base.kind) {
    case TypeKind::integer:
    case TypeKind::floating:
    case TypeKind::boolean:
    case TypeKind::function:
    case TypeKind::nothing:
      report(e.span, fmt::format("{} cannot be indexed", describe(base.kind)));
      return {};
    default:
      return shape_of_index(e, base, keys);
  }
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
  if (dimension_value(e)) {
    const auto* dimension = if_is<Name>(e.get());
    return dimension ? int_of(Extent::named(dimension->text)) : Known{TypeKind::integer};
  }
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
             callee && library_.find(callee->text)
                 ? fmt::format("this variable hides the function '{}'", callee->text)
                 : "a product is written with *");
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
    e.planned = false;
    return {f.result.kind, &f.result};
  }
  e.planned = true;
  bool fits = true;
  for (size_t i = 0; i < e.arguments.size(); ++i) {
    const Parameter& p = f.parameters[e.plan[i]];
    fits = argument(e.arguments[i].value->span, known[i], p.type, p.name, f.name, p.span) && fits;
  }
  return fits ? shape_of_user(e, f, known) : Known{f.result.kind, &f.result};
}

namespace {

/// Extents given one by one where a function takes a shape, as NumPy and PyTorch have it in places; and a
/// seed that is given by position, which is how such an extent may be read.
std::optional<Diagnostic> spread_shape(const Call& e, const NativeFunction& f,
                                       const std::vector<Known>& known) {
  const auto& parameters = f.parameters;
  const auto shape = static_cast<size_t>(std::ranges::find(parameters, "shape", &NativeParameter::name) -
                                         parameters.begin());
  if (shape >= parameters.size() || e.arguments.size() < shape + 2) return std::nullopt;
  std::string_view next;
  if (shape + 1 < parameters.size()) next = parameters[shape + 1].name;
  const bool takes_seed = next == "seed";
  if (!next.empty() && next != "dtype" && !takes_seed) return std::nullopt;
  std::vector<std::string_view> extents, before;
  for (size_t i = 0; i < e.arguments.size() && e.arguments[i].name.empty(); ++i) {
    const std::string_view text = text_of(e.arguments[i].value->span);
    if (i < shape)
      before.push_back(text);
    else if (known[i].kind == TypeKind::integer)
      extents.push_back(text);
    else
      break;
  }
  const std::string tail = takes_seed ? ", seed: 1" : "";
  const Argument& second = e.arguments[shape + 1];
  if (extents.size() < 2) {
    if (!takes_seed || !second.name.empty()) return std::nullopt;
    return Diagnostic{Severity::error,
                      second.value->span,
                      fmt::format("{} takes its seed by name", f.name),
                      {},
                      fmt::format("write seed: {}", text_of(second.value->span))};
  }
  before.push_back("");
  Span place = e.arguments[shape].value->span;
  place.end = e.arguments[shape + extents.size() - 1].value->span.end;
  return Diagnostic{
      Severity::error,
      place,
      fmt::format("{} takes its shape as one list", f.name),
      {},
      fmt::format("write {}({}[{}]{})", f.name, fmt::join(before, ", "), fmt::join(extents, ", "), tail)};
}

}  // namespace

Known Checker::call_native(Call& e, const NativeFunction& f) {
  std::vector<Known> known;
  for (Argument& a : e.arguments) known.push_back(expression(a.value));
  // np.exp(x) is exp(np, x): of that np is reported, and the arguments show nothing.
  const auto* first = e.arguments.empty() ? nullptr : if_is<Name>(e.arguments[0].value.get());
  if (first && first->binding == Binding::unresolved) return result_of(f);
  if (auto failure = spread_shape(e, f, known)) {
    diagnostics_.push_back(std::move(*failure));
    return result_of(f);
  }
  if (const auto failure = match_arguments(f.name, parameter_names(f), e.arguments, e.plan)) {
    report(failure->span ? failure->span : e.span, failure->message,
           failure->help.empty() ? f.signature : failure->help);
    e.plan.clear();
    return {};
  }
  e.planned = true;
  warn_of_places(e, f);
  bool fits = true;
  for (size_t i = 0; i < e.arguments.size(); ++i) {
    const NativeParameter& p = f.parameters[std::min<size_t>(e.plan[i], f.parameters.size() - 1)];
    const bool may_be_void = !p.is_required && known[i].kind == TypeKind::nothing;
    if (!may_be_void)
      fits = argument(e.arguments[i].value->span, known[i], p.type, p.name, f.name, {}) && fits;
  }
  return fits ? shape_of_native(e, f, known) : result_of(f);
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
    default:
      return false;
  }
}

/// Whether a tensor of which this much is known may be passed where `type` is declared.
bool may_fit(const Type& type, const Known& value) {
  if (type.dtype && value.dtype) {
    const bool is_float_like = is_float(*value.dtype) || is_quantised(*value.dtype);
    if (is_float(*type.dtype) ? !is_float_like : *value.dtype != *type.dtype) return false;
  }
  const Known declared = known_of(type);
  if (!declared.shape || !value.shape) return true;
  if (declared.shape->size() != value.shape->size()) return false;
  for (size_t i = 0; i < value.shape->size(); ++i)
    if (clash((*declared.shape)[i], (*value.shape)[i])) return false;
  return true;
}

}  // namespace

/// Whether a value may be of the type that is declared for an argument, a variable (without a function name)
/// or a result (without a parameter name). Reports it otherwise.
bool Checker::argument(Span place, const Known& value, const Type& type, std::string_view parameter,
                       std::string_view function, Span declared) {
  std::string expected;
  if (!accepts(type, value.kind))
    expected =
        type.kind == TypeKind::object ? fmt::format("a {}", type.name) : std::string(describe(type.kind));
  else if (type.kind == TypeKind::tensor && value.is_tensor() && !may_fit(type, value))
    expected = type_text(type);
  if (expected.empty()) return true;
  const std::string subject = parameter.empty()  ? fmt::format("the result of {}", function)
                              : function.empty() ? fmt::format("'{}'", parameter)
                                                 : fmt::format("argument '{}' of {}", parameter, function);
  auto& d = report(place, fmt::format("{} must be {}, not {}", subject, expected, describe(value)));
  const bool is_int = type.kind == TypeKind::integer;
  if (value.is_tensor() && (is_int || type.kind == TypeKind::floating))
    d.help = fmt::format("{}(x) is the number of a tensor with one element", is_int ? "int" : "float");
  if (declared) d.notes.push_back({declared, "it is declared here"});
  return false;
}

}  // namespace tl::lang
