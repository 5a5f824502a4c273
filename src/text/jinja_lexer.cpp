#include <fmt/format.h>
#include <utf8proc.h>

#include <array>

#include "text/jinja_syntax.h"
#include "text/utf8.h"

namespace tl::jinja {
namespace {

bool is_space(char c) { return c == ' ' || (c >= '\t' && c <= '\r'); }
bool is_digit(char c) { return c >= '0' && c <= '9'; }

/// The length of the character at `at` if a name may hold it: letters of any script, digits and the
/// underscore.
size_t name_character(std::string_view text, size_t at) {
  const Utf8Char c = utf8_at(text, at);
  const auto category = utf8proc_category(static_cast<utf8proc_int32_t>(c.code));
  const bool letter = category >= UTF8PROC_CATEGORY_LU && category <= UTF8PROC_CATEGORY_LO;
  const bool more = category == UTF8PROC_CATEGORY_ND || category == UTF8PROC_CATEGORY_MN || c.code == '_';
  return letter || more ? c.length : 0;
}

/// -1 if `c` is no hexadecimal digit.
int hex_value(char c) {
  return is_digit(c)            ? c - '0'
         : c >= 'a' && c <= 'f' ? c - 'a' + 10
         : c >= 'A' && c <= 'F' ? c - 'A' + 10
                                : -1;
}

class Lexer {
 public:
  explicit Lexer(const Source& source) : source_(source), text_(source.text()) {}

  std::vector<Token> run() {
    // Jinja drops one newline at the very end of a template.
    if (text_.ends_with('\n')) text_.remove_suffix(1);
    if (text_.ends_with('\r')) text_.remove_suffix(1);
    while (at_ < text_.size()) outside();
    add(TokenKind::end, "", at_, at_);
    return std::move(tokens_);
  }

 private:
  [[noreturn]] void fail(size_t begin, size_t end, std::string message, std::string help = {}) const {
    Diagnostic d;
    d.span = span(begin, end);
    d.message = std::move(message);
    d.help = std::move(help);
    throw ProgramError({std::move(d)});
  }

  Span span(size_t begin, size_t end) const {
    return {&source_, static_cast<uint32_t>(begin), static_cast<uint32_t>(end)};
  }
  void add(TokenKind kind, std::string text, size_t begin, size_t end) {
    tokens_.push_back({kind, std::move(text), span(begin, end)});
  }
  bool looking_at(std::string_view s) const { return text_.substr(at_).starts_with(s); }

  /// Text up to the next tag, and the tag's beginning (or a whole comment or raw block).
  void outside() {
    const size_t begin = at_;
    size_t tag = begin;
    while ((tag = text_.find('{', tag)) != std::string_view::npos) {
      const char next = tag + 1 < text_.size() ? text_[tag + 1] : '\0';
      if (next == '{' || next == '%' || next == '#') break;
      ++tag;
    }
    if (tag == std::string_view::npos) {
      add_data(begin, text_.size(), '\0', false);
      at_ = text_.size();
      return;
    }
    const char kind = text_[tag + 1];
    const char sign = tag + 2 < text_.size() ? text_[tag + 2] : '\0';
    const bool has_sign = sign == '-' || (sign == '+' && kind != '{');
    add_data(begin, tag, has_sign ? sign : '\0', kind != '{');
    at_ = tag + 2 + (has_sign ? 1 : 0);
    if (kind == '#') return comment(tag);
    if (kind == '%' && raw_block(tag)) return;
    add(kind == '{' ? TokenKind::variable_begin : TokenKind::block_begin, "", tag, at_);
    inside(tag, kind == '{' ? '}' : '%');
  }

  /// Adds the text of [begin, end), which a tag with this sign follows. A minus strips the whitespace before
  /// it; without a sign, a block or comment that stands first on its line loses the indentation before it.
  void add_data(size_t begin, size_t end, char sign, bool block) {
    size_t stop = end;
    if (sign == '-') {
      while (stop > begin && is_space(text_[stop - 1])) --stop;
    } else if (sign != '+' && block) {
      size_t line = end;
      while (line > begin && is_space(text_[line - 1]) && text_[line - 1] != '\n') --line;
      if (line == 0 || text_[line - 1] == '\n') stop = line;
    }
    if (stop == begin) return;
    std::string data;
    for (size_t i = begin; i < stop; ++i) {
      if (text_[i] != '\r')
        data += text_[i];
      else if (i + 1 == stop || text_[i + 1] != '\n')
        data += '\n';
    }
    add(TokenKind::data, std::move(data), begin, stop);
  }

  void comment(size_t tag) {
    const size_t close = text_.find("#}", at_);
    if (close == std::string_view::npos)
      fail(tag, tag + 2, "this comment is never closed", "end it with '#}'");
    const char sign = close > at_ ? text_[close - 1] : '\0';
    at_ = close + 2;
    after_tag(sign, true);
  }

  /// What follows a tag: a minus strips whitespace; a block or comment swallows one newline, unless it has a
  /// plus.
  void after_tag(char sign, bool block) {
    if (sign == '-') {
      while (at_ < text_.size() && is_space(text_[at_])) ++at_;
    } else if (block && sign != '+') {
      if (looking_at("\r\n"))
        at_ += 2;
      else if (looking_at("\n"))
        ++at_;
    }
  }

  /// The place after "NAME [-+]%}" if that is what stands at `from` (spaces allowed), else 0; `sign` gets its
  /// sign.
  size_t match_tag(size_t from, std::string_view name, char& sign) const {
    const auto skip = [&] {
      while (from < text_.size() && is_space(text_[from])) ++from;
    };
    skip();
    if (!text_.substr(from).starts_with(name)) return 0;
    from += name.size();
    skip();
    sign = from < text_.size() && (text_[from] == '-' || text_[from] == '+') ? text_[from++] : '\0';
    return text_.substr(from).starts_with("%}") ? from + 2 : 0;
  }

  bool raw_block(size_t tag) {
    char sign = '\0';
    const size_t content = match_tag(at_, "raw", sign);
    if (content == 0) return false;
    at_ = content;
    after_tag(sign, true);
    const size_t begin = at_;
    for (size_t close = begin; (close = text_.find("{%", close)) != std::string_view::npos; ++close) {
      const char before = close + 2 < text_.size() ? text_[close + 2] : '\0';
      const bool has_sign = before == '-' || before == '+';
      const size_t end = match_tag(close + 2 + (has_sign ? 1 : 0), "endraw", sign);
      if (end == 0) continue;
      add_data(begin, close, has_sign ? before : '\0', true);
      at_ = end;
      after_tag(sign, true);
      return true;
    }
    fail(tag, content, "this raw block is never closed", "end it with {% endraw %}");
  }

  /// Tokens up to the end of a tag; `closer` is '}' for {{ and '%' for {%.
  void inside(size_t tag, char closer) {
    const std::string end = {closer, '}'};
    size_t open = 0;  // brackets: inside them "}}" closes two dicts
    for (;;) {
      while (at_ < text_.size() && is_space(text_[at_])) ++at_;
      if (at_ >= text_.size())
        fail(tag, tag + 2, "this tag is never closed", fmt::format("end it with '{}'", end));
      const char c = text_[at_];
      const bool has_sign =
          (c == '-' || (c == '+' && closer == '%')) && text_.substr(at_ + 1).starts_with(end);
      if (open == 0 && (has_sign || looking_at(end))) {
        const size_t begin = at_;
        at_ += has_sign ? 3 : 2;
        add(closer == '}' ? TokenKind::variable_end : TokenKind::block_end, "", begin, at_);
        return after_tag(has_sign ? c : '\0', closer == '%');
      }
      if (c == '\'' || c == '"')
        string(c);
      else if (is_digit(c))
        number();
      else if (name_character(text_, at_) > 0)
        name();
      else
        symbol(open);
    }
  }

  void name() {
    const size_t begin = at_;
    while (const size_t length = name_character(text_, at_)) at_ += length;
    add(TokenKind::name, std::string(text_.substr(begin, at_ - begin)), begin, at_);
  }

  void number() {
    const size_t begin = at_;
    std::string digits;
    const auto take_digits = [&] {
      while (at_ < text_.size() && (is_digit(text_[at_]) || text_[at_] == '_')) {
        if (text_[at_] != '_') digits += text_[at_];
        ++at_;
      }
    };
    take_digits();
    bool real = false;
    if (at_ + 1 < text_.size() && text_[at_] == '.' && is_digit(text_[at_ + 1])) {
      real = true;
      digits += text_[at_++];
      take_digits();
    }
    if (at_ < text_.size() && (text_[at_] == 'e' || text_[at_] == 'E')) {
      const size_t sign = at_ + 1 < text_.size() && (text_[at_ + 1] == '-' || text_[at_ + 1] == '+') ? 1 : 0;
      if (at_ + 1 + sign < text_.size() && is_digit(text_[at_ + 1 + sign])) {
        real = true;
        digits += text_.substr(at_, 1 + sign);
        at_ += 1 + sign;
        take_digits();
      }
    }
    add(real ? TokenKind::real : TokenKind::integer, digits, begin, at_);
  }

  void string(char quote) {
    const size_t begin = at_++;
    std::string content;
    while (at_ < text_.size() && text_[at_] != quote) {
      if (text_[at_] == '\\')
        escape(content);
      else
        content += text_[at_++];
    }
    if (at_ >= text_.size()) fail(begin, begin + 1, "this string is never closed");
    ++at_;
    add(TokenKind::string, std::move(content), begin, at_);
  }

  /// One escape sequence, as Python reads it; an unknown one keeps its backslash.
  void escape(std::string& content) {
    const size_t begin = at_++;
    if (at_ >= text_.size()) return;
    const char c = text_[at_++];
    switch (c) {
      case 'n':
        content += '\n';
        return;
      case 't':
        content += '\t';
        return;
      case 'r':
        content += '\r';
        return;
      case 'b':
        content += '\b';
        return;
      case 'f':
        content += '\f';
        return;
      case 'v':
        content += '\v';
        return;
      case 'a':
        content += '\a';
        return;
      case '\n':
        return;
      case '\\':
      case '\'':
      case '"':
        content += c;
        return;
      default:
        break;
    }
    if (c >= '0' && c <= '7') {
      char32_t code = static_cast<char32_t>(c - '0');
      for (int i = 0; i < 2 && at_ < text_.size() && text_[at_] >= '0' && text_[at_] <= '7'; ++i) {
        code = code * 8 + static_cast<char32_t>(text_[at_++] - '0');
      }
      return append_utf8(content, code);
    }
    const int n_digits = c == 'x' ? 2 : c == 'u' ? 4 : c == 'U' ? 8 : 0;
    if (n_digits == 0) {
      content += {'\\', c};
      return;
    }
    char32_t code = 0;
    for (int i = 0; i < n_digits; ++i, ++at_) {
      const int digit = at_ < text_.size() ? hex_value(text_[at_]) : -1;
      if (digit < 0)
        fail(begin, at_, fmt::format("the escape \\{} needs {} hexadecimal digits", c, n_digits));
      code = code * 16 + static_cast<char32_t>(digit);
    }
    append_utf8(content, code);
  }

  void symbol(size_t& open) {
    static constexpr std::array<std::string_view, 26> kSymbols = {
        "**", "//", "==", "!=", "<=", ">=", "+", "-", "*", "/", "%", "~", "(",
        ")",  "[",  "]",  "{",  "}",  "<",  ">", "=", ".", ",", ":", "|", ";"};
    for (const std::string_view s : kSymbols) {
      if (!looking_at(s)) continue;
      if (s == "(" || s == "[" || s == "{") ++open;
      if ((s == ")" || s == "]" || s == "}") && open > 0) --open;
      add(TokenKind::symbol, std::string(s), at_, at_ + s.size());
      at_ += s.size();
      return;
    }
    const size_t length = std::max<size_t>(utf8_at(text_, at_).length, 1);
    fail(at_, at_ + length, fmt::format("unexpected character '{}'", valid_utf8(text_.substr(at_, length))));
  }

  const Source& source_;
  std::string_view text_;
  size_t at_ = 0;
  std::vector<Token> tokens_;
};

}  // namespace

std::vector<Token> tokenize_template(const Source& source) { return Lexer(source).run(); }

}  // namespace tl::jinja
