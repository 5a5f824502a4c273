// What tools for people say about a program: what a name stands for, what is in scope, signatures.
#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "lang/ast.h"
#include "lang/program.h"

namespace tl::lang {

/// "fn f(x: float32[n, d], eps = 1e-5) -> float32[n]", as written but for line ends.
std::string signature_text(const ast::Function& function);

/// The comment lines right above a function, without their slashes.
std::string comment_above(const ast::Function& function);

/// Something with a name.
struct Definition {
  enum class Kind : uint8_t { function, native, global, parameter, variable, index };
  Kind kind = Kind::variable;
  std::string name;
  Span span;                        ///< of the name where it is defined; none for native functions
  Span scope;                       ///< where it can be used, from its definition on
  std::string type;                 ///< as declared, or as far as it can be told from its value; may be ""
  std::vector<std::string> fields;  ///< of a record that is written out
  const ast::Function* function = nullptr;
  const NativeFunction* native = nullptr;

  /// "let x: float32[2, 3]", "fn f(x)": one line that introduces it.
  std::string introduction() const;
  /// What it does, for functions; may be "".
  std::string documentation() const;
};

/// Names of one file, its trees walked once: works on files with mistakes too, as far as they were
/// understood.
class Analysis {
 public:
  /// Of the program's own file. The program must outlive this.
  explicit Analysis(const Program& program);

  struct Use {
    Span span;
    const Definition* definition = nullptr;
  };
  /// The name at a byte offset of the file, with what it stands for.
  std::optional<Use> at(uint32_t offset) const;
  /// All that can be named there: variables in scope, functions, globals, native functions.
  std::vector<const Definition*> visible_at(uint32_t offset) const;
  /// What a name stands for there, or nullptr.
  const Definition* find(std::string_view name, uint32_t offset) const;

 private:
  friend class AnalysisWalk;
  struct UseAt {
    Span span;
    size_t definition;
  };
  std::vector<Definition> definitions_;
  std::vector<UseAt> uses_;  ///< by place
};

}  // namespace tl::lang
