// The commands that open models, on a tiny model of random weights.
#include <gtest/gtest.h>

#include <cmath>
#include <cstring>
#include <filesystem>
#include <fstream>
#include <nlohmann/json.hpp>
#include <sstream>

#include "cli/program.h"

namespace tl::test {
namespace {

using nlohmann::json;

bool contains(const std::string& text, const std::string& part) {
  return text.find(part) != std::string::npos;
}

#define EXPECT_HAS(text, part) \
  EXPECT_TRUE(contains(text, part)) << "expected: " << (part) << "\nfound: " << (text)

/// The JSON that a command printed; a failure otherwise.
json run_json(std::vector<std::string> arguments) {
  arguments.push_back("--json");
  const Output r = run_tl(arguments);
  EXPECT_EQ(r.exit_code, 0) << r.err;
  json j = json::parse(r.out, nullptr, false);
  EXPECT_FALSE(j.is_discarded()) << r.out;
  return j;
}

std::string read(const std::string& path) {
  std::ifstream file(path, std::ios::binary);
  std::stringstream text;
  text << file.rdbuf();
  return text.str();
}

TEST(Inspect, ShowsMetadataAndTensors) {
  const Output r = run_tl({"inspect", tiny_model()});
  EXPECT_EQ(r.exit_code, 0) << r.err;
  for (const char* part : {"gguf", "llama", "block_count", "blk.1.ffn_down.weight", "Q8_0", "[64, 96]"}) {
    EXPECT_HAS(r.out, part);
  }
}

TEST(Inspect, KeysThatTheReaderDerivesAreNotListed) {
  const Output r = run_tl({"inspect", tiny_model()});
  EXPECT_EQ(r.out.find("tensorlogic."), std::string::npos) << r.out;
  EXPECT_EQ(run_tl({"inspect", tiny_model(), "--json"}).out.find("tensorlogic."), std::string::npos);
}

TEST(Synth, SignalsThatEndItLeaveNoPartialFile) {
  for (const int signal : {SIGTERM, SIGHUP}) {
    const TempFolder folder;
    const Output r = run_tl({"synth", folder / "large.gguf"}, {.interrupt_after = 0.7, .signal = signal});
    EXPECT_EQ(r.signal, signal);
    EXPECT_TRUE(std::filesystem::is_empty(folder.path()));
  }
}

TEST(Inspect, JsonHoldsTheSame) {
  const json j = run_json({"inspect", tiny_model(), "--stats"});
  EXPECT_EQ(j["architecture"], "llama");
  EXPECT_EQ(j["hyperparameters"]["block_count"], 2);
  bool found = false;
  for (const json& t : j["tensors"]) {
    if (t["name"] != "blk.0.attn_k.weight") continue;
    found = true;
    EXPECT_EQ(t["shape"], (json{32, 64}));
    EXPECT_LT(t["min"], 0);
    EXPECT_GT(t["max"], 0);
    EXPECT_GT(t["std"], 0);
    EXPECT_EQ(t["nan"], 0);
  }
  EXPECT_TRUE(found);
}

TEST(Inspect, StatsAreInTheTable) {
  const Output r = run_tl({"inspect", tiny_model(), "--stats"});
  for (const char* part : {"min", "max", "mean", "std", "nan"}) EXPECT_HAS(r.out, part);
}

TEST(Tokenize, PrintsIdsThreeWays) {
  const json j = run_json({"tokenize", tiny_model(), "ab c"});
  ASSERT_GE(j["ids"].size(), 4u);
  EXPECT_EQ(j["ids"].size(), j["tokens"].size());
  const Output ids = run_tl({"tokenize", tiny_model(), "ab c", "--ids"});
  std::string joined;
  for (const json& id : j["ids"]) joined += (joined.empty() ? "" : ",") + std::to_string(id.get<int>());
  EXPECT_EQ(ids.out, joined + "\n");
  const Output table = run_tl({"tokenize", tiny_model(), "ab c"});
  EXPECT_EQ(std::count(table.out.begin(), table.out.end(), '\n'), std::ssize(j["ids"]));
  EXPECT_HAS(table.out, "'a'");
}

TEST(Tokenize, ReadsFilesAndStandardInput) {
  const TempFolder folder;
  const std::string file = write_file(folder / "text", "a\n\xf0\x9f\xa6\x99 \xff");
  const Output from_file = run_tl({"tokenize", tiny_model(), "-f", file});
  const Output from_input = run_tl({"tokenize", tiny_model()}, {.input = read(file)});
  EXPECT_EQ(from_file.exit_code, 0) << from_file.err;
  EXPECT_EQ(from_file.out, from_input.out);
  EXPECT_HAS(from_file.out, "'\\n'");
  EXPECT_HAS(from_file.out, "'\\xf0'");
}

TEST(Quantize, WritesAnotherType) {
  const TempFolder folder;
  const std::string out = folder / "f16.gguf";
  const Output r = run_tl({"quantize", tiny_model(), out, "f16"});
  EXPECT_EQ(r.exit_code, 0) << r.err;
  const json j = run_json({"inspect", out});
  for (const json& t : j["tensors"]) EXPECT_TRUE(t["type"] == "F16" || t["type"] == "F32") << t;
}

TEST(Quantize, NeverOverwritesItsSource) {
  const std::string before = read(tiny_model());
  const Output r = run_tl({"quantize", tiny_model(), tiny_model(), "f16"});
  EXPECT_EQ(r.exit_code, 2);
  EXPECT_HAS(r.err, "would be overwritten");
  EXPECT_EQ(read(tiny_model()), before);
}

TEST(Models, ListsTheCacheAndTheRegistry) {
  const TempFolder folder;
  std::filesystem::copy_file(tiny_model(), folder / "tiny.gguf");
  const RunOptions options{.environment = {{"TENSORLOGIC_MODELS", folder.path()}}};
  const Output r = run_tl({"models"}, options);
  EXPECT_EQ(r.exit_code, 0) << r.err;
  for (const std::string& part : {folder.path(), std::string("tiny.gguf"), std::string("smollm2-135m")}) {
    EXPECT_HAS(r.out, part);
  }
  const json j = json::parse(run_tl({"models", "--json"}, options).out, nullptr, false);
  ASSERT_FALSE(j.is_discarded());
  EXPECT_EQ(j["models"].size(), 1u);
  EXPECT_GE(j["available"].size(), 2u);
  EXPECT_EQ(run_tl({"tokenize", "tiny", "a"}, options).exit_code, 0) << "found by its name in the cache";
  const std::string program =
      write_file(folder / "t.tl", "main { print(tokenize(load_tokenizer(\"tiny\"), \"a\")) }\n");
  EXPECT_EQ(run_tl({"run", program}, options).exit_code, 0) << "in programs, too";
}

TEST(Models, UnknownNamesSayWhatToDo) {
  const TempFolder folder;
  const RunOptions options{.environment = {{"TENSORLOGIC_MODELS", folder.path()}}};
  const Output r = run_tl({"generate", "smollm2-135m", "-p", "x"}, options);
  EXPECT_EQ(r.exit_code, 1);
  EXPECT_HAS(r.err, "tl pull smollm2-135m");
}

TEST(Generate, GreedyTextIsTheSameInEveryForm) {
  const std::vector<std::string> base = {"generate", tiny_model(), "-p", "abc",         "-n",
                                         "8",        "--temp",     "0",  "--ignore-eos"};
  const Output text = run_tl(base);
  EXPECT_EQ(text.exit_code, 0) << text.err;
  EXPECT_EQ(text.err, "");
  const json j = run_json(base);
  EXPECT_EQ(text.out, j["text"].get<std::string>() + "\n");
  EXPECT_EQ(j["tokens"].size(), 8u);
  EXPECT_EQ(j["stop_reason"], "max_tokens");

  std::string ids;
  for (const json& id : j["prompt_tokens"]) ids += (ids.empty() ? "" : ",") + std::to_string(id.get<int>());
  const json by_ids =
      run_json({"generate", tiny_model(), "--tokens", ids, "-n", "8", "--temp", "0", "--ignore-eos"});
  EXPECT_EQ(by_ids["tokens"], j["tokens"]);

  const TempFolder folder;
  const json by_file = run_json({"generate", tiny_model(), "-f", write_file(folder / "p", "abc"), "-n", "8",
                                 "--temp", "0", "--ignore-eos", "-b", "1", "-t", "1", "--no-mmap"});
  EXPECT_EQ(by_file["tokens"], j["tokens"]);
  const Output by_input =
      run_tl({"generate", tiny_model(), "-n", "8", "--temp", "0", "--ignore-eos"}, {.input = "abc"});
  EXPECT_EQ(by_input.out, text.out);
}

TEST(Generate, SeedsRepeat) {
  const auto tokens = [](const char* seed) {
    return run_json({"generate", tiny_model(), "-p", "abc", "-n", "12", "--ignore-eos", "--temp", "2",
                     "--top-k", "0", "--top-p", "1", "--min-p", "0", "--seed", seed})["tokens"];
  };
  EXPECT_EQ(tokens("5"), tokens("5"));
  EXPECT_NE(tokens("5"), tokens("6"));
}

TEST(Generate, LogprobsAndVerboseOutput) {
  const std::vector<std::string> base = {"generate", tiny_model(), "-p",           "ab",         "-n", "3",
                                         "--temp",   "0",          "--ignore-eos", "--logprobs", "4"};
  const json j = run_json(base);
  ASSERT_EQ(j["logprobs"].size(), 3u);
  for (const json& row : j["logprobs"]) {
    ASSERT_EQ(row["top"].size(), 4u);
    EXPECT_EQ(row["top"][0]["id"], row["id"]);
    EXPECT_EQ(row["top"][0]["logprob"], row["logprob"]);
    EXPECT_LT(row["logprob"], 0);
    EXPECT_GE(row["top"][0]["logprob"], row["top"][1]["logprob"]);
  }
  std::vector<std::string> verbose = base;
  verbose.insert(verbose.end(), {"-v", "--verbose-prompt", "--seed", "77"});
  const Output r = run_tl(verbose);
  EXPECT_EQ(std::count(r.out.begin(), r.out.end(), '\n'), 3);
  EXPECT_HAS(r.err, "seed 77");
  EXPECT_HAS(r.err, "'a'");
  EXPECT_HAS(r.err, "ended by max_tokens");
}

TEST(Generate, AFullContextIsSaidAloud) {
  const Output full =
      run_tl({"generate", tiny_model(), "-p", "abc", "-c", "8", "--temp", "0", "--ignore-eos"});
  EXPECT_EQ(full.exit_code, 0);
  EXPECT_HAS(full.err, "the context of 8 tokens is full");
  const Output prompt = run_tl({"generate", tiny_model(), "-p", "abcdefghijklmnop", "-c", "8"});
  EXPECT_EQ(prompt.exit_code, 1);
  EXPECT_HAS(prompt.err, "but the context holds 8: enlarge it with -c");
  EXPECT_HAS(run_tl({"generate", tiny_model(), "-p", "a", "-n", "1", "-c", "512"}).err, "was trained for");
}

TEST(Generate, ATerminalIsToldThatItsInputIsAwaited) {
  const Output r = run_tl({"generate", tiny_model(), "-n", "2", "--temp", "0"},
                          {.terminal = true, .dialogue = {{"reading standard input", "abc\n\x04"}}});
  EXPECT_EQ(r.exit_code, 0) << r.out;
}

TEST(Generate, TokensOutsideTheVocabularyAreUsageErrors) {
  const Output r = run_tl({"generate", tiny_model(), "--tokens", "1,99999", "-n", "1"});
  EXPECT_EQ(r.exit_code, 2);
  EXPECT_HAS(r.err, "99999 is no token of this vocabulary");
}

TEST(Generate, CtrlCKeepsWhatWasSaid) {
  const TempFolder folder;
  const std::string model = folder / "slow.gguf";
  ASSERT_EQ(run_tl({"synth", model, "--layers", "6", "--hidden", "512", "--ffn", "1024", "--heads", "8",
                    "--kv-heads", "2", "--vocab", "512", "--type", "q8_0", "--context", "100000"})
                .exit_code,
            0);
  const Output r =
      run_tl({"generate", model, "-p", "abc", "-c", "100000", "--ignore-eos"}, {.interrupt_after = 1.5});
  EXPECT_EQ(r.exit_code, 130) << r.err;
  EXPECT_GT(r.out.size(), 1u);
}

TEST(Logits, AgreeInEveryForm) {
  const TempFolder folder;
  const std::string npy = folder / "logits.npy";
  const json j = run_json({"logits", tiny_model(), "--tokens", "65,66,67", "--top", "5", "--out", npy});
  EXPECT_EQ(j["rows"], 3);
  EXPECT_EQ(j["n_vocab"], 512);
  ASSERT_EQ(j["top"].size(), 5u);

  const std::string bytes = read(npy);
  ASSERT_GT(bytes.size(), 10u);
  EXPECT_EQ(bytes.substr(0, 8), std::string("\x93NUMPY\x01\x00", 8));
  const size_t start =
      10 + static_cast<unsigned char>(bytes[8]) + 256u * static_cast<unsigned char>(bytes[9]);
  EXPECT_EQ(start % 64, 0u);
  EXPECT_HAS(bytes.substr(10, start), "'descr': '<f4', 'fortran_order': False, 'shape': (3, 512)");
  ASSERT_EQ(bytes.size(), start + 3 * 512 * 4);
  std::vector<float> rows(3 * 512);
  std::memcpy(rows.data(), bytes.data() + start, bytes.size() - start);
  double sum = 0;
  for (size_t i = 1024; i < 1536; ++i) sum += std::exp(rows[i]);
  for (const json& t : j["top"]) {
    const float logit = rows[1024 + t["id"].get<size_t>()];
    EXPECT_EQ(t["logit"].get<float>(), logit);
    EXPECT_NEAR(t["logprob"].get<double>(), logit - std::log(sum), 1e-5);
  }
  const Output table = run_tl({"logits", tiny_model(), "--tokens", "65,66,67", "--top", "5"});
  EXPECT_EQ(std::count(table.out.begin(), table.out.end(), '\n'), 6);
}

TEST(Logits, DevicesAndLayersDiffer) {
  const auto top = [](std::vector<std::string> more) {
    std::vector<std::string> arguments = {"logits", tiny_model(), "--tokens", "65,66,67", "--top", "1"};
    arguments.insert(arguments.end(), more.begin(), more.end());
    return run_json(arguments)["top"][0];
  };
  const json cpu = top({"--activations", "float32"}), reference = top({"--device", "reference"});
  EXPECT_EQ(cpu["id"], reference["id"]);
  EXPECT_NEAR(cpu["logit"].get<double>(), reference["logit"].get<double>(), 1e-3);
  EXPECT_NE(top({"--layers", "0"})["logit"], cpu["logit"]);
  EXPECT_NE(top({"--layers", "1"})["logit"], top({"--layers", "0"})["logit"]);
  EXPECT_EQ(top({"--layers", "2", "--activations", "float32"})["logit"], cpu["logit"]);
  const Output r = run_tl({"logits", tiny_model(), "-p", "a", "--layers", "3"});
  EXPECT_EQ(r.exit_code, 1);
  EXPECT_HAS(r.err, "layers");
}

TEST(Logits, ProgramsAreFound) {
  const TempFolder empty;
  const Output missing = run_tl({"logits", tiny_model(), "-p", "a", "--models", empty.path()});
  EXPECT_EQ(missing.exit_code, 1);
  EXPECT_HAS(missing.err, "no model program for the architecture 'llama'");
  const Output given =
      run_tl({"logits", tiny_model(), "-p", "a", "--program", TL_SOURCE_DIR "/models/llama.tl"});
  EXPECT_EQ(given.exit_code, 0) << given.err;
  EXPECT_EQ(run_tl({"logits", tiny_model(), "-p", "a", "--models", empty / "absent"}).exit_code, 1);
}

class PerplexityTest : public testing::Test {
 protected:
  PerplexityTest() {
    std::string text;
    for (int i = 0; i < 60; ++i) text += "line " + std::to_string(i * 37) + "\n";
    file_ = write_file(folder_ / "text", text);
  }
  TempFolder folder_;
  std::string file_;
};

TEST_F(PerplexityTest, IsWhatTheLogitsSay) {
  const json tokens = run_json({"tokenize", tiny_model(), "-f", file_, "--no-parse-special"})["ids"];
  std::string ids;
  for (size_t i = 0; i < 64; ++i) ids += (i > 0 ? "," : "") + std::to_string(tokens[i].get<int>());
  run_json({"logits", tiny_model(), "--tokens", ids, "--out", folder_ / "logits.npy"});
  const std::string bytes = read(folder_ / "logits.npy");
  ASSERT_EQ(bytes.size(), 128 + 64 * 512 * sizeof(float));
  std::vector<float> rows(64 * 512);
  std::memcpy(rows.data(), bytes.data() + 128, rows.size() * sizeof(float));
  double surprise = 0;
  for (size_t i = 32; i < 63; ++i) {
    double sum = 0;
    for (size_t j = 0; j < 512; ++j) sum += std::exp(static_cast<double>(rows[i * 512 + j]));
    surprise += std::log(sum) - rows[i * 512 + tokens[i + 1].get<size_t>()];
  }
  const json j = run_json({"perplexity", tiny_model(), file_, "-c", "64", "--chunks", "1"});
  EXPECT_NEAR(std::log(j["perplexity"].get<double>()), surprise / 31, 1e-6);
}

TEST_F(PerplexityTest, CountsChunksAndIgnoresTheBatch) {
  const json j = run_json({"perplexity", tiny_model(), file_, "-c", "64"});
  EXPECT_GT(j["uncertainty"], 0);
  EXPECT_EQ(j["predictions"].get<int>(), j["chunks"].get<int>() * 31);
  const json batched = run_json({"perplexity", tiny_model(), file_, "-c", "64", "-b", "7"});
  EXPECT_EQ(batched["perplexity"], j["perplexity"]) << "the batch must not matter";
  const Output one = run_tl({"perplexity", tiny_model(), file_, "-c", "64", "--chunks", "1"});
  EXPECT_HAS(one.out, "over 31 predictions in 1 chunks of 64");
  const Output short_text =
      run_tl({"perplexity", tiny_model(), write_file(folder_ / "short", "abc"), "-c", "64"});
  EXPECT_EQ(short_text.exit_code, 1);
  EXPECT_HAS(short_text.err, "fewer than one chunk of 64");
}

class ChatTest : public testing::Test {
 protected:
  /// Chat with the tiny model from a pipe, with a template that shows every message.
  Output chat(const std::string& input, const std::vector<std::string>& more = {}) {
    const std::string chat_template =
        write_file(folder_ / "template.jinja",
                   "{% for m in messages %}[{{ m.role }}]{{ m.content }}{% endfor %}[assistant]");
    std::vector<std::string> arguments = {"chat", tiny_model(), "--template", chat_template,
                                          "-n",   "4",          "--temp",     "0"};
    arguments.insert(arguments.end(), more.begin(), more.end());
    return run_tl(arguments, {.input = input, .directory = folder_.path()});
  }
  TempFolder folder_;
};

TEST_F(ChatTest, AnswersAndEndsWithItsInput) {
  const Output r = chat("hello\nagain\n");
  EXPECT_EQ(r.exit_code, 0) << r.err;
  EXPECT_GE(std::count(r.out.begin(), r.out.end(), '\n'), 2);
}

TEST_F(ChatTest, SavesAndLoads) {
  Output r = chat("hello\n/save talk.json\n", {"--system", "be brief"});
  EXPECT_EQ(r.exit_code, 0) << r.err;
  const json saved = json::parse(read(folder_ / "talk.json"), nullptr, false);
  ASSERT_EQ(saved["messages"].size(), 3u);
  EXPECT_EQ(saved["messages"][0], (json{{"role", "system"}, {"content", "be brief"}}));
  EXPECT_EQ(saved["messages"][1], (json{{"role", "user"}, {"content", "hello"}}));
  EXPECT_EQ(saved["messages"][2]["role"], "assistant");

  r = chat("/load talk.json\n/save copy.json\n/clear\n/save cleared.json\n/system new\n/save system.json\n");
  EXPECT_EQ(r.out, "3 messages loaded\n3 messages saved\n1 messages saved\n1 messages saved\n") << r.err;
  EXPECT_EQ(json::parse(read(folder_ / "copy.json")), saved);
  EXPECT_EQ(json::parse(read(folder_ / "cleared.json"))["messages"].size(), 1u);
  EXPECT_EQ(json::parse(read(folder_ / "system.json"))["messages"][0]["content"], "new");
}

TEST_F(ChatTest, FilesThatAreNoConversationAreRefused) {
  for (const char* bad : {"no json", "[]", "{\"messages\": [{\"role\": \"user\"}]}"}) {
    write_file(folder_ / "bad.json", bad);
    const Output r = chat("/load bad.json\n");
    EXPECT_EQ(r.exit_code, 1) << bad;
    EXPECT_HAS(r.err, "bad.json");
    EXPECT_HAS(r.err, "as /save writes it");
  }
}

TEST_F(ChatTest, HelpsAndCounts) {
  const Output r = chat("/help\nhello\n/stats\n/exit\nnever read\n");
  EXPECT_EQ(r.exit_code, 0) << r.err;
  for (const char* part :
       {"/help", "/clear", "/system", "/save", "/load", "/stats", "/exit", "last answer", "tokens/s"}) {
    EXPECT_HAS(r.out, part);
  }
  const Output typo = chat("/sats\n/save\n");
  EXPECT_HAS(typo.err, "there is no command /sats; did you mean /stats?");
  EXPECT_HAS(typo.err, "/save needs a file name");
}

TEST_F(ChatTest, AModelKnownByNameIsSampledAsItsAuthorsRecommend) {
  EXPECT_HAS(chat("/stats\n").out, "sampling     temp 0, top-k 40, top-p 0.95, min-p 0.05");
  std::filesystem::copy_file(tiny_model(), folder_ / "SmolLM2-135M-Instruct.Q4_1.gguf");
  const auto sampling = [&](std::vector<std::string> arguments) {
    arguments.insert(arguments.begin(), {"chat", "smollm2-135m", "--template", folder_ / "template.jinja"});
    const Output r =
        run_tl(arguments, {.input = "/stats\n", .environment = {{"TENSORLOGIC_MODELS", folder_.path()}}});
    EXPECT_EQ(r.exit_code, 0) << r.err;
    const size_t at = r.out.find("sampling");
    return at == std::string::npos ? r.out : r.out.substr(at, r.out.find('\n', at) - at);
  };
  EXPECT_EQ(sampling({}), "sampling     temp 0.2, top-k 40, top-p 0.9, min-p 0.05");
  EXPECT_EQ(sampling({"--temp", "0.8"}), "sampling     temp 0.8, top-k 40, top-p 0.9, min-p 0.05");
}

TEST_F(ChatTest, AFullContextIsSaidAloud) {
  const Output r = chat("a question that is longer than the context can hold, by far\n", {"-c", "16"});
  EXPECT_EQ(r.exit_code, 1);
  EXPECT_HAS(r.err, "but the context holds 16: /clear starts afresh, -c gives a larger one");
  const Output middle = chat("/stats\nabc\n/stats\n/clear\n/stats\n", {"-c", "26"});
  EXPECT_EQ(middle.exit_code, 0) << middle.err;
  EXPECT_TRUE(middle.out.starts_with("context      0 of 26 tokens, 0 messages\n")) << middle.out;
  EXPECT_HAS(middle.err, "the context of 26 tokens is full: /clear starts afresh");
  EXPECT_HAS(middle.out, "ended by context_full");
  EXPECT_HAS(middle.out, "context      26 of 26 tokens, 2 messages");
  EXPECT_HAS(middle.out, "context      0 of 26 tokens, 0 messages");
}

TEST_F(ChatTest, OnATerminalCtrlCStopsTheAnswerOnly) {
  const std::string model = folder_ / "slow.gguf";
  ASSERT_EQ(run_tl({"synth", model, "--layers", "4", "--hidden", "256", "--ffn", "512", "--heads", "8",
                    "--kv-heads", "2", "--vocab", "512", "--type", "q8_0", "--context", "100000"})
                .exit_code,
            0);
  write_file(folder_ / "t.jinja",
             "{% for m in messages %}[{{ m.role }}]{{ m.content }}{% endfor %}[assistant]");
  const Output r = run_tl({"chat", model, "--template", folder_ / "t.jinja", "--temp", "0", "-c", "100000"},
                          {.environment = {{"TERM", "xterm"}},
                           .terminal = true,
                           .dialogue = {{"> ", "hello\r"},
                                        {"hello\r\n", ""},
                                        {"<", "\x03"},
                                        {"(stopped)", ""},
                                        {"> ", "/stats\r"},
                                        {"ended by interrupted", ""},
                                        {"> ", "/nonsense\r"},
                                        {"there is no command /nonsense", ""},
                                        {"> ", "\x03"},
                                        {"> ", "/exit\r"}}});
  EXPECT_EQ(r.exit_code, 0) << r.out;
}

TEST_F(ChatTest, WithoutATemplateItSaysSo) {
  const Output r = run_tl({"chat", tiny_model()}, {.input = "hello\n"});
  EXPECT_EQ(r.exit_code, 1);
  EXPECT_HAS(r.err, "has no chat template");
}

}  // namespace
}  // namespace tl::test
