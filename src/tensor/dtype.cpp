#include "tensor/dtype.h"

#include <algorithm>
#include <array>
#include <cctype>

#include "base/error.h"

namespace tl {

namespace {
constexpr std::array kTypes{
#define X(id, name, gguf, number, elements, bytes) DTypeInfo{DType::id, name, gguf, number, elements, bytes},
    TL_DTYPES(X)
#undef X
};

bool same_ignoring_case(std::string_view a, std::string_view b) {
  return std::equal(a.begin(), a.end(), b.begin(), b.end(),
                    [](unsigned char x, unsigned char y) { return std::tolower(x) == std::tolower(y); });
}
}  // namespace

const DTypeInfo& info(DType dtype) { return kTypes[static_cast<size_t>(dtype)]; }

std::optional<DType> dtype_from_name(std::string_view name) {
  for (const auto& type : kTypes)
    if (same_ignoring_case(name, type.name) || same_ignoring_case(name, type.gguf_name)) return type.dtype;
  return std::nullopt;
}

std::optional<DType> dtype_from_gguf(int64_t number) {
  for (const auto& type : kTypes)
    if (type.gguf_type == number && number >= 0) return type.dtype;
  return std::nullopt;
}

int64_t bytes_of(DType dtype, int64_t elements) {
  const auto& type = info(dtype);
  TL_CHECK(elements % type.block_elements == 0, "elements must fill whole blocks");
  return elements / type.block_elements * type.block_bytes;
}

DType promote(DType a, DType b) {
  TL_CHECK(!is_quantised(a) && !is_quantised(b), "quantised types do not promote");
  if (a == b) return a;
  if (is_float(a) && is_float(b)) {
    if (a == DType::f64 || b == DType::f64) return DType::f64;
    return DType::f32;  // float32 with anything narrower, and float16 with bfloat16
  }
  if (is_float(a)) return a;
  if (is_float(b)) return b;
  const auto rank = [](DType d) {
    return d == DType::boolean ? 0 : d == DType::i8 ? 1 : d == DType::i32 ? 2 : 3;
  };
  return rank(a) > rank(b) ? a : b;
}

}  // namespace tl
