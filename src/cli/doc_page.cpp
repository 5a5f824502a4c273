#include "cli/doc_page.h"

#include <fmt/format.h>

#include <algorithm>
#include <nlohmann/json.hpp>

#include "base/source.h"

namespace tl::cli {

using lang::Documentation;
using lang::Page;

namespace {

/// Columns that a text takes: its code points.
size_t columns(std::string_view text) {
  return static_cast<size_t>(
      std::ranges::count_if(text, [](char c) { return (static_cast<unsigned char>(c) & 0xc0) != 0x80; }));
}

/// A flowing text in lines of at most `width` columns, each behind `indent` blanks. A line that is too long
/// for its first words' sake breaks behind a comma or a blank.
std::string wrapped(std::string_view text, size_t width, size_t indent, size_t hanging = 0) {
  std::string out, line(indent, ' ');
  size_t used = indent;
  bool is_first = true;
  while (!text.empty()) {
    const size_t end = std::min(text.find(' '), text.size());
    const std::string_view word = text.substr(0, end);
    text.remove_prefix(std::min(end + 1, text.size()));
    if (!is_first && used + 1 + columns(word) > width) {
      out += line + '\n';
      line.assign(indent + hanging, ' ');
      used = indent + hanging;
      is_first = true;
    }
    if (!is_first) {
      line += ' ';
      ++used;
    }
    line += word;
    used += columns(word);
    is_first = false;
  }
  return out + line + '\n';
}

std::string indented(std::string_view lines, size_t indent) {
  std::string out;
  while (!lines.empty()) {
    const size_t end = std::min(lines.find('\n'), lines.size());
    if (end > 0) out += std::string(indent, ' ');
    out += lines.substr(0, end);
    out += '\n';
    lines.remove_prefix(std::min(end + 1, lines.size()));
  }
  return out;
}

/// An example as it would be typed: code behind "> ", then what it gives.
std::string typed(const Documentation::Example& example) {
  std::string out;
  std::string_view code = example.code;
  while (!code.empty()) {
    const size_t end = code.find('\n');
    out += fmt::format("> {}\n", code.substr(0, end));
    code.remove_prefix(end + 1);
  }
  return out + example.output;
}

std::string typed(const std::vector<Documentation::Example>& examples) {
  std::string out;
  for (const Documentation::Example& example : examples) {
    if (!out.empty()) out += '\n';
    out += typed(example);
  }
  return out;
}

/// The pages of each subject, in the order of the first of each.
std::vector<std::pair<std::string, std::vector<const Page*>>> by_group(
    const std::vector<const Page*>& pages) {
  std::vector<std::pair<std::string, std::vector<const Page*>>> groups;
  for (const Page* f : pages) {
    auto found = std::ranges::find(groups, f->group, [](const auto& group) { return group.first; });
    if (found == groups.end()) found = groups.insert(groups.end(), {f->group, {}});
    found->second.push_back(f);
  }
  return groups;
}

/// The link that GitHub and GitLab make of a heading.
std::string anchor(std::string_view heading) {
  std::string out;
  for (const char c : heading) {
    if (c == ' ') out += '-';
    if (std::isalnum(static_cast<unsigned char>(c)) || c == '_' || c == '-')
      out += static_cast<char>(std::tolower(static_cast<unsigned char>(c)));
  }
  return out;
}

}  // namespace

std::string text_list(const std::vector<const Page*>& pages, const PageStyle& style) {
  size_t width = 0;
  for (const Page* f : pages) width = std::max(width, f->name.size());
  std::string out;
  for (const auto& [group, members] : by_group(pages)) {
    out += style.bold ? fmt::format("\033[1m{}\033[0m\n", group) : group + "\n";
    for (const Page* f : members) {
      const std::string summary = wrapped(f->doc.summary, style.width, width + 4);
      out += fmt::format("  {:{}}  {}", f->name, width, std::string_view(summary).substr(width + 4));
    }
    out += '\n';
  }
  return out + "tl doc NAME shows a page.\n";
}

std::string text_page(const Page& f, const PageStyle& style) {
  const Documentation& doc = f.doc;
  const auto bold = [&](const std::string& text) {
    return style.bold ? fmt::format("\033[1m{}\033[0m", text) : text;
  };
  const std::string signature = wrapped(f.signature, style.width, 0, 4);
  std::string out = bold(signature.substr(0, signature.size() - 1)) + "\n\n";
  out += wrapped(doc.summary, style.width, 0);
  for (const std::string& paragraph : doc.paragraphs) out += '\n' + wrapped(paragraph, style.width, 0);
  const auto section = [&](const char* title, const std::string& body) {
    if (!body.empty()) out += fmt::format("\n{}\n{}", bold(title), body);
  };
  const auto text_section = [&](const char* title, const std::string& text) {
    if (!text.empty()) section(title, wrapped(text, style.width, 4));
  };
  text_section("Shapes", doc.shapes);
  text_section("Types", doc.dtypes);
  section("Formula", indented(doc.formula, 4));
  section(doc.examples.size() > 1 ? "Examples" : "Example", indented(typed(doc.examples), 4));
  text_section("Other names", fmt::format("{}", fmt::join(f.aliases, ", ")));
  text_section("Source", doc.source);
  text_section("See also", fmt::format("{}", fmt::join(doc.related, ", ")));
  return out;
}

std::string markdown_page(const Page& f) {
  constexpr size_t kWidth = 120;
  const Documentation& doc = f.doc;
  std::string out = fmt::format("### {}\n\n```\n{}\n```\n\n{}\n", f.name, f.signature, doc.summary);
  for (const std::string& paragraph : doc.paragraphs) out += '\n' + wrapped(paragraph, kWidth, 0);
  const auto item = [&](const char* title, const std::string& text) {
    if (!text.empty()) out += wrapped(fmt::format("- **{}**: {}", title, text), kWidth, 0, 2);
  };
  if (!doc.shapes.empty() || !doc.dtypes.empty()) out += '\n';
  item("Shapes", doc.shapes);
  item("Types", doc.dtypes);
  if (!doc.formula.empty()) out += fmt::format("\n```\n{}\n```\n", doc.formula);
  out += fmt::format("\n```\n{}```\n\n", typed(doc.examples));
  const auto names = [&](const char* title, const std::vector<std::string>& list) {
    if (!list.empty()) item(title, fmt::format("`{}`", fmt::join(list, "`, `")));
  };
  names("Other names", f.aliases);
  item("Source", doc.source);
  names("See also", doc.related);
  return out;
}

std::string markdown_reference(const std::vector<const Page*>& pages) {
  std::string out =
      "# Reference\n\n"
      "What `tl doc --markdown` prints. Every example is run by the tests: lines after `>` are typed, the "
      "others are what\nthey print and give.\n\n";
  const auto groups = by_group(pages);
  for (const auto& [group, members] : groups) {
    std::vector<std::string> links;
    for (const Page* f : members) links.push_back(fmt::format("[{0}](#{0})", f->name));
    out += wrapped(fmt::format("- [{}](#{}): {}", group, anchor(group), fmt::join(links, ", ")), 120, 0, 2);
  }
  for (const auto& [group, members] : groups) {
    out += fmt::format("\n## {}\n", group);
    for (const Page* f : members) out += '\n' + markdown_page(*f);
  }
  return out;
}

nlohmann::ordered_json json_page(const Page& f) {
  nlohmann::ordered_json examples = nlohmann::ordered_json::array();
  for (const Documentation::Example& e : f.doc.examples)
    examples.push_back({{"code", e.code}, {"output", e.output}});
  return {{"name", f.name},           {"aliases", f.aliases},
          {"group", f.group},         {"signature", f.signature},
          {"summary", f.doc.summary}, {"description", f.doc.paragraphs},
          {"shapes", f.doc.shapes},   {"dtypes", f.doc.dtypes},
          {"formula", f.doc.formula}, {"examples", std::move(examples)},
          {"source", f.doc.source},   {"see", f.doc.related}};
}

std::vector<std::string> nearest_names(const std::string& name, const std::vector<std::string>& names) {
  std::vector<std::string> rest = names, found;
  for (std::string near = nearest_name(name, rest); !near.empty() && found.size() < 3;
       near = nearest_name(name, rest)) {
    found.push_back(near);
    std::erase(rest, near);
  }
  for (const std::string& candidate : rest) {
    if (found.size() == 3) break;
    const bool is_part = name.size() > 2 && candidate.find(name) != std::string::npos;
    const bool has_part = candidate.size() > 2 && name.find(candidate) != std::string::npos;
    if (is_part || has_part) found.push_back(candidate);
  }
  return found;
}

}  // namespace tl::cli
