// Every built-in function is documented, and the example in its documentation gives what it says.
#include <gtest/gtest.h>

#include <regex>

#include "unit/library/evaluate.h"

namespace tl::test {
namespace {

/// One line: matrices are printed over several, and columns are padded.
std::string in_one_line(const std::string& text) {
  const std::string spaced = std::regex_replace(text, std::regex("\\s+"), " ");
  return std::regex_replace(spaced, std::regex("\\[ "), "[");
}

/// The built-in functions that this room adds.
std::vector<std::string> names() {
  lang::Library library;
  add_tensor_functions(library);
  add_neural_functions(library);
  add_sampling_functions(library);
  add_inspection_functions(library);
  return library.names();
}

class Documentation : public testing::TestWithParam<std::string> {};

TEST_P(Documentation, HasAnExampleThatHolds) {
  const std::string doc = builtins().find(GetParam())->doc;
  const size_t example = doc.find("\nExample: "), output = doc.find("  // ", example);
  ASSERT_NE(example, std::string::npos) << doc;
  ASSERT_NE(output, std::string::npos) << doc;
  const size_t begin = example + std::string("\nExample: ").size();
  const std::string code = doc.substr(begin, output - begin), expected = doc.substr(output + 5);
  EXPECT_NE(code.find(GetParam() + "("), std::string::npos) << "the example shows another function";
  Evaluator cpu(cpu_backend());
  EXPECT_EQ(in_one_line(cpu.text(code)), expected) << code;
}

INSTANTIATE_TEST_SUITE_P(All, Documentation, testing::ValuesIn(names()),
                         [](const auto& test) { return test.param; });

}  // namespace
}  // namespace tl::test
