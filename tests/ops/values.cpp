#include "ops/values.h"

#include <cmath>
#include <cstring>

#include "base/half.h"
#include "tensor/blocks.h"

namespace tl::test {

double Random::value() {
  const double bell = (uniform() + uniform() + uniform() + uniform() - 2) * 1.7320508;
  const uint64_t choice = bits() % 16;
  return choice == 0 ? 10 * bell : choice == 1 ? bell / 10 : bell;
}

Tensor random_tensor(Random& random, DType dtype, const Shape& shape) {
  if (is_int(dtype)) return integer_tensor(random, dtype, shape, -100, 100);
  Tensor t(dtype, shape);
  for (int64_t i = 0; i < t.elements(); ++i)
    store_double(t, i, dtype == DType::boolean ? static_cast<double>(random.bits() & 1) : random.value());
  return t;
}

Tensor uniform_tensor(Random& random, DType dtype, const Shape& shape, double low, double high) {
  Tensor t(dtype, shape);
  for (int64_t i = 0; i < t.elements(); ++i) store_double(t, i, random.uniform(low, high));
  return t;
}

Tensor integer_tensor(Random& random, DType dtype, const Shape& shape, int64_t low, int64_t high) {
  Tensor t(dtype, shape);
  for (int64_t i = 0; i < t.elements(); ++i) store_int(t, i, random.integer(low, high));
  return t;
}

Tensor random_weights(Random& random, DType dtype, const Shape& shape) {
  if (!is_quantised(dtype)) return random_tensor(random, dtype, shape);
  Tensor t(dtype, shape);
  const auto& type = info(dtype);
  const auto scale = [&](double low, double high) {
    return f32_to_f16(static_cast<float>(random.uniform(low, high)));
  };
  // Where the float16 scales of a block lie (block_layouts.h); every other byte may be anything.
  const bool has_min = dtype == DType::q4_1 || dtype == DType::q5_1;
  const bool tail_pair = dtype == DType::q2_k, tail_one = dtype == DType::q3_k || dtype == DType::q6_k;
  const bool head_pair = has_min || dtype == DType::q4_k || dtype == DType::q5_k;
  for (int64_t b = 0; b < t.elements() / type.block_elements; ++b) {
    std::byte* block = t.bytes() + b * type.block_bytes;
    for (int64_t i = 0; i < type.block_bytes; ++i) block[i] = static_cast<std::byte>(random.bits());
    const int64_t at = tail_pair ? type.block_bytes - 4 : tail_one ? type.block_bytes - 2 : 0;
    const uint16_t d = scale(0.002, 0.02), second = has_min ? scale(-0.3, 0.1) : scale(0.002, 0.02);
    std::memcpy(block + at, &d, 2);
    if (tail_pair || head_pair) std::memcpy(block + at + 2, &second, 2);
  }
  return t;
}

}  // namespace tl::test
