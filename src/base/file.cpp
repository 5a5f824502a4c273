#include "base/file.h"

#include <fcntl.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>
#include <array>
#include <atomic>
#include <cerrno>
#include <cstdlib>
#include <cstring>
#include <filesystem>

#include "base/error.h"

namespace tl {

namespace {

[[noreturn]] void fail(const std::string& path, const char* what) {
  throw Error(path + ": cannot " + what + ": " + std::strerror(errno));
}

/// Closes a descriptor at the end of a scope.
struct Descriptor {
  int fd;
  ~Descriptor() {
    if (fd >= 0) ::close(fd);
  }
};

void read_all(int fd, std::byte* to, size_t size, const std::string& path) {
  while (size > 0) {
    const ssize_t got = ::read(fd, to, size);
    if (got < 0 && errno == EINTR) continue;
    if (got < 0) fail(path, "read");
    if (got == 0) throw Error(path + ": cannot read: the file became shorter while it was read");
    to += got;
    size -= static_cast<size_t>(got);
  }
}

}  // namespace

std::shared_ptr<const MappedFile> MappedFile::open(const std::string& path, bool use_mmap) {
  const Descriptor file{::open(path.c_str(), O_RDONLY | O_CLOEXEC | O_NONBLOCK)};  // a pipe must not wait
  if (file.fd < 0) fail(path, "open");
  struct stat info {};
  if (::fstat(file.fd, &info) != 0) fail(path, "stat");
  if (S_ISDIR(info.st_mode)) throw Error(path + ": cannot open: it is a directory");
  if (!S_ISREG(info.st_mode))
    throw Error(path + ": cannot open: it is a pipe or a device, and only a file can be mapped");
  std::shared_ptr<MappedFile> result(new MappedFile);
  result->path_ = path;
  result->size_ = static_cast<size_t>(info.st_size);
  if (result->size_ == 0) return result;
  if (use_mmap) {
    void* at = ::mmap(nullptr, result->size_, PROT_READ, MAP_PRIVATE, file.fd, 0);
    if (at == MAP_FAILED) fail(path, "map");
    result->data_ = static_cast<const std::byte*>(at);
    result->mapped_ = true;
  } else {
    auto* memory = static_cast<std::byte*>(std::aligned_alloc(64, (result->size_ + 63) / 64 * 64));
    if (memory == nullptr) throw Error(path + ": not enough memory to read it (--no-mmap)");
    result->data_ = memory;
    read_all(file.fd, memory, result->size_, path);
  }
  return result;
}

std::shared_ptr<const MappedFile> MappedFile::of_bytes(const std::string& path,
                                                       std::span<const std::byte> bytes) {
  std::shared_ptr<MappedFile> result(new MappedFile);
  result->path_ = path;
  result->size_ = bytes.size();
  if (bytes.empty()) return result;
  auto* memory = static_cast<std::byte*>(std::aligned_alloc(64, (bytes.size() + 63) / 64 * 64));
  if (memory == nullptr) throw Error(path + ": not enough memory for its content");
  std::memcpy(memory, bytes.data(), bytes.size());
  result->data_ = memory;
  return result;
}

MappedFile::~MappedFile() {
  if (data_ == nullptr) return;
  auto* memory = const_cast<std::byte*>(data_);
  if (mapped_)
    ::munmap(memory, size_);
  else
    std::free(memory);
}

void give_back_pages(const std::byte* data, size_t bytes) {
  const auto page = static_cast<uintptr_t>(::sysconf(_SC_PAGESIZE));
  const auto begin = (reinterpret_cast<uintptr_t>(data) + page - 1) / page * page;
  const auto end = (reinterpret_cast<uintptr_t>(data) + bytes) / page * page;
  if (begin < end) ::madvise(reinterpret_cast<void*>(begin), end - begin, MADV_DONTNEED);
}

std::string read_file(const std::string& path) {
  std::FILE* file = std::fopen(path.c_str(), "rb");
  if (file == nullptr) fail(path, "open");
  std::string text;
  char chunk[1 << 16];
  size_t got = 0;
  while ((got = std::fread(chunk, 1, sizeof chunk, file)) > 0) text.append(chunk, got);
  const bool failed = std::ferror(file) != 0;
  const int reason = errno;
  std::fclose(file);
  errno = reason;
  if (failed) fail(path, "read");
  return text;
}

namespace {

/// The partial files there are, for signal handlers. A program that has more of them open at once than fit
/// here leaves the others behind when a signal ends it.
std::array<std::atomic<const char*>, 16> partial_files{};
static_assert(std::atomic<const char*>::is_always_lock_free);

}  // namespace

void remove_partial_files() noexcept {
  for (const auto& slot : partial_files)
    if (const char* path = slot.load()) ::unlink(path);
}

AtomicFile::AtomicFile(std::string path) : path_(std::move(path)), target_(path_) {
  struct stat info {};
  const bool exists = ::stat(path_.c_str(), &info) == 0;
  if (exists && S_ISDIR(info.st_mode)) throw Error(path_ + ": cannot create: it is a directory");
  if (exists && !S_ISREG(info.st_mode)) {
    file_ = std::fopen(path_.c_str(), "wb");
  } else {
    std::error_code ignored;
    if (exists) target_ = std::filesystem::canonical(path_, ignored).string();  // through a symbolic link
    if (target_.empty()) target_ = path_;
    partial_ = target_ + ".part-" + std::to_string(::getpid());
    file_ = std::fopen(partial_.c_str(), "wb");
  }
  if (file_ == nullptr) fail(path_, "create");
  if (partial_.empty()) return;
  for (auto& slot : partial_files) {
    const char* empty = nullptr;
    if (slot.compare_exchange_strong(empty, partial_.c_str())) break;
  }
}

void AtomicFile::forget_partial() noexcept {
  for (auto& slot : partial_files) {
    const char* mine = partial_.c_str();
    if (slot.compare_exchange_strong(mine, nullptr)) break;
  }
}

AtomicFile::~AtomicFile() {
  if (file_ == nullptr) return;
  std::fclose(file_);
  if (partial_.empty()) return;
  ::unlink(partial_.c_str());
  forget_partial();
}

void AtomicFile::write(const void* data, size_t size) {
  if (std::fwrite(data, 1, size, file_) != size) fail(path_, "write");
  size_ += size;
}

void AtomicFile::commit() {
  if (std::fflush(file_) != 0) fail(path_, "write");
  if (!partial_.empty() && ::fsync(::fileno(file_)) != 0) fail(path_, "write");
  std::fclose(file_);
  file_ = nullptr;
  if (partial_.empty()) return;
  const bool renamed = std::rename(partial_.c_str(), target_.c_str()) == 0;
  const int reason = errno;
  if (!renamed) ::unlink(partial_.c_str());
  forget_partial();
  errno = reason;
  if (!renamed) fail(path_, "rename the finished file to");
}

}  // namespace tl
