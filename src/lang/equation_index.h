// The index names of one equation: labels, their sizes, and positions that are affine in them.
#pragma once

#include <map>
#include <optional>
#include <set>
#include <string>
#include <vector>

#include "graph/builder.h"
#include "lang/equations.h"
#include "lang/native.h"

namespace tl::lang::equation {

using Labels = std::set<int>;

[[noreturn]] void fail(Span span, std::string message, std::string help = {},
                       std::vector<Diagnostic::Note> notes = {});

/// "1 index position", "2 index positions".
std::string count_positions(size_t n);
/// What to write instead of too few positions for a tensor of `rank` axes.
std::string help_on_axes(std::string_view target, const std::vector<ast::IndexItem>& items, size_t rank);

/// Whether a function is called in an expression.
bool holds_call(const ast::Expr& expression);

/// (sum of coefficient * label + offset) / divisor
struct Affine {
  std::map<int, int64_t> coefficients;
  int64_t offset = 0;
  int64_t divisor = 1;
  bool varies = false;  ///< the offset is another one in the next step (step_numbers.h)

  /// The label that this is, shifted by `offset`, or -1.
  int shifted_label() const {
    const bool is_one = divisor == 1 && coefficients.size() == 1 && coefficients.begin()->second == 1;
    return is_one ? coefficients.begin()->first : -1;
  }
  void add(const Affine& other, int64_t times);
};

/// One factor `W[i, j]`: a tensor and where it is read.
struct Access {
  graph::NodeRef tensor;  ///< null where a tensor is read that is still being filled
  std::vector<Affine> axes;
  Labels labels;
  const ast::Index* index;
};

/// What one position of the left side names.
struct LeftAxis {
  enum class Kind : uint8_t {
    whole,     ///< `i`: the whole axis
    fixed,     ///< `0`, `(n - 1)`: one place
    shifted,   ///< `t + 1`: a part, `offset` onwards
    combined,  ///< `x / 2`, `i + j`: all values of the index names that give one place are reduced
  };
  Kind kind = Kind::whole;
  int label = -1;  ///< of the result; -1 for a fixed place
  int64_t offset = 0;
  bool last_only = false;
  const ast::IndexItem* item = nullptr;

  /// Whether it names only a part of the tensor, or steps through it.
  bool is_partial() const { return kind == Kind::fixed || kind == Kind::shifted; }
};

/// Tensors that are filled step by step: how an equation sees them.
class StepTensors {
 public:
  virtual ~StepTensors() = default;
  /// Whether the name is one of them.
  virtual bool contains(const ast::Name& name) const = 0;
  /// Resolves what `access` reads at the present step, or leaves its tensor null where that is all 0; then
  /// `axes` and `labels` stay. Before the first step nothing is there, and the access is noted only.
  virtual void resolve(const ast::Name& name, Access& access) = 0;
};

/// The step that an equation is lowered for: the index of that name has one value.
struct Step {
  std::string label;
  int64_t value = 0;
};

/// What the table is made for, besides the equation.
struct IndexContext {
  graph::NodeRef old = nullptr;  ///< the target as it was before, or null
  StepTensors* steps = nullptr;  ///< null: nothing is filled step by step
  std::optional<Step> step = {};
};

/// Knows what every name in brackets stands for, and how far every index runs.
class IndexTable {
 public:
  IndexTable(const ast::Equation& equation, EquationEnvironment& environment, IndexContext context = {});

  /// The positions of the left side, in order. The labels of the result come in their order, numbered from 0.
  const std::vector<LeftAxis>& left() const { return left_; }
  /// Labels of the left side: those of the result, and those that a combined position reduces.
  const Labels& result() const { return result_; }
  const Labels& reduced() const { return reduced_; }
  /// The target as it was before, or null.
  const graph::NodeRef& old() const { return context_.old; }
  /// Whether a position of the left side counts the present step.
  bool is_step(const LeftAxis& axis) const {
    return context_.step && axis.label >= 0 && name(axis.label) == context_.step->label;
  }
  /// The label marked `j.`, or -1.
  int normalised() const { return normalised_; }
  /// Restrictions that come of combined positions: the equation holds where all are >= 0.
  const std::vector<Affine>& ranges() const { return ranges_; }
  const std::string& name(int label) const { return names_[static_cast<size_t>(label)]; }
  /// The label of a name, or -1.
  int find_label(const std::string& name) const;
  /// Whether an index name stands on the left, alone or within a position.
  bool is_on_left(int label) const { return result_.count(label) != 0 || substitutions_.count(label) != 0; }
  /// The extent of a label. Fails at `span` if no position tells it.
  int64_t size(int label, Span span) const;
  /// The extents of all labels (-1 where not known).
  const std::vector<int64_t>& sizes() const { return sizes_; }

  /// The access that an Index expression is, if its base is a tensor (or a list of numbers).
  const Access* access(const ast::Index& index) const;
  /// All accesses to tensors that are filled step by step.
  const std::vector<const ast::Index*>& step_accesses() const { return step_accesses_; }
  /// All labels in an expression.
  Labels labels_in(const ast::Expr& expression) const;
  /// Whether an index name stands in an expression outside brackets.
  bool mentions_index(const ast::Expr& expression) const;
  /// Whether a tensor is read in an expression.
  bool holds_access(const ast::Expr& expression) const;
  /// The value of an index name outside brackets, as labels tell it.
  Affine value_of(const ast::Name& name) const;
  /// The expression as an affine combination of labels, if it is one (ints in scope count as numbers). The
  /// caller looks at `varies`.
  std::optional<Affine> affine(const ast::Expr& expression) const;
  EquationEnvironment& environment() const { return environment_; }

 private:
  bool is_index_name(const ast::Name& name, bool bare) const;
  int label_of(const ast::Name& name) const;
  int add_label(const std::string& name);
  void add_index_names(const ast::Expr& position, std::vector<const ast::Name*>& out) const;
  std::optional<Affine> written(const ast::Expr& expression) const;
  std::optional<Affine> settled(const ast::Expr& expression) const;
  std::optional<Affine> combine(const ast::Binary& expression) const;

  // The left side (equation_left.cpp)
  void read_left_side();
  LeftAxis read_left_item(const ast::IndexItem& item);
  LeftAxis read_left_position(const ast::IndexItem& item);
  void require_once(int label, Span span) const;
  void sizes_from_target();
  void resolve_combined();
  void resolve_division(const LeftAxis& axis, const Affine& position);
  void resolve_sum(const LeftAxis& axis, const Affine& position);
  void substitute(int label, Affine value);
  Affine substituted(const Affine& affine) const;

  // The right side
  void collect(const ast::Expr& expression);
  void collect_access(const ast::Index& index);
  void collect_step_access(const ast::Index& index);
  void refuse_picked(const ast::Index& index, const ast::Index& picked, size_t axis) const;
  void settle_places(Access& access) const;
  std::vector<Affine> positions(const ast::Index& index, bool is_step_access);
  Affine position(const ast::Expr& expression);
  void infer_sizes();
  void size_from_arithmetic(const Access& access, size_t axis);
  void learn(int label, int64_t size, Span span);
  void collect_guard(const ast::Expr& expression);

  const ast::Equation& equation_;
  EquationEnvironment& environment_;
  IndexContext context_;
  std::vector<std::string> names_;
  std::vector<int64_t> sizes_;
  std::vector<Span> size_spans_;
  std::map<const ast::Index*, Access> accesses_;
  std::vector<const ast::Index*> order_;  ///< accesses as they are met
  std::vector<const ast::Index*> step_accesses_;
  std::vector<LeftAxis> left_;
  Labels result_, reduced_;
  std::vector<Affine> ranges_;
  std::map<int, Affine> substitutions_;  ///< what index names are replaced by
  int normalised_ = -1;
};

/// The part of an equation's target that one lowering gave, put where its left side says: into `old` (null:
/// nothing is there yet), which `adds` adds to instead of replacing. Fails where the part does not fit.
graph::NodeRef place(const ast::Equation& equation, const IndexTable& table, const graph::NodeRef& old,
                     graph::NodeRef part, bool adds);

/// What an equation says of its target's part: the right side over the labels of the left.
graph::NodeRef lower_right_side(const ast::Equation& equation, const IndexTable& table);

}  // namespace tl::lang::equation
