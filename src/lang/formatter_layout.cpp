#include "lang/formatter_layout.h"

#include <algorithm>

namespace tl::lang {

// --------------------------------------------------------------------------------------------------- output

void FormatOutput::write(std::string_view text) {
  for (size_t i = 0; i < text.size(); ++i)
    if (!text.substr(i).starts_with("\r\n")) text_ += text[i];
  const size_t line = text.rfind('\n');
  column_ = line == std::string_view::npos ? column_ + text_width(text) : text_width(text.substr(line + 1));
}

void FormatOutput::newline(int indent) {
  text_ += '\n';
  column_ = 0;
  spaces(indent);
}

void FormatOutput::spaces(int n) {
  text_.append(static_cast<size_t>(n), ' ');
  column_ += n;
}

// ---------------------------------------------------------------------------------------------- on one line

namespace {

bool is_opening(const FormatToken& t) { return t.group != Group::none && t.group != Group::block; }
bool is_closing(const FormatToken& t) {
  return t.kind == TokenKind::right_paren || t.kind == TokenKind::right_bracket ||
         t.kind == TokenKind::right_brace;
}

bool is_assignment(TokenKind kind) {
  switch (kind) {
    case TokenKind::equal:
    case TokenKind::colon_equal:
    case TokenKind::plus_equal:
    case TokenKind::minus_equal:
    case TokenKind::star_equal:
    case TokenKind::slash_equal:
      return true;
    default:
      return false;
  }
}

/// Whether a blank stands between a comment inside a line and the token after it.
bool is_set_off(const FormatToken& t) {
  return !is_closing(t) && t.kind != TokenKind::comma && t.kind != TokenKind::semicolon;
}

/// Width of a token's comments and the blanks after them.
int comments_width(const FormatToken& t) {
  if (t.leads_line()) return 0;
  int width = t.comments.empty() || is_set_off(t) ? 0 : -1;
  for (const FormatComment& c : t.comments) width += text_width(c.text) + 1;
  return width;
}

}  // namespace

FormatLayout::FormatLayout(std::vector<FormatToken>& tokens, FormatOutput& out) : tokens_(tokens), out_(out) {
  int width = 0, broken = 0;
  for (const FormatToken& t : tokens) {
    widths_.push_back(width);
    broken_.push_back(broken);
    if (t.is_dropped) continue;
    width += t.spaces + text_width(t.text) + comments_width(t);
    broken += t.is_broken ? 1 : 0;
  }
  widths_.push_back(width);
  broken_.push_back(broken);
}

int FormatLayout::width(size_t begin, size_t end) const {
  if (begin >= end) return 0;
  return widths_[end] - widths_[begin] - tokens_[begin].spaces;
}

bool FormatLayout::is_flat(size_t begin, size_t end) const { return broken_[end] == broken_[begin]; }

/// The comments of a token that stand within the line.
void FormatLayout::comments_inside(const FormatToken& t) {
  for (size_t i = 0; i < t.comments.size(); ++i) {
    out_.write(t.comments[i].text);
    if (i + 1 < t.comments.size() || is_set_off(t)) out_.spaces(1);
  }
}

void FormatLayout::flat(size_t begin, size_t end) {
  for (size_t i = begin; i < end; ++i) {
    const FormatToken& t = tokens_[i];
    if (t.is_dropped) continue;
    if (i != begin) out_.spaces(t.spaces);
    if (!t.leads_line()) comments_inside(t);
    out_.write(t.text);
  }
}

/// The token after the brackets that open at `i`, or after the token `i`.
size_t FormatLayout::skip(size_t i) const { return (is_opening(tokens_[i]) ? tokens_[i].match : i) + 1; }

// ----------------------------------------------------------------------------------------------- statements

void FormatLayout::statement(size_t begin, size_t end, int indent, int continuation) {
  for (size_t i = begin + 1; i < end; ++i)
    if (tokens_[i].breaks_line()) return kept_lines({begin, end}, indent, continuation);
  if (fits({begin, end}, 0)) return flat(begin, end);
  size_t where = begin;
  while (where < end && tokens_[where].kind != TokenKind::kw_where) where = skip(where);
  assignment({begin, where}, indent, 0, continuation);
  if (where >= end) return;
  out_.newline(indent + continuation);
  flat(where, where + 1);
  out_.spaces(1);
  expression({where + 1, end}, indent + continuation, 0, kFormatIndent);
}

/// name[indices] = value, let name = value, return value, if condition {: the value is what breaks.
void FormatLayout::assignment(Range r, int indent, int tail, int continuation) {
  if (fits(r, tail)) return flat(r);
  size_t head = r.begin;
  switch (tokens_[head].kind) {
    case TokenKind::kw_return:
    case TokenKind::kw_if:
    case TokenKind::kw_while:
      ++head;
      break;
    default:
      for (size_t i = r.begin; i < r.end; i = skip(i)) {
        if (!is_assignment(tokens_[i].kind) && tokens_[i].kind != TokenKind::kw_in) continue;
        head = i + 1;
        break;
      }
  }
  if (head > r.begin && head < r.end) {
    groups({r.begin, head}, indent, width(head, head + 1));
    out_.spaces(tokens_[head].spaces);
  } else {
    head = r.begin;
  }
  expression({head, r.end}, indent, tail, continuation);
}

/// Line ends stay where they are, since a comment stands at one of them.
void FormatLayout::kept_lines(Range r, int indent, int continuation) {
  int depth = 0;
  const auto line = [&](size_t i) {
    const int levels = depth - (is_closing(tokens_[i]) ? 1 : 0);
    out_.newline(indent + (depth > 0 ? kFormatIndent * levels : continuation));
  };
  for (size_t i = r.begin; i < r.end; ++i) {
    const FormatToken& t = tokens_[i];
    if (i != r.begin) {
      bool must_break = false;
      for (const FormatComment& c : t.comments) {
        if (must_break || c.newlines > 0) {
          line(i);
          out_.write(c.text);
        } else if (c.is_line) {
          trailing_comment(c);
        } else {
          out_.spaces(t.spaces);
          out_.write(c.text);
        }
        must_break = c.is_line;
      }
      if (must_break || t.newlines > 0) {
        line(i);
      } else {
        out_.spaces(t.comments.empty() ? t.spaces : is_set_off(t) ? 1 : 0);
      }
    }
    out_.write(t.text);
    if (is_opening(t)) ++depth;
    if (is_closing(t)) --depth;
  }
}

void FormatLayout::trailing_comment(const FormatComment& comment) {
  out_.spaces(std::max(2, comment.column - out_.column()));
  out_.write(comment.text);
}

// ---------------------------------------------------------------------------------------------- expressions

void FormatLayout::expression(Range r, int indent, int tail, int continuation) {
  if (fits(r, tail)) return flat(r);
  if (operators(r, indent, tail, continuation) || method_chain(r, indent, tail, continuation)) return;
  groups(r, indent, tail);
}

/// Breaks after the operators that bind least, and after the commas of a guard; operands share lines.
bool FormatLayout::operators(Range r, int indent, int tail, int continuation) {
  constexpr int kNone = 100;
  const auto precedence = [&](size_t i) {
    if (tokens_[i].kind == TokenKind::comma) return 0;
    const int found = tokens_[i].is_prefix ? 0 : break_precedence(tokens_[i].kind);
    return found == 0 ? kNone : found;
  };
  int loosest = kNone;
  for (size_t i = r.begin; i < r.end; i = skip(i)) loosest = std::min(loosest, precedence(i));
  if (loosest == kNone) return false;
  for (size_t begin = r.begin, end = r.begin; begin < r.end; begin = end) {
    while (end < r.end && precedence(end) != loosest) end = skip(end);
    const Range operand{begin, end};
    const bool is_last = end == r.end;
    const int after = is_last ? tail : tokens_[end].spaces + text_width(tokens_[end].text);
    if (begin == r.begin) {
      expression(operand, indent, after, continuation);
    } else if (is_flat(begin, end) &&
               out_.column() + tokens_[begin].spaces + width(operand) + after <= kFormatWidth) {
      out_.spaces(tokens_[begin].spaces);
      flat(operand);
    } else {
      out_.newline(indent + continuation);
      expression(operand, indent + continuation, after, kFormatIndent);
    }
    if (is_last) break;
    out_.spaces(tokens_[end].spaces);
    flat(end, end + 1);
    ++end;
  }
  return true;
}

/// first(…)
///     .second(…)
bool FormatLayout::method_chain(Range r, int indent, int tail, int continuation) {
  const auto starts_method = [&](size_t i) {
    return i > r.begin && i + 2 < r.end && tokens_[i].kind == TokenKind::dot && is_closing(tokens_[i - 1]) &&
           tokens_[i + 2].group == Group::call;
  };
  std::vector<size_t> starts = {r.begin};
  for (size_t i = r.begin; i < r.end; i = skip(i))
    if (starts_method(i)) starts.push_back(i);
  starts.push_back(r.end);
  if (starts.size() == 2 || !fits({starts[0], starts[1]}, 0)) return false;
  flat(starts[0], starts[1]);
  for (size_t k = 1; k + 1 < starts.size(); ++k) {
    out_.newline(indent + continuation);
    expression({starts[k], starts[k + 1]}, indent + continuation, k + 2 == starts.size() ? tail : 0,
               kFormatIndent);
  }
  return true;
}

/// Opens the brackets that must be, or the widest that help.
void FormatLayout::groups(Range r, int indent, int tail) {
  const bool is_forced = !is_flat(r.begin, r.end);
  const size_t chosen = is_forced || fits(r, tail) ? r.end : group_to_break(r, indent, tail);
  for (size_t i = r.begin; i < r.end; i = skip(i)) {
    const bool opens = i == chosen || (is_forced && is_opening(tokens_[i]) && !is_flat(i, skip(i)));
    if (i != r.begin) out_.spaces(tokens_[i].is_dropped ? 0 : tokens_[i].spaces);
    if (!opens) {
      flat(i, skip(i));
      continue;
    }
    comments_inside(tokens_[i]);
    group(i, indent, width(skip(i), r.end) + tail);
  }
}

size_t FormatLayout::group_to_break(Range r, int indent, int tail) const {
  size_t best = r.end;
  bool best_helps = false;
  for (size_t i = r.begin; i < r.end; i = skip(i)) {
    if (!is_opening(tokens_[i]) || skip(i) == i + 2) continue;
    if (tokens_[r.begin].kind == TokenKind::kw_fn) return i;  // the parameters
    const bool helps = out_.column() + width(r.begin, i + 1) <= kFormatWidth &&
                       indent + width(tokens_[i].match, r.end) + tail <= kFormatWidth;
    const bool is_wider = best == r.end || width(i, skip(i)) >= width(best, skip(best));
    if (best != r.end && (helps < best_helps || (helps == best_helps && !is_wider))) continue;
    best = i;
    best_helps = helps;
  }
  return best;
}

// ------------------------------------------------------------------------------------------------- brackets

std::vector<FormatLayout::Range> FormatLayout::items_of(size_t open) const {
  std::vector<Range> items;
  const size_t close = tokens_[open].match;
  for (size_t begin = open + 1, i = begin; begin < close; i = skip(i)) {
    if (i != close && tokens_[i].kind != TokenKind::comma) continue;
    items.push_back({begin, i});
    if (i == close) break;
    begin = i + 1;
  }
  return items;
}

/// Brackets whose content does not stay on the line.
void FormatLayout::group(size_t open, int indent, int tail) {
  const Group kind = tokens_[open].group;
  const std::vector<Range> items = items_of(open);
  if (hug(open, items, indent, tail)) return;
  const bool is_data = kind == Group::list || kind == Group::record;
  const size_t close = tokens_[open].match;
  const int inner = indent + kFormatIndent;
  out_.write(tokens_[open].text);
  if (!is_data && is_flat(open + 1, close) && inner + width(open + 1, close) <= kFormatWidth) {
    out_.newline(inner);
    flat(open + 1, close);
  } else if (kind == Group::list &&
             std::all_of(items.begin(), items.end(), [&](Range r) { return is_atom(r); })) {
    fill(open, items, inner);
  } else {
    const bool is_tuple = tokens_[items[0].end].kind == TokenKind::comma;
    for (const Range r : items) {
      out_.newline(inner);
      item(r, kind, inner, 1);
      if (kind != Group::paren || is_tuple) comma(r.end);
    }
  }
  out_.newline(indent);
  flat(close, close + 1);
}

/// f(x, [
///     1, 2, 3
/// ]): a list or record that comes last needs no line for its bracket.
bool FormatLayout::hug(size_t open, const std::vector<Range>& items, int indent, int tail) {
  const Group kind = tokens_[open].group;
  if (kind != Group::call && kind != Group::index) return false;
  const Range last = items.back();
  const Range value = value_of(last, kind);
  const Group inside = tokens_[value.begin].group;
  const bool is_data = inside == Group::list || inside == Group::record;
  if (!is_data || skip(value.begin) != value.end || tokens_[value.begin].match == value.begin + 1)
    return false;
  const bool fits_before =
      is_flat(open + 1, value.begin) && out_.column() + width(open, value.begin + 1) <= kFormatWidth;
  if (!fits_before) return false;
  out_.write(tokens_[open].text);
  flat(open + 1, value.begin);
  out_.spaces(tokens_[value.begin].spaces);
  comments_inside(tokens_[value.begin]);
  group(value.begin, indent, tail + 1);
  flat(tokens_[open].match, tokens_[open].match + 1);
  return true;
}

/// What follows `name:` in an argument or a field; else the whole item.
FormatLayout::Range FormatLayout::value_of(Range r, Group group) const {
  const bool is_named = (group == Group::call || group == Group::record) && r.end - r.begin > 2 &&
                        tokens_[r.begin + 1].kind == TokenKind::colon;
  return is_named ? Range{r.begin + 2, r.end} : r;
}

void FormatLayout::item(Range r, Group group, int indent, int tail) {
  if (fits(r, tail)) return flat(r);
  const Range value = value_of(r, group);
  if (value.begin != r.begin) {
    flat(r.begin, value.begin);
    out_.spaces(1);
  }
  assignment(value, indent, tail, kFormatIndent);
}

/// A number, a name, a string.
bool FormatLayout::is_atom(Range r) const {
  const size_t first = r.begin + (tokens_[r.begin].is_prefix ? 1 : 0);
  return first + 1 == r.end && !is_opening(tokens_[first]);
}

/// Items share lines; line ends that the author set stay.
void FormatLayout::fill(size_t open, const std::vector<Range>& items, int indent) {
  const bool keeps_lines = tokens_[open].is_broken;
  for (size_t k = 0; k < items.size(); ++k) {
    const Range r = items[k];
    const int after = k + 1 < items.size() ? 1 : 0;
    const bool starts_line = k == 0 || (keeps_lines && tokens_[r.begin].newlines > 0) ||
                             out_.column() + 1 + width(r) + after > kFormatWidth;
    starts_line ? out_.newline(indent) : out_.spaces(1);
    flat(r);
    if (after > 0) comma(r.end);
  }
}

/// The comma at `i`, or one that the author left out before a closing bracket.
void FormatLayout::comma(size_t i) {
  if (tokens_[i].kind != TokenKind::comma || tokens_[i].is_dropped) return out_.write(",");
  out_.spaces(tokens_[i].spaces);
  flat(i, i + 1);
}

}  // namespace tl::lang
