// Tensor equations: from `out[i, h, d] = weights[h, i, j] * v[j, h / group, d]` to graph nodes.
//
// The summation rule is that of docs/language.md ("Where a sum happens"). Lowering walks the right side scope
// by scope: each addend becomes one canonical contraction (graph/builder.h) of its factors, elementwise
// functions are applied to what their arguments' addends gave, and `where` becomes an affine mask where it is
// affine in the index names, so that equal guards look equal to the planner however they are written.
#pragma once

#include "graph/node.h"
#include "lang/ast.h"
#include "lang/value.h"

namespace tl::lang {

/// What an equation needs of the program around it.
class EquationEnvironment {
 public:
  virtual ~EquationEnvironment() = default;
  /// The value of an expression that contains no index name.
  virtual Value evaluate(const ast::Expr& expression) = 0;
};

/// The node that an equation defines. `old` is the target's value before, which `+=` adds to (null if it has
/// none). Throws ProgramError pointing at the part that is wrong.
graph::NodeRef lower_equation(const ast::Equation& equation, EquationEnvironment& environment,
                              const graph::NodeRef& old);

}  // namespace tl::lang
