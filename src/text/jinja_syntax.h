// Templates as tokens and as trees.
#pragma once

#include <memory>
#include <string>
#include <vector>

#include "base/source.h"
#include "text/jinja_value.h"

namespace tl::jinja {

enum class TokenKind {
  data,
  variable_begin,
  variable_end,
  block_begin,
  block_end,
  name,
  integer,
  real,
  string,
  symbol,
  end
};

struct Token {
  TokenKind kind;
  std::string text;  ///< data and strings: their content; others: as written
  Span span;
};

/// Cuts a template into tokens, with trim_blocks and lstrip_blocks on, as Hugging Face renders chat
/// templates. Throws ProgramError.
std::vector<Token> tokenize_template(const Source& source);

enum class ExpressionKind {
  literal,      // value
  name,         // name
  list,         // parts
  tuple,        // parts
  dict,         // parts: key, value, key, value …
  attribute,    // parts[0].name
  subscript,    // parts[0][parts[1]]
  slice,        // parts[0][parts[1]:parts[2]:parts[3]]; null where left out
  call,         // parts[0](parts[1..], named)
  filter,       // parts[0] | name(parts[1..], named)
  test,         // parts[0] is name(parts[1..], named)
  negate,       // not parts[0]
  unary,        // name parts[0]
  binary,       // parts[0] name parts[1]
  logical_and,  // parts[0] and parts[1]
  logical_or,   // parts[0] or parts[1]
  compare,      // parts[0] operators[0] parts[1] operators[1] parts[2] …
  concat,       // parts joined by ~
  conditional,  // parts[0] if parts[1] else parts[2]; parts[2] may be null
};

struct Expression {
  ExpressionKind kind;
  Span span;
  std::string name = {};
  Value value = {};
  std::vector<Expression*> parts = {};
  std::vector<std::pair<std::string, Expression*>> named = {};
  std::vector<std::string> operators = {};
  const Builtin* builtin = nullptr;  // of a filter or test
};

enum class StatementKind {
  text,       // name: the text itself
  print,      // value
  branch,     // if value: body, else: other
  loop,       // for targets in value [if condition]: body, else: other
  set,        // targets = value
  set_block,  // targets[0] = body, through `value` (a chain of filters on nothing) if there is one
  macro,      // name, parameters, body
  with,       // targets are names, parameters their values; body
  filter,     // value: a chain of filters on nothing; body
  group,      // body alone
  break_,
  continue_,
};

struct Statement {
  StatementKind kind;
  Span span;
  std::string name = {};
  Expression* value = nullptr;
  Expression* condition = nullptr;
  std::vector<Expression*> targets = {};  // names, or one attribute of a namespace
  std::vector<std::pair<std::string, Expression*>> parameters = {};
  std::vector<Statement*> body = {}, other = {};
};

/// A parsed template. Owns its nodes in flat lists, so that no nesting is too deep to free.
struct Program {
  explicit Program(Source s) : source(std::move(s)) {}
  Source source;
  std::vector<std::unique_ptr<Expression>> expressions;
  std::vector<std::unique_ptr<Statement>> statements;
  std::vector<Statement*> body;
};

/// Parses a template. Throws ProgramError.
std::unique_ptr<Program> parse_template(std::string_view text, const std::string& name);

}  // namespace tl::jinja
