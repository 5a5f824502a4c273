// Tensors written row by row: what quantising and synthesising have in common.
#pragma once

#include <cstdint>
#include <functional>
#include <optional>
#include <string>

#include "base/thread_pool.h"
#include "formats/gguf.h"

namespace tl {

/// Calls make(row, bytes) for each row on all threads and writes the encoded rows in order, holding a few
/// megabytes. after(rows) is called on the caller's thread after each batch with the number of rows it wrote.
void write_rows(GgufWriter& writer, ThreadPool& pool, int64_t rows, int64_t row_bytes,
                const std::function<void(int64_t, std::byte*)>& make,
                const std::function<void(int64_t)>& after);

/// The element types of a model that is written in `type`, tensor by tensor.
struct TypePolicy {
  DType type;
  std::optional<DType> output_type;
  bool pure = false;
  bool tied = false;  ///< token_embd is the output tensor, too

  /// The type for a float tensor. `message` is set where the row width forces another than the one asked for.
  DType choose(const std::string& name, const Shape& shape, std::string& message) const;
};

/// GGUF's general.file_type for a model mostly of `type`.
uint32_t gguf_file_type(DType type);

/// UsageError unless encode_row() can write `type`.
void require_encodable(DType type);

}  // namespace tl
