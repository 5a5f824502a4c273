// The GPU in use: its stream and memory, and how tensors get there and back.
//
// Everything runs on one stream, in the order it was asked for; kernels start when somebody waits for what
// they compute, or when data is copied. Memory that is freed can therefore be handed out again at once. A
// tensor's bytes on the host come back when somebody asks for them (Tensor::bytes()).
#pragma once

#include <cuda_runtime.h>

#include <cstddef>
#include <cstdint>
#include <map>
#include <memory>
#include <mutex>
#include <string>
#include <vector>

#include "backend/cuda/launch.h"
#include "tensor/tensor.h"

namespace tl::cuda {

/// Throws Error if a call of the CUDA runtime failed.
void check(cudaError_t status, const char* what);

/// Memory that is kept for the next taker when it is given back. The lowest address goes first, so that a
/// step that takes and gives what the one before did gets the same addresses.
class MemoryPool {
 public:
  enum class Kind : uint8_t { device, pinned };
  explicit MemoryPool(Kind kind) : kind_(kind) {}
  /// At least `bytes` bytes. Throws Error with the bytes needed and free.
  void* take(size_t bytes);
  void give(void* memory, size_t bytes);

 private:
  void* allocate(size_t bytes);
  void release_all();
  Kind kind_;
  std::mutex mutex_;
  std::map<size_t, std::vector<void*>> free_;
};

/// The GPU that the program works on. Lives until the process ends.
class Device {
 public:
  /// Chooses GPU `number` at the first call; another number later is an Error.
  static Device& open(int number);
  static Device& get();

  cudaStream_t stream() const { return stream_; }
  Launches& launches() { return *launches_; }
  const cudaDeviceProp& properties() const { return properties_; }
  /// What the code that runs here was made for: a GPU may run that for an older one.
  struct Code {
    int version = 0;          ///< compute capability, times 10
    bool warpgroups = false;  ///< has the instructions in hopper.cuh
  };
  const Code& code() const { return code_; }
  MemoryPool& memory() { return memory_; }
  MemoryPool& pinned() { return pinned_; }

  void upload(void* to, const void* from, size_t bytes);
  /// Waits until the bytes are there.
  void download(void* to, const void* from, size_t bytes);
  /// Waits for everything that was asked for.
  void wait();

  /// Where kernels report what they refuse: the least number that any of them reports, kNothing if none does.
  static constexpr unsigned long long kNothing = ~0ull;
  unsigned long long* verdict();
  /// Waits for the kernels that got verdict() last, and gives what they reported.
  unsigned long long read_verdict();

 private:
  explicit Device(int number);
  int number_;
  cudaStream_t stream_ = nullptr;
  std::unique_ptr<Launches> launches_;
  cudaDeviceProp properties_{};
  Code code_;
  MemoryPool memory_{MemoryPool::Kind::device}, pinned_{MemoryPool::Kind::pinned};
  unsigned long long* verdict_ = nullptr;
};

/// Bytes a second that a copy of 256 MiB on the device reads and writes, together, the best of several; 0
/// where there is no room for it.
double copy_bandwidth();

/// Counts what happens to device memory beside launches: it is taken, or copied to or from the host for a
/// tensor.
uint64_t memory_events();

/// Something computed from memory, kept until that is written to.
struct Remembered {
  const void* from = nullptr;
  size_t bytes = 0;
  std::vector<int64_t> how = {};
  std::shared_ptr<void> result = {};
};
/// The last of it.
Remembered& remembered();

/// Device memory for the length of a scope.
class Scratch {
 public:
  explicit Scratch(size_t bytes) : bytes_(bytes), memory_(Device::get().memory().take(bytes)) {}
  ~Scratch() { Device::get().memory().give(memory_, bytes_); }
  Scratch(const Scratch&) = delete;
  Scratch& operator=(const Scratch&) = delete;
  template <class T>
  T* as() const {
    return static_cast<T*>(memory_);
  }

 private:
  size_t bytes_;
  void* memory_;
};

/// Uploads a list of numbers for the kernels that are launched next.
template <class T>
class Uploaded {
 public:
  explicit Uploaded(const std::vector<T>& values) : memory_(std::max<size_t>(1, values.size()) * sizeof(T)) {
    if (!values.empty()) Device::get().upload(memory_.as<T>(), values.data(), values.size() * sizeof(T));
  }
  const T* data() const { return memory_.as<T>(); }

 private:
  Scratch memory_;
};

/// Storage whose content is born on the device.
std::shared_ptr<Storage> allocate(size_t bytes);

/// The address of a tensor's first element on the device, for reading: uploads it if it is not there.
const std::byte* read_bytes(const Tensor& t);
/// The same for writing.
std::byte* write_bytes(const Tensor& t);
/// The same for writing all of a tensor: where that is all of its storage, what the host has is of no
/// interest.
std::byte* overwrite_bytes(const Tensor& t);
template <class T>
const T* read(const Tensor& t) {
  return reinterpret_cast<const T*>(read_bytes(t));
}
template <class T>
T* write(const Tensor& t) {
  return reinterpret_cast<T*>(write_bytes(t));
}

/// Whether the host has a tensor's newest content, so that looking at it costs nothing.
inline bool is_on_host(const Tensor& t) { return !t.storage()->elsewhere.load(std::memory_order_acquire); }

/// What a kernel keeps about a constant tensor, made at the first use: weights in the kernels' own layout,
/// and what is known of their numbers.
class Derived {
 public:
  virtual ~Derived() = default;
};
enum class DerivedKind : uint8_t { planes, exponent };
/// The place for it, or null if the tensor's content may change. Kept by the storage as long as it lives.
std::shared_ptr<Derived>* derived(const Tensor& t, DerivedKind kind);

}  // namespace tl::cuda
