// The later steps of a generation without the program: the graph of an earlier step, run again with the
// numbers of a later position.
#pragma once

#include <algorithm>
#include <cstdint>
#include <deque>
#include <memory>
#include <optional>
#include <span>
#include <vector>

#include "backend/step_recorder.h"
#include "runtime/session.h"

namespace tl {

/// Learns from the graphs of a few steps of as many rows, each at a later position than the one before, how
/// the numbers in them follow from the position, and computes later steps from that. Whether the program
/// would make such a graph again is for the caller to know (lang/step_numbers.h); that graphs differ in
/// positions only is made sure of here: operations whose numbers or extents change must be among those that
/// mean the same at any extent, and three steps must agree. What was learned holds at earlier positions, too.
class StepReplay {
 public:
  /// Remembers the graph of a step before it is computed: `root`, made at `position` from `inputs`, small
  /// constants that are others in each step (token ids, random bits).
  void learn(Session& session, const graph::NodeRef& root, std::span<const graph::NodeRef> inputs,
             int64_t position);
  /// Forgets what it learned: the next step is not a later one of the same graph.
  void forget();
  /// Whether run() can compute the step at `position`.
  bool knows(int64_t position) const { return plan_ != nullptr && position >= least_position_; }
  /// The root of the step at `position` with other inputs. `after`, if not empty, are those of the step that
  /// probably comes next, as StepRecorder::repeat() takes them. Throws as Session::value does.
  Tensor run(Session& session, int64_t position, std::span<const Tensor> inputs,
             std::span<const Tensor> after = {});
  /// Lets go of the root's memory, which the next run would take again.
  void release() { values_.tensors[static_cast<size_t>(last_->trace.roots[0])] = {}; }

 private:
  /// A number that follows the position: an entry of a node's params, or an extent of its shape.
  struct Follower {
    size_t node;
    bool is_extent;
    size_t at;
    int64_t value, slope;  ///< at the position of the snapshot; per token
    bool operator==(const Follower& other) const {
      return node == other.node && is_extent == other.is_extent && at == other.at && slope == other.slope;
    }
  };
  /// The nodes of a step's graph as they were before it was computed.
  struct Snapshot {
    Snapshot(Session& session, const graph::NodeRef& root, std::span<const graph::NodeRef> given, int64_t at);
    bool is_input(size_t node) const { return std::ranges::find(inputs, node) != inputs.end(); }
    const Session::CachedPlan* plan;
    int64_t position;
    std::deque<graph::Node> nodes;
    graph::Trace trace;          ///< of `nodes`
    std::vector<size_t> inputs;  ///< which of them hold the step's inputs
  };
  static std::optional<std::vector<Follower>> followers(const Snapshot& before, const Snapshot& after);

  std::optional<Snapshot> last_;
  std::optional<std::vector<Follower>> followers_;  ///< from the step before `last_` to it
  const Session::CachedPlan* plan_ = nullptr;       ///< once three steps agreed
  int64_t least_position_ = 0;                      ///< from here on extents are long enough
  Session::Values values_;
  std::unique_ptr<StepRecorder> recorder_;  ///< null where the backend has none
};

}  // namespace tl
