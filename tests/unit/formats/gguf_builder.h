// GGUF files made byte by byte, so that each can be wrong in one place.
#pragma once

#include <cstdint>
#include <cstring>
#include <functional>
#include <memory>
#include <span>
#include <string>
#include <vector>

#include "formats/gguf.h"

namespace tl::test {

/// Appends little-endian values.
class ByteBuilder {
 public:
  template <class T>
  ByteBuilder& put(T value) {
    const auto* p = reinterpret_cast<const std::byte*>(&value);
    bytes_.insert(bytes_.end(), p, p + sizeof value);
    return *this;
  }
  ByteBuilder& raw(const std::string& text) {
    const auto* p = reinterpret_cast<const std::byte*>(text.data());
    bytes_.insert(bytes_.end(), p, p + text.size());
    return *this;
  }
  ByteBuilder& string(const std::string& text) { return put(static_cast<uint64_t>(text.size())).raw(text); }
  ByteBuilder& pad(size_t alignment) {
    bytes_.resize((bytes_.size() + alignment - 1) / alignment * alignment);
    return *this;
  }
  ByteBuilder& zeros(size_t n) {
    bytes_.resize(bytes_.size() + n);
    return *this;
  }
  ByteBuilder& header(uint64_t n_tensors, uint64_t n_metadata, uint32_t version = 3) {
    return raw("GGUF").put(version).put(n_tensors).put(n_metadata);
  }
  ByteBuilder& key(const std::string& name, MetaType type) {
    return string(name).put(static_cast<uint32_t>(type));
  }
  ByteBuilder& u32(const std::string& name, uint32_t value) { return key(name, MetaType::u32).put(value); }
  ByteBuilder& f32(const std::string& name, float value) { return key(name, MetaType::f32).put(value); }
  ByteBuilder& text(const std::string& name, const std::string& value) {
    return key(name, MetaType::string).string(value);
  }
  ByteBuilder& texts(const std::string& name, const std::vector<std::string>& values) {
    key(name, MetaType::array)
        .put(static_cast<uint32_t>(MetaType::string))
        .put(static_cast<uint64_t>(values.size()));
    for (const auto& value : values) string(value);
    return *this;
  }
  /// A tensor's table entry; `dims` innermost first, as in the file.
  ByteBuilder& tensor(const std::string& name, const std::vector<uint64_t>& dims, uint32_t type,
                      uint64_t offset) {
    string(name).put(static_cast<uint32_t>(dims.size()));
    for (const uint64_t d : dims) put(d);
    return put(type).put(offset);
  }
  size_t size() const { return bytes_.size(); }
  std::vector<std::byte>& bytes() { return bytes_; }

 private:
  std::vector<std::byte> bytes_;
};

inline std::shared_ptr<const ModelFile> open_bytes(std::span<const std::byte> bytes) {
  return std::make_shared<const ModelFile>(read_gguf(MappedFile::of_bytes("bad.gguf", bytes)));
}

/// The message of the FileError that `action` throws; "no error" if it throws none.
inline std::string message_of(const std::function<void()>& action) {
  try {
    action();
  } catch (const Error& e) {
    return e.what();
  }
  return "no error";
}

}  // namespace tl::test
