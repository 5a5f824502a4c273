// What `tl --version` says.
#pragma once

#include <string>

namespace tl::cli {

/// Version, commit, compiler, instruction sets of this machine, backends: one line each.
std::string version_text();

}  // namespace tl::cli
