// tl repl, driven from a pipe and on a terminal.
#include <gtest/gtest.h>

#include "base/file.h"
#include "cli/program.h"

namespace tl::test {

namespace {

Output repl(const std::string& input, bool terminal = false) {
  RunOptions options;
  options.input = input;
  options.terminal = terminal;
  static const TempFolder state;
  options.environment = {{"XDG_STATE_HOME", state.path()}, {"TERM", "xterm"}};
  return run_tl({"repl", "--device", "reference"}, options);
}

/// The output of a session without errors.
std::string shown(const std::string& input) {
  const Output r = repl(input);
  EXPECT_EQ(r.exit_code, 0) << input;
  EXPECT_EQ(r.err, "") << input;
  return r.out;
}

TEST(Repl, ShowsTheValuesOfExpressionsOnly) {
  EXPECT_EQ(shown("1 + 2\n\"a\" + \"b\"\n[1, \"c\"]\nlet x = 5\nx\nprint(x)\nx = x + 1\nx * 2\n"),
            "3\n\"ab\"\n[1, \"c\"]\n5\n5\n12\n");
  EXPECT_EQ(shown("zeros([2])\n"), "[0.0000, 0.0000]\n");
  EXPECT_EQ(shown(""), "");
}

TEST(Repl, WhatWasEnteredStaysAndIsNotRunAgain) {
  EXPECT_EQ(shown("let xs = [1]\nxs += [2]\nfn n() { len(xs) }\nn()\nxs += [3]\nn()\nlet xs = [7]\nn()\n"),
            "2\n3\n1\n");
}

TEST(Repl, LinesGoOnWhileSomethingIsOpen) {
  EXPECT_EQ(
      shown(
          "fn twice(x) {\n\n  x * 2\n}\ntwice(\n4)\n1 +\n2\nif true {\n print(\"yes\")\n}\n/* a\n b */ 5\n"),
      "8\n3\nyes\n5\n");
}

TEST(Repl, EquationsAndTheirTensorsStay) {
  EXPECT_EQ(shown("tensor w: float32[2, 2] = [[1, 2], [3, 4]]\ny[i] = w[i, j]\ny\ny[i] += w[i, j]\ny\n"),
            "[3.0000, 7.0000]\n[6.0000, 14.0000]\n");
}

TEST(Repl, CallersThatNoLongerFitAreNamed) {
  const Output r = repl(
      "fn f(x: float32[n, 3]) { x + dim(n) }\nfn g(x) { f(x) }\nfn h(y: float32[k, 3]) { f(y) * dim(k) }\n"
      "fn f(x: float32[n, 4], scale = 1) { x * scale }\nsum(g(ones([2, 4])))\n"
      "fn f(x, y) { x + y }\ng(1)\nfn f(x) { x * 2 }\ng(1)\nh(ones([1, 3]))\n");
  EXPECT_EQ(r.out, "8\n2\n[[2.0000, 2.0000, 2.0000]]\n") << r.err;
  const size_t shape = r.err.find(
                   "warning: 'h' no longer fits: argument 'x' of f must be float32[n, 4], not a tensor "
                   "float32[k, 3]\n    1 | fn h("),
               g = r.err.find("warning: 'g' no longer fits: f needs an argument 'y'\n    1 | fn g("),
               h = r.err.find("warning: 'h' no longer fits: f needs an argument 'y'\n    1 | fn h("),
               call = r.err.find("error: f needs an argument 'y'\n    1 | fn g(");
  EXPECT_TRUE(shape < g && g < h && h < call && call != std::string::npos) << r.err;
  EXPECT_NE(r.err.find("1 input failed"), std::string::npos) << r.err;
}

TEST(Repl, WhatDoesNotGetThroughReplacesNothing) {
  const Output r = repl("fn f(x) { 1 }\nfn g(x) { f(x) }\nfn f(x) { 2 }\nfn f(x, y) { nope }\ng(1)\nf(1)\n");
  EXPECT_EQ(r.out, "2\n2\n") << r.err;
  EXPECT_EQ(r.err.find("no longer fits"), std::string::npos) << r.err;
}

TEST(Repl, AFunctionEnteredAgainReplacesTheFirstForItsCallersToo) {
  EXPECT_EQ(shown("fn f(x) { x + 1 }\nfn g(x) { f(x) }\ng(1)\nfn f(x) { x + 10 }\ng(1)\nf(1)\n"),
            "2\n11\n11\n");
  EXPECT_EQ(shown("fn f(n) { if n == 0 { 0 } else { f(n - 1) + 1 } }\nfn f(n) { if n == 0 { 0 } else { f(n - "
                  "1) + 2 } }\n"
                  "f(3)\n"),
            "6\n");
}

TEST(Repl, ErrorsNameThePlaceAndDoNotEndIt) {
  const Output r =
      repl("let x = 1\nfn f(y) { y + 1 }\nx +* 2\nnope\n1 / 0\nfn f(y) { y + nope }\nf(x)\n:bad\n");
  EXPECT_EQ(r.exit_code, 1);
  EXPECT_EQ(r.out, "2\n");
  for (const char* part : {"<input>:1:4: error: expected an expression, found '*'", "unknown name 'nope'",
                           "<input>:1:1: error: ", "there is no command :bad", "tl: error: 5 inputs failed"})
    EXPECT_NE(r.err.find(part), std::string::npos) << part << "\n" << r.err;
}

TEST(Repl, AVariableThatFailedToBeSetKeepsItsValue) {
  const Output r = repl("let x = 1\nlet x = 1 / 0\nx\n");
  EXPECT_EQ(r.out, "1\n") << r.err;
}

TEST(Repl, CommandsTellTypesDocumentationAndTime) {
  EXPECT_EQ(shown(":type zeros([2, 3])\n:type 1.5\n"), "float32[2, 3]\nfloat\n");
  EXPECT_EQ(shown("// Doubles it.\nfn twice(x: int = 1) -> int { x * 2 }\n:doc twice\n"),
            "fn twice(x: int = 1) -> int\n\nDoubles it.\n");
  EXPECT_NE(shown(":doc softmax\n").find("softmax("), std::string::npos);
  const std::string timed = shown(":time 1 + 1\n");
  EXPECT_EQ(timed.substr(0, 2), "2\n");
  EXPECT_TRUE(timed.ends_with(" s\n")) << timed;
  // What is assigned is computed, not planned only: then such a mistake shows.
  for (const char* text :
       {":time y = gather(zeros(2), 0, [5])\n", ":time let l = [1, [gather(zeros(2), 0, [5])]]\n"})
    EXPECT_NE(repl(text).err.find("[gather] index 5 is out of range"), std::string::npos) << text;
  for (const char* name :
       {":help", ":type EXPR", ":doc NAME", ":time EXPR", ":trace EXPR", ":load FILE", ":quit"})
    EXPECT_NE(shown(":help\n").find(name), std::string::npos) << name;
  EXPECT_EQ(shown(":quit\n1\n"), "");
}

TEST(Repl, ATraceShowsEveryValue) {
  const std::string traced = shown("let x = [1.0, 2.0, 3.0]\n:trace let y = softmax(x * 2)\n1 + 1\n");
  for (const char* part : {"name", "rms", "y ", "softmax       [3]", "#mul", "mul           [3]"})
    EXPECT_NE(traced.find(part), std::string::npos) << part << "\n" << traced;
  EXPECT_TRUE(traced.ends_with("%\n2\n")) << "what follows is not traced:\n" << traced;
  // A failing line ends its trace, too.
  const auto failed = repl(":trace gather(zeros(2), 0, [5])\n1 + 1\n");
  EXPECT_NE(failed.err.find("out of range"), std::string::npos) << failed.err;
  EXPECT_EQ(failed.out, "2\n");
}

TEST(Repl, FilesAreLoadedAndImported) {
  const TempFolder folder;
  write_file(folder / "part.tl", "fn three() { 3 }\n");
  const std::string file =
      write_file(folder / "whole.tl", "import \"part.tl\"\nlet k = three()\nmain { print(1) }\n");
  EXPECT_EQ(shown(":load " + file + "\nk + three()\n"), "its main { … } was not run\n6\n");
  EXPECT_EQ(shown("import \"" + file + "\"\nk\n"), "3\n");
  const Output r = repl(":load " + (folder / "none.tl") + "\n1\n");
  EXPECT_EQ(r.exit_code, 1);
  EXPECT_EQ(r.out, "1\n");
}

TEST(Repl, MainRunsWhereItIsEntered) { EXPECT_EQ(shown("let x = 2\nmain { print(x) }\n"), "2\n"); }

TEST(Repl, TabCompletesNamesAndMembersOnATerminal) {
  const Output r = repl("let counter = {length: 4, size: 5}\ncoun\t.le\t + 1\n:quit\n", true);
  EXPECT_NE(r.out.find("\n5\r\n"), std::string::npos) << r.out;
}

TEST(Repl, HistoryIsKeptAcrossRuns) {
  repl("let remembered = 11\n:quit\n", true);
  // Two lines up: over :quit.
  const Output r = repl("\x1b[A\x1b[A\nremembered + 1\n:quit\n", true);
  EXPECT_NE(r.out.find("\n12\r\n"), std::string::npos) << r.out;
}

}  // namespace

}  // namespace tl::test
