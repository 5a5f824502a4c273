// tl lsp: the Language Server Protocol over standard input and output.
#include <fmt/format.h>

#include <CLI/CLI.hpp>
#include <cerrno>
#include <charconv>
#include <cstdio>
#include <map>
#include <memory>
#include <nlohmann/json.hpp>
#include <optional>
#include <stdexcept>

#include "base/interrupt.h"
#include "cli/commands.h"
#include "cli/lsp_document.h"
#include "cli/options.h"
#include "cli/output.h"

namespace tl::cli {

namespace {

using Json = nlohmann::json;

/// Codes of JSON-RPC and the protocol.
enum ErrorCode : int {
  kParseError = -32700,
  kInvalidRequest = -32600,
  kMethodNotFound = -32601,
  kInvalidParams = -32602,
  kInternalError = -32603,
  kNotInitialized = -32002,
};

struct RpcError : std::runtime_error {
  RpcError(ErrorCode c, const std::string& message) : std::runtime_error(message), code(c) {}
  ErrorCode code;
};

// -------------------------------------------------------------------------------------------------- messages

/// A byte of standard input, or nothing at its end.
std::optional<char> read_byte() {
  while (true) {
    const int c = std::fgetc(stdin);
    if (c != EOF) return static_cast<char>(c);
    check_interrupt();
    if (std::ferror(stdin) == 0 || errno != EINTR) return std::nullopt;
    std::clearerr(stdin);
  }
}

/// A line of a header without its end, or nothing at the end of input. What is too long to be one is cut.
std::optional<std::string> read_header_line() {
  constexpr size_t kMaxLine = 4096;
  std::string line;
  while (true) {
    const auto c = read_byte();
    if (!c) return std::nullopt;
    if (*c == '\n') break;
    if (line.size() < kMaxLine) line += *c;
  }
  if (line.ends_with('\r')) line.pop_back();
  return line;
}

/// The content of the next message, or nothing at the end of input. Throws RpcError for a malformed header.
std::optional<std::string> read_message() {
  constexpr size_t kMaxLength = size_t{64} << 20;
  constexpr std::string_view kHeader = "Content-Length:";
  std::optional<size_t> length;
  std::string problem = "a message needs a header Content-Length";
  while (true) {
    const auto line = read_header_line();
    if (!line) return std::nullopt;
    if (line->empty()) break;
    if (!line->starts_with(kHeader)) continue;
    const std::string digits =
        line->substr(std::min(line->find_first_not_of(' ', kHeader.size()), line->size()));
    size_t value = 0;
    const auto [end, status] = std::from_chars(digits.data(), digits.data() + digits.size(), value);
    if (status == std::errc() && end == digits.data() + digits.size() && value <= kMaxLength)
      length = value;
    else
      problem = fmt::format("'{}' is no length", digits);
  }
  if (!length) throw RpcError(kParseError, problem);
  std::string content;
  content.reserve(*length);
  while (content.size() < *length) {
    const auto c = read_byte();
    if (!c) return std::nullopt;
    content += *c;
  }
  return content;
}

void send(const Json& message) {
  const std::string text = message.dump(-1, ' ', false, Json::error_handler_t::replace);
  fmt::print("Content-Length: {}\r\n\r\n{}", text.size(), text);
  flush_output();
}

void send_error(const Json& id, ErrorCode code, const std::string& message) {
  send({{"jsonrpc", "2.0"}, {"id", id}, {"error", {{"code", static_cast<int>(code)}, {"message", message}}}});
}

// ---------------------------------------------------------------------------------------------------- server

class Server {
 public:
  explicit Server(std::vector<std::string> import_path) : import_path_(std::move(import_path)) {}

  /// Serves until the client says exit, or goes; whether it said shutdown before.
  bool run() {
    while (!exited_) {
      try {
        const auto content = read_message();
        if (!content) break;
        take(*content);
      } catch (const RpcError& e) {
        send_error(nullptr, e.code, e.what());
      }
    }
    return shut_down_;
  }

 private:
  void take(const std::string& content) {
    const Json message = Json::parse(content, nullptr, /*allow_exceptions=*/false);
    if (message.is_discarded()) throw RpcError(kParseError, "the message is no JSON");
    if (!message.is_object() || !message.contains("method") || !message["method"].is_string()) {
      if (message.is_object() && message.contains("id") && !message.contains("method")) return;  // a response
      throw RpcError(kInvalidRequest, "the message is no request");
    }
    const std::string method = message["method"];
    const Json params = message.value("params", Json::object());
    const bool is_request = message.contains("id");
    const auto complain = [&](ErrorCode code, const std::string& text) {
      is_request ? send_error(message["id"], code, text) : log(fmt::format("{}: {}", method, text));
    };
    try {
      const Json result = is_request ? request(method, params) : notify(method, params);
      if (is_request) send({{"jsonrpc", "2.0"}, {"id", message["id"]}, {"result", result}});
    } catch (const RpcError& e) {
      complain(e.code, e.what());
    } catch (const Json::exception&) {
      complain(kInvalidParams, "wrong parameters");
    } catch (const Interrupted&) {
      throw;
    } catch (const std::exception& e) {
      complain(kInternalError, e.what());
    }
  }

  /// Shows a text in the client's log.
  static void log(const std::string& text) {
    constexpr int kError = 1;
    send({{"jsonrpc", "2.0"},
          {"method", "window/logMessage"},
          {"params", {{"type", kError}, {"message", text}}}});
  }

  Json request(const std::string& method, const Json& params) {
    if (method == "initialize") return initialize();
    if (!initialized_) throw RpcError(kNotInitialized, "initialize comes first");
    if (shut_down_) throw RpcError(kInvalidRequest, "the server is shut down");
    if (method == "shutdown") {
      shut_down_ = true;
      return nullptr;
    }
    if (method == "textDocument/hover") return document(params).hover(params.at("position"));
    if (method == "textDocument/definition") return document(params).definition(params.at("position"));
    if (method == "textDocument/completion") return document(params).completion(params.at("position"));
    if (method == "textDocument/formatting") return document(params).formatting();
    throw RpcError(kMethodNotFound, fmt::format("there is no method {}", method));
  }

  /// What is not known is ignored, as the protocol asks.
  Json notify(const std::string& method, const Json& params) {
    if (method == "exit") {
      exited_ = true;
    } else if (method == "textDocument/didOpen") {
      const Json& item = params.at("textDocument");
      update(item.at("uri"), item.at("text"));
    } else if (method == "textDocument/didChange") {
      const Json& changes = params.at("contentChanges");
      if (!changes.is_array() || changes.empty()) throw RpcError(kInvalidParams, "contentChanges is empty");
      update(params.at("textDocument").at("uri"), changes.back().at("text"));
    } else if (method == "textDocument/didClose") {
      const std::string uri = params.at("textDocument").at("uri");
      documents_.erase(uri);
      publish(uri, Json::array());
    }
    return nullptr;
  }

  Json initialize() {
    initialized_ = true;
    return {{"capabilities",
             {{"textDocumentSync", {{"openClose", true}, {"change", 1}}},
              {"hoverProvider", true},
              {"definitionProvider", true},
              {"completionProvider", {{"triggerCharacters", {"."}}}},
              {"documentFormattingProvider", true}}},
            {"serverInfo", {{"name", "tl lsp"}}}};
  }

  void update(const std::string& uri, const std::string& text) {
    const auto document = std::make_shared<const LspDocument>(uri, text, import_path_);
    documents_[uri] = document;
    publish(uri, document->diagnostics());
  }

  static void publish(const std::string& uri, const Json& diagnostics) {
    send({{"jsonrpc", "2.0"},
          {"method", "textDocument/publishDiagnostics"},
          {"params", {{"uri", uri}, {"diagnostics", diagnostics}}}});
  }

  const LspDocument& document(const Json& params) const {
    const std::string uri = params.at("textDocument").at("uri");
    const auto found = documents_.find(uri);
    if (found == documents_.end()) throw RpcError(kInvalidParams, fmt::format("{} is not open", uri));
    return *found->second;
  }

  std::vector<std::string> import_path_;
  std::map<std::string, std::shared_ptr<const LspDocument>> documents_;
  bool initialized_ = false, shut_down_ = false, exited_ = false;
};

}  // namespace

void add_lsp(CLI::App& app) {
  auto models_dir = std::make_shared<std::string>();
  CLI::App* command = app.add_subcommand(
      "lsp", "Serve an editor: the Language Server Protocol over standard input and output");
  command->add_option("--models", *models_dir, "Where model programs are found; otherwise the installed ones")
      ->option_text("DIR");
  command->add_flag(
      "--stdio", [](int64_t) {}, "As editors pass it; there is no other way");
  command->callback([models_dir] {
    if (!Server({model_programs_dir(*models_dir)}).run()) throw Error("the client went without shutdown");
  });
}

}  // namespace tl::cli
