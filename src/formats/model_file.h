// One view of a model file, whatever its container: metadata, tensor table and tensors where they lie.
//
// Names and metadata are GGUF's ("blk.3.attn_q.weight", "llama.embedding_length"); the safetensors reader
// maps the Hugging Face names and config.json to them. Two keys are ours: "tensorlogic.rope_style" ("norm":
// RoPE rotates the pairs (2i, 2i+1); "neox": (i, i + n/2)) and "tensorlogic.eos_token_ids" (all end-of-turn
// ids, from a safetensors folder's generation_config.json). A container that says otherwise wins over the
// architecture's default.
#pragma once

#include <cstdint>
#include <memory>
#include <span>
#include <string>
#include <string_view>
#include <unordered_map>
#include <variant>
#include <vector>

#include "base/error.h"
#include "base/file.h"
#include "tensor/tensor.h"

namespace tl {

/// The value types of GGUF metadata, with GGUF's type numbers.
enum class MetaType : uint32_t { u8, i8, u16, i16, u32, i32, f32, boolean, string, array, u64, i64, f64 };

/// "uint32", "string" …; used in messages.
std::string_view name(MetaType type);

/// A metadata value. Integers are held in 64 bits and floats as double (both exact); `type` remembers how the
/// file stores it (for an array: the type of its elements), so that it can be written back unchanged.
struct MetaValue {
  using Data =
      std::variant<bool, int64_t, uint64_t, double, std::string, std::vector<bool>, std::vector<int64_t>,
                   std::vector<uint64_t>, std::vector<double>, std::vector<std::string>>;
  MetaType type = MetaType::boolean;
  Data data = false;

  static MetaValue of_bool(bool value) { return {MetaType::boolean, value}; }
  static MetaValue of_u32(uint32_t value) { return {MetaType::u32, static_cast<uint64_t>(value)}; }
  static MetaValue of_u64(uint64_t value) { return {MetaType::u64, value}; }
  static MetaValue of_i32(int32_t value) { return {MetaType::i32, static_cast<int64_t>(value)}; }
  static MetaValue of_f32(float value) { return {MetaType::f32, static_cast<double>(value)}; }
  static MetaValue of_string(std::string value) { return {MetaType::string, std::move(value)}; }
  static MetaValue of_strings(std::vector<std::string> value) { return {MetaType::string, std::move(value)}; }
  static MetaValue of_i32s(std::vector<int64_t> value) { return {MetaType::i32, std::move(value)}; }
  static MetaValue of_f32s(std::vector<double> value) { return {MetaType::f32, std::move(value)}; }

  bool is_array() const { return data.index() >= 5; }
  /// Elements of an array; 1 for a scalar.
  size_t size() const;
  bool operator==(const MetaValue&) const = default;
};

/// "uint32", "array of string" …
std::string type_name(const MetaValue& value);
/// For people: scalars as they are, strings quoted and cut at `limit` bytes, arrays as "[32000 × string]"
/// with their first elements.
std::string to_string(const MetaValue& value, size_t limit = 60);

struct MetaEntry {
  std::string key;
  MetaValue value;
  uint64_t offset = 0;  ///< where the key stands in the file; 0 where the container has no such place
};

struct TensorEntry {
  std::string name;
  DType dtype = DType::f32;
  Shape shape;          ///< outermost first: a weight is [out, in]
  uint64_t offset = 0;  ///< of its data, in bytes from the start of its file
  uint64_t bytes = 0;
  uint64_t entry = 0;  ///< where its table entry stands in that file; 0 where the container has no such place
  int file = 0;        ///< which of ModelFile::files() holds it
  std::string original;  ///< its name in the container where that differs ("model.norm.weight"), else empty
};

/// What a reader found in one model file; see ModelFile's accessors.
struct ModelParts {
  std::string path, container, tokenizer_json;
  std::vector<MetaEntry> metadata;
  std::vector<TensorEntry> tensors;
  std::vector<std::shared_ptr<const MappedFile>> files;
};

/// An open model. Immutable; tensors keep the mapping alive on their own.
class ModelFile {
 public:
  /// Checks what all containers share: names unique, tensors inside their file, hyperparameters sane and not
  /// contradicted by tensors or token ids (model_check.cpp). Throws FileError.
  explicit ModelFile(ModelParts parts);
  ModelFile(const ModelFile&) = delete;
  ModelFile& operator=(const ModelFile&) = delete;

  const std::string& path() const { return parts_.path; }
  /// "gguf" or "safetensors".
  const std::string& container() const { return parts_.container; }
  /// The path of a tokenizer.json beside the weights; empty if there is none (GGUF carries its own).
  const std::string& tokenizer_json() const { return parts_.tokenizer_json; }
  /// general.architecture: "llama", "qwen2" …; empty if the file does not say.
  std::string architecture() const { return get_string("general.architecture", ""); }

  /// Metadata in the file's order.
  const std::vector<MetaEntry>& metadata() const { return parts_.metadata; }
  const MetaValue* find(std::string_view key) const;
  const MetaEntry* find_entry(std::string_view key) const;
  /// A FileError about a key or a tensor of this file, with its place where it has one.
  FileError error(const MetaEntry& entry, const std::string& message) const;
  FileError error(const TensorEntry& entry, const std::string& message) const;
  bool has(std::string_view key) const { return find(key) != nullptr; }

  // Typed access. Without a fallback a missing key is a FileError that names it; with or without, a value of
  // another type is a FileError that names key, expected and found type. An integer stands in for a float,
  // never the reverse.
  bool get_bool(std::string_view key) const;
  bool get_bool(std::string_view key, bool fallback) const;
  int64_t get_int(std::string_view key) const;
  int64_t get_int(std::string_view key, int64_t fallback) const;
  double get_float(std::string_view key) const;
  double get_float(std::string_view key, double fallback) const;
  const std::string& get_string(std::string_view key) const;
  std::string get_string(std::string_view key, std::string_view fallback) const;
  /// Arrays; a missing key gives an empty one.
  const std::vector<std::string>& get_strings(std::string_view key) const;
  std::vector<int64_t> get_ints(std::string_view key) const;
  std::vector<double> get_floats(std::string_view key) const;

  /// Tensors in the file's order.
  const std::vector<TensorEntry>& tensors() const { return parts_.tensors; }
  const TensorEntry* find_tensor(std::string_view name) const;
  /// A view of the mapping, no copy (but for data that the container leaves misaligned for its type). Throws
  /// FileError with the nearest name if there is no such tensor.
  Tensor tensor(std::string_view name) const;
  Tensor tensor(const TensorEntry& entry) const;
  /// The raw bytes of a tensor.
  std::span<const std::byte> tensor_bytes(const TensorEntry& entry) const;

  const std::vector<std::shared_ptr<const MappedFile>>& files() const { return parts_.files; }
  /// Of all files together.
  uint64_t file_bytes() const;
  uint64_t tensor_bytes() const;

 private:
  template <class T>
  T get(std::string_view key, const T* fallback, std::string_view expected) const;
  template <class T>
  std::vector<T> get_array(std::string_view key, std::string_view expected) const;
  void check_tensors() const;

  ModelParts parts_;
  std::unordered_map<std::string_view, size_t> keys_, names_;  // into parts_, which does not move
  std::vector<std::shared_ptr<Storage>> storages_;
};

/// Throws FileError where hyperparameters or token ids make no sense, or tensors contradict them. Part of
/// ModelFile's constructor (model_check.cpp).
void check_model(const ModelFile& model);

/// Opens a GGUF file, a .safetensors file, a model.safetensors.index.json, or a directory that holds one of
/// the latter two (with config.json). `use_mmap` false reads the files into memory. Throws Error or
/// FileError.
std::shared_ptr<const ModelFile> open_model_file(const std::string& path, bool use_mmap = true);

}  // namespace tl
