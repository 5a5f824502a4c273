// How pages of documentation look: on a terminal, as Markdown, as JSON.
#pragma once

#include <nlohmann/json_fwd.hpp>
#include <string>
#include <vector>

#include "lang/documentation.h"

namespace tl::cli {

struct PageStyle {
  size_t width = 80;
  bool bold = false;  ///< headings in bold, for terminals
};

/// The pages by subject, each with its summary.
std::string text_list(const std::vector<const lang::Page*>& pages, const PageStyle& style);
std::string text_page(const lang::Page& page, const PageStyle& style);

std::string markdown_page(const lang::Page& page);
/// All pages with a table of contents.
std::string markdown_reference(const std::vector<const lang::Page*>& pages);

nlohmann::ordered_json json_page(const lang::Page& page);

/// At most three of `names` that `name` may be a slip of or a part of.
std::vector<std::string> nearest_names(const std::string& name, const std::vector<std::string>& names);

/// Prints a page as `tl doc NAME` does. Throws Error with the nearest names.
void print_page(const std::string& name);

}  // namespace tl::cli
