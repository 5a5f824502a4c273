#include "base/source.h"

#include <algorithm>
#include <numeric>

#include <fmt/format.h>

namespace tl {

Source::Source(std::string name, std::string text) : name_(std::move(name)), text_(std::move(text)) {
  line_starts_.push_back(0);
  for (uint32_t i = 0; i < text_.size(); ++i)
    if (text_[i] == '\n') line_starts_.push_back(i + 1);
}

static bool starts_code_point(char c) { return (static_cast<unsigned char>(c) & 0xc0) != 0x80; }

Source::Position Source::position(uint32_t offset) const {
  offset = std::min<uint32_t>(offset, static_cast<uint32_t>(text_.size()));
  const auto next = std::upper_bound(line_starts_.begin(), line_starts_.end(), offset);
  const auto line = static_cast<int>(next - line_starts_.begin());
  const auto begin = text_.begin() + *(next - 1);
  const auto column = 1 + std::count_if(begin, text_.begin() + offset, starts_code_point);
  return {line, static_cast<int>(column)};
}

std::string_view Source::line(int line) const {
  if (line < 1 || line > static_cast<int>(line_starts_.size())) return {};
  const uint32_t begin = line_starts_[line - 1];
  uint32_t end = line < static_cast<int>(line_starts_.size()) ? line_starts_[line] - 1
                                                              : static_cast<uint32_t>(text_.size());
  if (end > begin && text_[end - 1] == '\r') --end;
  return std::string_view(text_).substr(begin, end - begin);
}

Span join(Span a, Span b) {
  if (!a) return b;
  if (!b || a.source != b.source) return a;
  return {a.source, std::min(a.begin, b.begin), std::max(a.end, b.end)};
}

namespace {

/// The source line under a place, and carets below the part the span covers. Tabs are kept so that columns
/// align.
std::string excerpt(Span span) {
  const auto at = span.source->position(span.begin);
  const std::string_view line = span.source->line(at.line);
  std::string margin, carets;
  int column = 1;
  for (size_t i = 0; i < line.size() && column < at.column; ++i) {
    if (!starts_code_point(line[i])) continue;
    margin += line[i] == '\t' ? '\t' : ' ';
    ++column;
  }
  const auto end = span.source->position(std::max(span.end, span.begin));
  const auto width = static_cast<int>(std::count_if(line.begin(), line.end(), starts_code_point));
  const int last = end.line == at.line ? end.column : width + 1;
  carets.assign(std::max(1, last - at.column), '^');
  const std::string number = fmt::format("{:5}", at.line);
  return fmt::format("\n{} | {}\n      | {}{}", number, line, margin, carets);
}

std::string place(Span span) {
  const auto at = span.source->position(span.begin);
  return fmt::format("{}:{}:{}", span.source->name(), at.line, at.column);
}

}  // namespace

std::string render(const Diagnostic& d, bool colour) {
  const char* label = d.severity == Severity::error     ? "error"
                      : d.severity == Severity::warning ? "warning"
                                                        : "note";
  const char* on = !colour ? "" : d.severity == Severity::error ? "\x1b[1;31m" : "\x1b[1;33m";
  const char* off = colour ? "\x1b[0m" : "";
  std::string text;
  if (d.span) text += place(d.span) + ": ";
  text += fmt::format("{}{}:{} {}", on, label, off, d.message);
  if (d.span) text += excerpt(d.span);
  for (const auto& note : d.notes) {
    text += "\n";
    if (note.span) text += place(note.span) + ": ";
    text += "note: " + note.message;
    if (note.span) text += excerpt(note.span);
  }
  if (!d.help.empty()) text += "\n  help: " + d.help;
  return text;
}

static std::string render_all(const std::vector<Diagnostic>& diagnostics, bool colour) {
  std::string text;
  for (const auto& d : diagnostics) text += (text.empty() ? "" : "\n") + render(d, colour);
  return text;
}

ProgramError::ProgramError(std::vector<Diagnostic> diagnostics)
    : Error(render_all(diagnostics, false)),
      coloured_(render_all(diagnostics, true)),
      diagnostics_(std::move(diagnostics)) {}

/// Levenshtein distance with adjacent transpositions counted as one slip.
static size_t edit_distance(std::string_view a, std::string_view b) {
  std::vector<size_t> before, previous(b.size() + 1), current(b.size() + 1);
  std::iota(previous.begin(), previous.end(), size_t{0});
  for (size_t i = 1; i <= a.size(); ++i) {
    current[0] = i;
    for (size_t j = 1; j <= b.size(); ++j) {
      const size_t replace = previous[j - 1] + (a[i - 1] == b[j - 1] ? 0 : 1);
      current[j] = std::min({previous[j] + 1, current[j - 1] + 1, replace});
      if (i > 1 && j > 1 && a[i - 1] == b[j - 2] && a[i - 2] == b[j - 1])
        current[j] = std::min(current[j], before[j - 2] + 1);
    }
    before = previous;
    std::swap(previous, current);
  }
  return previous[b.size()];
}

std::string nearest_name(std::string_view name, const std::vector<std::string>& candidates) {
  std::string best;
  if (name.size() <= 1) return best;  // any other letter would do
  size_t best_distance = name.size() <= 3 ? 1 : std::max<size_t>(2, name.size() / 3);
  for (const auto& candidate : candidates) {
    if (candidate == name) continue;
    const size_t distance = edit_distance(name, candidate);
    if (distance < best_distance || (distance == best_distance && best.empty())) {
      best = candidate;
      best_distance = distance;
    }
  }
  return best;
}

}  // namespace tl
