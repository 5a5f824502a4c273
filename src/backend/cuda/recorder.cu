#include "backend/cuda/recorder.h"

#include <algorithm>
#include <optional>

#include "backend/cuda/device.h"
#include "backend/cuda/row_fusion.h"

namespace tl::cuda {

namespace {

/// How a number of a later step is found: it follows the position, or is an input of the step.
struct Source {
  std::optional<size_t> input = {};
  int64_t slope = 0;  ///< a position
  bool operator==(const Source&) const = default;
};

/// What was launched is a list that does not change while its numbers do.
class GraphRecorder final : public StepRecorder {
 public:
  void begin() override { Device::get().launches().begin_recording(); }

  void end(int64_t position, std::span<const Tensor> inputs, const Tensor& output) override {
    std::optional<Launches::Recording> now = Device::get().launches().end_recording();
    if (!now) return forget();
    const bool same_list = last_ && now->list == last_->list;
    std::optional<std::vector<Source>> sources;
    if (same_list) sources = sources_of(*now, position - position_, inputs);
    knows_ = sources && sources == sources_;
    if (!same_list) graph_ = {};
    sources_ = std::move(sources);
    last_ = std::move(now);
    position_ = position;
    remember(output);
  }

  bool repeat(int64_t position, std::span<const Tensor> inputs, const Tensor& output) override {
    Launches& launches = Device::get().launches();
    if (!knows_ || !is_undisturbed(output) || !launches.is_idle()) return false;
    std::vector<int64_t> numbers;
    for (size_t i = 0; i < last_->numbers.size(); ++i) {
      const auto& [value, range] = last_->numbers[i];
      const auto& [input, slope] = (*sources_)[i];
      const int64_t next = input ? load_int(inputs[*input], 0) : value + slope * (position - position_);
      if (next < 0 || next > range.most) return false;
      numbers.push_back(next);
    }
    if (!graph_) graph_ = Graph(with_joined_rows(last_->list));
    overwrite_bytes(output);
    launches.run(graph_, numbers);
    remember(output);
    return true;
  }

  void forget() override {
    last_.reset();
    sources_.reset();
    knows_ = false;
    graph_ = {};
  }

 private:
  /// Where the numbers of a later recording come from, given the last one's.
  std::optional<std::vector<Source>> sources_of(const Launches::Recording& now, int64_t tokens,
                                                std::span<const Tensor> inputs) const {
    if (tokens == 0 || now.numbers.size() != last_->numbers.size()) return std::nullopt;
    if (std::ranges::any_of(inputs, [](const Tensor& t) { return t.elements() != 1; })) return std::nullopt;
    std::vector<Source> sources;
    for (size_t i = 0; i < now.numbers.size(); ++i) {
      const auto& [value, range] = now.numbers[i];
      const auto& [before, range_before] = last_->numbers[i];
      const bool is_input = range.source != nullptr;
      if (is_input != (range_before.source != nullptr) || range.most != range_before.most)
        return std::nullopt;
      if (is_input) {
        const auto input =
            std::ranges::find_if(inputs, [&](const Tensor& t) { return t.storage().get() == range.source; });
        if (input == inputs.end()) return std::nullopt;
        sources.push_back({static_cast<size_t>(input - inputs.begin()), 0});
      } else {
        if ((value - before) % tokens != 0) return std::nullopt;
        sources.push_back({{}, (value - before) / tokens});
      }
    }
    return sources;
  }

  // Memory that the list names may have become somebody else's, or the host may have written to it.
  void remember(const Tensor& output) {
    events_ = memory_events();
    output_ = output.storage();
  }
  bool is_undisturbed(const Tensor& output) const {
    const bool was_fetched = !output.storage()->elsewhere;
    return output.storage() == output_.lock() && memory_events() == events_ + (was_fetched ? 1 : 0);
  }

  std::optional<Launches::Recording> last_;
  std::optional<std::vector<Source>> sources_;  ///< from the recording before to the last
  int64_t position_ = 0;                        ///< of the last
  bool knows_ = false;                          ///< three recordings agreed
  Graph graph_;
  uint64_t events_ = 0;
  std::weak_ptr<Storage> output_;
};

}  // namespace

std::unique_ptr<StepRecorder> step_recorder() { return std::make_unique<GraphRecorder>(); }

}  // namespace tl::cuda
