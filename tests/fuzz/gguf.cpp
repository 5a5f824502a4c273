// GGUF files of any bytes: refused with an error of ours, or opened with all tensors readable.
#include <cstddef>
#include <cstdint>
#include <span>

#include "base/error.h"
#include "formats/gguf.h"

/// Touches every byte of every tensor, so that a view past the mapping is seen by AddressSanitizer.
static unsigned touch(const tl::ModelFile& model) {
  unsigned sum = 0;
  for (const auto& entry : model.tensors()) {
    for (const std::byte b : model.tensor_bytes(entry)) sum += static_cast<unsigned>(b);
    sum += static_cast<unsigned>(model.tensor(entry).rank());
  }
  for (const auto& entry : model.metadata()) sum += static_cast<unsigned>(to_string(entry.value).size());
  return sum;
}

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  [[maybe_unused]] static volatile unsigned sink;
  try {
    const auto bytes = std::as_bytes(std::span(data, size));
    const tl::ModelFile model(tl::read_gguf(tl::MappedFile::of_bytes("fuzz.gguf", bytes)));
    sink = touch(model);
  } catch (const tl::Error&) {
  }
  return 0;
}
