// The checker's class, shared by checker.cpp (declarations, statements), checker_expressions.cpp,
// checker_equations.cpp, checker_shapes.cpp, checker_globals.cpp and checker_warnings.cpp.
#pragma once

#include <map>
#include <optional>
#include <set>
#include <string>
#include <string_view>
#include <vector>

#include "lang/checker.h"
#include "lang/known.h"
#include "lang/stand_ins.h"

namespace tl::lang {

class Checker {
 public:
  Checker(LoadedModule& module, const Library& library, std::vector<Diagnostic>& diagnostics)
      : module_(module), library_(library), diagnostics_(diagnostics), stand_ins_(library) {}
  void run();
  /// Resolves and checks one function (also main and tests).
  void function(ast::Function& f);

 private:
  struct Variable {
    std::string name;
    uint32_t slot = 0;
    bool is_global = false;
    Span span;
    Known known;
    bool grows = false;                   ///< it came about by filling a part of it
    const ast::Type* declared = nullptr;  ///< of `tensor x: …`: what it may be read as from a file
  };
  /// What of a file's globals something refers to.
  struct Uses {
    std::set<uint32_t> globals;
    std::set<const ast::Function*> functions;
  };
  struct ClosedVariable {
    std::string name;
    Span span;
  };

  // Scopes
  class Scope;
  Variable& add_variable(const ast::Name& name, Known known = {});
  Variable& add_variable(const std::string& name, Span span, Known known = {});
  const Variable* find_variable(std::string_view name) const;
  void bind(ast::Name& name, const Variable& variable);

  // Declarations and statements (checker.cpp)
  void parameters(ast::Function& f);
  void dimensions(ast::Function& f, ast::Type& type);
  void dimensions_in_body(ast::Type& type);
  void block(ast::Block& body);
  void statements(ast::Block& body);
  void statement(ast::StmtPtr& s);
  void let(ast::StmtPtr& s);
  void declare_names(ast::Let& let, const Known& value);
  bool is_top_level() const { return !function_ && blocks_ == 0; }  ///< where variables are globals
  void assign(ast::StmtPtr& s);
  bool assign_file(ast::Assign& s);
  void assign_place(ast::Expr& target);
  void conditional(ast::Conditional& s);
  void for_loop(ast::For& s);
  void while_loop(ast::While& s);
  void policy_block(ast::PolicyBlock& s);
  void condition(ast::ExprPtr& e);
  void return_value(ast::Return& s);
  void result(Known value, Span span);
  void last_value(const ast::Block& body);
  void last_statement(const ast::Block& body);

  // Expressions (checker_expressions.cpp)
  Known expression(ast::ExprPtr& e);
  Known infer(ast::ExprPtr& e);
  void remember(const ast::Expr& e, const Known& known);
  Known name(ast::Name& n);
  Known unary(ast::Unary& e);
  Known binary(ast::Binary& e);
  Known index(ast::Index& e);
  Known cast(ast::Cast& e);
  Known call(ast::ExprPtr& e);
  Known call_user(ast::Call& e, const ast::Function& f);
  Known call_native(ast::Call& e, const NativeFunction& f);
  bool dimension_value(ast::ExprPtr& e);
  std::vector<Known> index_items(std::vector<ast::IndexItem>& items);
  bool argument(Span place, const Known& value, const ast::Type& type, std::string_view parameter,
                std::string_view function, Span declared);

  // Shapes (checker_shapes.cpp)
  Known shape_of_binary(const ast::Binary& e, const Known& a, const Known& b);
  Known shape_of_unary(const ast::Unary& e, const Known& operand);
  Known shape_of_index(const ast::Index& e, const Known& base, const std::vector<Known>& keys);
  Known shape_of_native(const ast::Call& e, const NativeFunction& f, const std::vector<Known>& arguments);
  Known shape_of_equation(const ast::Equation& e, const std::optional<Known>& before);
  Known shape_of_user(const ast::Call& e, const ast::Function& f, const std::vector<Known>& arguments);
  Known trial(std::span<const Known> operands, const StandIns::Operation& operation, bool refusal_is_proof,
              Span place, ast::TypeKind otherwise);
  bool resolve(ast::Name& n);
  bool look_up(ast::Name& n);
  void unknown_name(const ast::Name& n, bool is_function);
  std::vector<std::string> names_in_scope(bool with_library) const;

  // Warnings (checker_warnings.cpp)
  void warn_of_unused(const ast::Stmt& s);
  void warn_of_slips(size_t n_left);
  void warn_of_share(const ast::Binary& e, const Known& left, const Known& right);
  void warn_of_places(const ast::Call& e, const NativeFunction& f);

  // Equations (checker_equations.cpp)
  void equation(ast::Equation& e, bool declares_always = false);
  bool has_index_names(const ast::Expr& e) const;
  void collect_index_names(const ast::Expr* e, std::set<std::string>& out) const;
  void collect_from_items(const std::vector<ast::IndexItem>& items, std::set<std::string>& out) const;
  void collect_bare(const ast::Expr* e, std::set<std::string>& out) const;
  void equation_items(std::vector<ast::IndexItem>& items);
  void equation_expression(ast::ExprPtr& e, bool in_brackets);
  void equation_name(ast::Name& n, bool in_brackets);
  void equation_index(ast::Index& e);
  void equation_call(ast::ExprPtr& e);
  std::unique_ptr<ast::Equation> as_equation(std::unique_ptr<ast::Name> target, ast::ExprPtr rhs,
                                             ast::Projection projection, Span span);
  std::optional<Known> known_before(const ast::Equation& e, bool declares_always) const;
  void check_rank(const Known& base, const ast::Index& e);
  void check_free(const std::vector<ast::IndexItem>& items);
  void bind_target(ast::Equation& e, bool declares_always, bool is_partial, const Known& known);

  // What is defined at top level (checker_globals.cpp)
  void globals();
  void declaration(ast::Equation& e);
  bool is_declaration() const { return is_top_level() && module_.ast->is_declarative; }
  void order_globals();
  void check_together(const ast::GlobalStep& step);
  void check_projections();

  Diagnostic& report(Span span, std::string message, std::string help = {});

  LoadedModule& module_;
  const Library& library_;
  std::vector<Diagnostic>& diagnostics_;
  StandIns stand_ins_;
  ast::Function* function_ = nullptr;   ///< whose body is being checked; null at top level
  std::vector<Variable> variables_;     ///< in scope, innermost last
  std::vector<ClosedVariable> closed_;  ///< of inner blocks that have ended, for hints
  /// Names that may hold one thing now and another later; true: a tensor now is a tensor later.
  std::map<std::string, bool> changing_;
  std::set<std::string>* index_names_ = nullptr;  ///< of the equation being checked
  std::vector<const ast::Name*> met_indices_;     ///< of the equation being checked, wherever they stand
  ast::Equation* equation_ = nullptr;             ///< being checked, where its target is bound already
  Uses* uses_ = nullptr;                          ///< of what is being checked
  std::vector<Uses> global_uses_;                 ///< of each statement at top level
  std::map<const ast::Function*, Uses> function_uses_;
  uint32_t next_slot_ = 0, n_slots_ = 0, n_dims_ = 0;
  int loops_ = 0;
  int blocks_ = 0;
};

}  // namespace tl::lang
