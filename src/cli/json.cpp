#include "cli/json.h"

#include <cstdio>
#include <nlohmann/json.hpp>
#include <string>

namespace tl::cli {

void print_json(const nlohmann::ordered_json& value, bool on_one_line) {
  const std::string text =
      value.dump(on_one_line ? -1 : 2, ' ', false, nlohmann::ordered_json::error_handler_t::replace) + "\n";
  std::fwrite(text.data(), 1, text.size(), stdout);
}

}  // namespace tl::cli
