// Programs as tests of the language:
//   tests/lang/NAME.tl    passes `tl test`: it prints what its `// expect: …` comments say
//   tests/errors/NAME.tl  fails with exactly the text of NAME.expected beside it
// With TL_UPDATE_EXPECTED=1 in the environment the .expected files are written instead of compared.
#include <gtest/gtest.h>

#include <cstdlib>
#include <filesystem>
#include <fstream>

#include "base/file.h"
#include "lang/run_program.h"

namespace tl::test {

namespace {

const std::string kRoot = TL_SOURCE_DIR;

void compare_with_file(const std::string& path, const std::string& actual) {
  if (std::getenv("TL_UPDATE_EXPECTED")) {
    std::ofstream(path) << actual;
    return;
  }
  ASSERT_TRUE(std::filesystem::exists(path)) << path << " is missing; the program gave:\n" << actual;
  EXPECT_EQ(actual, read_file(path));
}

class Programs : public testing::TestWithParam<std::string> {
 protected:
  /// Messages name files relative to their folder.
  static void enter(const std::string& folder) { std::filesystem::current_path(kRoot + "/" + folder); }
};

std::string test_name(const testing::TestParamInfo<std::string>& info) { return info.param; }

using LanguageProgram = Programs;
TEST_P(LanguageProgram, PrintsWhatItExpects) {
  enter("tests/lang");
  const auto session = reference_session();
  const std::vector<TestResult> results = run_tests(GetParam() + ".tl", *session, host_options());
  EXPECT_FALSE(results.empty()) << "it has no tests";
  for (const TestResult& r : results)
    EXPECT_TRUE(r.passed) << r.file << ":" << r.line << ": " << r.name << ": " << r.message << "\n"
                          << r.details;
}
INSTANTIATE_TEST_SUITE_P(All, LanguageProgram, testing::ValuesIn(programs_in(kRoot + "/tests/lang")),
                         test_name);

using WrongProgram = Programs;
TEST_P(WrongProgram, IsRefusedWithItsMessage) {
  enter("tests/errors");
  const ProgramRun run = run_program(GetParam() + ".tl");
  ASSERT_NE(run.error_text, "") << "the program ran without an error";
  compare_with_file(GetParam() + ".expected", run.error_text + "\n");
}
INSTANTIATE_TEST_SUITE_P(All, WrongProgram, testing::ValuesIn(programs_in(kRoot + "/tests/errors")),
                         test_name);

}  // namespace

}  // namespace tl::test
