// JSON on standard output.
#pragma once

#include <nlohmann/json_fwd.hpp>

namespace tl::cli {

/// Prints the value, indented or on one line, with a line end. Bytes that are not UTF-8 become U+FFFD; NaN
/// and infinities, which JSON cannot say, become null.
void print_json(const nlohmann::ordered_json& value, bool on_one_line = false);

}  // namespace tl::cli
