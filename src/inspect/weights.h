// The weights of a model file: are they what their blocks say, finite, and of sane size?
#pragma once

#include <functional>
#include <optional>
#include <string>
#include <vector>

#include "base/thread_pool.h"
#include "formats/model_file.h"

namespace tl::inspect {

/// What was found about one tensor.
struct WeightAudit {
  std::string name;
  DType dtype = DType::f32;
  double outlier = 0;              ///< largest magnitude over the root mean square
  std::optional<double> snr = {};  ///< 10 log10(sum b^2 / sum (a - b)^2) in dB, b being the other file's
  std::vector<std::string> faults = {};  ///< sentences; empty where all is well
};

/// Looks at every tensor: NaN, infinities, nothing but zeros; blocks decoded to float32 against their
/// exact definition in float64; elements so large that a scale must be broken; and with `against` (which may
/// be in another format or container) how far the same tensor is from it. `progress` hears of bytes done and
/// in all.
std::vector<WeightAudit> audit_weights(const ModelFile& file, const ModelFile* against, ThreadPool& pool,
                                       const std::function<void(uint64_t, uint64_t)>& progress = {});

}  // namespace tl::inspect
