// JSON in model files, with errors that name file and place.
#pragma once

#include <functional>
#include <string>
#include <string_view>

#include <nlohmann/json.hpp>

namespace tl {

/// Parses `text`, which stands at byte `offset` of `file`. Throws FileError with the byte of the mistake.
/// `on_key` hears every key of the outermost object, in order.
nlohmann::json parse_json(const std::string& file, std::string_view text, uint64_t offset = 0,
                          const std::function<void(const std::string&)>& on_key = {});

/// A value's type and beginning, for "found …".
std::string describe(const nlohmann::json& value);

}  // namespace tl
