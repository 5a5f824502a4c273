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

/// (sum of coefficient * label + offset) / divisor
struct Affine {
  std::map<int, int64_t> coefficients;
  int64_t offset = 0;
  int64_t divisor = 1;
};

/// One factor `W[i, j]`: a tensor and where it is read.
struct Access {
  graph::NodeRef tensor;
  std::vector<Affine> axes;
  Labels labels;
  Span span;
};

/// Knows what every name in brackets stands for, and how far every index runs.
class IndexTable {
 public:
  IndexTable(const ast::Equation& equation, EquationEnvironment& environment);

  /// Labels of the left side, in order; label numbers 0, 1, 2 …
  int n_result() const { return n_result_; }
  /// The label marked `j.`, or -1.
  int normalised() const { return normalised_; }
  const std::string& name(int label) const { return names_[static_cast<size_t>(label)]; }
  /// The extent of a label. Fails at `span` if no position tells it.
  int64_t size(int label, Span span) const;
  /// The extents of all labels (-1 where not known).
  const std::vector<int64_t>& sizes() const { return sizes_; }

  /// The access that an Index expression is, if its base is a tensor (or a list of numbers).
  const Access* access(const ast::Index& index) const;
  /// All labels in an expression.
  Labels labels_in(const ast::Expr& expression) const;
  /// The label of a name outside brackets that is an index, or -1.
  int label_of(const ast::Name& name) const;
  /// The expression as an affine combination of labels, if it is one (ints in scope count as numbers).
  std::optional<Affine> affine(const ast::Expr& expression) const;
  EquationEnvironment& environment() const { return environment_; }

 private:
  struct Known {
    int64_t size = -1;
    Span span;
  };
  bool is_index_name(const ast::Name& name, bool bare) const;
  int add_label(const std::string& name);
  int find_label(const std::string& name) const;
  void read_left_side(const ast::Equation& equation);
  void collect(const ast::Expr& expression);
  void collect_access(const ast::Index& index);
  Affine position(const ast::Expr& expression);
  void infer_sizes();
  void size_from_arithmetic(const Access& access, size_t axis);
  void learn(int label, int64_t size, Span span);
  void collect_guard(const ast::Expr& expression);

  EquationEnvironment& environment_;
  std::vector<std::string> names_;
  std::vector<int64_t> sizes_;
  std::vector<Span> size_spans_;
  std::map<const ast::Index*, Access> accesses_;
  std::vector<const ast::Index*> order_;  ///< accesses as they are met
  int n_result_ = 0;
  int normalised_ = -1;
};

}  // namespace tl::lang::equation
