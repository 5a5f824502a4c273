#include "lang/lexer.h"

#include <algorithm>
#include <array>
#include <optional>
#include <utility>

#include <fmt/format.h>

namespace tl::lang {

namespace {

constexpr std::array kKeywords = std::to_array<std::pair<std::string_view, TokenKind>>({
    {"import", TokenKind::kw_import},
    {"fn", TokenKind::kw_fn},
    {"let", TokenKind::kw_let},
    {"return", TokenKind::kw_return},
    {"if", TokenKind::kw_if},
    {"else", TokenKind::kw_else},
    {"for", TokenKind::kw_for},
    {"in", TokenKind::kw_in},
    {"while", TokenKind::kw_while},
    {"break", TokenKind::kw_break},
    {"continue", TokenKind::kw_continue},
    {"true", TokenKind::kw_true},
    {"false", TokenKind::kw_false},
    {"and", TokenKind::kw_and},
    {"or", TokenKind::kw_or},
    {"not", TokenKind::kw_not},
    {"as", TokenKind::kw_as},
    {"where", TokenKind::kw_where},
    {"inv", TokenKind::kw_inv},
});

// Longest first, so that the first match is the right one.
constexpr std::array kPunctuation = std::to_array<std::pair<std::string_view, TokenKind>>({
    {"...", TokenKind::ellipsis},    {"≈", TokenKind::approximately},
    {"⊙", TokenKind::hadamard},      {"⊗", TokenKind::outer},
    {":=", TokenKind::colon_equal},  {"..", TokenKind::dot_dot},
    {"->", TokenKind::arrow},        {"<-", TokenKind::left_arrow},
    {"+=", TokenKind::plus_equal},   {"-=", TokenKind::minus_equal},
    {"*=", TokenKind::star_equal},   {"/=", TokenKind::slash_equal},
    {"==", TokenKind::equal_equal},  {"!=", TokenKind::bang_equal},
    {"<=", TokenKind::less_equal},   {">=", TokenKind::greater_equal},
    {"||", TokenKind::or_or},        {"&&", TokenKind::and_and},
    {"**", TokenKind::star_star},    {"(", TokenKind::left_paren},
    {")", TokenKind::right_paren},   {"[", TokenKind::left_bracket},
    {"]", TokenKind::right_bracket}, {"{", TokenKind::left_brace},
    {"}", TokenKind::right_brace},   {",", TokenKind::comma},
    {";", TokenKind::semicolon},     {":", TokenKind::colon},
    {".", TokenKind::dot},           {"?", TokenKind::question},
    {"=", TokenKind::equal},         {"<", TokenKind::less},
    {">", TokenKind::greater},       {"!", TokenKind::bang},
    {"+", TokenKind::plus},          {"-", TokenKind::minus},
    {"*", TokenKind::star},          {"/", TokenKind::slash},
    {"%", TokenKind::percent},       {"@", TokenKind::at},
    {"^", TokenKind::caret},         {"|", TokenKind::bar},
});

bool is_digit(char c) { return c >= '0' && c <= '9'; }
bool is_ascii_letter(char c) { return (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || c == '_'; }
int hex_digit(char c) {
  if (is_digit(c)) return c - '0';
  if (c >= 'a' && c <= 'f') return c - 'a' + 10;
  if (c >= 'A' && c <= 'F') return c - 'A' + 10;
  return -1;
}

/// The code point at `i` and its length; {0xfffd, 1} for malformed UTF-8.
std::pair<uint32_t, uint32_t> code_point(std::string_view text, size_t i) {
  const auto byte = [&](size_t k) -> uint32_t { return static_cast<unsigned char>(text[k]); };
  const uint32_t first = byte(i);
  if (first < 0x80) return {first, 1};
  const uint32_t length = first >= 0xf0 ? 4 : first >= 0xe0 ? 3 : first >= 0xc2 ? 2 : 0;
  if (length == 0 || first > 0xf4 || i + length > text.size()) return {0xfffd, 1};
  uint32_t value = first & (0xffu >> (length + 1));
  for (uint32_t k = 1; k < length; ++k) {
    if ((byte(i + k) & 0xc0) != 0x80) return {0xfffd, 1};
    value = value << 6 | (byte(i + k) & 0x3f);
  }
  return {value, length};
}

/// Latin, Greek and Cyrillic letters and subscript digits, as formulas use them.
bool is_foreign_letter(uint32_t c) {
  return (c >= 0xc0 && c <= 0x24f && c != 0xd7 && c != 0xf7) || (c >= 0x370 && c <= 0x3ff && c != 0x37e) ||
         (c >= 0x400 && c <= 0x4ff) || (c >= 0x2080 && c <= 0x2089);
}

class Lexer {
 public:
  explicit Lexer(const Source& source) : source_(source), text_(source.text()) {}

  TokenList run() {
    if (text_.starts_with("\xef\xbb\xbf")) at_ = 3;  // a byte order mark some editors write
    do {
      skip_blanks();
      next();
    } while (out_.tokens.back().kind != TokenKind::end);
    return std::move(out_);
  }

 private:
  char peek(size_t ahead = 0) const { return at_ + ahead < text_.size() ? text_[at_ + ahead] : '\0'; }
  Span span(size_t begin, size_t end) const {
    return {&source_, static_cast<uint32_t>(begin), static_cast<uint32_t>(end)};
  }
  void report(size_t begin, size_t end, std::string message, std::string help = {}) {
    out_.diagnostics.push_back({Severity::error, span(begin, end), std::move(message), {}, std::move(help)});
  }

  void skip_blanks() {
    token_ = {};
    const size_t begin = at_;
    for (;;) {
      const char c = peek();
      if (at_ >= text_.size()) break;
      if (c == '\n') {
        token_.newline_before = true;
        ++at_;
      } else if (c == ' ' || c == '\t' || c == '\r') {
        ++at_;
      } else if (c == '/' && peek(1) == '/') {
        token_.comment_before = true;
        at_ = std::min(text_.find('\n', at_), text_.size());
      } else if (c == '/' && peek(1) == '*') {
        skip_block_comment();
      } else {
        break;
      }
    }
    token_.space_before = at_ > begin || at_ == 0;
  }

  void skip_block_comment() {
    token_.comment_before = true;
    const size_t close = text_.find("*/", at_ + 2);
    if (close == std::string_view::npos) {
      report(at_, at_ + 2, "this comment is never closed", "end it with */");
      at_ = text_.size();
      return;
    }
    token_.newline_before |= text_.substr(at_, close - at_).find('\n') != std::string_view::npos;
    at_ = close + 2;
  }

  void emit(TokenKind kind, size_t begin) {
    token_.kind = kind;
    token_.begin = static_cast<uint32_t>(begin);
    token_.end = static_cast<uint32_t>(at_);
    out_.tokens.push_back(token_);
  }

  void next() {
    const size_t begin = at_;
    if (at_ >= text_.size()) return emit(TokenKind::end, begin);
    if (letter_length() > 0) return word(begin);
    if (is_digit(peek())) return number(begin);
    if (peek() == '"') return string(begin);
    for (const auto& [spelling, kind] : kPunctuation) {
      if (!text_.substr(at_).starts_with(spelling)) continue;
      at_ += spelling.size();
      return emit(kind, begin);
    }
    invalid_character(begin);
  }

  /// Bytes of the letter here, 0 if there is none.
  uint32_t letter_length() const {
    if (at_ >= text_.size()) return 0;
    if (is_ascii_letter(peek())) return 1;
    const auto [c, length] = code_point(text_, at_);
    return is_foreign_letter(c) ? length : 0;
  }

  void word(size_t begin) {
    for (;;) {
      if (const uint32_t length = letter_length())
        at_ += length;
      else if (is_digit(peek()))
        ++at_;
      else
        break;
    }
    while (peek() == '\'') ++at_;
    const std::string_view text = text_.substr(begin, at_ - begin);
    const auto found =
        std::find_if(kKeywords.begin(), kKeywords.end(), [&](const auto& k) { return k.first == text; });
    emit(found == kKeywords.end() ? TokenKind::name : found->second, begin);
  }

  void number(size_t begin) {
    bool is_float = false;
    if (peek() == '0' && (peek(1) == 'x' || peek(1) == 'X')) {
      at_ += 2;
      while (hex_digit(peek()) >= 0 || peek() == '_') ++at_;
    } else {
      skip_digits();
      if (peek() == '.' && is_digit(peek(1))) {
        is_float = true;
        ++at_;
        skip_digits();
      }
      const size_t sign = peek(1) == '+' || peek(1) == '-' ? 1 : 0;
      if ((peek() == 'e' || peek() == 'E') && is_digit(peek(1 + sign))) {
        is_float = true;
        at_ += 1 + sign;
        skip_digits();
      }
    }
    if (letter_length() > 0) {
      const size_t number_end = at_;
      while (letter_length() > 0 || is_digit(peek())) at_ += std::max(1u, letter_length());
      const auto number = text_.substr(begin, number_end - begin);
      const auto rest = text_.substr(number_end, at_ - number_end);
      const std::string help =
          number.starts_with("0x") || number.starts_with("0X") ? "hexadecimal digits are 0 to 9 and a to f"
          : rest == "e" || rest == "E" ? fmt::format("an exponent needs digits: {}e5", number)
                                       : fmt::format("a product is written {} * {}", number, rest);
      report(begin, at_, fmt::format("'{}{}' is neither a number nor a name", number, rest), help);
      return emit(TokenKind::invalid, begin);
    }
    emit(is_float ? TokenKind::floating : TokenKind::integer, begin);
  }

  void skip_digits() {
    while (is_digit(peek()) || (peek() == '_' && is_digit(peek(1)))) ++at_;
  }

  void string(size_t begin) {
    ++at_;
    while (at_ < text_.size() && peek() != '"' && peek() != '\n')
      at_ += peek() == '\\' && peek(1) != '\n' ? 2 : 1;
    at_ = std::min(at_, text_.size());
    if (peek() != '"') {
      report(begin, at_, "this string is never closed",
             "end it with \" on the same line; a line break is \\n");
      return emit(TokenKind::invalid, begin);
    }
    ++at_;
    emit(TokenKind::string, begin);
  }

  void invalid_character(size_t begin) {
    const auto [c, length] = code_point(text_, at_);
    at_ += length;
    const std::string_view text = text_.substr(begin, length);
    if (c == 0xfffd && length == 1) {
      report(begin, at_, fmt::format("byte 0x{:02x} is not UTF-8 text", static_cast<unsigned char>(text[0])));
    } else if (c < 0x20 || c == 0x7f) {
      report(begin, at_, fmt::format("unexpected control character U+{:04X}", c));
    } else {
      std::string help;
      if (c == '\'' || c == 0x2018 || c == 0x2019 || c == 0x201c || c == 0x201d)
        help = "strings stand in double quotes: \"text\"";
      else if (c == '&')
        help = "'and' is written and, or &&";
      else if (c == '#')
        help = "a comment starts with //";
      else if (c == 0xd7)
        help = "a product is written *, a matrix product @";
      else if (c == 0x2212)
        help = "minus is written -";
      report(begin, at_, fmt::format("unexpected character '{}'", text), help);
    }
    emit(TokenKind::invalid, begin);
  }

  const Source& source_;
  std::string_view text_;
  size_t at_ = 0;
  Token token_;
  TokenList out_;
};

void append_utf8(std::string& out, uint32_t c) {
  const auto put = [&](uint32_t byte) { out += static_cast<char>(byte); };
  if (c < 0x80) {
    put(c);
  } else if (c < 0x800) {
    put(0xc0 | c >> 6);
    put(0x80 | (c & 0x3f));
  } else if (c < 0x10000) {
    put(0xe0 | c >> 12);
    put(0x80 | (c >> 6 & 0x3f));
    put(0x80 | (c & 0x3f));
  } else {
    put(0xf0 | c >> 18);
    put(0x80 | (c >> 12 & 0x3f));
    put(0x80 | (c >> 6 & 0x3f));
    put(0x80 | (c & 0x3f));
  }
}

/// Reads "{1F999}" at `i` of `text`; nothing if malformed or no Unicode scalar value.
std::optional<uint32_t> braced_code_point(std::string_view text, size_t& i) {
  if (i >= text.size() || text[i] != '{') return std::nullopt;
  uint32_t value = 0;
  size_t k = i + 1;
  for (; k < text.size() && k < i + 8 && hex_digit(text[k]) >= 0; ++k)
    value = value * 16 + static_cast<uint32_t>(hex_digit(text[k]));
  if (k == i + 1 || k >= text.size() || text[k] != '}') return std::nullopt;
  if (value > 0x10ffff || (value >= 0xd800 && value < 0xe000)) return std::nullopt;
  i = k + 1;
  return value;
}

}  // namespace

std::vector<std::string_view> keywords() {
  std::vector<std::string_view> out;
  for (const auto& [word, kind] : kKeywords) out.push_back(word);
  return out;
}

std::string describe(TokenKind kind) {
  static constexpr std::string_view kTexts[] = {
#define X(id, text) text,
      TL_TOKENS(X)
#undef X
  };
  const std::string_view text = kTexts[static_cast<size_t>(kind)];
  return kind <= TokenKind::string ? std::string(text) : fmt::format("'{}'", text);
}

TokenList tokenize(const Source& source) { return Lexer(source).run(); }

std::string unescape(const Source& source, const Token& token, std::vector<Diagnostic>& diagnostics) {
  const std::string_view text = source.text().substr(token.begin + 1, token.end - token.begin - 2);
  std::string out;
  for (size_t i = 0; i < text.size();) {
    if (text[i] != '\\') {
      out += text[i++];
      continue;
    }
    const size_t begin = i++;
    const char c = text[i++];  // the lexer closes no string right after a backslash
    constexpr std::string_view kNames = "ntr0\\\"'";
    constexpr std::string_view kValues("\n\t\r\0\\\"'", 7);
    if (const size_t found = kNames.find(c); found != std::string_view::npos) {
      out += kValues[found];
      continue;
    }
    if (c == 'u') {
      if (const auto value = braced_code_point(text, i)) {
        append_utf8(out, *value);
        continue;
      }
    }
    const auto at = token.begin + 1 + static_cast<uint32_t>(begin);
    diagnostics.push_back(
        {Severity::error,
         {&source, at, at + 2},
         c == 'u' ? "this is no Unicode code point" : fmt::format("unknown escape '\\{}'", c),
         {},
         "escapes are \\n \\t \\r \\0 \\\\ \\\" and \\u{1F999}"});
  }
  return out;
}

std::vector<Comment> comments_between(const Source& source, uint32_t begin, uint32_t end) {
  std::vector<Comment> out;
  const std::string_view text = source.text();
  for (size_t i = begin; i + 1 < end; ++i) {
    if (text[i] != '/') continue;
    const bool is_line = text[i + 1] == '/';
    const size_t close = is_line ? text.find('\n', i) : text.find("*/", i + 2);
    const size_t stop =
        close == std::string_view::npos ? end : std::min<size_t>(end, close + (is_line ? 0 : 2));
    out.push_back({static_cast<uint32_t>(i), static_cast<uint32_t>(stop)});
    i = stop - 1;
  }
  return out;
}

}  // namespace tl::lang
