// The conditions under which an equation holds: those of its `where`, and the ranges of combined positions on
// its left.
#pragma once

#include <functional>
#include <optional>
#include <vector>

#include "lang/equation_index.h"

namespace tl::lang::equation {

class Guards {
 public:
  /// Reads the equation's conditions. Fails where one is no condition.
  Guards(const ast::Equation& equation, const IndexTable& table);

  bool empty() const { return guards_.empty(); }
  /// The labels that the conditions restrict.
  const Labels& labels() const { return labels_; }
  /// Where they are written.
  Span span() const { return equation_.where ? equation_.where->span : equation_.lhs_span; }

  /// Makes the bool tensor over labels that a condition gives which is not affine in them.
  using Lower = std::function<graph::NodeRef(const ast::Expr& condition, const Labels& labels)>;

  /// All conditions as one bool tensor over `labels` (extent 1 where no condition depends on one). Fails
  /// where they restrict another label.
  graph::NodeRef mask(const Labels& labels, Span span, const Lower& lower) const;

 private:
  /// An affine inequality, or any expression that gives bools.
  struct Guard {
    std::optional<Affine> affine;  ///< holds where it is >= 0
    const ast::Expr* expression = nullptr;
    Labels labels;
  };

  void read(const ast::Expr& condition);
  void add_inequality(const ast::Expr& low, const ast::Expr& high, int64_t slack, const ast::Expr& whole);
  void add_affine(Affine condition);
  void add_expression(const ast::Expr& condition);
  graph::NodeRef affine_mask(const Guard& guard, const Labels& labels, Span span) const;

  const ast::Equation& equation_;
  const IndexTable& table_;
  std::vector<Guard> guards_;
  Labels labels_;
};

}  // namespace tl::lang::equation
