// Every operation on every backend: against its definition (reference) or against the reference backend
// (others).
#include <algorithm>
#include <cmath>
#include <cstdio>
#include <cstdlib>
#include <cstring>

#include <fmt/format.h>
#include <gtest/gtest.h>

#include "backend/cuda/cuda_backend.h"
#include "inspect/bounds.h"
#include "inspect/operation.h"
#include "ops/backends.h"
#include "ops/cases.h"
#include "ops/definitions.h"

namespace tl::test {

std::vector<ThreadPool*> pools() {
  static ThreadPool one(1), two(2), four(4);
  return {&one, &two, &four};
}

namespace {

std::array<std::vector<Case>, kOpCount> generate(DType base) {
  Cases cases(base);
  add_elementwise_cases(cases);
  add_reduction_cases(cases);
  add_shape_cases(cases);
  add_index_cases(cases);
  add_contract_cases(cases);
  add_matrix_cases(cases);
  add_norm_cases(cases);
  add_attention_cases(cases);
  std::array<std::vector<Case>, kOpCount> by_op;
  for (Case& c : cases.all) by_op[static_cast<size_t>(c.op)].push_back(std::move(c));
  return by_op;
}

const std::vector<Case>& cases_of(const Backend& backend, Op op) {
  static const auto f32 = generate(DType::f32), f64 = generate(DType::f64);
  return (arithmetic_of(backend).type == DType::f64 ? f64 : f32)[static_cast<size_t>(op)];
}

/// Whether a case's inputs are floats with as many bits as the backend computes with. Sums and products of
/// integers and of narrower floats are often exact, which says nothing about the bound.
bool has_full_precision(const Backend& backend, const Case& c) {
  int floats = 0;
  for (const Tensor& t : c.in) {
    if (is_float(t.dtype()) && t.dtype() != arithmetic_of(backend).type) return false;
    floats += is_float(t.dtype());
  }
  return floats > 0;
}

/// The executor computes float64 tensors on the reference backend alone, but for conversions between floats.
bool runs_on(const Backend& backend, const Case& c) {
  if (backend.name() == "reference") return true;
  const bool f64 =
      result_type(c).dtype == DType::f64 ||
      std::any_of(c.in.begin(), c.in.end(), [](const Tensor& t) { return t.dtype() == DType::f64; });
  const bool caches_blocks =
      (c.op == Op::attention || c.op == Op::cache_append) &&
      std::any_of(c.in.begin(), c.in.end(), [](const Tensor& t) { return is_quantised(t.dtype()); });
  return !f64 && (!caches_blocks || backend.caches_blocks());  // others are never given such a cache
}

std::vector<long double> numbers(const Tensor& t) {
  std::vector<long double> result;
  for (int64_t i = 0; i < t.elements(); ++i)
    result.push_back(is_float(t.dtype()) ? static_cast<long double>(load_double(t, i))
                                         : static_cast<long double>(load_int(t, i)));
  return result;
}

std::string describe(const Backend& backend, const Case& c) {
  std::string text = fmt::format("[{}] on {}", name(c.op), backend.name());
  for (const Tensor& t : c.in)
    text += fmt::format("  {}{} strides {}", name(t.dtype()), to_string(t.shape()), to_string(t.strides()));
  text += fmt::format("  {}  ints", c.what);
  for (const int64_t i : c.params.ints) text += fmt::format(" {}", i);
  text += "  floats";
  for (const double f : c.params.floats) text += fmt::format(" {}", f);
  return text;
}

/// What comparing one result found.
struct Comparison {
  bool exact = false;
  double largest = 0;    ///< error over bound
  double aggregate = 0;  ///< root mean square of it
  std::string failure;   ///< empty if all is well
};

/// Errors that fill their bounds evenly have this root mean square; errors of few elements scatter around it.
double aggregate_limit(size_t n) { return (1 + 8 / std::sqrt(static_cast<double>(n))) / std::sqrt(3.0); }

Comparison compare(const Case& c, const Backend& backend, const Tensor& result,
                   const std::vector<long double>& exact) {
  const DType stored = result.dtype();
  const std::vector<long double> actual = numbers(result);
  std::vector<double> expected(exact.begin(), exact.end());
  const std::vector<double> bounds =
      error_bound(c, arithmetic_of(backend), stored, expected, reference_backend());
  Comparison comparison;
  comparison.exact = bounds.empty();
  size_t worst = 0, counted = 0;
  const auto fail = [&](const char* what, size_t i) {
    comparison.failure =
        fmt::format("{}\n  {} at element {} of {}: expected {:.9g}, actual {:.9g}, bound {:.3g}",
                    describe(backend, c), what, i, to_string(result.shape()), expected[i],
                    static_cast<double>(actual[i]), bounds.empty() ? 0.0 : bounds[i]);
    return comparison;
  };
  for (size_t i = 0; i < actual.size(); ++i) {  // NaN and infinity first: they make errors meaningless
    const double e = rounded(stored, expected[i]);
    if (std::isnan(e) != std::isnan(actual[i])) return fail(std::isnan(e) ? "not NaN" : "NaN", i);
    if (std::isinf(e) != std::isinf(actual[i]) || (std::isinf(e) && e != actual[i]))
      return fail("infinity", i);
  }
  for (size_t i = 0; i < actual.size(); ++i) {
    const double e = rounded(stored, expected[i]);
    if (!std::isfinite(e)) continue;
    if (comparison.exact) {
      if (actual[i] != (is_float(stored) ? static_cast<long double>(e) : exact[i]))
        return fail("not exact", i);
      continue;
    }
    const auto error = static_cast<double>(std::fabs(actual[i] - exact[i]));
    if (bounds[i] == 0 && error == 0) continue;
    const double ratio = error / bounds[i];
    comparison.aggregate += ratio * ratio;
    ++counted;
    if (ratio > comparison.largest) comparison.largest = ratio, worst = i;
  }
  comparison.aggregate = std::sqrt(comparison.aggregate / static_cast<double>(std::max<size_t>(1, counted)));
  if (comparison.largest > 1) return fail("error above its bound", worst);
  if (comparison.aggregate > aggregate_limit(counted))
    return fail("errors are large throughout; worst", worst);
  return comparison;
}

/// The same bits with any number of threads, and again.
std::string check_determinism(const Backend& backend, const Case& c, const Tensor& once) {
  const auto bytes = static_cast<size_t>(bytes_of(once.dtype(), once.elements()));
  for (ThreadPool* pool : {pools()[1], pools()[2], pools()[2]}) {
    const Tensor again = run(backend, c, *pool);
    if (std::memcmp(once.bytes(), again.bytes(), bytes) != 0)
      return fmt::format("{}\n  other bits with {} threads", describe(backend, c), pool->size());
  }
  return "";
}

struct Row {
  std::string backend;
  Op op;
  size_t cases = 0, exact = 0;
  double median = 0, largest = 0, aggregate = 0;
};
std::vector<Row> table;

class Conformance : public testing::Test {
 public:
  Conformance(const Backend& backend, Op op) : backend_(backend), op_(op) {}

  void TestBody() override {
    const bool no_kernel = op_ == Op::constant || op_ == Op::scalar || op_ == Op::permute ||
                           op_ == Op::broadcast || op_ == Op::slice;
    if (no_kernel) return;
    ASSERT_NE(backend_.kernels()[static_cast<size_t>(op_)].run, nullptr)
        << backend_.name() << " has no kernel for " << name(op_);
    Row row{std::string(backend_.name()), op_};
    std::vector<double> ratios;
    int failures = 0;
    for (const Case& c : cases_of(backend_, op_)) {
      if (!runs_on(backend_, c)) continue;
      const Comparison comparison = run(c);
      ++row.cases;
      if (comparison.exact) {
        ++row.exact;
      } else {
        if (has_full_precision(backend_, c)) ratios.push_back(comparison.largest);
        row.largest = std::max(row.largest, comparison.largest);
        row.aggregate = std::max(row.aggregate, comparison.aggregate);
      }
      if (!comparison.failure.empty() && ++failures <= 5) ADD_FAILURE() << comparison.failure;
    }
    EXPECT_GT(row.cases, 0u) << "no cases for " << name(op_);
    if (failures > 5)
      ADD_FAILURE() << failures << " of " << row.cases << " cases of " << name(op_) << " failed";
    if (row.exact < row.cases) {
      ASSERT_FALSE(ratios.empty());
      std::nth_element(ratios.begin(), ratios.begin() + static_cast<int64_t>(ratios.size() / 2),
                       ratios.end());
      row.median = ratios[ratios.size() / 2];
      EXPECT_GE(row.median, 0.05) << "the error bound of " << name(op_) << " is too loose to find anything";
    }
    table.push_back(row);
  }

 private:
  Comparison run(const Case& c) {
    try {
      const Tensor result = inspect::run(backend_, c, *pools()[0]);
      const bool is_reference = backend_.name() == "reference";
      Comparison comparison =
          compare(c, backend_, result,
                  is_reference ? define(c) : numbers(inspect::run(reference_backend(), c, *pools()[0])));
      if (comparison.failure.empty()) comparison.failure = check_determinism(backend_, c, result);
      return comparison;
    } catch (const std::exception& e) {
      return {.failure = fmt::format("{}\n  threw: {}", describe(backend_, c), e.what())};
    }
  }

  const Backend& backend_;
  Op op_;
};

class Report : public testing::Environment {
 public:
  void TearDown() override {
    if (table.empty()) return;
    std::printf("\nerror / bound, per case the largest; aggregate: the largest root mean square of a case\n");
    std::printf("%-10s %-15s %6s %6s %8s %8s %10s\n", "backend", "op", "cases", "exact", "median", "max",
                "aggregate");
    for (const Row& row : table) {
      std::printf("%-10s %-15s %6zu %6zu ", row.backend.c_str(), std::string(name(row.op)).c_str(), row.cases,
                  row.exact);
      if (row.cases == row.exact)
        std::printf("%8s\n", "exact");
      else
        std::printf("%8.3f %8.3f %10.3f\n", row.median, row.largest, row.aggregate);
    }
  }
};

std::vector<const Backend*> chosen;

/// Reads --backend NAME (or =NAME) and TL_BACKEND; false if the name is unknown.
bool choose_backends(int argc, char** argv) {
  const char* environment = std::getenv("TL_BACKEND");
  std::string wanted = environment ? environment : "all";
  for (int i = 1; i < argc; ++i) {
    const std::string argument = argv[i];
    if (argument == "--backend" && i + 1 < argc) wanted = argv[i + 1];
    if (argument.rfind("--backend=", 0) == 0) wanted = argument.substr(10);
  }
  for (const Backend* backend : {&reference_backend(), &cpu_backend()})
    if (wanted == "all" || wanted == backend->name()) chosen.push_back(backend);
  if (wanted == "cuda" || (wanted == "all" && !cuda_devices().empty())) chosen.push_back(&cuda_backend(0));
  if (chosen.empty())
    std::fprintf(stderr, "unknown backend '%s': cpu, reference, cuda or all\n", wanted.c_str());
  return !chosen.empty();
}

}  // namespace

const std::vector<const Backend*>& backends() { return chosen; }

}  // namespace tl::test

int main(int argc, char** argv) {
  using namespace tl;
  testing::InitGoogleTest(&argc, argv);
  if (!test::choose_backends(argc, argv)) return 2;
  for (const Backend* backend : test::backends())
    for (int i = 0; i < kOpCount; ++i) {
      const auto op = static_cast<Op>(i);
      testing::RegisterTest("Conformance", fmt::format("{}_{}", backend->name(), name(op)).c_str(), nullptr,
                            nullptr, __FILE__, __LINE__,
                            [backend, op] { return new test::Conformance(*backend, op); });
    }
  testing::AddGlobalTestEnvironment(new test::Report);
  return RUN_ALL_TESTS();
}
