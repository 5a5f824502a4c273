#include "backend/cuda/device.h"

#include <algorithm>
#include <atomic>
#include <cmath>
#include <functional>

#include "backend/cuda/cuda_backend.h"
#include "backend/cuda/hopper.cuh"
#include "backend/cuda/staging.h"
#include "base/error.h"

namespace tl::cuda {

namespace {

Device* opened = nullptr;
std::atomic<uint64_t> events = 0;

/// Forgets what was computed from memory that changes now.
void forget(const void* memory, size_t bytes) {
  Remembered& last = remembered();
  const auto *a = static_cast<const std::byte*>(memory), *b = static_cast<const std::byte*>(last.from);
  if (last.result && a < b + last.bytes && b < a + bytes) last = {};
}

/// Sizes that memory is kept in: at most an eighth more than asked for.
size_t size_class(size_t bytes) {
  if (bytes <= 512) return 512;
  size_t step = 64;
  while (step * 16 < bytes) step *= 2;
  return (bytes + step - 1) / step * step;
}

__global__ void code_kernel([[maybe_unused]] int* code) {
#ifdef __CUDA_ARCH__
  code[0] = __CUDA_ARCH__ / 10;
#endif
#ifdef TL_WARPGROUPS
  code[1] = 1;
#else
  code[1] = 0;
#endif
}

std::string megabytes(size_t bytes) { return std::to_string((bytes + (1 << 20) - 1) >> 20) + " MiB"; }

/// A storage's copy on the device. What nobody writes to is kept piece by piece (a file's tensors),
/// everything else as a whole.
class DeviceMirror final : public Mirror {
 public:
  explicit DeviceMirror(size_t bytes) : bytes_(bytes) {}
  ~DeviceMirror() override {
    give_back();
    for (auto& [place, piece] : pieces_) Device::get().memory().give(piece, place.second);
  }

  void fetch(Storage& storage) override {
    const std::lock_guard lock(mutex_);
    if (!storage.elsewhere.load(std::memory_order_relaxed)) return;
    if (storage.data == nullptr) {
      std::byte* data = static_cast<std::byte*>(Device::get().pinned().take(bytes_));
      const size_t bytes = bytes_;
      storage.owner = std::shared_ptr<const void>(
          data, [bytes](const void* p) { Device::get().pinned().give(const_cast<void*>(p), bytes); });
      storage.data = data;
    }
    if (memory_ != nullptr && valid_) {
      Device::get().download(storage.data, memory_, bytes_);
      ++events;
    }
    valid_ = false;
    storage.elsewhere.store(false, std::memory_order_release);
  }

  /// The whole storage, with the host's content if that is newer.
  std::byte* whole(Storage& storage) {
    if (memory_ == nullptr) memory_ = Device::get().memory().take(bytes_);
    if (!storage.elsewhere && storage.data != nullptr && !valid_)
      Device::get().upload(memory_, storage.data, bytes_);
    valid_ = true;
    if (!storage.constant) storage.elsewhere.store(true, std::memory_order_release);
    return static_cast<std::byte*>(memory_);
  }

  /// The whole storage, whose content is of no interest.
  std::byte* overwritten(Storage& storage) {
    valid_ = true;
    return whole(storage);
  }

  /// A part of a storage that nobody writes to.
  const std::byte* piece(const Storage& storage, int64_t offset, size_t bytes) {
    const auto found = pieces_.find({offset, bytes});
    if (found != pieces_.end()) return static_cast<const std::byte*>(found->second);
    void* memory = Device::get().memory().take(bytes);
    upload_weights(memory, storage.data + offset, bytes);
    pieces_[{offset, bytes}] = memory;
    return static_cast<const std::byte*>(memory);
  }

  std::shared_ptr<Derived>& derived(const Tensor& t, DerivedKind kind) {
    std::vector<int64_t> key = {static_cast<int64_t>(kind), t.byte_offset()};
    key.insert(key.end(), t.shape().begin(), t.shape().end());
    key.insert(key.end(), t.strides().begin(), t.strides().end());
    return derived_[key];
  }

 private:
  void give_back() {
    if (memory_ != nullptr) Device::get().memory().give(memory_, bytes_);
    memory_ = nullptr;
  }

  std::mutex mutex_;
  size_t bytes_;
  void* memory_ = nullptr;
  bool valid_ = false;  ///< memory_ holds the newest content
  std::map<std::pair<int64_t, size_t>, void*> pieces_;
  std::map<std::vector<int64_t>, std::shared_ptr<Derived>> derived_;  ///< by kind, offset, shape, strides
};

DeviceMirror& mirror_of(Storage& storage) {
  if (!storage.mirror) storage.mirror = std::make_shared<DeviceMirror>(storage.bytes);
  return static_cast<DeviceMirror&>(*storage.mirror);
}

/// The bytes from a tensor's first element to its last (strides of constant tensors are not negative).
size_t extent(const Tensor& t) {
  if (t.elements() == 0) return 0;
  int64_t last = 0;
  for (int a = 0; a < t.rank(); ++a) last += (t.shape()[a] - 1) * t.strides()[a];
  const DTypeInfo& type = info(t.dtype());
  return static_cast<size_t>((last / type.block_elements + 1) * type.block_bytes);
}

bool strides_forward(const Tensor& t) {
  return std::all_of(t.strides().begin(), t.strides().end(), [](int64_t s) { return s >= 0; });
}

}  // namespace

void check(cudaError_t status, const char* what) {
  if (status == cudaSuccess) return;
  throw Error(std::string("the GPU failed: ") + what + ": " + cudaGetErrorString(status));
}

void* MemoryPool::take(size_t bytes) {
  const size_t size = size_class(bytes);
  const std::lock_guard lock(mutex_);
  if (kind_ == Kind::device) ++events;
  auto& free = free_[size];
  if (free.empty()) return allocate(size);
  std::pop_heap(free.begin(), free.end(), std::greater<>());
  void* memory = free.back();
  free.pop_back();
  return memory;
}

void MemoryPool::give(void* memory, size_t bytes) {
  const std::lock_guard lock(mutex_);
  auto& free = free_[size_class(bytes)];
  free.push_back(memory);
  std::push_heap(free.begin(), free.end(), std::greater<>());
}

void* MemoryPool::allocate(size_t bytes) {
  const auto attempt = [&](void** memory) {
    return kind_ == Kind::device ? cudaMalloc(memory, bytes) : cudaMallocHost(memory, bytes);
  };
  void* memory = nullptr;
  if (attempt(&memory) == cudaSuccess) return memory;
  (void)cudaGetLastError();
  release_all();
  if (attempt(&memory) == cudaSuccess) return memory;
  (void)cudaGetLastError();
  if (kind_ == Kind::pinned) throw Error("not enough memory: " + megabytes(bytes) + " for one tensor");
  size_t free_bytes = 0, total = 0;
  cudaMemGetInfo(&free_bytes, &total);
  throw Error("the GPU's memory is full: " + megabytes(bytes) + " are needed, and " + megabytes(free_bytes) +
              " of " + megabytes(total) + " are free; take a smaller model, or ask for less context with -c");
}

void MemoryPool::release_all() {
  Device::get().wait();
  for (auto& [size, blocks] : free_) {
    for (void* block : blocks) kind_ == Kind::device ? cudaFree(block) : cudaFreeHost(block);
    blocks.clear();
  }
}

Device& Device::open(int number) {
  if (opened == nullptr) opened = new Device(number);
  if (opened->number_ != number)
    throw Error("this program works on GPU " + std::to_string(opened->number_) + " already; one at a time");
  return *opened;
}

Device& Device::get() { return *opened; }

Device::Device(int number) : number_(number) {
  const std::string asked = "--device cuda:" + std::to_string(number);
  int count = 0;
  const cudaError_t status = cudaGetDeviceCount(&count);
  if (status != cudaSuccess || count == 0)
    throw Error(asked + ": this machine has no GPU that CUDA can use (" +
                (status != cudaSuccess ? cudaGetErrorString(status) : "none found") + ")");
  if (number >= count)
    throw Error(asked + ": this machine has " + std::to_string(count) +
                (count == 1 ? " GPU, number 0" : " GPUs, numbers 0 to " + std::to_string(count - 1)));
  check(cudaSetDevice(number), "choosing the device");
  check(cudaGetDeviceProperties(&properties_, number), "asking for its properties");
  check(cudaStreamCreateWithFlags(&stream_, cudaStreamNonBlocking), "making a stream");
  launches_ = std::make_unique<Launches>(stream_);
  check(cudaMalloc(&verdict_, sizeof *verdict_), "memory");
  int code[2] = {};
  static_assert(sizeof code == sizeof *verdict_);
  code_kernel<<<1, 1, 0, stream_>>>(reinterpret_cast<int*>(verdict_));
  check(cudaGetLastError(), "starting a kernel; was the program built for this GPU?");
  download(code, verdict_, sizeof code);
  code_ = {code[0], code[1] != 0};
}

Remembered& remembered() {
  static auto* last = new Remembered;  // outlives whatever ends with the process
  return *last;
}

uint64_t memory_events() { return events; }

double copy_bandwidth() {
  constexpr size_t kBytes = size_t{256} << 20;
  constexpr int kRounds = 10;
  Device::get().wait();
  const cudaStream_t stream = Device::get().stream();
  void *from = nullptr, *to = nullptr;
  if (cudaMalloc(&from, kBytes) != cudaSuccess || cudaMalloc(&to, kBytes) != cudaSuccess) {
    (void)cudaGetLastError();
    cudaFree(from);
    return 0;
  }
  cudaEvent_t begin = nullptr, end = nullptr;
  check(cudaEventCreate(&begin), "making an event");
  check(cudaEventCreate(&end), "making an event");
  float least = INFINITY;  // milliseconds
  for (int i = 0; i < kRounds; ++i) {
    check(cudaEventRecord(begin, stream), "timing a copy");
    check(cudaMemcpyAsync(to, from, kBytes, cudaMemcpyDeviceToDevice, stream), "copying on the device");
    check(cudaEventRecord(end, stream), "timing a copy");
    check(cudaEventSynchronize(end), "timing a copy");
    float time = 0;
    check(cudaEventElapsedTime(&time, begin, end), "timing a copy");
    least = std::min(least, time);
  }
  cudaEventDestroy(begin), cudaEventDestroy(end);
  cudaFree(from), cudaFree(to);
  return 2.0 * kBytes / (least * 1e-3);
}

void Device::upload(void* to, const void* from, size_t bytes) {
  ++events;
  forget(to, bytes);
  launches_->start();
  check(cudaMemcpyAsync(to, from, bytes, cudaMemcpyHostToDevice, stream_), "copying to the device");
}

void upload_weights(void* to, const void* from, size_t bytes) {
  if (bytes < Staging::kWorthwhile) return Device::get().upload(to, from, bytes);
  static auto* staging = new Staging(Device::get().stream());  // as long as the device
  ++events;
  forget(to, bytes);
  Device::get().launches().start();
  staging->upload(to, from, bytes);
}

void Device::download(void* to, const void* from, size_t bytes) {
  launches_->start();
  check(cudaMemcpyAsync(to, from, bytes, cudaMemcpyDeviceToHost, stream_), "copying from the device");
  wait();
}

void Device::wait() { launches_->wait(); }

unsigned long long* Device::verdict() {
  launches_->start();
  check(cudaMemsetAsync(verdict_, 0xff, sizeof *verdict_, stream_), "setting memory");
  return verdict_;
}

unsigned long long Device::read_verdict() {
  unsigned long long found = kNothing;
  download(&found, verdict_, sizeof found);
  return found;
}

std::shared_ptr<Storage> allocate(size_t bytes) {
  auto storage = std::make_shared<Storage>();
  storage->bytes = std::max<size_t>(bytes, 1);
  storage->mirror = std::make_shared<DeviceMirror>(storage->bytes);
  storage->elsewhere = true;
  return storage;
}

const std::byte* read_bytes(const Tensor& t) {
  Storage& storage = *t.storage();
  DeviceMirror& mirror = mirror_of(storage);
  if (!storage.constant) return mirror.whole(storage) + t.byte_offset();
  TL_CHECK(strides_forward(t), "a constant tensor read backwards");
  return mirror.piece(storage, t.byte_offset(), extent(t));
}

std::byte* write_bytes(const Tensor& t) {
  Storage& storage = *t.storage();
  TL_CHECK(!storage.constant, "a kernel writes to constant memory");
  std::byte* memory = mirror_of(storage).whole(storage);
  forget(memory, storage.bytes);
  return memory + t.byte_offset();
}

std::byte* overwrite_bytes(const Tensor& t) {
  Storage& storage = *t.storage();
  const bool all = t.is_contiguous() && t.byte_offset() == 0 &&
                   static_cast<size_t>(bytes_of(t.dtype(), t.elements())) == storage.bytes;
  if (!all) return write_bytes(t);
  std::byte* memory = mirror_of(storage).overwritten(storage);
  forget(memory, storage.bytes);
  return memory;
}

std::shared_ptr<Derived>* derived(const Tensor& t, DerivedKind kind) {
  Storage& storage = *t.storage();
  return storage.constant ? &mirror_of(storage).derived(t, kind) : nullptr;
}

}  // namespace tl::cuda
