// Where in the program a graph node comes from: "forward/layer[3]/attention".
#pragma once

#include <cstdint>
#include <memory>
#include <string>
#include <string_view>
#include <vector>

#include "base/source.h"

namespace tl::graph {

/// One step of a path: a function's name, or a loop variable's with its value. Immutable and shared.
struct ScopePath {
  std::shared_ptr<const ScopePath> parent;
  std::string name;
  int64_t index = -1;  ///< -1: not a loop
  Span call = {};      ///< where the function was called
};
using ScopeRef = std::shared_ptr<const ScopePath>;

/// "forward/layer[3]"; "" for no scope.
std::string to_string(const ScopeRef& scope);
/// How many calls an error names at most.
constexpr size_t kMostCallNotes = 6;
/// "in this call of attend" for each call on the path that has a place, innermost first.
std::vector<Diagnostic::Note> call_notes(const ScopeRef& scope);

/// Enters a function, called at `call`, or a loop iteration for the life of this object, on this thread.
/// Costs a few stores; the path is only built when a node is made inside. `name` must outlive the object.
class Scope {
 public:
  explicit Scope(std::string_view name, int64_t index = -1, Span call = {});
  ~Scope();
  Scope(const Scope&) = delete;
  Scope& operator=(const Scope&) = delete;

  /// For loops: the same scope with the next index.
  void set_index(int64_t index);
  /// The path of the innermost scope on this thread (null outside any).
  static ScopeRef current();

 private:
  ScopeRef path();
  std::string_view name_;
  int64_t index_;
  Span call_;
  Scope* outer_;
  ScopeRef path_;
};

/// Nodes that are made on this thread during the life of this object have `policy`: a number by which whoever
/// computes them knows on what device and how precisely. 0 outside any.
class PolicyScope {
 public:
  explicit PolicyScope(uint16_t policy);
  ~PolicyScope();
  PolicyScope(const PolicyScope&) = delete;
  PolicyScope& operator=(const PolicyScope&) = delete;
  /// The innermost scope's number.
  static uint16_t current();

 private:
  uint16_t outer_;
};

/// The expression being evaluated on this thread; new nodes remember it, so that a failing kernel can be
/// traced to it.
Span& current_span();

}  // namespace tl::graph
