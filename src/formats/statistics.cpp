#include "formats/statistics.h"

#include <cmath>
#include <vector>

#include "tensor/blocks.h"

namespace tl {

namespace {

constexpr int64_t kChunk = 1 << 16;  // elements; whole blocks of every format

/// Of one chunk or of several: `squares` is the sum of squared distances from `mean` over the finite
/// elements.
struct Partial {
  int64_t finite = 0, nan = 0, inf = 0, zero = 0;
  double min = INFINITY, max = -INFINITY, mean = 0, squares = 0;
};

Partial measure(const std::vector<double>& values) {
  Partial p;
  double sum = 0;
  for (const double x : values) {
    if (!std::isfinite(x)) {
      (std::isnan(x) ? p.nan : p.inf) += 1;
      continue;
    }
    ++p.finite;
    p.zero += x == 0;
    p.min = std::min(p.min, x);
    p.max = std::max(p.max, x);
    sum += x;
  }
  if (p.finite == 0) return p;
  p.mean = sum / static_cast<double>(p.finite);
  for (const double x : values)
    if (std::isfinite(x)) p.squares += (x - p.mean) * (x - p.mean);
  return p;
}

/// Chan, Golub and LeVeque: "Updating formulae and a pairwise algorithm for computing sample variances"
/// (1979).
void combine(Partial& a, const Partial& b) {
  a.nan += b.nan;
  a.inf += b.inf;
  a.zero += b.zero;
  if (b.finite == 0) return;
  const auto na = static_cast<double>(a.finite), nb = static_cast<double>(b.finite);
  const double delta = b.mean - a.mean;
  a.squares += b.squares + delta * delta * na * nb / (na + nb);
  a.mean += delta * nb / (na + nb);
  a.finite += b.finite;
  a.min = std::min(a.min, b.min);
  a.max = std::max(a.max, b.max);
}

}  // namespace

TensorStatistics tensor_statistics(const Tensor& tensor, ThreadPool& pool) {
  TL_CHECK(tensor.is_contiguous(), "statistics need a contiguous tensor");
  const int64_t n = tensor.elements();
  std::vector<Partial> partials(static_cast<size_t>((n + kChunk - 1) / kChunk));
  pool.parallel_for(static_cast<int64_t>(partials.size()), 1, [&](int64_t begin, int64_t end) {
    std::vector<double> values;
    for (int64_t chunk = begin; chunk < end; ++chunk) {
      const int64_t first = chunk * kChunk;
      values.resize(static_cast<size_t>(std::min(kChunk, n - first)));
      decode_row(tensor.dtype(), tensor.at(first), values.data(), static_cast<int64_t>(values.size()));
      partials[static_cast<size_t>(chunk)] = measure(values);
    }
  });
  Partial all;
  for (const Partial& p : partials) combine(all, p);
  TensorStatistics s{n, all.nan, all.inf, all.zero};
  if (all.finite == 0) return s;
  s.min = all.min;
  s.max = all.max;
  s.mean = all.mean;
  s.std = std::sqrt(all.squares / static_cast<double>(all.finite));
  return s;
}

}  // namespace tl
