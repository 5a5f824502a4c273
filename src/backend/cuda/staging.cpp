#include "backend/cuda/staging.h"

#include <algorithm>
#include <cstring>

#include "backend/cuda/device.h"

namespace tl::cuda {

Staging::Staging(cudaStream_t stream)
    : stream_(stream), pool_(std::min(kMostThreads, ThreadPool::physical_cores())) {
  for (Buffer& buffer : buffers_) {
    check(cudaMallocHost(&buffer.memory, kPiece), "pinned memory");
    check(cudaEventCreateWithFlags(&buffer.sent, cudaEventDisableTiming), "making an event");
  }
}

void Staging::upload(void* to, const void* from, size_t bytes) {
  constexpr int64_t kPage = 4096;
  for (size_t at = 0; at < bytes; at += kPiece) {
    const size_t piece = std::min(kPiece, bytes - at);
    const Buffer& buffer = buffers_[next_];
    next_ = (next_ + 1) % kBuffers;
    check(cudaEventSynchronize(buffer.sent), "copying to the device");
    const auto* source = static_cast<const std::byte*>(from) + at;
    pool_.parallel_for(static_cast<int64_t>(piece), kPage, [&](int64_t begin, int64_t end) {
      std::memcpy(static_cast<std::byte*>(buffer.memory) + begin, source + begin,
                  static_cast<size_t>(end - begin));
    });
    check(cudaMemcpyAsync(static_cast<std::byte*>(to) + at, buffer.memory, piece, cudaMemcpyHostToDevice,
                          stream_),
          "copying to the device");
    check(cudaEventRecord(buffer.sent, stream_), "copying to the device");
  }
}

}  // namespace tl::cuda
