// --draft: the same text, guessed ahead.
#include <gtest/gtest.h>

#include <fstream>
#include <nlohmann/json.hpp>

#include "cli/program.h"

namespace tl::test {
namespace {

using nlohmann::json;

class DraftOptions : public testing::Test {
 protected:
  static json generate(const std::vector<std::string>& more) {
    std::vector<std::string> arguments = {"generate", tiny_model(), "-p", "abc",   "-n",
                                          "60",       "--seed",     "5",  "--json"};
    arguments.insert(arguments.end(), more.begin(), more.end());
    const Output r = run_tl(arguments);
    EXPECT_EQ(r.exit_code, 0) << r.err;
    return json::parse(r.out, nullptr, false);
  }
  static void expect_same(json with, json without) {
    for (const char* varies : {"prompt_seconds", "generate_seconds", "draft"})
      with.erase(varies), without.erase(varies);
    EXPECT_EQ(with, without);
  }
  /// A model that is nearly the tiny one.
  std::string rounded() {
    const std::string path = folder_ / "rounded.gguf";
    EXPECT_EQ(run_tl({"quantize", tiny_model(), path, "q4_0"}).exit_code, 0);
    return path;
  }
  TempFolder folder_;
};

TEST_F(DraftOptions, TheTextIsTheSame) {
  const std::string model = rounded();
  const std::vector<std::vector<std::string>> runs = {
      {"--temp", "0", "--ignore-eos"},
      {"--temp", "0.5", "--ignore-eos", "--logprobs", "3"},
      {"--temp", "1.5", "--repeat-penalty", "1.2"},
      {"--temp", "0", "--ignore-eos", "-c", "32"},
      {"--temp", "0", "--ignore-eos", "-t", "1", "-b", "1"},
  };
  int64_t drafted = 0, accepted = 0;
  for (const auto& options : runs) {
    const json without = generate(options);
    EXPECT_FALSE(without.contains("draft"));
    for (const std::string& drafter : {std::string("lookup"), model}) {
      std::vector<std::string> with = options;
      with.insert(with.end(), {"--draft", drafter, "--draft-max", "5", "--draft-p-min", "0"});
      const json j = generate(with);
      expect_same(j, without);
      ASSERT_TRUE(j.contains("draft"));
      drafted += j["draft"]["drafted"].get<int64_t>();
      accepted += j["draft"]["accepted"].get<int64_t>();
    }
  }
  EXPECT_GT(accepted, 0);
  EXPECT_GT(drafted, accepted);
}

TEST_F(DraftOptions, StopTextsEndItAtTheSamePlace) {
  const json free = generate({"--temp", "0", "--ignore-eos"});
  const std::string text = free["text"];
  const std::vector<std::string> stop = {"--temp", "0", "--ignore-eos", "--stop", text.substr(20, 3)};
  std::vector<std::string> with = stop;
  with.insert(with.end(), {"--draft", "lookup", "--draft-min", "1"});
  const json without = generate(stop);
  EXPECT_EQ(without["stop_reason"], "stop_text");
  expect_same(generate(with), without);
}

TEST_F(DraftOptions, CountsAreShown) {
  const Output r = run_tl({"generate", tiny_model(), "-p", "abc", "-n", "60", "--temp", "0", "--ignore-eos",
                           "--draft", "lookup", "-v", "--profile"});
  EXPECT_EQ(r.exit_code, 0) << r.err;
  for (const char* part : {"drafts: ", " tokens in ", " accepted (", "verification: "})
    EXPECT_NE(r.err.find(part), std::string::npos) << part << r.err;
  EXPECT_EQ(run_tl({"generate", tiny_model(), "-p", "abc", "-n", "4", "-v"}).err.find("drafts"),
            std::string::npos);
}

TEST_F(DraftOptions, ChatGivesTheSameAnswers) {
  write_file(folder_ / "t.jinja",
             "{% for m in messages %}[{{ m.role }}]{{ m.content }}{% endfor %}[assistant]");
  const auto chat = [&](const std::vector<std::string>& more) {
    std::vector<std::string> arguments = {"chat", tiny_model(), "--template", folder_ / "t.jinja",
                                          "-n",   "24",         "--temp",     "0.4",
                                          "-s",   "3",          "-c",         "2048"};
    arguments.insert(arguments.end(), more.begin(), more.end());
    const Output r = run_tl(arguments, {.input = "hello\nagain\nagain and again\n/stats\n"});
    EXPECT_EQ(r.exit_code, 0) << r.err;
    return r.out;
  };
  const std::string alone = chat({});
  EXPECT_EQ(alone.find("drafts"), std::string::npos);
  for (const std::string& drafter : {std::string("lookup"), rounded()}) {
    const std::string with = chat({"--draft", drafter, "--draft-p-min", "0.1"});
    EXPECT_NE(with.find("drafts       "), std::string::npos);
    const auto answers = [](const std::string& text) { return text.substr(0, text.find("last prompt")); };
    EXPECT_EQ(answers(with), answers(alone)) << "the context holds the same, too";
  }
}

TEST_F(DraftOptions, MistakesAreExplained) {
  std::ifstream file(tiny_model(), std::ios::binary);
  std::string bytes(std::istreambuf_iterator<char>(file), {});
  bytes.replace(bytes.find("<extra_300>"), 11, "<EXTRA_300>");
  const std::string other = write_file(folder_ / "other.gguf", bytes);
  const auto fails = [](const std::vector<std::string>& more, int code, const std::string& message) {
    std::vector<std::string> arguments = {"generate", tiny_model(), "-p", "abc", "-n", "4"};
    arguments.insert(arguments.end(), more.begin(), more.end());
    const Output r = run_tl(arguments);
    EXPECT_EQ(r.exit_code, code) << r.err;
    EXPECT_NE(r.err.find(message), std::string::npos) << r.err;
  };
  fails({"--draft", other}, 1,
        "the draft model has another vocabulary: token 300 is '<EXTRA_300>' there and '<extra_300>' in the "
        "model");
  fails({"--draft", folder_ / "none.gguf"}, 1, "none.gguf");
  fails({"--draft", "lookup", "--draft-max", "63"}, 2, "--draft-max");
  fails({"--draft", "lookup", "--draft-p-min", "1.5"}, 2, "--draft-p-min");
}

}  // namespace
}  // namespace tl::test
