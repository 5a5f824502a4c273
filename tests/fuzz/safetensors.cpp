// safetensors files of any bytes: refused with an error of ours, or opened with all tensors readable.
#include <cstddef>
#include <cstdint>
#include <cstring>
#include <span>
#include <vector>

#include "base/error.h"
#include "formats/safetensors.h"

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  [[maybe_unused]] static volatile unsigned sink;
  // The header's length is put before the input where it has none, since the fuzzer would rarely hit a right
  // one.
  std::vector<uint8_t> file(data, data + size);
  if (size > 0 && data[0] == '{') {
    const void* end = std::memchr(data, '\0', size);
    const uint64_t length = end ? static_cast<uint64_t>(static_cast<const uint8_t*>(end) - data) : size;
    const auto* p = reinterpret_cast<const uint8_t*>(&length);
    file.insert(file.begin(), p, p + sizeof length);
  }
  try {
    const tl::ModelFile model(
        tl::read_safetensors(tl::MappedFile::of_bytes("fuzz", std::as_bytes(std::span(file)))));
    unsigned sum = 0;
    for (const auto& entry : model.tensors()) {
      for (const std::byte b : model.tensor_bytes(entry)) sum += static_cast<unsigned>(b);
      sum += static_cast<unsigned>(model.tensor(entry).rank());
      sum += static_cast<unsigned>(tl::gguf_tensor_name(entry.name).size());
    }
    sink = sum;
  } catch (const tl::Error&) {
  }
  return 0;
}
