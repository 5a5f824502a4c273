// Every program under examples/ that has its output beside it, NAME.expected, prints exactly that.
// With TL_UPDATE_EXPECTED=1 in the environment the .expected files are written instead of compared.
#include <gtest/gtest.h>

#include <algorithm>
#include <cctype>
#include <cstdlib>
#include <filesystem>
#include <fstream>

#include "base/file.h"
#include "lang/run_program.h"

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
  const ProgramRun run = run_program(name + ".tl");
  ASSERT_EQ(run.error, "");
  if (std::getenv("TL_UPDATE_EXPECTED"))
    std::ofstream(name + ".expected") << run.output;
  else
    EXPECT_EQ(run.output, read_file(name + ".expected"));
}
INSTANTIATE_TEST_SUITE_P(All, Example, testing::ValuesIn(examples()), case_name);

}  // namespace

}  // namespace tl::test
