// The command line itself: help, versions, mistakes, exit codes, colours, pipes.
#include <gtest/gtest.h>

#include <csignal>
#include <string>

#include "cli/program.h"

namespace tl::test {
namespace {

const std::vector<std::string> kCommands = {
    "chat",    "generate", "run",   "check", "trace",  "compare",  "audit",  "diagnose",
    "test",    "doc",      "fmt",   "repl",  "lsp",    "tokenize", "logits", "perplexity",
    "inspect", "quantize", "synth", "pull",  "models", "devices"};

bool contains(const std::string& text, const std::string& part) {
  return text.find(part) != std::string::npos;
}

#define EXPECT_HAS(text, part) \
  EXPECT_TRUE(contains(text, part)) << "expected: " << (part) << "\nfound: " << (text)

TEST(Usage, WithoutArgumentsTheHelpIsAnError) {
  const Output r = run_tl({});
  EXPECT_EQ(r.exit_code, 2);
  EXPECT_EQ(r.out, "");
  EXPECT_HAS(r.err, "Usage: tl");
}

TEST(Usage, HelpListsEveryCommand) {
  const Output r = run_tl({"--help"});
  EXPECT_EQ(r.exit_code, 0);
  EXPECT_EQ(r.err, "");
  for (const std::string& command : kCommands) EXPECT_HAS(r.out, "\n  " + command);
}

TEST(Usage, EveryCommandHasHelp) {
  for (const std::string& command : kCommands) {
    const Output r = run_tl({command, "--help"});
    EXPECT_EQ(r.exit_code, 0) << command;
    EXPECT_HAS(r.out, "tl " + command);
    EXPECT_EQ(r.err, "");
  }
}

TEST(Usage, VersionNamesWhatTheProgramIsMadeOf) {
  const Output r = run_tl({"--version"});
  EXPECT_EQ(r.exit_code, 0);
  for (const char* part :
       {"tl (TensorLogic) ", "commit ", "compiler ", "instruction sets ", "backends ", "cpu", "reference"}) {
    EXPECT_HAS(r.out, part);
  }
}

TEST(Usage, MistakesExitWithTwoAndPointToHelp) {
  const auto expect = [](const std::vector<std::string>& arguments, const std::string& message,
                         const std::string& help) {
    const Output r = run_tl(arguments);
    EXPECT_EQ(r.exit_code, 2) << r.err;
    EXPECT_EQ(r.out, "");
    EXPECT_HAS(r.err, "tl: error: ");
    EXPECT_HAS(r.err, message);
    EXPECT_HAS(r.err, "See '" + help + " --help'.");
  };
  expect({"generat"}, "there is no command 'generat'; did you mean 'generate'?", "tl");
  expect({"--nonsense"}, "--nonsense", "tl");
  expect({"generate"}, "MODEL is required", "tl generate");
  expect({"generate", "m", "--bogus"}, "--bogus", "tl generate");
  expect({"generate", "m", "-t", "many"}, "many", "tl generate");
  expect({"generate", "m", "-p", "x", "-f", "y"}, "excludes", "tl generate");
  expect({"generate", "m", "-p", "x", "--top-p", "1.5"}, "--top-p 1.5 is outside its range", "tl generate");
  expect({"logits", "m", "--device", "gpu"}, "'gpu' is no device: cpu, reference, cuda or cuda:N",
         "tl logits");
  expect({"logits", "m", "--device", "cuda:x"}, "'cuda:x' is no device", "tl logits");
  expect({"logits", "m", "--tokens", "1,x"}, "--tokens takes ids separated by commas (1,2,3); 'x' is not one",
         "tl logits");
  expect({"quantize", "in", "out", "q3"}, "'q3' is no element type", "tl quantize");
  expect({"run"}, "FILE is required", "tl run");
  expect({"run", "--bogus", "file.tl"}, "there is no option --bogus", "tl run");
  expect({"perplexity", "m", "f", "-c", "2"}, "-c must be at least 4", "tl perplexity");
  expect({"perplexity", "m", "f", "--chunks", "0"}, "--chunks 0 leaves nothing to predict", "tl perplexity");
  expect({"generate", "m", "-n", "-2"}, "-2 not in range -1", "tl generate");
  expect({"chat", "m", "-n", "-2"}, "-2 not in range -1", "tl chat");
}

TEST(Usage, InputErrorsExitWithOne) {
  const TempFolder folder;
  const std::string junk = write_file(folder / "junk.gguf", "this is no model");
  for (const std::vector<std::string>& arguments : {std::vector<std::string>{"inspect", junk},
                                                    {"tokenize", junk, "x"},
                                                    {"logits", junk, "-p", "x"},
                                                    {"quantize", junk, folder / "out.gguf", "q8_0"}}) {
    const Output r = run_tl(arguments);
    EXPECT_EQ(r.exit_code, 1) << arguments[0];
    EXPECT_EQ(r.out, "");
    EXPECT_HAS(r.err, "tl: error: ");
    EXPECT_HAS(r.err, "junk.gguf");
  }
  const Output missing = run_tl({"inspect", folder / "absent.gguf"});
  EXPECT_EQ(missing.exit_code, 1);
  EXPECT_HAS(missing.err, "absent.gguf");
}

TEST(Usage, OnlyTerminalsGetColours) {
  const Output pipe = run_tl({"inspect", "/absent"});
  EXPECT_FALSE(contains(pipe.err, "\033"));
  const Output terminal = run_tl({"inspect", "/absent"},
                                 {.environment = {{"TERM", "xterm"}, {"NO_COLOR", ""}}, .terminal = true});
  EXPECT_HAS(terminal.out, "\033[1;31merror:\033[0m");
  const Output plain = run_tl({"inspect", "/absent"},
                              {.environment = {{"TERM", "xterm"}, {"NO_COLOR", "1"}}, .terminal = true});
  EXPECT_FALSE(contains(plain.out, "\033")) << plain.out;
  EXPECT_HAS(plain.out, "error:");
}

TEST(Usage, AClosedPipeIsQuiet) {
  const Output r = run_tl({"--help"}, {.stdout_path = "closed"});
  EXPECT_EQ(r.err, "");
  EXPECT_TRUE(r.signal == SIGPIPE || r.exit_code == 0)
      << "exit code " << r.exit_code << ", signal " << r.signal;
}

TEST(Usage, AFullDiskIsAnError) {
  const Output r = run_tl({"--help"}, {.stdout_path = "/dev/full"});
  EXPECT_EQ(r.exit_code, 1);
  EXPECT_HAS(r.err, "standard output: No space left on device");
  const Output large = run_tl({"inspect", tiny_model(), "--stats"}, {.stdout_path = "/dev/full"});
  EXPECT_EQ(large.exit_code, 1);
  EXPECT_HAS(large.err, "tl: error: cannot write to file: No space left on device");
}

TEST(Programs, RunGetsItsArguments) {
  const TempFolder folder;
  const std::string file =
      write_file(folder / "a.tl", "main {\n  print(len(args))\n  for a in args { print(a) }\n}\n");
  const Output r = run_tl({"run", file, "one", "--two", "-3"});
  EXPECT_EQ(r.exit_code, 0) << r.err;
  EXPECT_EQ(r.out, "3\none\n--two\n-3\n");
}

TEST(Programs, MistakesAreShownWithTheirPlace) {
  const TempFolder folder;
  const std::string file = write_file(folder / "bad.tl", "main {\n  print(undefined_name)\n}\n");
  for (const char* command : {"run", "check"}) {
    const Output r = run_tl({command, file});
    EXPECT_EQ(r.exit_code, 1);
    EXPECT_EQ(r.out, "");
    EXPECT_HAS(r.err, "bad.tl:2:9: error: ");
    EXPECT_HAS(r.err, "^");
  }
  const Output absent = run_tl({"run", folder / "absent.tl"});
  EXPECT_EQ(absent.exit_code, 1);
  EXPECT_HAS(absent.err, "absent.tl");
}

TEST(Programs, CheckSaysOk) {
  const TempFolder folder;
  const std::string file = write_file(folder / "good.tl", "main { print(1) }\n");
  const Output r = run_tl({"check", file});
  EXPECT_EQ(r.exit_code, 0) << r.err;
  EXPECT_EQ(r.out, file + ": ok\n");
}

TEST(Programs, CheckWarnsOfAnIndexThatLooksLikeAnInt) {
  const TempFolder folder;
  const std::string file = write_file(folder / "slip.tl",
                                      "main {\n  let h = ones([2, 2])\n  let row = 1\n  w = h[rwo, 1]\n"
                                      "  v[i] = h[i, rwo] where rwo in 0..2\n  print(w, v, row)\n}\n");
  const Output r = run_tl({"check", file});
  EXPECT_EQ(r.exit_code, 0) << r.err;
  EXPECT_HAS(r.out, ":4:9: warning: 'rwo' is summed as an index here\n");
  EXPECT_HAS(r.out, "help: did you mean (row)?\n" + file + ": ok\n");
}

TEST(Programs, CheckWarnsOfAnAppendThatChangesNothing) {
  const TempFolder folder;
  const std::string file = write_file(folder / "append.tl",
                                      "fn more(xs) {\n  xs.append(1)\n  for x in xs { append(xs, x) }\n"
                                      "  xs.append(2)\n}\nmain { print(more([])) }\n");
  const Output r = run_tl({"check", file});
  EXPECT_EQ(r.exit_code, 0) << r.err;
  EXPECT_HAS(r.out,
             ":2:3: warning: the list with the new element is not used: append leaves its list as it is\n");
  EXPECT_HAS(r.out, ":3:17: warning: the list with the new element");
  EXPECT_HAS(r.out, "help: xs += [value] changes xs in place\n" + file + ": ok\n");
  EXPECT_EQ(r.out.find(":4:3"), std::string::npos) << r.out;
}

TEST(Programs, CheckWarnsOfAShareThatIsAnInt) {
  const TempFolder folder;
  const std::string file =
      write_file(folder / "share.tl",
                 "main {\n  let y = [1, 2, 3] as int64\n  print(sum(argmax(ones([3, 4]), 1) == y) / 3)\n"
                 "  print(sum(y == 1) / len(y), sum(y) / 2.0, sum(ones(3)) / 3, mean(y == 1))\n}\n");
  const Output r = run_tl({"check", file});
  EXPECT_EQ(r.exit_code, 0) << r.err;
  EXPECT_HAS(r.out, ":3:9: warning: int / int truncates: this is no share\n");
  EXPECT_HAS(r.out, ":4:9: warning: int / int truncates");
  EXPECT_HAS(r.out, "help: mean(x) is the share of the true ones; 1.0 * sum(x) / n divides floats\n");
  EXPECT_EQ(r.out.find(":4:30"), std::string::npos) << r.out;
  EXPECT_EQ(r.out.find(":4:43"), std::string::npos) << r.out;
}

TEST(Programs, CheckWarnsOfPlacesThatNothingFills) {
  const TempFolder folder;
  const std::string file = write_file(
      folder / "places.tl",
      "main {\n  print(\"{} {}\", 1)\n  print(\"loss: {loss:.2f}\", 1.0)\n  let s = format(\"{:.1f}{}\", 2)\n"
      "  print(\"{}\", s, 3)\n  print(\"{a}\")\n  print(\"{} of {a}\", 1)\n}\n");
  const Output r = run_tl({"check", file});
  EXPECT_EQ(r.exit_code, 0) << r.err;
  EXPECT_HAS(r.out, ":2:9: warning: 2 places, and 1 value to fill them\n");
  EXPECT_HAS(r.out, ":3:9: warning: '{loss:.2f}' is no place for a value\n");
  EXPECT_HAS(r.out, "help: places are {} and {:.2f}, filled in turn\n");
  EXPECT_HAS(r.out, ":4:18: warning: 2 places");
  for (const char* place : {":5:", ":6:", ":7:"}) EXPECT_EQ(r.out.find(place), std::string::npos) << r.out;
}

TEST(Programs, ModelProgramsCheck) {
  const Output r = run_tl({"check", TL_SOURCE_DIR "/models/llama.tl", TL_SOURCE_DIR "/models/qwen2.tl"});
  EXPECT_EQ(r.exit_code, 0) << r.err;
}

TEST(Devices, AreListed) {
  const Output r = run_tl({"devices"});
  EXPECT_EQ(r.exit_code, 0) << r.err;
  EXPECT_HAS(r.out, "cpu  ");
  EXPECT_HAS(r.out, "reference  float64");
  const Output json = run_tl({"devices", "--json"});
  EXPECT_EQ(json.exit_code, 0) << json.err;
  EXPECT_HAS(json.out, "\"name\": \"reference\"");
}

/// Whether or not this build has CUDA, no machine has a GPU of this number.
TEST(Devices, WhatIsNotThereIsAnError) {
  const TempFolder folder;
  const std::string file = write_file(folder / "one.tl", "main { print(1) }\n");
  const Output r = run_tl({"run", "--device", "cuda:4096", file});
  EXPECT_EQ(r.exit_code, 1);
  EXPECT_EQ(r.out, "");
  EXPECT_TRUE(contains(r.err, "tl: error: --device cuda: this build has no CUDA") ||
              contains(r.err, "tl: error: --device cuda:4096: this machine has"))
      << r.err;
}

TEST(Programs, CtrlCEndsAProgram) {
  const TempFolder folder;
  const std::string file =
      write_file(folder / "loop.tl", "main {\n  let n = 0\n  while true { n = n + 1 }\n}\n");
  const Output r = run_tl({"run", file}, {.interrupt_after = 0.3});
  EXPECT_EQ(r.exit_code, 130) << r.err;
}

}  // namespace
}  // namespace tl::test
