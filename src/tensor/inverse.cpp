#include "tensor/inverse.h"

#include <algorithm>
#include <cmath>
#include <vector>

#include <fmt/format.h>

namespace tl {

namespace {

/// Inverts the n x n matrix at `a`, row by row; `out` holds the identity at first.
void invert(double* a, double* out, int64_t n) {
  const auto combine = [n](double* row, const double* pivot, double factor) {
    for (int64_t j = 0; j < n; ++j) row[j] -= factor * pivot[j];
  };
  for (int64_t k = 0; k < n; ++k) {
    int64_t best = k;
    for (int64_t i = k + 1; i < n; ++i)
      if (std::abs(a[i * n + k]) > std::abs(a[best * n + k])) best = i;
    const double pivot = a[best * n + k];
    if (pivot == 0) throw Error("the matrix has no inverse: its columns depend on one another");
    for (double* m : {a, out}) {
      if (best != k) std::swap_ranges(m + k * n, m + (k + 1) * n, m + best * n);
      for (int64_t j = 0; j < n; ++j) m[k * n + j] /= pivot;
    }
    for (int64_t i = 0; i < n; ++i) {
      if (i == k) continue;
      const double factor = a[i * n + k];
      combine(a + i * n, a + k * n, factor);
      combine(out + i * n, out + k * n, factor);
    }
  }
}

}  // namespace

Tensor inverse(const Tensor& x) {
  const int rank = x.rank();
  if (rank < 2 || x.shape()[rank - 1] != x.shape()[rank - 2])
    throw Error(fmt::format("only square matrices have an inverse, not a tensor {}", to_string(x.shape())));
  const int64_t n = x.shape()[rank - 1], count = x.elements();
  const Tensor wide = converted(x, DType::f64);
  std::vector<double> a(static_cast<size_t>(count)), out(a.size(), 0.0);
  for (int64_t i = 0; i < count; ++i) a[static_cast<size_t>(i)] = load_double(wide, i);
  for (int64_t at = 0; at < count; at += n * n) {
    for (int64_t i = 0; i < n; ++i) out[static_cast<size_t>(at + i * n + i)] = 1;
    invert(a.data() + at, out.data() + at, n);
  }
  const Tensor result = Tensor::from<double>(DType::f64, x.shape(), out);
  return converted(result, is_float(x.dtype()) ? x.dtype() : DType::f32);
}

}  // namespace tl
