// Runs .tl files as tests do: output is captured, tensors are computed by the reference backend.
#pragma once

#include <memory>
#include <string>
#include <vector>

#include "library/testing.h"
#include "runtime/session.h"

namespace tl::test {

std::unique_ptr<Session> reference_session();
/// With the devices that every machine has.
HostOptions host_options();

/// Loads a file and runs its main. Paths in messages are as `path` is written.
ProgramRun run_program(const std::string& path);

/// The .tl files of a folder, sorted, without their extension.
std::vector<std::string> programs_in(const std::string& folder);

}  // namespace tl::test
