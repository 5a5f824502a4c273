// Declarations, statements, and recovery from mistakes in them.
#include "lang/parser.h"

#include <array>
#include <cctype>
#include <utility>

#include <fmt/format.h>

#include "lang/parser_detail.h"

namespace tl::lang {

using namespace ast;

namespace {
constexpr size_t kMaxDiagnostics = 20;
constexpr uint16_t kMaxHeight = 1000;
}  // namespace

Parser::Parser(const Source& source, ParseOptions options) : source_(source), options_(options) {
  TokenList list = tokenize(source);
  tokens_ = std::move(list.tokens);
  diagnostics_ = std::move(list.diagnostics);
}

// --------------------------------------------------------------------------------------------------- tokens

const Token& Parser::advance() {
  const Token& token = peek();
  previous_end_ = token.end;
  if (at_ + 1 < tokens_.size()) ++at_;
  return token;
}

bool Parser::accept(TokenKind kind) {
  if (!is(kind)) return false;
  advance();
  return true;
}

const Token& Parser::expect(TokenKind kind, std::string_view context, std::string help) {
  if (!is(kind))
    fail_here(fmt::format("expected {} {}, found {}", describe(kind), context, found()), std::move(help));
  return advance();
}

/// The closing bracket of what was opened at `open`.
const Token& Parser::close(TokenKind kind, std::string_view context, Span open) {
  if (is(kind)) return advance();
  if (is(TokenKind::invalid)) fail_here({});
  const bool may_lack_comma = peek().kind >= TokenKind::name && peek().kind <= TokenKind::string;
  const bool is_formatted = is(TokenKind::string) && touches() && text_of(tokens_[at_ - 1]) == "f";
  const std::string message = fmt::format("expected {} {}, found {}", describe(kind), context, found());
  records_at_error_ = records_;
  if (!gave_up_) {
    report(span_of(peek()), message,
           is_after_comment(describe(kind)[1]) ? "`//` begins a comment; int / int divides integers"
           : is_formatted                      ? "format(\"{:.2f}\", x) fills places in a text"
           : may_lack_comma                    ? "is a comma missing?"
                                               : "");
    const bool is_far = source_.position(open.begin).line != source_.position(peek().begin).line;
    if (is_far) diagnostics_.back().notes.push_back({open, "it is opened here"});
  }
  throw SyntaxError{};
}

/// Whether a comment stands before this token that hides the second operand of Python's `//`, and with it the
/// bracket that is missing: f(7 // 2).
bool Parser::is_after_comment(char bracket) const {
  if (at_ == 0 || !peek().comment_before) return false;
  const uint32_t begin = tokens_[at_ - 1].end;
  std::string_view text = source_.text().substr(begin, peek().begin - begin);
  text = text.substr(0, text.find('\n'));
  const size_t slashes = text.find_first_not_of(' ');
  if (slashes == std::string_view::npos || !text.substr(slashes).starts_with("//")) return false;
  const size_t operand = text.find_first_not_of(' ', slashes + 2);
  if (operand == std::string_view::npos) return false;
  const bool is_operand = std::isalnum(static_cast<unsigned char>(text[operand])) != 0;
  return is_operand && text.find(bracket, operand) != std::string_view::npos;
}

std::string Parser::found() const {
  const Token& token = peek();
  if (token.kind == TokenKind::end) return "the end of the file";
  return fmt::format("'{}'", text_of(token));
}

// --------------------------------------------------------------------------------------------------- errors

void Parser::report(Span span, std::string message, std::string help) {
  if (gave_up_) return;
  diagnostics_.push_back({Severity::error, span, std::move(message), {}, std::move(help)});
  if (diagnostics_.size() >= kMaxDiagnostics) give_up();
}

/// What follows would be misread, or nobody would read on.
void Parser::give_up() {
  gave_up_ = true;
  at_ = tokens_.size() - 1;
}

void Parser::fail(Span span, std::string message, std::string help) {
  records_at_error_ = records_;
  report(span, std::move(message), std::move(help));
  throw SyntaxError{};
}

void Parser::fail_here(std::string message, std::string help) {
  records_at_error_ = records_;
  if (is(TokenKind::invalid)) throw SyntaxError{};  // the lexer has said what is wrong here
  fail(span_of(peek()), std::move(message), std::move(help));
}

void Parser::not_yet(Span span, std::string_view what, std::string help) {
  fail(span, fmt::format("not yet: {} are part of the language, but this version does not run them", what),
       std::move(help));
}

Parser::Nested::Nested(Parser& parser) : parser_(parser) {
  if (++parser_.depth_ <= kMaxNesting) return;
  --parser_.depth_;
  parser_.report(parser_.span_of(parser_.peek()), "this is nested too deeply",
                 fmt::format("at most {} levels are possible", kMaxNesting));
  parser_.give_up();
  throw SyntaxError{};
}

void Parser::raise(Expr& node, const Expr* child) {
  if (!child) return;
  node.height = std::max<uint16_t>(node.height, static_cast<uint16_t>(child->height + 1));
  if (node.height > kMaxHeight)
    fail(child->span, "this expression is too long",
         fmt::format("name parts of it with let; at most {} operations "
                     "can build on one another",
                     kMaxHeight));
}

/// Skips to where the next statement of the same block starts.
void Parser::synchronise_statement() {
  brackets_ = 0;
  for (int braces = std::exchange(records_at_error_, 0); !is(TokenKind::end); advance()) {
    if (is(TokenKind::right_brace) && braces-- == 0) return;
    if (is(TokenKind::left_brace)) ++braces;
    if (!peek().newline_before) continue;
    if (braces == 0 || starts_declaration()) return;
  }
}

/// Skips to the start of a line that can begin a declaration: one that is not inside braces opened on the
/// way.
void Parser::synchronise_declaration() {
  brackets_ = 0;
  records_at_error_ = 0;
  const auto starts_line = [&] { return source_.position(peek().begin).column == 1; };
  for (int braces = 0; !is(TokenKind::end); advance()) {
    if (peek().newline_before && starts_line() &&
        (starts_declaration() || (braces <= 0 && !is(TokenKind::right_brace))))
      return;
    if (is(TokenKind::left_brace)) ++braces;
    if (is(TokenKind::right_brace)) --braces;
  }
}

/// Whether the token here, at the very start of a line, can only begin a declaration: the block before it was
/// never closed.
bool Parser::starts_declaration() const {
  const Token& token = peek();
  if (source_.position(token.begin).column != 1) return false;
  if (token.kind == TokenKind::kw_fn || token.kind == TokenKind::kw_import) return true;
  return (is_name("main") && peek(1).kind == TokenKind::left_brace) ||
         (is_name("test") && peek(1).kind == TokenKind::string && !peek(1).newline_before);
}

// --------------------------------------------------------------------------------------------- declarations

ParseResult Parser::parse_module() {
  auto module = std::make_unique<Module>();
  module->source = &source_;
  module->is_declarative = !options_.statements_at_top_level;
  while (!is(TokenKind::end)) {
    const size_t start = at_;
    try {
      depth_ = 0;
      declaration(*module);
    } catch (const SyntaxError&) {
      if (at_ == start) advance();
      synchronise_declaration();
    }
  }
  std::stable_sort(diagnostics_.begin(), diagnostics_.end(),
                   [](const Diagnostic& a, const Diagnostic& b) { return a.span.begin < b.span.begin; });
  return {std::move(module), std::move(diagnostics_)};
}

void Parser::declaration(Module& module) {
  if (is(TokenKind::kw_import)) return import(module);
  if (is(TokenKind::kw_fn)) {
    module.functions.push_back(function());
    return;
  }
  if (is_name("main") && peek(1).kind == TokenKind::left_brace) {
    const Token& word = advance();
    if (module.main) {
      diagnostics_.push_back({Severity::error,
                              span_of(word),
                              "a program has one main",
                              {{module.main->name_span, "the first is here"}},
                              {}});
    }
    auto main = body_only(Function::Kind::main, "main", span_of(word));
    if (!module.main) module.main = std::move(main);
    return;
  }
  if (is_name("test") && peek(1).kind == TokenKind::string && !peek(1).newline_before) {
    advance();
    const Token& title = advance();
    module.tests.push_back(
        body_only(Function::Kind::test, unescape(source_, title, diagnostics_), span_of(title)));
    return;
  }
  if (reserved_declaration()) return;
  const bool is_definition = is(TokenKind::kw_let) || starts_tensor();
  if (is_definition || options_.statements_at_top_level) {
    module.globals.push_back(statement());
    return finish_statement();
  }
  if (is(TokenKind::right_brace)) fail_here("this '}' closes nothing");
  const Span span = span_of(peek());
  if (starts_equation()) {
    StmtPtr parsed = statement();  // reports what is wrong inside it, and rules
    if (!is_global(*parsed)) fail(parsed->span, "a statement stands inside main { … } or a function");
    module.globals.push_back(std::move(parsed));
    return finish_statement();
  }
  fail(
      span, fmt::format("expected a declaration, found {}", found()),
      "a file holds import, fn, let, tensor, equations, main { … } and test \"name\" { … }; statements stand "
      "inside main");
}

/// Whether what comes may be an equation, a question, or tensor data from or to a file.
bool Parser::starts_equation() const {
  const TokenKind next = peek(1).kind;
  if (is(TokenKind::string)) return next == TokenKind::equal;
  if (!is(TokenKind::name)) return false;
  return next == TokenKind::left_paren || next == TokenKind::left_bracket || next == TokenKind::equal ||
         next == TokenKind::colon_equal || next == TokenKind::plus_equal || next == TokenKind::question ||
         at_projection(1);
}

/// Whether a statement may stand at top level. What an assignment is, is known once names are.
bool Parser::is_global(const Stmt& s) {
  if (s.kind == StmtKind::equation) return true;
  if (s.kind == StmtKind::expression) return ast::as<Expression>(s).value->kind == ExprKind::ask;
  if (s.kind != StmtKind::assign) return false;
  const ExprKind target = ast::as<Assign>(s).target->kind;
  return target == ExprKind::name || target == ExprKind::string;
}

void Parser::import(Module& module) {
  const uint32_t begin = here();
  advance();
  if (!is(TokenKind::string))
    fail_here(fmt::format("expected the name of a file in quotes, found {}", found()),
              "import \"llama.tl\" reads another program; functions that are built in need none");
  Import node;
  node.path = unescape(source_, advance(), diagnostics_);
  node.span = span_from(begin);
  module.imports.push_back(std::move(node));
  finish_statement();
}

std::unique_ptr<Function> Parser::function() {
  const uint32_t begin = here();
  advance();
  auto f = std::make_unique<Function>();
  signature(*f);
  f->body = block("to open the function's body");
  f->span = span_from(begin);
  return f;
}

/// name(parameters) -> result
void Parser::signature(Function& f) {
  const auto id = name("the function's name");
  f.name = id->text;
  f.name_span = id->span;
  parameters(f);
  if (accept(TokenKind::arrow)) f.result = type();
}

void Parser::parameters(Function& f) {
  const Span open = span_of(expect(TokenKind::left_paren, "to open the parameters"));
  const With inside(brackets_, brackets_ + 1);
  while (!is(TokenKind::right_paren)) {
    Parameter p;
    const uint32_t begin = here();
    p.name = name("a parameter")->text;
    if (is_native_ && accept(TokenKind::bar)) p.alias = name("another name of the parameter")->text;
    p.is_variadic = is_native_ && accept(TokenKind::ellipsis);
    if (accept(TokenKind::colon)) p.type = type();
    if (accept(TokenKind::equal)) p.default_value = expression();
    p.span = span_from(begin);
    f.parameters.push_back(std::move(p));
    if (!accept(TokenKind::comma)) break;
  }
  close(TokenKind::right_paren, "to close the parameters", open);
}

std::unique_ptr<Function> Parser::body_only(Function::Kind kind, std::string title, Span name_span) {
  auto f = std::make_unique<Function>();
  f->kind = kind;
  f->name = std::move(title);
  f->name_span = name_span;
  f->body = block("to open the block");
  f->span = span_from(name_span.begin);
  return f;
}

/// The forms of learning and logic are understood well enough to be named.
bool Parser::reserved_declaration() {
  struct Form {
    std::string_view word;
    TokenKind next;
    std::string_view what;
  };
  constexpr std::array kForms = std::to_array<Form>({
      {"entity", TokenKind::name, "entities"},
      {"relation", TokenKind::name, "relations"},
      {"embedding", TokenKind::name, "embedding declarations"},
      {"learn", TokenKind::left_brace, "learn blocks"},
      {"infer", TokenKind::left_brace, "infer blocks"},
  });
  for (const Form& form : kForms) {
    if (!is_name(form.word) || peek(1).kind != form.next || peek(1).newline_before) continue;
    const Span span = span_of(advance());
    // Skip the form, so that what follows it is read on its own.
    for (int braces = 0; !is(TokenKind::end);) {
      if (is(TokenKind::left_brace)) ++braces;
      if (is(TokenKind::right_brace) && braces-- == 0) break;
      advance();
      if (peek().newline_before && braces <= 0) break;
    }
    report(span, fmt::format("not yet: {} are part of the language, but this version does not run them",
                             form.what));
    return true;
  }
  return false;
}

// ----------------------------------------------------------------------------------------------- statements

Block Parser::block(std::string_view context) {
  const Nested nested(*this);
  const Token& open =
      expect(TokenKind::left_brace, context,
             is(TokenKind::colon) || is(TokenKind::equal) ? "a block stands in braces: { … }" : "");
  const With outside(brackets_, 0);
  Block out;
  while (!is(TokenKind::right_brace)) {
    if (is(TokenKind::end) || starts_declaration()) {
      // One missing brace leaves all blocks around it open: the innermost is named, the others follow it.
      if (std::exchange(unclosed_at_, at_) == at_) throw SyntaxError{};
      fail(span_of(open), "this block is never closed", "its '}' is missing");
    }
    statement_into(out.statements);
  }
  advance();
  out.span = span_from(open.begin);
  return out;
}

void Parser::statement_into(std::vector<StmtPtr>& out) {
  const size_t start = at_;
  const int depth = depth_;
  try {
    if (accept(TokenKind::semicolon) || reserved_declaration()) return;
    if (is(TokenKind::kw_fn) && peek(1).kind == TokenKind::name) {
      report(span_of(peek()), "a function is defined at top level, not inside a block");
      function();  // understood, so that its body is not misread
      return;
    }
    out.push_back(statement());
    finish_statement();
  } catch (const SyntaxError&) {
    depth_ = depth;
    if (at_ == start && !is(TokenKind::right_brace)) advance();
    if (peek().newline_before && at_ != start && starts_declaration()) return;
    synchronise_statement();
  }
}

void Parser::finish_statement() {
  if (accept(TokenKind::semicolon) || peek().newline_before || is(TokenKind::right_brace) ||
      is(TokenKind::end))
    return;
  fail_here(fmt::format("expected the end of the statement, found {}", found()), help_on_rest());
}

/// What stands after a statement may be another language's way to go on.
std::string Parser::help_on_rest() const {
  if (is(TokenKind::equal)) return "'=' assigns; a comparison is written ==";
  if (is_name("elif") || is_name("elsif")) return "here it is written else if … { … }";
  for (size_t i = at_; is(TokenKind::colon) && i-- > 0;) {
    const std::string_view word = text_of(tokens_[i]);
    if (word == "def") return "a function is written fn f(x) { … }, at top level";
    if (word == "lambda") return "functions have names: fn f(x) { return … }, at top level";
    if (tokens_[i].newline_before) break;
  }
  return {};
}

StmtPtr Parser::statement() {
  const Nested nested(*this);
  switch (peek().kind) {
    case TokenKind::kw_let:
      return let();
    case TokenKind::kw_if:
      return conditional();
    case TokenKind::kw_for:
      return for_loop();
    case TokenKind::kw_while:
      return while_loop();
    case TokenKind::kw_return:
      return return_value();
    case TokenKind::kw_break: {
      auto node = std::make_unique<Break>();
      node->span = span_of(advance());
      return node;
    }
    case TokenKind::kw_continue: {
      auto node = std::make_unique<Continue>();
      node->span = span_of(advance());
      return node;
    }
    case TokenKind::kw_else:
      fail_here("this 'else' follows no 'if'");
    case TokenKind::left_brace:
      if (!starts_record()) {
        auto node = std::make_unique<BlockStatement>();
        node->body = block("to open the block");
        node->span = node->body.span;
        return node;
      }
      break;
    case TokenKind::name:
      refuse_parted_block();
      if (starts_tensor()) return tensor();
      if (is_name("loop") && peek(1).kind == TokenKind::left_brace) return while_loop();
      if (is_name("with") && peek(1).kind == TokenKind::name && !peek(1).newline_before)
        return policy_block();
      break;
    default:
      break;
  }
  return simple_statement();
}

bool Parser::starts_tensor() const {
  return is_name("tensor") && peek(1).kind == TokenKind::name && !peek(1).newline_before;
}

/// `main;{` would be two statements, and begin a block as soon as the semicolon is a line's end.
void Parser::refuse_parted_block() {
  if (!is_name("main") && !is_name("loop")) return;
  size_t next = 1;
  while (peek(next).kind == TokenKind::semicolon) ++next;
  if (next == 1 || peek(next).kind != TokenKind::left_brace) return;
  advance();
  fail_here("no semicolon stands before the block");
}

bool Parser::starts_record() const {
  const TokenKind first = peek(1).kind;
  if (first == TokenKind::right_brace) return true;
  return (first == TokenKind::name || first == TokenKind::string) && peek(2).kind == TokenKind::colon;
}

StmtPtr Parser::let() {
  auto node = std::make_unique<Let>();
  const uint32_t begin = here();
  advance();
  if (accept(TokenKind::left_paren)) {
    node->is_tuple = true;
    const With inside(brackets_, brackets_ + 1);
    do node->names.push_back(name("a name"));
    while (accept(TokenKind::comma) && !is(TokenKind::right_paren));
    expect(TokenKind::right_paren, "to close the names");
  } else {
    node->names.push_back(name("a name after 'let'"));
    if (is(TokenKind::left_bracket))
      fail_here("an equation is written without let", fmt::format("{}[…] = …", node->names[0]->text));
    if (accept(TokenKind::colon)) node->type = type();
  }
  if (!accept(TokenKind::colon_equal)) expect(TokenKind::equal, "after the name");
  node->value = expression();
  if (is(TokenKind::kw_where))
    fail_here("a guard belongs to an equation",
              fmt::format("leave out let: {} = … where …", node->names[0]->text));
  node->span = span_from(begin);
  return node;
}

/// tensor x: float16[2, 3] = e
StmtPtr Parser::tensor() {
  auto node = std::make_unique<Let>();
  const uint32_t begin = here();
  advance();
  node->is_tensor = true;
  node->names.push_back(name("the tensor's name"));
  if (accept(TokenKind::colon)) node->type = type();
  if (is_name("learnable")) not_yet(span_of(peek()), "learnable tensors");
  const bool has_value = accept(TokenKind::colon_equal) || accept(TokenKind::equal);
  if (has_value) node->value = expression();
  if (!has_value && !node->type.has_shape)
    fail_here("expected '=' and a value for the tensor, found " + found(),
              "only a tensor with a shape may come without a value");
  node->span = span_from(begin);
  return node;
}

StmtPtr Parser::conditional() {
  auto node = std::make_unique<Conditional>();
  const uint32_t begin = here();
  do {
    Conditional::Arm arm;
    if (accept(TokenKind::kw_if)) {
      arm.condition = expression();
      if (is(TokenKind::equal))
        fail_here("expected '{' after the condition, found '='", "a comparison is written ==");
    } else if (!node->arms.empty() && !node->arms.back().condition) {
      fail_here("this 'else' follows an 'else'");
    }
    arm.body = block("after the condition");
    node->arms.push_back(std::move(arm));
  } while (accept(TokenKind::kw_else));
  node->span = span_from(begin);
  return node;
}

StmtPtr Parser::for_loop() {
  auto node = std::make_unique<For>();
  const uint32_t begin = here();
  advance();
  node->variable = name("the loop's variable");
  expect(TokenKind::kw_in, "after the loop's variable",
         is(TokenKind::comma) ? "a loop has one variable: for i in 0..len(xs) { let x = xs[i] … }"
                              : "for i in 0..n { … }");
  node->sequence = expression();
  node->body = block("to open the loop's body");
  node->span = span_from(begin);
  return node;
}

/// while condition { … } and loop { … }
StmtPtr Parser::while_loop() {
  auto node = std::make_unique<While>();
  const uint32_t begin = here();
  const bool has_condition = advance().kind == TokenKind::kw_while;
  if (has_condition) node->condition = expression();
  node->body = block("to open the loop's body");
  node->span = span_from(begin);
  return node;
}

StmtPtr Parser::policy_block() {
  auto node = std::make_unique<PolicyBlock>();
  const uint32_t begin = here();
  advance();
  node->policy = expression();
  node->body = block("to open the block that is computed so");
  node->span = span_from(begin);
  return node;
}

StmtPtr Parser::return_value() {
  auto node = std::make_unique<Return>();
  const uint32_t begin = here();
  advance();
  const bool ends_here = peek().newline_before || is(TokenKind::right_brace) || is(TokenKind::semicolon);
  if (!ends_here && !is(TokenKind::end)) node->value = expression();
  node->span = span_from(begin);
  return node;
}

/// `max=`, `min=` or `avg=`: a name that touches its equals sign.
bool Parser::at_projection(size_t ahead) const {
  return (is_name("max", ahead) || is_name("min", ahead) || is_name("avg", ahead)) &&
         peek(ahead + 1).kind == TokenKind::equal && touches(ahead + 1);
}

StmtPtr Parser::simple_statement() {
  const uint32_t begin = here();
  statement_at_ = at_;
  ExprPtr target = expression();
  if (at_projection() && !peek().newline_before) {
    const auto word = text_of(advance());
    advance();
    const auto projection = word == "max"   ? Projection::max
                            : word == "min" ? Projection::min
                                            : Projection::avg;
    return equation(std::move(target), projection, begin);
  }
  const bool plain = target->kind == ExprKind::index && ast::as<Index>(*target).base->kind == ExprKind::name;
  const auto assign = [&](AssignOp op, Projection projection) {
    advance();
    return plain ? equation(std::move(target), projection, begin) : assignment(std::move(target), op, begin);
  };
  switch (peek().kind) {
    case TokenKind::equal:
    case TokenKind::colon_equal:
      return assign(AssignOp::set, Projection::assign);
    case TokenKind::plus_equal:
      return assign(AssignOp::add, Projection::sum);
    case TokenKind::minus_equal:
    case TokenKind::star_equal:
    case TokenKind::slash_equal: {
      if (plain)
        fail_here(fmt::format("an equation has no {}", found()),
                  "equations combine with = += max= min= avg=");
      const TokenKind kind = advance().kind;
      const AssignOp op = kind == TokenKind::minus_equal  ? AssignOp::subtract
                          : kind == TokenKind::star_equal ? AssignOp::multiply
                                                          : AssignOp::divide;
      return assignment(std::move(target), op, begin);
    }
    case TokenKind::left_arrow:
      advance();
      not_yet(span_from(begin), "rules");
    default:
      break;
  }
  auto node = std::make_unique<Expression>();
  node->value = std::move(target);
  node->span = span_from(begin);
  return node;
}

StmtPtr Parser::equation(ExprPtr target, Projection projection, uint32_t begin) {
  auto node = std::make_unique<Equation>();
  node->lhs_span = target->span;
  if (target->kind == ExprKind::name) {
    node->target.reset(static_cast<Name*>(target.release()));
  } else if (target->kind == ExprKind::index && ast::as<Index>(*target).base->kind == ExprKind::name) {
    auto& lhs = ast::as<Index>(*target);
    node->target.reset(static_cast<Name*>(lhs.base.release()));
    node->lhs = std::move(lhs.items);
  } else {
    fail(target->span, "the left side of an equation is a name with indices", "write y[i, j] max= …");
  }
  node->projection = projection;
  node->rhs = expression();
  node->where = guard();
  node->span = span_from(begin);
  return node;
}

StmtPtr Parser::assignment(ExprPtr target, AssignOp op, uint32_t begin) {
  switch (target->kind) {
    case ExprKind::name:
    case ExprKind::member:
    case ExprKind::index:
      break;
    case ExprKind::call:
      not_yet(target->span, "relations on the left of '='");
    case ExprKind::string:
      if (op != AssignOp::set) fail(target->span, "a file is written as a whole", "\"file.csv\" = x");
      break;
    default:
      fail(target->span, "this cannot be assigned to",
           target->kind == ExprKind::list ? "let (a, b) = … takes a list apart"
                                          : "a name, x[i] or r.field stands left of '='");
  }
  ExprPtr value = expression();
  if (is(TokenKind::kw_where)) {
    if (target->kind != ExprKind::name || (op != AssignOp::set && op != AssignOp::add))
      fail_here("a guard belongs to an equation", "its left side is a name, with or without indices");
    auto node = std::make_unique<Equation>();
    node->lhs_span = target->span;
    node->target.reset(static_cast<Name*>(target.release()));
    node->projection = op == AssignOp::add ? Projection::sum : Projection::assign;
    node->rhs = std::move(value);
    node->where = guard();
    node->span = span_from(begin);
    return node;
  }
  auto node = std::make_unique<Assign>();
  node->target = std::move(target);
  node->op = op;
  node->value = std::move(value);
  node->span = span_from(begin);
  return node;
}

/// where condition, condition …
ExprPtr Parser::guard() {
  if (!accept(TokenKind::kw_where)) return nullptr;
  ExprPtr all = expression();
  while (accept(TokenKind::comma)) {
    ExprPtr next = expression();
    auto both = make<Binary>(join(all->span, next->span), {all.get(), next.get()});
    both->op = BinaryOp::logical_and;
    both->op_span = both->span;
    both->left = std::move(all);
    both->right = std::move(next);
    all = std::move(both);
  }
  return all;
}

// ---------------------------------------------------------------------------------------------- entry points

std::unique_ptr<Function> Parser::parse_signature() {
  is_native_ = true;
  auto f = std::make_unique<Function>();
  try {
    signature(*f);
    if (!is(TokenKind::end)) fail_here("expected the end of the signature");
  } catch (const SyntaxError&) {
    throw ProgramError(std::move(diagnostics_));
  }
  return f;
}

ParseResult parse(const Source& source, ParseOptions options) {
  return Parser(source, options).parse_module();
}

std::unique_ptr<Function> parse_signature(const Source& source) {
  return Parser(source, {}).parse_signature();
}

}  // namespace tl::lang
