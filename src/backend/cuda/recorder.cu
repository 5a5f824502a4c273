#include "backend/cuda/recorder.h"

#include <algorithm>
#include <limits>
#include <optional>

#include "backend/cuda/device.h"
#include "backend/cuda/row_fusion.h"

namespace tl::cuda {

namespace {

constexpr int64_t kUnknown = -1;  ///< an input that the step before gives

/// How a number of a later step is found: it follows the position, or is an input of the step.
struct Source {
  std::optional<size_t> input = {};
  int64_t slope = 0;  ///< a position
  bool operator==(const Source&) const = default;
};

/// What was launched is a list that does not change while its numbers do. A step whose first input is what
/// the one before gives is started behind that before the host has seen it.
class GraphRecorder final : public StepRecorder {
 public:
  void begin() override {
    ahead_.reset();
    // What is under way may be a step that was started ahead, of this recorder or another.
    Launches& launches = Device::get().launches();
    if (!launches.is_idle()) launches.wait();
    launches.begin_recording();
  }

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

  std::optional<Tensor> repeat(int64_t position, std::span<const Tensor> inputs,
                               std::span<const Tensor> after, const Tensor& output) override {
    if (!knows_) return std::nullopt;
    std::vector<int64_t> values;
    for (const Tensor& t : inputs) values.push_back(load_int(t, 0));
    const bool runs = ahead_ && *ahead_ == Step{position, values} && is_undisturbed(output);
    if (!runs && !start({position, std::move(values)}, output)) return std::nullopt;
    ahead_.reset();
    if (after.empty() || output.dtype() != DType::i64 || output.elements() != 1) return output;
    std::vector<int64_t> known;
    for (const Tensor& t : after.subspan(1)) known.push_back(load_int(t, 0));
    const std::optional<int64_t> result = start_ahead(position + 1, known, output);
    if (!result) return output;
    return Tensor::from<int64_t>(DType::i64, output.shape(), std::span(&*result, 1));
  }

  void forget() override {
    last_.reset();
    sources_.reset();
    knows_ = false;
    graph_ = {};
    ahead_.reset();
  }

 private:
  struct Step {
    int64_t position;
    std::vector<int64_t> inputs;
    bool operator==(const Step&) const = default;
  };

  /// The numbers of a step, whose inputs may be unknown; nothing if one leaves its range.
  std::optional<std::vector<int64_t>> numbers_of(const Step& step) const {
    std::vector<int64_t> numbers;
    for (size_t i = 0; i < last_->numbers.size(); ++i) {
      const auto& [value, range] = last_->numbers[i];
      const auto& [input, slope] = (*sources_)[i];
      const int64_t number = input ? step.inputs[*input] : value + slope * (step.position - position_);
      if ((number < 0 && !input) || number > range.most) return std::nullopt;
      numbers.push_back(number);
    }
    return numbers;
  }

  /// Whether a step could be started.
  bool start(const Step& step, const Tensor& output) {
    drop_ahead();
    Launches& launches = Device::get().launches();
    if (!is_undisturbed(output) || !launches.is_idle()) return false;
    const auto numbers = numbers_of(step);
    if (!numbers || std::ranges::any_of(step.inputs, [](int64_t i) { return i < 0; })) return false;
    if (!graph_) graph_ = Graph(with_joined_rows(last_->list));
    overwrite_bytes(output);
    launches.run(graph_, *numbers);
    remember(output);
    return true;
  }

  /// Starts the step after the one under way, whose first input is what that gives and whose others are
  /// `known`. What that gives; nothing if the step could not be started.
  std::optional<int64_t> start_ahead(int64_t position, std::span<const int64_t> known, const Tensor& output) {
    Step step{position, {kUnknown}};
    step.inputs.insert(step.inputs.end(), known.begin(), known.end());
    const auto numbers = numbers_of(step);
    if (!numbers || std::ranges::any_of(known, [](int64_t i) { return i < 0; })) return std::nullopt;
    int64_t most = std::numeric_limits<int64_t>::max();
    for (size_t i = 0; i < numbers->size(); ++i)
      if ((*sources_)[i].input == size_t{0}) most = std::min(most, last_->numbers[i].second.most);
    const auto* result = reinterpret_cast<const int64_t*>(overwrite_bytes(output));
    const int64_t given = Device::get().launches().run_again(graph_, *numbers, result, most);
    remember(output);
    if (given < 0 || given > most) {  // the step that runs now is not the one after
      Device::get().launches().wait();
      return given;
    }
    step.inputs[0] = given;
    ahead_ = std::move(step);
    return given;
  }

  /// A step that was started and is not wanted: what it wrote lies behind the position.
  void drop_ahead() {
    if (ahead_) Device::get().launches().wait();
    ahead_.reset();
  }

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
  std::optional<Step> ahead_;  ///< the step under way, which nobody has asked for yet
  uint64_t events_ = 0;
  std::weak_ptr<Storage> output_;
};

}  // namespace

std::unique_ptr<StepRecorder> step_recorder() { return std::make_unique<GraphRecorder>(); }

}  // namespace tl::cuda
