#include "lang/equation_guards.h"

#include <fmt/format.h>

#include "lang/step_numbers.h"

namespace tl::lang::equation {

using ast::BinaryOp;
using graph::NodeRef;

Guards::Guards(const ast::Equation& equation, const IndexTable& table) : equation_(equation), table_(table) {
  if (equation_.where) read(*equation_.where);
  for (const Affine& range : table_.ranges()) add_affine(range);
  for (const auto& guard : guards_) labels_.insert(guard.labels.begin(), guard.labels.end());
}

void Guards::add_expression(const ast::Expr& condition) {
  guards_.push_back({std::nullopt, &condition, table_.labels_in(condition)});
}

void Guards::add_inequality(const ast::Expr& low, const ast::Expr& high, int64_t slack,
                            const ast::Expr& whole) {
  const auto a = table_.affine(low), b = table_.affine(high);
  if (!a || !b || a->divisor != 1 || b->divisor != 1) return add_expression(whole);
  Affine difference = *b;
  difference.add(*a, -1);
  difference.offset += slack;
  add_affine(std::move(difference));
}

void Guards::add_affine(Affine condition) {
  Labels labels;
  for (const auto& [label, c] : condition.coefficients) labels.insert(label);
  guards_.push_back({std::move(condition), nullptr, std::move(labels)});
}

void Guards::read(const ast::Expr& condition) {
  const auto* b = ast::if_is<ast::Binary>(&condition);
  if (b == nullptr) return add_expression(condition);
  switch (b->op) {
    case BinaryOp::logical_and:
      read(*b->left), read(*b->right);
      return;
    case BinaryOp::less_equal:
      return add_inequality(*b->left, *b->right, 0, condition);
    case BinaryOp::less:
      return add_inequality(*b->left, *b->right, -1, condition);
    case BinaryOp::greater_equal:
      return add_inequality(*b->right, *b->left, 0, condition);
    case BinaryOp::greater:
      return add_inequality(*b->right, *b->left, -1, condition);
    case BinaryOp::in: {  // the end is the extent; a start above 0 is a condition
      const auto* range = ast::if_is<ast::Range>(b->right.get());
      if (range == nullptr) fail(condition.span, "`in` needs a range: x in 0..n");
      const Value begin = table_.environment().evaluate(*range->begin);
      if (begin.is_int() && begin.integer() == 0) return;
      return add_inequality(*range->begin, *b->left, 0, condition);
    }
    default:
      add_expression(condition);
  }
}

NodeRef Guards::mask(const Labels& labels, Span span, const Lower& lower) const {
  NodeRef all;
  for (const auto& guard : guards_) {
    for (const int l : guard.labels)
      if (!labels.count(l))
        fail(this->span(),
             fmt::format("the guard restricts `{}`, which is not an index here", table_.name(l)));
    const NodeRef one = guard.affine ? affine_mask(guard, labels, span)
                                     : graph::cast(lower(*guard.expression, labels), DType::boolean);
    all = all ? graph::binary(Op::logical_and, all, one) : one;
  }
  return all;
}

NodeRef Guards::affine_mask(const Guard& guard, const Labels& labels, Span span) const {
  if (guard.labels.empty()) {  // a step decides it
    if (guard.affine->varies) StepNumbers::fix();
    return graph::cast(graph::scalar_int(guard.affine->offset >= 0), DType::boolean);
  }
  AffineMaskAttrs attrs;
  Params params;
  for (const int l : labels) {
    const auto at = guard.affine->coefficients.find(l);
    const bool takes_part = at != guard.affine->coefficients.end();
    attrs.coefficients.push_back(takes_part ? at->second : 0);
    params.ints.push_back(takes_part ? table_.size(l, span) : 1);
  }
  params.ints.push_back(guard.affine->offset);
  return graph::make(Op::affine_mask, {}, std::move(attrs), std::move(params));
}

}  // namespace tl::lang::equation
