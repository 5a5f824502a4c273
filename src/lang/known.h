// What the checker knows about a value before the program runs: a small abstract type.
#pragma once

#include <memory>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "lang/ast.h"
#include "lang/value.h"

namespace tl::lang {

/// An extent of a tensor, or an int: a number, a symbolic dimension of the function around it, or unknown.
struct Extent {
  enum class Kind : uint8_t { unknown, constant, symbol };
  Kind kind = Kind::unknown;
  int64_t size = 0;         ///< of a constant
  std::string symbol = {};  ///< the name of a symbolic dimension

  static Extent constant(int64_t size) { return {Kind::constant, size}; }
  static Extent named(std::string symbol) { return {Kind::symbol, 0, std::move(symbol)}; }
  bool is_known() const { return kind != Kind::unknown; }
  bool operator==(const Extent&) const = default;
};

/// A value as far as it is known. What is not known is left out; a default Known may be anything.
struct Known {
  ast::TypeKind kind = ast::TypeKind::any;
  const ast::Type* type = nullptr;                       ///< the declaration that says so, for notes
  std::optional<DType> dtype = {};                       ///< of a tensor
  std::optional<std::vector<Extent>> shape = {};         ///< of a tensor whose rank is known
  Extent number = {};                                    ///< of an int
  Value literal = {};                                    ///< a bool, float or string that is known
  std::shared_ptr<const std::vector<Known>> items = {};  ///< of a list

  bool is_tensor() const { return kind == ast::TypeKind::tensor; }
};

/// What a declared type tells.
Known known_of(const ast::Type& type);
/// An int, as far as it is known.
Known int_of(Extent number);
/// What the signature of a function of the host tells of its result.
Known result_of(const NativeFunction& f);
/// What is left of both where a value is one or the other.
Known common(const Known& a, const Known& b);

/// As programs write it: "int", "float32[n, 3]", "list". "" where nothing is known.
std::string to_string(const Known& known);
/// As messages call it: "an int", "a tensor float32[n, 3]".
std::string describe(const Known& known);

/// What stands at a place of the program.
std::string_view text_of(Span span);
/// A declared type as it is written.
std::string type_text(const ast::Type& type);

/// Whether two extents cannot be the same: both are numbers, and differ.
bool clash(const Extent& a, const Extent& b);

}  // namespace tl::lang
