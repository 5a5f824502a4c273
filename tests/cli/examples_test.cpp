// The programs in examples/case, on a model of TinyLlama's shape with few layers.
#include <gtest/gtest.h>

#include <nlohmann/json.hpp>

#include "cli/program.h"

namespace tl::test {
namespace {

using nlohmann::json;

class Case : public testing::Test {
 protected:
  static void SetUpTestSuite() {
    folder_ = std::make_unique<TempFolder>();
    model_ = *folder_ / "model.gguf";
    const Output made = run_tl({"synth", model_, "--layers", "2", "--ffn", "512", "--vocab", "512"});
    ASSERT_EQ(made.exit_code, 0) << made.err;
  }
  static void TearDownTestSuite() { folder_.reset(); }

  static std::vector<std::string> lines_of(const std::string& program,
                                           std::vector<std::string> arguments = {}) {
    arguments.insert(arguments.begin(), {"run", TL_SOURCE_DIR "/examples/case/" + program, model_});
    const Output r = run_tl(arguments);
    EXPECT_EQ(r.exit_code, 0) << r.err;
    EXPECT_EQ(r.err, "");
    std::vector<std::string> lines;
    for (size_t at = 0, end; (end = r.out.find('\n', at)) != std::string::npos; at = end + 1)
      lines.push_back(r.out.substr(at, end - at));
    return lines;
  }

  inline static std::unique_ptr<TempFolder> folder_;
  inline static std::string model_;
};

TEST_F(Case, VerifyWeightsValues) {
  const auto lines = lines_of("verify_weights_values.tl");
  ASSERT_EQ(lines.size(), 3u + 2 * (1 + 2 * 7 + 2) + 2);
  EXPECT_EQ(lines[0], std::string(80, '='));
  EXPECT_EQ(lines[3], "token_embd.weight");
  EXPECT_TRUE(lines[4].starts_with("  shape [512, 2048]  min -")) << lines[4];
  EXPECT_EQ(lines.back(), "All weights are readable");
}

TEST_F(Case, Debug2LayersSimple) {
  const auto lines = lines_of("debug_2layers_simple.tl");
  ASSERT_EQ(lines.size(), 10u);
  EXPECT_TRUE(lines[3].starts_with("Tokens: [")) << lines[3];
  EXPECT_TRUE(lines[5].ends_with(", 2048]  finite true")) << lines[5];
  EXPECT_TRUE(lines[7].ends_with(", 512]")) << lines[7];
  EXPECT_TRUE(lines[8].starts_with("Predicted token: ")) << lines[8];
}

// Without a mask, the last row of the first layer sees what it sees with one: there the script's TinyLlama
// and models/llama.tl must predict the same.
TEST_F(Case, DebugLayerByLayer) {
  const auto lines = lines_of("debug_layer_by_layer.tl", {"A first layer"});
  ASSERT_EQ(lines.size(), 3u) << "0, 1 and 2 layers";
  const Output ids = run_tl({"tokenize", model_, "A first layer", "--no-special", "--ids"});
  for (const int layers : {0, 1}) {
    const Output r = run_tl(
        {"logits", model_, "--tokens", ids.out, "--layers", std::to_string(layers), "--top", "1", "--json"});
    ASSERT_EQ(r.exit_code, 0) << r.err;
    const int expected = json::parse(r.out)["top"][0]["id"];
    const std::string begin = std::to_string(layers) + " layers: token " + std::to_string(expected) + " \"";
    EXPECT_TRUE(lines[static_cast<size_t>(layers)].starts_with(begin)) << lines[static_cast<size_t>(layers)];
  }
}

TEST_F(Case, WithoutAModelTheScriptsSayWhichIsMissing) {
  const Output r = run_tl({"run", TL_SOURCE_DIR "/examples/case/debug_2layers_simple.tl"},
                          {.environment = {{"HOME", folder_->path()}}});
  EXPECT_EQ(r.exit_code, 1);
  EXPECT_NE(r.err.find(folder_->path() + "/.llm/models/tinyllama-1.1b-chat-q4_0.gguf"), std::string::npos)
      << r.err;
}

}  // namespace
}  // namespace tl::test
