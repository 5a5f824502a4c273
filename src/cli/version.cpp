#include "cli/version.h"

#include <fmt/format.h>
#include <version.h>

#include <vector>

namespace tl::cli {

namespace {

/// The instruction sets of the running machine that kernels could use.
std::vector<std::string> instruction_sets() {
  std::vector<std::string> found;
#if defined(__x86_64__)
  const auto add = [&](bool present, const char* name) {
    if (present) found.emplace_back(name);
  };
  add(__builtin_cpu_supports("sse4.2"), "sse4.2");
  add(__builtin_cpu_supports("avx"), "avx");
  add(__builtin_cpu_supports("avx2"), "avx2");
  add(__builtin_cpu_supports("fma"), "fma");
  add(__builtin_cpu_supports("avx512f"), "avx512f");
  add(__builtin_cpu_supports("avx512bw"), "avx512bw");
  add(__builtin_cpu_supports("avx512vnni"), "avx512vnni");
#elif defined(__aarch64__)
  found.emplace_back("neon");
#endif
  return found;
}

std::string compiler() {
#if defined(__clang__)
  return fmt::format("clang {}.{}.{}", __clang_major__, __clang_minor__, __clang_patchlevel__);
#else
  return fmt::format("gcc {}.{}.{}", __GNUC__, __GNUC_MINOR__, __GNUC_PATCHLEVEL__);
#endif
}

}  // namespace

std::string version_text() {
  return fmt::format(
      "tl (TensorLogic) {}\n"
      "commit            {}\n"
      "compiler          {}\n"
      "instruction sets  {}\n"
      "backends          cpu reference",
      TL_VERSION, TL_COMMIT, compiler(), fmt::join(instruction_sets(), " "));
}

}  // namespace tl::cli
