// Reductions and normalisations of one row.
#include "backend/cpu/isa.h"
#include "backend/cpu/isa/simd.h"
#include "backend/cpu/isa/tables.h"

namespace tl::cpu::TL_ISA {

namespace {

/// Sums term(x[i]) in 32 partial sums, element i in number i % 32, so that zeros after the end would change
/// nothing. The term of 0 must be 0.
template <class Term>
TL_INLINE float sum_of(const float* x, int64_t n, Term term) {
  F32 part[4] = {F32(0.0f), F32(0.0f), F32(0.0f), F32(0.0f)};
  int64_t i = 0;
  for (; i + 4 * kLanes <= n; i += 4 * kLanes)
    for (int p = 0; p < 4; ++p) part[p] = part[p] + term(load(x + i + p * kLanes));
  for (int p = 0; i < n; ++p, i += kLanes) {
    const int64_t lanes = n - i < kLanes ? n - i : kLanes;
    part[p] = part[p] + term(load_some(x + i, lanes));
  }
  return sum((part[0] + part[1]) + (part[2] + part[3]));
}

float row_sum(const float* x, int64_t n) {
  return sum_of(x, n, [](F32 v) { return v; });
}

float sum_of_squares(const float* x, int64_t n) {
  return sum_of(x, n, [](F32 v) { return v * v; });
}

/// The larger lanes; NaN where either is NaN.
TL_INLINE F32 larger(F32 a, F32 b) { return select(a != a, a, select(a > b, a, b)); }

float row_max(const float* x, int64_t n) {
  F32 top(-__builtin_inff());
  int64_t i = 0;
  for (; i + kLanes <= n; i += kLanes) top = larger(top, load(x + i));
  float lanes[kLanes];
  store(lanes, top);
  float result = -__builtin_inff();
  const auto take = [&result](float v) {
    if (!(v <= result) && result == result) result = v;
  };
  for (const float lane : lanes) take(lane);
  for (; i < n; ++i) take(x[i]);
  return result;
}

float exp_sum(const float* x, float max, float* out, int64_t n) {
  const F32 shift(max);
  F32 total(0.0f);
  int64_t i = 0;
  for (; i + kLanes <= n; i += kLanes) {
    const F32 e = exp(load(x + i) - shift);
    store(out + i, e);
    total = total + e;
  }
  if (i < n) {
    store_tail(out + i, exp(load_tail(x + i, n - i) - shift), n - i);
    total = total + load_tail(out + i, n - i);
  }
  return sum(total);
}

void scale_row(const float* x, float shift, float scale, const float* w, const float* b, float* out,
               int64_t n) {
  for (int64_t i = 0; i < n; i += kLanes) {
    const int64_t lanes = n - i < kLanes ? n - i : kLanes;
    F32 v = (load_some(x + i, lanes) - F32(shift)) * F32(scale);
    if (w) v = v * load_some(w + i, lanes);
    if (b) v = v + load_some(b + i, lanes);
    store_some(out + i, v, lanes);
  }
}

void add_row(const float* x, float* acc, int64_t n) {
  int64_t i = 0;
  for (; i + kLanes <= n; i += kLanes) store(acc + i, load(acc + i) + load(x + i));
  for (; i < n; ++i) acc[i] += x[i];
}

}  // namespace

void add_rows(Isa& table) {
  table.sum = row_sum;
  table.sum_of_squares = sum_of_squares;
  table.max = row_max;
  table.exp_sum = exp_sum;
  table.scale_row = scale_row;
  table.add_row = add_row;
}

}  // namespace tl::cpu::TL_ISA
