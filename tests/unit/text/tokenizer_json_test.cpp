// Reading tokenizer.json, against the `tokenizers` package (tools/reference/tokenizers_json_golden.py).
#include "text/tokenizer_json.h"

#include <gtest/gtest.h>

#include <sstream>

#include "base/error.h"
#include "base/file.h"
#include "unit/text/vocabulary_file.h"

namespace tl {
namespace {

using Ids = std::vector<int32_t>;

const std::string kFolder = std::string(TL_SOURCE_DIR) + "/tests/golden/text/tokenizer_json/";

class TokenizerJson : public testing::TestWithParam<const char*> {};

TEST_P(TokenizerJson, EqualsTheTokenizersPackage) {
  const std::string path = kFolder + GetParam();
  const Tokenizer tokenizer =
      Tokenizer::create(spec_from_tokenizer_json(read_file(path + ".json"), path + ".json"));
  std::istringstream lines(read_file(path + ".txt"));
  size_t n = 0;
  for (std::string line; std::getline(lines, line); ++n) {
    const size_t tab = line.find('\t');
    std::istringstream numbers(line.substr(0, tab));
    const Ids expected{std::istream_iterator<int32_t>(numbers), {}};
    EXPECT_EQ(tokenizer.encode(test::unescape(line.substr(tab + 1)), true, true), expected)
        << line.substr(tab + 1);
  }
  EXPECT_GE(n, 70u);
}

INSTANTIATE_TEST_SUITE_P(All, TokenizerJson,
                         testing::Values("gpt2", "smollm", "llama3", "qwen2", "llama2", "mistral_first",
                                         "metaspace_always", "metaspace_never"),
                         [](const auto& param) { return std::string(param.param); });

TEST(TokenizerJsonSpec, SaysWhatTheFileSays) {
  const VocabularySpec llama = spec_from_tokenizer_json(read_file(kFolder + "llama2.json"), "f");
  EXPECT_EQ(llama.kind, VocabularyKind::llama);
  EXPECT_EQ(llama.bos, 1);
  EXPECT_EQ(llama.unk, 0);
  EXPECT_EQ(llama.add_bos, true);
  EXPECT_EQ(llama.add_eos, false);
  const VocabularySpec qwen = spec_from_tokenizer_json(read_file(kFolder + "qwen2.json"), "f");
  EXPECT_EQ(qwen.kind, VocabularyKind::gpt2);
  EXPECT_EQ(qwen.pre_tokenizer, "qwen2");
  EXPECT_TRUE(qwen.nfc);
  EXPECT_FALSE(qwen.bos);
}

/// A small file that is understood; tests replace one part of it.
std::string file_with(const std::string& from = "", const std::string& to = "") {
  std::string text = R"({"added_tokens": [{"id": 3, "content": "<e>", "special": true}],
    "normalizer": null, "pre_tokenizer": {"type": "ByteLevel", "add_prefix_space": false},
    "post_processor": {"type": "TemplateProcessing", "single": [{"Sequence": {"id": "A"}}]},
    "model": {"type": "BPE", "vocab": {"a": 0, "b": 1, "ab": 2}, "merges": ["a b"]}})";
  if (from.empty()) return text;
  const size_t at = text.find(from);
  EXPECT_NE(at, std::string::npos) << from;
  return text.replace(at, from.size(), to);
}

std::string refusal(const std::string& text) {
  try {
    spec_from_tokenizer_json(text, "f.json");
  } catch (const Error& e) {
    return e.what();
  }
  return "accepted";
}

TEST(TokenizerJsonRefused, EveryDefectWithItsPlace) {
  EXPECT_EQ(refusal(file_with()), "accepted");
  const auto says = [](const std::string& from, const std::string& to, const std::string& message) {
    EXPECT_EQ(refusal(file_with(from, to)), "f.json: " + message);
  };
  EXPECT_TRUE(refusal("{").starts_with("f.json: this is no JSON: "));
  EXPECT_EQ(refusal("[]"), "f.json: expected an object, found array");
  EXPECT_EQ(refusal("{}"), "f.json: the key \"model\" is missing");
  says(R"("type": "BPE")", R"("type": "Unigram")",
       "model: the model type \"Unigram\" is not understood; only BPE is");
  says(R"("type": "BPE")", R"("type": 3)", "model.type: expected a string, found number");
  says(R"("type": "BPE")", R"("end_of_word_suffix": "</w>")",
       "model.end_of_word_suffix: this option is not understood; only its absence is");
  says(R"("type": "BPE")", R"("dropout": 0.1)", "model.dropout: dropout is for training; remove it");
  says(R"("vocab": {"a": 0, "b": 1, "ab": 2})", R"("vocab": [])",
       "model.vocab: expected an object, found array");
  says(R"("vocab": {"a": 0, "b": 1, "ab": 2})", R"("vocab": {})", "model.vocab: there are no tokens");
  says(R"("vocab": {"a": 0, "b": 1, "ab": 2},)", "", "model: the key \"vocab\" is missing");
  says(R"("a": 0)", R"("": 0)", "model.vocab[\"\"]: a token without text");
  says(R"("b": 1)", R"("b": 0)", "model.vocab[\"b\"]: the id 0 belongs to \"a\" and to \"b\"");
  says(R"("b": 1)", R"("b": -1)", "model.vocab[\"b\"]: expected a token id, found -1");
  says(R"("b": 1)", R"("b": 1.5)", "model.vocab[\"b\"]: expected a token id, found 1.5");
  says(R"("b": 1)", R"("b": "1")", "model.vocab[\"b\"]: expected a token id, found string");
  says(R"("b": 1)", R"("b": 99999999999)", "model.vocab[\"b\"]: expected a token id, found 99999999999");
  says(R"("b": 1)", R"("b": 2000000000)",
       "model.vocab[\"b\"]: the id 2000000000 is far beyond the 3 tokens of this vocabulary");
  says(R"("merges": ["a b"])", R"("merges": 1)", "model.merges: expected a list, found number");
  says(R"("a b")", R"(["a"])", "model.merges[0]: expected two texts, found 1");
  says(R"("a b")", R"(["a", "b c"])", "model.merges[0]: expected two texts without spaces in them");
  says(R"("a b")", R"(["a", 1])", "model.merges[0][1]: expected a string, found number");
  says(R"("id": 3)", R"("id": 1)", "added_tokens[0]: the id 1 belongs to \"b\" and to \"<e>\"");
  says(R"("content": "<e>")", R"("content": "a")", "added_tokens[0]: \"a\" has the ids 0 and 3");
  says(R"("content": "<e>")", R"("content": "")", "added_tokens[0]: a token without text");
  says(R"("content": "<e>",)", "", "added_tokens[0]: the key \"content\" is missing");
  says(R"("special": true)", R"("special": "yes")",
       "added_tokens[0].special: expected true or false, found string");
  says(R"("special": true)", R"("single_word": true)",
       "added_tokens[0]: \"single_word\" is not understood; only false is");
  says(R"("normalizer": null)", R"("normalizer": {"type": "Lowercase"})",
       "normalizer: the normalizer \"Lowercase\" is not understood with byte-level BPE; only NFC is");
  says(R"("type": "BPE",)", R"("type": "BPE", "unk_token": "<unk>",)",
       "model.unk_token: \"<unk>\" is no token of this vocabulary");
  says(R"("single": [)", R"("single": [{"SpecialToken": {"id": "<x>"}}, )",
       "post_processor.single[0].SpecialToken.id: \"<x>\" is no token of this vocabulary");
  says(R"("single": [)", R"("single": [{"SpecialToken": {"id": "a"}}, {"SpecialToken": {"id": "b"}}, )",
       "post_processor.single[1]: more than one special token on one side is not understood");
  says("TemplateProcessing", "BertProcessing",
       "post_processor: the post-processor \"BertProcessing\" is not understood; only TemplateProcessing is");
}

TEST(TokenizerJsonRefused, PreTokenizers) {
  const auto says = [](const std::string& pre_tokenizer, const std::string& message) {
    EXPECT_EQ(refusal(file_with(R"({"type": "ByteLevel", "add_prefix_space": false})", pre_tokenizer)),
              "f.json: " + message);
  };
  const auto sequence = [](const std::string& steps) {
    return R"({"type": "Sequence", "pretokenizers": [)" + steps + "]}";
  };
  const std::string byte_level = R"({"type": "ByteLevel"})",
                    digits = R"({"type": "Digits", "individual_digits": true})";
  says("null",
       "this is neither byte-level BPE (pre_tokenizer ByteLevel) nor BPE with byte_fallback; only these are "
       "understood");
  says(R"({"type": "Whitespace"})",
       "pre_tokenizer: the pre-tokenizer \"Whitespace\" is not understood; only Digits, Split and ByteLevel "
       "are");
  says(R"({"type": "ByteLevel", "add_prefix_space": true})",
       "pre_tokenizer: \"add_prefix_space\" is not understood; only false is");
  says(sequence(R"({"type": "Digits"})"),
       "pre_tokenizer.pretokenizers[0]: Digits is understood with \"individual_digits\": true alone");
  says(sequence(R"({"type": "Split", "pattern": {"Regex": "x+"}})"),
       "pre_tokenizer.pretokenizers[0]: this expression is none of those of default, gpt-2, llama-bpe, "
       "smollm, qwen2");
  says(sequence(digits + "," + digits),
       "pre_tokenizer.pretokenizers[1]: two steps before ByteLevel are not understood");
  says(sequence(byte_level + "," + digits),
       "pre_tokenizer.pretokenizers[1]: nothing is understood after ByteLevel");
  says(R"({"type": "ByteLevel", "use_regex": false})",
       "pre_tokenizer: this combination of steps is that of no known pre-tokenizer");
}

TEST(TokenizerJsonRefused, SentencePieceParts) {
  const auto says = [](const std::string& normalizer, const std::string& pre_tokenizer,
                       const std::string& message) {
    EXPECT_EQ(refusal(R"({"normalizer": )" + normalizer + R"(, "pre_tokenizer": )" + pre_tokenizer +
                      R"(, "model": {"byte_fallback": true, "vocab": {"a": 0}, "merges": []}})"),
              "f.json: " + message);
  };
  says("null", "null", "nothing replaces spaces by U+2581, as a vocabulary with byte fallback needs");
  says(R"({"type": "NFKC"})", "null",
       "normalizer: the normalizer \"NFKC\" is not understood here; only Prepend and Replace of U+2581 are");
  says("null", R"({"type": "ByteLevel"})",
       "pre_tokenizer: the pre-tokenizer \"ByteLevel\" is not understood with byte fallback; only Metaspace "
       "is");
  says("null", R"({"type": "Metaspace", "replacement": "▁"})",
       "pre_tokenizer: Metaspace is understood with \"split\": false alone");
  says("null", R"({"type": "Metaspace", "replacement": "▁", "split": false, "prepend_scheme": "x"})",
       "pre_tokenizer: the prepend_scheme \"x\" is not understood; it is always, first or never");
}

TEST(TokenizerConfig, NamesTokensAndTemplate) {
  VocabularySpec spec = spec_from_tokenizer_json(file_with(), "f.json");
  EXPECT_EQ(apply_tokenizer_config(
                spec, R"({"bos_token": {"content": "a"}, "eos_token": "<e>", "add_bos_token": true,
                                             "chat_template": "{{ 1 }}", "unk_token": null, "pad_token": "b"})",
                "c.json"),
            "{{ 1 }}");
  EXPECT_EQ(spec.bos, 0);
  EXPECT_EQ(spec.eos, 3);
  EXPECT_EQ(spec.pad, 1);
  EXPECT_EQ(spec.add_bos, true);
  EXPECT_EQ(apply_tokenizer_config(spec, "{}", "c.json"), "");
  EXPECT_EQ(apply_tokenizer_config(spec, R"({"chat_template": [{"name": "tools", "template": "t"},
                                                               {"name": "default", "template": "d"}]})",
                                   "c.json"),
            "d");
}

TEST(TokenizerConfig, Refused) {
  const auto says = [](const std::string& text, const std::string& message) {
    VocabularySpec spec = spec_from_tokenizer_json(file_with(), "f.json");
    try {
      apply_tokenizer_config(spec, text, "c.json");
      ADD_FAILURE() << text;
    } catch (const Error& e) {
      EXPECT_EQ(e.what(), "c.json: " + message);
    }
  };
  says(R"({"bos_token": "<x>"})", "bos_token: \"<x>\" is no token of f.json");
  says(R"({"bos_token": 1})", "bos_token: expected a string, found number");
  says(R"({"add_bos_token": 1})", "add_bos_token: expected true or false, found number");
  says(R"({"chat_template": 1})", "chat_template: expected a string, found number");
  says("[]", "expected an object, found array");
}

}  // namespace
}  // namespace tl
