#include "lang/documentation.h"

#include <algorithm>
#include <array>

namespace tl::lang {

namespace {

constexpr std::array<std::string_view, 6> kSections = {
    "shapes:", "dtypes:", "formula:", "example:", "source:", "see:"};

std::string_view trimmed(std::string_view text) {
  const size_t begin = text.find_first_not_of(" \n"), end = text.find_last_not_of(" \n");
  return begin == std::string_view::npos ? "" : text.substr(begin, end - begin + 1);
}

std::vector<std::string_view> lines_of(std::string_view text) {
  std::vector<std::string_view> lines;
  for (size_t begin = 0; begin <= text.size();) {
    const size_t end = std::min(text.find('\n', begin), text.size());
    lines.push_back(text.substr(begin, end - begin));
    begin = end + 1;
  }
  return lines;
}

/// Lines as one flowing text.
std::string joined(std::string_view lines) {
  std::string out(trimmed(lines));
  std::replace(out.begin(), out.end(), '\n', ' ');
  return out;
}

std::vector<Documentation::Example> examples(std::string_view text) {
  std::vector<Documentation::Example> out;
  bool in_code = false;
  for (const std::string_view line : lines_of(trimmed(text))) {
    const bool is_code = line.starts_with('>');
    if (is_code && !in_code) out.emplace_back();
    in_code = is_code;
    if (out.empty()) continue;
    std::string& part = is_code ? out.back().code : out.back().output;
    part += is_code ? line.substr(std::min<size_t>(2, line.size())) : line;
    part += '\n';
  }
  return out;
}

std::vector<std::string> names(std::string_view text) {
  std::vector<std::string> out;
  for (size_t begin = 0; begin < text.size();) {
    const size_t end = std::min(text.find(',', begin), text.size());
    out.emplace_back(trimmed(text.substr(begin, end - begin)));
    begin = end + 1;
  }
  return out;
}

void set_section(Documentation& page, std::string_view section, std::string_view text) {
  if (section == "shapes:") page.shapes = joined(text);
  if (section == "dtypes:") page.dtypes = joined(text);
  if (section == "formula:") page.formula = trimmed(text);
  if (section == "example:") page.examples = examples(text);
  if (section == "source:") page.source = joined(text);
  if (section == "see:") page.related = names(joined(text));
}

void set_introduction(Documentation& page, std::string_view text) {
  const size_t end = std::min(text.find('\n'), text.size());
  page.summary = text.substr(0, end);
  for (std::string_view rest = trimmed(text.substr(end)); !rest.empty();) {
    const size_t blank = std::min(rest.find("\n\n"), rest.size());
    page.paragraphs.push_back(joined(rest.substr(0, blank)));
    rest = trimmed(rest.substr(blank));
  }
}

}  // namespace

Documentation parse_documentation(std::string_view text) {
  text = trimmed(text);
  Documentation page;
  std::string_view section;  // "": the introduction
  size_t begin = 0;          // of the section's text
  const auto finish = [&](size_t end) {
    const std::string_view part = text.substr(begin, end - begin);
    section.empty() ? set_introduction(page, trimmed(part)) : set_section(page, section, part);
  };
  for (const std::string_view line : lines_of(text)) {
    const auto found = std::find_if(kSections.begin(), kSections.end(),
                                    [&](std::string_view name) { return line.starts_with(name); });
    if (found == kSections.end()) continue;
    const auto at = static_cast<size_t>(line.data() - text.data());
    finish(at);
    section = *found;
    begin = at + found->size();
  }
  finish(text.size());
  return page;
}

}  // namespace tl::lang
