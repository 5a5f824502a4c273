#include "backend/cpu/isa.h"

#include <fmt/format.h>
#include <algorithm>
#include <cstdlib>
#include <string_view>
#include <vector>
#ifdef TL_CPU_ARM
#include <asm/hwcap.h>
#include <sys/auxv.h>
#endif

#include "base/error.h"

namespace tl::cpu {

#ifdef TL_CPU_X86
namespace avx512 {
const Isa& table();
}
namespace avx2 {
const Isa& table();
}
#endif
#ifdef TL_CPU_ARM
namespace dotprod {
const Isa& table();
}
namespace neon {
const Isa& table();
}
#endif
namespace portable {
const Isa& table();
}

namespace {

std::vector<const Isa*> find_supported() {
  std::vector<const Isa*> found;
#ifdef TL_CPU_X86
  const bool has_avx2 = __builtin_cpu_supports("avx2") && __builtin_cpu_supports("fma");
  if (has_avx2 && __builtin_cpu_supports("avx512vl") && __builtin_cpu_supports("avx512bw") &&
      __builtin_cpu_supports("avx512dq") && __builtin_cpu_supports("avx512vnni"))
    found.push_back(&avx512::table());
  if (has_avx2) found.push_back(&avx2::table());
#endif
#ifdef TL_CPU_ARM
  if ((getauxval(AT_HWCAP) & HWCAP_ASIMDDP) != 0) found.push_back(&dotprod::table());
  found.push_back(&neon::table());  // part of the architecture
#endif
  found.push_back(&portable::table());
  return found;
}

const Isa& choose() {
  const auto supported = supported_isas();
  const char* wanted = std::getenv("TL_CPU_ISA");
  if (wanted == nullptr) return *supported.front();
  const auto found = std::find_if(supported.begin(), supported.end(),
                                  [&](const Isa* i) { return std::string_view(i->name) == wanted; });
  if (found != supported.end()) return **found;
  std::string names;
  for (const Isa* i : supported) names += fmt::format("{}{}", names.empty() ? "" : ", ", i->name);
  throw Error(fmt::format("TL_CPU_ISA={}: not among the instruction sets that this processor runs: {}",
                          wanted, names));
}

}  // namespace

std::span<const Isa* const> supported_isas() {
  static const std::vector<const Isa*> supported = find_supported();
  return supported;
}

const Isa& isa() {
  static const Isa& chosen = choose();
  return chosen;
}

}  // namespace tl::cpu
