// Program text to tokens.
#pragma once

#include <string>
#include <string_view>
#include <vector>

#include "base/source.h"

namespace tl::lang {

// Row: enumerator, spelling in messages. Words come first, then punctuation.
#define TL_TOKENS(X)                 \
  X(end, "the end of the file")      \
  X(invalid, "an invalid character") \
  X(name, "a name")                  \
  X(integer, "a number")             \
  X(floating, "a number")            \
  X(string, "a string")              \
  X(kw_import, "import")             \
  X(kw_fn, "fn")                     \
  X(kw_let, "let")                   \
  X(kw_return, "return")             \
  X(kw_if, "if")                     \
  X(kw_else, "else")                 \
  X(kw_for, "for")                   \
  X(kw_in, "in")                     \
  X(kw_while, "while")               \
  X(kw_break, "break")               \
  X(kw_continue, "continue")         \
  X(kw_true, "true")                 \
  X(kw_false, "false")               \
  X(kw_and, "and")                   \
  X(kw_or, "or")                     \
  X(kw_not, "not")                   \
  X(kw_as, "as")                     \
  X(kw_where, "where")               \
  X(kw_inv, "inv")                   \
  X(left_paren, "(")                 \
  X(right_paren, ")")                \
  X(left_bracket, "[")               \
  X(right_bracket, "]")              \
  X(left_brace, "{")                 \
  X(right_brace, "}")                \
  X(comma, ",")                      \
  X(semicolon, ";")                  \
  X(colon, ":")                      \
  X(colon_equal, ":=")               \
  X(dot, ".")                        \
  X(dot_dot, "..")                   \
  X(ellipsis, "...")                 \
  X(arrow, "->")                     \
  X(left_arrow, "<-")                \
  X(question, "?")                   \
  X(equal, "=")                      \
  X(plus_equal, "+=")                \
  X(minus_equal, "-=")               \
  X(star_equal, "*=")                \
  X(slash_equal, "/=")               \
  X(equal_equal, "==")               \
  X(bang_equal, "!=")                \
  X(less, "<")                       \
  X(less_equal, "<=")                \
  X(greater, ">")                    \
  X(greater_equal, ">=")             \
  X(approximately, "≈")              \
  X(or_or, "||")                     \
  X(and_and, "&&")                   \
  X(bang, "!")                       \
  X(plus, "+")                       \
  X(minus, "-")                      \
  X(star, "*")                       \
  X(slash, "/")                      \
  X(percent, "%")                    \
  X(at, "@")                         \
  X(hadamard, "⊙")                   \
  X(star_star, "**")                 \
  X(caret, "^")                      \
  X(outer, "⊗")                      \
  X(bar, "|")

enum class TokenKind : uint8_t {
#define X(id, text) id,
  TL_TOKENS(X)
#undef X
};

/// The words that cannot be names.
std::vector<std::string_view> keywords();

/// The token kind as messages call it: "'+='", "a name".
std::string describe(TokenKind kind);

/// One token. Whether a line ended before it decides where statements end; whether it touches the token
/// before it tells a call f(x) from a factor (x).
struct Token {
  TokenKind kind = TokenKind::end;
  bool newline_before = false;
  bool space_before = false;
  uint32_t begin = 0, end = 0;  ///< bytes in the source
  /// A comment before this token lies between the end of the previous token and `begin`.
  bool comment_before = false;
};

/// All tokens of a source, the last one `end`. What is not a token is reported and becomes `invalid`, about
/// which the parser says nothing more.
struct TokenList {
  std::vector<Token> tokens;
  std::vector<Diagnostic> diagnostics;
};
TokenList tokenize(const Source& source);

/// The value of a string token's text (with its quotes); malformed escapes are reported to `diagnostics`.
std::string unescape(const Source& source, const Token& token, std::vector<Diagnostic>& diagnostics);

/// A comment of the text, for formatters: its bytes, with the slashes.
struct Comment {
  uint32_t begin = 0, end = 0;
};
/// The comments between two tokens (that is, in a stretch of text that holds nothing else but blanks).
std::vector<Comment> comments_between(const Source& source, uint32_t begin, uint32_t end);

}  // namespace tl::lang
