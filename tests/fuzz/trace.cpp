// Trace files of any bytes: refused with an error of ours, or read with all values readable.
#include <zlib.h>

#include <cstddef>
#include <cstdint>
#include <cstring>
#include <span>
#include <vector>

#include "base/error.h"
#include "inspect/trace_file.h"

/// Makes the checksums of the blocks right, so that the fuzzer gets past them.
static void repair(std::vector<uint8_t>& bytes) {
  for (size_t at = 16; at + 16 <= bytes.size();) {
    uint64_t size = 0;
    std::memcpy(&size, &bytes[at + 8], 8);
    if (size > bytes.size() - at - 16) return;
    const auto crc = static_cast<uint32_t>(crc32_z(0, bytes.data() + at + 16, size));
    std::memcpy(&bytes[at + 4], &crc, 4);
    at += 16 + (size + 15) / 16 * 16;
  }
}

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  [[maybe_unused]] static volatile unsigned sink;
  try {
    std::vector<uint8_t> bytes(data, data + size);
    repair(bytes);
    const auto trace =
        tl::inspect::read_trace(tl::MappedFile::of_bytes("fuzz.tlt", std::as_bytes(std::span(bytes))));
    unsigned sum = 0;
    for (const auto& record : trace.records) {
      if (!record.value) continue;
      const int64_t n = tl::bytes_of(record.dtype, record.shape.elements());
      for (int64_t i = 0; i < n; ++i) sum += static_cast<unsigned>(record.value.bytes()[i]);
    }
    sink = sum;
  } catch (const tl::Error&) {
  }
  return 0;
}
