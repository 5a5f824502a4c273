// Runs a parsed template.
#pragma once

#include <string>

#include "text/jinja_builtins.h"
#include "text/jinja_syntax.h"

namespace tl::jinja {

/// Renders `program` with `variables`, whose values `context.heap` owns. Throws ProgramError.
std::string run(const Program& program, Context& context, const Scope& variables);

}  // namespace tl::jinja
