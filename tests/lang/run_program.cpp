#include "lang/run_program.h"

#include <algorithm>
#include <filesystem>

#include "backend/backend.h"
#include "library/model_functions.h"
#include "runtime/session.h"

namespace tl::test {

std::unique_ptr<Session> reference_session() {
  SessionOptions options;
  options.n_threads = 1;
  return std::make_unique<Session>(reference_backend(), nullptr, options);
}

HostOptions host_options() {
  HostOptions options;
  options.backend = [](const std::string& device) -> const Backend& {
    if (device == "cpu") return cpu_backend();
    if (device == "reference") return reference_backend();
    throw Error("there is no device '" + device + "' here");
  };
  return options;
}

ProgramRun run_program(const std::string& path) {
  const auto session = reference_session();
  return run_captured(lang::Program::load(path, standard_library()), *session, host_options());
}

std::vector<std::string> programs_in(const std::string& folder) {
  std::vector<std::string> names;
  for (const auto& entry : std::filesystem::directory_iterator(folder))
    if (entry.path().extension() == ".tl") names.push_back(entry.path().stem().string());
  std::sort(names.begin(), names.end());
  return names;
}

}  // namespace tl::test
