#include <fmt/format.h>

#include <algorithm>
#include <charconv>
#include <cstdlib>
#include <utility>

#include "text/jinja_builtins.h"
#include "text/jinja_syntax.h"

namespace tl::jinja {
namespace {

using E = ExpressionKind;
using S = StatementKind;

/// How deep brackets and blocks may nest.
constexpr int kMaxDepth = 100;

/// Recursive descent, one function per level of precedence, lowest first.
class Parser {
 public:
  explicit Parser(Program& program) : program_(program), tokens_(tokenize_template(program.source)) {}

  void run() {
    program_.body = body({});
    if (!at_kind(TokenKind::end)) unexpected("the end of the template");
  }

 private:
  // --- tokens ---
  const Token& peek() const { return tokens_[at_]; }
  bool at_kind(TokenKind kind) const { return peek().kind == kind; }
  bool at_symbol(std::string_view s) const { return at_kind(TokenKind::symbol) && peek().text == s; }
  bool at_name(std::string_view s) const { return at_kind(TokenKind::name) && peek().text == s; }
  const Token& take() { return tokens_[at_ + 1 < tokens_.size() ? at_++ : at_]; }
  bool accept_symbol(std::string_view s) { return at_symbol(s) && (take(), true); }
  bool accept_name(std::string_view s) { return at_name(s) && (take(), true); }
  void expect_symbol(std::string_view s) {
    if (!accept_symbol(s)) unexpected(fmt::format("'{}'", s));
  }
  void expect_kind(TokenKind kind, std::string_view what) {
    if (!at_kind(kind)) unexpected(what);
    take();
  }
  const Token& expect_name(std::string_view what) {
    if (!at_kind(TokenKind::name)) unexpected(what);
    return take();
  }

  [[noreturn]] static void fail(Span span, std::string message, std::string help = {}) {
    Diagnostic d;
    d.span = span;
    d.message = std::move(message);
    d.help = std::move(help);
    throw ProgramError({std::move(d)});
  }
  [[noreturn]] void unexpected(std::string_view wanted) const {
    std::string found = fmt::format("'{}'", peek().text);
    switch (peek().kind) {
      case TokenKind::end:
        found = "the end of the template";
        break;
      case TokenKind::data:
        found = "text";
        break;
      case TokenKind::string:
        found = "a string";
        break;
      case TokenKind::block_end:
      case TokenKind::variable_end:
        found = "the end of the tag";
        break;
      default:
        break;
    }
    fail(peek().span, fmt::format("expected {}, found {}", wanted, found));
  }

  /// Counts one level of nesting while the result lives.
  Deeper nest() {
    if (depth_ >= kMaxDepth) fail(peek().span, fmt::format("nested more than {} deep", kMaxDepth));
    return Deeper(depth_);
  }

  // --- nodes ---
  Expression* make(E kind, Span span, std::vector<Expression*> parts = {}, std::string name = {}) {
    auto node = std::make_unique<Expression>(Expression{kind, span});
    node->parts = std::move(parts);
    node->name = std::move(name);
    return program_.expressions.emplace_back(std::move(node)).get();
  }
  Expression* literal(Span span, Value value) {
    Expression* e = make(E::literal, span);
    e->value = std::move(value);
    return e;
  }
  Statement* make(S kind, Span span) {
    return program_.statements.emplace_back(std::make_unique<Statement>(Statement{kind, span})).get();
  }
  Span since(Span begin) const { return join(begin, tokens_[at_ == 0 ? 0 : at_ - 1].span); }

  // --- statements ---

  /// Statements up to a block whose name is in `ends`; that block's beginning has then been taken, its name
  /// not.
  std::vector<Statement*> body(const std::vector<std::string_view>& ends) {
    const Deeper deeper = nest();
    std::vector<Statement*> out;
    while (!at_kind(TokenKind::end)) {
      const Token& token = take();
      if (token.kind == TokenKind::data) {
        Statement* s = make(S::text, token.span);
        s->name = token.text;
        out.push_back(s);
      } else if (token.kind == TokenKind::variable_begin) {
        Statement* s = make(S::print, token.span);
        s->value = tuple_or_expression();
        expect_kind(TokenKind::variable_end, "'}}'");
        s->span = s->value->span;
        out.push_back(s);
      } else {
        if (std::find(ends.begin(), ends.end(), std::string_view(peek().text)) != ends.end()) return out;
        out.push_back(block(token.span));
      }
    }
    if (!ends.empty()) unexpected(fmt::format("{{% {} %}}", ends.back()));
    return out;
  }

  void end_block() { expect_kind(TokenKind::block_end, "'%}'"); }
  /// A body that ends with {% NAME %}, that end included.
  std::vector<Statement*> body_until(std::string_view name) {
    end_block();
    std::vector<Statement*> out = body({name});
    take();
    end_block();
    return out;
  }

  Statement* block(Span begin) {
    const Token& name = expect_name("the name of a block");
    const Span span = join(begin, name.span);
    if (name.text == "if") return if_block(span);
    if (name.text == "for") return for_block(span);
    if (name.text == "set") return set_block(span);
    if (name.text == "macro") return macro_block(span);
    if (name.text == "with") return with_block(span);
    if (name.text == "filter") return filter_block(span);
    if (name.text == "generation") {
      Statement* s = make(S::group, span);
      s->body = body_until("endgeneration");
      return s;
    }
    if (name.text == "break" || name.text == "continue") {
      if (loops_ == 0) fail(span, fmt::format("{{% {} %}} outside of a loop", name.text));
      end_block();
      return make(name.text == "break" ? S::break_ : S::continue_, span);
    }
    const std::vector<std::string> known = {"if",         "elif",  "else",     "endif", "for",
                                            "endfor",     "set",   "macro",    "with",  "filter",
                                            "generation", "break", "continue", "raw"};
    const std::string near = nearest_name(name.text, known);
    fail(span, fmt::format("the block {{% {} %}} is not understood here", name.text),
         near.empty() || near == name.text
             ? "chat templates may use if, for, set, macro, with, filter, generation, raw"
             : fmt::format("did you mean '{}'?", near));
  }

  Statement* if_block(Span span) {
    Statement* first = make(S::branch, span);
    Statement* current = first;
    for (;;) {
      current->value = tuple_or_expression();
      end_block();
      current->body = body({"elif", "else", "endif"});
      const std::string name = take().text;
      if (name == "endif") break;
      if (name == "else") {
        current->other = body_until("endif");
        return first;
      }
      Statement* next = make(S::branch, since(span));
      current->other.push_back(next);
      current = next;
    }
    end_block();
    return first;
  }

  Statement* for_block(Span span) {
    Statement* s = make(S::loop, span);
    s->targets = targets(false);
    if (!accept_name("in")) unexpected("'in'");
    s->value = disjunction();  // not a conditional: its `if` would be the loop's
    if (at_symbol(",")) s->value = rest_of_tuple(s->value);
    if (accept_name("if")) s->condition = expression();
    if (at_name("recursive"))
      fail(peek().span, "recursive loops are not understood here", "use a macro instead");
    end_block();
    ++loops_;
    s->body = body({"else", "endfor"});
    --loops_;
    if (take().text == "else") {
      s->other = body_until("endfor");
    } else {
      end_block();
    }
    return s;
  }

  /// Names to assign to, separated by commas; with `attributes` also one attribute of a namespace.
  std::vector<Expression*> targets(bool attributes) {
    std::vector<Expression*> out;
    const bool bracketed = accept_symbol("(");
    do {
      if (!out.empty() && !at_kind(TokenKind::name)) break;
      const Token& name = expect_name("the name of a variable");
      check_assignable(name);
      out.push_back(make(E::name, name.span, {}, name.text));
      if (attributes && out.size() == 1 && accept_symbol(".")) {
        const Token& attribute = expect_name("the name of an attribute");
        out[0] = make(E::attribute, join(name.span, attribute.span), {out[0]}, attribute.text);
        return out;
      }
    } while (accept_symbol(","));
    if (bracketed) expect_symbol(")");
    return out;
  }

  static void check_assignable(const Token& name) {
    static const std::vector<std::string> reserved = {"true", "false", "none", "True", "False", "None",
                                                      "loop", "not",   "and",  "or",   "in",    "is"};
    if (std::find(reserved.begin(), reserved.end(), name.text) != reserved.end()) {
      fail(name.span, fmt::format("'{}' cannot be assigned to", name.text));
    }
  }

  Statement* set_block(Span span) {
    Statement* s = make(S::set, span);
    s->targets = targets(true);
    if (accept_symbol("=")) {
      s->value = tuple_or_expression();
      end_block();
      return s;
    }
    s->kind = S::set_block;
    if (s->targets.size() != 1) unexpected("'='");
    if (at_symbol("|")) s->value = filters(nullptr);
    s->body = body_until("endset");
    return s;
  }

  Statement* macro_block(Span span) {
    Statement* s = make(S::macro, span);
    s->name = expect_name("the name of the macro").text;
    expect_symbol("(");
    while (!at_symbol(")")) {
      if (!s->parameters.empty()) expect_symbol(",");
      const Token& name = expect_name("the name of a parameter");
      check_assignable(name);
      Expression* fallback = accept_symbol("=") ? expression() : nullptr;
      s->parameters.emplace_back(name.text, fallback);
    }
    take();
    const int loops = std::exchange(loops_, 0);
    s->body = body_until("endmacro");
    loops_ = loops;
    return s;
  }

  Statement* with_block(Span span) {
    Statement* s = make(S::with, span);
    while (!at_kind(TokenKind::block_end)) {
      if (!s->parameters.empty()) expect_symbol(",");
      const Token& name = expect_name("the name of a variable");
      check_assignable(name);
      expect_symbol("=");
      s->parameters.emplace_back(name.text, expression());
    }
    s->body = body_until("endwith");
    return s;
  }

  Statement* filter_block(Span span) {
    Statement* s = make(S::filter, span);
    s->value = one_filter(nullptr, span);
    s->value = filters(s->value);
    s->body = body_until("endfilter");
    return s;
  }

  // --- expressions ---

  Expression* tuple_or_expression() {
    Expression* first = expression();
    return at_symbol(",") ? rest_of_tuple(first) : first;
  }

  Expression* rest_of_tuple(Expression* first) {
    std::vector<Expression*> parts = {first};
    while (accept_symbol(",")) {
      if (at_kind(TokenKind::variable_end) || at_kind(TokenKind::block_end) || at_symbol(")")) break;
      parts.push_back(expression());
    }
    return make(E::tuple, since(first->span), std::move(parts));
  }

  Expression* expression() {
    const Deeper deeper = nest();
    Expression* e = disjunction();
    while (accept_name("if")) {
      Expression* condition = disjunction();
      Expression* other = accept_name("else") ? expression() : nullptr;
      e = make(E::conditional, since(e->span), {e, condition, other});
    }
    return e;
  }

  Expression* disjunction() {
    Expression* e = conjunction();
    while (accept_name("or")) {
      Expression* right = conjunction();
      e = make(E::logical_or, join(e->span, right->span), {e, right});
    }
    return e;
  }

  Expression* conjunction() {
    Expression* e = negation();
    while (accept_name("and")) {
      Expression* right = negation();
      e = make(E::logical_and, join(e->span, right->span), {e, right});
    }
    return e;
  }

  Expression* negation() {
    if (!at_name("not")) return comparison();
    const Deeper deeper = nest();
    const Span begin = take().span;
    Expression* e = negation();
    return make(E::negate, join(begin, e->span), {e});
  }

  Expression* comparison() {
    Expression* first = sum();
    Expression* e = nullptr;
    for (;;) {
      std::string op;
      if (at_kind(TokenKind::symbol)) {
        for (const std::string_view s : {"==", "!=", "<=", ">=", "<", ">"}) {
          if (peek().text == s) op = s;
        }
      } else if (at_name("in")) {
        op = "in";
      } else if (at_name("not") && tokens_[at_ + 1].kind == TokenKind::name &&
                 tokens_[at_ + 1].text == "in") {
        take();
        op = "not in";
      }
      if (op.empty()) return e ? e : first;
      take();
      if (e == nullptr) e = make(E::compare, first->span, {first});
      e->operators.push_back(op);
      e->parts.push_back(sum());
      e->span = since(first->span);
    }
  }

  /// Operators of one level, left to right.
  template <class Operand>
  Expression* left_to_right(std::initializer_list<std::string_view> symbols, Operand first, Operand rest) {
    Expression* e = (this->*first)();
    for (;;) {
      const auto op = std::find_if(symbols.begin(), symbols.end(), [&](auto s) { return at_symbol(s); });
      if (op == symbols.end()) return e;
      take();
      Expression* right = (this->*rest)();
      e = make(E::binary, join(e->span, right->span), {e, right}, std::string(*op));
    }
  }

  Expression* sum() { return left_to_right({"+", "-"}, &Parser::concatenation, &Parser::concatenation); }

  Expression* concatenation() {
    Expression* e = product();
    if (!at_symbol("~")) return e;
    std::vector<Expression*> parts = {e};
    while (accept_symbol("~")) parts.push_back(product());
    return make(E::concat, since(e->span), std::move(parts));
  }

  Expression* product() { return left_to_right({"*", "/", "//", "%"}, &Parser::power, &Parser::unary); }
  Expression* power() { return left_to_right({"**"}, &Parser::unary, &Parser::unary); }

  Expression* unary() { return filters(signed_operand()); }

  Expression* signed_operand() {
    if (!at_symbol("-") && !at_symbol("+")) return postfix(primary());
    const Deeper deeper = nest();
    const Token& sign = take();
    Expression* e = signed_operand();
    return make(E::unary, join(sign.span, e->span), {e}, sign.text);
  }

  Expression* primary() {
    const Token& token = peek();
    switch (token.kind) {
      case TokenKind::name:
        return name_or_constant();
      case TokenKind::string:
        return strings();
      case TokenKind::integer:
        return integer();
      case TokenKind::real:
        take();
        return literal(token.span, std::strtod(token.text.c_str(), nullptr));
      default:
        break;
    }
    if (at_symbol("(")) return parenthesis();
    if (at_symbol("[")) {
      take();
      std::vector<Expression*> parts = items("]");
      return make(E::list, since(token.span), std::move(parts));
    }
    if (at_symbol("{")) return dict();
    unexpected("a value");
  }

  Expression* name_or_constant() {
    const Token& t = take();
    if (t.text == "true" || t.text == "True") return literal(t.span, true);
    if (t.text == "false" || t.text == "False") return literal(t.span, false);
    if (t.text == "none" || t.text == "None") return literal(t.span, None{});
    for (const std::string_view word : {"and", "or", "not", "in", "is", "if", "else"}) {
      if (t.text == word) fail(t.span, fmt::format("expected a value, found '{}'", word));
    }
    return make(E::name, t.span, {}, t.text);
  }

  Expression* strings() {
    const Span begin = peek().span;
    std::string text;
    while (at_kind(TokenKind::string)) text += take().text;
    return literal(since(begin), std::make_shared<const std::string>(std::move(text)));
  }

  Expression* integer() {
    const Token& t = take();
    int64_t value = 0;
    const auto [end, error] = std::from_chars(t.text.data(), t.text.data() + t.text.size(), value);
    if (error != std::errc()) fail(t.span, fmt::format("the number {} does not fit into 64 bits", t.text));
    return literal(t.span, value);
  }

  Expression* parenthesis() {
    const Span begin = take().span;
    if (accept_symbol(")")) return make(E::tuple, since(begin));
    Expression* e = tuple_or_expression();
    expect_symbol(")");
    return e;
  }

  /// Expressions separated by commas up to `closer`, which is taken.
  std::vector<Expression*> items(std::string_view closer) {
    std::vector<Expression*> out;
    while (!accept_symbol(closer)) {
      if (!out.empty()) {
        expect_symbol(",");
        if (accept_symbol(closer)) break;
      }
      out.push_back(expression());
    }
    return out;
  }

  Expression* dict() {
    const Span begin = take().span;
    std::vector<Expression*> parts;
    while (!accept_symbol("}")) {
      if (!parts.empty()) {
        expect_symbol(",");
        if (accept_symbol("}")) break;
      }
      parts.push_back(expression());
      expect_symbol(":");
      parts.push_back(expression());
    }
    return make(E::dict, since(begin), std::move(parts));
  }

  /// Attributes, subscripts and calls.
  Expression* postfix(Expression* e) {
    for (;;) {
      if (accept_symbol(".")) {
        if (at_kind(TokenKind::integer)) {
          Expression* index = integer();
          e = make(E::subscript, join(e->span, index->span), {e, index});
        } else {
          const Token& name = expect_name("the name of an attribute");
          e = make(E::attribute, join(e->span, name.span), {e}, name.text);
        }
      } else if (accept_symbol("[")) {
        e = subscript(e);
      } else if (at_symbol("(")) {
        Expression* call = make(E::call, e->span, {e});
        arguments(*call);
        call->span = since(e->span);
        e = call;
      } else {
        return e;
      }
    }
  }

  Expression* subscript(Expression* e) {
    std::vector<Expression*> bounds = {nullptr};
    size_t n_colons = 0;
    while (!at_symbol("]")) {
      if (accept_symbol(":")) {
        if (++n_colons > 2) fail(peek().span, "a slice has at most two colons");
        bounds.push_back(nullptr);
      } else if (bounds.back() == nullptr) {
        bounds.back() = tuple_or_expression();
      } else {
        unexpected("']'");
      }
    }
    take();
    if (n_colons == 0) {
      if (bounds[0] == nullptr) fail(since(e->span), "the subscript is empty");
      return make(E::subscript, since(e->span), {e, bounds[0]});
    }
    bounds.resize(3, nullptr);
    return make(E::slice, since(e->span), {e, bounds[0], bounds[1], bounds[2]});
  }

  /// "(…)" of a call, filter or test, added to `node`.
  void arguments(Expression& node) {
    expect_symbol("(");
    bool first = true;
    while (!accept_symbol(")")) {
      if (!first) {
        expect_symbol(",");
        if (accept_symbol(")")) break;
      }
      first = false;
      if (at_symbol("*") || at_symbol("**")) {
        fail(peek().span, "arguments with * are not understood here", "write them out");
      }
      if (at_kind(TokenKind::name) && tokens_[at_ + 1].kind == TokenKind::symbol &&
          tokens_[at_ + 1].text == "=") {
        const std::string name = take().text;
        take();
        node.named.emplace_back(name, expression());
      } else {
        if (!node.named.empty()) fail(peek().span, "an argument without a name follows one with a name");
        node.parts.push_back(expression());
      }
    }
  }

  /// Filters and tests after an expression (null: the text of a block, filled in later).
  Expression* filters(Expression* e) {
    for (;;) {
      if (at_symbol("|")) {
        const Span bar = take().span;
        e = one_filter(e, e ? e->span : bar);
      } else if (e != nullptr && at_name("is")) {
        take();
        e = test(e);
      } else if (e != nullptr && at_symbol("(")) {
        e = postfix(e);
      } else {
        return e;
      }
    }
  }

  const Builtin* find_builtin(const Token& name, BuiltinKind kind, const char* what) const {
    const Builtin* found = find(kind, name.text);
    if (found != nullptr) return found;
    const std::string near = nearest_name(name.text, names(kind));
    fail(name.span, fmt::format("unknown {} '{}'", what, name.text),
         near.empty() ? "" : fmt::format("did you mean '{}'?", near));
  }

  Expression* one_filter(Expression* input, Span begin) {
    const Token& name = expect_name("the name of a filter");
    Expression* e = make(E::filter, join(begin, name.span), {input}, name.text);
    e->builtin = find_builtin(name, BuiltinKind::filter, "filter");
    if (at_symbol("(")) arguments(*e);
    e->span = since(begin);
    return e;
  }

  Expression* test(Expression* input) {
    const bool negated = accept_name("not");
    const Token& name = expect_name("the name of a test");
    Expression* e = make(E::test, join(input->span, name.span), {input}, name.text);
    e->builtin = find_builtin(name, BuiltinKind::test, "test");
    if (at_symbol("(")) {
      arguments(*e);
    } else if (begins_argument()) {
      e->parts.push_back(postfix(primary()));
    }
    e->span = since(input->span);
    return negated ? make(E::negate, e->span, {e}) : e;
  }

  /// Whether what follows a test's name is its argument, written without brackets.
  bool begins_argument() const {
    switch (peek().kind) {
      case TokenKind::string:
      case TokenKind::integer:
      case TokenKind::real:
        return true;
      case TokenKind::symbol:
        return at_symbol("[") || at_symbol("{");
      case TokenKind::name:
        return !at_name("else") && !at_name("or") && !at_name("and") && !at_name("is") && !at_name("if") &&
               !at_name("not") && !at_name("in");
      default:
        return false;
    }
  }

  Program& program_;
  std::vector<Token> tokens_;
  size_t at_ = 0;
  int depth_ = 0, loops_ = 0;
};

}  // namespace

std::unique_ptr<Program> parse_template(std::string_view text, const std::string& name) {
  constexpr size_t kMaxSize = size_t{1} << 20;
  if (text.size() > kMaxSize) {
    throw Error(
        fmt::format("{}: the template has {} bytes; more than {} are refused", name, text.size(), kMaxSize));
  }
  auto program = std::make_unique<Program>(Source(name, std::string(text)));
  Parser(*program).run();
  return program;
}

}  // namespace tl::jinja
