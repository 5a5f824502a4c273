// tl trace, tl compare and tl audit from outside.
#include <gtest/gtest.h>

#include <filesystem>
#include <fstream>
#include <nlohmann/json.hpp>
#include <sstream>

#include "cli/program.h"

namespace tl::test {
namespace {

using nlohmann::json;

#define EXPECT_HAS(text, part) \
  EXPECT_NE((text).find(part), std::string::npos) << "expected: " << (part) << "\nfound: " << (text)

constexpr const char* kTokens = "1,17,300,42,5";

std::string read(const std::string& path) {
  std::ifstream file(path, std::ios::binary);
  std::stringstream text;
  text << file.rdbuf();
  return text.str();
}

/// A trace of the tiny model.
std::string traced(const std::string& path, std::vector<std::string> more = {}) {
  std::vector<std::string> arguments{"trace", tiny_model(), "--tokens", kTokens, "-o", path};
  arguments.insert(arguments.end(), more.begin(), more.end());
  const Output r = run_tl(arguments);
  EXPECT_EQ(r.exit_code, 0) << r.err;
  EXPECT_HAS(r.out, path + ": ");
  return path;
}

TEST(Trace, PrintsNamedValues) {
  const Output r = run_tl({"trace", tiny_model(), "--tokens", kTokens});
  EXPECT_EQ(r.exit_code, 0) << r.err;
  for (const char* part :
       {"forward/layer[1]/attention/heads", "forward/logits", "[5, 512]", "rms", "attention"})
    EXPECT_HAS(r.out, part);
  EXPECT_EQ(r.out.find("scores"), std::string::npos);
  EXPECT_EQ(r.out.find('#'), std::string::npos);
}

TEST(Trace, UnfusedShowsTheInsideOfKernels) {
  const Output r = run_tl({"trace", tiny_model(), "--tokens", kTokens, "--unfused", "--show", "*/scores"});
  EXPECT_HAS(r.out, "forward/layer[0]/attention/scores");
  EXPECT_EQ(r.out.find("forward/logits"), std::string::npos);
}

TEST(Trace, JsonHoldsTheStatistics) {
  const Output r = run_tl({"trace", tiny_model(), "--tokens", kTokens, "--json"});
  const json j = json::parse(r.out, nullptr, false);
  ASSERT_FALSE(j.is_discarded()) << r.out << r.err;
  EXPECT_EQ(j["tokens"], (json{1, 17, 300, 42, 5}));
  EXPECT_EQ(j["values"].back()["name"], "forward/logits");
  for (const char* key : {"min", "max", "rms", "nan", "zero", "denormal", "f16_share", "checksum", "place"})
    EXPECT_TRUE(j["values"].back().contains(key)) << key;
}

TEST(Trace, StepsAfterThePrompt) {
  const Output r = run_tl({"trace", tiny_model(), "--tokens", kTokens, "-n", "2", "--show", "*logits"});
  for (const char* part : {"step[1]/forward/logits", "step[2]/forward/logits", "[1, 512]"})
    EXPECT_HAS(r.out, part);
}

TEST(Trace, TracesTheMainOfAProgram) {
  const TempFolder folder;
  const std::string program =
      write_file(folder / "p.tl",
                 "main {\n    let a = [1.0, 2.0]\n    let total = sum(probe(\"twice\", exp(tensor_of(a))))\n"
                 "    print(total)\n}\nfn tensor_of(x) {\n    tensor t: float32[2] = x\n    return t\n}\n");
  const Output r = run_tl({"trace", program, "--show", "*"});
  EXPECT_EQ(r.exit_code, 0) << r.err;
  EXPECT_HAS(r.out, "twice");
  EXPECT_HAS(r.err, "10.1073");  // what the program prints stays apart
}

TEST(Trace, SaysWhereNanBegins) {
  const TempFolder folder;
  const std::string program = write_file(folder / "nan.tl",
                                         "main {\n    tensor x: float32[2] = [-1, 1]\n    let y = log(x)\n"
                                         "    let z = y + 1.0\n    print(z)\n}\n");
  const Output r = run_tl({"trace", program});
  EXPECT_EQ(r.exit_code, 0) << r.err;
  EXPECT_HAS(r.err, "main/y is the first value with NaN (1) or infinity (0)");
  EXPECT_HAS(r.err, "nan.tl:3:");
}

TEST(Trace, TracedAndUntracedLogitsAreEqualBitForBit) {
  const TempFolder folder;
  const std::string plain = folder / "plain.npy", tlt = folder / "a.tlt";
  ASSERT_EQ(run_tl({"logits", tiny_model(), "--tokens", kTokens, "--out", plain}).exit_code, 0);
  traced(tlt, {"--full", "forward/logits"});
  const std::string logits = read(plain), trace = read(tlt);
  constexpr size_t kBytes = 5 * 512 * sizeof(float);
  ASSERT_GT(logits.size(), kBytes);
  EXPECT_NE(trace.find(logits.substr(logits.size() - kBytes)), std::string::npos);
}

TEST(Trace, RefusesWhatDoesNotFit) {
  const TempFolder folder;
  const std::string program = write_file(folder / "p.tl", "main { print(1) }\n");
  const auto expect = [](const std::vector<std::string>& arguments, const std::string& part) {
    const Output r = run_tl(arguments);
    EXPECT_EQ(r.exit_code, 2) << r.err;
    EXPECT_HAS(r.err, part);
  };
  expect({"trace", tiny_model()}, "a prompt is needed");
  expect({"trace", tiny_model(), "--tokens", "1", "--full", "*"},
         "--full keeps values in the trace file; name one with -o");
  expect({"trace", tiny_model(), "--tokens", "1", "--perturb", "1"}, "add --device reference");
  expect({"trace", tiny_model(), "--tokens", "1", "--model", "x"}, "--model is for programs");
  expect({"trace", tiny_model(), "x", "--tokens", "1"}, "'x' is too much");
  expect({"trace", program, "--tokens", "1"}, "runs its main, which takes no prompt");
}

TEST(Compare, RoundingExplainsTheCpuBackendAndNotAnotherModel) {
  const TempFolder folder;
  const std::string exact = traced(folder / "exact.tlt", {"--device", "reference", "--full", "*"});
  const std::string cpu = traced(folder / "cpu.tlt", {"--full", "*"});
  const std::string noise =
      traced(folder / "noise.tlt", {"--device", "reference", "--perturb", "3", "--full", "*"});
  const Output same = run_tl({"compare", exact, cpu});
  EXPECT_EQ(same.exit_code, 0) << same.out << same.err;
  EXPECT_HAS(same.out, "No divergence beyond what rounding explains.");
  const Output measured = run_tl({"compare", exact, cpu, "--noise", noise, "--json"});
  const json j = json::parse(measured.out, nullptr, false);
  ASSERT_FALSE(j.is_discarded()) << measured.err;
  for (const json& value : j["values"])
    if (value["a"] == "forward/logits") {
      EXPECT_GT(value["explained"], 0);
      EXPECT_LT(value["distance"], value["explained"]);
    }
  const Output shorter =
      run_tl({"trace", tiny_model(), "--tokens", "1,17,300,42,6", "-o", folder / "other.tlt", "--full", "*"});
  ASSERT_EQ(shorter.exit_code, 0) << shorter.err;
  const Output other = run_tl({"compare", exact, folder / "other.tlt"});
  EXPECT_EQ(other.exit_code, 3);
  EXPECT_HAS(other.out,
             "The runs were given different inputs: token 4 is 5 in the first trace and 6 in the second.");
  EXPECT_HAS(other.out, ">> ");
}

TEST(Compare, SaysWhatItCannotRead) {
  const TempFolder folder;
  const std::string bad = write_file(folder / "bad.tlt", "not a trace");
  const Output r = run_tl({"compare", bad, bad});
  EXPECT_EQ(r.exit_code, 1);
  EXPECT_HAS(r.err, "this is no trace file");
  EXPECT_EQ(run_tl({"compare", folder / "none.tlt", bad}).exit_code, 1);
  EXPECT_EQ(run_tl({"compare", bad}).exit_code, 2);
}

TEST(Audit, TheTinyModelHasNoFaults) {
  const Output r = run_tl({"audit", tiny_model(), "--tokens", kTokens});
  EXPECT_EQ(r.exit_code, 0) << r.out << r.err;
  for (const char* part : {"rms_norm", "attention", "error/bound", "No faults.", "tensors of weights"})
    EXPECT_HAS(r.out, part);
  const Output in_json = run_tl({"audit", tiny_model(), "--tokens", "1,2", "--no-inherited", "--json"});
  const json j = json::parse(in_json.out, nullptr, false);
  ASSERT_FALSE(j.is_discarded()) << in_json.out;
  EXPECT_EQ(j["faults"], 0);
  EXPECT_LE(j["operations"][0]["own"]["ratio"], 1);
}

TEST(Audit, SignalToNoiseOfAnotherFile) {
  const TempFolder folder;
  const std::string q4 = folder / "q4.gguf";
  ASSERT_EQ(run_tl({"quantize", tiny_model(), q4, "q4_0"}).exit_code, 0);
  const Output r = run_tl({"audit", q4, "--weights-only", "--against", tiny_model(), "--json"});
  EXPECT_EQ(r.exit_code, 0) << r.err;
  const json j = json::parse(r.out, nullptr, false);
  ASSERT_FALSE(j.is_discarded()) << r.out;
  for (const json& w : j["weights"])
    if (w["name"] == "blk.0.attn_q.weight") {
      EXPECT_GT(w["snr_db"], 15);  // a four-bit block of normal numbers: some 20 dB
      EXPECT_LT(w["snr_db"], 30);
    }
}

TEST(Audit, FindsBrokenWeights) {
  const TempFolder folder;
  std::string bytes = read(tiny_model());
  bytes.replace(bytes.size() - 34, 2, "\x00\x7e", 2);  // the scale of the file's last block becomes NaN
  const std::string broken = write_file(folder / "broken.gguf", bytes);
  const Output r = run_tl({"audit", broken, "--weights-only"});
  EXPECT_EQ(r.exit_code, 3) << r.out << r.err;
  EXPECT_HAS(r.out, "32 NaN");
}

}  // namespace
}  // namespace tl::test
