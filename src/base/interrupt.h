// Ctrl-C: a flag that the signal handler sets and every long loop looks at.
#pragma once

#include <atomic>

#include "base/error.h"

namespace tl {

/// Set by the handler of SIGINT. Whoever catches Interrupted and goes on clears it.
inline std::atomic<bool> interrupt_requested{false};

/// Throws Interrupted if the user asked to stop. Cheap; called once per step of long loops.
inline void check_interrupt() {
  if (interrupt_requested.load(std::memory_order_relaxed)) throw Interrupted();
}

}  // namespace tl
