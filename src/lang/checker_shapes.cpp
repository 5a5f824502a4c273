// What is known of the results of operators, indexing and calls.
#include <algorithm>
#include <cmath>
#include <map>

#include <fmt/format.h>

#include "lang/checker_detail.h"
#include "lang/equations.h"
#include "lang/indexing.h"
#include "lang/interpreter_detail.h"

namespace tl::lang {

using namespace ast;

/// Tries an operation; reports its failure at `place` if it says no better one. `otherwise` is the kind of
/// the result where the trial does not tell.
Known Checker::trial(std::span<const Known> operands, const StandIns::Operation& operation,
                     bool refusal_is_proof, Span place, TypeKind otherwise) {
  Finding finding = stand_ins_.try_out(operands, operation, refusal_is_proof);
  if (finding.error) {
    if (!finding.error->span) finding.error->span = place;
    diagnostics_.push_back(std::move(*finding.error));
    return {};
  }
  return finding.result.kind == TypeKind::any ? Known{otherwise} : finding.result;
}

Known Checker::shape_of_unary(const Unary& e, const Known& operand) {
  const auto negate = [&](std::span<Value> v) { return apply_unary(e.op, v[0]); };
  if (operand.is_tensor()) return trial(std::span(&operand, 1), negate, true, e.span, TypeKind::tensor);
  const Finding finding = stand_ins_.try_out(std::span(&operand, 1), negate, false);
  return finding.result.kind == operand.kind ? finding.result : Known{operand.kind};
}

Known Checker::shape_of_binary(const Binary& e, const Known& a, const Known& b) {
  const Known operands[] = {a, b};
  const auto apply = [&](std::span<Value> v) {
    return apply_binary(e.op, v[0], v[1], stand_ins_.interpreter().limits());
  };
  if (a.is_tensor() || b.is_tensor()) return trial(operands, apply, true, e.span, TypeKind::tensor);
  // What goes wrong with ints is reported where it happens: a branch may guard it.
  const Finding finding = stand_ins_.try_out(operands, apply, false);
  return finding.result.kind == TypeKind::integer ? finding.result : Known{TypeKind::integer};
}

Known Checker::shape_of_index(const Index& e, const Known& base, const std::vector<Known>& keys) {
  if (base.kind == TypeKind::list && base.items && keys.size() == 1 &&
      keys[0].number.kind == Extent::Kind::constant) {
    const auto size = static_cast<int64_t>(base.items->size());
    const int64_t at = keys[0].number.size < 0 ? keys[0].number.size + size : keys[0].number.size;
    return at >= 0 && at < size ? (*base.items)[static_cast<size_t>(at)] : Known{};
  }
  if (!base.is_tensor()) return {};
  const auto n_positions =
      static_cast<size_t>(std::count_if(e.items.begin(), e.items.end(), [](const IndexItem& i) {
        return i.kind != IndexItem::Kind::ellipsis;
      }));
  if (base.shape && n_positions > base.shape->size()) {
    auto& d = report(e.span,
                     fmt::format("{} positions index a tensor of rank {}", n_positions, base.shape->size()));
    if (base.type) d.notes.push_back({base.type->span, "it is declared here"});
    return {};
  }
  // Which element is taken does not matter for the shape, so that an int that is not known may be any.
  std::vector<Known> operands{base};
  bool is_proof = true;
  for (Known key : keys) {
    if (key.kind == TypeKind::integer && !key.number.is_known()) {
      is_proof = false;
      key.number = Extent::constant(0);
    }
    operands.push_back(std::move(key));
  }
  const auto read = [&](std::span<Value> v) {
    std::vector<IndexPosition> positions;
    size_t next = 1;
    for (const IndexItem& item : e.items) {
      IndexPosition& p = positions.emplace_back();
      p.kind = item.kind;
      p.span = item.span;
      if (item.kind == IndexItem::Kind::value) p.key = v[next++];
      if (item.kind != IndexItem::Kind::slice) continue;
      for (std::optional<int64_t>* bound : {&p.begin, &p.end, &p.step}) {
        const Value& given = v[next++];
        if (given.is_int()) *bound = given.integer();
      }
    }
    return Value(index_tensor(v[0].tensor(), positions));
  };
  if (!is_proof) {
    // Slices with bounds that are not known have extents that are not known.
    const bool has_slice = std::any_of(e.items.begin(), e.items.end(), [](const IndexItem& i) {
      return i.kind == IndexItem::Kind::slice && (i.begin || i.end || i.step);
    });
    if (has_slice) return {TypeKind::tensor};
    const Finding finding = stand_ins_.try_out(operands, read, false);
    return finding.result.is_tensor() ? finding.result : Known{TypeKind::tensor};
  }
  return trial(operands, read, false, e.span, TypeKind::tensor);
}

namespace {

/// Whether an argument chooses axes rather than sizes.
bool names_axes(const NativeParameter& p) { return p.name.starts_with("axis") || p.name == "axes"; }

/// Whether a function builds tensors from its arguments and does nothing else.
bool only_builds(const NativeFunction& f) {
  const auto& parameters = f.parameters;
  const bool reads_files = std::any_of(parameters.begin(), parameters.end(),
                                       [](const NativeParameter& p) { return p.name == "path"; });
  if (reads_files || f.result.kind == TypeKind::nothing) return false;
  return f.result.kind == TypeKind::tensor ||
         (!parameters.empty() && parameters[0].type.kind == TypeKind::tensor) ||
         std::any_of(parameters.begin(), parameters.end(), names_axes);
}

/// Whether a trial might fill much memory: some functions make a table of the sizes they are given.
bool is_large(const std::vector<Known>& arguments) {
  constexpr double kMost = 1 << 18;
  double elements = 1;
  for (const Known& known : arguments)
    if (known.number.kind == Extent::Kind::constant)
      elements *= std::max(1.0, std::abs(static_cast<double>(known.number.size)));
  return elements > kMost;
}

bool holds_ints(const Known& known) {
  if (known.kind == TypeKind::integer) return true;
  return known.kind == TypeKind::list &&
         (!known.items || std::any_of(known.items->begin(), known.items->end(), holds_ints));
}

}  // namespace

Known Checker::shape_of_native(const Call& e, const NativeFunction& f, const std::vector<Known>& arguments) {
  if (!only_builds(f) || is_large(arguments)) return result_of(f);
  std::vector<Known> operands = arguments;
  bool is_proof = true;
  for (size_t i = 0; i < operands.size(); ++i) {
    const NativeParameter& p = f.parameters[std::min<size_t>(e.plan[i], f.parameters.size() - 1)];
    if (operands[i].kind == TypeKind::any &&
        (p.type.kind == TypeKind::integer || p.type.kind == TypeKind::floating))
      operands[i].kind = p.type.kind;
    is_proof = is_proof && (names_axes(p) || !holds_ints(operands[i]));
  }
  const auto call = [&](std::span<Value> given) {
    std::vector<Value> values;
    for (const NativeParameter& p : f.parameters)
      if (!p.is_variadic) values.push_back(p.default_value);
    for (size_t i = 0; i < given.size(); ++i) {
      if (e.plan[i] >= values.size()) values.resize(e.plan[i] + 1);
      values[e.plan[i]] = given[i];
    }
    Args args(f, values, &e);
    return f.call(stand_ins_.interpreter(), args);
  };
  return trial(operands, call, is_proof, e.span, f.result.kind);
}

namespace {

/// What an equation asks of the program around it, answered with stand-ins.
class KnownAnswers : public EquationEnvironment {
 public:
  KnownAnswers(const std::vector<const Expr*>& asked, std::span<Value> answers, const Limits& limits)
      : asked_(asked), answers_(answers), limits_(limits) {}

  Value evaluate(const Expr& e) override {
    const auto at = std::find(asked_.begin(), asked_.end(), &e);
    if (at != asked_.end()) return answers_[static_cast<size_t>(at - asked_.begin())];
    switch (e.kind) {
      case ExprKind::integer:
        return Value(ast::as<Integer>(e).value);
      case ExprKind::floating:
        return Value(ast::as<Floating>(e).value);
      case ExprKind::unary:
        return apply_unary(ast::as<Unary>(e).op, evaluate(*ast::as<Unary>(e).operand));
      case ExprKind::binary: {
        const auto& b = ast::as<Binary>(e);
        return apply_binary(b.op, evaluate(*b.left), evaluate(*b.right), limits_);
      }
      default:
        has_guessed_ = true;
        return Value(1.0);
    }
  }
  void compute_step(const graph::NodeRef&, Span) override { throw NotKnown(); }
  /// Whether something was taken for a number that may be anything: then a failure shows nothing.
  bool has_guessed() const { return has_guessed_; }

 private:
  bool has_guessed_ = false;
  const std::vector<const Expr*>& asked_;
  std::span<Value> answers_;
  const Limits& limits_;
};

}  // namespace

namespace {

/// The expressions directly in one that stands in an equation.
std::vector<const Expr*> parts_of(const Expr& e) {
  std::vector<const Expr*> parts;
  switch (e.kind) {
    case ExprKind::unary:
      return {ast::as<Unary>(e).operand.get()};
    case ExprKind::binary:
      return {ast::as<Binary>(e).left.get(), ast::as<Binary>(e).right.get()};
    case ExprKind::cast:
      return {ast::as<Cast>(e).operand.get()};
    case ExprKind::reduce:
      return {ast::as<Reduce>(e).body.get()};
    case ExprKind::range:
      return {ast::as<Range>(e).begin.get(), ast::as<Range>(e).end.get()};
    case ExprKind::call:
      for (const Argument& a : ast::as<Call>(e).arguments) parts.push_back(a.value.get());
      return parts;
    case ExprKind::index:
      parts.push_back(ast::as<Index>(e).base.get());
      for (const IndexItem& item : ast::as<Index>(e).items)
        if (item.value) parts.push_back(item.value.get());
      return parts;
    default:
      return parts;
  }
}

}  // namespace

/// The tensor that an equation defines as a whole. Its sizes are compared as lowering it does. `before` is
/// what the target was, which tells how far an index runs where nothing else does.
Known Checker::shape_of_equation(const Equation& e, const std::optional<Known>& before) {
  std::vector<const Expr*> asked;
  std::vector<Known> operands;
  bool is_proof = e.projection != Projection::sum;  // it may add to what is there
  const auto collect = [&](const auto& self, const Expr& part) -> void {
    if (const auto known = module_.types.find(&part); known != module_.types.end()) {
      asked.push_back(&part);
      operands.push_back(known->second);
      is_proof = is_proof && known->second.kind != TypeKind::integer;
      return;
    }
    for (const Expr* inner : parts_of(part)) self(self, *inner);
  };
  collect(collect, *e.rhs);
  if (e.where) collect(collect, *e.where);
  const bool has_old = before && before->is_tensor() && before->shape;
  const bool may_be_told = before && !has_old && !e.lhs.empty();
  if (has_old) operands.push_back(*before);
  const auto lower = [&](std::span<Value> answers) {
    KnownAnswers environment(asked, answers, stand_ins_.interpreter().limits());
    try {
      return Value(lower_equation(e, environment, has_old ? answers.back().tensor() : nullptr));
    } catch (const Error&) {
      if (environment.has_guessed() || may_be_told) throw NotKnown();
      throw;
    }
  };
  return trial(operands, lower, is_proof, e.span, TypeKind::tensor);
}

/// The result of a function of the program, with its symbolic dimensions as the arguments bind them.
Known Checker::shape_of_user(const Call& e, const Function& f, const std::vector<Known>& arguments) {
  struct Bound {
    Extent extent;
    Span span;
  };
  std::map<std::string, Bound> bound;
  for (size_t i = 0; i < arguments.size(); ++i) {
    const Type& type = f.parameters[e.plan[i]].type;
    const Known declared = known_of(type);
    if (!declared.shape || !arguments[i].shape) continue;
    for (size_t axis = 0; axis < declared.shape->size(); ++axis) {
      const Extent& dim = (*declared.shape)[axis];
      const Extent& given = (*arguments[i].shape)[axis];
      if (dim.kind != Extent::Kind::symbol || !given.is_known()) continue;
      const auto [known, is_new] = bound.try_emplace(dim.symbol, Bound{given, e.arguments[i].value->span});
      if (clash(known->second.extent, given)) {
        auto& d = report(e.arguments[i].value->span,
                         fmt::format("argument '{}' of {} must be {}, not {}: dimension '{}' is {}",
                                     f.parameters[e.plan[i]].name, f.name, type_text(type),
                                     describe(arguments[i]), dim.symbol, known->second.extent.size));
        d.notes.push_back(
            {known->second.span, fmt::format("'{}' became {} here", dim.symbol, known->second.extent.size)});
        d.notes.push_back({type.span, "it is declared here"});
        return {f.result.kind, &f.result};
      }
      if (given.kind == Extent::Kind::constant && known->second.extent.kind != Extent::Kind::constant)
        known->second = {given, e.arguments[i].value->span};
    }
  }
  Known result = known_of(f.result);
  if (!result.shape) return result;
  for (Extent& extent : *result.shape) {
    if (extent.kind != Extent::Kind::symbol) continue;
    const auto known = bound.find(extent.symbol);
    extent = known == bound.end() ? Extent{} : known->second.extent;
  }
  return result;
}

}  // namespace tl::lang
