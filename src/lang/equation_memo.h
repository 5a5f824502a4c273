// Equations that are met again: a layer's equations are lowered once and repeated for the other layers.
#pragma once

#include <memory>
#include <unordered_map>
#include <vector>

#include "lang/equations.h"

namespace tl::lang {

/// Lowers equations as lower_equation() does, and remembers for each the nodes it became. Where an equation
/// is met again with operands of the same types and with the same numbers, its nodes are made again without
/// reading the equation.
class EquationMemo {
 public:
  EquationMemo();
  ~EquationMemo();
  graph::NodeRef lower(const ast::Equation& equation, EquationEnvironment& environment,
                       const graph::NodeRef& old);

 private:
  struct Entry;
  std::unordered_map<const ast::Equation*, Entry> entries_;
};

}  // namespace tl::lang
