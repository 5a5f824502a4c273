#include "formats/row_writer.h"

#include <algorithm>

#include <fmt/format.h>

#include "tensor/blocks.h"

namespace tl {

void write_rows(GgufWriter& writer, ThreadPool& pool, int64_t rows, int64_t row_bytes,
                const std::function<void(int64_t, std::byte*)>& make,
                const std::function<void(int64_t)>& after) {
  constexpr int64_t kBatchBytes = 4 << 20;
  const int64_t batch = std::clamp<int64_t>(kBatchBytes / row_bytes, 1, rows);
  std::vector<std::byte> buffer(static_cast<size_t>(batch * row_bytes));
  for (int64_t first = 0; first < rows; first += batch) {
    const int64_t n = std::min(batch, rows - first);
    pool.parallel_for(n, 1, [&](int64_t begin, int64_t end) {
      for (int64_t r = begin; r < end; ++r) make(first + r, buffer.data() + r * row_bytes);
    });
    writer.write(std::span(buffer).first(static_cast<size_t>(n * row_bytes)));
    after(n);
  }
}

namespace {

double bits_per_element(DType dtype) {
  return 8.0 * static_cast<double>(info(dtype).block_bytes) / static_cast<double>(info(dtype).block_elements);
}

}  // namespace

DType TypePolicy::choose(const std::string& name, const Shape& shape, std::string& message) const {
  if (shape.rank() < 2) return DType::f32;
  const bool output = name == "output.weight" || (tied && name == "token_embd.weight");
  DType wanted = type;
  if (output && !pure && bits_per_element(type) < bits_per_element(DType::q8_0)) wanted = DType::q6_k;
  if (output && output_type) wanted = *output_type;
  const int64_t width = shape.back();
  if (width % info(wanted).block_elements == 0) return wanted;
  const DType fallback = width % info(DType::q8_0).block_elements == 0 ? DType::q8_0 : DType::f16;
  message =
      fmt::format("{}: its rows of {} elements are no multiple of {}'s block of {}: written as {}", name,
                  width, info(wanted).gguf_name, info(wanted).block_elements, info(fallback).gguf_name);
  return fallback;
}

uint32_t gguf_file_type(DType type) {
  switch (type) {  // llama.cpp's llama_ftype
    case DType::f16:
      return 1;
    case DType::q4_0:
      return 2;
    case DType::q4_1:
      return 3;
    case DType::q8_0:
      return 7;
    case DType::q4_k:
      return 14;  // "mostly Q4_K, small": no mixture
    case DType::q6_k:
      return 18;
    case DType::bf16:
      return 32;
    default:
      return 0;  // all F32
  }
}

void require_encodable(DType type) {
  if (can_encode(type)) return;
  throw UsageError(
      fmt::format("cannot write {}; the types that can be written are F32, F16, BF16, Q4_0, Q4_1, Q8_0, Q4_K "
                  "and Q6_K",
                  info(type).gguf_name));
}

}  // namespace tl
