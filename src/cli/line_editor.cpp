#include "cli/line_editor.h"

#include <histedit.h>

#include <cerrno>
#include <clocale>
#include <cstdio>
#include <cstring>

#include "base/interrupt.h"
#include "cli/output.h"

namespace tl::cli {

namespace {

/// libedit asks for its prompt through a function; the editor it belongs to is its client data.
const char* prompt_of(EditLine* editor) {
  void* owner = nullptr;
  el_get(editor, EL_CLIENTDATA, &owner);
  return static_cast<const LineEditor*>(owner)->prompt().c_str();
}

/// libedit takes bytes for characters as the locale says; where the user's is not UTF-8, C.UTF-8 serves.
void use_utf8() {
  const char* locale = std::setlocale(LC_CTYPE, "");
  if (locale == nullptr || std::strstr(locale, "UTF-8") == nullptr) std::setlocale(LC_CTYPE, "C.UTF-8");
}

}  // namespace

LineEditor::LineEditor(std::string prompt) : prompt_(std::move(prompt)) {
  if (!is_terminal(0) || !is_terminal(1)) return;
  use_utf8();
  editor_ = el_init("tl", stdin, stdout, stderr);
  if (editor_ == nullptr) return;
  history_ = history_init();
  HistEvent event;
  ::history(history_, &event, H_SETSIZE, 1000);
  ::history(history_, &event, H_SETUNIQUE, 1);
  el_set(editor_, EL_CLIENTDATA, static_cast<void*>(this));
  el_set(editor_, EL_PROMPT, prompt_of);
  el_set(editor_, EL_EDITOR, "emacs");
  el_set(editor_, EL_HIST, ::history, history_);
  el_source(editor_, nullptr);  // ~/.editrc
}

LineEditor::~LineEditor() {
  if (history_ != nullptr) history_end(history_);
  if (editor_ != nullptr) el_end(editor_);
}

std::optional<std::string> LineEditor::read() {
  std::string text;
  while (true) {
    const auto line = editor_ != nullptr ? read_edited() : read_plain();
    if (!line) return text.empty() ? std::nullopt : std::optional(text);
    text += *line;
    if (!text.ends_with('\\')) return text;
    text.back() = '\n';
  }
}

std::optional<std::string> LineEditor::read_edited() {
  int count = 0;
  const char* line = el_gets(editor_, &count);
  if (line == nullptr || count <= 0) {
    std::fputc('\n', stdout);
    check_interrupt();
    return std::nullopt;
  }
  std::string text(line, static_cast<size_t>(count));
  while (text.ends_with('\n') || text.ends_with('\r')) text.pop_back();
  HistEvent event;
  if (!text.empty()) ::history(history_, &event, H_ENTER, text.c_str());
  return text;
}

std::optional<std::string> LineEditor::read_plain() {
  std::string text;
  while (true) {
    const int c = std::fgetc(stdin);
    if (c == '\n') return text;
    if (c != EOF) {
      text += static_cast<char>(c);
      continue;
    }
    check_interrupt();
    if (std::ferror(stdin) != 0 && errno == EINTR) {
      std::clearerr(stdin);
      continue;
    }
    return text.empty() ? std::nullopt : std::optional(text);
  }
}

}  // namespace tl::cli
