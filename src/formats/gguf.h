// GGUF, the container of llama.cpp (https://github.com/ggml-org/ggml/blob/master/docs/gguf.md).
//
//   "GGUF"  u32 version (2 or 3)  u64 n_tensors  u64 n_metadata
//   n_metadata × { string key, u32 type, value }             string: u64 length, bytes
//                                                            array: u32 element type, u64 count, elements
//   n_tensors  × { string name, u32 n_dims, u64 dims[n_dims] (innermost first), u32 type, u64 offset }
//   padding to general.alignment (32), then the data; offsets count from there and are multiples of the
//   alignment
//
// All little-endian. Nothing is believed before it is checked against the bytes that remain.
#pragma once

#include <memory>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "formats/model_file.h"

namespace tl {

/// Parses a GGUF file. Throws FileError naming key or tensor and the byte offset.
ModelParts read_gguf(std::shared_ptr<const MappedFile> file);

/// Whether the bytes begin as a GGUF file does.
bool is_gguf(std::span<const std::byte> bytes);

/// Writes a GGUF v3 file: metadata and tensor table first, then the data in the order in which tensors were
/// added. The file appears under its name only when finish() has been called.
class GgufWriter {
 public:
  explicit GgufWriter(std::string path, uint32_t alignment = 32);
  ~GgufWriter();

  /// Sets a key (replacing it where it was set before). Keys keep the order in which they were first set.
  void set(const std::string& key, MetaValue value);
  /// Announces a tensor; its shape is outermost first.
  void add_tensor(const std::string& name, DType dtype, const Shape& shape);
  /// Data of the announced tensors, in their order, in pieces of any size. The first call writes header and
  /// tables.
  void write(std::span<const std::byte> data);
  /// Checks that all announced data has been written, and commits the file. Throws Error where it cannot be
  /// written.
  void finish();

 private:
  struct Planned {
    std::string name;
    DType dtype;
    Shape shape;
    uint64_t offset, bytes;
  };
  void write_header();
  void pad(uint64_t to);

  AtomicFile file_;
  uint32_t alignment_;
  std::vector<MetaEntry> metadata_;
  std::vector<Planned> tensors_;
  bool header_written_ = false;
  uint64_t data_start_ = 0;
  size_t current_ = 0;    // the tensor being written
  uint64_t written_ = 0;  // bytes of it
};

}  // namespace tl
