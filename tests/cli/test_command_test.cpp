// tl test: blocks, expectations, what failures look like, exit codes.
#include <gtest/gtest.h>

#include <filesystem>
#include <nlohmann/json.hpp>

#include "cli/program.h"

namespace tl::test {
namespace {

class TestCommand : public testing::Test {
 protected:
  /// Runs `tl test` in a folder that holds these programs.
  Output run(const std::vector<std::pair<std::string, std::string>>& files,
             std::vector<std::string> arguments) {
    for (const auto& [name, text] : files) {
      std::filesystem::create_directories(std::filesystem::path(folder_ / name).parent_path());
      write_file(folder_ / name, text);
    }
    arguments.insert(arguments.begin(), "test");
    return run_tl(arguments, {.directory = folder_.path()});
  }
  TempFolder folder_;
};

TEST_F(TestCommand, CountsBlocksAndExpectations) {
  const Output r = run({{"a.tl",
                         "fn twice(x) { 2 * x }\n"
                         "main {\n  print(twice(2))  // expect: 4\n  print(\"\")  // expect:\n}\n"
                         "test \"doubles\" { assert_eq(twice(3), 6) }\n"
                         "test \"prints\" {\n  print(1)\n}\n"
                         "test \"expects\" {\n  print(1)  // expect: 1\n}\n"}},
                       {"a.tl"});
  EXPECT_EQ(r.out, "4 passed, 0 failed\n");
  EXPECT_EQ(r.err, "");
  EXPECT_EQ(r.exit_code, 0);
}

TEST_F(TestCommand, ShowsADiffOfTheOutput) {
  const Output r = run({{"a.tl",
                         "main {\n  for i in 0..5 { print(i) }\n  // expect: 0\n  // expect: 1\n"
                         "  // expect: two\n  // expect: 3\n  // expect: 4\n  // expect: 5\n}\n"}},
                       {"a.tl"});
  EXPECT_EQ(r.out,
            "a.tl:5: main: the output differs (- expected, + printed)\n"
            "    0\n    1\n  - two\n  + 2\n    3\n    4\n  - 5\n"
            "0 passed, 1 failed\n");
  EXPECT_EQ(r.exit_code, 1);
  EXPECT_EQ(r.err, "");
}

TEST_F(TestCommand, ShowsOnlyWhatIsNearADifference) {
  std::string text = "main {\n  for i in 0..30 { print(i) }\n";
  for (int i = 0; i < 30; ++i) text += "  // expect: " + std::to_string(i == 10 || i == 20 ? -i : i) + "\n";
  const Output r = run({{"a.tl", text + "}\n"}}, {"a.tl"});
  EXPECT_EQ(
      r.out,
      "a.tl:13: main: the output differs (- expected, + printed)\n"
      "    8\n    9\n  - -10\n  + 10\n    11\n    12\n  …\n    18\n    19\n  - -20\n  + 20\n    21\n    22\n"
      "0 passed, 1 failed\n");
}

TEST_F(TestCommand, ShowsThePlaceOfAFailure) {
  const Output r = run({{"a.tl", "test \"adds\" {\n  let x = 1 + 1\n  assert_eq(x, 3)\n}\n"}}, {"a.tl"});
  EXPECT_EQ(r.out,
            "a.tl:3: adds: 2 is not 3\n"
            "      3 |   assert_eq(x, 3)\n"
            "        |   ^^^^^^^^^^^^^^^\n"
            "0 passed, 1 failed\n");
  EXPECT_EQ(r.exit_code, 1);
}

TEST_F(TestCommand, ErrorsCanBeExpected) {
  const Output r =
      run({{"run.tl",
            "main {\n  print(1)  // expect: 1\n  print([1][5])  // expect error: index 5 is outside\n}\n"},
           {"check.tl", "main {\n  print(a)  // expect error: a\n  print(b)  // expect error: b\n}\n"},
           {"block.tl", "test \"fails\" {\n  panic(\"no\")  // expect error: no\n}\n"}},
          {"."});
  EXPECT_EQ(r.out, "3 passed, 0 failed\n") << r.err;
}

TEST_F(TestCommand, AnErrorThatDoesNotComeIsAFailure) {
  const Output r = run({{"none.tl", "main {\n  print(1)  // expect error: no\n}\n"},
                        {"line.tl", "main {\n  // expect error: no\n  panic(\"no\")\n}\n"},
                        {"text.tl", "main {\n  panic(\"no\")  // expect error: yes\n}\n"},
                        {"twice.tl", "main {\n  print(a)\n  print(b)  // expect error: b\n}\n"}},
                       {"none.tl", "line.tl", "text.tl", "twice.tl"});
  for (const char* part :
       {"none.tl:2: main: the error \"no\" was expected and did not come\n", "line.tl:3: main: no\n",
        "text.tl:2: main: no\n", "twice.tl:2: check: ", "0 passed, 4 failed\n"})
    EXPECT_NE(r.out.find(part), std::string::npos) << part << "\n" << r.out;
  EXPECT_EQ(r.exit_code, 1);
}

TEST_F(TestCommand, AWrongProgramIsAFailure) {
  const Output r =
      run({{"a.tl", "fn f() { nothing_of_this_name }\ntest \"t\" { assert(true) }\n"}}, {"a.tl"});
  EXPECT_TRUE(r.out.starts_with("a.tl:1: check: ")) << r.out;
  EXPECT_TRUE(r.out.ends_with("0 passed, 1 failed\n")) << r.out;
  EXPECT_EQ(r.exit_code, 1);
}

TEST_F(TestCommand, AMistakeInATestFailsThatTestAlone) {
  const Output r = run({{"a.tl",
                         "test \"wrong\" { print(nothing_of_this_name) }\n"
                         "test \"shapes\" { zeros([2]) + zeros([3]) }  // expect error: shapes [2] and [3]\n"
                         "test \"sound\" { assert(true) }\n"}},
                       {"a.tl"});
  EXPECT_TRUE(r.out.starts_with("a.tl:1: wrong: unknown name 'nothing_of_this_name'")) << r.out;
  EXPECT_TRUE(r.out.ends_with("2 passed, 1 failed\n")) << r.out;
  EXPECT_EQ(r.exit_code, 1);
}

TEST_F(TestCommand, FoldersAreSearched) {
  const std::string text = "test \"holds\" { assert(true) }\n";
  const Output r = run({{"f/b.tl", text},
                        {"f/deep/a.tl", text},
                        {"f/plain.tl", "main { panic(\"not run\") }\n"},
                        {"f/note.txt", "test"}},
                       {"-v", "f"});
  EXPECT_EQ(r.out, "f/b.tl:1: holds: passed\nf/deep/a.tl:1: holds: passed\n2 passed, 0 failed\n");
}

TEST_F(TestCommand, ProgramsFindTheFilesBesideThem) {
  const std::string text = "test \"reads\" { assert_eq(read_text(\"data.txt\"), \"here\") }\n";
  EXPECT_EQ(run({{"f/a.tl", text}, {"f/data.txt", "here"}, {"b.tl", "test \"b\" { }\n"}}, {"f", "b.tl"}).out,
            "2 passed, 0 failed\n");
}

TEST_F(TestCommand, FilterChoosesByNameAndFile) {
  const std::string text = "test \"one\" { }\ntest \"two\" { panic() }\n";
  EXPECT_EQ(run({{"a.tl", text}, {"b.tl", text}}, {".", "--filter", "one"}).out, "2 passed, 0 failed\n");
  EXPECT_EQ(run({}, {".", "--filter", "a.tl: o"}).out, "1 passed, 0 failed\n");
  const Output none = run({}, {".", "--filter", "three"});
  EXPECT_EQ(none.exit_code, 1);
  EXPECT_NE(none.err.find("no tests match 'three'"), std::string::npos) << none.err;
}

TEST_F(TestCommand, JsonTellsTheSame) {
  const Output r = run({{"a.tl", "test \"one\" { }\ntest \"two\" { panic(\"why\") }\n"}}, {"a.tl", "--json"});
  EXPECT_EQ(r.exit_code, 1);
  const auto json = nlohmann::json::parse(r.out);
  EXPECT_EQ(json["passed"], 1);
  EXPECT_EQ(json["failed"], 1);
  EXPECT_EQ(json["tests"][0],
            nlohmann::json({{"file", "a.tl"}, {"line", 1}, {"name", "one"}, {"passed", true}}));
  EXPECT_EQ(json["tests"][1]["message"], "why");
}

TEST_F(TestCommand, SaysWhatIsMissing) {
  const Output absent = run({}, {"absent.tl"});
  EXPECT_EQ(absent.exit_code, 1);
  EXPECT_NE(absent.err.find("absent.tl: there is no such file or folder"), std::string::npos) << absent.err;
  const Output none = run({{"a.tl", "main { }\n"}}, {"a.tl"});
  EXPECT_EQ(none.exit_code, 1);
  EXPECT_NE(none.err.find("no tests: "), std::string::npos) << none.err;
  EXPECT_EQ(run({}, {}).exit_code, 2);
}

TEST_F(TestCommand, CommentsInStringsAreNone) {
  const Output r =
      run({{"a.tl", "main {\n  print(\"// expect: 5\")  // expect: // expect: 5\n}\n"}}, {"a.tl"});
  EXPECT_EQ(r.out, "1 passed, 0 failed\n");
}

}  // namespace
}  // namespace tl::test
