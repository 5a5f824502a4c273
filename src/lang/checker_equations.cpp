// Which names of an equation are indices.
#include <algorithm>
#include <iterator>

#include <fmt/format.h>

#include "lang/checker_detail.h"
#include "lang/equation_index.h"
#include "ops/op.h"

namespace tl::lang {

using namespace ast;

namespace {

/// Functions that an equation applies element by element or along the marked index, whatever the library
/// holds.
bool is_equation_function(std::string_view name) {
  constexpr std::string_view kNames[] = {
#define X(id, doc) #id,
      TL_UNARY_OPS(X)
#undef X
          "max",
      "min",
      "pow",
      "sig",
      "step",
      "softmax",
      "log_softmax",
      "lnorm",
      "layer_norm",
      "rms_norm"};
  return std::find(std::begin(kNames), std::end(kNames), name) != std::end(kNames);
}

}  // namespace

// ------------------------------------------------------------------------------------- finding index names

/// Index names are names in bracket positions of which no variable is in scope.
void Checker::collect_bare(const Expr* e, std::set<std::string>& out) const {
  if (!e) return;
  switch (e->kind) {
    case ExprKind::name: {
      const auto& n = ast::as<Name>(*e);
      const auto global = module_.visible.find(n.text);
      const bool is_global = global != module_.visible.end() && !global->second.function;
      if (!find_variable(n.text) && !is_global) out.insert(n.text);
      return;
    }
    case ExprKind::unary:
      return collect_bare(ast::as<Unary>(*e).operand.get(), out);
    case ExprKind::binary:
      collect_bare(ast::as<Binary>(*e).left.get(), out);
      return collect_bare(ast::as<Binary>(*e).right.get(), out);
    case ExprKind::index:
      return collect_index_names(e, out);
    default:
      return;
  }
}

void Checker::collect_from_items(const std::vector<IndexItem>& items, std::set<std::string>& out) const {
  for (const IndexItem& item : items)
    if (item.kind == IndexItem::Kind::value && !item.value->grouped) collect_bare(item.value.get(), out);
}

void Checker::collect_index_names(const Expr* e, std::set<std::string>& out) const {
  if (!e) return;
  switch (e->kind) {
    case ExprKind::unary:
      return collect_index_names(ast::as<Unary>(*e).operand.get(), out);
    case ExprKind::binary: {
      const auto& b = ast::as<Binary>(*e);
      collect_index_names(b.left.get(), out);
      return collect_index_names(b.right.get(), out);
    }
    case ExprKind::cast:
      return collect_index_names(ast::as<Cast>(*e).operand.get(), out);
    case ExprKind::call:
      for (const Argument& a : ast::as<Call>(*e).arguments) collect_index_names(a.value.get(), out);
      return;
    case ExprKind::index:
      return collect_from_items(ast::as<Index>(*e).items, out);
    case ExprKind::reduce: {
      const auto& r = ast::as<Reduce>(*e);
      for (const auto& n : r.indices) collect_bare(n.get(), out);
      return collect_index_names(r.body.get(), out);
    }
    default:
      return;
  }
}

/// `x in a..b` in a guard introduces x.
static void collect_ranged(const Expr* guard, std::vector<const Expr*>& out) {
  const auto* b = if_is<Binary>(guard);
  if (!b) return;
  if (b->op == BinaryOp::in) out.push_back(b->left.get());
  if (b->op != BinaryOp::logical_and) return;
  collect_ranged(b->left.get(), out);
  collect_ranged(b->right.get(), out);
}

/// Whether `name = e` is an equation: something in brackets is no variable. A longer name that looks like a
/// variable in scope is rather a slip, and left to be reported as unknown.
bool Checker::has_index_names(const Expr& e) const {
  std::set<std::string> names;
  collect_index_names(&e, names);
  if (names.empty()) return false;
  std::vector<std::string> variables;
  for (const Variable& v : variables_) variables.push_back(v.name);
  return std::none_of(names.begin(), names.end(), [&](const std::string& n) {
    return n.size() > 3 && !nearest_name(n, variables).empty();
  });
}

std::unique_ptr<Equation> Checker::as_equation(std::unique_ptr<Name> target, ExprPtr rhs,
                                               Projection projection, Span span) {
  auto out = std::make_unique<Equation>();
  out->lhs_span = target->span;
  out->target = std::move(target);
  out->rhs = std::move(rhs);
  out->projection = projection;
  out->span = span;
  return out;
}

// ------------------------------------------------------------------------------------------------ resolving

void Checker::equation(Equation& e, bool declares_always) {
  std::set<std::string> names;
  collect_from_items(e.lhs, names);
  collect_index_names(e.rhs.get(), names);
  collect_index_names(e.where.get(), names);
  const size_t n_before = diagnostics_.size();
  std::vector<const Expr*> ranged;
  collect_ranged(e.where.get(), ranged);
  for (const Expr* r : ranged) collect_bare(r, names);
  e.n_index_names = static_cast<uint32_t>(names.size());

  // What names a part of a tensor may fill one that is not there yet, and read what it has filled.
  const bool is_partial = std::any_of(e.lhs.begin(), e.lhs.end(), [](const IndexItem& item) {
    return item.last_only || !item.value || item.value->grouped || item.value->kind != ExprKind::name;
  });
  if (is_partial && !e.is_declaration) bind_target(e, declares_always, is_partial, {TypeKind::tensor});
  std::set<std::string>* const outer = std::exchange(index_names_, &names);
  equation_ = is_partial || e.is_declaration ? &e : nullptr;
  met_indices_.clear();
  equation_items(e.lhs);
  const size_t n_left = met_indices_.size();
  equation_expression(e.rhs, false);
  if (e.where) equation_expression(e.where, false);
  index_names_ = outer;
  equation_ = nullptr;
  const std::optional<Known> before = known_before(e, declares_always);
  if (!names.empty() || (before && before->is_tensor())) check_free(e.lhs);

  const bool is_plain = !e.where && (e.projection == Projection::assign || e.projection == Projection::sum) &&
                        std::all_of(e.lhs.begin(), e.lhs.end(), [](const IndexItem& i) {
                          return i.kind == IndexItem::Kind::value && !i.normalised && !i.last_only;
                        });
  if (!is_partial && !e.is_declaration) {
    // Without an index name it may set an element of a list.
    const bool is_sound = diagnostics_.size() == n_before && !names.empty();
    const Known known = is_sound ? shape_of_equation(e, before) : Known{TypeKind::tensor};
    bind_target(e, declares_always, is_partial, known);
    if (is_sound) warn_of_slips(n_left);
  }
  e.may_set_element = is_plain && !e.lhs.empty() && names.empty() && !e.declares;
}

/// What is known of the value that an equation's target has before it; nothing where there is no target yet.
std::optional<Known> Checker::known_before(const Equation& e, bool declares_always) const {
  if (declares_always) return std::nullopt;
  if (const Variable* variable = find_variable(e.target->text)) return variable->known;
  const auto global = module_.visible.find(e.target->text);
  const bool is_global = global != module_.visible.end() && !global->second.function;
  return is_global ? std::optional(Known{}) : std::nullopt;
}

void Checker::bind_target(Equation& e, bool declares_always, bool is_partial, const Known& known) {
  const Variable* variable = declares_always ? nullptr : find_variable(e.target->text);
  const auto global = module_.visible.find(e.target->text);
  if (variable) {
    bind(*e.target, *variable);
    e.may_grow = variable->grows;
  } else if ((!declares_always || is_top_level()) && global != module_.visible.end() &&
             !global->second.function) {
    e.target->binding = Binding::global;
    e.target->slot = global->second.slot;
    e.may_grow = is_top_level() && is_partial;
  } else {
    e.declares = e.may_grow = true;
    Variable& added = add_variable(*e.target, known);
    added.grows = is_partial;
    bind(*e.target, added);
  }
}

void Checker::equation_items(std::vector<IndexItem>& items) {
  for (IndexItem& item : items) {
    if (item.value) {
      if (item.value->grouped)
        expression(item.value);  // (i + 1): an int expression of variables
      else
        equation_expression(item.value, true);
    }
    for (ExprPtr* part : {&item.begin, &item.end, &item.step})
      if (*part) expression(*part);
  }
}

void Checker::equation_name(Name& n, bool in_brackets) {
  if (n.binding == Binding::dimension) {  // of dim(d), checked before
    remember(n, int_of(Extent::named(n.text)));
  } else if (const Variable* variable = find_variable(n.text)) {
    resolve(n);
    remember(n, variable->known);
  } else if (index_names_->contains(n.text)) {
    n.binding = Binding::index;
    met_indices_.push_back(&n);
  } else if (!resolve(n)) {
    unknown_name(n, false);
  } else if (!in_brackets && (n.binding == Binding::function || n.binding == Binding::native)) {
    report(n.span, fmt::format("'{}' is a function", n.text), fmt::format("call it: {}(…)", n.text));
  }
}

void Checker::equation_expression(ExprPtr& e, bool in_brackets) {
  switch (e->kind) {
    case ExprKind::name:
      return equation_name(ast::as<Name>(*e), in_brackets);
    case ExprKind::unary:
      return equation_expression(ast::as<Unary>(*e).operand, in_brackets);
    case ExprKind::binary: {
      auto& b = ast::as<Binary>(*e);
      equation_expression(b.left, in_brackets);
      return equation_expression(b.right, in_brackets);
    }
    case ExprKind::range: {
      auto& r = ast::as<Range>(*e);
      equation_expression(r.begin, in_brackets);
      return equation_expression(r.end, in_brackets);
    }
    case ExprKind::cast:
      return equation_expression(ast::as<Cast>(*e).operand, in_brackets);
    case ExprKind::index:
      return equation_index(ast::as<Index>(*e));
    case ExprKind::call:
      return equation_call(e);
    case ExprKind::reduce: {
      auto& r = ast::as<Reduce>(*e);
      for (const auto& n : r.indices) equation_name(*n, true);
      return equation_expression(r.body, in_brackets);
    }
    default:
      expression(e);
  }
}

/// A factor W[i, j]. Its base is an ordinary expression; so are the positions where the base is a native
/// object.
void Checker::equation_index(Index& e) {
  Known base;
  if (auto* n = if_is<Name>(e.base.get()); n && !find_variable(n->text) && index_names_->contains(n->text))
    report(n->span, fmt::format("the index name '{}' is used as a tensor", n->text));
  else
    base = expression(e.base);
  equation_items(e.items);
  const auto* n = if_is<Name>(e.base.get());
  const bool is_target =
      n && equation_ && n->binding == equation_->target->binding && n->slot == equation_->target->slot;
  if (is_target) {
    equation_->reads_target = true;
    return;
  }
  check_rank(base, e);
  if (base.is_tensor()) check_free(e.items);
}

/// A bare name at a position of a tensor is an index name; one that is an int would be captured silently.
void Checker::check_free(const std::vector<IndexItem>& items) {
  for (const IndexItem& item : items) {
    const auto* n = if_is<Name>(item.value.get());
    const Variable* variable = n && !n->grouped ? find_variable(n->text) : nullptr;
    if (!variable || variable->known.kind != TypeKind::integer) continue;
    const auto [line, column] = variable->span.source->position(variable->span.begin);
    report(n->span,
           fmt::format("index names must be free: `{}` is the int declared at {}:{}", n->text, line, column),
           fmt::format("write ({}) to mean its value, or choose another index name", n->text));
  }
}

void Checker::check_rank(const Known& base, const Index& e) {
  if (!base.shape || base.shape->size() == e.items.size()) return;
  auto& d = report(e.span,
                   fmt::format("{} for a tensor of rank {}", equation::count_positions(e.items.size()),
                               base.shape->size()),
                   equation::help_on_axes(text_of(e.base->span), e.items, base.shape->size()));
  if (base.type) d.notes.push_back({base.type->span, "it is declared here"});
}

void Checker::equation_call(ExprPtr& e) {
  if (dimension_value(e)) {
    if (const auto* d = if_is<Name>(e.get())) remember(*d, int_of(Extent::named(d->text)));
    return;
  }
  auto& node = ast::as<Call>(*e);
  auto* callee = if_is<Name>(node.callee.get());
  for (Argument& a : node.arguments) equation_expression(a.value, false);
  if (!callee) {
    const auto* head = if_is<Index>(node.callee.get());
    const auto* base = head ? if_is<Name>(head->base.get()) : nullptr;
    const bool is_mean = base && base->text == "mean";
    report(node.callee->span, "an equation calls functions by name",
           is_mean ? fmt::format("the mean over an index is avg{}(…)", text_of(node.callee->span).substr(4))
           : base ? "reductions over an index are sum[j](…), max[j](…), min[j](…), avg[j](…), prod[j](…)"
                  : "");
    return;
  }
  if (!resolve(*callee)) {
    if (!is_equation_function(callee->text)) unknown_name(*callee, true);
    return;
  }
  std::vector<ParameterName> parameters;
  if (callee->binding == Binding::function)
    parameters = parameter_names(*callee->function);
  else if (callee->binding == Binding::native)
    parameters = parameter_names(*callee->native);
  else
    return;  // a function value, matched when it is called
  if (const auto failure = match_arguments(callee->text, parameters, node.arguments, node.plan)) {
    // max(x[i], 0) and min compare two values inside equations.
    const bool is_comparison = (callee->text == "max" || callee->text == "min") && node.arguments.size() == 2;
    if (!is_comparison) report(failure->span ? failure->span : e->span, failure->message, failure->help);
    node.plan.clear();
    return;
  }
  node.planned = true;
}

}  // namespace tl::lang
