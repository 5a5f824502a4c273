// How the formatter breaks what is too long for a line.
#pragma once

#include <string>
#include <string_view>
#include <vector>

#include "lang/formatter_tokens.h"

namespace tl::lang {

constexpr int kFormatWidth = 120;
constexpr int kFormatIndent = 4;

/// Text that grows, and the column at which it ends.
class FormatOutput {
 public:
  void write(std::string_view text);
  void newline(int indent);
  void spaces(int n);
  int column() const { return column_; }
  bool empty() const { return text_.empty(); }
  std::string take() { return std::move(text_); }

 private:
  std::string text_;
  int column_ = 0;
};

/// Writes simple statements and the headers of blocks.
///
/// What fits stands on one line. Else the line breaks at the loosest place: before `where`, after the
/// operators that bind least, before the methods of a chain, or inside the widest brackets, whose content
/// goes to a line of its own or, where that is too short, one item to a line. Lists and records of several
/// lines stay so. What holds a comment that ends a line keeps its lines.
class FormatLayout {
 public:
  FormatLayout(std::vector<FormatToken>& tokens, FormatOutput& out);

  /// Writes tokens [begin, end); the line has been indented by `indent`. Lines after the first are indented
  /// by `continuation` more.
  void statement(size_t begin, size_t end, int indent, int continuation = kFormatIndent);
  /// All of it on this line.
  void flat(size_t begin, size_t end);
  /// Width of [begin, end) on one line.
  int width(size_t begin, size_t end) const;
  /// Whether it can stand on one line of any length.
  bool is_flat(size_t begin, size_t end) const;
  /// A comment behind code: two blanks after it, or at the column where it was set apart if there is room.
  void trailing_comment(const FormatComment& comment);

 private:
  struct Range {
    size_t begin, end;
  };
  bool fits(Range r, int tail) const {
    return is_flat(r.begin, r.end) && out_.column() + width(r.begin, r.end) + tail <= kFormatWidth;
  }
  void flat(Range r) { flat(r.begin, r.end); }
  int width(Range r) const { return width(r.begin, r.end); }
  size_t skip(size_t i) const;
  void kept_lines(Range r, int indent, int continuation);
  void assignment(Range r, int indent, int tail, int continuation);
  void expression(Range r, int indent, int tail, int continuation);
  bool operators(Range r, int indent, int tail, int continuation);
  bool method_chain(Range r, int indent, int tail, int continuation);
  void groups(Range r, int indent, int tail);
  size_t group_to_break(Range r, int indent, int tail) const;
  void group(size_t open, int indent, int tail);
  bool hug(size_t open, const std::vector<Range>& items, int indent, int tail);
  std::vector<Range> items_of(size_t open) const;
  void item(Range r, Group group, int indent, int tail);
  Range value_of(Range item, Group group) const;
  bool is_atom(Range item) const;
  void fill(size_t open, const std::vector<Range>& items, int indent);
  void comma(size_t i);
  void comments_inside(const FormatToken& t);

  std::vector<FormatToken>& tokens_;
  FormatOutput& out_;
  std::vector<int> widths_;  ///< running sums
  std::vector<int> broken_;  ///< running counts of what cannot be on one line
};

}  // namespace tl::lang
