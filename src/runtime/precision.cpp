#include "runtime/precision.h"

#include <algorithm>
#include <array>
#include <vector>

#include <fmt/format.h>
#include <fmt/ranges.h>

#include "base/error.h"

namespace tl {

void set_precision(Precision& precision, std::string_view part, std::string_view type) {
  std::vector<std::string_view> types{"float32", "float16", "bfloat16"};
  if (part == "activations") types.insert(types.begin(), "q8");
  if (part == "accumulate") types.insert(types.begin(), "float64");
  if (std::find(types.begin(), types.end(), type) == types.end())
    throw Error(fmt::format("{} can be {}, not '{}'", part, fmt::join(types, ", "), type));
  const std::optional<DType> dtype = dtype_from_name(type);
  if (part == "residual") {
    precision.residual = dtype;
  } else if (part == "accumulate") {
    precision.sums = dtype;
  } else {
    precision.activations = type == "q8" ? Activations::q8 : Activations::float32;
    precision.results = dtype == DType::f32 ? std::nullopt : dtype;
  }
}

std::string_view activations_name(const Precision& precision) {
  if (precision.results) return name(*precision.results);
  return precision.activations == Activations::q8 ? "q8" : "float32";
}

}  // namespace tl
