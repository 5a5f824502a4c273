// Functions of strings.
#pragma once

#include <span>
#include <string>
#include <vector>

#include "lang/native.h"

namespace tl::lang {

/// The arguments from `first` on as text: places `{}` and `{:.2f}` of a first string are filled in turn, what
/// remains follows after blanks.
std::string message(Interpreter& interpreter, const Args& args, size_t first = 0);
/// How many such places a text has.
size_t count_places(const std::string& text);

/// The pieces of a text between separators; with "" the words between blanks.
std::vector<Value> split_text(const std::string& text, const std::string& separator);

void add_text_functions(Library& library);

}  // namespace tl::lang
