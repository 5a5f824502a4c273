// Memory of the cpu backend in large pages: fewer misses of the address cache, and fewer page faults, each of
// which costs about as much as writing the page.
#pragma once

#include <memory>

#include "tensor/tensor.h"

namespace tl::cpu {

/// New memory that begins and ends with a large page. What is not touched of it takes none. `purpose` is for
/// the error: "weights".
std::shared_ptr<Storage> large_pages(size_t bytes, const char* purpose);

/// Memory for a result, uninitialised. What results from kKeptResult bytes on give back is kept for the next
/// ones, kKept bytes at most; those from kLargeResult on are in large pages.
std::shared_ptr<Storage> result_memory(size_t bytes);
constexpr size_t kKeptResult = size_t{256} << 10, kLargeResult = size_t{4} << 20, kKept = size_t{64} << 20;

}  // namespace tl::cpu
