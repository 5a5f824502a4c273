#include "lang/workspace.h"

#include <algorithm>

#include "lang/lexer.h"
#include "lang/parser.h"

namespace tl::lang {

Workspace::Workspace(const Library& library, Host& host, LoadOptions options) {
  options.statements_at_top_level = true;
  program_ = Program::empty("<input>", library, options);
  interpreter_ = std::make_unique<Interpreter>(program_, host);
}

Value Workspace::run(const std::string& name, std::string text) {
  const std::vector<const LoadedModule*> modules = program_->extend(name, std::move(text));
  Value last;
  for (const LoadedModule* module : modules) last = interpreter_->run_module(*module);
  const auto& statements = modules.back()->ast->globals;
  const bool is_value = !statements.empty() && statements.back()->kind == ast::StmtKind::expression;
  return is_value ? last : Value();
}

void Workspace::run_main() {
  if (program_->main()) interpreter_->run_main({});
}

bool is_enclosed(const std::string& text) {
  const Source source("<input>", text);
  const TokenList list = tokenize(source);
  int open = 0;
  for (const Token& t : list.tokens) {
    if (t.kind == TokenKind::left_paren || t.kind == TokenKind::left_bracket ||
        t.kind == TokenKind::left_brace)
      ++open;
    if (t.kind == TokenKind::right_paren || t.kind == TokenKind::right_bracket ||
        t.kind == TokenKind::right_brace)
      --open;
  }
  const auto opens_comment = [&](const Diagnostic& d) {
    return source.text().substr(d.span.begin).starts_with("/*");
  };
  return open > 0 || std::any_of(list.diagnostics.begin(), list.diagnostics.end(), opens_comment);
}

bool is_unfinished(const std::string& text) {
  if (is_enclosed(text)) return true;
  const Source source("<input>", text);
  const ParseResult parsed = parse(source, {.statements_at_top_level = true});
  if (parsed.diagnostics.empty()) {  // a comment belongs to what follows it
    const bool is_blank = text.find_first_not_of(" \t\r\n") == std::string::npos;
    return !is_blank && tokenize(source).tokens.size() < 2;
  }
  // Complete but for what should have come next: the first thing that is wrong is the end, or an operator
  // there.
  const auto tokens = tokenize(source).tokens;
  const Span& first = parsed.diagnostics.front().span;
  if (tokens.size() < 2 || first.begin >= tokens.back().begin) return tokens.size() >= 2;
  return first.begin == tokens[tokens.size() - 2].begin && first.end == tokens[tokens.size() - 2].end &&
         parsed.diagnostics.front().message.starts_with("expected an expression after");
}

}  // namespace tl::lang
