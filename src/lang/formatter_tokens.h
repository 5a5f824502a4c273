// What the formatter knows about the tokens of a program: comments, brackets, blanks.
#pragma once

#include <set>
#include <string>
#include <string_view>
#include <vector>

#include "lang/ast.h"
#include "lang/lexer.h"

namespace tl::lang {

/// What a pair of brackets encloses.
enum class Group : uint8_t {
  none,   ///< no opening bracket
  block,  ///< { statements }
  call,   ///< (arguments) and (parameters)
  index,  ///< x[i, j], and the dimensions of a type
  list,   ///< [items]
  paren,  ///< (grouping), or the names of let (a, b)
  record  ///< {fields}
};

/// A comment with its place between the tokens.
struct FormatComment {
  std::string_view text;
  bool is_line = false;  ///< `// …`: the line ends with it
  int newlines = 0;      ///< between it and what stands before it
  int column = 0;        ///< from 0, that its author set it apart at; 0 where a blank or two are before it
};

struct FormatToken {
  TokenKind kind = TokenKind::end;
  std::string_view text;
  uint32_t begin = 0, end = 0;
  std::vector<FormatComment> comments;  ///< before it
  int newlines = 0;                     ///< between it and the comment or token before it
  bool starts_statement = false;        ///< or a declaration
  bool is_prefix = false;               ///< a unary operator, or the star of `*t`
  bool is_dropped = false;              ///< a comma before a closing bracket that means nothing
  int spaces = 0;                       ///< before it, where it does not start a line
  Group group = Group::none;
  size_t match = 0;  ///< of a bracket: its partner
  bool is_broken =
      false;  ///< an opening bracket of a list or record whose items were given lines of their own

  /// Whether its comments go to lines of their own before it.
  bool leads_line() const { return starts_statement || kind == TokenKind::kw_else; }
  bool breaks_line() const {  ///< whether a comment before it makes one line of what is around impossible
    for (const FormatComment& c : comments)
      if (c.is_line || c.text.find('\n') != std::string_view::npos) return true;
    return false;
  }
};

/// The tokens of a parsed program, the last one `end`.
std::vector<FormatToken> format_tokens(const Source& source, const ast::Module& module);

/// How tightly an infix operator binds (loosest 1); 0 for what is none, or where a line cannot break.
int break_precedence(TokenKind kind);

/// Width in code points.
int text_width(std::string_view text);

}  // namespace tl::lang
