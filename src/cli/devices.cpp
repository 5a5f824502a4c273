// tl devices, and the one place that knows every backend.
#include "cli/devices.h"

#include <charconv>
#include <memory>

#include <fmt/format.h>

#include <CLI/CLI.hpp>
#include <nlohmann/json.hpp>

#include "backend/cuda/cuda_backend.h"
#include "cli/commands.h"
#include "cli/json.h"
#include "cli/output.h"

namespace tl::cli {

namespace {

constexpr std::string_view kCuda = "cuda";

/// N of "cuda:N", 0 for "cuda", -1 for anything else.
int cuda_number(std::string_view name) {
  if (name == kCuda) return 0;
  if (name.substr(0, kCuda.size() + 1) != "cuda:") return -1;
  int number = -1;
  const std::string_view digits = name.substr(kCuda.size() + 1);
  const auto [end, status] = std::from_chars(digits.data(), digits.data() + digits.size(), number);
  return status == std::errc() && end == digits.data() + digits.size() ? number : -1;
}

struct Device {
  std::string name, description;
};

std::vector<Device> devices() {
  std::vector<Device> found = {{"cpu", cpu_backend().description()},
                               {"reference", reference_backend().description()}};
  const std::vector<CudaDevice> gpus = cuda_devices();
  for (size_t i = 0; i < gpus.size(); ++i) found.push_back({fmt::format("cuda:{}", i), gpus[i].description});
  return found;
}

void list(bool as_json) {
  const std::vector<Device> found = devices();
  if (as_json) {
    nlohmann::ordered_json all = nlohmann::ordered_json::array();
    for (const Device& d : found) all.push_back({{"name", d.name}, {"description", d.description}});
    return print_json(all);
  }
  for (const Device& d : found) fmt::print("{:<9}  {}\n", d.name, d.description);
  if (!built_with_cuda())
    say("note: this build has no CUDA");
  else if (found.size() == 2)
    say("note: this machine has no GPU that CUDA can use");
}

}  // namespace

std::string check_device_name(const std::string& name) {
  if (name == "cpu" || name == "reference" || cuda_number(name) >= 0) return "";
  return fmt::format("'{}' is no device: cpu, reference, cuda or cuda:N (`tl devices` lists them)", name);
}

const Backend& backend_of_device(const std::string& name) {
  if (name == "reference") return reference_backend();
  const int gpu = cuda_number(name);
  return gpu >= 0 ? cuda_backend(gpu) : cpu_backend();
}

void add_devices(CLI::App& app) {
  auto* command = app.add_subcommand("devices", "List what programs can run on");
  const auto as_json = std::make_shared<bool>(false);
  command->add_flag("--json", *as_json, "Print JSON");
  command->callback([as_json] { list(*as_json); });
}

}  // namespace tl::cli
