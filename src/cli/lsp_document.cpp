#include "cli/lsp_document.h"

#include <fmt/format.h>

#include <algorithm>
#include <filesystem>

#include "lang/completion.h"
#include "lang/formatter.h"
#include "library/model_functions.h"
#include "library/model_objects.h"
#include "text/utf8.h"

namespace tl::cli {

using Json = nlohmann::json;
using lang::Definition;

namespace {

constexpr std::string_view kScheme = "file://";

// Places. Columns count UTF-16 units: two for what lies outside the basic plane.

Json position_of(const Source& source, uint32_t offset) {
  const std::string_view text = source.text();
  offset = std::min(offset, static_cast<uint32_t>(text.size()));
  const size_t line_end = offset == 0 ? std::string_view::npos : text.rfind('\n', offset - 1);
  size_t at = line_end == std::string_view::npos ? 0 : line_end + 1;
  int column = 0;
  while (at < offset) {
    const Utf8Char c = utf8_at(text, at);
    at += std::max<size_t>(c.length, 1);
    column += c.code > 0xffff ? 2 : 1;
  }
  return {{"line", source.position(offset).line - 1}, {"character", column}};
}

Json range_of(Span span) {
  return {{"start", position_of(*span.source, span.begin)}, {"end", position_of(*span.source, span.end)}};
}

int completion_kind(const Definition& d) {
  constexpr int kFunction = 3, kVariable = 6;
  return d.kind == Definition::Kind::function || d.kind == Definition::Kind::native ? kFunction : kVariable;
}

}  // namespace

std::string path_of_uri(const std::string& uri) {
  if (!uri.starts_with(kScheme)) return uri;
  std::string path;
  const auto digit = [](char c) { return c <= '9' ? c - '0' : (c | 0x20) - 'a' + 10; };
  for (size_t i = kScheme.size(); i < uri.size(); ++i) {
    const bool is_escape = uri[i] == '%' && i + 2 < uri.size() &&
                           std::isxdigit(static_cast<unsigned char>(uri[i + 1])) != 0 &&
                           std::isxdigit(static_cast<unsigned char>(uri[i + 2])) != 0;
    if (is_escape) {
      path += static_cast<char>(digit(uri[i + 1]) * 16 + digit(uri[i + 2]));
      i += 2;
    } else {
      path += uri[i];
    }
  }
  return path;
}

std::string uri_of_path(const std::string& path) {
  if (path.find("://") != std::string::npos) return path;
  std::error_code ignored;
  const std::string absolute = std::filesystem::absolute(path, ignored).lexically_normal().string();
  std::string uri(kScheme);
  for (const char c : absolute) {
    const bool is_plain = std::isalnum(static_cast<unsigned char>(c)) != 0 ||
                          std::string_view("/-._~").find(c) != std::string_view::npos;
    uri += is_plain ? std::string(1, c) : fmt::format("%{:02X}", static_cast<unsigned char>(c));
  }
  return uri;
}

LspDocument::LspDocument(std::string uri, std::string text, const std::vector<std::string>& import_path)
    : uri_(std::move(uri)),
      program_(
          lang::Program::from_text(path_of_uri(uri_), std::move(text), standard_library(), {import_path})),
      analysis_(std::make_unique<lang::Analysis>(*program_)) {}

uint32_t LspDocument::offset(const Json& position) const {
  const int line = position.at("line").get<int>(), column = position.at("character").get<int>();
  const std::string_view text = source().text();
  size_t at = 0;
  for (int i = 0; i < line && at < text.size(); ++i) {
    const size_t end = text.find('\n', at);
    at = end == std::string_view::npos ? text.size() : end + 1;
  }
  for (int units = 0; units < column && at < text.size() && text[at] != '\n';) {
    const Utf8Char c = utf8_at(text, at);
    units += c.code > 0xffff ? 2 : 1;
    at += std::max<size_t>(c.length, 1);
  }
  return static_cast<uint32_t>(at);
}

Json LspDocument::location(Span span) const {
  const std::string uri = span.source == &source() ? uri_ : uri_of_path(span.source->name());
  return {{"uri", uri}, {"range", range_of(span)}};
}

Json LspDocument::diagnostic(const Diagnostic& d, Span shown) const {
  const int severity = d.severity == Severity::error ? 1 : d.severity == Severity::warning ? 2 : 3;
  Json out = {{"range", range_of(shown)}, {"severity", severity}, {"source", "tl"}};
  std::string message = d.message;
  if (!d.help.empty()) message += "\nhelp: " + d.help;
  Json related = Json::array();
  for (const auto& note : d.notes) {
    if (note.span)
      related.push_back({{"location", location(note.span)}, {"message", note.message}});
    else
      message += "\nnote: " + note.message;
  }
  out["message"] = message;
  if (!related.empty()) out["relatedInformation"] = related;
  return out;
}

Json LspDocument::diagnostics() const {
  Json out = Json::array();
  for (const Diagnostic& d : program_->diagnostics()) {
    if (d.span.source == &source()) {
      out.push_back(diagnostic(d, d.span));
      continue;
    }
    // What is wrong in an imported file is shown where it is imported.
    Diagnostic here = d;
    const auto at = d.span ? d.span.source->position(d.span.begin) : Source::Position{1, 1};
    here.message = fmt::format("in {}:{}:{}: {}", d.span ? d.span.source->name() : "an import", at.line,
                               at.column, d.message);
    Span shown{&source(), 0, 0};
    for (const auto& note : d.notes)  // the last one in this file says where the other comes from
      if (note.span.source == &source()) shown = note.span;
    if (d.span) here.notes.insert(here.notes.begin(), {d.span, d.message});
    out.push_back(diagnostic(here, shown));
  }
  return out;
}

Json LspDocument::hover(const Json& position) const {
  const auto use = analysis_->at(offset(position));
  if (!use) return nullptr;
  std::string text = fmt::format("```tensorlogic\n{}\n```", use->definition->introduction());
  const std::string documentation = use->definition->documentation();
  if (!documentation.empty()) text += "\n\n" + documentation;
  return {{"contents", {{"kind", "markdown"}, {"value", text}}}, {"range", range_of(use->span)}};
}

Json LspDocument::definition(const Json& position) const {
  const auto use = analysis_->at(offset(position));
  if (!use || !use->definition->span) return nullptr;
  return location(use->definition->span);
}

Json LspDocument::completion(const Json& position) const {
  const uint32_t at = offset(position);
  const lang::CompletionPlace place = lang::completion_place(source().text(), at);
  Json items = Json::array();
  if (!place.is_name) return items;
  const auto add = [&](const std::string& label, int kind, const std::string& detail) {
    if (!label.starts_with(place.prefix)) return;
    Json item = {{"label", label}, {"kind", kind}};
    if (!detail.empty()) item["detail"] = detail;
    items.push_back(std::move(item));
  };
  constexpr int kField = 5, kKeyword = 14;
  if (place.is_member) {
    const size_t dot = place.object.find('.');
    const Definition* first = analysis_->find(place.object.substr(0, dot), at);
    std::vector<std::string> members;
    if (dot != std::string::npos) {
      members = object_members(place.object.substr(place.object.rfind('.') + 1));
    } else if (first != nullptr) {
      members = first->fields.empty() ? object_members(first->type) : first->fields;
    }
    for (const std::string& member : members) add(member, kField, "");
  }
  for (const Definition* d : analysis_->visible_at(at)) {
    const bool is_function = d->kind == Definition::Kind::function || d->kind == Definition::Kind::native;
    if (!place.is_member || is_function) add(d->name, completion_kind(*d), d->introduction());
  }
  if (!place.is_member)
    for (const std::string& word : lang::words_of_the_language()) add(word, kKeyword, "");
  return items;
}

Json LspDocument::formatting() const {
  try {
    const std::string text = lang::format_source(source());
    if (text == source().text()) return Json::array();
    const Span whole{&source(), 0, static_cast<uint32_t>(source().text().size())};
    return Json::array({{{"range", range_of(whole)}, {"newText", text}}});
  } catch (const ProgramError&) {
    return nullptr;  // its mistakes are among the diagnostics
  }
}

}  // namespace tl::cli
