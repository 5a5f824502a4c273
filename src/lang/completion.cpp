#include "lang/completion.h"

#include <algorithm>

#include "lang/lexer.h"

namespace tl::lang {

namespace {

bool is_word(TokenKind kind) {
  return kind == TokenKind::name || (kind >= TokenKind::kw_import && kind <= TokenKind::kw_inv);
}

/// The first token of the path of names, members and constant indices that ends before token `end`.
size_t path_begin(const std::vector<Token>& tokens, size_t end) {
  size_t i = end;
  while (i > 0) {
    if (tokens[i - 1].kind == TokenKind::right_bracket && i >= 4 &&
        tokens[i - 3].kind == TokenKind::left_bracket &&
        (tokens[i - 2].kind == TokenKind::integer || tokens[i - 2].kind == TokenKind::string)) {
      i -= 3;
      continue;
    }
    if (tokens[i - 1].kind != TokenKind::name) break;
    if (i < 2 || tokens[i - 2].kind != TokenKind::dot) return i - 1;
    i -= 2;
  }
  return end;  // no such path
}

}  // namespace

CompletionPlace completion_place(std::string_view text, uint32_t offset) {
  CompletionPlace place;
  place.begin = offset;
  // What comes after the place does not matter, and nothing of it may be misread.
  const Source source("<text>", std::string(text.substr(0, offset)));
  const TokenList list = tokenize(source);
  const auto& tokens = list.tokens;
  const bool is_open =
      std::any_of(list.diagnostics.begin(), list.diagnostics.end(), [&](const Diagnostic& d) {
        return d.span.end >= offset || source.text().substr(d.span.begin).starts_with("/*");
      });
  const uint32_t last_end = tokens.size() > 1 ? tokens[tokens.size() - 2].end : 0;
  const auto comments = comments_between(source, last_end, static_cast<uint32_t>(source.text().size()));
  const bool in_comment = !comments.empty() && comments.back().end == offset &&
                          source.text().substr(comments.back().begin).starts_with("//");
  if (is_open || in_comment) return place;
  place.is_name = true;
  size_t at = tokens.size() - 1;  // the token after the word's
  if (at > 0 && tokens[at - 1].end == offset) {
    if (is_word(tokens[at - 1].kind)) {
      --at;
      place.begin = tokens[at].begin;
      place.prefix = source.text().substr(place.begin, offset - place.begin);
    } else if (tokens[at - 1].kind == TokenKind::integer || tokens[at - 1].kind == TokenKind::floating ||
               tokens[at - 1].kind == TokenKind::string) {
      place.is_name = false;
      return place;
    }
  }
  if (at > 0 && tokens[at - 1].kind == TokenKind::dot) {
    place.is_member = true;
    const size_t first = path_begin(tokens, at - 1);
    if (first < at - 1)
      place.object = source.text().substr(tokens[first].begin, tokens[at - 1].begin - tokens[first].begin);
  }
  return place;
}

std::vector<std::string> matching(std::vector<std::string> candidates, std::string_view prefix) {
  std::erase_if(candidates, [&](const std::string& c) { return !c.starts_with(prefix); });
  std::sort(candidates.begin(), candidates.end());
  candidates.erase(std::unique(candidates.begin(), candidates.end()), candidates.end());
  return candidates;
}

std::vector<std::string> words_of_the_language() {
  std::vector<std::string> out;
  for (const std::string_view word : keywords()) out.emplace_back(word);
  for (const char* word : {"main", "test", "tensor", "loop", "with", "dim", "int", "float", "bool", "string",
                           "float16", "bfloat16", "float32", "float64", "int8", "int32", "int64"})
    out.emplace_back(word);
  return out;
}

}  // namespace tl::lang
