// The inverse of matrices.
#pragma once

#include "tensor/tensor.h"

namespace tl {

/// The inverse of a square matrix, or of each in the last two axes, by Gauss-Jordan elimination with partial
/// pivoting in double. Floats stay what they are, integers become float32. Throws Error where the shape is
/// not square or a matrix is singular.
Tensor inverse(const Tensor& x);

}  // namespace tl
