// How pages of documentation look: on a terminal, as Markdown, as JSON.
#pragma once

#include <nlohmann/json_fwd.hpp>
#include <string>
#include <vector>

#include "lang/native.h"

namespace tl::cli {

struct PageStyle {
  size_t width = 80;
  bool bold = false;  ///< headings in bold, for terminals
};

/// The functions by subject, each with its summary.
std::string text_list(const std::vector<const lang::NativeFunction*>& functions, const PageStyle& style);
std::string text_page(const lang::NativeFunction& function, const PageStyle& style);

std::string markdown_page(const lang::NativeFunction& function);
/// All pages with a table of contents.
std::string markdown_reference(const std::vector<const lang::NativeFunction*>& functions);

nlohmann::ordered_json json_page(const lang::NativeFunction& function);

/// Prints the page of a function as `tl doc NAME` does. Throws Error with the nearest names.
void print_page(const std::string& name);

/// At most three names that `name` may be a slip of or a part of.
std::vector<std::string> nearest_pages(const std::string& name, const lang::Library& library);

}  // namespace tl::cli
