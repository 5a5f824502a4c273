#include "lang/equation_index.h"

#include <algorithm>

#include <fmt/format.h>

#include "lang/known.h"

namespace tl::lang::equation {

using ast::BinaryOp;
using ast::ExprKind;

void fail(Span span, std::string message, std::string help, std::vector<Diagnostic::Note> notes) {
  throw ProgramError(
      {Diagnostic{Severity::error, span, std::move(message), std::move(notes), std::move(help)}});
}

namespace {

/// Calls visit on the direct sub-expressions of an expression that may hold index names.
template <class Visit>
void for_each_part(const ast::Expr& e, Visit visit) {
  switch (e.kind) {
    case ExprKind::unary:
      visit(*as<ast::Unary>(e).operand);
      break;
    case ExprKind::binary:
      visit(*as<ast::Binary>(e).left), visit(*as<ast::Binary>(e).right);
      break;
    case ExprKind::cast:
      visit(*as<ast::Cast>(e).operand);
      break;
    case ExprKind::reduce:
      visit(*as<ast::Reduce>(e).body);
      break;
    case ExprKind::range:
      visit(*as<ast::Range>(e).begin), visit(*as<ast::Range>(e).end);
      break;
    case ExprKind::call:
      for (const auto& argument : as<ast::Call>(e).arguments) visit(*argument.value);
      break;
    default:
      break;
  }
}

}  // namespace

std::string count_positions(size_t n) { return fmt::format("{} index position{}", n, n == 1 ? "" : "s"); }

std::string help_on_axes(std::string_view target, const std::vector<ast::IndexItem>& items, size_t rank) {
  constexpr std::string_view kRule = "an equation names every axis";
  if (items.size() >= rank) return std::string(kRule);
  std::vector<std::string> positions;
  for (const auto& item : items) {
    const auto* product = ast::if_is<ast::Binary>(item.value.get());
    if (product != nullptr && product->juxtaposed) {  // [i j]
      positions.emplace_back(text_of(product->left->span));
      positions.emplace_back(text_of(product->right->span));
    } else {
      positions.emplace_back(text_of(item.span));
    }
  }
  const bool lacks_comma = positions.size() > items.size();
  for (char letter = 'i'; positions.size() < rank && letter <= 'z'; ++letter) {
    const bool is_free = std::none_of(positions.begin(), positions.end(), [&](const std::string& position) {
      return position.find(letter) != std::string::npos;
    });
    if (is_free && letter - 'i' >= static_cast<int>(positions.size())) positions.emplace_back(1, letter);
  }
  return fmt::format("{}: {}[{}]", lacks_comma ? "a comma is missing" : kRule, target,
                     fmt::join(positions, ", "));
}

void Affine::add(const Affine& other, int64_t times) {
  for (const auto& [label, c] : other.coefficients) coefficients[label] += times * c;
  std::erase_if(coefficients, [](const auto& term) { return term.second == 0; });
  offset += times * other.offset;
  varies = varies || other.varies;
}

IndexTable::IndexTable(const ast::Equation& equation, EquationEnvironment& environment, IndexContext context)
    : equation_(equation), environment_(environment), context_(std::move(context)) {
  read_left_side();
  collect(*equation.rhs);
  if (equation.where) collect_guard(*equation.where);
  infer_sizes();
  sizes_from_target();
  if (!context_.steps || context_.step) resolve_combined();
  if (context_.step) {
    const int label = find_label(context_.step->label);
    sizes_[static_cast<size_t>(label)] = 1;
    substitute(label, {{}, context_.step->value, 1});
  }
}

int IndexTable::find_label(const std::string& name) const {
  const auto at = std::find(names_.begin(), names_.end(), name);
  return at == names_.end() ? -1 : static_cast<int>(at - names_.begin());
}

int IndexTable::add_label(const std::string& name) {
  if (const int label = find_label(name); label >= 0) return label;
  names_.push_back(name);
  sizes_.push_back(-1);
  size_spans_.emplace_back();
  return static_cast<int>(names_.size()) - 1;
}

/// `bare`: the whole position is this name, so an int in scope would be captured silently, which is refused.
bool IndexTable::is_index_name(const ast::Name& name, bool bare) const {
  if (name.binding == ast::Binding::index) return true;
  if (name.binding != ast::Binding::local && name.binding != ast::Binding::global) return bare;
  const Value value = environment_.evaluate(name);
  if (value.is_int() && bare)
    fail(name.span,
         fmt::format("index names must be free, and `{}` is an int in scope (its value is {})", name.text,
                     value.integer()),
         fmt::format("write ({}) to mean its value, or choose another index name", name.text));
  return !value.is_int();
}

/// The label of a name outside brackets that is an index, or -1.
int IndexTable::label_of(const ast::Name& name) const {
  const int label = find_label(name.text);
  if (label < 0 || name.binding == ast::Binding::index) return label;
  return -1;  // outside brackets a variable is a variable
}

Affine IndexTable::value_of(const ast::Name& name) const {
  return substituted({{{label_of(name), 1}}, 0, 1});
}

void IndexTable::collect(const ast::Expr& e) {
  if (const auto* index = ast::if_is<ast::Index>(&e)) return collect_access(*index);
  if (const auto* reduce = ast::if_is<ast::Reduce>(&e))
    for (const auto& name : reduce->indices) add_label(name->text);
  for_each_part(e, [this](const ast::Expr& part) { collect(part); });
}

void IndexTable::collect_access(const ast::Index& index) {
  const auto* target = ast::if_is<ast::Name>(index.base.get());
  if (target != nullptr && context_.steps != nullptr && context_.steps->contains(*target))
    return collect_step_access(index);
  Value base = environment_.evaluate(*index.base);
  if (base.is(ValueKind::list)) {
    bool numbers = true;
    for (const auto& item : base.list()) numbers = numbers && (item.is_number() || item.is(ValueKind::list));
    if (numbers && !base.list().empty()) base = Value(to_tensor(base));
  }
  if (!base.is_tensor()) {
    if (!base.is(ValueKind::list) && !base.is(ValueKind::object) && !base.is(ValueKind::record))
      fail(index.base->span, fmt::format("{} cannot be indexed", base.describe()));
    return;  // an element of a list or object, read as an ordinary expression
  }
  const int rank = base.tensor()->shape().rank();
  if (static_cast<int>(index.items.size()) != rank)
    fail(index.span,
         fmt::format("{} for a tensor of shape {}", count_positions(index.items.size()),
                     to_string(base.tensor()->shape())),
         help_on_axes(text_of(index.base->span), index.items, static_cast<size_t>(rank)));
  Access access{base.tensor(), positions(index, false), {}, &index};
  settle_places(access);
  for (const auto& axis : access.axes)
    for (const auto& [label, c] : axis.coefficients) access.labels.insert(label);
  accesses_.emplace(&index, std::move(access));
  order_.push_back(&index);
}

/// A tensor that is being filled: which part of it is meant depends on the step.
void IndexTable::collect_step_access(const ast::Index& index) {
  Access access{nullptr, positions(index, true), {}, &index};
  context_.steps->resolve(ast::as<ast::Name>(*index.base), access);
  for (const auto& axis : access.axes)
    for (const auto& [label, c] : axis.coefficients) access.labels.insert(label);
  if (access.tensor) {
    settle_places(access);
    order_.push_back(&index);
  }
  accesses_.emplace(&index, std::move(access));
  step_accesses_.push_back(&index);
}

std::vector<Affine> IndexTable::positions(const ast::Index& index, bool is_step_access) {
  std::vector<Affine> axes;
  for (const auto& item : index.items) {
    if (item.kind != ast::IndexItem::Kind::value)
      fail(item.span, "a slice cannot stand in an equation", "take the slice before: let part = x[a:b]");
    if (item.normalised || (item.last_only && !is_step_access))
      fail(item.span, "this mark belongs to the left side");
    const auto* picked = ast::if_is<ast::Index>(item.value.get());
    if (picked != nullptr && !item.value->grouped) refuse_picked(index, *picked, axes.size());
    axes.push_back(position(*item.value));
  }
  return axes;
}

/// p[n, label[n]]: a tensor of positions.
void IndexTable::refuse_picked(const ast::Index& index, const ast::Index& picked, size_t axis) const {
  std::vector<const ast::Name*> names;
  for (const auto& item : picked.items)
    if (item.value) add_index_names(*item.value, names);
  if (!names.empty())
    fail(picked.span, "an index position is no element of a tensor",
         fmt::format("pick with gather: let g = gather({}, {}, index), where index has a position for each "
                     "element of g, as unsqueeze({}, {})",
                     text_of(index.base->span), axis, text_of(picked.base->span), axis));
}

/// A position without an index name means what it means outside of equations: it counts from the end where it
/// is negative, and lies inside the tensor. (What an index name reads outside is 0.)
void IndexTable::settle_places(Access& access) const {
  const Shape& shape = access.tensor->shape();
  for (size_t a = 0; a < access.axes.size(); ++a) {
    Affine& place = access.axes[a];
    const ast::IndexItem& item = access.index->items[a];
    if (!place.coefficients.empty()) continue;
    const int64_t n = shape[static_cast<int>(a)], given = place.offset;
    if (given < -n || given >= n)
      fail(item.span,
           fmt::format("index {} is out of range for axis {} of shape {}", given, a, to_string(shape)));
    if (given < 0) place.offset += n;
  }
}

/// The index names in a position, as often as they stand there.
void IndexTable::add_index_names(const ast::Expr& e, std::vector<const ast::Name*>& out) const {
  if (e.grouped) return;
  if (const auto* name = ast::if_is<ast::Name>(&e); name != nullptr && is_index_name(*name, false))
    out.push_back(name);
  for_each_part(e, [&](const ast::Expr& part) { add_index_names(part, out); });
}

bool holds_call(const ast::Expr& e) {
  bool found = e.kind == ExprKind::call;
  for_each_part(e, [&](const ast::Expr& part) { found = found || holds_call(part); });
  return found;
}

/// An index position. Registers the index names it meets.
Affine IndexTable::position(const ast::Expr& e) {
  if (const auto* name = ast::if_is<ast::Name>(&e);
      name != nullptr && !e.grouped && is_index_name(*name, true))
    return {{{add_label(name->text), 1}}, 0, 1};
  std::vector<const ast::Name*> names;
  add_index_names(e, names);
  for (const auto* name : names) add_label(name->text);
  if (const auto found = settled(e)) return *found;
  fail(e.span, "an index position holds index names, ints, +, -, * by an int and / by an int");
}

std::optional<Affine> IndexTable::affine(const ast::Expr& e) const {
  const auto found = written(e);
  return found ? std::optional(substituted(*found)) : std::nullopt;
}

/// An affine expression in the index names as they are written.
std::optional<Affine> IndexTable::written(const ast::Expr& e) const {
  const auto* name = ast::if_is<ast::Name>(&e);
  if (name != nullptr && !(e.grouped && name->binding != ast::Binding::index)) {
    const int label = find_label(name->text);
    if (label >= 0 && (name->binding == ast::Binding::index || !environment_.evaluate(e).is_int()))
      return Affine{{{label, 1}}, 0, 1};
  }
  if (!mentions_index(e)) {
    if (!labels_in(e).empty()) return std::nullopt;
    const Value value = environment_.evaluate(e);
    if (!value.is_int()) return std::nullopt;
    return Affine{{}, value.position(), 1, value.varies()};
  }
  if (const auto* minus = ast::if_is<ast::Unary>(&e); minus != nullptr && minus->op == ast::UnaryOp::negate) {
    auto inner = written(*minus->operand);
    if (!inner || inner->divisor != 1) return std::nullopt;
    for (auto& [label, c] : inner->coefficients) c = -c;
    inner->offset = -inner->offset;
    return inner;
  }
  const auto* binary = ast::if_is<ast::Binary>(&e);
  return binary == nullptr ? std::nullopt : combine(*binary);
}

/// The same, for one who decides by it.
std::optional<Affine> IndexTable::settled(const ast::Expr& e) const {
  auto found = written(e);
  if (found && found->varies) StepNumbers::fix();
  return found;
}

std::optional<Affine> IndexTable::combine(const ast::Binary& e) const {
  const bool is_sum = e.op == BinaryOp::add || e.op == BinaryOp::subtract;
  auto a = is_sum ? written(*e.left) : settled(*e.left), b = is_sum ? written(*e.right) : settled(*e.right);
  if (!a || !b) return std::nullopt;
  const auto constant = [](const Affine& x) { return x.coefficients.empty() && x.divisor == 1; };
  switch (e.op) {
    case BinaryOp::add:
    case BinaryOp::subtract: {
      if (a->divisor != 1 || b->divisor != 1) return std::nullopt;
      a->add(*b, e.op == BinaryOp::add ? 1 : -1);
      return a;
    }
    case BinaryOp::multiply: {
      if (constant(*a)) std::swap(a, b);
      if (!constant(*b) || a->divisor != 1) return std::nullopt;
      for (auto& [label, c] : a->coefficients) c *= b->offset;
      std::erase_if(a->coefficients, [](const auto& term) { return term.second == 0; });
      a->offset *= b->offset;
      return a;
    }
    case BinaryOp::divide:
      if (!constant(*b)) return std::nullopt;
      if (b->offset < 1)
        fail(e.span, fmt::format("an index is divided by {}; it must be at least 1", b->offset));
      a->divisor *= b->offset;
      return a;
    default:
      return std::nullopt;
  }
}

const Access* IndexTable::access(const ast::Index& index) const {
  const auto at = accesses_.find(&index);
  return at == accesses_.end() ? nullptr : &at->second;
}

Labels IndexTable::labels_in(const ast::Expr& e) const {
  if (const auto* index = ast::if_is<ast::Index>(&e)) {
    const Access* found = access(*index);
    return found != nullptr ? found->labels : Labels{};
  }
  if (const auto* name = ast::if_is<ast::Name>(&e)) {
    Labels labels;
    if (label_of(*name) >= 0)
      for (const auto& [label, c] : value_of(*name).coefficients) labels.insert(label);
    return labels;
  }
  Labels labels;
  for_each_part(e, [&](const ast::Expr& part) { labels.merge(labels_in(part)); });
  if (const auto* reduce = ast::if_is<ast::Reduce>(&e))
    for (const auto& name : reduce->indices) labels.erase(find_label(name->text));
  return labels;
}

bool IndexTable::holds_access(const ast::Expr& e) const {
  if (const auto* index = ast::if_is<ast::Index>(&e)) return access(*index) != nullptr;
  bool found = e.kind == ExprKind::reduce;
  for_each_part(e, [&](const ast::Expr& part) { found = found || holds_access(part); });
  return found;
}

bool IndexTable::mentions_index(const ast::Expr& e) const {
  if (const auto* name = ast::if_is<ast::Name>(&e)) return label_of(*name) >= 0;
  bool found = false;
  for_each_part(e, [&](const ast::Expr& part) { found = found || mentions_index(part); });
  return found;
}

void IndexTable::learn(int label, int64_t size, Span span) {
  const auto l = static_cast<size_t>(label);
  if (sizes_[l] < 0) {
    sizes_[l] = size;
    size_spans_[l] = span;
  } else if (sizes_[l] != size) {
    fail(span, fmt::format("the index `{}` runs over {} here", names_[l], size), {},
         {{size_spans_[l], fmt::format("and over {} here", sizes_[l])}});
  }
}

/// `x in a..b` in the guard tells how far x runs; tensors in it are accesses like any.
void IndexTable::collect_guard(const ast::Expr& e) {
  const auto* binary = ast::if_is<ast::Binary>(&e);
  if (binary != nullptr && binary->op == BinaryOp::logical_and) {
    collect_guard(*binary->left);
    collect_guard(*binary->right);
    return;
  }
  const auto* name =
      binary != nullptr && binary->op == BinaryOp::in ? ast::if_is<ast::Name>(binary->left.get()) : nullptr;
  const auto* range = name != nullptr ? ast::if_is<ast::Range>(binary->right.get()) : nullptr;
  if (range == nullptr) return collect(e);
  const Value end = environment_.evaluate(*range->end);
  if (!end.is_int())
    fail(range->end->span, fmt::format("the end of a range must be an int, not {}", end.describe()));
  learn(add_label(name->text), end.integer(), range->span);
}

void IndexTable::size_from_arithmetic(const Access& access, size_t axis) {
  const Affine& affine = access.axes[axis];
  const int64_t extent = access.tensor->shape()[static_cast<int>(axis)] * affine.divisor;
  for (const auto& [label, c] : affine.coefficients) {
    if (sizes_[static_cast<size_t>(label)] >= 0) continue;
    const int64_t step = c < 0 ? -c : c;
    learn(label, (extent + step - 1) / step, access.index->span);
  }
}

void IndexTable::infer_sizes() {
  for (const auto* index : order_) {
    const Access& access = accesses_.at(index);
    for (size_t a = 0; a < access.axes.size(); ++a) {
      const Affine& affine = access.axes[a];
      const bool alone =
          affine.coefficients.size() == 1 && affine.coefficients.begin()->second == 1 && affine.offset == 0;
      if (alone && affine.divisor == 1)
        learn(affine.coefficients.begin()->first, access.tensor->shape()[static_cast<int>(a)],
              index->items[a].span);
    }
  }
  for (const auto* index : order_)
    for (size_t a = 0; a < accesses_.at(index).axes.size(); ++a) size_from_arithmetic(accesses_.at(index), a);
}

int64_t IndexTable::size(int label, Span span) const {
  const int64_t n = sizes_[static_cast<size_t>(label)];
  if (n < 0)
    fail(span, fmt::format("nothing tells how far the index `{0}` runs", name(label)),
         fmt::format("add `where {0} in 0..n`", name(label)));
  return n;
}

}  // namespace tl::lang::equation
