#include "cli/npy.h"

#include <fmt/format.h>

namespace tl::cli {

std::string npy_header(int64_t rows, int64_t columns) {
  constexpr size_t kPrefix = 10, kAlignment = 64;  // magic, version and length; the data starts aligned
  std::string dictionary =
      fmt::format("{{'descr': '<f4', 'fortran_order': False, 'shape': ({}, {}), }}", rows, columns);
  const size_t unpadded = kPrefix + dictionary.size() + 1;
  dictionary.append((kAlignment - unpadded % kAlignment) % kAlignment, ' ');
  dictionary += '\n';
  std::string header("\x93NUMPY\x01\x00", 8);
  header += static_cast<char>(dictionary.size() & 0xff);
  header += static_cast<char>(dictionary.size() >> 8);
  return header + dictionary;
}

}  // namespace tl::cli
