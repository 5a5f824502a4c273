// A program: a file, what it imports, and the outcome of checking them.
#pragma once

#include <deque>
#include <map>
#include <memory>
#include <string>
#include <unordered_map>
#include <vector>

#include "lang/ast.h"
#include "lang/known.h"
#include "lang/native.h"

namespace tl::lang {

struct LoadOptions {
  /// Where imports are looked for after the folder of the importing file (the installed model programs).
  std::vector<std::string> import_path;
  bool statements_at_top_level = false;  ///< in the program's own text, not in what it imports
};

/// What a top-level name stands for.
struct Symbol {
  ast::Function* function = nullptr;  ///< a function, or else a global:
  uint32_t slot = 0;
  Span span;
};

/// One file of a program.
struct LoadedModule {
  std::unique_ptr<Source> source;
  std::unique_ptr<ast::Module> ast;
  std::vector<LoadedModule*> imports;
  Span imported_at;  ///< by the file that loaded it; empty for the program's own texts
  std::map<std::string, Symbol, std::less<>>
      visible;  ///< its own names, and those of its imports it does not redefine
  /// What the checker knows of expressions (and of the names that are declared); see describe_type().
  std::unordered_map<const ast::Expr*, Known> types;
};

/// The type of an expression or of a declared name as far as it is known before running, as programs write
/// it: "float32[n, 3]", "int"; "" where nothing is known.
std::string describe_type(const LoadedModule& module, const ast::Expr& expression);

/// Parsed and checked; immutable afterwards, but for what extend() adds. It must outlive the interpreters and
/// function values made from it.
class Program {
 public:
  /// Reads, parses and checks a file with all it imports. Mistakes in the program do not throw, they are in
  /// diagnostics(); a file that cannot be read throws Error.
  static std::shared_ptr<const Program> load(const std::string& path, const Library& library,
                                             const LoadOptions& options = {});
  /// The same for a text; imports are relative to the folder of `name`.
  static std::shared_ptr<const Program> from_text(const std::string& name, std::string text,
                                                  const Library& library, const LoadOptions& options = {});

  /// A program without content, for extend().
  static std::shared_ptr<Program> empty(const std::string& name, const Library& library,
                                        const LoadOptions& options);
  /// Adds a text that sees all that the texts before it defined, and may define it anew: a global keeps its
  /// place, and a function its callers; diagnostics() warns of those that it no longer fits. Gives the
  /// modules whose globals are to be set, the text's own last. Throws ProgramError with the text's errors;
  /// the program is then as it was.
  std::vector<const LoadedModule*> extend(const std::string& name, std::string text);

  /// Errors, warnings and notes, by file and place; of the last text, where there are several.
  const std::vector<Diagnostic>& diagnostics() const { return diagnostics_; }
  bool ok() const;
  /// Throws ProgramError with the errors, if there are any: all, those outside of test blocks (what the rest
  /// of the program can run without), or those in one of them.
  void require_ok() const;
  void require_ok_outside_tests() const;
  void require_ok(const ast::Function& test) const;

  /// A function that the file defines or imports, or nullptr.
  const ast::Function* find(std::string_view name) const;
  const ast::Function* main() const { return root_->ast->main.get(); }
  const std::vector<std::unique_ptr<ast::Function>>& tests() const { return root_->ast->tests; }
  const std::string& name() const { return root_->source->name(); }
  /// The text of the file itself, not of what it imports.
  const Source& source() const { return *root_->source; }
  /// What the names at top level stand for: the file's own, and imported ones.
  const std::map<std::string, Symbol, std::less<>>& visible() const { return root_->visible; }
  /// The files in the order their globals are set: imports before importers.
  const std::vector<LoadedModule*>& modules() const { return order_; }
  uint32_t n_globals() const { return n_globals_; }
  const Library& library() const { return library_; }

 private:
  friend class Loader;
  Program(const Library& library, LoadOptions options) : library_(library), options_(std::move(options)) {}

  const ast::Function* test_around(Span span) const;

  const Library& library_;
  const LoadOptions options_;
  std::deque<LoadedModule> storage_;
  std::vector<LoadedModule*> order_;
  std::map<std::string, LoadedModule*> by_identity_;
  std::vector<LoadedModule*> texts_;  ///< the program's own texts: one, or what extend() added
  LoadedModule* root_ = nullptr;      ///< the last of them
  uint32_t n_globals_ = 0;
  std::vector<Diagnostic> diagnostics_;
};

}  // namespace tl::lang
