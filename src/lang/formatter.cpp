// Declarations, statements, comments and blank lines; formatter_layout.cpp has what stands on the lines.
#include "lang/formatter.h"

#include <algorithm>
#include <optional>

#include "lang/formatter_layout.h"
#include "lang/parser.h"

namespace tl::lang {

using namespace ast;

namespace {

/// What stands at the outer level of a file, in the order of the text.
struct Declaration {
  uint32_t begin = 0, end = 0;
  const Function* function = nullptr;  ///< fn, main, test
  const Stmt* statement = nullptr;     ///< neither: an import
};

std::vector<Declaration> declarations(const Module& module) {
  std::vector<Declaration> out;
  for (const Import& i : module.imports) out.push_back({i.span.begin, i.span.end, nullptr, nullptr});
  for (const StmtPtr& s : module.globals) out.push_back({s->span.begin, s->span.end, nullptr, s.get()});
  const auto add = [&](const Function& f) { out.push_back({f.span.begin, f.span.end, &f, nullptr}); };
  for (const auto& f : module.functions) add(*f);
  if (module.main) add(*module.main);
  for (const auto& test : module.tests) add(*test);
  std::sort(out.begin(), out.end(), [](const auto& a, const auto& b) { return a.begin < b.begin; });
  return out;
}

/// A simple statement or a part of a larger one that spans tokens [begin, end).
struct Extent {
  size_t begin, end;
};

class Formatter {
 public:
  Formatter(const Source& source, const Module& module)
      : module_(module), tokens_(format_tokens(source, module)), layout_(tokens_, out_) {}

  std::string run() {
    std::vector<const Stmt*> globals;
    const std::vector<Declaration> all = declarations(module_);
    for (const Declaration& d : all) globals.push_back(d.statement);
    align_equations(globals);
    bool was_tall = false;
    for (const Declaration& d : all) {
      skip_semicolons();
      const bool is_tall = d.function && !stands_on_one_line(d.end);
      start_line(0, {.set_off = d.function && (is_tall || was_tall)});
      declaration(d);
      was_tall = is_tall;
    }
    skip_semicolons();
    start_line(0, {.is_end = true});
    std::string text = out_.take();
    if (!text.empty()) text += '\n';
    return text;
  }

 private:
  /// How a new line begins.
  struct Line {
    bool is_first = false;  ///< of a block
    bool is_end = false;    ///< of a block or the file: the token there belongs to the level outside
    bool set_off = false;   ///< by an empty line
  };

  size_t find(uint32_t end) const {
    const auto found = std::partition_point(tokens_.begin(), tokens_.end(),
                                            [&](const FormatToken& t) { return t.begin < end; });
    return static_cast<size_t>(found - tokens_.begin());
  }

  void skip_semicolons() {
    while (tokens_[at_].kind == TokenKind::semicolon) ++at_;
  }

  /// Writes the comments before the token here and starts its line.
  void start_line(int indent, Line line) {
    const FormatToken& token = tokens_[at_];
    bool is_first = line.is_first || out_.empty();
    bool needs_blank = line.set_off && !is_first;
    bool on_line = !out_.empty();  // what stood before is on this line still
    bool is_glued = false;
    const auto next_line = [&](int newlines, int columns, bool may_be_blank) {
      if (!out_.empty()) {
        if (!is_first && may_be_blank && (newlines > 1 || needs_blank)) out_.newline(0);
        out_.newline(columns);
      }
      is_first = needs_blank = false;
    };
    for (const FormatComment& c : token.comments) {
      if (c.newlines == 0 && on_line) {
        layout_.trailing_comment(c);
        continue;
      }
      if (is_glued && c.newlines == 0) {
        out_.spaces(1);
      } else {
        next_line(c.newlines, indent, true);
      }
      out_.write(c.text);
      on_line = false;
      is_glued = !c.is_line;
    }
    if (token.kind == TokenKind::end) return;
    if (is_glued && token.newlines == 0 && !line.is_end) {
      out_.spaces(1);
    } else {
      next_line(token.newlines, line.is_end ? indent - kFormatIndent : indent, !line.is_end);
    }
  }

  /// Whether the tokens from here to `end` were written on one line that can stay one: no comments, one
  /// simple statement in a block.
  bool stands_on_one_line(uint32_t end) const {
    const size_t last = find(end);
    size_t block_end = 0;
    int statements = 0;
    for (size_t i = at_; i < last; ++i) {
      const FormatToken& t = tokens_[i];
      if (i != at_ && (t.newlines > 0 || !t.comments.empty() || t.is_broken)) return false;
      if (t.group == Group::block) {
        if (i < block_end) return false;
        block_end = t.match;
        statements = 0;
      }
      if (i != at_ && t.starts_statement && ++statements > 1) return false;
    }
    return out_.column() + layout_.width(at_, last) <= kFormatWidth;
  }

  void declaration(const Declaration& d) {
    const size_t end = find(d.end);
    if (d.statement) return statement(*d.statement, 0);
    if (d.function && !stands_on_one_line(d.end)) {
      header(d.function->body, 0);
      return block(d.function->body, 0);
    }
    layout_.statement(at_, end, 0);
    at_ = end;
  }

  /// Everything up to the brace that opens `body`.
  void header(const Block& body, int indent) {
    const size_t open = find(body.span.begin);
    layout_.statement(at_, open + 1, indent, 2 * kFormatIndent);
    at_ = open + 1;
  }

  /// The statements after an opening brace, and the brace that closes them.
  void block(const Block& body, int indent) {
    std::vector<const Stmt*> statements;
    for (const StmtPtr& s : body.statements) statements.push_back(s.get());
    align_equations(statements);
    bool is_first = true;
    for (const Stmt* s : statements) {
      skip_semicolons();
      start_line(indent + kFormatIndent, {.is_first = is_first});
      statement(*s, indent + kFormatIndent);
      is_first = false;
    }
    skip_semicolons();
    const bool is_empty = is_first && tokens_[at_].comments.empty();
    if (!is_empty) start_line(indent + kFormatIndent, {.is_first = is_first, .is_end = true});
    out_.write(tokens_[at_].text);
    ++at_;
  }

  void statement(const Stmt& s, int indent) {
    const size_t end = find(s.span.end);
    const bool is_compound = s.kind == StmtKind::conditional || s.kind == StmtKind::for_loop ||
                             s.kind == StmtKind::while_loop || s.kind == StmtKind::block ||
                             s.kind == StmtKind::policy_block;
    if (!is_compound || stands_on_one_line(s.span.end)) {
      is_compound ? layout_.flat(at_, end) : layout_.statement(at_, end, indent);
      at_ = end;
      return;
    }
    if (s.kind == StmtKind::for_loop) return body_after_header(ast::as<For>(s).body, indent);
    if (s.kind == StmtKind::while_loop) return body_after_header(ast::as<While>(s).body, indent);
    if (s.kind == StmtKind::policy_block) return body_after_header(ast::as<PolicyBlock>(s).body, indent);
    if (s.kind == StmtKind::block) return body_after_header(ast::as<BlockStatement>(s).body, indent);
    const auto& arms = ast::as<Conditional>(s).arms;
    for (size_t i = 0; i < arms.size(); ++i) {
      if (i > 0) start_else(indent);
      body_after_header(arms[i].body, indent);
    }
  }

  void body_after_header(const Block& body, int indent) {
    header(body, indent);
    block(body, indent);
  }

  void start_else(int indent) {
    if (tokens_[at_].comments.empty()) return out_.spaces(1);
    start_line(indent, {.is_first = true});
  }

  // Equations on consecutive lines have their equals signs in one column.

  /// The equation's tokens if it can be aligned: it stands on one line, and has indices on its left.
  std::optional<Extent> alignable(const Stmt* s) const {
    if (!s || s->kind != StmtKind::equation || ast::as<Equation>(*s).lhs.empty()) return std::nullopt;
    const Extent e{find(s->span.begin), find(s->span.end)};
    for (size_t i = e.begin + 1; i < e.end; ++i)
      if (tokens_[i].breaks_line()) return std::nullopt;
    if (!layout_.is_flat(e.begin, e.end)) return std::nullopt;
    return e;
  }

  /// The operator of an equation: `=`, or the word of `max=`.
  size_t operator_of(const Stmt& s) const { return find(ast::as<Equation>(s).lhs_span.end); }

  /// Width up to the end of the operator.
  int head_width(Extent e, size_t op) const {
    const bool is_word = tokens_[op].kind == TokenKind::name;
    return layout_.width(e.begin, op + (is_word ? 2 : 1));
  }

  bool follows_directly(size_t token) const {
    const FormatToken& t = tokens_[token];
    int newlines = t.newlines;
    for (const FormatComment& c : t.comments) {
      if (c.newlines > 0 || !c.is_line) return false;
      newlines += c.newlines;
    }
    return newlines <= 1;
  }

  void align_equations(const std::vector<const Stmt*>& statements) {
    constexpr int kMaxSpread = 16;
    for (size_t first = 0, last = 0; first < statements.size(); first = std::max(last, first + 1)) {
      int narrowest = kFormatWidth, widest = 0;
      for (last = first; last < statements.size(); ++last) {
        const auto e = alignable(statements[last]);
        if (!e || (last > first && !follows_directly(e->begin))) break;
        const int head = head_width(*e, operator_of(*statements[last]));
        if (last > first && std::max(widest, head) - std::min(narrowest, head) > kMaxSpread) break;
        narrowest = std::min(narrowest, head);
        widest = std::max(widest, head);
      }
      for (size_t k = first; k < last; ++k) {
        const size_t op = operator_of(*statements[k]);
        tokens_[op].spaces += widest - head_width(*alignable(statements[k]), op);
      }
    }
  }

  const Module& module_;
  std::vector<FormatToken> tokens_;
  FormatOutput out_;
  FormatLayout layout_;
  size_t at_ = 0;
};

/// The tokens that carry meaning.
std::vector<std::string_view> essence(const Source& source) {
  std::vector<std::string_view> out;
  const std::vector<Token> tokens = tokenize(source).tokens;
  for (size_t i = 0; i + 1 < tokens.size(); ++i) {
    const TokenKind next = tokens[i + 1].kind;
    const bool closes =
        next == TokenKind::right_paren || next == TokenKind::right_bracket || next == TokenKind::right_brace;
    if (tokens[i].kind == TokenKind::semicolon || (tokens[i].kind == TokenKind::comma && closes)) continue;
    out.push_back(source.text().substr(tokens[i].begin, tokens[i].end - tokens[i].begin));
  }
  return out;
}

}  // namespace

std::string format_source(const Source& source) {
  ParseResult parsed = parse(source, {.statements_at_top_level = true});
  if (!parsed.diagnostics.empty()) throw ProgramError(std::move(parsed.diagnostics));
  std::string text = Formatter(source, *parsed.module).run();
  const Source written(source.name(), text);
  TL_CHECK(essence(source) == essence(written), "formatting would change the program");
  return text;
}

}  // namespace tl::lang
