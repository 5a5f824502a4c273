// tl diagnose and --plant from outside.
#include <gtest/gtest.h>

#include <nlohmann/json.hpp>
#include <sstream>

#include "cli/program.h"

namespace tl::test {
namespace {

using nlohmann::json;

#define EXPECT_HAS(text, part) \
  EXPECT_NE((text).find(part), std::string::npos) << "expected: " << (part) << "\nfound: " << (text)

constexpr const char* kTokens = "1,17,300,42,5,99,100,7,8";

Output diagnosed(std::vector<std::string> more = {}) {
  std::vector<std::string> arguments{"diagnose", tiny_model(), "--tokens", kTokens};
  arguments.insert(arguments.end(), more.begin(), more.end());
  return run_tl(arguments);
}

TEST(Diagnose, AHealthyModel) {
  const Output r = diagnosed();
  EXPECT_EQ(r.exit_code, 0) << r.out << r.err;
  EXPECT_TRUE(r.out.starts_with("HEALTHY: all ")) << r.out;
  for (const char* part : {"holds", "rows of attention weights sum to 1", "residual stream after each layer",
                           "logits, last token", "KL from float64"})
    EXPECT_HAS(r.out, part);
  EXPECT_EQ(r.out.find("FAILS"), std::string::npos) << r.out;
}

TEST(Diagnose, TheVerdictStandsFirst) {
  const Output r = diagnosed({"--plant", "rope-missing-k@1"});
  EXPECT_EQ(r.exit_code, 3) << r.out << r.err;
  EXPECT_TRUE(
      r.out.starts_with("FAULT FOUND: rope-missing-k: RoPE is not applied to keys. It is in the "
                        "operation 'rope' of layer 1, value forward/layer[1]/attention/"))
      << r.out;
  EXPECT_HAS(r.out, "What to do: ");
  EXPECT_HAS(r.out, "llama.tl:");
}

TEST(Diagnose, JsonForMachines) {
  const Output r = diagnosed({"--plant", "residual-doubled@0", "--json"});
  EXPECT_EQ(r.exit_code, 3) << r.err;
  const json j = json::parse(r.out, nullptr, false);
  ASSERT_FALSE(j.is_discarded()) << r.out;
  EXPECT_EQ(j["healthy"], false);
  EXPECT_EQ(j["fault"]["name"], "residual-doubled");
  EXPECT_EQ(j["fault"]["layer"], 0);
  EXPECT_EQ(j["fault"]["operation"], "add");
  EXPECT_GT(j["fault"]["error"], j["fault"]["explained"]);
  EXPECT_LT(j["fault"]["hypotheses"][0]["residual"], 1e-3);
  EXPECT_EQ(j["layers"].size(), 2);
  EXPECT_EQ(j["tokens"].size(), 9);
  EXPECT_EQ(j["depths"].size(), 3);  // 0, 1 and 2 layers
  EXPECT_EQ(j["depths"][0]["divergence"], 0);
  EXPECT_GT(j["depths"][1]["divergence"], 1e-4);
  EXPECT_EQ(j["depths"][2]["observed"]["top"], j["logits"]["observed"]["top"]);
}

TEST(Diagnose, APeekAheadFailsWithoutAReference) {
  const Output r = diagnosed({"--plant", "mask-missing@1", "--json"});
  const json j = json::parse(r.out, nullptr, false);
  ASSERT_FALSE(j.is_discarded()) << r.out;
  bool seen = false;
  for (const json& check : j["checks"]) {
    if (check["what"] != "changing the last token leaves the rows before it unchanged") continue;
    seen = true;
    EXPECT_EQ(check["holds"], false);
  }
  EXPECT_TRUE(seen);
  EXPECT_EQ(j["fault"]["name"], "mask-missing");
}

TEST(Diagnose, AProgramOfAnotherHand) {
  const std::string folder = TL_SOURCE_DIR "/examples/broken/";
  const Output right =
      run_tl({"diagnose", folder + "right.tl", "--model", tiny_model(), "--tokens", kTokens});
  EXPECT_EQ(right.exit_code, 0) << right.out << right.err;
  const Output wrong =
      run_tl({"diagnose", folder + "no_stream.tl", "--model", tiny_model(), "--tokens", kTokens});
  EXPECT_EQ(wrong.exit_code, 3) << wrong.out << wrong.err;
  EXPECT_HAS(wrong.out, "FAULT FOUND: residual-lost");
  EXPECT_HAS(wrong.out, "no_stream.tl:");
}

TEST(Diagnose, BrokenWeightsComeFirst) {
  const TempFolder folder;
  const std::string path = folder / "broken.gguf";
  ASSERT_EQ(run_tl({"synth", path, "--layers", "1", "--hidden", "64", "--ffn", "96", "--heads", "4",
                    "--kv-heads", "2", "--vocab", "512", "--type", "q8_0"})
                .exit_code,
            0);
  {
    FILE* file = std::fopen(path.c_str(), "r+b");
    ASSERT_NE(file, nullptr);
    std::fseek(file, -34, SEEK_END);  // the scale of the file's last block
    std::fwrite("\x00\x7e", 1, 2, file);
    std::fclose(file);
  }
  const Output r = run_tl({"diagnose", path, "--tokens", kTokens});
  EXPECT_EQ(r.exit_code, 3) << r.out << r.err;
  EXPECT_TRUE(r.out.starts_with("FAULT FOUND: the weight ")) << r.out;
}

TEST(Diagnose, RefusesWhatDoesNotFit) {
  const auto expect = [](const std::vector<std::string>& arguments, const std::string& part) {
    const Output r = run_tl(arguments);
    EXPECT_EQ(r.exit_code, 2) << r.err;
    EXPECT_HAS(r.err, part);
  };
  expect({"diagnose", tiny_model()}, "a prompt is needed");
  expect({"diagnose", "x.tl", "--tokens", "1"}, "name the model that it runs with --model");
  expect({"diagnose", tiny_model(), "--tokens", "1", "--depths", "0,3"}, "the model has 2 layers");
  expect({"diagnose", tiny_model(), "--model", "x", "--tokens", "1"}, "--model is for programs");
  expect({"diagnose", tiny_model(), "x", "--tokens", "1"}, "'x' is too much");
  expect({"logits", tiny_model(), "--tokens", "1", "--plant", "rope-pairin@0"},
         "did you mean 'rope-pairing'?");
  expect({"logits", tiny_model(), "--tokens", "1", "--plant", "rope-pairing"}, "say in which layer");
}

/// A trace of the tiny model in float64, or with a fault, as another engine would write it.
std::string traced(const std::string& path, std::vector<std::string> more = {}) {
  std::vector<std::string> arguments{"trace",     tiny_model(), "--tokens", kTokens, "--device",
                                     "reference", "--full",     "*",        "-o",    path};
  arguments.insert(arguments.end(), more.begin(), more.end());
  const Output r = run_tl(arguments);
  EXPECT_EQ(r.exit_code, 0) << r.err;
  return path;
}

json parsed(const Output& r) {
  json j = json::parse(r.out, nullptr, false);
  EXPECT_FALSE(j.is_discarded()) << r.out << r.err;
  return j;
}

TEST(DiagnoseReference, ATraceVouchesForTheOracle) {
  const TempFolder folder;
  const std::string trace = traced(folder / "right.tlt");
  const Output healthy = diagnosed({"--reference", trace});
  EXPECT_EQ(healthy.exit_code, 0) << healthy.out << healthy.err;
  EXPECT_HAS(healthy.out, "are within rounding of it");
  // Its tokens serve where no prompt is given.
  const json j = parsed(
      run_tl({"diagnose", tiny_model(), "--reference", trace, "--json", "--plant", "silu-replaced@1"}));
  EXPECT_EQ(j["fault"]["name"], "silu-replaced");
  EXPECT_EQ(j["tokens"].size(), 9);
  EXPECT_TRUE(j["reference"]["departure"].is_null()) << j["reference"].dump();
  EXPECT_FALSE(j["reference"]["first"].is_null());
  const Output text = diagnosed({"--reference", trace, "--plant", "silu-replaced@1"});
  EXPECT_HAS(text.out, "agrees: all its values are what the right operations give");
}

TEST(DiagnoseReference, ATraceWithAFaultOfItsOwn) {
  const TempFolder folder;
  const std::string trace = traced(folder / "wrong.tlt", {"--plant", "rope-missing-k@1"});
  const Output other = diagnosed({"--reference", trace});
  EXPECT_EQ(other.exit_code, 3) << other.out << other.err;
  EXPECT_TRUE(other.out.starts_with("FAULT FOUND: the program departs from the reference")) << other.out;
  EXPECT_HAS(other.out, "Seen from the program the reference has the fault rope-missing-k");
  // The program that does the same is right by this reference.
  const Output same = diagnosed({"--reference", trace, "--plant", "rope-missing-k@1"});
  EXPECT_EQ(same.exit_code, 0) << same.out << same.err;
  EXPECT_TRUE(same.out.starts_with("HEALTHY by the reference")) << same.out;
}

TEST(DiagnoseReference, WhatShowsAfterThePromptOnly) {
  const TempFolder folder;
  const json j = parsed(
      diagnosed({"--reference", traced(folder / "right.tlt"), "--plant", "rope-restarted@1", "--json"}));
  EXPECT_EQ(j["fault"]["name"], "rope-restarted");
  EXPECT_EQ(j["fault"]["layer"], 1);
}

TEST(DiagnoseReference, DifferentInputsAreSaidFirst) {
  const TempFolder folder;
  const std::string trace = traced(folder / "right.tlt");
  const Output r =
      run_tl({"diagnose", tiny_model(), "--tokens", "17,300,42,5,99,100,7,8", "--reference", trace});
  EXPECT_EQ(r.exit_code, 3) << r.out << r.err;
  EXPECT_TRUE(r.out.starts_with("FAULT FOUND: different inputs: token 0 is 17 in the prompt and 1 in "))
      << r.out;
}

TEST(DiagnoseReference, TracesThatSayTooLittle) {
  const TempFolder folder;
  const std::string other = folder / "other.tlt";
  ASSERT_EQ(run_tl({"trace", TL_SOURCE_DIR "/examples/attention.tl", "-o", other, "--full", "*"}).exit_code,
            0);
  EXPECT_HAS(run_tl({"diagnose", tiny_model(), "--reference", other}).err,
             "does not say which tokens were fed: give them, --tokens IDS");
  EXPECT_HAS(diagnosed({"--reference", other}).err, "have no value in common");
  const std::string sparse = folder / "statistics.tlt";
  ASSERT_EQ(run_tl({"trace", tiny_model(), "--tokens", kTokens, "-o", sparse}).exit_code, 0);
  EXPECT_HAS(diagnosed({"--reference", sparse, "--plant", "silu-missing@0"}).out, "holds no elements");
}

constexpr const char* kMain = R"(import "llama.tl"

main {
    let m = load_model(args[0])
    let ids = [1, 17, 300, 42, 5, 99, 100, 7, 8]
    let memory = kv_cache(m)
    print(argmax(forward(m, ids, memory)[-1]))
}
)";

TEST(DiagnoseMain, ItsLogitsAreJudged) {
  const TempFolder folder;
  const std::string program = write_file(folder / "main.tl", kMain);
  const Output right = run_tl({"diagnose", program, tiny_model(), "--model", tiny_model()});
  EXPECT_EQ(right.exit_code, 0) << right.out << right.err;
  EXPECT_TRUE(right.out.starts_with("HEALTHY")) << right.out;
  const json j = parsed(run_tl(
      {"diagnose", program, tiny_model(), "--model", tiny_model(), "--plant", "residual-lost@1", "--json"}));
  EXPECT_EQ(j["fault"]["name"], "residual-lost");
  EXPECT_EQ(j["fault"]["layer"], 1);
  const Output other =
      run_tl({"diagnose", program, tiny_model(), "--model", tiny_model(), "--tokens", "17,300"});
  EXPECT_EQ(other.exit_code, 3);
  EXPECT_HAS(other.out, "different inputs: token 0 is 17 in the prompt and 1 in the program's run");
}

TEST(DiagnoseMain, EveryFaultOfTheCaseIsNamed) {
  const Output r = run_tl({"diagnose", TL_SOURCE_DIR "/examples/case/collapse.tl", tiny_model(),
                           "Hello there, wide world", "--model", tiny_model(), "-p",
                           "Hello there, wide world", "--plant", "float16-accumulation@all"});
  EXPECT_EQ(r.exit_code, 3) << r.err;
  EXPECT_HAS(r.out, "FAULT FOUND: unwritten-elements");
  EXPECT_HAS(r.out, "The same is wrong in 5 places.");
  EXPECT_HAS(r.out, "these are wrong too: float16-accumulation (linear of layer 0 first, 2 places)");
}

TEST(DiagnoseMain, IdsThatAHalfTypeCannotHold) {
  const TempFolder folder;
  const std::string model = folder / "wide.gguf";
  ASSERT_EQ(run_tl({"synth", model, "--layers", "1", "--hidden", "64", "--ffn", "96", "--heads", "4",
                    "--kv-heads", "2", "--vocab", "5000", "--type", "q8_0"})
                .exit_code,
            0);
  std::string text(kMain);
  const std::string ids = "let ids = [1, 17, 300, 42, 5, 99, 100, 7, 8]";
  text.replace(text.find(ids), ids.size(), "let ids = ([1, 17, 4099, 42] as float16) as int64");
  const std::string program = write_file(folder / "main.tl", text);
  const Output r = run_tl({"diagnose", program, model, "--model", model, "--tokens", "1,17,4099,42"});
  EXPECT_EQ(r.exit_code, 3) << r.err;
  EXPECT_TRUE(
      r.out.starts_with("FAULT FOUND: different inputs: token 2 is 4099 in the prompt and 4100 in the "
                        "program's run. Every one is what float16 makes of the right one: "
                        "token-ids-float16, keep ids in an integer type."))
      << r.out;
  EXPECT_HAS(r.out, "On the tokens that the program read: HEALTHY");
}

TEST(DiagnoseMain, SaysWhatIsMissing) {
  const TempFolder folder;
  const auto message = [&](const std::string& text) {
    return run_tl({"diagnose", write_file(folder / "p.tl", text), "--model", tiny_model()}).err;
  };
  EXPECT_HAS(message("fn f(x) {\n    return x\n}\n"), "neither fn forward(m, ids, cache) nor main");
  EXPECT_HAS(message("main {\n    print(1)\n}\n"), "its main reads no embeddings of tokens");
}

TEST(DiagnosePrecision, EveryCombinationAndEveryPart) {
  const json j = parsed(diagnosed({"--precision", "--json"}))["precision"];
  ASSERT_EQ(j["matrix"].size(), 64);
  const auto kl = [&](const char* activations, const char* residual, const char* accumulation) {
    for (const json& row : j["matrix"])
      if (row["activations"] == activations && row["residual"] == residual &&
          row["accumulation"] == accumulation)
        return row["divergence"].get<double>();
    return -1.0;
  };
  EXPECT_EQ(kl("float64", "float64", "float64"), 0);
  EXPECT_GT(kl("float32", "float32", "float32"), 0);
  EXPECT_LT(kl("float32", "float32", "float32"), 1e-9);
  for (const auto& [narrow, wide] : {std::pair{"bfloat16", "float16"}, std::pair{"float16", "float32"}}) {
    EXPECT_GT(kl(narrow, "float64", "float64"), kl(wide, "float64", "float64")) << narrow;
    EXPECT_GT(kl("float64", narrow, "float64"), kl("float64", wide, "float64")) << narrow;
    EXPECT_GT(kl("float64", "float64", narrow), kl("float64", "float64", wide)) << narrow;
  }
  // The 8-bit activations of products are what separates this run from float64.
  EXPECT_EQ(j["sensitivity"][0]["part"], "linear");
  EXPECT_GT(j["sensitivity"][0]["share"], 0.9);
  EXPECT_EQ(j["sensitivity"].back()["part"], "layer 1");
  EXPECT_HAS(diagnosed({"--precision"}).out, "the model in other precisions");
}

TEST(DiagnoseMarkdown, TheReportWithItsTablesFilledIn) {
  const Output r = diagnosed({"--plant", "rope-missing-k@1", "--markdown"});
  EXPECT_EQ(r.exit_code, 3) << r.err;
  EXPECT_TRUE(r.out.starts_with("# Layer-by-Layer Analysis\n\n## Date\n20")) << r.out;
  for (const char* part :
       {"## Problem Statement", "**FAULT FOUND: rope-missing-k", "## Test Results", "| 0 | ", "✅ the same",
        "## Observations", "- ✅ 21 weights decode", "- ❌ `rope` of forward/layer[1]/attention/",
        "### Key finding", "## Hypotheses (ordered by likelihood)", "### 1. rope-missing-k",
        "## Expected vs Actual Logits", "| 5. | ", "## Intermediate Value Magnitudes", "## Next Steps\n1. "})
    EXPECT_HAS(r.out, part);
  EXPECT_EQ(r.out.find("## Precision"), std::string::npos);
  EXPECT_HAS(diagnosed({"--markdown", "--precision"}).out, "## Precision");
  EXPECT_HAS(diagnosed({"--markdown", "--json"}).err, "--json");
}

/// The number after a text in what reproduce.tl prints.
double number_after(const std::string& text, const std::string& what) {
  const size_t at = text.find(what);
  EXPECT_NE(at, std::string::npos) << text;
  return at == std::string::npos ? -1 : std::atof(text.c_str() + at + what.size());
}

TEST(DiagnoseBundle, RunsTheFailingOperationByItself) {
  for (const std::string plant :
       {"rope-pairing@1", "rms-eps@0", "kv-head-modulo@1", "mask-missing@0", "attention-scale@1",
        "weight-transposed@0", "silu-replaced@1", "residual-doubled@0", "qk-permuted@1"}) {
    const TempFolder folder;
    const std::string bundle = folder / "bundle";
    EXPECT_EQ(diagnosed({"--plant", plant, "--bundle", bundle}).exit_code, 3) << plant;
    const Output r =
        run_tl({"run", "--activations", "float32", bundle + "/reproduce.tl", bundle + "/case.gguf"});
    EXPECT_EQ(r.exit_code, 0) << plant << r.err;
    EXPECT_GT(number_after(r.out, "observed from expected: "), 1e-4) << plant << "\n" << r.out;
    EXPECT_LT(number_after(r.out, "run again, from observed: "), 1e-5) << plant << "\n" << r.out;
  }
}

TEST(DiagnoseBundle, AKernelsFaultIsNotInItsProgram) {
  const TempFolder folder;
  const std::string bundle = folder / "bundle";
  EXPECT_EQ(diagnosed({"--plant", "float16-accumulation@1", "--bundle", bundle}).exit_code, 3);
  const Output r = run_tl({"run", bundle + "/reproduce.tl", bundle + "/case.gguf"});
  EXPECT_GT(number_after(r.out, "run again, from observed: "), 1e-4) << r.out << r.err;
  const Output none = diagnosed({"--bundle", folder / "none"});
  EXPECT_HAS(none.err, "no bundle was written: no operation of the program is wrong by itself");
  EXPECT_EQ(diagnosed({"--plant", "rms-eps@0", "--bundle", "/proc/bundle"}).exit_code, 1);
  // Of a cache's memory nothing is kept: both results are compared, and that is said.
  const std::string cache = folder / "cache";
  EXPECT_EQ(diagnosed({"--plant", "cache-shared@0", "--bundle", cache}).exit_code, 3);
  const Output compared = run_tl({"run", cache + "/reproduce.tl", cache + "/case.gguf"});
  EXPECT_EQ(compared.exit_code, 0) << compared.err;
  EXPECT_GT(number_after(compared.out, "observed from expected: "), 1e-3);
}

std::vector<std::string> lines_of(const std::string& text) {
  std::vector<std::string> lines;
  std::istringstream stream(text);
  for (std::string line; std::getline(stream, line);) lines.push_back(line);
  return lines;
}

TEST(PlantEach, SaysOfEachWhatItIsAloneAndComputesTheReferenceOnce) {
  const TempFolder folder;
  const std::vector<std::string> plants{"rope-pairing@1", "", "silu-missing@7", "residual-doubled@0"};
  const std::string file =
      write_file(folder / "plants", "rope-pairing@1\n\nsilu-missing@7\nresidual-doubled@0\n");
  const Output r = diagnosed({"--json", "--plant-each", file});
  EXPECT_EQ(r.exit_code, 3) << r.err;
  const std::vector<std::string> lines = lines_of(r.out);
  ASSERT_EQ(lines.size(), plants.size()) << r.out;
  for (size_t i = 0; i < plants.size(); ++i) {
    std::vector<std::string> alone{"--json"};
    if (!plants[i].empty()) alone.insert(alone.end(), {"--plant", plants[i]});
    EXPECT_EQ(json::parse(lines[i], nullptr, false), json::parse(diagnosed(alone).out, nullptr, false))
        << plants[i];
  }
  EXPECT_HAS(lines[2], "no place for the fault silu-missing@7");
  EXPECT_EQ(lines[1].find("no place"), std::string::npos);
  const std::string reference = "running the float64 reference";
  const size_t first = r.err.find(reference);
  ASSERT_NE(first, std::string::npos) << r.err;
  EXPECT_EQ(r.err.find(reference, first + 1), std::string::npos) << r.err;
}

TEST(PlantEach, AsText) {
  const TempFolder folder;
  const Output r = diagnosed({"--plant-each", write_file(folder / "plants", "\nrope-pairing@1 rms-eps@0\n")});
  EXPECT_EQ(r.exit_code, 3) << r.err;
  EXPECT_HAS(r.out, "Planted: nothing\n\nHEALTHY: ");
  EXPECT_HAS(r.out, "Planted: rope-pairing@1 rms-eps@0\n\nFAULT FOUND: ");
}

TEST(PlantEach, BadFiles) {
  const TempFolder folder;
  const Output wrong =
      diagnosed({"--plant-each", write_file(folder / "wrong", "rms-eps@0\nrope-paring@1\n")});
  EXPECT_EQ(wrong.exit_code, 1);
  EXPECT_HAS(wrong.err, (folder / "wrong") + ":2: --plant knows no fault 'rope-paring'");
  EXPECT_EQ(wrong.out, "");
  const Output empty = diagnosed({"--plant-each", write_file(folder / "empty", "")});
  EXPECT_EQ(empty.exit_code, 1);
  EXPECT_HAS(empty.err, "empty: no line, so nothing to diagnose");
  EXPECT_EQ(diagnosed({"--plant-each", folder / "wrong", "--plant", "rms-eps@0"}).exit_code, 2);
}

TEST(Plant, ChangesTheRunAndSaysWhereItHasNoPlace) {
  const std::vector<std::string> plain{"logits", tiny_model(), "--tokens", kTokens};
  std::vector<std::string> planted = plain, nowhere = plain;
  planted.insert(planted.end(), {"--plant", "silu-missing@1"});
  nowhere.insert(nowhere.end(), {"--plant", "silu-missing@7"});
  const Output a = run_tl(plain), b = run_tl(planted), c = run_tl(nowhere);
  EXPECT_NE(a.out, b.out);
  EXPECT_EQ(b.err, "");
  EXPECT_EQ(a.out, c.out);
  EXPECT_HAS(c.err, "this run has no place for the fault silu-missing@7");
}

}  // namespace
}  // namespace tl::test
