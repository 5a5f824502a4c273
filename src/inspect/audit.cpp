#include "inspect/audit.h"

#include <algorithm>
#include <cmath>
#include <limits>
#include <stdexcept>

#include <fmt/format.h>
#include <fmt/ranges.h>

#include "inspect/bounds.h"
#include "inspect/rows.h"
#include "inspect/values.h"

namespace tl::inspect {

namespace {

constexpr double kInfinity = std::numeric_limits<double>::infinity();

/// Numbers of rows around which kernels choose other ways: vector widths, tiles, cache blocks.
constexpr int64_t kThresholds[] = {1,  2,  3,  4,  5,  7,  8,  9,  15,  16,  17, 23,
                                   24, 25, 31, 32, 33, 63, 64, 65, 127, 128, 129};
/// Multiply-adds that one replay with another number of rows may cost.
constexpr double kReplayWork = 3e8;

std::vector<int64_t> index_of(int64_t element, const Shape& shape) {
  std::vector<int64_t> index(static_cast<size_t>(shape.rank()));
  for (int a = shape.rank() - 1; a >= 0; --a) {
    index[static_cast<size_t>(a)] = element % std::max<int64_t>(1, shape[a]);
    element /= std::max<int64_t>(1, shape[a]);
  }
  return index;
}

/// Adds the errors of one part of a result. `first` is the row that the part starts at, along `axis`.
struct ErrorSum {
  LocalError error;
  double squares = 0, expected_squares = 0;

  void add(const Operation& o, const Tensor& actual, const Backend& backend, const Backend& oracle,
           ThreadPool& pool, int axis, int64_t first) {
    const std::vector<double> expected = values_of(run(oracle, o, pool)), found = values_of(actual);
    const std::vector<double> bounds =
        error_bound(o, arithmetic_of(backend), actual.dtype(), expected, oracle);
    error.exact = bounds.empty();
    for (size_t i = 0; i < expected.size(); ++i) {
      const double e =
          error.exact || !std::isfinite(expected[i]) ? rounded(actual.dtype(), expected[i]) : expected[i];
      double ratio = 0;
      if (!std::isfinite(e) || !std::isfinite(found[i]) || error.exact) {
        const bool same = e == found[i] || (std::isnan(e) && std::isnan(found[i]));
        ratio = same ? 0 : kInfinity;
      } else if (const double off = std::fabs(found[i] - e); off > 0) {
        ratio = off / bounds[i];
        squares += off * off;
      }
      if (std::isfinite(e)) expected_squares += e * e;
      if (ratio <= error.ratio && !error.worst.empty()) continue;
      error.ratio = std::max(error.ratio, ratio);
      error.worst = index_of(static_cast<int64_t>(i), actual.shape());
      if (!error.worst.empty()) error.worst[static_cast<size_t>(axis)] += first;
      error.expected = e;
      error.actual = found[i];
    }
    error.relative = expected_squares > 0 ? std::sqrt(squares / expected_squares) : 0;
  }
};

/// Whether the executor computes this by the session's own backend: float64 goes to the reference
/// (session.cpp).
bool runs_on(const Backend& backend, const Operation& o) {
  const Kernel& kernel = backend.kernels()[static_cast<size_t>(o.op)];
  if (kernel.run == nullptr) return false;
  if (kernel.compute == DType::f64 || o.op == Op::cast) return true;
  const auto is_f64 = [](DType d) { return d == DType::f64; };
  return !is_f64(result_type(o).dtype) &&
         std::none_of(o.in.begin(), o.in.end(), [&](const Tensor& t) { return is_f64(t.dtype()); });
}

/// "3 elements, the first at [2, 5]" of those that differ; "" if none do.
template <class Differs>
std::string places(const Tensor& a, const Tensor& b, Differs differs) {
  const std::vector<double> x = values_of(a), y = values_of(b);
  int64_t count = 0, first = -1;
  for (size_t i = 0; i < x.size(); ++i)
    if (differs(x[i], y[i])) {
      if (count++ == 0) first = static_cast<int64_t>(i);
    }
  if (count == 0) return {};
  return fmt::format("{} of {} elements, the first at [{}]", count, x.size(),
                     fmt::join(index_of(first, a.shape()), ", "));
}

bool other(double a, double b) { return a != b && !(std::isnan(a) && std::isnan(b)); }

/// One operation under examination.
struct Examination {
  const Operation& o;
  const Tensor& observed;  ///< contiguous
  const Backend& backend;
  const Backend& oracle;
  const std::vector<std::unique_ptr<ThreadPool>>& pools;
  std::vector<std::string>& faults;

  ThreadPool& pool() const { return *pools.back(); }

  /// Poisoned memory, and other numbers of threads.
  void repeat() {
    for (const auto& threads : pools) {
      Tensor again;
      try {
        again = run(backend, o, *threads);
      } catch (const std::logic_error& e) {  // the guards around the result
        faults.emplace_back(e.what());
        return;
      }
      if (same_bits(again, observed)) continue;
      const std::string unwritten =
          places(again, observed, [](double a, double b) { return std::isnan(a) && !std::isnan(b); });
      if (!unwritten.empty() && is_float(again.dtype())) {
        faults.push_back(fmt::format("leaves elements unwritten: {}", unwritten));
        return;
      }
      faults.push_back(
          fmt::format("gives other bits when repeated with {}: {}",
                      threads->size() == 1 ? "one thread" : fmt::format("{} threads", threads->size()),
                      places(again, observed, other)));
      return;
    }
  }

  /// Inputs that are no weights, strided.
  void layouts() {
    for (const Layout layout : {Layout::permuted, Layout::sliced, Layout::reversed}) {
      Operation strided = o;
      bool changed = false;
      for (size_t i = 0; i < strided.in.size(); ++i) {
        if (reads_stored(o.op, i) || is_quantised(strided.in[i].dtype()) || strided.in[i].rank() == 0)
          continue;
        strided.in[i] = laid_out(strided.in[i], layout);
        changed = true;
      }
      if (!changed) return;
      const Tensor result = run(backend, strided, pool());
      if (same_bits(result, observed)) continue;
      const LocalError error = local_error(o, result, backend, oracle, pool(), 0);
      if (error.ratio <= 1) continue;
      faults.push_back(
          fmt::format("reads {} inputs wrongly: {}", to_string(layout), places(result, observed, other)));
      return;
    }
  }

  /// Rows computed alone: around the numbers of rows where kernels change their way, and at both ends.
  void single_rows() {
    const int64_t n = row_count(o);
    if (n < 2 || o.op == Op::contract)
      return;  // contract: a moved index may take another way through the kernel
    std::vector<int64_t> chosen;
    for (const int64_t t : kThresholds)
      if (t - 1 < n) chosen.push_back(t - 1);
    chosen.push_back(n - 1);
    for (const int64_t r : chosen) {
      const RowsOperation row = rows_of(o, r, 1);
      const Tensor alone = run(backend, row.operation, pool());
      const Tensor among = converted(part_of(observed, row.axis, r, 1), observed.dtype());
      if (same_bits(alone, among)) continue;
      faults.push_back(fmt::format("row {} of {} differs from the same row computed alone: {}", r, n,
                                   places(alone, among, other)));
      return;
    }
  }

  void numbers_of_rows() {
    const int64_t had = row_count(o);
    if (had == 0) return;
    const auto row_work = [&] {
      double work = static_cast<double>(observed.elements()) / static_cast<double>(had);
      if (o.op == Op::linear || o.op == Op::matmul) work *= static_cast<double>(o.in[0].shape().back());
      return work;
    }();
    for (const int64_t n : kThresholds) {
      if (static_cast<double>(n) * row_work > kReplayWork) return;
      const auto other_rows = with_rows(o, n);
      if (!other_rows) return;
      const Tensor result = run(backend, *other_rows, pool());
      for (int64_t r = 0; r < n; ++r) {
        if (same_bits(converted(rows(result, r, 1), result.dtype()),
                      converted(rows(observed, r % had, 1), observed.dtype())))
          continue;
        faults.push_back(fmt::format("row {} comes out otherwise when there are {} rows", r, n));
        return;
      }
    }
  }
};

}  // namespace

LocalError local_error(const Operation& o, const Tensor& result, const Backend& backend,
                       const Backend& oracle, ThreadPool& pool, int64_t sampled_rows) {
  ErrorSum sum;
  const int64_t n = row_count(o);
  if (n == 0 || sampled_rows == 0 || n <= sampled_rows) {
    sum.add(o, result, backend, oracle, pool, 0, 0);
    return sum.error;
  }
  const int64_t half = std::max<int64_t>(1, sampled_rows / 2);
  for (const int64_t first : {int64_t{0}, n - half}) {
    const RowsOperation part = rows_of(o, first, half);
    sum.add(part.operation, part_of(result, part.axis, first, half), backend, oracle, pool, part.axis, first);
  }
  return sum.error;
}

Auditor::Auditor(Session& session, const Backend& oracle, AuditOptions options)
    : session_(session),
      oracle_(oracle),
      options_(std::move(options)),
      names_(session.pool(), {.statistics = false}) {
  for (const int n : options_.threads) pools_.push_back(std::make_unique<ThreadPool>(n));
  TL_CHECK(!pools_.empty(), "an audit needs at least one number of threads");
}

Auditor::~Auditor() = default;

/// The same operation with the same attributes on the same types and shapes is varied once.
bool Auditor::is_first_of_its_kind(const Operation& o) {
  std::vector<int64_t> words{static_cast<int64_t>(o.op)};
  append_words(o.attrs, words);
  std::string kind = fmt::format("{}", fmt::join(words, " "));
  for (const Tensor& t : o.in)
    kind += fmt::format(" {}{}{}", name(t.dtype()), to_string(t.shape()), to_string(t.strides()));
  return kinds_.insert(kind).second;
}

void Auditor::on_step(const ExecutedStep& step) {
  names_.on_step(step);
  const Record& record = names_.records().back();
  const Operation o = operation_of(step, session_);
  const bool copies = o.op == Op::reshape && !step.inputs[0].is_contiguous();
  if ((is_view(o.op) && !copies) || o.op == Op::scalar || !runs_on(session_.backend(), o)) return;

  OperationAudit audit{record.name, record.op, record.place, record.dtype, record.shape};
  for (const int input : record.inputs)
    audit.inputs.push_back(names_.records()[static_cast<size_t>(input)].name);
  const Tensor observed = converted(step.output, step.output.dtype());
  const Backend& backend = session_.backend();
  audit.own = local_error(o, observed, backend, oracle_, *pools_.back(), options_.sampled_rows);
  if (audit.own.ratio > 1)
    audit.faults.push_back(fmt::format("wrong on its own inputs: {:.6g} instead of {:.6g} at [{}]{}",
                                       audit.own.actual, audit.own.expected, fmt::join(audit.own.worst, ", "),
                                       audit.own.exact
                                           ? ", and this operation is exact"
                                           : fmt::format(", {:.3g} times the bound", audit.own.ratio)));
  Examination examination{o, observed, backend, oracle_, pools_, audit.faults};
  examination.repeat();
  if (options_.variations && is_first_of_its_kind(o)) {
    examination.layouts();
    examination.single_rows();
    examination.numbers_of_rows();
  }
  if (options_.reference != nullptr) compare_with_reference(o, observed, audit);
  operations_.push_back(audit);
  if (options_.done) options_.done(operations_.back());
}

void Auditor::compare_with_reference(const Operation& o, const Tensor& observed,
                                     OperationAudit& audit) const {
  const Record* expected = options_.reference->find(audit.name);
  if (expected == nullptr || !expected->value || expected->shape != audit.shape) return;
  audit.inherited = difference(expected->value, observed);
  Operation healthy = o;
  for (size_t i = 0; i < healthy.in.size(); ++i) {
    const Record* input = options_.reference->find(audit.inputs[i]);
    if (input == nullptr || !input->value || input->shape != healthy.in[i].shape()) continue;
    healthy.in[i] = converted(input->value, healthy.in[i].dtype());
  }
  const Backend& backend = session_.backend();
  const Tensor result = run(backend, healthy, *pools_.back());
  audit.healthy = local_error(healthy, result, backend, oracle_, *pools_.back(), options_.sampled_rows);
}

}  // namespace tl::inspect
