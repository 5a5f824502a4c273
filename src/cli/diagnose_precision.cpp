#include "cli/diagnose_precision.h"

#include <algorithm>
#include <cmath>
#include <set>

#include <fmt/format.h>

#include "cli/diagnose_run.h"
#include "cli/progress.h"
#include "inspect/depth.h"

namespace tl::cli {

namespace {

/// More positions say little more, and every one costs 64 runs.
constexpr size_t kPositions = 16;

/// The index of the outermost loop in a path: the layer; -1 where there is none.
int64_t outermost_loop(const std::string& path) {
  const size_t at = path.find('[');
  return at == std::string::npos ? -1 : std::atoll(path.c_str() + at + 1);
}

DistanceOfLogits distance(const std::vector<float>& expected, const std::vector<float>& found,
                          int64_t width) {
  DistanceOfLogits d;
  const size_t w = static_cast<size_t>(width), rows = expected.size() / w;
  for (size_t r = 0; r < rows; ++r) {
    const auto row = [&](const std::vector<float>& x) {
      const auto begin = x.begin() + static_cast<std::ptrdiff_t>(r * w);
      return std::vector<double>(begin, begin + width);
    };
    const std::vector<double> a = row(expected), b = row(found);
    d.divergence += inspect::divergence(a, b) / static_cast<double>(rows);
    d.agreement += inspect::summarise(a).top == inspect::summarise(b).top ? 1 / static_cast<double>(rows) : 0;
  }
  return d;
}

/// What the session of a run executes: names of operations, and indices of layers.
class Census : public Observer {
 public:
  void on_step(const ExecutedStep& step) override {
    const Op op = step.step.op;
    const bool computes = !is_view(op) && op != Op::scalar && op != Op::cast && op != Op::cache_append;
    if (!computes || !is_float(step.output.dtype())) return;
    operations.insert(op);
    if (const int64_t layer = outermost_loop(step.node.path()); layer >= 0) layers.insert(layer);
  }
  std::set<Op> operations;
  std::set<int64_t> layers;
};

class Study {
 public:
  Study(const ModelOptions& options, const std::vector<int32_t>& ids)
      : options_(options),
        ids_(ids.begin(), ids.begin() + static_cast<std::ptrdiff_t>(std::min(ids.size(), kPositions))) {}

  PrecisionStudy run() {
    study_.positions = static_cast<int64_t>(ids_.size());
    expected_ = Feeding(oracle_of(options_), ids_).run(Feed::at_once);
    width_ = static_cast<int64_t>(expected_.size() / ids_.size());
    fill_matrix();
    attribute();
    return std::move(study_);
  }

 private:
  void fill_matrix() {
    Progress progress("Trying precisions");
    uint64_t done = 0;
    for (const DType activations : kPrecisions)
      for (const DType residual : kPrecisions)
        for (const DType accumulation : kPrecisions) {
          const FloatTypes types{activations, residual, accumulation};
          study_.matrix.push_back({types, rounded(types)});
          progress.update(++done, 64);
        }
  }

  DistanceOfLogits rounded(const FloatTypes& types) {
    ModelOptions options = oracle_of(options_);
    options.precision = {Activations::float32, types.activations, types.residual, types.accumulation};
    return distance(expected_, Feeding(options, ids_).run(Feed::at_once), width_);
  }

  DistanceOfLogits with_exact(const std::function<bool(Op, int64_t layer)>& is_exact) {
    const KernelChoice choice = [&](const graph::Step& step, const graph::Trace& trace) -> const Kernel* {
      const auto& node = *trace.values[static_cast<size_t>(step.output)];
      const Kernel& exact = reference_backend().kernels()[static_cast<size_t>(step.op)];
      if (exact.run == nullptr || step.op == Op::cache_append || !is_float(node.dtype())) return nullptr;
      return is_exact(step.op, outermost_loop(node.path())) ? &exact : nullptr;
    };
    return distance(expected_, Feeding(options_, ids_, choice).run(Feed::at_once), width_);
  }

  void attribute() {
    Feeding whole(options_, ids_);
    Census census;
    whole.engine().session().set_observer(&census);
    study_.as_asked = distance(expected_, whole.run(Feed::at_once), width_);
    Progress progress("Attributing errors");
    uint64_t done = 0;
    const auto row = [&](std::string part, const DistanceOfLogits& d) {
      progress.update(++done, census.operations.size() + census.layers.size());
      return SensitivityRow{std::move(part), d, 1 - d.divergence / study_.as_asked.divergence};
    };
    for (const Op op : census.operations)
      study_.operations.push_back(
          row(std::string(name(op)), with_exact([op](Op other, int64_t) { return other == op; })));
    std::stable_sort(study_.operations.begin(), study_.operations.end(),
                     [](const SensitivityRow& a, const SensitivityRow& b) { return a.share > b.share; });
    for (const int64_t layer : census.layers)
      study_.layers.push_back(row(fmt::format("layer {}", layer),
                                  with_exact([layer](Op, int64_t other) { return other == layer; })));
  }

  const ModelOptions& options_;
  const std::vector<int32_t> ids_;
  std::vector<float> expected_;
  int64_t width_ = 0;
  PrecisionStudy study_;
};

}  // namespace

PrecisionStudy study_precision(const ModelOptions& options, const std::vector<int32_t>& ids) {
  return Study(options, ids).run();
}

}  // namespace tl::cli
