// Pages about the language itself: operators, statements, equations.
#pragma once

#include <string_view>
#include <vector>

#include "lang/documentation.h"

namespace tl::lang {

/// All, in the order in which one would read them.
const std::vector<Page>& topics();

/// The page of that name, or nullptr: "equations", "where", "@".
const Page* find_topic(std::string_view name);

}  // namespace tl::lang
