#include "formats/model_file.h"

#include <filesystem>
#include <limits>

#include <fmt/format.h>

#include "base/source.h"
#include "formats/gguf.h"
#include "formats/safetensors.h"

namespace tl {

std::string_view name(MetaType type) {
  constexpr std::string_view kNames[] = {"uint8",  "int8",    "uint16",  "int16",  "uint32",
                                         "int32",  "float32", "boolean", "string", "array",
                                         "uint64", "int64",   "float64"};
  return kNames[static_cast<size_t>(type)];
}

size_t MetaValue::size() const {
  return std::visit(
      [](const auto& v) -> size_t {
        if constexpr (requires { v.capacity(); } && !std::is_same_v<std::decay_t<decltype(v)>, std::string>)
          return v.size();
        else
          return 1;
      },
      data);
}

std::string type_name(const MetaValue& value) {
  return (value.is_array() ? "array of " : "") + std::string(name(value.type));
}

namespace {

std::string show(bool v, size_t) { return v ? "true" : "false"; }
std::string show(int64_t v, size_t) { return std::to_string(v); }
std::string show(uint64_t v, size_t) { return std::to_string(v); }
std::string show(double v, size_t) { return fmt::format("{:.7g}", v); }
std::string show(const std::string& v, size_t limit) {
  std::string text = "\"";
  for (const char c : v.substr(0, limit)) {
    if (c == '\n')
      text += "\\n";
    else if (c == '"' || c == '\\')
      text += std::string("\\") + c;
    else if (static_cast<unsigned char>(c) < 0x20 || c == 0x7f)
      text += fmt::format("\\x{:02x}", static_cast<unsigned>(static_cast<unsigned char>(c)));
    else
      text += c;
  }
  // A cut must not leave the beginning of a UTF-8 character.
  if (v.size() > limit) {
    while (!text.empty() && (static_cast<unsigned char>(text.back()) & 0xc0) == 0x80) text.pop_back();
    if (static_cast<unsigned char>(text.back()) >= 0xc0) text.pop_back();
    text += "…";
  }
  return text + "\"";
}

}  // namespace

std::string to_string(const MetaValue& value, size_t limit) {
  const auto scalar_or_array = [&](const auto& v) -> std::string {
    if constexpr (requires { show(v, limit); }) {
      return show(v, limit);
    } else {
      std::string text = fmt::format("[{} × {}]", v.size(), name(value.type));
      for (size_t i = 0; i < v.size() && text.size() < limit; ++i) text += (i ? ", " : " ") + show(v[i], 20);
      return text;
    }
  };
  return std::visit(scalar_or_array, value.data);
}

ModelFile::ModelFile(ModelParts parts) : parts_(std::move(parts)) {
  for (size_t i = 0; i < parts_.metadata.size(); ++i) {
    const auto& entry = parts_.metadata[i];
    if (!keys_.emplace(entry.key, i).second) throw error(entry, "this key appears twice");
  }
  for (size_t i = 0; i < parts_.tensors.size(); ++i) {
    const auto& entry = parts_.tensors[i];
    if (!names_.emplace(entry.name, i).second) throw error(entry, "this tensor appears twice");
  }
  for (const auto& file : parts_.files) {
    storages_.push_back(Storage::view(file->bytes().data(), file->bytes().size(), file));
    if (file->is_mapped()) storages_.back()->give_back = give_back_pages;
  }
  check_tensors();
  check_model(*this);
}

void ModelFile::check_tensors() const {
  for (const auto& t : parts_.tensors) {
    const uint64_t size = parts_.files[static_cast<size_t>(t.file)]->bytes().size();
    if (t.offset > size || t.bytes > size - t.offset)
      throw error(
          t,
          fmt::format("its data (bytes {} to {}) lies past the end of the file, which has {} bytes; the file "
                      "is truncated or damaged, fetch it again",
                      t.offset, t.offset + t.bytes, size));
  }
}

FileError ModelFile::error(const MetaEntry& entry, const std::string& message) const {
  return {parts_.path, entry.key, message, entry.offset ? std::optional(entry.offset) : std::nullopt};
}

FileError ModelFile::error(const TensorEntry& entry, const std::string& message) const {
  return {parts_.files[static_cast<size_t>(entry.file)]->path(), "tensor '" + entry.name + "'", message,
          entry.entry ? std::optional(entry.entry) : std::nullopt};
}

const MetaEntry* ModelFile::find_entry(std::string_view key) const {
  const auto found = keys_.find(key);
  return found == keys_.end() ? nullptr : &parts_.metadata[found->second];
}

const MetaValue* ModelFile::find(std::string_view key) const {
  const MetaEntry* entry = find_entry(key);
  return entry ? &entry->value : nullptr;
}

namespace {

/// The value as T where it has that type or converts without loss.
template <class T>
std::optional<T> as(const MetaValue::Data& data) {
  if (const T* same = std::get_if<T>(&data)) return *same;
  if constexpr (std::is_same_v<T, int64_t>) {
    const auto* v = std::get_if<uint64_t>(&data);
    if (v && *v <= static_cast<uint64_t>(std::numeric_limits<int64_t>::max()))
      return static_cast<int64_t>(*v);
  }
  if constexpr (std::is_same_v<T, double>) {
    if (const auto* v = std::get_if<uint64_t>(&data)) return static_cast<double>(*v);
    if (const auto* v = std::get_if<int64_t>(&data)) return static_cast<double>(*v);
  }
  return std::nullopt;
}

std::string mismatch(const MetaValue& found, std::string_view expected) {
  return fmt::format("expected {}, found {} {}", expected, type_name(found), to_string(found));
}

}  // namespace

template <class T>
T ModelFile::get(std::string_view key, const T* fallback, std::string_view expected) const {
  const MetaEntry* entry = find_entry(key);
  if (!entry && fallback) return *fallback;
  if (!entry) throw FileError(path(), std::string(key), fmt::format("this key is missing ({})", expected));
  if (auto value = as<T>(entry->value.data)) return *value;
  throw error(*entry, mismatch(entry->value, expected));
}

bool ModelFile::get_bool(std::string_view key) const { return get<bool>(key, nullptr, "boolean"); }
bool ModelFile::get_bool(std::string_view key, bool fallback) const { return get(key, &fallback, "boolean"); }
int64_t ModelFile::get_int(std::string_view key) const { return get<int64_t>(key, nullptr, "an integer"); }
int64_t ModelFile::get_int(std::string_view key, int64_t fallback) const {
  return get(key, &fallback, "an integer");
}
double ModelFile::get_float(std::string_view key) const { return get<double>(key, nullptr, "a number"); }
double ModelFile::get_float(std::string_view key, double fallback) const {
  return get(key, &fallback, "a number");
}

const std::string& ModelFile::get_string(std::string_view key) const {
  const MetaEntry* entry = find_entry(key);
  if (!entry) throw FileError(path(), std::string(key), "this key is missing (string)");
  if (const auto* value = std::get_if<std::string>(&entry->value.data)) return *value;
  throw error(*entry, mismatch(entry->value, "string"));
}

std::string ModelFile::get_string(std::string_view key, std::string_view fallback) const {
  return has(key) ? get_string(key) : std::string(fallback);
}

const std::vector<std::string>& ModelFile::get_strings(std::string_view key) const {
  static const std::vector<std::string> kNone;
  const MetaEntry* entry = find_entry(key);
  if (!entry) return kNone;
  if (const auto* values = std::get_if<std::vector<std::string>>(&entry->value.data)) return *values;
  throw error(*entry, mismatch(entry->value, "array of string"));
}

template <class T>
std::vector<T> ModelFile::get_array(std::string_view key, std::string_view expected) const {
  const MetaEntry* entry = find_entry(key);
  if (!entry) return {};
  const auto convert = [&](const auto& v) -> std::optional<std::vector<T>> {
    using V = std::decay_t<decltype(v)>;
    if constexpr (std::is_same_v<V, std::vector<int64_t>> || std::is_same_v<V, std::vector<uint64_t>> ||
                  std::is_same_v<V, std::vector<double>>) {
      std::vector<T> out;
      out.reserve(v.size());
      for (const auto x : v) {
        const std::optional<T> value = as<T>(MetaValue::Data(x));
        if (!value) return std::nullopt;
        out.push_back(*value);
      }
      return out;
    } else {
      return std::nullopt;
    }
  };
  if (auto values = std::visit(convert, entry->value.data)) return *values;
  throw error(*entry, mismatch(entry->value, expected));
}

std::vector<int64_t> ModelFile::get_ints(std::string_view key) const {
  return get_array<int64_t>(key, "array of integers");
}
std::vector<double> ModelFile::get_floats(std::string_view key) const {
  return get_array<double>(key, "array of numbers");
}

const TensorEntry* ModelFile::find_tensor(std::string_view name) const {
  const auto found = names_.find(name);
  return found == names_.end() ? nullptr : &parts_.tensors[found->second];
}

Tensor ModelFile::tensor(std::string_view name) const {
  if (const TensorEntry* entry = find_tensor(name)) return tensor(*entry);
  std::vector<std::string> names;
  for (const auto& t : parts_.tensors) names.push_back(t.name);
  const std::string near = nearest_name(name, names);
  throw FileError(
      path(), "",
      fmt::format("there is no tensor '{}'{}", name,
                  near.empty() ? "; `tl inspect` lists those there are" : "; did you mean '" + near + "'?"));
}

Tensor ModelFile::tensor(const TensorEntry& entry) const {
  const auto& storage = storages_[static_cast<size_t>(entry.file)];
  // Scalars of blocks are 16 bits wide and ours, of plain types as wide as the element.
  const auto& type = info(entry.dtype);
  const auto alignment = static_cast<uintptr_t>(type.block_elements == 1 ? type.block_bytes : 2);
  if (reinterpret_cast<uintptr_t>(storage->data + entry.offset) % alignment == 0)
    return {entry.dtype, entry.shape, storage, static_cast<int64_t>(entry.offset)};
  Tensor copy(entry.dtype, entry.shape);
  const auto bytes = tensor_bytes(entry);
  std::copy(bytes.begin(), bytes.end(), copy.bytes());
  return copy;
}

std::span<const std::byte> ModelFile::tensor_bytes(const TensorEntry& entry) const {
  return parts_.files[static_cast<size_t>(entry.file)]->bytes().subspan(entry.offset, entry.bytes);
}

uint64_t ModelFile::file_bytes() const {
  uint64_t sum = 0;
  for (const auto& file : parts_.files) sum += file->bytes().size();
  return sum;
}

uint64_t ModelFile::tensor_bytes() const {
  uint64_t sum = 0;
  for (const auto& t : parts_.tensors) sum += t.bytes;
  return sum;
}

std::shared_ptr<const ModelFile> open_model_file(const std::string& path, bool use_mmap) {
  namespace fs = std::filesystem;
  std::error_code ignored;
  const bool folder_or_index = fs::is_directory(path, ignored) || path.ends_with(".json");
  if (folder_or_index || path.ends_with(".safetensors"))
    return std::make_shared<const ModelFile>(read_safetensors_model(path, use_mmap));
  return std::make_shared<const ModelFile>(read_gguf(MappedFile::open(path, use_mmap)));
}

}  // namespace tl
