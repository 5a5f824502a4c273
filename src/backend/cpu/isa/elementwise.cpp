// The elementwise operations of ops/functors.h on rows of floats, and conversions.
#include "ops/functors.h"

#include "backend/cpu/isa.h"
#include "backend/cpu/isa/simd.h"
#include "backend/cpu/isa/tables.h"

namespace tl::cpu::TL_ISA {

namespace {

template <Op op>
void unary(const float* x, float* out, int64_t n) {
  int64_t i = 0;
  for (; i + kLanes <= n; i += kLanes) store(out + i, Functor<op>::apply(load(x + i)));
  if (i < n) store_tail(out + i, Functor<op>::apply(load_tail(x + i, n - i)), n - i);
}

template <Op op>
void binary(const float* a, const float* b, float* out, int64_t n) {
  int64_t i = 0;
  for (; i + kLanes <= n; i += kLanes) store(out + i, Functor<op>::apply(load(a + i), load(b + i)));
  if (i < n) store_tail(out + i, Functor<op>::apply(load_tail(a + i, n - i), load_tail(b + i, n - i)), n - i);
}

template <Op op>
void compare(const float* a, const float* b, uint8_t* out, int64_t n) {
  for (int64_t i = 0; i < n; i += kLanes) {
    const int64_t lanes = n - i < kLanes ? n - i : kLanes;
    const Mask m = lanes == kLanes ? Functor<op>::apply(load(a + i), load(b + i))
                                   : Functor<op>::apply(load_tail(a + i, lanes), load_tail(b + i, lanes));
    for (int64_t l = 0; l < lanes; ++l) out[i + l] = m.v[l] ? 1 : 0;
  }
}

TL_INLINE void convert(const uint16_t* x, float* out, int64_t n) {
  int64_t i = 0;
  for (; i + kLanes <= n; i += kLanes) store(out + i, load_f16(x + i));
  for (; i < n; ++i) out[i] = f16(x[i]);
}

void f16_to_f32(const uint16_t* x, float* out, int64_t n) { convert(x, out, n); }

void f16_rows_to_f32(const uint16_t* x, int64_t stride, int64_t rows, int64_t n, int64_t ahead, float* out) {
  constexpr int64_t kLine = 64 / sizeof *x;
  for (int64_t r = 0; r < rows; ++r, x += stride, out += n) {
    // To the L2 cache: the rows in use and what they become fill the other.
    for (int64_t i = 0; i < n; i += kLine) __builtin_prefetch(x + ahead * stride + i, 0, 2);
    convert(x, out, n);
  }
}

void f32_to_f16(const float* x, uint16_t* out, int64_t n) {
  int64_t i = 0;
  for (; i + kLanes <= n; i += kLanes) store_f16(out + i, load(x + i));
  if (i == n) return;
  uint16_t lanes[kLanes];
  store_f16(lanes, load_tail(x + i, n - i));
  memcpy(out + i, lanes, static_cast<size_t>(n - i) * sizeof *out);
}

void q8_0_to_f32(const std::byte* blocks, float* out, int64_t n) {
  for (; n > 0; n -= 32, blocks += 34, out += 32) {
    uint16_t d;
    memcpy(&d, blocks, sizeof d);
    const float scale = f16(d);
    const auto* q = reinterpret_cast<const int8_t*>(blocks + sizeof d);
    for (int i = 0; i < 32; ++i) out[i] = scale * static_cast<float>(q[i]);
  }
}

}  // namespace

void add_elementwise(Isa& table) {
#define X(name, ...) table.unary[static_cast<int>(Op::name)] = unary<Op::name>;
  TL_UNARY_OPS(X)
#undef X
#define X(name, ...) table.binary[static_cast<int>(Op::name)] = binary<Op::name>;
  TL_BINARY_OPS(X)
  X(swiglu)
#undef X
#define X(name, ...) table.compare[static_cast<int>(Op::name)] = compare<Op::name>;
  TL_COMPARE_OPS(X)
#undef X
  table.f16_to_f32 = f16_to_f32;
  table.f16_rows_to_f32 = f16_rows_to_f32;
  table.f32_to_f16 = f32_to_f16;
  table.q8_0_to_f32 = q8_0_to_f32;
}

}  // namespace tl::cpu::TL_ISA
