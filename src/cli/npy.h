// NumPy's file format (https://numpy.org/doc/stable/reference/generated/numpy.lib.format.html), version 1.0.
#pragma once

#include <cstdint>
#include <string>

namespace tl::cli {

/// The header of a little-endian float32 array of `rows` × `columns` in C order; its data follows.
std::string npy_header(int64_t rows, int64_t columns);

}  // namespace tl::cli
