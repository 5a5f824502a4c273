// Symbol tables, scopes and statements.
#include "lang/checker.h"

#include <algorithm>

#include <fmt/format.h>

#include "lang/checker_detail.h"

namespace tl::lang {

using namespace ast;

// --------------------------------------------------------------------------------------------- declarations

namespace {

void declare_own(LoadedModule& module, const std::string& name, Symbol symbol,
                 std::vector<Diagnostic>& diagnostics) {
  const auto [place, is_new] = module.visible.try_emplace(name, symbol);
  if (is_new) return;
  diagnostics.push_back({Severity::error,
                         symbol.span,
                         fmt::format("'{}' is defined twice", name),
                         {{place->second.span, "the first definition is here"}},
                         {}});
}

/// The variable that a statement gives a value, or nullptr.
const Name* assigned_name(const Stmt& s) {
  if (s.kind == StmtKind::equation) return ast::as<Equation>(s).target.get();
  if (s.kind != StmtKind::assign || ast::as<Assign>(s).value->kind == ExprKind::string) return nullptr;
  return if_is<Name>(ast::as<Assign>(s).target.get());
}

/// Names of imports, unless the file defines them itself. Two imports may not bring different things.
void add_imported(LoadedModule& module, std::vector<Diagnostic>& diagnostics) {
  std::map<std::string, Symbol, std::less<>> imported;
  for (size_t i = 0; i < module.imports.size(); ++i) {
    if (!module.imports[i]) continue;
    for (const auto& [name, symbol] : module.imports[i]->visible) {
      const auto [place, is_new] = imported.try_emplace(name, symbol);
      const Symbol& first = place->second;
      if (is_new || (first.function == symbol.function && first.slot == symbol.slot)) continue;
      if (module.visible.contains(name)) continue;
      diagnostics.push_back({Severity::error,
                             module.ast->imports[i].span,
                             fmt::format("'{}' comes from two imports", name),
                             {{first.span, "one is here"}, {symbol.span, "the other is here"}},
                             {}});
    }
  }
  module.visible.merge(imported);
}

}  // namespace

void declare(LoadedModule& module, uint32_t& n_globals, std::vector<Diagnostic>& diagnostics,
             const LoadedModule* before) {
  const auto slot_of = [&](const std::string& name) {
    const auto known = before ? before->visible.find(name) : decltype(before->visible.end()){};
    const bool is_global = before && known != before->visible.end() && !known->second.function;
    return is_global ? known->second.slot : n_globals++;
  };
  for (const auto& f : module.ast->functions)
    declare_own(module, f->name, {f.get(), 0, f->name_span}, diagnostics);
  for (const StmtPtr& s : module.ast->globals) {
    if (s->kind != StmtKind::let) continue;
    for (const auto& n : ast::as<Let>(*s).names) {
      n->slot = slot_of(n->text);
      declare_own(module, n->text, {nullptr, n->slot, n->span}, diagnostics);
    }
  }
  std::set<std::string_view> assigned;  // the first equation or assignment of each stands for all
  for (const StmtPtr& s : module.ast->globals) {
    const Name* n = assigned_name(*s);
    if (!n || !assigned.insert(n->text).second) continue;
    if (module.ast->is_declarative)
      declare_own(module, n->text, {nullptr, n_globals++, n->span}, diagnostics);
    else if (!module.visible.contains(n->text))
      module.visible.emplace(n->text, Symbol{nullptr, slot_of(n->text), n->span});
  }
  add_imported(module, diagnostics);
  if (before) module.visible.insert(before->visible.begin(), before->visible.end());
}

void check(LoadedModule& module, const Library& library, std::vector<Diagnostic>& diagnostics) {
  Checker(module, library, diagnostics).run();
}

void check_again(LoadedModule& module, Function& function, const Library& library,
                 std::vector<Diagnostic>& diagnostics) {
  Checker(module, library, diagnostics).function(function);
}

// --------------------------------------------------------------------------------------------------- scopes

/// Variables declared while it lives end with it; their slots are used again.
class Checker::Scope {
 public:
  explicit Scope(Checker& c) : c_(c), n_variables_(c.variables_.size()), next_slot_(c.next_slot_) {
    ++c.blocks_;
  }
  ~Scope() {
    for (size_t i = n_variables_; i < c_.variables_.size(); ++i)
      c_.closed_.push_back({c_.variables_[i].name, c_.variables_[i].span});
    c_.variables_.resize(n_variables_);
    c_.next_slot_ = next_slot_;
    --c_.blocks_;
  }
  Scope(const Scope&) = delete;

 private:
  Checker& c_;
  size_t n_variables_;
  uint32_t next_slot_;
};

Checker::Variable& Checker::add_variable(const Name& name, Known known) {
  Variable& variable = add_variable(name.text, name.span, std::move(known));
  remember(name, variable.known);
  return variable;
}

Checker::Variable& Checker::add_variable(const std::string& name, Span span, Known known) {
  if (const auto found = changing_.find(name); found != changing_.end())
    known = found->second && known.is_tensor() ? Known{TypeKind::tensor} : Known{};
  variables_.push_back({name, next_slot_++, false, span, std::move(known)});
  n_slots_ = std::max(n_slots_, next_slot_);
  return variables_.back();
}

const Checker::Variable* Checker::find_variable(std::string_view name) const {
  const auto found =
      std::find_if(variables_.rbegin(), variables_.rend(), [&](const Variable& v) { return v.name == name; });
  return found == variables_.rend() ? nullptr : &*found;
}

void Checker::bind(Name& n, const Variable& variable) {
  n.binding = variable.is_global ? Binding::global : Binding::local;
  n.slot = variable.slot;
}

Diagnostic& Checker::report(Span span, std::string message, std::string help) {
  return diagnostics_.emplace_back(
      Diagnostic{Severity::error, span, std::move(message), {}, std::move(help)});
}

// ------------------------------------------------------------------------------------------------ functions

namespace {

/// The variable that setting `target` changes: x of x[i][j], r of r.field.
const Name* changed_by(const Expr& target) {
  if (const auto* index = if_is<Index>(&target)) return changed_by(*index->base);
  if (const auto* member = if_is<Member>(&target)) return changed_by(*member->object);
  return if_is<Name>(&target);
}

/// How often names are bound: declared, and assigned to, by equations with indices among others.
struct Bindings {
  std::map<std::string, int> all, assignments, equations;

  void declare(const Name& n) { ++all[n.text]; }
  void assign(const Name& n) { ++all[n.text], ++assignments[n.text]; }
  void equation(const Equation& e) {
    assign(*e.target);
    if (!e.lhs.empty()) ++equations[e.target->text];
  }
  /// Names that may hold one thing now and another later; true for those that equations alone change after
  /// one declaration, which leave a tensor a tensor.
  std::map<std::string, bool> changing() const {
    std::map<std::string, bool> names;
    for (const auto& [name, times] : assignments) {
      const auto found = equations.find(name);
      const bool by_equations =
          found != equations.end() && found->second == times && all.at(name) == times + 1;
      if (all.at(name) > 1) names.emplace(name, by_equations);
    }
    return names;
  }
};

void collect_bindings(const Block& body, Bindings& out);

void collect_bindings(const Stmt& s, Bindings& out) {
  switch (s.kind) {
    case StmtKind::let:
      for (const auto& n : ast::as<Let>(s).names) out.declare(*n);
      return;
    case StmtKind::assign:
      if (const auto* n = changed_by(*ast::as<Assign>(s).target)) out.assign(*n);
      return;
    case StmtKind::equation:
      return out.equation(ast::as<Equation>(s));
    case StmtKind::conditional:
      for (const auto& arm : ast::as<Conditional>(s).arms) collect_bindings(arm.body, out);
      return;
    case StmtKind::for_loop:
      out.declare(*ast::as<For>(s).variable);
      return collect_bindings(ast::as<For>(s).body, out);
    case StmtKind::while_loop:
      return collect_bindings(ast::as<While>(s).body, out);
    case StmtKind::block:
      return collect_bindings(ast::as<BlockStatement>(s).body, out);
    case StmtKind::policy_block:
      return collect_bindings(ast::as<PolicyBlock>(s).body, out);
    default:
      return;
  }
}

void collect_bindings(const Block& body, Bindings& out) {
  for (const StmtPtr& s : body.statements) collect_bindings(*s, out);
}

}  // namespace

void Checker::run() {
  // What a function or an equation assigns to may be anything by the time it is read.
  Bindings bindings;
  for (const auto& f : module_.ast->functions) collect_bindings(f->body, bindings);
  for (const StmtPtr& s : module_.ast->globals) collect_bindings(*s, bindings);
  changing_ = bindings.changing();
  {
    const Scope scope(*this);
    --blocks_;
    globals();
    ++blocks_;
    module_.ast->n_slots = n_slots_;
  }
  for (auto& f : module_.ast->functions) function(*f);
  if (module_.ast->main) function(*module_.ast->main);
  for (auto& test : module_.ast->tests) function(*test);
  order_globals();
}

void Checker::function(Function& f) {
  function_ = &f;
  uses_ = &function_uses_[&f];
  variables_.clear();
  closed_.clear();
  next_slot_ = n_slots_ = 0;
  loops_ = blocks_ = 0;
  Bindings bindings;
  for (const Parameter& p : f.parameters) ++bindings.all[p.name];
  collect_bindings(f.body, bindings);
  changing_ = bindings.changing();
  parameters(f);
  f.is_typed = f.result.kind != TypeKind::any ||
               std::any_of(f.parameters.begin(), f.parameters.end(),
                           [](const Parameter& p) { return p.type.kind != TypeKind::any; });
  {
    const Scope scope(*this);
    statements(f.body);
    last_value(f.body);
  }
  f.n_slots = n_slots_;
  f.n_dims = static_cast<uint32_t>(f.dim_names.size());
  function_ = nullptr;
  uses_ = nullptr;
}

void Checker::parameters(Function& f) {
  bool had_default = false;
  for (Parameter& p : f.parameters) dimensions(f, p.type);
  for (Parameter& p : f.parameters) {
    if (find_variable(p.name)) report(p.span, fmt::format("parameter '{}' is named twice", p.name));
    if (p.default_value) {
      // A default sees the parameters before it.
      const Known known = expression(p.default_value);
      argument(p.default_value->span, known, p.type, p.name, f.name, p.type.span);
      had_default = true;
    } else if (had_default) {
      report(p.span, fmt::format("parameter '{}' needs a default, since the one before it has one", p.name));
    }
    add_variable(p.name, p.span, known_of(p.type));
  }
  dimensions(f, f.result);
}

/// Gives the symbolic dimensions of a type their slots in the function.
void Checker::dimensions(Function& f, Type& type) {
  size_t rests = 0;
  for (Dim& d : type.dims) {
    if (d.kind == Dim::Kind::rest && ++rests > 1) report(d.span, "a shape holds at most one '...'");
    if (d.kind != Dim::Kind::symbol) continue;
    const auto found = std::find(f.dim_names.begin(), f.dim_names.end(), d.name);
    d.slot = static_cast<uint32_t>(found - f.dim_names.begin());
    if (found == f.dim_names.end()) f.dim_names.push_back(d.name);
  }
}

void Checker::dimensions_in_body(Type& type) {
  if (function_) return dimensions(*function_, type);
  for (const Dim& d : type.dims)
    if (d.kind == Dim::Kind::symbol)
      report(d.span, fmt::format("dimension '{}' has no size here", d.name),
             "names of dimensions belong to functions; write an int or ?");
}

// ----------------------------------------------------------------------------------------------- statements

void Checker::block(Block& body) {
  const Scope scope(*this);
  statements(body);
}

void Checker::statements(Block& body) {
  for (StmtPtr& s : body.statements) {
    statement(s);
    const bool may_be_result = s == body.statements.back() && loops_ == 0;
    if (!may_be_result) warn_of_unused(*s);
  }
}

void Checker::statement(StmtPtr& s) {
  switch (s->kind) {
    case StmtKind::let:
      return let(s);
    case StmtKind::assign:
      return assign(s);
    case StmtKind::equation:
      if (is_declaration()) return declaration(ast::as<Equation>(*s));
      return equation(ast::as<Equation>(*s));
    case StmtKind::expression:
      expression(ast::as<Expression>(*s).value);
      return;
    case StmtKind::conditional:
      return conditional(ast::as<Conditional>(*s));
    case StmtKind::for_loop:
      return for_loop(ast::as<For>(*s));
    case StmtKind::while_loop:
      return while_loop(ast::as<While>(*s));
    case StmtKind::break_loop:
      if (loops_ == 0) report(s->span, "'break' stands outside a loop");
      return;
    case StmtKind::continue_loop:
      if (loops_ == 0) report(s->span, "'continue' stands outside a loop");
      return;
    case StmtKind::return_value:
      return return_value(ast::as<Return>(*s));
    case StmtKind::block:
      return block(ast::as<BlockStatement>(*s).body);
    case StmtKind::policy_block:
      return policy_block(ast::as<PolicyBlock>(*s));
  }
}

/// What a declared type and the value that it was given tell together.
static Known refined(Known declared, const Known& value) {
  if (declared.kind == value.kind && !declared.is_tensor()) {
    Known both = value;
    both.type = declared.type;
    return both;
  }
  if (!declared.is_tensor() || !value.is_tensor() || !value.shape) return declared;
  if (!declared.shape) {
    declared.shape = value.shape;
  } else if (declared.shape->size() == value.shape->size()) {
    for (size_t i = 0; i < value.shape->size(); ++i)
      if (!(*declared.shape)[i].is_known()) (*declared.shape)[i] = (*value.shape)[i];
  }
  return declared;
}

void Checker::let(StmtPtr& s) {
  auto& node = ast::as<Let>(*s);
  if (!node.is_tuple && node.value && has_index_names(*node.value)) {
    auto converted =
        as_equation(std::move(node.names[0]), std::move(node.value), Projection::assign, node.span);
    equation(*converted, /*declares_always=*/true);
    s = std::move(converted);
    return;
  }
  Known known = node.value ? expression(node.value) : Known{};
  dimensions_in_body(node.type);
  if (node.type.kind != TypeKind::any) {
    if (node.is_tensor && node.type.kind != TypeKind::tensor)
      report(node.type.span, fmt::format("a tensor cannot have the type '{}'", node.type.name),
             "tensor x: float32[2, 3] = …");
    else if (!node.is_tensor)
      argument(node.value->span, known, node.type, node.names[0]->text, "", node.type.span);
    known = refined(known_of(node.type), known);
  } else if (node.is_tensor && !known.is_tensor()) {
    known = {TypeKind::tensor};
  }
  if (node.is_tuple && known.kind != TypeKind::any && known.kind != TypeKind::list)
    report(node.value->span,
           fmt::format("let ({}, …) takes a list apart, not {}", node.names[0]->text, describe(known.kind)));
  declare_names(node, known);
  if (node.is_tensor) variables_.back().declared = &node.type;
}

void Checker::declare_names(Let& node, const Known& value) {
  for (size_t i = 0; i < node.names.size(); ++i) {
    Name& n = *node.names[i];
    Known known = value;
    if (node.is_tuple)
      known = value.items && value.items->size() == node.names.size() ? (*value.items)[i] : Known{};
    if (is_top_level()) {  // its slot was given by declare()
      n.binding = Binding::global;
      if (changing_.contains(n.text)) known = {};
      remember(n, known);
      variables_.push_back({n.text, n.slot, true, n.span, std::move(known)});
    } else {
      bind(n, add_variable(n, std::move(known)));
    }
  }
}

void Checker::assign(StmtPtr& s) {
  auto& node = ast::as<Assign>(*s);
  auto* target = if_is<Name>(node.target.get());
  if (assign_file(node)) return;
  const bool may_be_equation = target && (node.op == AssignOp::set || node.op == AssignOp::add);
  if (may_be_equation && has_index_names(*node.value)) {
    std::unique_ptr<Name> moved(static_cast<Name*>(node.target.release()));
    const auto projection = node.op == AssignOp::add ? Projection::sum : Projection::assign;
    auto converted = as_equation(std::move(moved), std::move(node.value), projection, node.span);
    if (is_declaration())
      declaration(*converted);
    else
      equation(*converted);
    s = std::move(converted);
    return;
  }
  if (is_declaration()) {
    if (node.value->kind == ExprKind::string)
      report(node.target->span, "only a declared tensor is read from a file", "tensor x: float32[?, 3]");
    else
      report(s->span, "a statement stands inside main { … } or a function",
             "let x = … defines a value at top level");
    return;
  }
  const Known known = expression(node.value);
  if (!target) return assign_place(*node.target);
  if (const Variable* variable = find_variable(target->text)) return bind(*target, *variable);
  if (const auto global = module_.visible.find(target->text);
      global != module_.visible.end() && !global->second.function) {
    target->binding = Binding::global;
    target->slot = global->second.slot;
    return;
  }
  if (node.op != AssignOp::set) return unknown_name(*target, false);
  node.declares = true;
  bind(*target, add_variable(*target, known));
}

static bool can_be_tensor(TypeKind kind) {
  return kind == TypeKind::tensor || kind == TypeKind::list || kind == TypeKind::integer ||
         kind == TypeKind::floating;
}

/// "file.csv" = x, and x = "file.csv" for a declared tensor.
bool Checker::assign_file(Assign& s) {
  if (s.target->kind == ExprKind::string) {
    const Known known = expression(s.value);
    if (known.kind != TypeKind::any && !can_be_tensor(known.kind))
      report(s.value->span,
             fmt::format("a file takes the numbers of a tensor, not {}", describe(known.kind)));
    return true;
  }
  auto* target = if_is<Name>(s.target.get());
  if (!target || s.value->kind != ExprKind::string || s.op != AssignOp::set) return false;
  const Variable* variable = find_variable(target->text);
  if (!variable || !variable->declared) return false;
  bind(*target, *variable);
  s.reads_as = variable->declared;
  return true;
}

/// x[i], r.field and chains of them, down to a variable.
void Checker::assign_place(Expr& target) {
  if (target.kind == ExprKind::index) {
    auto& e = ast::as<Index>(target);
    index_items(e.items);
    if (e.items.size() != 1 || e.items[0].kind != IndexItem::Kind::value)
      report(target.span, "an assignment sets one element", "x[i] = value");
    return assign_place(*e.base);
  }
  if (target.kind == ExprKind::member) return assign_place(*ast::as<Member>(target).object);
  auto* n = if_is<Name>(&target);
  if (!n) {
    report(target.span, "this cannot be assigned to",
           "an assignment starts at a variable: x[0].field = value");
    return;
  }
  if (resolve(*n) && n->binding != Binding::local && n->binding != Binding::global)
    report(n->span, fmt::format("'{}' is no variable", n->text));
}

void Checker::condition(ExprPtr& e) {
  const Known known = expression(e);
  switch (known.kind) {
    case TypeKind::any:
    case TypeKind::boolean:
    case TypeKind::tensor:
      return;
    default: {
      const std::string help =
          known.kind == TypeKind::integer || known.kind == TypeKind::floating ? "compare it: x != 0" : "";
      report(e->span, fmt::format("a condition is a bool, not {}", describe(known.kind)), help);
    }
  }
}

void Checker::conditional(Conditional& s) {
  for (auto& arm : s.arms) {
    if (arm.condition) condition(arm.condition);
    block(arm.body);
  }
}

/// What is known of a loop's variable.
static Known element_of(const For& s, const Known& sequence) {
  if (s.sequence->kind == ExprKind::range) return {TypeKind::integer};
  if (sequence.is_tensor() && sequence.shape && !sequence.shape->empty()) {
    Known row = sequence;
    row.type = nullptr;
    row.shape->erase(row.shape->begin());
    return row;
  }
  if (!sequence.items || sequence.items->empty()) return {};
  Known all = sequence.items->front();
  for (const Known& item : *sequence.items) all = common(all, item);
  return all;
}

void Checker::for_loop(For& s) {
  const Known known = expression(s.sequence);
  if (known.kind == TypeKind::integer)
    report(s.sequence->span, "a loop goes over a list or a range, not an int", "for i in 0..n { … }");
  else if (known.kind == TypeKind::floating || known.kind == TypeKind::boolean)
    report(s.sequence->span, fmt::format("a loop goes over a list or a range, not {}", describe(known.kind)));
  const Scope scope(*this);
  bind(*s.variable, add_variable(*s.variable, element_of(s, known)));
  ++loops_;
  block(s.body);
  --loops_;
}

void Checker::while_loop(While& s) {
  if (s.condition) condition(s.condition);
  ++loops_;
  block(s.body);
  --loops_;
}

void Checker::policy_block(PolicyBlock& s) {
  const Known known = expression(s.policy);
  if (known.kind != TypeKind::any && known.kind != TypeKind::object)
    report(s.policy->span, fmt::format("a block is computed with device(…) or precision(…), not with {}",
                                       describe(known.kind)));
  block(s.body);
}

void Checker::return_value(Return& s) {
  if (!function_) {
    report(s.span, "'return' stands outside a function");
    return;
  }
  const Known known = s.value ? expression(s.value) : Known{TypeKind::nothing};
  result(known, s.value ? s.value->span : s.span);
}

/// Compares a known result with the declared one.
void Checker::result(Known known, Span span) {
  const Type& declared = function_->result;
  if (declared.kind == TypeKind::any || known.kind == TypeKind::any) return;
  if (known.kind == TypeKind::nothing && declared.kind != TypeKind::nothing) {
    report(span, fmt::format("'{}' returns nothing here, but its result is declared", function_->name))
        .notes.push_back({declared.span, fmt::format("as {} here", declared.name)});
    return;
  }
  argument(span, known, declared, "", function_->name, declared.span);
}

/// The last statement of a function that declares a result must be able to give one.
void Checker::last_value(const Block& body) {
  const Type& declared = function_->result;
  if (declared.kind == TypeKind::any || declared.kind == TypeKind::nothing) return;
  const bool gives_nothing = body.statements.empty() || body.statements.back()->kind == StmtKind::for_loop ||
                             (body.statements.back()->kind == StmtKind::while_loop &&
                              ast::as<While>(*body.statements.back()).condition);
  if (!gives_nothing) return last_statement(body);
  const Span end = body.statements.empty() ? body.span : body.statements.back()->span;
  report({end.source, end.begin, std::min(end.end, end.begin + 1)},
         fmt::format("'{}' ends without a value, but its result is declared", function_->name))
      .notes.push_back({declared.span, fmt::format("as {} here", declared.name)});
}

/// Compares what is known of a body's value with the declared result.
void Checker::last_statement(const Block& body) {
  if (body.statements.empty()) return;
  const Stmt& s = *body.statements.back();
  const Expr* value = nullptr;
  switch (s.kind) {
    case StmtKind::expression:
      value = ast::as<Expression>(s).value.get();
      break;
    case StmtKind::assign:
      if (ast::as<Assign>(s).op == AssignOp::set) value = ast::as<Assign>(s).value.get();
      break;
    case StmtKind::conditional:
      for (const auto& arm : ast::as<Conditional>(s).arms) last_statement(arm.body);
      return;
    case StmtKind::block:
      return last_statement(ast::as<BlockStatement>(s).body);
    case StmtKind::policy_block:
      return last_statement(ast::as<PolicyBlock>(s).body);
    default:
      return;
  }
  const auto known = module_.types.find(value);
  if (known != module_.types.end() && known->second.kind != TypeKind::nothing)
    result(known->second, value->span);
}

}  // namespace tl::lang
