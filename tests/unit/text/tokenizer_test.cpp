// Tokenizers on small vocabularies made here: every rule of both kinds, and every refusal.
#include "text/tokenizer.h"

#include <gtest/gtest.h>

#include <algorithm>

#include "base/error.h"
#include "text/encoders.h"
#include "text/pretokenize.h"

namespace tl {
namespace {

using Ids = std::vector<int32_t>;

/// A SentencePiece-style vocabulary: specials, 256 byte tokens (3 to 258), then the texts of `words`, best
/// first.
VocabularySpec spm_spec(const std::vector<std::string>& words) {
  VocabularySpec spec;
  spec.name = "test.gguf";
  spec.kind = VocabularyKind::llama;
  spec.tokens = {"<unk>", "<s>", "</s>"};
  spec.token_types = {2, 3, 3};
  for (int b = 0; b < 256; ++b) {
    char text[8];
    std::snprintf(text, sizeof text, "<0x%02X>", b);
    spec.tokens.emplace_back(text);
    spec.token_types.push_back(6);
  }
  spec.scores.assign(spec.tokens.size(), 0.0f);
  for (const std::string& word : words) {
    spec.scores.push_back(-static_cast<float>(spec.scores.size() - 259));
    spec.tokens.push_back(word);
    spec.token_types.push_back(1);
  }
  spec.bos = 1;
  spec.eos = 2;
  spec.unk = 0;
  return spec;
}

/// A byte-level vocabulary: the 256 bytes in byte order (0 to 255), then what `merges` make, then specials.
VocabularySpec bpe_spec(const std::vector<std::string>& merges) {
  VocabularySpec spec;
  spec.name = "test.gguf";
  spec.kind = VocabularyKind::gpt2;
  spec.pre_tokenizer = "gpt-2";
  for (unsigned b = 0, next = 0x100; b < 256; ++b) {
    const bool visible = (b >= '!' && b <= '~') || (b >= 0xa1 && b != 0xad);
    const unsigned code = visible ? b : next++;
    std::string text;
    if (code < 0x80) {
      text += static_cast<char>(code);
    } else {
      text += static_cast<char>(0xc0 | code >> 6);
      text += static_cast<char>(0x80 | (code & 0x3f));
    }
    spec.tokens.push_back(text);
  }
  for (const std::string& merge : merges) {
    std::string both = merge;
    both.erase(both.find(' ', 1), 1);
    spec.tokens.push_back(both);
  }
  spec.token_types.assign(spec.tokens.size(), 1);
  spec.merges = merges;
  spec.tokens.insert(spec.tokens.end(), {"<|im_start|>", "<|im_end|>", "<tag>"});
  spec.token_types.insert(spec.token_types.end(), {3, 3, 4});
  return spec;
}

std::string refusal(VocabularySpec spec) {
  try {
    Tokenizer::create(std::move(spec));
  } catch (const Error& e) {
    return e.what();
  }
  return "accepted";
}

TEST(Spm, MergesByScoreAndFallsBackToBytes) {
  // 259 ▁, 260 a, 261 b, 262 c, 263 bc, 264 ab, 265 ▁a
  const Tokenizer t = Tokenizer::create(spm_spec({"▁", "a", "b", "c", "bc", "ab", "▁a"}));
  EXPECT_EQ(t.encode("abc", false, false), (Ids{265, 263}));  // bc first, then ▁a; never ab
  EXPECT_EQ(t.encode("abc", true, false), (Ids{1, 265, 263}));
  EXPECT_EQ(t.encode("a€", false, false), (Ids{265, 3 + 0xe2, 3 + 0x82, 3 + 0xac}));
  EXPECT_EQ(t.encode("a\xff", false, false), (Ids{265, 3 + 0xff}));
  EXPECT_EQ(t.encode("", true, false), (Ids{1}));
  EXPECT_EQ(t.encode("", false, false), (Ids{}));
}

TEST(Spm, SpacePrefixAlsoAfterSpecialTokens) {
  const Tokenizer t = Tokenizer::create(spm_spec({"▁", "a", "b", "▁a"}));
  EXPECT_EQ(t.encode("a</s>a", false, true), (Ids{262, 2, 262}));
  EXPECT_EQ(t.encode(" a", false, true), (Ids{259, 262}));
  VocabularySpec spec = spm_spec({"▁", "a", "b", "▁a"});
  spec.add_space_prefix = false;
  const Tokenizer bare = Tokenizer::create(spec);
  EXPECT_EQ(bare.encode("a</s>a", false, true), (Ids{260, 2, 260}));
  EXPECT_EQ(bare.decode(Ids{262}, true), " a");
}

TEST(Spm, DecodeRemovesOnlyTheSpaceThatEncodeAdded) {
  const Tokenizer t = Tokenizer::create(spm_spec({"▁", "a", "▁a"}));
  for (const std::string text : {"a", " a", "  a a", "é", "", " "}) {
    EXPECT_EQ(t.decode(t.encode(text, true, false), true), text);
    EXPECT_EQ(t.decode(t.encode(text, false, false), true), text);
  }
  EXPECT_EQ(t.decode(Ids{1, 261, 2}, false), "<s> a</s>");
  EXPECT_EQ(t.decode(Ids{261, 261}, true), "a a");
  EXPECT_EQ(t.piece(261), " a");
  EXPECT_EQ(t.token_text(261), "▁a");
  EXPECT_EQ(t.piece(3 + 0x0a), "\n");
}

TEST(Spm, MergesReplaceScores) {
  VocabularySpec spec = spm_spec({"▁", "a", "b", "c", "ab", "bc", "▁a"});
  spec.scores.clear();
  spec.merges = {"b c", "a b", "▁ a"};
  EXPECT_EQ(Tokenizer::create(spec).encode("abc", false, false), (Ids{265, 264}));
}

TEST(Spm, LongTextsTakeNoQuadraticTime) {
  const Tokenizer t = Tokenizer::create(spm_spec({"▁", "a", "aa", "aaaa"}));
  const std::string text(1 << 20, 'a');
  const Ids ids = t.encode(text, false, false);
  EXPECT_EQ(t.decode(ids, true), text);
}

TEST(Bpe, MergesByRankWithinWords) {
  // 256 ab, 257 bc, 258 Ġa, 259 Ġab
  const Tokenizer t = Tokenizer::create(bpe_spec({"b c", "a b", "Ġ a", "Ġa bc"}));
  EXPECT_EQ(t.encode("abc abc", false, false), (Ids{'a', 256, 259}));
  EXPECT_EQ(t.encode("ab ab", false, false), (Ids{257, ' ', 257}));
  EXPECT_EQ(t.decode(t.encode("ab  ab\n", false, false), false), "ab  ab\n");
  EXPECT_EQ(t.piece(259), " abc");
  EXPECT_EQ(t.find("Ġabc"), 259);
  EXPECT_EQ(t.find("abc"), std::nullopt);
}

TEST(Bpe, EqualRanksGoLeftToRight) {
  const Tokenizer t = Tokenizer::create(bpe_spec({"a a"}));
  EXPECT_EQ(t.encode("aaaaa", false, false), (Ids{256, 256, 'a'}));
}

TEST(Bpe, IllFormedBytesAreReplacementCharacters) {
  const Tokenizer t = Tokenizer::create(bpe_spec({}));
  EXPECT_EQ(t.encode("a\xff", false, false), (Ids{'a', 0xef, 0xbf, 0xbd}));
  EXPECT_EQ(t.encode("\xe2\x82", false, false), (Ids{0xef, 0xbf, 0xbd, 0xef, 0xbf, 0xbd}));
  EXPECT_EQ(t.encode("\xc0\x80", false, false), (Ids{0xef, 0xbf, 0xbd, 0xef, 0xbf, 0xbd}));
}

TEST(Bpe, IgnoreMergesTakesWholeWords) {
  VocabularySpec spec = bpe_spec({"a b"});
  spec.tokens[257] = "abc";
  spec.token_types[257] = 1;
  EXPECT_EQ(Tokenizer::create(spec).encode("abc", false, false), (Ids{256, 'c'}));
  spec.ignore_merges = true;
  EXPECT_EQ(Tokenizer::create(spec).encode("abc", false, false), (Ids{257}));
  spec.ignore_merges.reset();
  spec.pre_tokenizer = "llama-bpe";
  EXPECT_EQ(Tokenizer::create(spec).encode("abc", false, false), (Ids{257}));
}

TEST(Bpe, MergedTextWithoutTokenIsWrittenByItsBytes) {
  VocabularySpec spec = bpe_spec({"a b"});
  spec.tokens[256] = "zz";
  EXPECT_EQ(Tokenizer::create(spec).encode("ab", false, false), (Ids{'a', 'b'}));
}

TEST(Special, ControlTokensOnlyWhereAskedUserDefinedAlways) {
  const Tokenizer t = Tokenizer::create(bpe_spec({}));
  const int32_t start = *t.find("<|im_start|>"), tag = *t.find("<tag>");
  EXPECT_EQ(t.encode("a<|im_start|>b<tag>", false, true), (Ids{'a', start, 'b', tag}));
  const Ids plain = t.encode("<|im_start|><tag>", false, false);
  EXPECT_EQ(plain.size(), 13u);
  EXPECT_EQ(plain.back(), tag);
  EXPECT_EQ(t.decode(Ids{start, 'a', tag}, true), "a<tag>");
  EXPECT_EQ(t.decode(Ids{start, 'a', tag}, false), "<|im_start|>a<tag>");
  EXPECT_TRUE(t.is_control(start));
  EXPECT_FALSE(t.is_control(tag));
}

TEST(Special, LongestTextIsFoundFirst) {
  VocabularySpec spec = bpe_spec({});
  spec.tokens.push_back("<tag><tag>");
  spec.token_types.push_back(4);
  const Tokenizer t = Tokenizer::create(spec);
  const int32_t one = *t.find("<tag>"), two = *t.find("<tag><tag>");
  EXPECT_EQ(t.encode("<tag><tag><tag>", false, false), (Ids{two, one}));
}

TEST(Special, StrippingTokensSwallowWhitespace) {
  VocabularySpec spec = bpe_spec({});
  const auto tag = static_cast<int32_t>(spec.tokens.size() - 1);
  spec.lstrip = {tag};
  EXPECT_EQ(Tokenizer::create(spec).encode("a \n<tag> b", false, false), (Ids{'a', tag, ' ', 'b'}));
  spec.rstrip = {tag};
  EXPECT_EQ(Tokenizer::create(spec).encode("a <tag> \tb", false, false), (Ids{'a', tag, 'b'}));
}

TEST(Special, BosAndEosAsTheVocabularySays) {
  VocabularySpec spec = bpe_spec({});
  spec.bos = 256;
  spec.eos = 257;
  EXPECT_EQ(Tokenizer::create(spec).encode("a", true, false), (Ids{'a'}));
  spec.add_bos = spec.add_eos = true;
  EXPECT_EQ(Tokenizer::create(spec).encode("a", true, false), (Ids{256, 'a', 257}));
  EXPECT_EQ(Tokenizer::create(spec).encode("a", false, false), (Ids{'a'}));
  spec.add_bos.reset();
  spec.pre_tokenizer = "llama-bpe";
  EXPECT_TRUE(Tokenizer::create(spec).add_bos());
}

TEST(Special, EndOfGenerationIsKnownByNameAndById) {
  VocabularySpec spec = bpe_spec({});
  spec.eos = 10;
  spec.extra_eog = {20};
  const Tokenizer t = Tokenizer::create(spec);
  const int32_t end = *t.find("<|im_end|>");
  EXPECT_EQ(t.eot(), end);
  EXPECT_EQ(t.end_of_generation(), (Ids{10, 20, end}));
  EXPECT_TRUE(t.is_end_of_generation(20));
  EXPECT_FALSE(t.is_end_of_generation(21));
  spec.token_types[static_cast<size_t>(end)] = 1;  // a converter's slip
  EXPECT_TRUE(Tokenizer::create(spec).is_control(end));
}

TEST(PreTokenizer, CutsAsEachModelDoes) {
  const auto cut = [](const char* name, std::string_view text) {
    std::string joined;
    for (const std::string_view word : PreTokenizer(name, "test").split(text))
      joined += std::string(word) + "|";
    return joined;
  };
  const std::string text = "I'm 1234  x=+=\n\n  y";
  EXPECT_EQ(cut("gpt-2", text), "I|'m| 1234| | x|=+=|\n\n | y|");
  EXPECT_EQ(cut("smollm", text), "I|'m| |1|2|3|4| | x|=+=|\n\n | y|");
  EXPECT_EQ(cut("llama-bpe", text), "I|'m| |123|4| | x|=+=\n\n| | y|");
  EXPECT_EQ(cut("qwen2", text), "I|'m| |1|2|3|4| | x|=+=\n\n| | y|");
  EXPECT_EQ(cut("default", "a1234 b++c"), "a|123|4| b|++|c|");
  EXPECT_EQ(cut("llama-bpe", "IT'S"), "IT|'S|");
  EXPECT_EQ(cut("gpt-2", "a\xc2\x85\xc2\x85z"), "a|\xc2\x85|\xc2\x85|z|");  // U+0085 is white space
}

TEST(Refused, EveryContradiction) {
  const VocabularySpec good = bpe_spec({"a b"});
  const auto with = [&](auto change) {
    VocabularySpec spec = good;
    change(spec);
    return refusal(std::move(spec));
  };
  EXPECT_EQ(refusal(good), "accepted");
  EXPECT_EQ(with([](auto& s) { s.tokens.clear(); }), "test.gguf: the vocabulary has no tokens");
  EXPECT_EQ(with([](auto& s) { s.token_types.pop_back(); }),
            "test.gguf: the vocabulary has 260 tokens, but 259 token types");
  EXPECT_EQ(with([](auto& s) {
              s.scores = {1, 2};
            }),
            "test.gguf: the vocabulary has 260 tokens, but 2 scores");
  EXPECT_EQ(with([](auto& s) { s.token_types[7] = 9; }), "test.gguf: token 7 has type 9; types are 1 to 6");
  EXPECT_EQ(with([](auto& s) { s.tokens[9] = "ab"; }), "test.gguf: tokens 9 and 256 are both \"ab\"");
  EXPECT_EQ(with([](auto& s) { s.bos = 260; }),
            "test.gguf: the BOS token is 260, but the vocabulary has 260 tokens");
  EXPECT_EQ(with([](auto& s) { s.eos = -1; }),
            "test.gguf: the EOS token is -1, but the vocabulary has 260 tokens");
  EXPECT_EQ(with([](auto& s) { s.unk = 999; }),
            "test.gguf: the unknown token is 999, but the vocabulary has 260 tokens");
  EXPECT_EQ(with([](auto& s) { s.eot = 999; }),
            "test.gguf: the end-of-turn token is 999, but the vocabulary has 260 tokens");
  EXPECT_EQ(with([](auto& s) { s.pad = 999; }),
            "test.gguf: the padding token is 999, but the vocabulary has 260 tokens");
  EXPECT_EQ(with([](auto& s) { s.extra_eog = {999}; }),
            "test.gguf: the end-of-generation token is 999, but the vocabulary has 260 tokens");
  EXPECT_EQ(with([](auto& s) { s.add_bos = true; }),
            "test.gguf: it says that BOS is added to every text, but names no BOS token");
  EXPECT_EQ(with([](auto& s) { s.add_eos = true; }),
            "test.gguf: it says that EOS is added to every text, but names no EOS token");
  EXPECT_EQ(with([](auto& s) { s.merges = {"ab"}; }),
            "test.gguf: merge 0 is \"ab\"; expected two texts with a space between them");
  EXPECT_EQ(with([](auto& s) {
              s.merges = {"a b", "a "};
            }),
            "test.gguf: merge 1 is \"a \"; expected two texts with a space between them");
  EXPECT_EQ(with([](auto& s) { s.pre_tokenizer = "gpt-5"; }),
            "test.gguf: unknown pre-tokenizer \"gpt-5\"; known are default, gpt-2, llama-bpe, smollm, qwen2");
}

TEST(Refused, IncompleteSpmVocabularies) {
  VocabularySpec spec = spm_spec({"a"});
  spec.scores.clear();
  EXPECT_EQ(refusal(spec),
            "test.gguf: a vocabulary of kind \"llama\" needs scores or merges; it has neither");
  spec = spm_spec({"a"});
  spec.scores[5] = std::numeric_limits<float>::quiet_NaN();
  EXPECT_EQ(refusal(spec), "test.gguf: the score of token 5 is not a number");
  spec = spm_spec({"a"});
  spec.tokens[3 + 0x41] = "<0xZZ>";
  EXPECT_EQ(refusal(spec), "test.gguf: token 68 is a byte token, but its text is \"<0xZZ>\", not \"<0x..>\"");
  spec.token_types[3 + 0x41] = 1;
  spec.unk.reset();
  EXPECT_EQ(
      refusal(spec),
      "test.gguf: the vocabulary has neither a token <0x41> nor an unknown token, so some texts could not be "
      "written; it is incomplete");
}

TEST(Refused, IdsOutOfRange) {
  const Tokenizer t = Tokenizer::create(bpe_spec({}));
  try {
    t.decode(Ids{259}, false);
    FAIL();
  } catch (const Error& e) {
    EXPECT_STREQ(e.what(), "test.gguf: token id 259 is out of range; the vocabulary has 259 tokens");
  }
  EXPECT_THROW(t.piece(-1), Error);
  EXPECT_THROW(t.token_text(259), Error);
}

}  // namespace
}  // namespace tl
