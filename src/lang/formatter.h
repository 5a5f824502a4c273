// One layout for every program.
#pragma once

#include <string>

#include "base/source.h"

namespace tl::lang {

/// The text in its canonical layout: same program, same comments, and formatting it again changes nothing.
/// docs/language.md describes the layout. Throws ProgramError with what is wrong where the text does not
/// parse.
std::string format_source(const Source& source);

}  // namespace tl::lang
