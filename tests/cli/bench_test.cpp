// tl bench: the form of what it prints. Speeds themselves are no test's business.
#include <gtest/gtest.h>

#include <algorithm>
#include <filesystem>
#include <nlohmann/json.hpp>

#include "cli/program.h"

namespace tl::test {
namespace {

Output bench(std::vector<std::string> more) {
  std::vector<std::string> arguments = {"bench", tiny_model(), "-p", "16", "-n", "4", "-r", "3"};
  arguments.insert(arguments.end(), more.begin(), more.end());
  return run_tl(arguments);
}

TEST(Bench, JsonHoldsEveryTestWithItsSamplesAndItsLimit) {
  const Output r = bench({"-d", "0,32", "-t", "1,2", "--json"});
  ASSERT_EQ(r.exit_code, 0) << r.err;
  const auto j = nlohmann::json::parse(r.out);
  std::vector<std::string> names;
  for (const auto& t : j["tests"]) {
    names.push_back(t["test"].get<std::string>() + " t" + std::to_string(t["threads"].get<int>()));
    EXPECT_EQ(t["samples"].size(), 3u);
    EXPECT_EQ(t["tokens_per_second"], t["samples"][1]) << "the median";
    EXPECT_LE(t["samples"][0], t["samples"][2]);
    EXPECT_GT(t["limit_tokens_per_second"], 0);
  }
  EXPECT_EQ(names, (std::vector<std::string>{"pp16 t1", "tg4 t1", "pp16 @ d32 t1", "tg4 @ d32 t1", "pp16 t2",
                                             "tg4 t2", "pp16 @ d32 t2", "tg4 @ d32 t2"}));
  ASSERT_EQ(j["starts"].size(), 2u);
  EXPECT_LT(j["starts"][0]["load_seconds"], j["starts"][0]["first_token_seconds"]);
  EXPECT_GT(j["limits"][1]["read_bytes_per_second"], 1e8);
  EXPECT_GT(j["limits"][1]["multiply_adds_per_second"], 1e8);
  EXPECT_GT(j["peak_memory_bytes"], 1 << 20);
}

TEST(Bench, CsvIsTheTable) {
  const Output r = bench({"--csv", "-t", "1"});
  EXPECT_TRUE(r.out.starts_with("test,threads,tokens/s,from,to,limit,of limit\npp16,1,")) << r.out;
  EXPECT_EQ(std::count(r.out.begin(), r.out.end(), '\n'), 3);
}

TEST(Bench, MarkdownIsATable) {
  const Output r = bench({"--markdown", "-t", "1"});
  EXPECT_NE(r.out.find("| test | threads |"), std::string::npos) << r.out;
  EXPECT_NE(r.out.find("\n|------|--------:|"), std::string::npos) << r.out;
  EXPECT_NE(r.out.find("\n| pp16 |"), std::string::npos) << r.out;
}

TEST(Bench, PeopleGetATableAndWhatTheMachineCanDo) {
  const Output r = bench({"-t", "1"});
  for (const char* text :
       {"test  threads", "\npp16", "\ntg4", "1 threads: loaded in", "memory is read at", "peak memory: "})
    EXPECT_NE(r.out.find(text), std::string::npos) << text << "\n" << r.out;
}

TEST(Bench, TheReferenceHasNoLimits) {
  const Output r = bench({"--device", "reference", "--json", "-t", "1"});
  const auto j = nlohmann::json::parse(r.out);
  EXPECT_FALSE(j.contains("limits"));
  EXPECT_FALSE(j["tests"][0].contains("limit_tokens_per_second"));
}

TEST(Bench, SenselessCountsAreUsageErrors) {
  EXPECT_EQ(run_tl({"bench", tiny_model(), "-r", "0"}).exit_code, 2);
  EXPECT_EQ(run_tl({"bench", tiny_model(), "-p", "-1"}).exit_code, 2);
  EXPECT_EQ(run_tl({"bench", tiny_model(), "--csv", "--json"}).exit_code, 2);
}

/// Weights in the kernels' layout take the place of the file's pages, one piece of 4 MiB after another: at no
/// time does a matrix stand in memory twice. What else a run takes is that of a narrow model.
TEST(Bench, MemoryStaysNearTheFile) {
#ifdef TL_SANITIZED
  GTEST_SKIP() << "a sanitizer has memory of its own";
#endif
  const TempFolder folder;
  const auto measured = [&](const char* width) {
    const std::string path = folder / width;
    const Output made = run_tl({"synth", path, "--tied", "--layers", "1", "--hidden", width, "--ffn", "64",
                                "--heads", "4", "--vocab", "30000", "--context", "64"});
    EXPECT_EQ(made.exit_code, 0) << made.err;
    const Output r = run_tl({"bench", path, "-p", "16", "-n", "2", "-r", "1", "-t", "2", "--json"});
    return std::pair(static_cast<double>(std::filesystem::file_size(path)),
                     nlohmann::json::parse(r.out)["peak_memory_bytes"].get<double>());
  };
  const auto [narrow_file, narrow_peak] = measured("256");
  const auto [file, peak] = measured("2048");
  EXPECT_GT(file, 40e6);
  const double piece = 4 << 20, large_page = 2 << 20, rows_of_embedding = 64 * (64 << 10);
  EXPECT_LE(peak - narrow_peak, 1.1 * (file - narrow_file) + piece + large_page + rows_of_embedding);
}

}  // namespace
}  // namespace tl::test
