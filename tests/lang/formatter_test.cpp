// The formatter: its layout by example, and what must hold for every program.
#include "lang/formatter.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <filesystem>

#include "base/file.h"
#include "lang/lexer.h"
#include "lang/parser.h"
#include "lang/syntax_text.h"

namespace tl::test {

namespace {

std::string formatted(const std::string& text) { return lang::format_source(Source("test.tl", text)); }

/// What stands in main, formatted: without main's own lines, indented as written.
std::string in_main(const std::string& statements) {
  const std::string text = formatted("main {\n" + statements + "\n}\n");
  return text.substr(7, text.size() - 7 - 2);
}

std::string syntax(const Source& source) {
  return syntax_text(*lang::parse(source, {.statements_at_top_level = true}).module);
}

/// All comments, without blanks at their ends, in order.
std::vector<std::string> comments(const Source& source) {
  std::vector<std::string> out;
  uint32_t at = 0;
  for (const lang::Token& token : lang::tokenize(source).tokens) {
    for (const lang::Comment& c : lang::comments_between(source, at, token.begin)) {
      std::string text(source.text().substr(c.begin, c.end - c.begin));
      std::erase(text, '\r');
      if (text.starts_with("//")) text.resize(text.find_last_not_of(" \t") + 1);
      out.push_back(text);
    }
    at = token.end;
  }
  return out;
}

void expect_properties(const std::string& name, const std::string& text) {
  const Source source(name, text);
  if (!lang::parse(source, {.statements_at_top_level = true}).diagnostics.empty()) return;
  const Source once(name, lang::format_source(source));
  EXPECT_EQ(lang::format_source(once), once.text()) << name << ": formatting again changes the text";
  EXPECT_EQ(syntax(once), syntax(source)) << name << ": formatting changes the program\n" << once.text();
  EXPECT_EQ(comments(once), comments(source)) << name << ": formatting changes the comments\n" << once.text();
}

TEST(Formatter, EveryProgramStaysItselfAndFormattingAgainChangesNothing) {
  const std::string root = TL_SOURCE_DIR;
  int n = 0;
  for (const char* folder : {"/models", "/examples", "/tests/lang", "/tests/errors"}) {
    for (const auto& entry : std::filesystem::recursive_directory_iterator(root + folder)) {
      if (entry.path().extension() != ".tl") continue;
      const std::string text = read_file(entry.path().string());
      expect_properties(entry.path().string(), text);
      // The same program in other layouts: without indentation, in short lines, with comments everywhere.
      std::string flush;
      for (size_t i = 0; i < text.size(); ++i)
        if (!(text[i] == ' ' && (i == 0 || text[i - 1] == '\n' || flush.ends_with('\n')))) flush += text[i];
      expect_properties(entry.path().string() + " (flush left)", flush);
      std::string airy, noted;
      for (const char c : text) {
        airy += c;
        noted += c;
        if (c == ',') airy += "\n\n    ", noted += " /* note */";
        if (c == '(') noted += " // note\n";
      }
      expect_properties(entry.path().string() + " (a line for each item)", airy);
      expect_properties(entry.path().string() + " (comments)", noted);
      ++n;
    }
  }
  EXPECT_GT(n, 100);
}

TEST(Formatter, BlanksAreWhereTheyBelong) {
  EXPECT_EQ(in_main("let x=-1+2*f( a,b )[ 0 ]\n  y [i,j.]=W[i,j] X [j]  (a+b)^ 2**3"),
            "    let x = -1 + 2 * f(a, b)[0]\n    y[i, j.] = W[i, j] X[j] (a + b)^2 ** 3\n");
  EXPECT_EQ(in_main("x [1 : n,:,a+1 : ,::2]; for i in 0 .. n{f(a : 1)}"),
            "    x[1:n, :, a + 1 :, ::2]\n    for i in 0..n { f(a: 1) }\n");
  EXPECT_EQ(in_main("m[i]max= x[i,* t]\nmax = 3; if not(a)&&! b {a.b .c()}"),
            "    m[i] max= x[i, *t]\n    max = 3\n    if not (a) && !b { a.b.c() }\n");
  EXPECT_EQ(in_main("let (a,b,)=(1,)\nx:=[ 1,{a:2,},]as float32; T ( x )?"),
            "    let (a, b) = (1,)\n    x := [1, {a: 2}] as float32\n    T (x)?\n");
  EXPECT_EQ(formatted("fn f (x:float32[?,2]=1 ,)->float32[n]{ {a:1,} }\nmain{}"),
            "fn f(x: float32[?, 2] = 1) -> float32[n] { {a: 1} }\nmain {}\n");
}

TEST(Formatter, AStatementALineAndABlockOnOneOnlyIfItIsShort) {
  EXPECT_EQ(in_main("if a { b } else { c }\nif a\n{ b }\nelse { c; d }"),
            "    if a { b } else { c }\n    if a {\n        b\n    } else {\n        c\n        d\n    }\n");
  EXPECT_EQ(in_main("for x in y { for z in x { print(z) } }\nloop { break; }"),
            "    for x in y {\n        for z in x { print(z) }\n    }\n    loop { break }\n");
  EXPECT_EQ(in_main("while a {;}"), "    while a {}\n");
  EXPECT_EQ(in_main("let a = 1 +\n 2\nlet b = x\n .f()\n .g()\n{ }"),
            "    let a = 1 + 2\n    let b = x.f().g()\n    {}\n");
}

TEST(Formatter, EmptyLinesSeparateAndNothingMore) {
  EXPECT_EQ(
      formatted(
          "\n\nimport \"a\"\n\n\n\nfn f() { 1 }\nfn g() { 2 }\n// about h\nfn h() {\n\n\n  1\n\n\n  2\n\n}\n"
          "main { }\n\n\n"),
      "import \"a\"\n\nfn f() { 1 }\nfn g() { 2 }\n\n// about h\nfn h() {\n    1\n\n    2\n}\n\nmain {}\n");
  EXPECT_EQ(formatted(""), "");
  EXPECT_EQ(formatted("\n // only\r\n\r\n"), "// only\n");
  EXPECT_EQ(formatted("print(\"a\rb\")\r\n"), "print(\"a\rb\")\n") << "within a string it is no line end";
}

TEST(Formatter, CommentsStayWhereTheyWere) {
  EXPECT_EQ(
      in_main("// one\nx // two\n// three\n\n/* four */ y /* five */ + 1\n/* six\n  seven */\n//eight"),
      "    // one\n    x  // two\n    // three\n\n    /* four */ y /* five */ + 1\n    /* six\n  seven */\n"
      "    //eight\n");
  EXPECT_EQ(in_main("x        // far\nlonger   // far"), "    x    // far\n    longer  // far\n");
  EXPECT_EQ(in_main("f(a, // first\nb)\nlet x = 1 + // one\n2"),
            "    f(a,  // first\n        b)\n    let x = 1 +  // one\n        2\n");
  EXPECT_EQ(in_main("if a { // why\n b\n} // then\nelse { c } // end"),
            "    if a {  // why\n        b\n    }  // then\n    else {\n        c\n    }  // end\n");
  EXPECT_EQ(in_main("[1, /* two */ 2 /* three */, 3 /* last */, ]"),
            "    [1, /* two */ 2 /* three */, 3 /* last */]\n");
}

TEST(Formatter, TheEqualsSignsOfConsecutiveEquationsStandInOneColumn) {
  EXPECT_EQ(in_main("a[i] = b[i]\nlonger[i, j] += c[i]\nm[i] max= d[i]\n\ne[i] = f[i]\nx = 1\nabc[i] = 1"),
            "    a[i]          = b[i]\n    longer[i, j] += c[i]\n    m[i]       max= d[i]\n\n    e[i] = "
            "f[i]\n    x = 1\n"
            "    abc[i] = 1\n");
  EXPECT_EQ(in_main("a[i] = 1\na_very_long_name_indeed[i] = 2"),
            "    a[i] = 1\n    a_very_long_name_indeed[i] = 2\n");
}

TEST(Formatter, WhatIsTooLongBreaksAtItsLoosestPlace) {
  const std::string a(35, 'a'), b(35, 'b'), c(35, 'c');
  EXPECT_EQ(in_main("let x = f_g_h(" + a + ", " + b + ", k: " + c + ")"),
            "    let x = f_g_h(\n        " + a + ", " + b + ", k: " + c + "\n    )\n");
  EXPECT_EQ(in_main("f(" + a + ", " + b + ", " + c + ", 12345)"),
            "    f(\n        " + a + ",\n        " + b + ",\n        " + c + ",\n        12345,\n    )\n");
  EXPECT_EQ(in_main("x = " + a + " * 2 + " + b + " + g(" + c + ")"),
            "    x = " + a + " * 2 + " + b + " +\n        g(" + c + ")\n");
  EXPECT_EQ(in_main("x[i] = " + a + "[i] * " + b + "[i] where i < " + c),
            "    x[i] = " + a + "[i] * " + b + "[i]\n        where i < " + c + "\n");
  EXPECT_EQ(in_main("f(" + a + ", 1).g(" + b + ").h(" + c + ")"),
            "    f(" + a + ", 1)\n        .g(" + b + ")\n        .h(" + c + ")\n");
  EXPECT_EQ(in_main("if " + a + " or " + b + " and " + c + " { x }"),
            "    if " + a + " or\n            " + b + " and " + c + " {\n        x\n    }\n");
  EXPECT_EQ(formatted("fn f(" + a + ": int, " + b + ": int, " + c + ") -> float32[n] {\n 1\n}"),
            "fn f(\n    " + a + ": int,\n    " + b + ": int,\n    " + c + ",\n) -> float32[n] {\n    1\n}\n");
}

TEST(Formatter, ListsOfSeveralLinesStaySo) {
  EXPECT_EQ(in_main("let m = [[1, 2],\n [3, 4]]"),
            "    let m = [\n        [1, 2],\n        [3, 4],\n    ]\n");
  EXPECT_EQ(in_main("let m = [1, 2,\n 3, 4]"), "    let m = [\n        1, 2,\n        3, 4\n    ]\n");
  EXPECT_EQ(in_main("f(x, {a: 1,\n b: 2})"), "    f(x, {\n        a: 1,\n        b: 2,\n    })\n");
}

TEST(Formatter, WhatDoesNotParseIsRefusedWithThePlace) {
  try {
    formatted("main { f( }");
    ADD_FAILURE() << "it was formatted";
  } catch (const ProgramError& e) {
    EXPECT_NE(std::string(e.what()).find("test.tl:1:11: error: expected an expression"), std::string::npos)
        << e.what();
  }
}

}  // namespace

}  // namespace tl::test
