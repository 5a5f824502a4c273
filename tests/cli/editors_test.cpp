// The editor extension: its files are well-formed, and its grammar knows the language's keywords.
#include <gtest/gtest.h>

#include <nlohmann/json.hpp>
#include <set>
#include <sstream>

#include "base/file.h"
#include "lang/lexer.h"

namespace tl::test {

namespace {

nlohmann::json extension_file(const std::string& name) {
  return nlohmann::json::parse(read_file(std::string(TL_SOURCE_DIR) + "/editors/vscode/" + name));
}

TEST(Editors, ThePackageNamesFilesThatAreThere) {
  const auto package = extension_file("package.json");
  const auto& contributes = package["contributes"];
  EXPECT_EQ(contributes["languages"][0]["extensions"][0], ".tl");
  EXPECT_FALSE(extension_file(contributes["languages"][0]["configuration"]).empty());
  EXPECT_EQ(extension_file(contributes["grammars"][0]["path"])["scopeName"],
            contributes["grammars"][0]["scopeName"]);
  EXPECT_NE(read_file(std::string(TL_SOURCE_DIR) + "/editors/vscode/" + std::string(package["main"]))
                .find("\"lsp\""),
            std::string::npos);
  EXPECT_TRUE(package["dependencies"].contains("vscode-languageclient"));
}

TEST(Editors, TheGrammarHasTheKeywordsOfTheLexer) {
  std::set<std::string> in_grammar;
  const auto grammar = extension_file("syntaxes/tensorlogic.tmLanguage.json");
  for (const auto& pattern : grammar["repository"]["keywords"]["patterns"]) {
    const std::string match = pattern["match"];
    const size_t begin = match.find(")(") + 2;
    std::istringstream words(match.substr(begin, match.find(")(?!") - begin));
    for (std::string word; std::getline(words, word, '|');) in_grammar.insert(word);
  }
  std::set<std::string> in_lexer;
  for (const std::string_view word : lang::keywords()) in_lexer.emplace(word);
  EXPECT_EQ(in_grammar, in_lexer);
}

}  // namespace

}  // namespace tl::test
