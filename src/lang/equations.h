// Tensor equations: from `out[i, h, d] = weights[h, i, j] * v[j, h / group, d]` to graph nodes.
//
// The summation rule is that of docs/language.md ("Where a sum happens"). Lowering walks the right side scope
// by scope: each addend becomes one canonical contraction (graph/builder.h) of its factors, elementwise
// functions are applied to what their arguments' addends gave, and `where` becomes an affine mask where it is
// affine in the index names, so that equal guards look equal to the planner however they are written. What
// the left side names only in part is put into the target (equation_left.cpp); a tensor that reads its own
// earlier steps is computed step by step (equation_recurrence.cpp).
#pragma once

#include <span>
#include <vector>

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
  /// Computes a step of a recurrence, before the next one is lowered.
  virtual void compute_step(const graph::NodeRef& node, Span span) = 0;
};

/// The node that an equation defines. `old` is the target's value before, which `+=` adds to and whose parts
/// stay that the left side does not name (null if it has none). Throws ProgramError pointing at the part that
/// is wrong.
graph::NodeRef lower_equation(const ast::Equation& equation, EquationEnvironment& environment,
                              const graph::NodeRef& old);

/// A tensor that declarations define from earlier steps of one another.
struct StepDefinition {
  const ast::Equation* equation;
  graph::NodeRef old;  ///< what equations without steps have given its target, or null
};

/// The targets of equations that hold for all steps together, one for each equation (the same node for
/// equations of one target).
std::vector<graph::NodeRef> lower_steps(std::span<const StepDefinition> definitions,
                                        EquationEnvironment& environment);

}  // namespace tl::lang
