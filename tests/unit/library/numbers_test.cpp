// The built-in functions give what NumPy gives: numbers.txt, which make_numbers.py writes, on both backends.
#include <gtest/gtest.h>

#include <cmath>
#include <fstream>
#include <sstream>

#include "unit/library/evaluate.h"

namespace tl::test {
namespace {

/// "EXPRESSION => TYPE: NUMBERS"
struct Row {
  int line;
  std::string code, expected;
};

std::vector<Row> rows() {
  std::ifstream file(TL_SOURCE_DIR "/tests/unit/library/numbers.txt");
  std::vector<Row> all;
  int number = 0;
  for (std::string line; std::getline(file, line);) {
    ++number;
    const size_t arrow = line.find(" => ");
    if (arrow == std::string::npos) throw std::logic_error("numbers.txt has a line without =>: " + line);
    all.push_back({number, line.substr(0, arrow), line.substr(arrow + 4)});
  }
  return all;
}

struct Tolerance {
  double relative, absolute;
};

/// Compares a value that is no list with "TYPE: NUMBERS".
void expect_equal(Evaluator& evaluator, const lang::Value& value, const std::string& expected,
                  Tolerance tolerance) {
  const size_t colon = expected.find(':');
  std::istringstream text(expected.substr(colon + 1));
  std::vector<double> numbers;
  for (std::string word; text >> word;) numbers.push_back(std::stod(word));

  std::string type = value.describe().substr(value.describe().find(' ') + 1);
  std::vector<double> actual;
  if (value.is_tensor()) {
    type = type.substr(std::string("tensor ").size());
    const Tensor t = converted(evaluator.evaluate(value.tensor()), DType::f64);
    actual.assign(t.data<double>(), t.data<double>() + t.elements());
  } else {
    actual = {value.is(lang::ValueKind::boolean) ? value.boolean() : value.number()};
  }
  EXPECT_EQ(type, expected.substr(0, colon));
  ASSERT_EQ(actual.size(), numbers.size());
  for (size_t i = 0; i < actual.size(); ++i) {
    if (std::isinf(numbers[i])) {
      EXPECT_EQ(actual[i], numbers[i]) << "element " << i;
    } else {
      EXPECT_NEAR(actual[i], numbers[i], tolerance.absolute + tolerance.relative * std::abs(numbers[i]))
          << "element " << i;
    }
  }
}

class Numbers : public testing::TestWithParam<Row> {
 protected:
  static void check(const Backend& backend, Tolerance tolerance) {
    const Row& row = GetParam();
    SCOPED_TRACE("numbers.txt:" + std::to_string(row.line) + ": " + row.code);
    Evaluator evaluator(backend);
    const lang::Value value = evaluator.value(row.code);
    if (!row.expected.starts_with("list ")) return expect_equal(evaluator, value, row.expected, tolerance);
    ASSERT_TRUE(value.is(lang::ValueKind::list));
    std::string rest = row.expected.substr(std::string("list ").size());
    for (const lang::Value& item : value.list()) {
      const size_t bar = rest.find(" | ");
      expect_equal(evaluator, item, rest.substr(0, bar), tolerance);
      rest = bar == std::string::npos ? "" : rest.substr(bar + 3);
    }
    EXPECT_EQ(rest, "") << "items are missing";
  }
};

// The inputs are exact in float32; what remains on the reference backend are constants made in float32.
TEST_P(Numbers, OnTheReferenceBackend) { check(reference_backend(), {1e-7, 1e-9}); }
TEST_P(Numbers, OnTheCpuBackend) { check(cpu_backend(), {2e-6, 1e-6}); }

INSTANTIATE_TEST_SUITE_P(All, Numbers, testing::ValuesIn(rows()),
                         [](const auto& test) { return "line" + std::to_string(test.param.line); });

}  // namespace
}  // namespace tl::test
