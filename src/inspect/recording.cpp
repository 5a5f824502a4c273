#include "inspect/recording.h"

#include <algorithm>
#include <cmath>

#include <fmt/format.h>

#include "tensor/blocks.h"

namespace tl::inspect {

namespace {

/// "FILE:LINE:COLUMN" of a span.
std::string place_of(const Span& span) {
  if (!span) return {};
  const auto at = span.source->position(span.begin);
  return fmt::format("{}:{}:{}", span.source->name(), at.line, at.column);
}

/// Of some rows: of weights, which are alike.
double sampled_rms(const Tensor& weight) {
  constexpr int64_t kRows = 32;
  const int64_t width = weight.shape().back(), n = width > 0 ? weight.elements() / width : 0;
  const int64_t step = std::max<int64_t>(1, n / kRows);
  std::vector<double> row(static_cast<size_t>(width));
  double squares = 0;
  int64_t count = 0;
  for (int64_t r = 0; r < n; r += step, count += width) {
    decode_row(weight.dtype(), weight.at(r * width), row.data(), width);
    for (const double x : row) squares += x * x;
  }
  return count > 0 ? std::sqrt(squares / static_cast<double>(count)) : 0;
}

}  // namespace

const Record* Recording::find(std::string_view name) const {
  const auto at =
      std::find_if(records.begin(), records.end(), [&](const Record& r) { return r.name == name; });
  return at == records.end() ? nullptr : &*at;
}

bool matches(std::string_view pattern, std::string_view name) {
  // Only the last star has to be tried again: an earlier one could not match more than it did.
  size_t p = 0, n = 0, star = std::string_view::npos, after = 0;
  while (n < name.size()) {
    if (p < pattern.size() && pattern[p] == '*') {
      star = p++;
      after = n;
    } else if (p < pattern.size() && (pattern[p] == '?' || pattern[p] == name[n])) {
      ++p, ++n;
    } else if (star != std::string_view::npos) {
      p = star + 1;
      n = ++after;
    } else {
      return false;
    }
  }
  while (p < pattern.size() && pattern[p] == '*') ++p;
  return p == pattern.size();
}

Recorder::Recorder(ThreadPool& pool, RecorderOptions options) : pool_(pool), options_(std::move(options)) {}

void Recorder::begin_step(int number) {
  prefix_ = number == 0 ? "" : fmt::format("step[{}]/", number);
  occurrences_.clear();
}

std::string Recorder::unique(std::string path) {
  const int n = ++occurrences_[path];
  return n == 1 ? prefix_ + path : fmt::format("{}{}:{}", prefix_, path, n);
}

// Names are given to all values of the trace, also those that fused steps hide, so that a value has one name
// whatever is fused.
void Recorder::on_run(const graph::Plan&, const graph::Trace& trace) {
  names_.assign(trace.values.size(), {});
  numbers_.assign(trace.values.size(), -1);
  for (size_t v = 0; v < names_.size(); ++v)
    if (!trace.values[v]->value) names_[v] = unique(trace.values[v]->path());
}

int Recorder::add(Record record, const graph::Node& node, const Tensor& value) {
  const int number = static_cast<int>(records_.size());
  known_[&node] = {value.storage(), value.byte_offset(), number};
  if (options_.sink) {
    options_.sink(record);
    record.value = {};
  }
  records_.push_back(std::move(record));
  return number;
}

bool Recorder::is_kept(const Record& record) const {
  return std::any_of(options_.keep.begin(), options_.keep.end(),
                     [&](const std::string& pattern) { return matches(pattern, record.name); });
}

int Recorder::leaf(const graph::Node& node, const graph::Step& reader, size_t input) {
  const Tensor& value = node.value;
  if (const auto at = known_.find(&node); at != known_.end()) {
    const auto storage = at->second.storage.lock();
    if (storage && storage == value.storage() && at->second.offset == value.byte_offset())
      return at->second.record;
  }
  Record record;
  record.is_weight = node.is_weight;
  // A weight is named where it is first used; its place in the program says nothing.
  record.name = node.is_weight && !node.label.empty() ? node.label : unique(node.path());
  record.op = name(Op::constant);
  record.dtype = value.dtype();
  record.shape = value.shape();
  // The memory of a cache is not initialised. Matrices of weights are large, and `tl inspect --stats` has
  // their statistics; those of norms and biases say how errors pass through.
  const bool is_state = reader.op == Op::cache_append && input == 0;
  if (!is_state && !(node.is_weight && value.rank() > 1)) {
    if (options_.statistics) record.statistics = tensor_statistics(value, pool_);
    if (!node.is_weight && is_kept(record)) record.value = converted(value, value.dtype());
  }
  if (node.is_weight && value.rank() > 1) record.weight_rms = sampled_rms(value);
  return add(std::move(record), node, value);
}

/// Views that keep every element have their input's statistics; all else is looked at.
std::optional<TensorStatistics> Recorder::statistics(const ExecutedStep& executed, const Record& record) {
  const Op op = executed.step.op;
  if (is_view(op)) {
    const Record& source = records_[static_cast<size_t>(record.inputs[0])];
    if (!source.statistics) return std::nullopt;
    const bool same = executed.inputs[0].is_contiguous() && executed.output.is_contiguous();
    if (op == Op::reshape && same) return source.statistics;
    if (op == Op::broadcast && source.statistics->count > 0)
      return source.statistics->repeated(record.shape.elements() / source.statistics->count);
  }
  return tensor_statistics(executed.output, pool_);
}

void Recorder::on_step(const ExecutedStep& executed) {
  const graph::Step& step = executed.step;
  Record record;
  record.name = names_[static_cast<size_t>(step.output)];
  record.op = name(step.op);
  record.dtype = executed.output.dtype();
  record.shape = executed.output.shape();
  record.place = place_of(executed.node.span);
  record.attrs = step.attrs;
  record.params = executed.params;
  for (size_t i = 0; i < step.inputs.size(); ++i) {
    int& number = numbers_[static_cast<size_t>(step.inputs[i])];
    if (number < 0) number = leaf(*executed.trace.values[static_cast<size_t>(step.inputs[i])], step, i);
    record.inputs.push_back(number);
  }
  for (const int member : step.members)
    if (member != step.output) record.fuses.push_back(names_[static_cast<size_t>(member)]);
  if (options_.statistics) record.statistics = statistics(executed, record);
  if (is_kept(record)) record.value = converted(executed.output, executed.output.dtype());
  numbers_[static_cast<size_t>(step.output)] = add(std::move(record), executed.node, executed.output);
}

}  // namespace tl::inspect
