#include "cli/line_editor.h"

#include <histedit.h>
#include <poll.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <clocale>
#include <csignal>
#include <cstdio>
#include <cstring>
#include <cwchar>
#include <filesystem>

#include "base/interrupt.h"
#include "cli/output.h"

namespace tl::cli {

/// What libedit calls; the editor that it concerns is its client data.
struct LineEditorCalls {
  static LineEditor& owner(EditLine* editor) {
    void* owner = nullptr;
    el_get(editor, EL_CLIENTDATA, &owner);
    return *static_cast<LineEditor*>(owner);
  }
  static const char* prompt(EditLine* editor) { return owner(editor).prompt().c_str(); }
  static unsigned char complete(EditLine* editor, int) { return owner(editor).complete(); }
};

namespace {

/// libedit takes bytes for characters as the locale says; where the user's is not UTF-8, C.UTF-8 serves.
void use_utf8() {
  const char* locale = std::setlocale(LC_CTYPE, "");
  if (locale == nullptr || std::strstr(locale, "UTF-8") == nullptr) std::setlocale(LC_CTYPE, "C.UTF-8");
}

/// Waits until `descriptor` can be read; false where Ctrl-C came instead, be it just before the waiting. (A
/// plain read would miss that one: it is interrupted only by signals that arrive while it waits.)
bool wait_for_input(int descriptor) {
  sigset_t interrupts, before;
  sigemptyset(&interrupts);
  sigaddset(&interrupts, SIGINT);
  pthread_sigmask(SIG_BLOCK, &interrupts, &before);
  int ready = 0;
  while (!interrupt_requested) {
    pollfd input = {descriptor, POLLIN, 0};
    ready = ppoll(&input, 1, nullptr, &before);
    if (ready >= 0 || errno != EINTR) break;
  }
  pthread_sigmask(SIG_SETMASK, &before, nullptr);
  return !interrupt_requested;
}

/// What libedit reads characters with: 1 with a character, 0 at the end, -1 on errors and Ctrl-C.
int read_character(EditLine*, wchar_t* character) {
  std::mbstate_t state{};
  while (true) {
    if (!wait_for_input(STDIN_FILENO)) return -1;
    char byte = 0;
    const ssize_t n = ::read(STDIN_FILENO, &byte, 1);
    if (n <= 0) return static_cast<int>(n);
    const size_t used = std::mbrtowc(character, &byte, 1, &state);
    if (used == static_cast<size_t>(-2)) continue;  // more bytes belong to it
    if (used == static_cast<size_t>(-1)) *character = L'\ufffd';
    return 1;
  }
}

}  // namespace

LineEditor::LineEditor(std::string prompt, LineEditorOptions options)
    : prompt_(std::move(prompt)), options_(std::move(options)) {
  if (!is_terminal(0) || !is_terminal(1)) return;
  use_utf8();
  editor_ = el_init("tl", stdin, stdout, stderr);
  if (editor_ == nullptr) return;
  history_ = history_init();
  HistEvent event;
  ::history(history_, &event, H_SETSIZE, 1000);
  ::history(history_, &event, H_SETUNIQUE, 1);
  el_set(editor_, EL_CLIENTDATA, static_cast<void*>(this));
  el_set(editor_, EL_PROMPT, LineEditorCalls::prompt);
  el_set(editor_, EL_EDITOR, "emacs");
  el_set(editor_, EL_GETCFN, read_character);
  el_set(editor_, EL_HIST, ::history, history_);
  if (options_.complete) {
    el_set(editor_, EL_ADDFN, "tl-complete", "Complete a name", LineEditorCalls::complete);
    el_set(editor_, EL_BIND, "^I", "tl-complete", nullptr);
  }
  el_source(editor_, nullptr);  // ~/.editrc
  load_history();
}

LineEditor::~LineEditor() {
  if (history_ != nullptr) history_end(history_);
  if (editor_ != nullptr) el_end(editor_);
}

std::optional<std::string> LineEditor::read() {
  std::string text;
  while (true) {
    const auto line = read_line();
    if (!line) return text.empty() ? std::nullopt : std::optional(text);
    text += *line;
    if (!text.ends_with('\\')) return text;
    text.back() = '\n';
  }
}

std::optional<std::string> LineEditor::read_line() {
  return editor_ != nullptr ? read_edited() : read_plain();
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
  if (!text.empty()) remember(text);
  return text;
}

void LineEditor::load_history() {
  if (options_.history_file.empty()) return;
  std::error_code ignored;  // without a place to remember it is a session like any other
  std::filesystem::create_directories(std::filesystem::path(options_.history_file).parent_path(), ignored);
  HistEvent event;
  ::history(history_, &event, H_LOAD, options_.history_file.c_str());
}

/// Written after every line, so that it is there whatever ends the program.
void LineEditor::remember(const std::string& line) {
  HistEvent event;
  ::history(history_, &event, H_ENTER, line.c_str());
  if (!options_.history_file.empty()) ::history(history_, &event, H_SAVE, options_.history_file.c_str());
}

unsigned char LineEditor::complete() {
  const LineInfo* info = el_line(editor_);
  const std::string_view line(info->buffer, static_cast<size_t>(info->cursor - info->buffer));
  const Completion found = options_.complete(line);
  if (found.candidates.empty()) return CC_REFRESH_BEEP;
  const std::string& first = found.candidates.front();
  size_t common = first.size();
  for (const std::string& c : found.candidates) {
    const auto [end, ignored] = std::mismatch(first.begin(), first.end(), c.begin(), c.end());
    common = std::min(common, static_cast<size_t>(end - first.begin()));
  }
  const size_t written = line.size() - std::min(found.begin, line.size());
  if (common > written) {
    el_insertstr(editor_, first.substr(written, common - written).c_str());
    return CC_REFRESH;
  }
  if (found.candidates.size() == 1) return CC_REFRESH;
  std::string list = "\n";
  for (const std::string& c : found.candidates) list += c + "  ";
  list.replace(list.size() - 2, 2, "\n");
  std::fputs(list.c_str(), stdout);
  return CC_REDISPLAY;
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
