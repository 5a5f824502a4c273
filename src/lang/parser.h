// Tokens to syntax tree.
#pragma once

#include <memory>
#include <vector>

#include "lang/ast.h"

namespace tl::lang {

struct ParseResult {
  std::unique_ptr<ast::Module> module;  ///< whatever could be understood; never null
  std::vector<Diagnostic> diagnostics;  ///< empty for a well-formed text
};

struct ParseOptions {
  bool statements_at_top_level = false;  ///< as the REPL and notebooks allow
};

/// Parses one program text. Never throws on bad input: it reports, skips to the next statement or declaration
/// and goes on, so that one run shows several independent mistakes. Nesting is bounded (kMaxNesting).
ParseResult parse(const Source& source, ParseOptions options = {});

/// Parses the signature of a native function, "softmax(x: tensor, axis|dim: int = -1) -> tensor", as the
/// parameters and result of a function without a body. Throws ProgramError: signatures are part of this
/// program.
std::unique_ptr<ast::Function> parse_signature(const Source& source);

constexpr int kMaxNesting = 200;

}  // namespace tl::lang
