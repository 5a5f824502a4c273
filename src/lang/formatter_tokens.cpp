#include "lang/formatter_tokens.h"

#include <algorithm>

namespace tl::lang {

using namespace ast;

int text_width(std::string_view text) {
  return static_cast<int>(std::count_if(text.begin(), text.end(), [](char c) { return (c & 0xc0) != 0x80; }));
}

int break_precedence(TokenKind kind) {
  switch (kind) {
    case TokenKind::or_or:
    case TokenKind::kw_or:
      return 1;
    case TokenKind::and_and:
    case TokenKind::kw_and:
      return 2;
    case TokenKind::equal_equal:
    case TokenKind::bang_equal:
    case TokenKind::less:
    case TokenKind::less_equal:
    case TokenKind::greater:
    case TokenKind::greater_equal:
    case TokenKind::approximately:
      return 3;
    case TokenKind::plus:
    case TokenKind::minus:
      return 4;
    case TokenKind::star:
    case TokenKind::slash:
    case TokenKind::percent:
    case TokenKind::at:
    case TokenKind::hadamard:
      return 5;
    case TokenKind::star_star:
    case TokenKind::caret:
    case TokenKind::outer:
      return 6;
    default:
      return 0;
  }
}

namespace {

/// Where statements, declarations and blocks start: the parser knows, the tokens alone do not tell.
struct Starts {
  std::set<uint32_t> statements, blocks, titles;

  void add(const Block& block) {
    blocks.insert(block.span.begin);
    for (const StmtPtr& s : block.statements) add(*s);
  }

  void add(const Stmt& s) {
    statements.insert(s.span.begin);
    switch (s.kind) {
      case StmtKind::conditional:
        for (const auto& arm : ast::as<Conditional>(s).arms) add(arm.body);
        return;
      case StmtKind::for_loop:
        return add(ast::as<For>(s).body);
      case StmtKind::while_loop:
        return add(ast::as<While>(s).body);
      case StmtKind::block:
        return add(ast::as<BlockStatement>(s).body);
      case StmtKind::policy_block:
        return add(ast::as<PolicyBlock>(s).body);
      default:
        return;
    }
  }

  void add(const Function& f) {
    (f.kind == Function::Kind::test ? titles : statements).insert(f.span.begin);
    add(f.body);
  }

  explicit Starts(const Module& module) {
    for (const Import& i : module.imports) statements.insert(i.span.begin);
    for (const auto& f : module.functions) add(*f);
    if (module.main) add(*module.main);
    for (const auto& test : module.tests) add(*test);
    for (const StmtPtr& s : module.globals) add(*s);
  }
};

int count_newlines(std::string_view text) {
  return static_cast<int>(std::count(text.begin(), text.end(), '\n'));
}

bool ends_expression(TokenKind kind) {
  switch (kind) {
    case TokenKind::name:
    case TokenKind::integer:
    case TokenKind::floating:
    case TokenKind::string:
    case TokenKind::kw_true:
    case TokenKind::kw_false:
    case TokenKind::right_paren:
    case TokenKind::right_bracket:
    case TokenKind::right_brace:
    case TokenKind::question:
      return true;
    default:
      return false;
  }
}

bool is_opening(TokenKind kind) {
  return kind == TokenKind::left_paren || kind == TokenKind::left_bracket || kind == TokenKind::left_brace;
}
bool is_closing(TokenKind kind) {
  return kind == TokenKind::right_paren || kind == TokenKind::right_bracket || kind == TokenKind::right_brace;
}

class Annotator {
 public:
  Annotator(const Source& source, const Module& module)
      : source_(source), starts_(module), tokens_(tokenize(source).tokens) {}

  std::vector<FormatToken> run() {
    for (const Token& token : tokens_) add(token);
    for (size_t i = 0; i < out_.size(); ++i) {
      classify(i);
      if (is_opening(out_[i].kind)) open_.push_back(i);
      if (is_closing(out_[i].kind) && !open_.empty()) close(i);
    }
    for (size_t i = 0; i + 1 < out_.size(); ++i)
      if (out_[i].is_dropped) move_comments(i);
    for (size_t i = 1; i < out_.size(); ++i) out_[i].spaces = has_space(i) ? 1 : 0;
    return std::move(out_);
  }

 private:
  void add(const Token& token) {
    FormatToken& t = out_.emplace_back();
    t.kind = token.kind;
    t.text = source_.text().substr(token.begin, token.end - token.begin);
    t.is_dropped = t.kind == TokenKind::semicolon;
    t.begin = token.begin;
    t.end = token.end;
    t.starts_statement = starts_.statements.contains(token.begin);
    if (starts_.titles.contains(token.begin)) out_[out_.size() - 2].starts_statement = true;
    uint32_t at = out_.size() > 1 ? out_[out_.size() - 2].end : 0;
    const auto newlines_to = [&](uint32_t place) {
      return count_newlines(source_.text().substr(at, place - at));
    };
    if (token.comment_before) {
      for (const Comment& c : comments_between(source_, at, token.begin)) {
        std::string_view text = source_.text().substr(c.begin, c.end - c.begin);
        const bool is_line = text.starts_with("//");
        if (is_line) text = text.substr(0, text.find_last_not_of(" \t\r") + 1);
        const bool is_placed = c.begin > at + 2;
        t.comments.push_back(
            {text, is_line, newlines_to(c.begin), is_placed ? source_.position(c.begin).column - 1 : 0});
        at = c.end;
      }
    }
    t.newlines = newlines_to(token.begin);
  }

  /// What is not written leaves its comments to the token after it.
  void move_comments(size_t i) {
    auto &from = out_[i].comments, &to = out_[i + 1].comments;
    to.insert(to.begin(), from.begin(), from.end());
    from.clear();
  }

  /// The token before `i` in the same statement.
  const FormatToken* before(size_t i) const {
    return i == 0 || out_[i].starts_statement ? nullptr : &out_[i - 1];
  }
  bool follows_expression(size_t i) const {
    const FormatToken* p = before(i);
    return p && ends_expression(p->kind) && !(p->kind == TokenKind::right_brace && is_block_end(i - 1));
  }
  bool is_block_end(size_t i) const { return out_[out_[i].match].group == Group::block; }

  void classify(size_t i) {
    FormatToken& t = out_[i];
    switch (t.kind) {
      case TokenKind::minus:
      case TokenKind::bang:
      case TokenKind::star:
        t.is_prefix = !follows_expression(i);
        return;
      case TokenKind::left_paren: {
        const bool is_call = follows_expression(i) && (!tokens_[i].space_before || is_parameters(i));
        t.group = is_call ? Group::call : Group::paren;
        return;
      }
      case TokenKind::left_bracket:
        t.group = follows_expression(i) ? Group::index : Group::list;
        return;
      case TokenKind::left_brace:
        t.group = starts_.blocks.contains(t.begin) ? Group::block : Group::record;
        return;
      default:
        return;
    }
  }

  bool is_parameters(size_t i) const { return i >= 2 && out_[i - 2].kind == TokenKind::kw_fn; }

  void close(size_t i) {
    const size_t open = open_.back();
    open_.pop_back();
    out_[open].match = i;
    out_[i].match = open;
    const Group group = out_[open].group;
    std::vector<size_t> commas;
    for (size_t k = open + 1; k < i; ++k) {
      if (is_opening(out_[k].kind)) k = out_[k].match;
      if (out_[k].kind == TokenKind::comma) commas.push_back(k);
    }
    if (!commas.empty() && commas.back() == i - 1)
      out_[i - 1].is_dropped = group != Group::paren || commas.size() > 1;
    if (group == Group::list || group == Group::record) {
      const auto starts_line = [&](size_t k) { return k < i && tokens_[k].newline_before; };
      out_[open].is_broken = starts_line(open + 1);
      for (const size_t comma : commas) out_[open].is_broken |= starts_line(comma + 1);
    }
    if (group == Group::index) space_slices(open, i);
  }

  /// The colons of a slice stand apart from bounds that are calculated: x[1:n], but x[i + 1 : n].
  void space_slices(size_t open, size_t close) {
    bool is_calculated = false;
    for (size_t begin = open + 1, k = begin; k <= close; ++k) {
      if (is_opening(out_[k].kind)) k = out_[k].match;
      const FormatToken& t = out_[k];
      is_calculated |= break_precedence(t.kind) > 0 && !t.is_prefix;
      if (k != close && t.kind != TokenKind::comma) continue;
      for (size_t j = begin; j < k; ++j) {
        if (is_opening(out_[j].kind)) j = out_[j].match;
        if (out_[j].kind == TokenKind::colon) (is_calculated ? wide_colons_ : slice_colons_).insert(j);
      }
      begin = k + 1;
      is_calculated = false;
    }
  }

  /// `y max= x`: the name touches its equals sign.
  bool is_projection(size_t i) const {
    if (out_[i].kind != TokenKind::equal || i < 2 || tokens_[i].space_before) return false;
    const std::string_view word = out_[i - 1].text;
    return (word == "max" || word == "min" || word == "avg") && !out_[i - 1].starts_statement &&
           ends_expression(out_[i - 2].kind);
  }

  /// Whether nothing between these brackets is written.
  bool is_empty(size_t open, size_t close) const {
    return std::all_of(out_.begin() + open + 1, out_.begin() + close,
                       [](const FormatToken& t) { return t.is_dropped; });
  }

  bool has_space(size_t i) const {
    const FormatToken &p = out_[i - 1], &c = out_[i];
    if (!c.comments.empty()) return !is_opening(p.kind);
    const bool in_block = p.group == Group::block || (c.kind == TokenKind::right_brace && is_block_end(i));
    if (in_block) return !(c.kind == TokenKind::right_brace && is_empty(c.match, i));
    switch (c.kind) {
      case TokenKind::right_paren:
      case TokenKind::right_bracket:
      case TokenKind::right_brace:
      case TokenKind::comma:
      case TokenKind::semicolon:
      case TokenKind::dot:
      case TokenKind::dot_dot:
      case TokenKind::caret:
        return false;
      case TokenKind::question:
        return !is_opening(p.kind) && !ends_expression(p.kind);
      default:
        break;
    }
    if (is_opening(p.kind) || p.kind == TokenKind::dot || p.kind == TokenKind::dot_dot ||
        p.kind == TokenKind::caret || p.is_prefix)
      return false;
    if (c.group == Group::call || c.group == Group::index || is_projection(i)) return false;
    if (c.kind == TokenKind::colon)
      return p.kind == TokenKind::comma || (wide_colons_.contains(i) && p.kind != TokenKind::colon);
    if (p.kind == TokenKind::colon) return !slice_colons_.contains(i - 1);
    return true;
  }

  const Source& source_;
  Starts starts_;
  std::vector<Token> tokens_;
  std::vector<FormatToken> out_;
  std::vector<size_t> open_;
  std::set<size_t> slice_colons_, wide_colons_;
};

}  // namespace

std::vector<FormatToken> format_tokens(const Source& source, const Module& module) {
  return Annotator(source, module).run();
}

}  // namespace tl::lang
