// Tensors as .csv files: a line for each row of the last axis, numbers parted by commas.
#pragma once

#include <string>
#include <vector>

#include "tensor/tensor.h"

namespace tl::lang {

/// Reads a file as a tensor of `dtype`. `extents` are those of its shape, -1 where any will do. A file of
/// rank 1 may be one line or one number a line; above rank 2 the lines go through all axes but the last. A
/// first line without any number is a header. Throws FileError with the line, or Error where the numbers do
/// not fit the shape.
Tensor read_csv(const std::string& path, DType dtype, std::vector<int64_t> extents);

/// Writes a tensor, each number as the shortest text that reads back the same; rank 1 as one number a line.
void write_csv(const std::string& path, const Tensor& tensor);

}  // namespace tl::lang
