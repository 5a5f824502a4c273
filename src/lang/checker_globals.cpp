// What is defined at top level: equations as declarations, and the order in which things come about.
//
// let and tensor statements run as they are written. Equations run when what they read is there, wherever
// they stand: each group of equations that read one another is one step.
#include <algorithm>

#include <fmt/format.h>

#include "lang/checker_detail.h"

namespace tl::lang {

using namespace ast;

/// Globals, in order; each sees those before it (and all of the imports).
void Checker::globals() {
  auto& statements = module_.ast->globals;
  global_uses_.resize(statements.size());
  for (size_t i = 0; i < statements.size(); ++i) {
    uses_ = &global_uses_[i];
    statement(statements[i]);
  }
  uses_ = nullptr;
}

/// An equation at top level. Its target has got its slot by declare().
void Checker::declaration(Equation& e) {
  e.is_declaration = e.may_grow = true;
  const auto found = module_.visible.find(e.target->text);
  if (found != module_.visible.end() && !found->second.function) {
    e.target->binding = Binding::global;
    e.target->slot = found->second.slot;
  }
  equation(e);
}

namespace {

const Equation* as_declaration(const Stmt& s) {
  return s.kind == StmtKind::equation && ast::as<Equation>(s).is_declaration ? &ast::as<Equation>(s)
                                                                             : nullptr;
}

/// The slots that a statement sets.
std::vector<uint32_t> defined_by(const Stmt& s) {
  std::vector<uint32_t> slots;
  if (const auto* e = as_declaration(s)) slots.push_back(e->target->slot);
  if (s.kind == StmtKind::let)
    for (const auto& n : ast::as<Let>(s).names) slots.push_back(n->slot);
  if (s.kind == StmtKind::assign && ast::as<Assign>(s).reads_as)
    slots.push_back(ast::as<Name>(*ast::as<Assign>(s).target).slot);
  return slots;
}

/// Groups of statements that need one another, each after those that it needs (Tarjan's algorithm).
class Sorter {
 public:
  explicit Sorter(const std::vector<std::vector<size_t>>& needs)
      : needs_(needs), number_(needs.size()), low_(needs.size()), is_open_(needs.size()) {
    for (size_t i = 0; i < needs.size(); ++i)
      if (number_[i] == 0) visit(i);
  }
  std::vector<std::vector<size_t>> groups;

 private:
  void visit(size_t i) {
    number_[i] = low_[i] = ++counter_;
    open_.push_back(i);
    is_open_[i] = true;
    for (const size_t need : needs_[i]) {
      if (number_[need] == 0) visit(need);
      if (is_open_[need]) low_[i] = std::min(low_[i], low_[need]);
    }
    if (low_[i] != number_[i]) return;
    const auto first = std::find(open_.begin(), open_.end(), i);
    auto& group = groups.emplace_back(first, open_.end());
    open_.erase(first, open_.end());
    for (const size_t member : group) is_open_[member] = false;
    std::sort(group.begin(), group.end());
  }

  const std::vector<std::vector<size_t>>& needs_;
  std::vector<size_t> number_, low_, open_;
  std::vector<bool> is_open_;
  size_t counter_ = 0;
};

}  // namespace

void Checker::order_globals() {
  const auto& statements = module_.ast->globals;
  std::vector<std::vector<size_t>> needs(statements.size());
  std::map<uint32_t, std::vector<size_t>> definers;
  for (size_t i = 0; i < statements.size(); ++i)
    for (const uint32_t slot : defined_by(*statements[i])) definers[slot].push_back(i);
  for (size_t i = 0; module_.ast->is_declarative && i < statements.size(); ++i) {
    Uses uses = global_uses_[i];
    std::vector<const Function*> open(uses.functions.begin(), uses.functions.end());
    while (!open.empty()) {  // what a function refers to, whoever calls it needs
      const Uses& more = function_uses_[open.back()];
      open.pop_back();
      uses.globals.insert(more.globals.begin(), more.globals.end());
      for (const Function* f : more.functions)
        if (uses.functions.insert(f).second) open.push_back(f);
    }
    if (as_declaration(*statements[i]) == nullptr)
      for (const uint32_t slot : defined_by(*statements[i])) uses.globals.erase(slot);
    for (const uint32_t slot : uses.globals)
      for (const size_t d : definers[slot])
        if (as_declaration(*statements[i]) != nullptr || statements[d]->kind != StmtKind::let)
          needs[i].push_back(d);
  }
  for (const auto& group : Sorter(needs).groups) {
    GlobalStep step;
    for (const size_t i : group) step.statements.push_back(statements[i].get());
    step.is_together = group.size() > 1;
    if (step.is_together) check_together(step);
    module_.ast->order.push_back(std::move(step));
  }
  check_projections();
}

/// Only equations can be solved together.
void Checker::check_together(const GlobalStep& step) {
  for (const Stmt* s : step.statements) {
    if (as_declaration(*s) != nullptr) continue;
    auto& d = report(s->span, "this needs a tensor that is defined by it");
    for (const Stmt* other : step.statements)
      if (as_declaration(*other) != nullptr) d.notes.push_back({other->span, "here"});
    return;
  }
}

/// Several equations of one tensor add up, so none of them may combine its terms otherwise.
void Checker::check_projections() {
  std::map<uint32_t, const Equation*> first;
  for (const StmtPtr& s : module_.ast->globals) {
    const Equation* e = as_declaration(*s);
    if (e == nullptr) continue;
    const auto [at, is_new] = first.try_emplace(e->target->slot, e);
    const auto adds = [](const Equation& x) {
      return x.projection == Projection::assign || x.projection == Projection::sum;
    };
    if (is_new || (adds(*e) && adds(*at->second))) continue;
    report(
        e->span,
        fmt::format("several equations of '{}' add up, so max=, min= and avg= stand alone", e->target->text),
        "combine them in one equation")
        .notes.push_back({at->second->span, "another equation is here"});
  }
}

}  // namespace tl::lang
