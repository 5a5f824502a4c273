#include "text/stream.h"

#include <gtest/gtest.h>

#include "text/utf8.h"

namespace tl {
namespace {

/// Each byte is its own token, in the byte-to-unicode alphabet.
Tokenizer byte_tokenizer() {
  VocabularySpec spec;
  spec.name = "bytes";
  for (unsigned b = 0, next = 0x100; b < 256; ++b) {
    const bool visible = (b >= '!' && b <= '~') || (b >= 0xa1 && b != 0xad);
    std::string text;
    append_utf8(text, visible ? b : next++);
    spec.tokens.push_back(text);
    spec.token_types.push_back(1);
  }
  spec.tokens.push_back("<|im_end|>");
  spec.token_types.push_back(3);
  return Tokenizer::create(spec);
}

TEST(Stream, EveryPieceIsWholeAndNothingIsLost) {
  const std::string text = "aé€😀👨‍👩‍👧 ñ\xcc\x83 ￿";
  StreamDecoder decoder(byte_tokenizer());
  std::string joined;
  for (const char c : text) {
    const std::string piece = decoder.push(static_cast<unsigned char>(c));
    EXPECT_EQ(piece, valid_utf8(piece));
    EXPECT_EQ(piece.find("\xef\xbf\xbd"), std::string::npos);
    joined += piece;
  }
  EXPECT_EQ(joined + decoder.flush(), text);
}

TEST(Stream, WhatCannotBecomeACharacterIsReplaced) {
  StreamDecoder decoder(byte_tokenizer());
  EXPECT_EQ(decoder.push(0xf0), "");
  EXPECT_EQ(decoder.push(0x9f), "");
  EXPECT_EQ(decoder.push('a'),
            "\xef\xbf\xbd"
            "a");
  EXPECT_EQ(decoder.push(0xff), "\xef\xbf\xbd");
  EXPECT_EQ(decoder.push(0xe2), "");
  EXPECT_EQ(decoder.flush(), "\xef\xbf\xbd");
  EXPECT_EQ(decoder.flush(), "");
}

TEST(Stream, ControlTokensAreLeftOutOrShown) {
  EXPECT_EQ(StreamDecoder(byte_tokenizer()).push(256), "");
  EXPECT_EQ(StreamDecoder(byte_tokenizer(), false).push(256), "<|im_end|>");
}

TEST(Stream, SpaceAtTheStartOfATextGoes) {
  VocabularySpec spec;
  spec.kind = VocabularyKind::llama;
  spec.tokens = {"<unk>", "<s>", "▁a"};
  spec.token_types = {2, 3, 1};
  spec.scores = {0, 0, 0};
  spec.unk = 0;
  StreamDecoder start(Tokenizer::create(spec), true, true);
  EXPECT_EQ(start.push(1), "");
  EXPECT_EQ(start.push(2), "a");
  EXPECT_EQ(start.push(2), " a");
  EXPECT_EQ(StreamDecoder(Tokenizer::create(spec)).push(2), " a");
}

TEST(Utf8, CompletePrefixEndsBeforeAnUnfinishedCharacter) {
  EXPECT_EQ(complete_utf8_prefix(""), 0u);
  EXPECT_EQ(complete_utf8_prefix("abc"), 3u);
  EXPECT_EQ(complete_utf8_prefix("a\xe2"), 1u);
  EXPECT_EQ(complete_utf8_prefix("a\xe2\x82"), 1u);
  EXPECT_EQ(complete_utf8_prefix("a\xe2\x82\xac"), 4u);
  EXPECT_EQ(complete_utf8_prefix("\xf0\x9f\x98"), 0u);
  EXPECT_EQ(complete_utf8_prefix("\xf0\x9f\x98\x80"), 4u);
  EXPECT_EQ(complete_utf8_prefix("\xc0"), 1u);      // never begins a character
  EXPECT_EQ(complete_utf8_prefix("\xed\xa0"), 2u);  // a surrogate: no byte would complete it
  EXPECT_EQ(complete_utf8_prefix("\x80\x80\x80\x80"), 4u);
}

TEST(Utf8, MaximalSubpartsAreReplacedOnce) {
  const std::string r = "\xef\xbf\xbd";
  EXPECT_EQ(valid_utf8("a\xe2\x82z"), "a" + r + "z");
  EXPECT_EQ(valid_utf8("\xf0\x80\x80"), r + r + r);
  EXPECT_EQ(valid_utf8("\xed\xa0\x80"), r + r + r);
  EXPECT_EQ(valid_utf8("\xf4\x90\x80\x80"), r + r + r + r);
  EXPECT_EQ(valid_utf8("\xf1\x80\x80\xe1\x80\xc2"), r + r + r);
}

TEST(Utf8, CharactersAreReadAndWritten) {
  EXPECT_EQ(utf8_at("\xe2\x82\xac", 0).code, 0x20acu);
  EXPECT_EQ(utf8_at("\xe2\x82\xac", 1).length, 0u);
  EXPECT_EQ(utf8_at("", 0).length, 0u);
  std::string out;
  append_utf8(out, 0x1f600);
  append_utf8(out, 0xd800);
  append_utf8(out, 0x110000);
  EXPECT_EQ(out, "😀\xef\xbf\xbd\xef\xbf\xbd");
}

}  // namespace
}  // namespace tl
