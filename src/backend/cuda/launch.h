// Launching kernels: they are noted down, and started together when somebody waits for a result. A run of
// launches that comes again (each token's does) is replayed as one CUDA graph.
#pragma once

#include <cuda_runtime.h>

#include <cstddef>
#include <cstdint>
#include <cstring>
#include <memory>
#include <vector>

namespace tl::cuda {

/// A number that differs from step to step while everything else of a launch stays: kernels read it from
/// memory.
using Number = const int64_t*;

/// A small value that takes eight bytes, so that structures of it and pointers have no gaps: launches are
/// compared byte by byte.
template <class T>
class Wide {
 public:
  Wide() = default;
  Wide(T value) : value_(static_cast<int64_t>(value)) {}  // NOLINT: stands for the value
  __host__ __device__ operator T() const { return static_cast<T>(value_); }

 private:
  int64_t value_ = 0;
};

/// The launches that were asked for and not started yet.
class Launches {
 public:
  explicit Launches(cudaStream_t stream);
  ~Launches();

  /// Notes a launch of kernel(args...) down.
  template <class... Params, class... Args>
  void add(void (*kernel)(Params...), dim3 grid, unsigned threads, size_t shared, Args&&... args) {
    begin(reinterpret_cast<const void*>(kernel), grid, threads, shared);
    (argument(static_cast<Params>(args)), ...);
    if (launches_.size() >= kMostLaunches || numbers_.size() >= kMostNumbers - 64) start();
  }
  /// A number for the next launch, and for no other; nothing may be copied between the two.
  Number number(int64_t value);
  /// Starts what was noted down.
  void start();

 private:
  struct Launch {
    const void* kernel;
    dim3 grid;
    unsigned threads;
    size_t shared, first_argument, end_argument;
  };
  struct Replay;
  static constexpr size_t kMostLaunches = 4096, kMostNumbers = 4096;

  void begin(const void* kernel, dim3 grid, unsigned threads, size_t shared);
  template <class T>
  void argument(const T& value) {
    constexpr size_t kAlign = alignof(std::max_align_t);
    const size_t at = (bytes_.size() + kAlign - 1) / kAlign * kAlign;
    bytes_.resize(at + sizeof(T));  // the gaps are zeros
    std::memcpy(bytes_.data() + at, &value, sizeof(T));
    places_.push_back(at);
    launches_.back().end_argument = places_.size();
  }
  void start_one_by_one();
  void upload_numbers();
  bool same_as(const Replay& replay) const;

  cudaStream_t stream_;
  std::vector<Launch> launches_;
  std::vector<size_t> places_;  ///< of arguments in bytes_
  std::vector<unsigned char> bytes_;
  std::vector<int64_t> numbers_;
  int64_t* device_numbers_ = nullptr;
  int64_t* pinned_numbers_ = nullptr;
  cudaEvent_t numbers_read_ = nullptr;
  std::vector<std::unique_ptr<Replay>> replays_;  ///< the last used first
};

}  // namespace tl::cuda
