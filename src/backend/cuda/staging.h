// Large memory that CUDA does not know, such as a mapped file, on its way to the GPU: threads copy it piece
// by piece to pinned buffers while the pieces before are under way. The driver would do so with one thread.
#pragma once

#include <cuda_runtime.h>

#include <cstddef>

#include "base/thread_pool.h"

namespace tl::cuda {

/// Uploads memory that may be a mapped file: in the order of the device's stream, `from` being read at once.
void upload_weights(void* to, const void* from, size_t bytes);

/// Lives until the process ends, as the device does.
class Staging {
 public:
  static constexpr size_t kWorthwhile = size_t{1} << 20;  ///< bytes; below, the driver is as fast

  /// `stream` is where copies are asked for.
  explicit Staging(cudaStream_t stream);
  /// Returns when `from` has been read. Throws Error if CUDA fails.
  void upload(void* to, const void* from, size_t bytes);

 private:
  static constexpr size_t kPiece = size_t{8} << 20;
  static constexpr int kBuffers = 3, kMostThreads = 8;
  struct Buffer {
    void* memory = nullptr;
    cudaEvent_t sent = nullptr;  ///< when it may be filled again
  };

  cudaStream_t stream_;
  ThreadPool pool_;
  Buffer buffers_[kBuffers];
  int next_ = 0;
};

}  // namespace tl::cuda
