// --profile and --profile-json: what they say about a run, and that they change nothing of it.
#include <gtest/gtest.h>

#include <fstream>
#include <nlohmann/json.hpp>
#include <regex>

#include "cli/program.h"

namespace tl::test {
namespace {

Output generate(std::vector<std::string> more) {
  std::vector<std::string> arguments = {"generate", tiny_model(), "--tokens", "1,2,3",
                                        "-n",       "4",          "--temp",   "0"};
  arguments.insert(arguments.end(), more.begin(), more.end());
  return run_tl(arguments);
}

TEST(Profile, ShowsWhereTheTimeOfPromptAndAnswerGoes) {
  const Output plain = generate({}), r = generate({"--profile"});
  ASSERT_EQ(r.exit_code, 0) << r.err;
  EXPECT_EQ(r.out, plain.out);
  for (const char* text : {"prompt: 1 runs, 3 tokens, ", "generation: ", "\n  linear ", "\n  attention ",
                           "\n  interpreter and planner ", "\n  layer[0] ", "\n  outside of layers "})
    EXPECT_NE(r.err.find(text), std::string::npos) << text << "\n" << r.err;
}

TEST(Profile, SharesOfOperationsAndOfTheInterpreterAddUp) {
  const Output r = generate({"--profile"});
  const std::string table = r.err.substr(0, r.err.find("prompt: "));  // of the generation, which comes first
  const std::regex line(R"(\n  (\S[^\n]*?)\s+(?:\d+\s+)?[\d.]+\s+([\d.]+) %)");
  double operations = 0, layers = 0;
  for (auto at = std::sregex_iterator(table.begin(), table.end(), line); at != std::sregex_iterator(); ++at) {
    const std::string name = (*at)[1];
    const bool is_layer = name.starts_with("layer[") || name == "outside of layers";
    (is_layer ? layers : operations) += std::stod((*at)[2]);
  }
  EXPECT_NEAR(operations, 100, 2) << table;
  EXPECT_GT(layers, 0);
  EXPECT_LT(layers, 101);
}

TEST(Profile, JsonHoldsEveryStepWithItsPlace) {
  const TempFolder folder;
  const std::string path = folder / "profile.json";
  const Output r = generate({"--profile-json", path});
  ASSERT_EQ(r.exit_code, 0) << r.err;
  std::ifstream file(path);
  const auto events = nlohmann::json::parse(file)["traceEvents"];
  int places = 0, stretches = 0;
  for (const auto& e : events) {
    EXPECT_EQ(e["ph"], "X");
    EXPECT_GE(e["dur"].get<double>(), 0);
    stretches += e["cat"] == "stretch";
    places += e["name"] == "linear" && e["args"]["place"].get<std::string>().starts_with("forward/layer[0]/");
  }
  EXPECT_GE(stretches, 4);
  EXPECT_GE(places, 4 * 7) << "seven products in a layer";
}

TEST(Profile, OfAProgramIsOneTable) {
  const TempFolder folder;
  const std::string path = write_file(folder / "a.tl", "main { print(sum(exp([1.0, 2.0]))) }\n");
  const Output r = run_tl({"run", "--profile", path});
  ASSERT_EQ(r.exit_code, 0) << r.err;
  EXPECT_NE(r.err.find("program: 1 runs\n"), std::string::npos) << r.err;
  EXPECT_NE(r.err.find("\n  exp "), std::string::npos) << r.err;
}

TEST(Profile, AFileThatCannotBeWrittenIsAnError) {
  const Output r = generate({"--profile-json", "/no/such/folder/profile.json"});
  EXPECT_EQ(r.exit_code, 1);
  EXPECT_NE(r.err.find("/no/such/folder/profile.json"), std::string::npos) << r.err;
}

}  // namespace
}  // namespace tl::test
