// Tensors that are computed step by step, each step from earlier ones: X[i, t + 1] = sig(W[i, j] X[j, t]).
//
// The steps of one index are taken in order. Each lowers the equations with that index at one value, so all
// steps have the same structure and share a plan; their results are joined at the end.
#include <algorithm>
#include <memory>

#include <fmt/format.h>

#include "lang/equation_index.h"

namespace tl::lang {

namespace equation {

namespace {

using graph::NodeRef;

constexpr size_t kJoined = 64;  // inputs of one concat

/// Joins any number of parts.
NodeRef join(graph::NodeRefs parts, int axis) {
  while (parts.size() > 1) {
    graph::NodeRefs joined;
    for (size_t i = 0; i < parts.size(); i += kJoined) {
      const auto first = parts.begin() + static_cast<std::ptrdiff_t>(i);
      const auto last = parts.begin() + static_cast<std::ptrdiff_t>(std::min(parts.size(), i + kJoined));
      joined.push_back(last - first == 1 ? *first : graph::concat({first, last}, axis));
    }
    parts = std::move(joined);
  }
  return parts[0];
}

bool same_variable(const ast::Name& a, const ast::Name& b) {
  return a.binding == b.binding && a.slot == b.slot;
}

/// A tensor that is being filled, step by step along one of its axes.
struct Target {
  const ast::Name* name = nullptr;
  NodeRef old;  ///< what was there before the first step, or null
  int axis = -1;
  int64_t offset = 0;  ///< step t computes position t + offset
  bool last_only = false;
  std::map<int64_t, NodeRef> computed = {};  ///< by position; each has extent 1 along the axis

  int64_t old_extent() const { return old ? old->shape()[axis] : 0; }

  /// What stands at a position now, or null.
  NodeRef at(int64_t position) const {
    if (const auto found = computed.find(position); found != computed.end()) return found->second;
    if (position < 0 || position >= old_extent()) return nullptr;
    return graph::slice(old, axis, position, position + 1);
  }

  NodeRef whole() const {
    if (computed.empty()) return old;
    const int64_t first = computed.begin()->first, end = computed.rbegin()->first + 1;
    graph::NodeRefs parts;
    if (first > 0 && old) parts.push_back(graph::slice(old, axis, 0, std::min(first, old_extent())));
    if (first > old_extent()) {
      Shape shape = computed.begin()->second->shape();
      shape[axis] = first - old_extent();
      parts.push_back(graph::full(shape, 0));
    }
    for (const auto& [position, part] : computed) parts.push_back(part);
    if (end < old_extent()) parts.push_back(graph::slice(old, axis, end, std::nullopt));
    return join(std::move(parts), axis);
  }
};

/// One of the equations.
struct Member {
  const ast::Equation* equation;
  std::unique_ptr<IndexTable> survey;  ///< what is known before the first step
  size_t target;
  std::string label;  ///< the name of the index that counts the steps
};

class Recurrence final : public StepTensors {
 public:
  Recurrence(std::span<const StepDefinition> definitions, EquationEnvironment& environment)
      : environment_(environment) {
    for (const auto& definition : definitions) {
      size_t t = 0;
      while (t < targets_.size() && !same_variable(*targets_[t].name, *definition.equation->target)) ++t;
      if (t == targets_.size()) targets_.push_back({definition.equation->target.get(), definition.old});
      members_.push_back({definition.equation, nullptr, t, {}});
    }
    for (auto& member : members_)
      member.survey = std::make_unique<IndexTable>(
          *member.equation, environment_, IndexContext{targets_[member.target].old, this, std::nullopt});
  }

  /// Whether there is a step to count, in an equation that stands inside a function.
  bool has_steps() const {
    const IndexTable& table = *members_[0].survey;
    const bool is_declaration = members_[0].equation->is_declaration;
    bool counts = is_declaration, last_only = false;
    for (const LeftAxis& axis : table.left()) {
      counts = counts || axis.kind == LeftAxis::Kind::shifted;
      last_only = last_only || axis.last_only;
    }
    return last_only || (counts && !table.step_accesses().empty());
  }

  std::vector<NodeRef> run() {
    choose_index();
    for (auto& target : targets_) prepare(target);
    const int64_t n = count_steps();
    const bool only_last = is_alone() && members_[0].survey->step_accesses().empty();
    for (int64_t k = only_last ? std::max<int64_t>(0, n - 1) : 0; k < n; ++k) {
      now_ = forward_ ? k : n - 1 - k;
      for (const size_t m : order_) take_step(members_[m]);
    }
    std::vector<NodeRef> results(targets_.size()), out;
    for (size_t t = 0; t < targets_.size(); ++t) results[t] = result(targets_[t]);
    for (const auto& member : members_) out.push_back(results[member.target]);
    return out;
  }

  bool contains(const ast::Name& name) const override { return find(name) < targets_.size(); }

  void resolve(const ast::Name& name, Access& access) override {
    if (!now_) return;
    const Target& target = targets_[find(name)];
    Affine& place = access.axes[static_cast<size_t>(target.axis)];
    const int64_t position = place.offset + (place.coefficients.empty() ? 0 : *now_);
    place = {};
    access.tensor = target.at(position);
    if (access.tensor && access.tensor->shape().rank() != static_cast<int>(access.axes.size()))
      refuse_positions(access, access.tensor->shape());
  }

 private:
  bool is_alone() const { return members_.size() == 1; }

  size_t find(const ast::Name& name) const {
    const auto found = std::find_if(targets_.begin(), targets_.end(),
                                    [&](const Target& t) { return same_variable(*t.name, name); });
    return static_cast<size_t>(found - targets_.begin());
  }

  [[noreturn]] static void refuse_positions(const Access& access, const Shape& shape) {
    fail(access.index->span,
         fmt::format("{} for a tensor of shape {}", count_positions(access.axes.size()), to_string(shape)),
         "an equation names every axis");
  }

  // --------------------------------------------------------------------------------------- the counting
  // index

  void choose_index() {
    for (const LeftAxis& axis : members_[0].survey->left()) {
      if (axis.label < 0 || axis.kind == LeftAxis::Kind::combined) continue;
      if (counts_steps(members_[0].survey->name(axis.label))) return;
    }
    if (is_alone()) refuse_read();
    std::string names;
    for (const Target& t : targets_) names += fmt::format("{}`{}`", names.empty() ? "" : ", ", t.name->text);
    fail(members_[0].equation->lhs_span,
         fmt::format("{} are defined by one another, and no index counts the steps", names),
         "on all left sides one index name stands for the step, and each reads earlier steps only");
  }

  [[noreturn]] void refuse_read() const {
    const Member& member = members_[0];
    const std::string& target = member.equation->target->text;
    const auto& reads = member.survey->step_accesses();
    fail(reads.empty() ? member.equation->lhs_span : reads[0]->span,
         fmt::format("`{}` is read at a step that is not known before the one that it defines", target),
         "each step may read earlier ones, as X[t + 1] = f(X[t]); other orders are written as a loop that "
         "fills "
         "X[(t), …]");
  }

  /// Whether the index of this name can count the steps of all equations; if so it does.
  bool counts_steps(const std::string& name) {
    for (Target& target : targets_) target.axis = -1;
    for (Member& member : members_)
      if (!set_axis(member, name)) return false;
    std::vector<std::vector<size_t>> before(members_.size());  // what each member reads of the same step
    bool reads_earlier = false, reads_later = false;
    for (size_t m = 0; m < members_.size(); ++m) {
      for (const auto* index : members_[m].survey->step_accesses()) {
        const auto lag = lag_of(*members_[m].survey, *index, name);
        if (!lag) return false;
        if (!lag->has_value()) continue;
        if (**lag < 0) reads_earlier = true;
        if (**lag > 0) reads_later = true;
        if (**lag == 0)
          for (size_t other = 0; other < members_.size(); ++other)
            if (members_[other].target == find(as_name(*index))) before[m].push_back(other);
      }
    }
    if (reads_earlier && reads_later) return false;
    forward_ = !reads_later;
    return sort(before);
  }

  static const ast::Name& as_name(const ast::Index& index) { return ast::as<ast::Name>(*index.base); }

  bool set_axis(Member& member, const std::string& name) {
    Target& target = targets_[member.target];
    const auto& left = member.survey->left();
    for (size_t a = 0; a < left.size(); ++a) {
      const LeftAxis& axis = left[a];
      if (axis.label < 0 || member.survey->name(axis.label) != name || axis.kind == LeftAxis::Kind::combined)
        continue;
      const bool counts = member.equation->is_declaration || axis.kind == LeftAxis::Kind::shifted;
      if (!counts && !axis.last_only) return false;
      const bool is_first = target.axis < 0;
      if (!is_first && (target.axis != static_cast<int>(a) || target.offset != axis.offset)) return false;
      target.axis = static_cast<int>(a);
      target.offset = axis.offset;
      target.last_only = axis.last_only;
      member.label = name;
      return true;
    }
    return false;
  }

  /// How many steps later than the one computed an access reads; an inner nothing for a fixed position.
  /// Nothing if it reads the steps otherwise.
  std::optional<std::optional<int64_t>> lag_of(const IndexTable& table, const ast::Index& index,
                                               const std::string& name) const {
    const Target& target = targets_[find(as_name(index))];
    const auto& axes = table.access(index)->axes;
    if (target.axis >= static_cast<int>(axes.size())) return std::nullopt;
    const Affine& place = axes[static_cast<size_t>(target.axis)];
    if (place.coefficients.empty() && !target.last_only) return std::optional<int64_t>();
    const int label = place.shifted_label();
    if (label < 0 || table.name(label) != name) return std::nullopt;
    const int64_t lag = place.offset - target.offset;
    if (target.last_only && lag != -1) return std::nullopt;
    return lag;
  }

  /// Orders the members so that what is read of the same step is there. False if that goes in a circle.
  bool sort(const std::vector<std::vector<size_t>>& before) {
    order_.clear();
    std::vector<bool> done(members_.size());
    while (order_.size() < members_.size()) {
      const size_t had = order_.size();
      for (size_t m = 0; m < members_.size(); ++m) {
        const auto is_done = [&](size_t other) { return done[other]; };
        if (done[m] || !std::all_of(before[m].begin(), before[m].end(), is_done)) continue;
        done[m] = true;
        order_.push_back(m);
      }
      if (order_.size() == had) return false;
    }
    return true;
  }

  int64_t count_steps() const {
    const Member* known = nullptr;
    int64_t n = -1;
    for (const Member& member : members_) {
      const int64_t here =
          member.survey->sizes()[static_cast<size_t>(member.survey->find_label(member.label))];
      if (here < 0) continue;
      if (known && n != here)
        fail(member.equation->lhs_span, fmt::format("the index `{}` runs over {} here", member.label, here),
             {}, {{known->equation->lhs_span, fmt::format("and over {} here", n)}});
      known = &member;
      n = here;
    }
    const Member& first = members_[0];
    if (!known) return first.survey->size(first.survey->find_label(first.label), first.equation->lhs_span);
    return n;
  }

  // ------------------------------------------------------------------------------------------------- the
  // steps

  /// Brings what was there before into the form of one step after another.
  void prepare(Target& target) const {
    if (!target.old) return;
    const auto member = std::find_if(members_.begin(), members_.end(),
                                     [&](const Member& m) { return &targets_[m.target] == &target; });
    const auto rank = static_cast<int>(member->survey->left().size());
    if (target.last_only) {
      Shape shape = target.old->shape();
      if (shape.rank() == rank) {
        target.computed[target.offset - 1] = graph::slice(target.old, target.axis, -1, std::nullopt);
      } else if (shape.rank() == rank - 1) {
        Shape with_axis;
        for (int a = 0; a < rank; ++a)
          with_axis.push_back(a == target.axis ? 1 : shape[a < target.axis ? a : a - 1]);
        target.computed[target.offset - 1] = graph::reshape(target.old, with_axis);
      }
      target.old = nullptr;
      if (!target.computed.empty()) return;
    } else if (target.old->shape().rank() == rank) {
      check_extent(*member, target);
      return;
    }
    fail(member->equation->lhs_span,
         fmt::format("{} for `{}`, which has another rank", count_positions(static_cast<size_t>(rank)),
                     target.name->text),
         "an equation names every axis");
  }

  void check_extent(const Member& member, const Target& target) const {
    const int64_t end = count_steps() + target.offset;
    if (member.equation->is_declaration || member.equation->may_grow || end <= target.old_extent()) return;
    fail(member.survey->left()[static_cast<size_t>(target.axis)].item->span,
         fmt::format("position {} lies outside axis {} of `{}`, which has {}", end - 1, target.axis,
                     target.name->text, target.old_extent()),
         "only a tensor that equations began to fill grows");
  }

  void take_step(const Member& member) {
    Target& target = targets_[member.target];
    const int64_t position = *now_ + target.offset;
    if (position < 0) return;  // before the first place
    const ast::Equation& equation = *member.equation;
    const NodeRef there = target.at(position);
    const IndexTable table(equation, environment_, {there, this, Step{member.label, *now_}});
    const bool adds = equation.is_declaration || equation.projection == ast::Projection::sum;
    NodeRef part = place(equation, table, there, lower_right_side(equation, table), adds);
    environment_.compute_step(part, equation.span);
    if (target.last_only) target.computed.clear();
    target.computed[position] = std::move(part);
  }

  NodeRef result(const Target& target) const {
    if (!target.last_only) {
      if (const NodeRef whole = target.whole()) return whole;
    } else if (!target.computed.empty()) {
      const NodeRef last = target.computed.rbegin()->second;
      Shape shape;
      for (int a = 0; a < last->shape().rank(); ++a)
        if (a != target.axis) shape.push_back(last->shape()[a]);
      return graph::reshape(last, shape);
    }
    fail(members_[0].equation->lhs_span,
         fmt::format("`{}` has no step: the index runs over 0", target.name->text));
  }

  EquationEnvironment& environment_;
  std::vector<Target> targets_;
  std::vector<Member> members_;
  std::vector<size_t> order_;  ///< of members within a step
  bool forward_ = true;
  std::optional<int64_t> now_;  ///< the present step
};

}  // namespace

}  // namespace equation

using graph::NodeRef;

NodeRef lower_equation(const ast::Equation& e, EquationEnvironment& environment, const NodeRef& old) {
  const bool keeps_last =
      std::any_of(e.lhs.begin(), e.lhs.end(), [](const ast::IndexItem& item) { return item.last_only; });
  if (e.reads_target || keeps_last) {
    const StepDefinition alone[] = {{&e, old}};
    equation::Recurrence recurrence(alone, environment);
    if (recurrence.has_steps()) return recurrence.run()[0];
  }
  const equation::IndexTable table(e, environment, {old, nullptr, std::nullopt});
  const bool adds = e.is_declaration || e.projection == ast::Projection::sum;
  return place(e, table, old, lower_right_side(e, table), adds);
}

std::vector<NodeRef> lower_steps(std::span<const StepDefinition> definitions,
                                 EquationEnvironment& environment) {
  return equation::Recurrence(definitions, environment).run();
}

}  // namespace tl::lang
