// tl lsp: the protocol spoken through a pipe.
#include <gtest/gtest.h>

#include <algorithm>
#include <nlohmann/json.hpp>

#include "cli/program.h"

namespace tl::test {

namespace {

using Json = nlohmann::json;

std::string framed(const std::string& content) {
  return "Content-Length: " + std::to_string(content.size()) + "\r\n\r\n" + content;
}

/// The messages of an output; what is no message is a failure.
std::vector<Json> messages(const std::string& out) {
  std::vector<Json> list;
  for (size_t at = 0; at < out.size();) {
    const size_t end = out.find("\r\n\r\n", at);
    if (end == std::string::npos || out.compare(at, 16, "Content-Length: ") != 0) {
      ADD_FAILURE() << "no header: " << out.substr(at);
      return list;
    }
    const size_t length = std::stoul(out.substr(at + 16, end - at - 16));
    list.push_back(Json::parse(out.substr(end + 4, length)));
    at = end + 4 + length;
  }
  return list;
}

/// One conversation: what is sent is collected, and answered by finish().
class Client {
 public:
  Client() { request("initialize", {{"processId", nullptr}}); }

  int request(const std::string& method, const Json& params) {
    send({{"jsonrpc", "2.0"}, {"id", ++id_}, {"method", method}, {"params", params}});
    return id_;
  }
  void notify(const std::string& method, const Json& params) {
    send({{"jsonrpc", "2.0"}, {"method", method}, {"params", params}});
  }
  void raw(const std::string& text) { input_ += text; }
  void open(const std::string& text, const std::string& uri = kUri) {
    notify("textDocument/didOpen",
           {{"textDocument", {{"uri", uri}, {"languageId", "tensorlogic"}, {"version", 1}, {"text", text}}}});
  }
  int ask(const std::string& method, int line, int character, const std::string& uri = kUri) {
    return request("textDocument/" + method, {{"textDocument", {{"uri", uri}}},
                                              {"position", {{"line", line}, {"character", character}}}});
  }
  void finish(bool polite = true) {
    if (polite) {
      request("shutdown", Json::object());
      notify("exit", Json::object());
    }
    RunOptions options;
    options.input = input_;
    output = run_tl({"lsp"}, options);
    answers = messages(output.out);
    EXPECT_EQ(output.exit_code, polite ? 0 : 1) << output.err;
  }
  Json answer(int id) const {
    for (const Json& m : answers)
      if (m.contains("id") && m["id"] == id) return m;
    ADD_FAILURE() << "no answer to " << id;
    return {};
  }
  Json result(int id) const { return answer(id).value("result", Json("no result")); }
  /// The diagnostics published last for a document.
  Json diagnostics(const std::string& uri = kUri) const {
    Json last;
    for (const Json& m : answers)
      if (m.value("method", "") == "textDocument/publishDiagnostics" && m["params"]["uri"] == uri)
        last = m["params"]["diagnostics"];
    return last;
  }

  static constexpr const char* kUri = "file:///tmp/some%20folder/test.tl";
  Output output;
  std::vector<Json> answers;

 private:
  void send(const Json& message) { input_ += framed(message.dump()); }
  std::string input_;
  int id_ = 0;
};

Json range(int line, int from, int to) {
  return {{"start", {{"line", line}, {"character", from}}}, {"end", {{"line", line}, {"character", to}}}};
}

std::vector<std::string> labels(const Json& items) {
  std::vector<std::string> out;
  for (const Json& item : items) out.push_back(item["label"]);
  return out;
}
bool has(const std::vector<std::string>& list, const std::string& item) {
  return std::find(list.begin(), list.end(), item) != list.end();
}

TEST(Lsp, SaysWhatItCanDo) {
  Client client;
  client.finish();
  const Json capabilities = client.result(1)["capabilities"];
  for (const char* name :
       {"hoverProvider", "definitionProvider", "completionProvider", "documentFormattingProvider"})
    EXPECT_TRUE(capabilities.contains(name)) << name;
  EXPECT_EQ(client.output.err, "");
  EXPECT_EQ(client.result(2), nullptr);
}

TEST(Lsp, PublishesDiagnosticsInUtf16Columns) {
  Client client;
  // Before the name: a letter of two bytes and one UTF-16 unit, then a character of four bytes and two units.
  client.open("main {\n    let é = \"🦙\" + nope\n}\n");
  client.finish();
  const Json list = client.diagnostics();
  ASSERT_EQ(list.size(), 1u) << list;
  EXPECT_EQ(list[0]["range"], range(1, 19, 23));
  EXPECT_EQ(list[0]["severity"], 1);
  EXPECT_EQ(list[0]["message"], "unknown name 'nope'");
}

TEST(Lsp, DiagnosticsFollowTheText) {
  Client client;
  client.open("main { print(1 }\n");
  const Json document = {{"uri", Client::kUri}, {"version", 2}};
  client.notify("textDocument/didChange",
                {{"textDocument", document}, {"contentChanges", {{{"text", "main { }\n"}}}}});
  client.finish();
  std::vector<size_t> sizes;
  for (const Json& m : client.answers)
    if (m.contains("method")) sizes.push_back(m["params"]["diagnostics"].size());
  EXPECT_EQ(sizes, (std::vector<size_t>{1, 0}));
}

TEST(Lsp, NotesAndHelpComeAlong) {
  Client client;
  client.open("fn f(x) { x }\nmain { f(1, 2) + prnt(1) }\n");
  client.notify("textDocument/didClose", {{"textDocument", {{"uri", Client::kUri}}}});
  client.finish();
  const Json list = client.answers[1]["params"]["diagnostics"];
  ASSERT_EQ(list.size(), 2u) << list;
  EXPECT_EQ(list[0]["relatedInformation"][0]["location"]["range"], range(0, 3, 4));
  EXPECT_EQ(list[0]["relatedInformation"][0]["location"]["uri"], Client::kUri);
  EXPECT_EQ(list[1]["message"], "unknown function 'prnt'\nhelp: did you mean 'print'?");
  EXPECT_EQ(client.diagnostics(), Json::array());  // closed: none are left
}

constexpr const char* kProgram =
    "// Twice as much.\n"                         // 0
    "fn twice(x: float32[n, d], k: int = 2) {\n"  // 1
    "    let factor = k * 2\n"                    // 2
    "    y[i, j] = x[i, j] * factor\n"            // 3
    "    return softmax(y)\n"                     // 4
    "}\n"                                         // 5
    "let big = 1.5\n"                             // 6
    "main {\n"                                    // 7
    "    let r = {alpha: 1, beta: 2}\n"           // 8
    "    print(twice([[1, 2]]), big, r.alpha)\n"  // 9
    "}\n";                                        // 10

std::string hover_text(const Json& result) { return result.is_null() ? "" : result["contents"]["value"]; }

TEST(Lsp, HoverShowsSignaturesTypesAndDocumentation) {
  Client client;
  client.open(kProgram);
  const int twice = client.ask("hover", 9, 12), softmax = client.ask("hover", 4, 14),
            x = client.ask("hover", 3, 14), factor = client.ask("hover", 3, 27),
            y = client.ask("hover", 4, 19), big = client.ask("hover", 9, 28), i = client.ask("hover", 3, 6),
            nothing = client.ask("hover", 5, 0);
  client.finish();
  EXPECT_EQ(hover_text(client.result(twice)),
            "```tensorlogic\nfn twice(x: float32[n, d], k: int = 2)\n```\n\nTwice as much.");
  EXPECT_EQ(client.result(twice)["range"], range(9, 10, 15));
  EXPECT_EQ(hover_text(client.result(softmax)).substr(0, 23), "```tensorlogic\nsoftmax(");
  EXPECT_EQ(hover_text(client.result(x)), "```tensorlogic\nx: float32[n, d]\n```");
  EXPECT_EQ(hover_text(client.result(factor)), "```tensorlogic\nlet factor: int\n```");
  EXPECT_EQ(hover_text(client.result(y)), "```tensorlogic\nlet y: tensor y[i, j]\n```");
  EXPECT_EQ(hover_text(client.result(big)), "```tensorlogic\nlet big: float\n```");
  EXPECT_EQ(hover_text(client.result(i)), "```tensorlogic\nindex i\n```");
  EXPECT_EQ(client.result(nothing), nullptr);
}

TEST(Lsp, DefinitionFindsFunctionsVariablesAndParameters) {
  Client client;
  client.open(kProgram);
  const int twice = client.ask("definition", 9, 12), x = client.ask("definition", 3, 14),
            factor = client.ask("definition", 3, 27), big = client.ask("definition", 9, 28),
            native = client.ask("definition", 4, 14);
  client.finish();
  EXPECT_EQ(client.result(twice)["range"], range(1, 3, 8));
  EXPECT_EQ(client.result(twice)["uri"], Client::kUri);
  EXPECT_EQ(client.result(x)["range"], range(1, 9, 10));
  EXPECT_EQ(client.result(factor)["range"], range(2, 8, 14));
  EXPECT_EQ(client.result(big)["range"], range(6, 4, 7));
  EXPECT_EQ(client.result(native), nullptr);
}

TEST(Lsp, DefinitionsAreFoundAcrossImports) {
  const TempFolder folder;
  write_file(folder / "part.tl", "\nfn three() { 3 }\n");
  const std::string uri = "file://" + (folder / "whole.tl");
  Client client;
  client.open("import \"part.tl\"\nmain { print(three()) }\n", uri);
  const int three = client.ask("definition", 1, 15, uri);
  client.finish();
  EXPECT_EQ(client.result(three)["uri"], "file://" + (folder / "part.tl"));
  EXPECT_EQ(client.result(three)["range"], range(1, 3, 8));
}

TEST(Lsp, MistakesInImportsAreShownWhereTheyAreImported) {
  const TempFolder folder;
  write_file(folder / "part.tl", "fn three() { nope }\n");
  const std::string uri = "file://" + (folder / "whole.tl");
  Client client;
  write_file(folder / "sound.tl", "fn two() { 2 }\n");
  client.open("import \"sound.tl\"\nimport \"part.tl\"\nmain { print(three(), two()) }\n", uri);
  client.finish();
  const Json list = client.diagnostics(uri);
  ASSERT_EQ(list.size(), 1u) << list;
  EXPECT_EQ(list[0]["range"], range(1, 0, 16));
  EXPECT_EQ(list[0]["relatedInformation"][0]["location"]["uri"], "file://" + (folder / "part.tl"));
  EXPECT_EQ(list[0]["relatedInformation"][0]["location"]["range"], range(0, 13, 17));
  EXPECT_NE(std::string(list[0]["message"]).find("part.tl:1:14: unknown name 'nope'"), std::string::npos)
      << list;
}

TEST(Lsp, CompletionOffersWhatIsInScope) {
  Client client;
  client.open(kProgram);
  const int in_function = client.ask("completion", 4, 4), in_main = client.ask("completion", 9, 32),
            member = client.ask("completion", 9, 34), prefix = client.ask("completion", 4, 13),
            comment = client.ask("completion", 0, 6);
  client.finish();
  const auto function = labels(client.result(in_function)), main = labels(client.result(in_main));
  for (const char* name : {"x", "k", "factor", "y", "twice", "big", "softmax", "return", "float32"})
    EXPECT_TRUE(has(function, name)) << name;
  EXPECT_FALSE(has(function, "r"));
  EXPECT_TRUE(has(main, "r"));
  EXPECT_FALSE(has(main, "factor"));
  EXPECT_EQ(labels(client.result(member))[0], "alpha");
  EXPECT_TRUE(has(labels(client.result(member)), "reshape")) << "methods are functions";
  EXPECT_FALSE(has(labels(client.result(member)), "big"));
  EXPECT_TRUE(has(labels(client.result(prefix)), "softmax"));
  EXPECT_FALSE(has(labels(client.result(prefix)), "x"));
  EXPECT_EQ(client.result(comment), Json::array());
}

TEST(Lsp, MembersOfModelsAreKnownWhileTheTextIsUnfinished) {
  Client client;
  client.open("fn forward(m: model, ids, cache: cache) {\n    m.config.\n}\n");
  const int config = client.ask("completion", 1, 13);
  client.open("fn forward(m: model, ids, cache: cache) {\n    let c = m.\n}\n");
  const int model = client.ask("completion", 1, 14);
  client.finish();
  EXPECT_TRUE(has(labels(client.result(config)), "n_heads"));
  EXPECT_TRUE(has(labels(client.result(model)), "config"));
}

TEST(Lsp, FormattingIsThatOfFmt) {
  Client client;
  client.open("main{print( 1 )}\n");
  const Json params = {{"textDocument", {{"uri", Client::kUri}}}, {"options", {{"tabSize", 2}}}};
  const int messy = client.request("textDocument/formatting", params);
  client.open("main { print(1) }\n");
  const int tidy = client.request("textDocument/formatting", params);
  client.open("main { print( }\n");
  const int wrong = client.request("textDocument/formatting", params);
  client.finish();
  EXPECT_EQ(client.result(messy)[0]["newText"], "main { print(1) }\n");
  EXPECT_EQ(client.result(messy)[0]["range"],
            (Json{{"start", {{"line", 0}, {"character", 0}}}, {"end", {{"line", 1}, {"character", 0}}}}));
  EXPECT_EQ(client.result(tidy), Json::array());
  EXPECT_EQ(client.result(wrong), nullptr);
}

TEST(Lsp, MalformedMessagesGetErrorsAndTheServerGoesOn) {
  Client client;
  client.raw("Content-Length: 5\r\n\r\n{nope");
  client.raw("Content-Length: many\r\n\r\n");
  client.raw("Content-Type: x\r\n\r\n");
  client.raw(framed("[1, 2]"));
  client.raw(framed("{\"id\": 77, \"method\": 5}"));
  const int unknown = client.request("textDocument/rename", Json::object());
  const int closed = client.ask("hover", 0, 0, "file:///not/open.tl");
  const int empty = client.request("textDocument/hover", Json::array());
  client.notify("textDocument/didChange",
                {{"textDocument", {{"uri", Client::kUri}}}, {"contentChanges", Json::array()}});
  client.notify("textDocument/didOpen", {{"textDocument", 5}});
  client.notify("some/notification", Json::object());
  client.open("main { }\n");
  const int far = client.ask("hover", 99999, 99999), negative = client.ask("hover", -5, -5);
  client.finish();
  std::vector<int> codes;
  for (const Json& m : client.answers)
    if (m.contains("id") && m["id"].is_null()) codes.push_back(m["error"]["code"]);
  EXPECT_EQ(codes, (std::vector<int>{-32700, -32700, -32700, -32600, -32600}));
  EXPECT_EQ(client.answer(unknown)["error"]["code"], -32601);
  EXPECT_EQ(client.answer(closed)["error"]["code"], -32602);
  EXPECT_EQ(client.answer(empty)["error"]["code"], -32602);
  EXPECT_EQ(client.result(far), nullptr);
  EXPECT_FALSE(client.answer(negative).contains("error"));
  EXPECT_EQ(client.diagnostics(), Json::array());
}

TEST(Lsp, InitializeComesFirstAndShutdownLast) {
  RunOptions options;
  options.input = framed(R"({"jsonrpc": "2.0", "id": 1, "method": "textDocument/hover", "params": {}})");
  const Output early = run_tl({"lsp"}, options);
  EXPECT_EQ(messages(early.out)[0]["error"]["code"], -32002);
  EXPECT_EQ(early.exit_code, 1);
  EXPECT_EQ(early.err, "tl: error: the client went without shutdown\n");
  Client client;
  client.finish(/*polite=*/false);
}

}  // namespace

}  // namespace tl::test
