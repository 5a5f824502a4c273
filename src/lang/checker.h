// Decides what every name means, and reports what can be proved wrong without running.
#pragma once

#include <optional>
#include <string>
#include <vector>

#include "lang/native.h"
#include "lang/program.h"

namespace tl::lang {

/// Enters the functions and the visible names of imports of `module` into its symbol table, and gives its
/// globals their slots. Imports have been declared before. `before`, if any, is the text that this one goes
/// on from: its names are visible too, and its globals keep their slots. What statements at top level assign
/// to are globals.
void declare(LoadedModule& module, uint32_t& n_globals, std::vector<Diagnostic>& diagnostics,
             const LoadedModule* before = nullptr);

/// Resolves and checks all bodies of `module`. All modules have been declared.
void check(LoadedModule& module, const Library& library, std::vector<Diagnostic>& diagnostics);

/// Checks a function of a checked module anew, after a function that it calls was replaced.
void check_again(LoadedModule& module, ast::Function& function, const Library& library,
                 std::vector<Diagnostic>& diagnostics);

/// How messages call a kind: "an int".
std::string_view describe(ast::TypeKind kind);

/// The global that holds the program's arguments, `args`.
constexpr uint32_t kArgsSlot = 0;

/// Matches arguments to parameters. plan[i] is the parameter that argument i fills; those of a variadic
/// parameter get its position, its position + 1 …
struct ParameterName {
  std::string_view name, alias;
  bool is_required = true, is_variadic = false;
};
struct MatchFailure {
  Span span;  ///< of the argument, or empty: the whole call
  std::string message, help;
};
std::optional<MatchFailure> match_arguments(std::string_view function,
                                            const std::vector<ParameterName>& parameters,
                                            const std::vector<ast::Argument>& arguments,
                                            std::vector<uint32_t>& plan);
std::vector<ParameterName> parameter_names(const ast::Function& f);
std::vector<ParameterName> parameter_names(const NativeFunction& f);

}  // namespace tl::lang
