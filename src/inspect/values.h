// Tensors as plain numbers, in every memory layout, and the precision of their types.
#pragma once

#include <string>
#include <vector>

#include "tensor/tensor.h"

namespace tl::inspect {

/// The elements in row-major order, whatever the type (quantised ones decoded exactly) and strides.
std::vector<double> values_of(const Tensor& t);

/// How a tensor's elements lie in memory.
enum class Layout { contiguous, permuted, sliced, reversed };
constexpr Layout kLayouts[] = {Layout::contiguous, Layout::permuted, Layout::sliced, Layout::reversed};
std::string to_string(Layout layout);

/// The same values in another layout. Memory between the elements holds NaN (or 0xff), so that a kernel that
/// ignores strides is found.
Tensor laid_out(const Tensor& t, Layout layout);

/// `t` read as `shape` with strides 0 along the repeated axes.
Tensor broadcast_view(const Tensor& t, const Shape& shape);

/// Rows [first, first + n) of the outermost axis, a view.
Tensor rows(const Tensor& t, int64_t first, int64_t n);

/// Whether types, shapes and all bits of two contiguous tensors are the same.
bool same_bits(const Tensor& a, const Tensor& b);

/// `x` rounded to `dtype`.
double rounded(DType dtype, double x);
/// Half a unit in the last place of 1, and half the smallest positive number; 0 for types that are not
/// floats.
double unit_roundoff(DType dtype);
double half_smallest(DType dtype);

}  // namespace tl::inspect
