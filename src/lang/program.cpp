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
  Loader(Program& program, const LoadOptions& options) : program_(program), options_(options) {}

  void run(const std::string& name, std::string text) {
    program_.root_ = load(name, std::move(text));
    uint32_t n_globals = kArgsSlot + 1;
    const bool is_readable = program_.diagnostics_.empty();
    for (LoadedModule* module : program_.order_) declare(*module, n_globals, program_.diagnostics_);
    program_.n_globals_ = n_globals;
    // After a syntax error half the names are missing: checking would only repeat that.
    if (is_readable)
      for (LoadedModule* module : program_.order_) check(*module, program_.library_, program_.diagnostics_);
  }

 private:
  static std::string identity(const std::string& path) {
    std::error_code ignored;
    const fs::path canonical = fs::weakly_canonical(path, ignored);
    return ignored ? path : canonical.string();
  }

  LoadedModule* load(const std::string& name, std::string text) {
    LoadedModule& module = program_.storage_.emplace_back();
    by_identity_[identity(name)] = &module;
    open_.push_back(&module);
    module.source = std::make_unique<Source>(name, std::move(text));
    ParseResult parsed = parse(*module.source, {options_.statements_at_top_level});
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
      const auto known = by_identity_.find(identity(path));
      if (known == by_identity_.end()) {
        try {
          return load(path, read_file(path));
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

  Program& program_;
  const LoadOptions& options_;
  std::map<std::string, LoadedModule*> by_identity_;
  std::vector<LoadedModule*> open_;  ///< being loaded, outermost first
};

std::shared_ptr<const Program> Program::from_text(const std::string& name, std::string text,
                                                  const Library& library, const LoadOptions& options) {
  const std::shared_ptr<Program> program(new Program(library));
  Loader(*program, options).run(name, std::move(text));
  return program;
}

std::shared_ptr<const Program> Program::load(const std::string& path, const Library& library,
                                             const LoadOptions& options) {
  return from_text(path, read_file(path), library, options);
}

bool Program::ok() const {
  return std::none_of(diagnostics_.begin(), diagnostics_.end(),
                      [](const Diagnostic& d) { return d.severity == Severity::error; });
}

void Program::require_ok() const {
  std::vector<Diagnostic> errors;
  for (const Diagnostic& d : diagnostics_)
    if (d.severity == Severity::error) errors.push_back(d);
  if (!errors.empty()) throw ProgramError(std::move(errors));
}

const ast::Function* Program::find(std::string_view name) const {
  const auto found = root_->visible.find(name);
  return found == root_->visible.end() ? nullptr : found->second.function;
}

}  // namespace tl::lang
