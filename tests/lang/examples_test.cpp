// Every program under examples/ that has its output beside it, NAME.expected, prints exactly that on the cpu
// backend; one that fails, its error too. What they print is held against NumPy by
// tools/reference/examples_check.py. With TL_UPDATE_EXPECTED=1 in the environment the .expected files are
// written instead of compared.
#include <gtest/gtest.h>

#include <algorithm>
#include <cctype>
#include <cstdlib>
#include <filesystem>
#include <fstream>

#include "backend/backend.h"
#include "base/file.h"
#include "lang/run_program.h"
#include "library/model_functions.h"
#include "library/testing.h"
#include "runtime/session.h"

namespace tl::test {

namespace {

namespace fs = std::filesystem;

const fs::path kExamples = fs::path(TL_SOURCE_DIR) / "examples";

/// Paths below examples/, without the extension.
std::vector<std::string> examples() {
  std::vector<std::string> names;
  for (const auto& entry : fs::recursive_directory_iterator(kExamples)) {
    const fs::path expected = fs::path(entry.path()).replace_extension(".expected");
    if (entry.path().extension() == ".tl" && fs::exists(expected))
      names.push_back(fs::relative(entry.path(), kExamples).replace_extension().string());
  }
  std::sort(names.begin(), names.end());
  return names;
}

std::string case_name(const testing::TestParamInfo<std::string>& info) {
  std::string name = info.param;
  std::replace_if(
      name.begin(), name.end(), [](unsigned char c) { return std::isalnum(c) == 0; }, '_');
  return name;
}

class Example : public testing::TestWithParam<std::string> {};

TEST_P(Example, PrintsWhatIsBesideIt) {
  fs::current_path((kExamples / GetParam()).parent_path());
  const std::string name = fs::path(GetParam()).filename().string();
  Session session(cpu_backend(), &reference_backend());
  const ProgramRun run =
      run_captured(lang::Program::load(name + ".tl", standard_library()), session, host_options());
  const std::string shown = run.output + (run.error_text.empty() ? "" : run.error_text + "\n");
  if (std::getenv("TL_UPDATE_EXPECTED"))
    std::ofstream(name + ".expected") << shown;
  else
    EXPECT_EQ(shown, read_file(name + ".expected"));
}
INSTANTIATE_TEST_SUITE_P(All, Example, testing::ValuesIn(examples()), case_name);

// The list in examples/README.md is whole, and says of each program what its first line says.
TEST(Examples, AreListedWithTheirFirstLines) {
  const std::string list = read_file((kExamples / "README.md").string());
  const std::vector<std::string> names = examples();
  EXPECT_GE(names.size(), 50u);
  for (const std::string& name : names) {
    const std::string text = read_file((kExamples / (name + ".tl")).string());
    ASSERT_TRUE(text.starts_with("// ")) << name << " does not say what it shows";
    const std::string shows = text.substr(3, text.find('\n') - 3);
    EXPECT_NE(list.find("[" + name + "](" + name + ".tl) | " + shows + " |"), std::string::npos)
        << "expected a row: | [" << name << "](" << name << ".tl) | " << shows << " |";
  }
}

}  // namespace

}  // namespace tl::test
