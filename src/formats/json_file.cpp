#include "formats/json_file.h"

#include "base/error.h"

namespace tl {

using nlohmann::json;

json parse_json(const std::string& file, std::string_view text, uint64_t offset,
                const std::function<void(const std::string&)>& on_key) {
  const auto listen = [&](int depth, json::parse_event_t event, json& parsed) {
    if (depth == 1 && event == json::parse_event_t::key && on_key)
      on_key(parsed.get_ref<const std::string&>());
    return true;
  };
  try {
    return json::parse(text, listen);
  } catch (const json::parse_error& e) {
    const uint64_t at = offset + (e.byte > 0 ? e.byte - 1 : 0);
    throw FileError(file, "", "this is no valid JSON", at);
  } catch (const json::out_of_range&) {
    throw FileError(file, "", "this JSON holds a number too large for a double", std::nullopt);
  }
}

std::string describe(const json& value) {
  if (value.is_object() || value.is_array()) return value.is_object() ? "an object" : "an array";
  std::string text = value.dump(-1, ' ', false, json::error_handler_t::replace);
  if (text.size() > 60) text = text.substr(0, 57) + "…";
  return text;
}

}  // namespace tl
