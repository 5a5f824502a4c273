// Fetching a model with a progress bar.
#pragma once

#include <string>

namespace tl::cli {

/// Fetches `what` (see pull_model()) into the model cache and returns its path.
std::string pull(const std::string& what);

}  // namespace tl::cli
