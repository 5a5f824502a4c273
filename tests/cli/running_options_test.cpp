// The options of how a model is run: types of the KV cache, processors.
#include <gtest/gtest.h>
#include <sched.h>

#include <nlohmann/json.hpp>

#include "cli/program.h"

namespace tl::test {
namespace {

using nlohmann::json;

/// A model whose heads have 32 dimensions, as blocks need.
const std::string& wide_model() {
  static const TempFolder folder;
  static const std::string path = [] {
    std::string file = folder / "wide.gguf";
    const Output made =
        run_tl({"synth", file, "--layers", "2", "--hidden", "128", "--ffn", "96", "--heads", "4",
                "--kv-heads", "2", "--vocab", "512", "--type", "q8_0", "--context", "256"});
    EXPECT_EQ(made.exit_code, 0) << made.err;
    return file;
  }();
  return path;
}

Output logits(const std::vector<std::string>& more, const std::string& model = wide_model()) {
  std::vector<std::string> arguments = {"logits", model, "-p", "some text", "--top", "3"};
  arguments.insert(arguments.end(), more.begin(), more.end());
  return run_tl(arguments);
}

TEST(RunningOptions, CacheTypesOfKeysAndValues) {
  const std::string f32 = logits({}).out, q8 = logits({"--cache-type", "q8_0"}).out;
  EXPECT_NE(f32, q8);
  EXPECT_EQ(logits({"--cache-type-k", "q8_0", "--cache-type-v", "q8_0"}).out, q8);
  EXPECT_EQ(logits({"-ctk", "q8_0", "-ctv", "q8_0"}).out, q8);
  EXPECT_EQ(logits({"--cache-type", "q8_0", "-t", "1", "-b", "1"}).out, q8);
  const std::string keys = logits({"-ctk", "q8_0"}).out, values = logits({"-ctv", "q8_0"}).out;
  EXPECT_NE(keys, values);
  EXPECT_NE(keys, f32);
  EXPECT_NE(values, f32);
  EXPECT_EQ(logits({"--cache-type", "f16", "-ctk", "q8_0", "-ctv", "q8_0"}).out, q8)
      << "of one comes after both";
  EXPECT_EQ(logits({"--cache-type", "q8_0", "--device", "reference"}).out,
            logits({"--device", "reference"}).out);
}

TEST(RunningOptions, EachFusionCanBeSwitchedOff) {
  const auto plan = [](const std::vector<std::string>& more) {
    std::vector<std::string> arguments = {"--dump-graph"};
    arguments.insert(arguments.end(), more.begin(), more.end());
    return logits(arguments);
  };
  const Output all = plan({}), rest = plan({"--no-fuse", "swiglu,products"}),
               none = plan({"--no-fuse", "attention", "--no-fuse", "swiglu"});
  const auto has = [](const Output& r, const char* op) { return r.err.find(op) != std::string::npos; };
  EXPECT_TRUE(has(all, "= attention(") && has(all, "= swiglu(")) << all.err;
  EXPECT_TRUE(has(rest, "= attention(") && !has(rest, "= swiglu(")) << rest.err;
  EXPECT_TRUE(!has(none, "= attention(") && !has(none, "= swiglu(")) << none.err;
  EXPECT_EQ(rest.out, all.out);
  const Output wrong = plan({"--no-fuse", "swiglu,norms"});
  EXPECT_EQ(wrong.exit_code, 2);
  EXPECT_NE(
      wrong.err.find("--no-fuse: 'norms' is no fusion that can be switched off; those are attention, swiglu, "
                     "products"),
      std::string::npos)
      << wrong.err;
}

TEST(RunningOptions, CacheTypesThatDoNotFitAreRefused) {
  Output r = logits({"--cache-type", "q8_0"}, tiny_model());
  EXPECT_EQ(r.exit_code, 1);
  EXPECT_NE(r.err.find("a KV cache in q8_0 needs heads of whole blocks of 32, and this model's have 16"),
            std::string::npos)
      << r.err;
  r = logits({"-ctv", "q4_0"});
  EXPECT_EQ(r.exit_code, 2);
  EXPECT_NE(r.err.find("--cache-type-v"), std::string::npos) << r.err;
}

TEST(RunningOptions, RecordingsAndAuditsReadBlocks) {
  const TempFolder folder;
  const Output traced = run_tl({"trace", wide_model(), "-p", "some text", "--cache-type", "q8_0", "-o",
                                folder / "run.tlt", "--full", "*"});
  EXPECT_EQ(traced.exit_code, 0) << traced.err;
  ASSERT_EQ(
      run_tl({"trace", wide_model(), "-p", "some text", "-o", folder / "f32.tlt", "--full", "*"}).exit_code,
      0);
  const Output compared = run_tl({"compare", folder / "f32.tlt", folder / "run.tlt"});
  EXPECT_EQ(compared.exit_code, 0) << compared.out << compared.err;
  const Output audit = run_tl({"audit", wide_model(), "-p", "some text", "--cache-type", "q8_0"});
  EXPECT_EQ(audit.exit_code, 0) << audit.out << audit.err;
  const Output diagnosis = run_tl({"diagnose", wide_model(), "-p", "some text", "--cache-type", "q8_0"});
  EXPECT_EQ(diagnosis.exit_code, 0) << diagnosis.out << diagnosis.err;
}

/// The first processor that this process may run on.
int some_processor() {
  cpu_set_t set;
  CPU_ZERO(&set);
  EXPECT_EQ(sched_getaffinity(0, sizeof set, &set), 0);
  int cpu = 0;
  while (!CPU_ISSET(cpu, &set)) ++cpu;
  return cpu;
}

TEST(RunningOptions, ThreadsArePinned) {
  const std::string free = logits({}).out;
  const int cpu = some_processor();
  std::string mask = "1" + std::string(static_cast<size_t>(cpu / 4), '0');
  mask[0] = static_cast<char>('0' + (1 << cpu % 4));
  const std::string range = std::to_string(cpu) + "-" + std::to_string(cpu);
  for (const std::vector<std::string>& pin : {std::vector<std::string>{"--cpu-mask", mask},
                                              {"-C", "0x" + mask},
                                              {"--cpu-range", range},
                                              {"-Cr", range, "-C", mask, "-t", "2"}}) {
    const Output r = logits(pin);
    EXPECT_EQ(r.exit_code, 0) << r.err;
    EXPECT_EQ(r.out, free);
  }
}

TEST(RunningOptions, ProcessorsThatMakeNoSenseAreRefused) {
  const auto fails = [](const std::vector<std::string>& options, int code, const std::string& message) {
    const Output r = logits(options);
    EXPECT_EQ(r.exit_code, code) << r.err;
    EXPECT_NE(r.err.find(message), std::string::npos) << r.err;
  };
  fails({"--cpu-mask", "3g"}, 2, "--cpu-mask takes hexadecimal digits, and 'g' is none");
  fails({"--cpu-mask", "0x0"}, 2, "--cpu-mask 0x0 names no processor");
  for (const char* range : {"3", "3-1", "a-b", "1-2x", "-1-2", "0-99999999999"})
    fails({std::string("--cpu-range=") + range}, 2,
          std::string("--cpu-range takes processors as LO-HI (0-3), not '") + range + "'");
  fails({"--cpu-range", "1020-1023"}, 1, "this process may not run on processor 1020");
}

}  // namespace
}  // namespace tl::test
