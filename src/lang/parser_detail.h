// The parser's class, shared by parser.cpp (declarations, statements) and parser_expressions.cpp.
#pragma once

#include <algorithm>
#include <initializer_list>
#include <memory>
#include <string>
#include <string_view>
#include <vector>

#include "lang/ast.h"
#include "lang/lexer.h"
#include "lang/parser.h"

namespace tl::lang {

/// Thrown after a diagnostic has been recorded; caught where parsing can go on.
struct SyntaxError {};

/// Recursive descent for statements, operator precedence for expressions. Newlines are not tokens: a token
/// knows whether a line ended before it, and outside brackets that ends a statement unless the token
/// continues one.
class Parser {
 public:
  Parser(const Source& source, ParseOptions options);
  ParseResult parse_module();
  std::unique_ptr<ast::Function> parse_signature();
  std::vector<Diagnostic> take_diagnostics() { return std::move(diagnostics_); }

 private:
  // Tokens
  const Token& peek(size_t ahead = 0) const { return tokens_[std::min(at_ + ahead, tokens_.size() - 1)]; }
  bool is(TokenKind kind) const { return peek().kind == kind; }
  bool is_name(std::string_view text, size_t ahead = 0) const {
    return peek(ahead).kind == TokenKind::name && text_of(peek(ahead)) == text;
  }
  bool touches(size_t ahead = 0) const { return !peek(ahead).space_before; }
  bool accept(TokenKind kind);
  const Token& advance();
  /// The next token, which must be `kind`; `what` names the construct in the message.
  const Token& expect(TokenKind kind, std::string_view context, std::string help = {});
  std::string_view text_of(const Token& t) const { return source_.text().substr(t.begin, t.end - t.begin); }
  Span span_of(const Token& t) const { return {&source_, t.begin, t.end}; }
  Span span_from(uint32_t begin) const { return {&source_, begin, std::max(begin, previous_end_)}; }
  uint32_t here() const { return peek().begin; }
  const Token& close(TokenKind kind, std::string_view context, Span open);
  bool is_after_comment(char bracket) const;
  std::string found() const;

  // Errors
  void report(Span span, std::string message, std::string help = {});
  [[noreturn]] void fail(Span span, std::string message, std::string help = {});
  [[noreturn]] void fail_here(std::string message, std::string help = {});
  [[noreturn]] void not_yet(Span span, std::string_view what, std::string help = {});
  void give_up();
  void synchronise_statement();
  void synchronise_declaration();
  bool starts_declaration() const;

  // Declarations
  void declaration(ast::Module& module);
  bool starts_equation() const;
  static bool is_global(const ast::Stmt& s);
  void import(ast::Module& module);
  std::unique_ptr<ast::Function> function();
  void signature(ast::Function& f);
  std::unique_ptr<ast::Function> body_only(ast::Function::Kind kind, std::string name, Span name_span);
  void parameters(ast::Function& f);
  void reserved_form(size_t words, std::string_view what);
  bool reserved_declaration();

  // Statements
  ast::Block block(std::string_view context);
  void statement_into(std::vector<ast::StmtPtr>& out);
  void finish_statement();
  std::string help_on_rest() const;
  ast::StmtPtr statement();
  ast::StmtPtr let();
  ast::StmtPtr tensor();
  ast::StmtPtr conditional();
  ast::StmtPtr for_loop();
  ast::StmtPtr while_loop();
  ast::StmtPtr policy_block();
  bool starts_tensor() const;
  void refuse_parted_block();
  ast::StmtPtr return_value();
  ast::StmtPtr simple_statement();
  ast::StmtPtr equation(ast::ExprPtr target, ast::Projection projection, uint32_t begin);
  ast::StmtPtr assignment(ast::ExprPtr target, ast::AssignOp op, uint32_t begin);
  ast::ExprPtr guard();
  bool at_projection(size_t ahead = 0) const;
  bool starts_record() const;

  // Expressions
  ast::ExprPtr expression() { return expression(0); }
  ast::ExprPtr expression(int min_precedence);
  ast::ExprPtr prefix();
  ast::ExprPtr postfix(ast::ExprPtr left);
  ast::ExprPtr primary();
  ast::ExprPtr number();
  ast::ExprPtr string();
  ast::ExprPtr group();
  ast::ExprPtr list();
  ast::ExprPtr record();
  ast::ExprPtr call(ast::ExprPtr callee);
  ast::ExprPtr reduce(const ast::Index& head);
  ast::ExprPtr member(ast::ExprPtr object);
  ast::ExprPtr index(ast::ExprPtr base);
  ast::IndexItem index_item();
  void arguments(std::vector<ast::Argument>& out);
  bool continues_line() const { return brackets_ > 0 || !peek().newline_before; }
  bool starts_juxtaposed_factor() const;
  bool ends_index_item(size_t ahead) const;
  std::unique_ptr<ast::Name> name(std::string_view context);
  ast::Type type();
  ast::Dim dim();

  /// A new node over `span` above `children`; fails where the tree grows too high.
  template <class T>
  std::unique_ptr<T> make(Span span, std::initializer_list<const ast::Expr*> children = {}) {
    auto node = std::make_unique<T>();
    node->span = span;
    for (const ast::Expr* child : children) raise(*node, child);
    return node;
  }
  void raise(ast::Expr& node, const ast::Expr* child);

  /// Counts nesting for as long as it lives; fails where it is too deep.
  class Nested {
   public:
    explicit Nested(Parser& parser);
    ~Nested() { --parser_.depth_; }
    Nested(const Nested&) = delete;

   private:
    Parser& parser_;
  };
  /// Sets a variable for as long as it lives.
  template <class T>
  class With {
   public:
    With(T& variable, T value) : variable_(variable), saved_(variable) { variable_ = value; }
    ~With() { variable_ = saved_; }
    With(const With&) = delete;

   private:
    T &variable_, saved_;
  };

  const Source& source_;
  ParseOptions options_;
  std::vector<Token> tokens_;
  std::vector<Diagnostic> diagnostics_;
  size_t at_ = 0;
  uint32_t previous_end_ = 0;
  int depth_ = 0;
  bool is_native_ = false;  ///< reading the signature of a native function
  int brackets_ = 0;        ///< open brackets around here: newlines mean nothing inside
  int records_ = 0;         ///< open braces of records within the statement
  int records_at_error_ = 0;
  size_t statement_at_ = SIZE_MAX;  ///< the token that the statement starts with
  size_t unclosed_at_ = 0;          ///< the token at which a block was found never to be closed
  bool gave_up_ = false;
};

}  // namespace tl::lang
