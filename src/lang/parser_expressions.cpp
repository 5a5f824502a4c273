// Expressions and types.
#include <array>
#include <charconv>
#include <limits>

#include <fmt/format.h>

#include "lang/parser_detail.h"

namespace tl::lang {

using namespace ast;

namespace {

// Binding powers, loosest first (docs/language.md, operators). Prefix operators stand between their levels.
enum Precedence : int {
  kOr = 1,
  kAnd,
  kNot,  // prefix
  kComparison,
  kRange,
  kCast,
  kSum,
  kProduct,
  kUnary,  // prefix: - ! inv
  kPower,  // right associative
};

struct Infix {
  TokenKind token;
  Precedence precedence;
  BinaryOp op;
};
constexpr std::array kInfix = std::to_array<Infix>({
    {TokenKind::or_or, kOr, BinaryOp::logical_or},
    {TokenKind::kw_or, kOr, BinaryOp::logical_or},
    {TokenKind::and_and, kAnd, BinaryOp::logical_and},
    {TokenKind::kw_and, kAnd, BinaryOp::logical_and},
    {TokenKind::equal_equal, kComparison, BinaryOp::equal},
    {TokenKind::bang_equal, kComparison, BinaryOp::not_equal},
    {TokenKind::less, kComparison, BinaryOp::less},
    {TokenKind::less_equal, kComparison, BinaryOp::less_equal},
    {TokenKind::greater, kComparison, BinaryOp::greater},
    {TokenKind::greater_equal, kComparison, BinaryOp::greater_equal},
    {TokenKind::approximately, kComparison, BinaryOp::approximately},
    {TokenKind::kw_in, kComparison, BinaryOp::in},
    {TokenKind::plus, kSum, BinaryOp::add},
    {TokenKind::minus, kSum, BinaryOp::subtract},
    {TokenKind::star, kProduct, BinaryOp::multiply},
    {TokenKind::slash, kProduct, BinaryOp::divide},
    {TokenKind::percent, kProduct, BinaryOp::remainder},
    {TokenKind::at, kProduct, BinaryOp::matmul},
    {TokenKind::hadamard, kProduct, BinaryOp::hadamard},
    {TokenKind::star_star, kPower, BinaryOp::power},
    {TokenKind::caret, kPower, BinaryOp::power},
    {TokenKind::outer, kPower, BinaryOp::outer},
});

const Infix* infix(TokenKind token) {
  const auto found =
      std::find_if(kInfix.begin(), kInfix.end(), [&](const Infix& i) { return i.token == token; });
  return found == kInfix.end() ? nullptr : &*found;
}

std::optional<Reduce::Op> reduce_op(std::string_view name) {
  using Op = Reduce::Op;
  constexpr std::array kOps = std::to_array<std::pair<std::string_view, Op>>(
      {{"sum", Op::sum}, {"max", Op::max}, {"min", Op::min}, {"avg", Op::avg}, {"prod", Op::prod}});
  for (const auto& [text, op] : kOps)
    if (text == name) return op;
  return std::nullopt;
}

}  // namespace

std::string_view ast::spelling(BinaryOp op) {
  constexpr std::string_view kSpellings[] = {"or", "and", "==", "!=", "<", "<=", ">", ">=", "≈", "in",
                                             "+",  "-",   "*",  "/",  "%", "@",  "⊙", "**", "⊗"};
  return kSpellings[static_cast<size_t>(op)];
}

ExprPtr Parser::expression(int min_precedence) {
  const Nested nested(*this);
  const uint32_t begin = here();
  ExprPtr left = prefix();
  bool compared = false;
  for (;;) {
    const Token& token = peek();
    // A line that starts with '-' is a new statement; other operators cannot start one.
    if (!continues_line() && token.kind == TokenKind::minus) return left;
    if (token.kind == TokenKind::dot_dot && min_precedence <= kRange) {
      advance();
      ExprPtr end = expression(kRange + 1);
      auto node = make<Range>(span_from(begin), {left.get(), end.get()});
      node->begin = std::move(left);
      node->end = std::move(end);
      left = std::move(node);
      continue;
    }
    if (token.kind == TokenKind::kw_as && min_precedence <= kCast) {
      advance();
      Type target = type();
      auto node = make<Cast>(span_from(begin), {left.get()});
      node->operand = std::move(left);
      node->type = std::move(target);
      left = std::move(node);
      continue;
    }
    const bool juxtaposed = starts_juxtaposed_factor();
    const Infix* op = juxtaposed ? infix(TokenKind::star) : infix(token.kind);
    if (!op || op->precedence < min_precedence) return left;
    if (op->precedence == kComparison && compared)
      fail(span_of(token), "comparisons do not chain", "write a < b and b < c");
    compared = op->precedence == kComparison;
    const Span op_span = span_of(token);
    if (!juxtaposed) advance();
    ExprPtr right = expression(op->precedence == kPower ? kPower : op->precedence + 1);
    auto node = make<Binary>(span_from(begin), {left.get(), right.get()});
    node->op = op->op;
    node->juxtaposed = juxtaposed;
    node->op_span = op_span;
    node->left = std::move(left);
    node->right = std::move(right);
    left = std::move(node);
  }
}

bool Parser::starts_juxtaposed_factor() const {
  const Token& token = peek();
  if (token.newline_before || !token.space_before) return false;
  if (token.kind == TokenKind::left_paren) return true;
  return token.kind == TokenKind::name && !at_projection();
}

ExprPtr Parser::prefix() {
  const Token& token = peek();
  const auto unary = [&](UnaryOp op, int precedence) {
    const Span op_span = span_of(advance());
    ExprPtr operand = expression(precedence);
    auto node = make<Unary>(span_from(op_span.begin), {operand.get()});
    node->op = op;
    node->op_span = op_span;
    node->operand = std::move(operand);
    return node;
  };
  switch (token.kind) {
    case TokenKind::minus:
      return unary(UnaryOp::negate, kUnary);
    case TokenKind::bang:
      return unary(UnaryOp::logical_not, kUnary);
    case TokenKind::kw_inv:
      return unary(UnaryOp::inverse, kUnary);
    case TokenKind::kw_not:
      return unary(UnaryOp::logical_not, kNot);
    default:
      return postfix(primary());
  }
}

ExprPtr Parser::postfix(ExprPtr left) {
  for (;;) {
    const bool same_line = continues_line();
    if (is(TokenKind::left_paren) && touches()) {
      left = call(std::move(left));
    } else if (is(TokenKind::left_bracket) && same_line) {
      left = index(std::move(left));
    } else if (is(TokenKind::dot) && !ends_index_item(1)) {
      left = member(std::move(left));
    } else if (is(TokenKind::question) && touches()) {
      advance();
      auto node = make<Ask>(span_from(left->span.begin), {left.get()});
      node->operand = std::move(left);
      left = std::move(node);
    } else {
      return left;
    }
  }
}

bool Parser::ends_index_item(size_t ahead) const {
  return peek(ahead).kind == TokenKind::comma || peek(ahead).kind == TokenKind::right_bracket;
}

ExprPtr Parser::primary() {
  const Token& token = peek();
  switch (token.kind) {
    case TokenKind::name:
      return name("an expression");
    case TokenKind::integer:
    case TokenKind::floating:
      return number();
    case TokenKind::string:
      return string();
    case TokenKind::kw_true:
    case TokenKind::kw_false: {
      auto node = make<Boolean>(span_of(token));
      node->value = token.kind == TokenKind::kw_true;
      advance();
      return node;
    }
    case TokenKind::left_paren:
      return group();
    case TokenKind::left_bracket:
      return list();
    case TokenKind::left_brace:
      return record();
    case TokenKind::dot:
      if (peek(1).kind == TokenKind::integer && touches(1))
        fail_here("a number cannot start with a point", fmt::format("write 0.{}", text_of(peek(1))));
      break;
    default:
      break;
  }
  if (at_ == statement_at_) fail_here(fmt::format("expected a statement, found {}", found()));
  if (!token.newline_before || is(TokenKind::invalid))
    fail_here(fmt::format("expected an expression, found {}", found()),
              is(TokenKind::kw_if)      ? "'if' is a statement: if c { x = a } else { x = b }"
              : is(TokenKind::kw_where) ? "select(c, a, b) chooses element by element"
                                        : "");
  const Token& before = tokens_[at_ - 1];
  fail(span_of(before), fmt::format("expected an expression after '{}'", text_of(before)));
}

std::unique_ptr<Name> Parser::name(std::string_view context) {
  if (!is(TokenKind::name)) {
    const bool is_keyword = peek().kind >= TokenKind::kw_import && peek().kind <= TokenKind::kw_inv;
    fail_here(fmt::format("expected {}, found {}", context, found()),
              is_keyword ? fmt::format("'{}' is a keyword and cannot be a name", text_of(peek())) : "");
  }
  const Token& token = advance();
  auto node = make<Name>(span_of(token));
  node->text = text_of(token);
  return node;
}

ExprPtr Parser::number() {
  const Token& token = advance();
  std::string digits(text_of(token));
  std::erase(digits, '_');
  const char* end = digits.data() + digits.size();
  if (token.kind == TokenKind::floating) {
    auto node = make<Floating>(span_of(token));
    const auto result = std::from_chars(digits.data(), end, node->value);
    if (result.ec == std::errc::result_out_of_range && digits.find("e-") == std::string::npos)
      report(span_of(token), "this number is too large for a float");
    return node;
  }
  auto node = make<Integer>(span_of(token));
  const bool is_hex = digits.size() > 1 && (digits[1] == 'x' || digits[1] == 'X');
  const auto result = std::from_chars(digits.data() + (is_hex ? 2 : 0), end, node->value, is_hex ? 16 : 10);
  if (result.ec == std::errc::invalid_argument) report(span_of(token), "'0x' needs hexadecimal digits");
  if (result.ec == std::errc::result_out_of_range)
    report(span_of(token), "this number is too large for an int",
           fmt::format("ints have 64 bits: the largest is {}", std::numeric_limits<int64_t>::max()));
  return node;
}

ExprPtr Parser::string() {
  const Token& token = advance();
  auto node = make<String>(span_of(token));
  node->value = unescape(source_, token, diagnostics_);
  return node;
}

/// ( expression ), or ( a, b ): a list, as `let (a, b) = …` takes it apart.
ExprPtr Parser::group() {
  const Token& open = advance();
  const With inside(brackets_, brackets_ + 1);
  ExprPtr first = expression();
  if (!is(TokenKind::comma)) {
    close(TokenKind::right_paren, "to close the parenthesis", span_of(open));
    first->grouped = true;
    first->span = span_from(open.begin);
    return first;
  }
  auto node = make<List>({}, {first.get()});
  node->items.push_back(std::move(first));
  while (accept(TokenKind::comma) && !is(TokenKind::right_paren)) {
    node->items.push_back(expression());
    raise(*node, node->items.back().get());
  }
  close(TokenKind::right_paren, "to close the parenthesis", span_of(open));
  node->span = span_from(open.begin);
  return node;
}

ExprPtr Parser::list() {
  const Token& open = advance();
  const With inside(brackets_, brackets_ + 1);
  auto node = make<List>({});
  while (!is(TokenKind::right_bracket)) {
    node->items.push_back(expression());
    raise(*node, node->items.back().get());
    if (!accept(TokenKind::comma)) break;
  }
  if (is(TokenKind::kw_for))
    fail_here("a list is not made by a loop inside it", "let ys = [], then for x in xs { ys += [2 * x] }");
  close(TokenKind::right_bracket, "to close the list", span_of(open));
  node->span = span_from(open.begin);
  return node;
}

ExprPtr Parser::record() {
  const Token& open = advance();
  const With inside(brackets_, brackets_ + 1);
  const With record(records_, records_ + 1);
  auto node = make<Record>({});
  while (!is(TokenKind::right_brace)) {
    Record::Field field;
    field.span = span_of(peek());
    if (is(TokenKind::string))
      field.name = unescape(source_, advance(), diagnostics_);
    else
      field.name = name("the name of a field")->text;
    expect(TokenKind::colon, "after the name of a field");
    field.value = expression();
    raise(*node, field.value.get());
    node->fields.push_back(std::move(field));
    if (!accept(TokenKind::comma)) break;
  }
  close(TokenKind::right_brace, "to close the record", span_of(open));
  node->span = span_from(open.begin);
  return node;
}

ExprPtr Parser::call(ExprPtr callee) {
  if (const auto* head = if_is<Index>(callee.get()))
    if (const auto* base = if_is<Name>(head->base.get()); base && reduce_op(base->text)) return reduce(*head);
  auto node = make<Call>(callee->span, {callee.get()});
  node->callee = std::move(callee);
  arguments(node->arguments);
  for (const Argument& a : node->arguments) raise(*node, a.value.get());
  node->span = span_from(node->span.begin);
  return node;
}

/// name: value, … in parentheses.
void Parser::arguments(std::vector<Argument>& out) {
  const Span open = span_of(expect(TokenKind::left_paren, "to open the arguments"));
  const With inside(brackets_, brackets_ + 1);
  while (!is(TokenKind::right_paren)) {
    Argument argument;
    if (is(TokenKind::name) && (peek(1).kind == TokenKind::colon || peek(1).kind == TokenKind::equal)) {
      const Token& keyword = advance();
      argument.name = text_of(keyword);
      argument.name_span = span_of(keyword);
      if (is(TokenKind::equal))
        fail_here("a keyword argument is written with a colon",
                  fmt::format("write {}: value", argument.name));
      advance();
    }
    argument.value = expression();
    out.push_back(std::move(argument));
    if (!accept(TokenKind::comma)) break;
  }
  close(TokenKind::right_paren, "to close the arguments", open);
}

/// sum[j, k](body), after its head has been parsed as an Index.
ExprPtr Parser::reduce(const Index& head) {
  auto node = make<Reduce>(head.span);
  node->op = *reduce_op(ast::as<Name>(*head.base).text);
  for (const IndexItem& item : head.items) {
    const auto* index_name = if_is<Name>(item.value.get());
    if (!index_name || item.normalised || item.last_only)
      fail(item.span, "a reduction lists index names", "write sum[j](x[i, j])");
    auto copy = make<Name>(index_name->span);
    copy->text = index_name->text;
    node->indices.push_back(std::move(copy));
  }
  const Span open = span_of(expect(TokenKind::left_paren, "to open the body of the reduction"));
  const With inside(brackets_, brackets_ + 1);
  node->body = expression();
  raise(*node, node->body.get());
  close(TokenKind::right_paren, "to close the reduction", open);
  node->span = span_from(node->span.begin);
  return node;
}

ExprPtr Parser::member(ExprPtr object) {
  advance();
  const Token& field = peek();
  auto field_name = name("the name of a member after '.'");
  if (is(TokenKind::left_paren) && touches()) {
    auto node = make<Call>(object->span, {object.get()});
    node->callee = std::move(field_name);
    node->method = true;
    Argument self;
    self.value = std::move(object);
    node->arguments.push_back(std::move(self));
    arguments(node->arguments);
    for (const Argument& a : node->arguments) raise(*node, a.value.get());
    node->span = span_from(node->span.begin);
    return node;
  }
  auto node = make<Member>(span_from(object->span.begin), {object.get()});
  node->object = std::move(object);
  node->name = field_name->text;
  node->name_span = span_of(field);
  return node;
}

ExprPtr Parser::index(ExprPtr base) {
  const Span open = span_of(advance());
  const With inside(brackets_, brackets_ + 1);
  auto node = make<Index>(base->span, {base.get()});
  node->base = std::move(base);
  while (!is(TokenKind::right_bracket)) {
    node->items.push_back(index_item());
    const IndexItem& item = node->items.back();
    for (const Expr* child : {item.value.get(), item.begin.get(), item.end.get(), item.step.get()})
      raise(*node, child);
    if (!accept(TokenKind::comma)) break;
  }
  const Token& closing = close(TokenKind::right_bracket, "to close the index", open);
  if (node->items.empty())
    fail({&source_, node->span.end, closing.end}, "an index needs at least one position",
         "x[:] takes everything along the first axis");
  node->span = span_from(node->span.begin);
  return node;
}

IndexItem Parser::index_item() {
  IndexItem item;
  const uint32_t begin = here();
  const auto bound = [&]() -> ExprPtr {
    if (is(TokenKind::colon) || ends_index_item(0)) return nullptr;
    return expression();
  };
  if (accept(TokenKind::ellipsis)) {
    item.kind = IndexItem::Kind::ellipsis;
  } else {
    item.last_only = accept(TokenKind::star);
    item.value = bound();
    if (accept(TokenKind::colon)) {
      item.kind = IndexItem::Kind::slice;
      item.begin = std::move(item.value);
      item.end = bound();
      if (accept(TokenKind::colon)) item.step = bound();
    } else if (!item.value) {
      fail_here(fmt::format("expected an index, found {}", found()));
    }
    if (is(TokenKind::dot) && ends_index_item(1)) {
      if (item.kind != IndexItem::Kind::value || item.value->kind != ExprKind::name)
        fail_here("'.' marks an index name: j.");
      item.normalised = true;
      advance();
    }
  }
  item.span = span_from(begin);
  return item;
}

Type Parser::type() {
  using Row = std::pair<std::string_view, TypeKind>;
  constexpr std::array kNames = std::to_array<Row>({{"int", TypeKind::integer},
                                                    {"float", TypeKind::floating},
                                                    {"string", TypeKind::string},
                                                    {"list", TypeKind::list},
                                                    {"record", TypeKind::record},
                                                    {"function", TypeKind::function},
                                                    {"void", TypeKind::nothing},
                                                    {"tensor", TypeKind::tensor},
                                                    {"any", TypeKind::any},
                                                    {"model", TypeKind::object},
                                                    {"tokenizer", TypeKind::object},
                                                    {"cache", TypeKind::object},
                                                    {"policy", TypeKind::object},
                                                    {"shape", TypeKind::list},
                                                    {"number", TypeKind::any}});
  Type out;
  const Token& token = peek();
  out.name = name("a type")->text;
  const auto dtype = dtype_from_name(out.name);
  const bool followed_by_shape = is(TokenKind::left_bracket) && touches();
  const auto row =
      std::find_if(kNames.begin(), kNames.end(), [&](const Row& r) { return r.first == out.name; });
  if (out.name == "bool" && !followed_by_shape) {
    out.kind = TypeKind::boolean;
  } else if (dtype && !is_quantised(*dtype) && tl::name(*dtype) == out.name) {
    out.kind = TypeKind::tensor;
    out.dtype = *dtype;
  } else if (row != kNames.end()) {
    out.kind = row->second;
  } else {
    std::vector<std::string> known = {"float16", "bfloat16", "float32", "float64",
                                      "int8",    "int32",    "int64",   "bool"};
    for (const Row& r : kNames) known.emplace_back(r.first);
    const std::string near = nearest_name(out.name, known);
    report(span_of(token), fmt::format("unknown type '{}'", out.name),
           near.empty() ? "types are int float bool string list record function model tokenizer cache tensor "
                          "float16 bfloat16 float32 float64 int8 int32 int64"
                        : fmt::format("did you mean '{}'?", near));
  }
  if (followed_by_shape) {
    if (out.kind != TypeKind::tensor && out.kind != TypeKind::any)
      report(span_of(token), fmt::format("'{}' takes no shape", out.name),
             "tensor types are float16 bfloat16 float32 float64 int8 int32 int64 bool");
    const Span open = span_of(advance());
    const With inside(brackets_, brackets_ + 1);
    out.has_shape = true;
    while (!is(TokenKind::right_bracket)) {
      out.dims.push_back(dim());
      if (!accept(TokenKind::comma)) break;
    }
    close(TokenKind::right_bracket, "to close the shape", open);
  }
  out.span = span_from(token.begin);
  return out;
}

Dim Parser::dim() {
  Dim out;
  const Token& token = peek();
  out.span = span_of(token);
  if (accept(TokenKind::question)) return out;
  if (accept(TokenKind::ellipsis)) {
    out.kind = Dim::Kind::rest;
  } else if (is(TokenKind::integer)) {
    out.kind = Dim::Kind::fixed;
    out.size = ast::as<Integer>(*number()).value;
  } else if (is(TokenKind::name)) {
    out.kind = Dim::Kind::symbol;
    out.name = name("a dimension")->text;
  } else {
    fail_here(fmt::format("expected a dimension, found {}", found()), "a dimension is an int, a name, or ?");
  }
  return out;
}

}  // namespace tl::lang
