#include "backend/cpu/isa.h"

#include <fmt/format.h>
#include <cstdlib>
#include <string_view>

#include "base/error.h"

namespace tl::cpu {

namespace portable {
const Isa& table();
}
#ifdef TL_CPU_X86
namespace avx2 {
const Isa& table();
}
namespace avx512 {
const Isa& table();
}
#endif

namespace {

struct Choice {
  std::string_view name;
  bool supported;
  const Isa& (*table)();
};

const Isa& choose() {
  const Choice choices[] = {
  // the best first
#ifdef TL_CPU_X86
      {"avx512",
       __builtin_cpu_supports("avx512vl") && __builtin_cpu_supports("avx512bw") &&
           __builtin_cpu_supports("avx512dq") && __builtin_cpu_supports("avx512vnni") &&
           __builtin_cpu_supports("fma"),
       avx512::table},
      {"avx2", __builtin_cpu_supports("avx2") && __builtin_cpu_supports("fma"), avx2::table},
#endif
      {"portable", true, portable::table},
  };
  const char* wanted = std::getenv("TL_CPU_ISA");
  for (const Choice& choice : choices) {
    if (wanted && choice.name != wanted) continue;
    if (choice.supported) return choice.table();
    if (wanted)
      throw Error(fmt::format(
          "TL_CPU_ISA={}: this processor lacks these instructions; unset it or use portable", wanted));
  }
  std::string names;
  for (const Choice& choice : choices) names += (names.empty() ? "" : ", ") + std::string(choice.name);
  throw Error(fmt::format("TL_CPU_ISA={}: no such instruction set; one of {}", wanted, names));
}

}  // namespace

const Isa& isa() {
  static const Isa& chosen = choose();
  return chosen;
}

}  // namespace tl::cpu
