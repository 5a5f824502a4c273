#include "cli/trace_table.h"

#include <fmt/format.h>

#include <algorithm>

namespace tl::cli {

void print_records(const std::vector<const inspect::Record*>& records) {
  size_t width = 4, shape_width = 5;
  for (const inspect::Record* r : records) {
    width = std::max(width, r->name.size());
    shape_width = std::max(shape_width, to_string(r->shape).size());
  }
  fmt::print("{:{}}  {:12}  {:{}}  {:>11}  {:>11}  {:>11}  {:>11}  {:>11}  {:>4}  {:>4}  {:>7}\n", "name",
             width, "op", "shape", shape_width, "min", "max", "mean", "std", "rms", "nan", "inf", "float16");
  for (const inspect::Record* r : records) {
    fmt::print("{:{}}  {:12}  {:{}}", r->name, width, r->op, to_string(r->shape), shape_width);
    if (r->statistics) {
      const TensorStatistics& s = *r->statistics;
      fmt::print("  {:>11.5g}  {:>11.5g}  {:>11.4g}  {:>11.4g}  {:>11.4g}  {:>4}  {:>4}  {:>6.2f}%", s.min,
                 s.max, s.mean, s.std, s.rms(), s.nan, s.inf, 100 * s.f16_share());
    }
    fmt::print("\n");
  }
}

}  // namespace tl::cli
