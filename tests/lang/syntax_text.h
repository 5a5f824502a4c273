// The syntax tree as text, without places: two texts with equal ones are the same program.
#pragma once

#include <string>

#include "lang/ast.h"

namespace tl::test {

std::string syntax_text(const lang::ast::Module& module);

}  // namespace tl::test
