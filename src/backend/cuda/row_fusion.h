// Joining the launches of a decoding step: norm, rounding, products and what follows them in one kernel.
#pragma once

#include "backend/cuda/launch.h"

namespace tl::cuda {

/// The same work in fewer launches, bit for bit: whatever memory holds after `list` it holds after the
/// result, but for values whose memory was handed out again within a joined launch.
LaunchList with_joined_rows(const LaunchList& list);

}  // namespace tl::cuda
