// The backends a test program runs on: --backend NAME or TL_BACKEND; by default all.
#pragma once

#include <vector>

#include "backend/backend.h"

namespace tl::test {

const std::vector<const Backend*>& backends();
/// Threads 1, 2 and 4.
std::vector<ThreadPool*> pools();

}  // namespace tl::test
