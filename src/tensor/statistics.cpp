#include "tensor/statistics.h"

#include <array>
#include <bit>
#include <cmath>
#include <cstring>
#include <limits>
#include <vector>

#include "tensor/blocks.h"

namespace tl {

namespace {

constexpr int64_t kChunk = 1 << 14;  // elements: whole blocks of every format, and a share of the L2 cache
constexpr size_t kLanes = 8;         // independent accumulators, so that the compiler can use vectors

/// What is added up when parts are joined.
constexpr std::array kCounts = {
    &TensorStatistics::count,     &TensorStatistics::nan,        &TensorStatistics::inf,
    &TensorStatistics::zero,      &TensorStatistics::denormal,   &TensorStatistics::above_f16,
    &TensorStatistics::below_f16, &TensorStatistics::above_bf16, &TensorStatistics::below_bf16};

/// Statistics of one chunk or of several; `squares` is the sum of squared distances from the mean over the
/// finite elements.
struct Partial : TensorStatistics {
  int64_t finite = 0;
  double squares = 0;
  Partial() {
    min = INFINITY;
    max = -INFINITY;
  }
};

// The smallest numbers that round to infinity in the narrower types, and their smallest normal ones.
constexpr double kAboveF16 = 65520, kBelowF16 = 0x1p-14, kAboveBf16 = 0x1.ffp127, kBelowBf16 = 0x1p-126;

/// Per lane, what the first pass over a chunk finds. Counts have the width of T, so that they are vectors
/// too.
template <class T>
struct Lanes {
  using Count = std::conditional_t<sizeof(T) == 4, int32_t, int64_t>;
  std::array<double, kLanes> sum{};
  std::array<T, kLanes> min, max;
  std::array<Count, kLanes> not_finite{}, nan{}, zero{}, denormal{}, above_f16{}, below_f16{}, above_bf16{},
      below_bf16{};

  void add(size_t lane, T x, T tiny) {
    const T size = std::fabs(x);
    const bool finite = size <= std::numeric_limits<T>::max();
    const T low = finite ? x : std::numeric_limits<T>::infinity(), high = finite ? x : -low;
    sum[lane] += static_cast<double>(finite ? x : T(0));
    min[lane] = low < min[lane] ? low : min[lane];
    max[lane] = high > max[lane] ? high : max[lane];
    not_finite[lane] += !finite;
    nan[lane] += x != x;
    zero[lane] += size == T(0);
    denormal[lane] += size < tiny;  // zeros too, which are taken off at the end, as below
    above_f16[lane] += size >= static_cast<T>(kAboveF16);
    below_f16[lane] += size < static_cast<T>(kBelowF16);
    above_bf16[lane] += size >= static_cast<T>(kAboveBf16);
    below_bf16[lane] += size < static_cast<T>(kBelowBf16);
  }
};

template <class Array>
int64_t total(const Array& lanes) {
  int64_t sum = 0;
  for (const auto x : lanes) sum += x;
  return sum;
}

/// `tiny` is the smallest normal number of the type that the values are kept in.
template <class T>
Partial measure(const T* x, size_t n, double tiny) {
  Lanes<T> lanes;
  lanes.min.fill(std::numeric_limits<T>::infinity());
  lanes.max.fill(-std::numeric_limits<T>::infinity());
  const size_t whole = n / kLanes * kLanes;
  for (size_t i = 0; i < whole; i += kLanes)
    for (size_t l = 0; l < kLanes; ++l) lanes.add(l, x[i + l], static_cast<T>(tiny));
  for (size_t i = whole; i < n; ++i) lanes.add(i - whole, x[i], static_cast<T>(tiny));

  Partial p;
  const int64_t not_finite = total(lanes.not_finite);
  p.count = static_cast<int64_t>(n);
  p.finite = p.count - not_finite;
  p.nan = total(lanes.nan);
  p.inf = not_finite - p.nan;
  p.zero = total(lanes.zero);
  p.denormal = total(lanes.denormal) - p.zero;
  p.above_f16 = total(lanes.above_f16) - p.inf;
  p.below_f16 = total(lanes.below_f16) - p.zero;
  p.above_bf16 = total(lanes.above_bf16) - p.inf;
  p.below_bf16 = total(lanes.below_bf16) - p.zero;
  if (p.finite == 0) return p;
  double sum = 0;
  for (size_t l = 0; l < kLanes; ++l) {
    sum += lanes.sum[l];
    p.min = std::min(p.min, static_cast<double>(lanes.min[l]));
    p.max = std::max(p.max, static_cast<double>(lanes.max[l]));
  }
  p.mean = sum / static_cast<double>(p.finite);
  std::array<double, kLanes> squares{};
  const auto add_square = [&](size_t lane, T value) {
    const double d =
        std::fabs(value) <= std::numeric_limits<T>::max() ? static_cast<double>(value) - p.mean : 0;
    squares[lane] += d * d;
  };
  for (size_t i = 0; i < whole; i += kLanes)
    for (size_t l = 0; l < kLanes; ++l) add_square(l, x[i + l]);
  for (size_t i = whole; i < n; ++i) add_square(i - whole, x[i]);
  for (const double s : squares) p.squares += s;
  return p;
}

/// Chan, Golub and LeVeque: "Updating formulae and a pairwise algorithm for computing sample variances"
/// (1979).
void combine(Partial& a, const Partial& b) {
  for (const auto count : kCounts) a.*count += b.*count;
  a.checksum = std::rotl(a.checksum, 5) * 0x9e3779b97f4a7c15ull ^ b.checksum;
  if (b.finite == 0) return;
  const auto na = static_cast<double>(a.finite), nb = static_cast<double>(b.finite);
  const double delta = b.mean - a.mean;
  a.squares += b.squares + delta * delta * na * nb / (na + nb);
  a.mean += delta * nb / (na + nb);
  a.finite += b.finite;
  a.min = std::min(a.min, b.min);
  a.max = std::max(a.max, b.max);
}

/// Four independent multiplicative hashes over 8-byte words, mixed at the end.
uint64_t checksum(const std::byte* bytes, size_t n) {
  constexpr uint64_t kPrime = 0x100000001b3ull, kMix = 0x9e3779b97f4a7c15ull;
  std::array<uint64_t, 4> h{1, 2, 3, 4};
  const auto word = [&](size_t at, size_t size) {
    uint64_t w = 0;
    std::memcpy(&w, bytes + at, size);
    return w;
  };
  size_t i = 0;
  for (; i + 32 <= n; i += 32)
    for (size_t l = 0; l < 4; ++l) h[l] = (std::rotl(h[l], 23) ^ word(i + 8 * l, 8)) * kPrime;
  for (size_t l = 0; i < n; i += 8, ++l)
    h[l] = (std::rotl(h[l], 23) ^ word(i, std::min<size_t>(8, n - i))) * kPrime;
  uint64_t all = n;
  for (const uint64_t x : h) all = (all ^ x ^ (x >> 29)) * kMix;
  return all ^ (all >> 32);
}

double smallest_normal(DType dtype) {
  switch (dtype) {
    case DType::f16:
      return kBelowF16;
    case DType::f64:
      return std::numeric_limits<double>::min();
    case DType::boolean:
    case DType::i8:
    case DType::i32:
    case DType::i64:
      return 1;  // below it is only 0, which is taken off
    default:
      return kBelowBf16;  // bfloat16 has float32's exponents, and blocks decode to float32
  }
}

/// Elements [first, first + n) of a contiguous tensor.
Partial measure_chunk(const Tensor& t, int64_t first, int64_t n, std::vector<double>& scratch) {
  const auto size = static_cast<size_t>(n);
  const double tiny = smallest_normal(t.dtype());
  Partial p;
  if (t.dtype() == DType::f32) {
    p = measure(t.data<float>() + first, size, tiny);
  } else if (t.dtype() == DType::f64) {
    p = measure(t.data<double>() + first, size, tiny);
  } else {
    scratch.resize(size);
    if (is_float(t.dtype()) || is_quantised(t.dtype()))
      decode_row(t.dtype(), t.at(first), scratch.data(), n);
    else
      for (int64_t i = 0; i < n; ++i) scratch[static_cast<size_t>(i)] = load_double(t, first + i);
    p = measure(scratch.data(), size, tiny);
  }
  p.checksum = checksum(t.at(first), static_cast<size_t>(bytes_of(t.dtype(), n)));
  return p;
}

}  // namespace

double TensorStatistics::rms() const { return std::hypot(mean, std); }

double TensorStatistics::largest() const { return std::max(std::fabs(min), std::fabs(max)); }

TensorStatistics TensorStatistics::repeated(int64_t times) const {
  TensorStatistics s = *this;
  for (const auto n : kCounts) s.*n *= times;
  return s;
}

TensorStatistics tensor_statistics(const Tensor& tensor, ThreadPool& pool) {
  const Tensor t = tensor.is_contiguous() ? tensor : converted(tensor, tensor.dtype());
  const int64_t n = t.elements();
  std::vector<Partial> partials(static_cast<size_t>((n + kChunk - 1) / kChunk));
  const auto body = [&](int64_t begin, int64_t end) {
    std::vector<double> scratch;
    for (int64_t chunk = begin; chunk < end; ++chunk) {
      const int64_t first = chunk * kChunk;
      partials[static_cast<size_t>(chunk)] = measure_chunk(t, first, std::min(kChunk, n - first), scratch);
    }
  };
  if (partials.size() < 3)  // waking threads costs more
    body(0, static_cast<int64_t>(partials.size()));
  else
    pool.parallel_for(static_cast<int64_t>(partials.size()), 1, body);
  Partial all;
  for (const Partial& p : partials) combine(all, p);
  all.std = all.finite > 0 ? std::sqrt(all.squares / static_cast<double>(all.finite)) : 0;
  if (all.finite == 0) all.min = all.max = 0;
  return all;
}

}  // namespace tl
