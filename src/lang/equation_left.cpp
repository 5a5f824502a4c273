// The left side of an equation: which part of the target it names, and how the part is put there.
#include <algorithm>

#include <fmt/format.h>

#include "lang/equation_index.h"
#include "lang/known.h"

namespace tl::lang::equation {

// ------------------------------------------------------------------------------------------------- positions

void IndexTable::read_left_side() {
  for (const auto& item : equation_.lhs) {
    if (item.kind != ast::IndexItem::Kind::value)
      fail(item.span, "a slice cannot stand on the left side of an equation",
           "write an index name for a whole axis, or t + 1 for a part of it");
    left_.push_back(read_left_item(item));
  }
  // The names within combined positions come after all labels of the result.
  for (auto& axis : left_) {
    if (axis.kind != LeftAxis::Kind::combined) continue;
    std::vector<const ast::Name*> names;
    add_index_names(*axis.item->value, names);
    for (const auto* name : names) {
      if (const int label = find_label(name->text); result_.count(label) != 0)
        fail(name->span, fmt::format("the index `{}` stands twice on the left side", name->text));
      add_label(name->text);
    }
  }
}

void IndexTable::require_once(int label, Span span) const {
  if (label >= 0) fail(span, fmt::format("the index `{}` stands twice on the left side", name(label)));
}

LeftAxis IndexTable::read_left_item(const ast::IndexItem& item) {
  const auto* name = ast::if_is<ast::Name>(item.value.get());
  LeftAxis axis;
  if (name != nullptr && !item.value->grouped && is_index_name(*name, true)) {
    require_once(find_label(name->text), item.span);
    axis.label = add_label(name->text);
  } else {
    axis = read_left_position(item);
  }
  axis.item = &item;
  axis.last_only = item.last_only;
  if (axis.label >= 0) result_.insert(axis.label);
  if (item.normalised) {
    if (normalised_ >= 0) fail(item.span, "only one index can be marked with a dot");
    normalised_ = axis.label;
  }
  if (item.last_only && axis.kind != LeftAxis::Kind::whole && axis.kind != LeftAxis::Kind::shifted)
    fail(item.span, "`*` marks an index name that counts steps: *t or *t + 1");
  return axis;
}

/// No tensor has places beyond this, and sums of a few such numbers do not overflow.
constexpr int64_t kLastPlace = int64_t{1} << 40;

static void check_place(int64_t place, Span span) {
  if (place < -kLastPlace || place > kLastPlace)
    fail(span, fmt::format("the position {} lies beyond any tensor", place));
}

LeftAxis IndexTable::read_left_position(const ast::IndexItem& item) {
  if (!item.value->grouped && holds_call(*item.value))
    fail(item.span,
         "a position on the left side is an index name or an int, and this is what a function gives",
         fmt::format("give it a name first: let k = {}, then {}[(k)] = …", text_of(item.span),
                     equation_.target->text));
  std::vector<const ast::Name*> names;
  add_index_names(*item.value, names);
  LeftAxis axis;
  if (names.empty()) {
    const auto place = settled(*item.value);
    if (!place) fail(item.span, "a position on the left side is an index name or an int");
    if (place->offset < 0)
      fail(item.span, fmt::format("the position {} is negative", place->offset), "positions count from 0");
    check_place(place->offset, item.span);
    axis.kind = LeftAxis::Kind::fixed;
    axis.offset = place->offset;
    return axis;
  }
  const bool is_one =
      std::all_of(names.begin(), names.end(), [&](auto* n) { return n->text == names[0]->text; });
  if (is_one) {
    const bool is_new = find_label(names[0]->text) < 0;
    axis.label = add_label(names[0]->text);
    if (const auto place = settled(*item.value); place && place->shifted_label() == axis.label) {
      if (!is_new) require_once(axis.label, item.span);
      check_place(place->offset, item.span);
      axis.kind = LeftAxis::Kind::shifted;
      axis.offset = place->offset;
      return axis;
    }
    if (!is_new) require_once(axis.label, item.span);
    names_.pop_back(), sizes_.pop_back(), size_spans_.pop_back();
  }
  axis.kind = LeftAxis::Kind::combined;
  axis.label = static_cast<int>(names_.size());
  names_.emplace_back(text_of(item.span));
  sizes_.push_back(-1);
  size_spans_.push_back(item.span);
  return axis;
}

/// Where nothing else tells how far an index of the left side runs, the target does that is filled.
void IndexTable::sizes_from_target() {
  if (!context_.old || context_.old->shape().rank() != static_cast<int>(left_.size())) return;
  for (size_t a = 0; a < left_.size(); ++a) {
    const LeftAxis& axis = left_[a];
    const bool is_told =
        axis.kind == LeftAxis::Kind::whole || (axis.kind == LeftAxis::Kind::shifted && !equation_.may_grow);
    if (!is_told) continue;
    const int64_t rest = context_.old->shape()[static_cast<int>(a)] - axis.offset;
    if (sizes_[static_cast<size_t>(axis.label)] < 0 && rest >= 0) learn(axis.label, rest, axis.item->span);
  }
}

// -------------------------------------------------------------------------------------- combined positions

Affine IndexTable::substituted(const Affine& affine) const {
  Affine out{{}, affine.offset, affine.divisor};
  for (const auto& [label, c] : affine.coefficients) {
    const auto at = substitutions_.find(label);
    out.add(at == substitutions_.end() ? Affine{{{label, 1}}, 0, 1} : at->second, c);
  }
  return out;
}

/// Replaces a label in all accesses, and from now on wherever it is met.
void IndexTable::substitute(int label, Affine value) {
  substitutions_.emplace(label, std::move(value));
  for (auto& [index, access] : accesses_) {
    if (access.labels.count(label) == 0) continue;
    access.labels.clear();
    for (auto& axis : access.axes) {
      axis = substituted(axis);
      for (const auto& [l, c] : axis.coefficients) access.labels.insert(l);
    }
  }
}

/// A combined position p = f(x, …) is solved for one of its index names; the others are reduced.
void IndexTable::resolve_combined() {
  for (const auto& axis : left_) {
    if (axis.kind != LeftAxis::Kind::combined) continue;
    const auto position = settled(*axis.item->value);
    const auto refuse = [&] {
      fail(axis.item->span,
           "a position on the left side is an index name, a shifted one (t + 1), a divided one (x / 2) or a "
           "sum "
           "of them");
    };
    if (!position || position->offset < 0) refuse();
    for (const auto& [label, c] : position->coefficients) {
      if (c < 0) refuse();
      if (substitutions_.count(label) != 0 || reduced_.count(label) != 0)
        require_once(label, axis.item->span);
    }
    if (position->divisor > 1) {
      if (position->coefficients.size() != 1 || position->coefficients.begin()->second != 1 ||
          position->offset != 0)
        refuse();
      resolve_division(axis, *position);
    } else {
      resolve_sum(axis, *position);
    }
  }
}

/// x / d = p: x is d p + r with r in 0..d.
void IndexTable::resolve_division(const LeftAxis& axis, const Affine& position) {
  const int x = position.coefficients.begin()->first;
  const int64_t n = size(x, axis.item->span), d = position.divisor;
  const int rest = add_label(names_[static_cast<size_t>(x)] + " % " + std::to_string(d));
  sizes_[static_cast<size_t>(axis.label)] = (n + d - 1) / d;
  sizes_[static_cast<size_t>(rest)] = d;
  reduced_.insert(rest);
  substitute(x, {{{axis.label, d}, {rest, 1}}, 0, 1});
  if (n % d != 0) ranges_.push_back({{{axis.label, -d}, {rest, -1}}, n - 1, 1});
}

/// c i + j + offset = p: j is p - c i - offset, as far as that is one of its values.
void IndexTable::resolve_sum(const LeftAxis& axis, const Affine& position) {
  int solved = -1;
  double last = static_cast<double>(position.offset);
  for (const auto& [label, c] : position.coefficients) {
    if (c == 1) solved = label;
    check_place(c, axis.item->span);
    const int64_t n = size(label, axis.item->span);
    check_place(n, axis.item->span);
    last += static_cast<double>(c) * static_cast<double>(n - 1);
  }
  if (solved < 0)
    fail(axis.item->span, "a position on the left side that takes steps leaves places without a value",
         "write the equation for the other places too: y[2 * i + r] with another index r");
  if (last > static_cast<double>(kLastPlace)) check_place(INT64_MAX, axis.item->span);
  sizes_[static_cast<size_t>(axis.label)] = static_cast<int64_t>(last) + 1;
  Affine value{{{axis.label, 1}}, -position.offset, 1};
  for (const auto& [label, c] : position.coefficients) {
    if (label == solved) continue;
    value.coefficients[label] = -c;
    reduced_.insert(label);
  }
  Affine most{{}, size(solved, axis.item->span) - 1, 1};
  most.add(value, -1);
  ranges_.push_back(value);
  ranges_.push_back(std::move(most));
  substitute(solved, std::move(value));
}

// --------------------------------------------------------------------------------------------------- placing

namespace {

using graph::NodeRef;

NodeRef zeros_like(const NodeRef& x, int axis, int64_t n) {
  Shape shape = x->shape();
  shape[axis] = n;
  return graph::full(shape, 0, x->dtype());
}

/// One part of a tensor and where each of its axes begins.
struct Piece {
  NodeRef part;
  std::vector<int64_t> begin;
  std::vector<bool> is_partial;
  bool adds;

  /// `old` (null: nothing) with the part in it, from axis `a` on inwards.
  NodeRef into(const NodeRef& old, size_t a) const {
    const int axis = static_cast<int>(a);
    if (a == begin.size()) return adds && old ? graph::binary(Op::add, old, part) : part;
    if (!is_partial[a]) return into(old, a + 1);
    const int64_t first = begin[a], end = first + part->shape()[axis];
    if (!old) {
      const NodeRef inner = into(nullptr, a + 1);
      return first == 0 ? inner : graph::concat({zeros_like(inner, axis, first), inner}, axis);
    }
    const int64_t n = old->shape()[axis];
    const NodeRef whole = n < end ? graph::concat({old, zeros_like(old, axis, end - n)}, axis) : old;
    graph::NodeRefs pieces;
    if (first > 0) pieces.push_back(graph::slice(whole, axis, 0, first));
    pieces.push_back(into(graph::slice(whole, axis, first, end), a + 1));
    if (end < n) pieces.push_back(graph::slice(whole, axis, end, n));
    return pieces.size() == 1 ? pieces[0] : graph::concat(std::move(pieces), axis);
  }
};

void check_fits(const ast::Equation& equation, const IndexTable& table, const Shape& old,
                const Piece& piece) {
  const std::string& target = equation.target->text;
  if (old.rank() != static_cast<int>(piece.begin.size()))
    fail(equation.lhs_span,
         fmt::format("{} for `{}`, a tensor of shape {}", count_positions(piece.begin.size()), target,
                     to_string(old)),
         help_on_axes(target, equation.lhs, static_cast<size_t>(old.rank())));
  for (size_t a = 0; a < piece.begin.size(); ++a) {
    const LeftAxis& axis = table.left()[a];
    const int64_t n = old[static_cast<int>(a)], part = piece.part->shape()[static_cast<int>(a)];
    if (!piece.is_partial[a] && n != part)
      fail(axis.item->span, fmt::format("the index `{}` runs over {}, but axis {} of `{}` has {}",
                                        table.name(axis.label), part, a, target, n));
    if (piece.is_partial[a] && !equation.may_grow && piece.begin[a] + part > n)
      fail(axis.item->span,
           fmt::format("position {} lies outside axis {} of `{}`, which has {}", piece.begin[a] + part - 1, a,
                       target, n),
           "only a tensor that equations began to fill grows");
  }
}

}  // namespace

NodeRef place(const ast::Equation& equation, const IndexTable& table, const NodeRef& old, NodeRef part,
              bool adds) {
  const auto is_partial = [&](const LeftAxis& axis) { return axis.is_partial() && !table.is_step(axis); };
  const bool is_whole = std::none_of(table.left().begin(), table.left().end(), is_partial);
  if (is_whole && !adds) return part;
  Piece piece{std::move(part), {}, {}, adds};
  Shape shape;  // of the part, with its fixed places
  int next = 0;
  for (const LeftAxis& axis : table.left()) {
    shape.push_back(axis.kind == LeftAxis::Kind::fixed ? 1 : piece.part->shape()[next++]);
    piece.begin.push_back(is_partial(axis) ? axis.offset : 0);
    piece.is_partial.push_back(is_partial(axis));
  }
  if (piece.part->shape() != shape) piece.part = graph::reshape(piece.part, shape);
  for (size_t a = 0; a < piece.begin.size(); ++a) {  // what would lie before the first place is dropped
    if (piece.begin[a] >= 0) continue;
    piece.part = graph::slice(piece.part, static_cast<int>(a), -piece.begin[a], std::nullopt);
    piece.begin[a] = 0;
  }
  if (old) check_fits(equation, table, old->shape(), piece);
  return piece.into(old, 0);
}

}  // namespace tl::lang::equation
