// docs/tour.md and README.md print what they say: every snippet of the tour goes through `tl repl`, chapter
// by chapter.
//
// A snippet is a block ```tl; a block ``` that follows it at once is what it prints, or the error that it
// gives. ```tl model needs the model that TL_TEST_MODEL names, and speaks of it as "smollm2-135m".
#include <gtest/gtest.h>

#include <algorithm>
#include <cctype>
#include <cstdlib>

#include "base/file.h"
#include "cli/program.h"

namespace tl::test {
namespace {

constexpr const char* kModelName = "smollm2-135m";

struct Snippet {
  std::string code, output;
  bool is_error() const { return output.find(": error: ") != std::string::npos; }
};

struct Chapter {
  std::string title;
  bool needs_model = false;
  std::vector<Snippet> snippets{};
};

std::vector<std::string> lines_of(const std::string& path) {
  const std::string text = read_file(path);
  std::vector<std::string> lines;
  for (size_t at = 0, end; at < text.size(); at = end + 1) {
    end = std::min(text.find('\n', at), text.size());
    lines.push_back(text.substr(at, end - at));
  }
  return lines;
}

/// The content of the block that begins at `lines[at]`; `at` is then behind it.
std::string block(const std::vector<std::string>& lines, size_t& at) {
  std::string content;
  for (++at; at < lines.size() && lines[at] != "```"; ++at) content += lines[at] + "\n";
  ++at;
  return content;
}

const std::vector<Chapter>& tour() {
  static const std::vector<Chapter> chapters = [] {
    std::vector<Chapter> all;
    const std::vector<std::string> lines = lines_of(TL_SOURCE_DIR "/docs/tour.md");
    for (size_t at = 0; at < lines.size();) {
      if (lines[at].starts_with("# ") || lines[at].starts_with("## ")) {
        const std::string& line = lines[at++];
        all.push_back({line.substr(line.find(' ') + 1)});
      } else if (lines[at].starts_with("```tl")) {
        all.back().needs_model |= lines[at] == "```tl model";
        Snippet snippet{block(lines, at), ""};
        if (at < lines.size() && lines[at] == "```") snippet.output = block(lines, at);
        all.back().snippets.push_back(snippet);
      } else {
        EXPECT_FALSE(lines[at].starts_with("```"))
            << "line " << at + 1 << ": output without a program before it";
        ++at;
      }
    }
    std::erase_if(all, [](const Chapter& c) { return c.snippets.empty(); });
    return all;
  }();
  return chapters;
}

std::string replaced(std::string text, const std::string& what, const std::string& by) {
  for (size_t at = 0; (at = text.find(what, at)) != std::string::npos; at += by.size())
    text.replace(at, what.size(), by);
  return text;
}

class Tour : public testing::TestWithParam<size_t> {};

TEST_P(Tour, PrintsWhatItSays) {
  const Chapter& chapter = tour()[GetParam()];
  const char* model = std::getenv("TL_TEST_MODEL");
  if (chapter.needs_model && (model == nullptr || *model == '\0'))
    GTEST_SKIP()
        << "TL_TEST_MODEL is unset; it names the file of SmolLM2-135M-Instruct, which this chapter runs";

  const std::string mark = "-- end of snippet --\n";
  std::string typed, errors;
  for (const Snippet& snippet : chapter.snippets) {
    typed += replaced(snippet.code, kModelName, model ? model : kModelName) + "\nprint(\"" +
             mark.substr(0, mark.size() - 1) + "\")\n";
    if (snippet.is_error()) errors += snippet.output;
  }
  const Output r = run_tl({"repl"}, {.input = typed});
  size_t at = 0;
  for (const Snippet& snippet : chapter.snippets) {
    const size_t end = r.out.find(mark, at);
    ASSERT_NE(end, std::string::npos) << r.out << r.err;
    EXPECT_EQ(r.out.substr(at, end - at), snippet.is_error() ? "" : snippet.output) << snippet.code << r.err;
    at = end + mark.size();
  }
  if (errors.empty())
    EXPECT_EQ(r.err, "");
  else
    EXPECT_TRUE(r.err.starts_with(errors)) << r.err << "instead of\n" << errors;
}

std::string chapter_name(const testing::TestParamInfo<size_t>& info) {
  std::string name = tour()[info.param].title;
  std::replace_if(
      name.begin(), name.end(), [](unsigned char c) { return std::isalnum(c) == 0; }, '_');
  return name;
}

INSTANTIATE_TEST_SUITE_P(Chapters, Tour, testing::Range(size_t{0}, tour().size()), chapter_name);

TEST(Readme, ItsProgramIsAnExampleAndPrintsWhatItSays) {
  const std::vector<std::string> lines = lines_of(TL_SOURCE_DIR "/README.md");
  const auto heading = std::find(lines.begin(), lines.end(), "## A program");
  auto at = static_cast<size_t>(std::find(heading, lines.end(), "```") - lines.begin());
  ASSERT_LT(at, lines.size());
  const std::string program = block(lines, at);
  at = static_cast<size_t>(std::find(lines.begin() + static_cast<std::ptrdiff_t>(at), lines.end(), "```") -
                           lines.begin());
  ASSERT_LT(at, lines.size());
  const std::string session = block(lines, at);

  const std::string file = "examples/attention.tl", command = "$ ./tl run " + file + "\n";
  EXPECT_EQ(program, read_file(TL_SOURCE_DIR "/" + file));
  ASSERT_TRUE(session.starts_with(command)) << session;
  const Output r = run_tl({"run", TL_SOURCE_DIR "/" + file});
  EXPECT_EQ(r.err, "");
  EXPECT_EQ(r.out, session.substr(command.size()));
}

}  // namespace
}  // namespace tl::test
