// Element types. One row per type feeds the enum, names, sizes and the GGUF type numbers.
#pragma once

#include <cstdint>
#include <optional>
#include <string_view>

namespace tl {

// Row: enumerator, language name, GGUF name, GGUF type number (-1: none), elements per block, bytes per
// block. The quantised formats are ggml's block formats (ggml-common.h); tensor/blocks.h defines each
// exactly.
#define TL_DTYPES(X)                    \
  X(f32, "float32", "F32", 0, 1, 4)     \
  X(f16, "float16", "F16", 1, 1, 2)     \
  X(bf16, "bfloat16", "BF16", 30, 1, 2) \
  X(f64, "float64", "F64", 28, 1, 8)    \
  X(i8, "int8", "I8", 24, 1, 1)         \
  X(i32, "int32", "I32", 26, 1, 4)      \
  X(i64, "int64", "I64", 27, 1, 8)      \
  X(boolean, "bool", "BOOL", -1, 1, 1)  \
  X(q4_0, "q4_0", "Q4_0", 2, 32, 18)    \
  X(q4_1, "q4_1", "Q4_1", 3, 32, 20)    \
  X(q5_0, "q5_0", "Q5_0", 6, 32, 22)    \
  X(q5_1, "q5_1", "Q5_1", 7, 32, 24)    \
  X(q8_0, "q8_0", "Q8_0", 8, 32, 34)    \
  X(q2_k, "q2_k", "Q2_K", 10, 256, 84)  \
  X(q3_k, "q3_k", "Q3_K", 11, 256, 110) \
  X(q4_k, "q4_k", "Q4_K", 12, 256, 144) \
  X(q5_k, "q5_k", "Q5_K", 13, 256, 176) \
  X(q6_k, "q6_k", "Q6_K", 14, 256, 210)

enum class DType : uint8_t {
#define X(id, name, gguf, number, elements, bytes) id,
  TL_DTYPES(X)
#undef X
};

/// Facts about one element type.
struct DTypeInfo {
  DType dtype;
  std::string_view name;       ///< as the language spells it: "float32", "q4_0"
  std::string_view gguf_name;  ///< as GGUF tools spell it: "F32", "Q4_0"
  int gguf_type;               ///< the type number in GGUF files, -1 if it has none
  int64_t block_elements;      ///< 1 for plain types, 32 or 256 for quantised ones
  int64_t block_bytes;
};

const DTypeInfo& info(DType dtype);
/// By language or GGUF name, ignoring case.
std::optional<DType> dtype_from_name(std::string_view name);
std::optional<DType> dtype_from_gguf(int64_t type_number);

inline std::string_view name(DType dtype) { return info(dtype).name; }
constexpr bool is_float(DType d) {
  return d == DType::f32 || d == DType::f16 || d == DType::bf16 || d == DType::f64;
}
constexpr bool is_int(DType d) { return d == DType::i8 || d == DType::i32 || d == DType::i64; }
constexpr bool is_quantised(DType d) { return d >= DType::q4_0; }
/// Bytes of `elements` consecutive elements; `elements` must be a multiple of the block.
int64_t bytes_of(DType dtype, int64_t elements);

/// The type of an operation on both, as NumPy 2 promotes: the wider float; float16 with bfloat16 gives
/// float32; an integer or bool with a float gives that float (int32 and int64 with float16 too: the language
/// never widens silently); the wider integer; bool with bool stays bool. Quantised types do not promote
/// (TL_CHECK).
DType promote(DType a, DType b);

}  // namespace tl
