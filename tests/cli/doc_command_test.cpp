// tl doc: the list, a page, unknown names, Markdown, JSON.
#include <gtest/gtest.h>

#include <fstream>
#include <nlohmann/json.hpp>
#include <sstream>

#include "cli/program.h"

namespace tl::test {
namespace {

bool contains(const std::string& text, const std::string& part) {
  return text.find(part) != std::string::npos;
}

#define EXPECT_HAS(text, part) \
  EXPECT_TRUE(contains(text, part)) << "expected: " << (part) << "\nfound: " << (text)

TEST(Doc, ListsTheFunctionsBySubject) {
  const Output r = run_tl({"doc"});
  EXPECT_EQ(r.exit_code, 0);
  EXPECT_EQ(r.err, "");
  EXPECT_HAS(r.out, "Creating tensors\n  zeros ");
  EXPECT_HAS(r.out, "  softmax ");
  EXPECT_HAS(r.out, "Exponentials scaled so that ");
  EXPECT_TRUE(r.out.ends_with("tl doc NAME shows a page.\n"));
}

TEST(Doc, ShowsAPage) {
  const Output r = run_tl({"doc", "layer_norm"});
  EXPECT_EQ(r.exit_code, 0);
  EXPECT_EQ(r.out, R"(layer_norm(x: tensor, gamma|weight = void, beta|bias = void, eps: float = 1e-5)
    -> tensor

Shifts and scales the last axis to mean 0 and variance 1, then by weights.

Shapes
    x[…, d], gamma[d], beta[d] -> […, d]

Types
    floats stay, integers become float32; computed in float32 at least

Formula
    y[…, i] = gamma[i] (x[…, i] - mean) / sqrt(var + eps) + beta[i]

Example
    > layer_norm([1.0, 2.0, 3.0])
    [-1.2247, 0.0000, 1.2247]

Other names
    lnorm

Source
    arXiv:1607.06450; `lnorm` in the paper on Tensor Logic, arXiv:2510.12269

See also
    rms_norm, batch_norm, var
)");
}

TEST(Doc, KnowsOtherNames) { EXPECT_EQ(run_tl({"doc", "lnorm"}).out, run_tl({"doc", "layer_norm"}).out); }

TEST(Doc, HasPagesAboutTheLanguage) {
  EXPECT_HAS(run_tl({"doc", "where"}).out, "Restricts the domain of an equation.");
  EXPECT_EQ(run_tl({"doc", "@"}).out, run_tl({"doc", "operators"}).out);
}

TEST(Doc, HeadingsAreBoldOnTerminals) {
  const Output terminal =
      run_tl({"doc", "exp"}, {.environment = {{"TERM", "xterm"}, {"NO_COLOR", ""}}, .terminal = true});
  EXPECT_HAS(terminal.out, "\033[1mFormula\033[0m");
  EXPECT_FALSE(contains(run_tl({"doc", "exp"}).out, "\033"));
}

TEST(Doc, LinesKeepToTheWidth) {
  for (const char* name : {"rope", "attention", "sample", "load_model"}) {
    std::istringstream lines(run_tl({"doc", name}).out);
    bool in_example = false;
    for (std::string line; std::getline(lines, line);) {
      in_example = line.starts_with("Example") || (in_example && !line.empty() && line[0] == ' ');
      const auto columns = std::count_if(line.begin(), line.end(), [](char c) { return (c & 0xc0) != 0x80; });
      EXPECT_TRUE(in_example || columns <= 80) << line;
    }
  }
}

TEST(Doc, AnUnknownNameGivesTheNearest) {
  const Output slip = run_tl({"doc", "sofmax"});
  EXPECT_EQ(slip.exit_code, 1);
  EXPECT_EQ(slip.out, "");
  EXPECT_HAS(slip.err, "tl: error: there is no page 'sofmax'; did you mean softmax");
  const Output part = run_tl({"doc", "encoding"});
  EXPECT_HAS(part.err, "positional_encoding");
  const Output far = run_tl({"doc", "xyzzyxyzzy"});
  EXPECT_EQ(far.exit_code, 1);
  EXPECT_EQ(far.err, "tl: error: there is no page 'xyzzyxyzzy'; `tl doc` lists all\n");
  EXPECT_EQ(run_tl({"doc", "concatenate"}).err,
            "tl: error: there is no page 'concatenate'; here it is written concat([a, b], axis)\n");
}

TEST(Doc, JsonHasTheParts) {
  const auto one = nlohmann::json::parse(run_tl({"doc", "concat", "--json"}).out);
  EXPECT_EQ(one["name"], "concat");
  EXPECT_EQ(one["aliases"], nlohmann::json({"cat"}));
  EXPECT_EQ(one["group"], "Shapes");
  EXPECT_EQ(one["examples"][0]["code"], "concat([[1.0], [2.0, 3.0]])\n");
  EXPECT_EQ(one["examples"][0]["output"], "[1.0000, 2.0000, 3.0000]\n");
  const auto all = nlohmann::json::parse(run_tl({"doc", "--json"}).out);
  ASSERT_TRUE(all.is_array());
  EXPECT_GT(all.size(), 100u);
}

TEST(Doc, TheReferenceIsCurrent) {
  const Output r = run_tl({"doc", "--markdown"});
  std::ifstream file(TL_SOURCE_DIR "/docs/reference.md");
  std::stringstream text;
  text << file.rdbuf();
  EXPECT_TRUE(r.out == text.str())
      << "docs/reference.md is out of date: tl doc --markdown > docs/reference.md";
  EXPECT_TRUE(r.out.starts_with("# ")) << r.out.substr(0, 100);
}

TEST(Doc, MarkdownAndJsonExclude) { EXPECT_EQ(run_tl({"doc", "--json", "--markdown"}).exit_code, 2); }

}  // namespace
}  // namespace tl::test
