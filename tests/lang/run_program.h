// Runs a .tl file as tests do: output is captured, tensors are computed by the reference backend.
#pragma once

#include <string>
#include <vector>

namespace tl::test {

struct ProgramRun {
  std::string output;  ///< what it printed
  std::string error;   ///< diagnostics of the checker, or the failure that ended it; empty if all went well
};

/// Loads and runs main (with `args`) and the tests of a file. Paths in messages are as `path` is written.
ProgramRun run_program(const std::string& path, const std::vector<std::string>& args = {});

/// The .tl files of a folder, sorted, without their extension.
std::vector<std::string> programs_in(const std::string& folder);

}  // namespace tl::test
