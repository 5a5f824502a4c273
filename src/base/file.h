// Files: read-only mappings, whole-file reads, and output that appears only when it is whole.
#pragma once

#include <cstddef>
#include <cstdint>
#include <cstdio>
#include <memory>
#include <span>
#include <string>

namespace tl {

/// A read-only memory mapping of a whole file (or, where `use_mmap` is false, its content read into memory).
class MappedFile {
 public:
  /// Maps `path`. Throws Error naming the path and the system's reason.
  static std::shared_ptr<const MappedFile> open(const std::string& path, bool use_mmap = true);
  /// A copy of `bytes` in memory under the name `path`, for content that lies in no file.
  static std::shared_ptr<const MappedFile> of_bytes(const std::string& path,
                                                    std::span<const std::byte> bytes);
  ~MappedFile();
  MappedFile(const MappedFile&) = delete;
  MappedFile& operator=(const MappedFile&) = delete;
  std::span<const std::byte> bytes() const { return {data_, size_}; }
  const std::string& path() const { return path_; }
  /// Whether the bytes lie in a mapping, whose pages can be given back and read again.
  bool is_mapped() const { return mapped_; }

 private:
  MappedFile() = default;
  std::string path_;
  const std::byte* data_ = nullptr;
  size_t size_ = 0;
  bool mapped_ = false;
};

/// Tells the system that the whole pages within these bytes of a mapped file need not stay in memory.
void give_back_pages(const std::byte* data, size_t bytes);

/// The content of a text file. Throws Error naming the path and the system's reason.
std::string read_file(const std::string& path);

/// Removes the partial files of every AtomicFile that is open; for handlers of signals that end the program
/// (async-signal-safe).
void remove_partial_files() noexcept;

/// Output written beside its target ("PATH.part-PID") and renamed onto it by commit(). Without commit (an
/// exception, Ctrl-C) the partial file is removed and an existing target is untouched. A symbolic link stays
/// one: what it points to is replaced. A pipe or a device (/dev/null, /dev/stdout) is written to directly.
/// Signals that end the program leave no partial file either, where their handler calls
/// remove_partial_files().
class AtomicFile {
 public:
  explicit AtomicFile(std::string path);
  ~AtomicFile();
  AtomicFile(const AtomicFile&) = delete;
  AtomicFile& operator=(const AtomicFile&) = delete;
  void write(const void* data, size_t size);
  void write(const std::string& text) { write(text.data(), text.size()); }
  /// Bytes written so far.
  uint64_t size() const { return size_; }
  void commit();

 private:
  void forget_partial() noexcept;

  std::string path_, target_, partial_;  // partial_: "" where the target is written directly
  std::FILE* file_ = nullptr;
  uint64_t size_ = 0;
};

}  // namespace tl
