// What is being written at a place of a text, and whether a text is finished.
#include "lang/completion.h"

#include <gtest/gtest.h>

#include "lang/workspace.h"

namespace tl::test {

namespace {

/// The place where `|` stands.
lang::CompletionPlace place(std::string text) {
  const size_t at = text.find('|');
  text.erase(at, 1);
  return lang::completion_place(text, static_cast<uint32_t>(at));
}

TEST(CompletionPlace, IsTheWordBeforeTheCursor) {
  EXPECT_EQ(place("let x = sof|tmax").prefix, "sof");
  EXPECT_EQ(place("let x = sof|tmax").begin, 8u);
  EXPECT_EQ(place("f(|").prefix, "");
  EXPECT_TRUE(place("f(|").is_name);
  EXPECT_EQ(place("ret|").prefix, "ret");
  EXPECT_EQ(place("return|").prefix, "return");
}

TEST(CompletionPlace, KnowsThePathLeftOfAPoint) {
  EXPECT_EQ(place("m.co|").object, "m");
  EXPECT_EQ(place("m.co|").prefix, "co");
  EXPECT_EQ(place("x + m.blk[0].attn_q.|").object, "m.blk[0].attn_q");
  EXPECT_EQ(place("m.metadata[\"a\"].|").object, "m.metadata[\"a\"]");
  EXPECT_TRUE(place("f(x).|").is_member);
  EXPECT_EQ(place("f(x).|").object, "");  // calls nothing
  EXPECT_EQ(place("f(x).y.|").object, "");
}

TEST(CompletionPlace, IsNoneInCommentsStringsAndNumbers) {
  for (const char* text : {"// so|", "x /* so|", "\"so|", "\"so|\"", "12|", "1.5|"})
    EXPECT_FALSE(place(text).is_name) << text;
  EXPECT_TRUE(place("// so\n|").is_name);
  EXPECT_TRUE(place("\"so\" |").is_name);
}

TEST(Unfinished, WhatIsOpenOrEndsInAnOperatorGoesOn) {
  for (const char* text : {"f(", "fn f() {", "[1,", "1 +\n", "let x =", "/* a", "y[i] = x[i] where", "not",
                           "fn", "let x", "// a comment\n"})
    EXPECT_TRUE(lang::is_unfinished(text)) << text;
  for (const char* text : {"", "1", "f()", "}", "1 +* 2\n", "let = 3", "\"open", "x // a (", "if a { b }"})
    EXPECT_FALSE(lang::is_unfinished(text)) << text;
  EXPECT_TRUE(lang::is_enclosed("{\n\n"));
  EXPECT_FALSE(lang::is_enclosed("1 +\n\n"));
}

}  // namespace

}  // namespace tl::test
