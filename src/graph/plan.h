// From a pending graph to a plan: an ordered list of steps with buffers assigned.
//
// A plan holds structure only. Shapes and params are read at each run from the trace of that run, so one plan
// serves every length and position; what decides a plan is exactly what structure() spells.
#pragma once

#include <cstdint>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "graph/node.h"

namespace tl::graph {

/// A list of inputs for each value, one after another in the same memory.
class InputLists {
 public:
  std::span<const int> operator[](size_t value) const {
    return std::span(places_).subspan(begins_[value], begins_[value + 1] - begins_[value]);
  }
  /// All inputs of all values.
  std::span<const int> all() const { return places_; }
  void add(int place) { places_.push_back(place); }
  /// Ends the list of the current value.
  void end_list() { begins_.push_back(places_.size()); }

 private:
  std::vector<size_t> begins_ = {0};
  std::vector<int> places_;
};

/// The uncomputed nodes below some roots, inputs before users, and the leaves they start from.
struct Trace {
  std::vector<Node*> values;  ///< a value is named by its place here
  InputLists inputs;          ///< per value
  std::vector<int> roots;
  std::vector<NodeRef> keep_alive;  ///< the roots themselves
};

Trace trace(std::span<const NodeRef> roots);

/// Everything that plan() may decide by, as words: ops, edges, attributes, types, ranks, weights' shapes.
std::vector<int64_t> structure(const Trace& trace);

/// One kernel call (or view) of a plan.
struct Step {
  Op op;
  std::vector<int> inputs;
  int output;
  Attrs attrs;
  std::vector<int> members;  ///< the traced values this step stands for, the output last
  /// Makes the params of a fused step from its members' nodes; null takes those of the output's node.
  Params (*bind)(std::span<const Node* const> members) = nullptr;
};

struct Plan {
  std::vector<Step> steps;
  std::vector<int> parent;    ///< per value: the value whose memory it looks at, -1 unless a view
  std::vector<int> slot;      ///< per value: its reusable buffer, -1 for leaves and roots
  std::vector<int> last_use;  ///< per value: the last step that reads its memory
  int n_slots = 0;
};

/// Which passes run; each can be switched off by name (`--no-fuse NAME`).
struct PassOptions {
  bool fuse_attention = true;   ///< "attention"
  bool fuse_swiglu = true;      ///< "swiglu"
  bool gather_products = true;  ///< "products"
  static PassOptions none() { return {false, false, false}; }
  /// Switches a pass off. Throws Error that lists the names if there is none of this one.
  void switch_off(std::string_view name);
};

Plan plan(const Trace& trace, const PassOptions& options);

/// Checks what the executor relies on: inputs before users, one producer a value, roots produced, types as
/// inferred. Throws std::logic_error (a bug of ours) naming step and value.
void verify(const Plan& plan, const Trace& trace);

/// The plan as text, one line a step: "%12 forward/layer[0]/scores = contract(%3, %7) float32 [8, 5, 5]".
std::string to_string(const Plan& plan, const Trace& trace);

// The passes, one file each; they rewrite `plan.steps`.
void fuse_attention(Plan& plan, const Trace& trace);
void fuse_swiglu(Plan& plan, const Trace& trace);
void assign_buffers(Plan& plan, const Trace& trace);

/// Producers and readers of values, for passes that look for patterns.
class Uses {
 public:
  Uses(const Plan& plan, const Trace& trace);
  /// The step that makes a value, or null for a leaf.
  const Step* producer(int value) const { return producer_[static_cast<size_t>(value)]; }
  /// The only step that reads a value, or null if none, several, or a root.
  const Step* only_reader(int value) const;

 private:
  std::vector<const Step*> producer_, reader_;
  std::vector<int> reads_;
};

/// Whether operand axis `axis` of a contract node reads its whole extent once: label * 1 / divisor, no
/// offset.
bool covers_axis(const Node& contract, size_t operand, size_t axis);

}  // namespace tl::graph
