// Exact ids on the vocabularies of real models, where those are at hand.
#include <gtest/gtest.h>

#include <cstdlib>
#include <filesystem>
#include <sstream>

#include "base/file.h"
#include "text/stream.h"
#include "text/tokenizer.h"
#include "unit/text/vocabulary_file.h"

namespace tl {
namespace {

using Ids = std::vector<int32_t>;

const std::string kGolden = std::string(TL_SOURCE_DIR) + "/tests/golden/text/";

std::vector<std::string> split(const std::string& text, const std::string& separator) {
  std::vector<std::string> parts;
  size_t done = 0;
  for (size_t at; (at = text.find(separator, done)) != std::string::npos; done = at + separator.size()) {
    parts.push_back(text.substr(done, at - done));
  }
  parts.push_back(text.substr(done));
  return parts;
}

Ids numbers(const std::string& line) {
  std::istringstream in(line);
  return {std::istream_iterator<int32_t>(in), {}};
}

class SharedVocabulary : public testing::TestWithParam<const char*> {};

/// Beside each vocabulary lie texts (.inp, separated by a marker) and their ids (.out, one line each).
TEST_P(SharedVocabulary, GivesTheListedIds) {
  const char* folder = std::getenv("TL_SHARED_DATA");
  if (folder == nullptr) GTEST_SKIP() << "TL_SHARED_DATA is unset; it names the folder with tokenizers/";
  const std::string path = std::string(folder) + "/tokenizers/" + GetParam();
  if (!std::filesystem::exists(path)) GTEST_SKIP() << path << " is not there";
  const Tokenizer tokenizer = Tokenizer::create(test::read_vocabulary(path));
  const auto texts = split(read_file(path + ".inp"), "\n__ggml_vocab_test__\n");
  const auto lines = split(read_file(path + ".out"), "\n");
  ASSERT_GE(lines.size(), texts.size());
  ASSERT_GT(texts.size(), 20u);
  for (size_t i = 0; i < texts.size(); ++i) {
    EXPECT_EQ(tokenizer.encode(texts[i], false, false), numbers(lines[i]))
        << "text " << i << ": " << texts[i];
    EXPECT_EQ(tokenizer.decode(numbers(lines[i]), false), texts[i]) << "text " << i;
  }
}

INSTANTIATE_TEST_SUITE_P(All, SharedVocabulary,
                         testing::Values("ggml-vocab-gpt-2.gguf", "ggml-vocab-llama-spm.gguf"),
                         [](const auto& param) {
                           return std::string(param.param).find("gpt") != std::string::npos ? "gpt2"
                                                                                            : "llama";
                         });

class SmolLM2 : public testing::Test {
 protected:
  void SetUp() override {
    const char* path = std::getenv("TL_TEST_MODEL");
    if (path == nullptr || *path == '\0')
      GTEST_SKIP() << "TL_TEST_MODEL is unset; it names the file of SmolLM2-135M-Instruct";
    tokenizer_ = Tokenizer::create(test::read_vocabulary(path));
  }
  std::optional<Tokenizer> tokenizer_;
};

// Both golden files are written by tools/reference/tokenizers_compare.py.
TEST_F(SmolLM2, EqualsTheTokenizersPackage) {
  size_t n = 0, different = 0;
  for (const std::string& line : split(read_file(kGolden + "smollm2_lines.txt"), "\n")) {
    if (line.empty()) continue;
    ++n;
    const std::string text = test::unescape(line.substr(11));
    const auto expected = static_cast<uint32_t>(std::stoul(line.substr(2, 8), nullptr, 16));
    const Ids ids = tokenizer_->encode(text, false, line[0] == '1');
    if (test::hash_of(ids) == expected) continue;
    if (++different <= 20) ADD_FAILURE() << "line " << n << ": " << line.substr(11);
  }
  EXPECT_GE(n, 5000u);
  EXPECT_EQ(different, 0u) << "of " << n << " lines";
}

TEST_F(SmolLM2, GivesTheListedIdsAndTheTextsBack) {
  size_t n = 0;
  for (const std::string& line : split(read_file(kGolden + "smollm2_ids.txt"), "\n")) {
    if (line.empty()) continue;
    ++n;
    const size_t tab = line.find('\t');
    const std::string text = test::unescape(line.substr(tab + 1));
    const Ids expected = numbers(line.substr(2, tab - 2));
    EXPECT_EQ(tokenizer_->encode(text, false, line[0] == '1'), expected) << line;
    StreamDecoder stream(*tokenizer_, false);
    std::string streamed;
    for (const int32_t id : expected) streamed += stream.push(id);
    streamed += stream.flush();
    EXPECT_EQ(streamed, tokenizer_->decode(expected, false)) << line;
  }
  EXPECT_GE(n, 200u);
}

TEST_F(SmolLM2, EndsGenerationWhereLlamaCppDoes) {
  EXPECT_EQ(tokenizer_->end_of_generation(), (Ids{0, 2, 4}));
  for (int32_t id = 0; id < tokenizer_->vocab_size(); ++id) {
    EXPECT_EQ(tokenizer_->is_control(id), id <= 16) << id;
  }
  EXPECT_EQ(tokenizer_->piece(*tokenizer_->eot()), "<|im_end|>");
}

}  // namespace
}  // namespace tl
