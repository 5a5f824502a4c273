// One open text of an editor, and what the language server says about it.
#pragma once

#include <memory>
#include <nlohmann/json.hpp>
#include <string>

#include "lang/analysis.h"
#include "lang/program.h"

namespace tl::cli {

/// Answers are in the terms of the Language Server Protocol: lines from 0, columns in UTF-16 units.
class LspDocument {
 public:
  using Json = nlohmann::json;

  /// Checks the text. `import_path` is where imports are looked for after the document's own folder.
  LspDocument(std::string uri, std::string text, const std::vector<std::string>& import_path);

  Json diagnostics() const;
  /// null where there is nothing to say.
  Json hover(const Json& position) const;
  Json definition(const Json& position) const;
  Json completion(const Json& position) const;
  /// Edits that give the text its layout; null for a text with mistakes.
  Json formatting() const;

 private:
  const Source& source() const { return *program_->modules().back()->source; }
  uint32_t offset(const Json& position) const;
  Json location(Span span) const;
  /// With the range of `shown`.
  Json diagnostic(const Diagnostic& d, Span shown) const;

  std::string uri_;
  std::shared_ptr<const lang::Program> program_;
  std::unique_ptr<const lang::Analysis> analysis_;
};

/// "file:///a%20b.tl" -> "/a b.tl"; other URIs as they are.
std::string path_of_uri(const std::string& uri);
std::string uri_of_path(const std::string& path);

}  // namespace tl::cli
