// The checker's shape rules are those of the running program: an operation is tried on stand-ins, tensors
// that have a type and no content, whose unknown extents are given numbers that can be recognised in the
// result.
#pragma once

#include <functional>
#include <memory>
#include <optional>
#include <span>

#include "lang/interpreter.h"
#include "lang/known.h"

namespace tl::lang {

/// What trying an operation showed.
struct Finding {
  Known result;                     ///< kind any where nothing is known
  std::optional<Diagnostic> error;  ///< it fails whatever the unknown extents are; the span may be empty
};

/// Computes with what is known of values.
class StandIns {
 public:
  explicit StandIns(const Library& library);
  ~StandIns();

  using Operation = std::function<Value(std::span<Value>)>;
  /// The outcome of `operation` on operands of which this much is known. With `refusal_is_proof` a failure
  /// counts as one where extents are open too: the operation asks of them only to be equal, to be 1, or to
  /// divide one another. Otherwise only failures of operands that are wholly known are errors.
  Finding try_out(std::span<const Known> operands, const Operation& operation, bool refusal_is_proof);

  /// For native functions. It computes nothing and has no effects: what needs content is not known.
  Interpreter& interpreter();

 private:
  class NoHost;
  const Library& library_;
  std::unique_ptr<NoHost> host_;
  std::unique_ptr<Interpreter> interpreter_;
};

/// Thrown where an operation asks for what is not known before running.
struct NotKnown : std::exception {
  const char* what() const noexcept override { return "not known before running"; }
};

}  // namespace tl::lang
