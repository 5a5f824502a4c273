#include "base/error.h"

#include <fmt/format.h>

namespace tl {

static std::string file_message(const std::string& file, const std::string& where, const std::string& message,
                                std::optional<uint64_t> offset) {
  std::string text = file + ": ";
  if (!where.empty()) text += where + ": ";
  text += message;
  if (offset) text += fmt::format(" (at byte {})", *offset);
  return text;
}

FileError::FileError(const std::string& file, const std::string& where, const std::string& message,
                     std::optional<uint64_t> offset)
    : Error(file_message(file, where, message, offset)) {}

void detail::check_failed(const char* condition, const char* file, int line, const std::string& message) {
  throw std::logic_error(fmt::format("{} ({}:{}: {}). This is a bug in TensorLogic; please report it.",
                                     message, file, line, condition));
}

}  // namespace tl
