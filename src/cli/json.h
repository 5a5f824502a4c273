// JSON on standard output.
#pragma once

#include <nlohmann/json_fwd.hpp>

namespace tl::cli {

/// Prints the value, indented, with a line end. Bytes that are not UTF-8 become U+FFFD; NaN and infinities,
/// which JSON cannot say, become null.
void print_json(const nlohmann::ordered_json& value);

}  // namespace tl::cli
