// Records of a run as a table, for `tl trace` and `:trace`.
#pragma once

#include <vector>

#include "inspect/recording.h"

namespace tl::cli {

/// One line a record: name, operation, shape and statistics.
void print_records(const std::vector<const inspect::Record*>& records);

}  // namespace tl::cli
