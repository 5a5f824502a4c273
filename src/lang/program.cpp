#include "lang/program.h"

#include <algorithm>
#include <filesystem>
#include <system_error>

#include <fmt/format.h>

#include "base/file.h"
#include "lang/checker.h"
#include "lang/parser.h"

namespace tl::lang {

namespace fs = std::filesystem;

/// Loads files depth first: what a file imports is whole before the file itself is looked at.
class Loader {
 public:
  explicit Loader(Program& program) : program_(program), options_(program.options_) {}

  void run(const std::string& name, std::string text) {
    const LoadedModule* before = program_.root_;
    const size_t first = program_.order_.size();
    program_.root_ = load(name, std::move(text), {});
    const bool is_readable = program_.diagnostics_.empty();
    if (before && is_readable) replace_functions(*before);
    for (size_t i = first; i < program_.order_.size(); ++i) {
      LoadedModule* module = program_.order_[i];
      declare(*module, program_.n_globals_, program_.diagnostics_,
              module == program_.root_ ? before : nullptr);
    }
    // After a syntax error half the names are missing: checking would only repeat that.
    for (size_t i = first; is_readable && i < program_.order_.size(); ++i)
      check(*program_.order_[i], program_.library_, program_.diagnostics_);
    program_.texts_.push_back(program_.root_);
    for (Diagnostic& d : program_.diagnostics_) note_imports(d);
  }

  /// Functions whose definition moved to where callers find it go back.
  void restore_functions() {
    for (const auto& [mine, theirs] : replaced_) exchange(*mine, *theirs);
  }

  /// Checks what earlier texts defined against the functions that were replaced, and warns of what no longer
  /// fits. Its calls fail when they are run.
  void check_callers() {
    if (replaced_.empty()) return;
    for (LoadedModule* text : program_.texts_) {
      if (text == program_.root_) continue;
      for (const FunctionOwner& f : text->ast->functions) {
        if (!is_live(*f)) continue;
        std::vector<Diagnostic> found;
        check_again(*text, *f, program_.library_, found);
        for (Diagnostic& d : found) {
          d.severity = Severity::warning;
          d.message = fmt::format("'{}' no longer fits: {}", f->name, d.message);
          program_.diagnostics_.push_back(std::move(d));
        }
      }
    }
  }

 private:
  static std::string identity(const std::string& path) {
    std::error_code ignored;
    const fs::path canonical = fs::weakly_canonical(path, ignored);
    return ignored ? path : canonical.string();
  }

  LoadedModule* load(const std::string& name, std::string text, Span imported_at) {
    LoadedModule& module = program_.storage_.emplace_back();
    program_.by_identity_[identity(name)] = &module;
    open_.push_back(&module);
    module.source = std::make_unique<Source>(name, std::move(text));
    module.imported_at = imported_at;
    const bool is_own = open_.size() == 1;
    ParseResult parsed = parse(*module.source, {options_.statements_at_top_level && is_own});
    module.ast = std::move(parsed.module);
    auto& diagnostics = program_.diagnostics_;
    diagnostics.insert(diagnostics.end(), parsed.diagnostics.begin(), parsed.diagnostics.end());
    for (const ast::Import& import : module.ast->imports) module.imports.push_back(resolve(import, name));
    open_.pop_back();
    program_.order_.push_back(&module);
    return &module;
  }

  /// The imported module, loaded now or before; null with a diagnostic if that fails.
  LoadedModule* resolve(const ast::Import& import, const std::string& importer) {
    const auto report = [&](std::string message, std::string help = {}) {
      program_.diagnostics_.push_back(
          {Severity::error, import.span, std::move(message), {}, std::move(help)});
      return nullptr;
    };
    std::vector<fs::path> folders = {fs::path(importer).parent_path()};
    folders.insert(folders.end(), options_.import_path.begin(), options_.import_path.end());
    std::string tried;
    for (const fs::path& folder : folders) {
      const std::string path = (folder / import.path).string();
      std::error_code ignored;
      if (!fs::is_regular_file(path, ignored)) {
        tried += (tried.empty() ? "" : ", ") + path;
        continue;
      }
      const auto known = program_.by_identity_.find(identity(path));
      if (known == program_.by_identity_.end()) {
        try {
          return load(path, read_file(path), import.span);
        } catch (const ProgramError&) {
          throw;
        } catch (const Error& e) {
          return report(e.what());
        }
      }
      const auto open = std::find(open_.begin(), open_.end(), known->second);
      if (open == open_.end()) return known->second;
      std::string chain;
      for (auto it = open; it != open_.end(); ++it) chain += (*it)->source->name() + " imports ";
      return report("files import one another in a circle", chain + (*open)->source->name());
    }
    return report(fmt::format("there is no file \"{}\" to import", import.path), "looked for " + tried);
  }

  using FunctionOwner = std::unique_ptr<ast::Function>;

  /// Says of what is wrong in an imported file where it is imported.
  void note_imports(Diagnostic& d) const {
    for (Span at = d.span; at;) {
      const auto& all = program_.order_;
      const auto around =
          std::find_if(all.begin(), all.end(), [&](auto* m) { return m->source.get() == at.source; });
      at = around == all.end() ? Span{} : (*around)->imported_at;
      if (at) d.notes.push_back({at, "it is imported here"});
    }
  }

  /// A function that an earlier text defined gets its new definition where it is, so that what calls it calls
  /// the new one.
  void replace_functions(const LoadedModule& before) {
    for (FunctionOwner& mine : program_.root_->ast->functions) {
      const auto known = before.visible.find(mine->name);
      if (known == before.visible.end() || !known->second.function) continue;
      for (LoadedModule* text : program_.texts_) {
        for (FunctionOwner& theirs : text->ast->functions) {
          if (theirs.get() != known->second.function) continue;
          exchange(mine, theirs);
          replaced_.emplace_back(&mine, &theirs);
          break;
        }
      }
    }
  }

  /// Whether a function of an earlier text can still be called by its name.
  bool is_live(const ast::Function& f) const {
    const auto known = program_.root_->visible.find(f.name);
    return known != program_.root_->visible.end() && known->second.function == &f;
  }

  /// Each keeps its definition, and takes the other's address.
  static void exchange(FunctionOwner& a, FunctionOwner& b) {
    std::swap(*a, *b);
    std::swap(a, b);
  }

  Program& program_;
  const LoadOptions& options_;
  std::vector<LoadedModule*> open_;  ///< being loaded, outermost first
  std::vector<std::pair<FunctionOwner*, FunctionOwner*>> replaced_;
};

std::shared_ptr<const Program> Program::from_text(const std::string& name, std::string text,
                                                  const Library& library, const LoadOptions& options) {
  const std::shared_ptr<Program> program(new Program(library, options));
  program->n_globals_ = kArgsSlot + 1;
  Loader(*program).run(name, std::move(text));
  return program;
}

std::shared_ptr<Program> Program::empty(const std::string& name, const Library& library,
                                        const LoadOptions& options) {
  return std::const_pointer_cast<Program>(from_text(name, "", library, options));
}

std::vector<const LoadedModule*> Program::extend(const std::string& name, std::string text) {
  const size_t n_stored = storage_.size(), n_ordered = order_.size(), n_texts = texts_.size();
  const uint32_t n_globals = n_globals_;
  const auto by_identity = by_identity_;
  LoadedModule* const root = root_;
  diagnostics_.clear();
  Loader loader(*this);
  try {
    loader.run(name, std::move(text));
    require_ok();
    loader.check_callers();
  } catch (...) {
    loader.restore_functions();
    diagnostics_.clear();
    order_.resize(n_ordered);
    texts_.resize(n_texts);
    while (storage_.size() > n_stored) storage_.pop_back();
    by_identity_ = by_identity;
    n_globals_ = n_globals;
    root_ = root;
    throw;
  }
  return {order_.begin() + static_cast<std::ptrdiff_t>(n_ordered), order_.end()};
}

std::shared_ptr<const Program> Program::load(const std::string& path, const Library& library,
                                             const LoadOptions& options) {
  return from_text(path, read_file(path), library, options);
}

std::string describe_type(const LoadedModule& module, const ast::Expr& expression) {
  const auto found = module.types.find(&expression);
  return found == module.types.end() ? std::string() : to_string(found->second);
}

bool Program::ok() const {
  return std::none_of(diagnostics_.begin(), diagnostics_.end(),
                      [](const Diagnostic& d) { return d.severity == Severity::error; });
}

/// Throws the errors for which `counts` holds.
template <class Counts>
static void require_none(const std::vector<Diagnostic>& diagnostics, Counts counts) {
  std::vector<Diagnostic> errors;
  for (const Diagnostic& d : diagnostics)
    if (d.severity == Severity::error && counts(d)) errors.push_back(d);
  if (!errors.empty()) throw ProgramError(std::move(errors));
}

void Program::require_ok() const {
  require_none(diagnostics_, [](const Diagnostic&) { return true; });
}

void Program::require_ok_outside_tests() const {
  require_none(diagnostics_, [&](const Diagnostic& d) { return test_around(d.span) == nullptr; });
}

void Program::require_ok(const ast::Function& test) const {
  require_none(diagnostics_, [&](const Diagnostic& d) { return test_around(d.span) == &test; });
}

/// The test block that a place lies in, or nullptr.
const ast::Function* Program::test_around(Span span) const {
  for (const LoadedModule* module : order_)
    for (const auto& test : module->ast->tests)
      if (span.source == test->span.source && test->span.begin <= span.begin && span.end <= test->span.end)
        return test.get();
  return nullptr;
}

const ast::Function* Program::find(std::string_view name) const {
  const auto found = root_->visible.find(name);
  return found == root_->visible.end() ? nullptr : found->second.function;
}

}  // namespace tl::lang
