// SmolLM2-135M-Instruct (TL_TEST_MODEL): bits that depend on nothing, and llama.cpp's next tokens.
#include <gtest/gtest.h>

#include <algorithm>
#include <cmath>
#include <nlohmann/json.hpp>

#include "base/file.h"
#include "model/running.h"

namespace tl {
namespace {

using nlohmann::json;
using testing_models::Running;

using Ids = std::vector<int32_t>;

/// What tools/reference/llama_greedy.py wrote: llama.cpp's greedy continuations and its judgement of every
/// position.
const json& golden() {
  static const json j =
      json::parse(read_file(TL_SOURCE_DIR "/tests/golden/llama/smollm2_q4_1_greedy.json"), nullptr, false);
  return j;
}

/// A prompt with its continuation.
Ids ids_of(const json& prompt) {
  Ids ids = prompt["prompt"].get<Ids>();
  const Ids continuation = prompt["continuation"].get<Ids>();
  ids.insert(ids.end(), continuation.begin(), continuation.end());
  return ids;
}

class SmolLM2 : public testing::Test {
 protected:
  void SetUp() override {
    const char* path = std::getenv("TL_TEST_MODEL");
    if (path == nullptr || *path == '\0')
      GTEST_SKIP() << "TL_TEST_MODEL is unset; it names the file of SmolLM2-135M-Instruct";
    path_ = path;
  }
  std::string path_;
};

TEST_F(SmolLM2, ChoosesTheNextTokensOfLlamaCpp) {
  ASSERT_FALSE(golden().is_discarded());
  ASSERT_GE(golden()["prompts"].size(), 20u);
  const auto width = golden()["n_vocab"].get<size_t>();
  Running model(path_, {});
  int positions = 0, differ = 0;
  for (const json& prompt : golden()["prompts"]) {
    ASSERT_GE(prompt["continuation"].size(), 64u);
    const Ids ids = ids_of(prompt);
    model.runner().cache().truncate(0);
    const std::vector<float> rows = model.all(ids);
    ASSERT_EQ(rows.size(), ids.size() * width);
    for (size_t i = 0; i < ids.size(); ++i) {
      const auto row = rows.begin() + static_cast<std::ptrdiff_t>(i * width);
      const auto end = row + static_cast<std::ptrdiff_t>(width);
      ASSERT_TRUE(std::all_of(row, end, [](float x) { return std::isfinite(x); }));
      const auto ours = static_cast<int32_t>(std::max_element(row, end) - row);
      ++positions;
      if (ours == prompt["next"][i]) continue;
      ++differ;
      // A near-tie: llama.cpp's gap is within twice its own error against float64 there.
      EXPECT_LE(prompt["gap"][i].get<double>(), 2 * prompt["error"][i].get<double>())
          << prompt["name"] << ", position " << i << ": " << ours << " instead of " << prompt["next"][i];
    }
  }
  // Two ways of rounding activations to 8 bits choose differently at some 3 % of the positions.
  EXPECT_LE(differ, positions / 20) << "of " << positions;
  std::printf("%d of %d next tokens differ from llama.cpp's, all near-ties\n", differ, positions);
}

TEST_F(SmolLM2, SameBitsForAnyThreadsAndAnyCut) {
  Ids ids = ids_of(golden()["prompts"][1]);
  ids.resize(48);
  const auto expected = Running(path_, {.threads = 1}).all(ids);
  for (const int threads : {2, 4, 2})
    EXPECT_EQ(Running(path_, {.threads = threads}).all(ids), expected) << threads;
  Running stepwise(path_, {.threads = 2});
  std::vector<float> rows;
  for (const int32_t id : ids) {
    const auto row = stepwise.last({id});
    rows.insert(rows.end(), row.begin(), row.end());
  }
  EXPECT_EQ(rows, expected);
}

TEST_F(SmolLM2, EqualsTheReference) {
  Ids ids = ids_of(golden()["prompts"][2]);
  ids.resize(12);
  const auto reference = Running(path_, {.reference = true}).all(ids);
  const auto ours = Running(path_, {.activations = Activations::float32}).all(ids);
  double difference = 0, norm = 0;
  for (size_t i = 0; i < ours.size(); ++i) {
    ASSERT_TRUE(std::isfinite(ours[i]) && std::isfinite(reference[i])) << i;
    difference += (double{ours[i]} - reference[i]) * (double{ours[i]} - reference[i]);
    norm += double{reference[i]} * reference[i];
  }
  // float32 rounds to 6e-8 relative; 30 layers of sums may amplify that a few hundred times.
  EXPECT_LT(std::sqrt(difference / norm), 2e-5);
}

}  // namespace
}  // namespace tl
