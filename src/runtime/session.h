// Runs graphs: plans them, caches the plans, executes them on a backend, and lets an observer watch.
#pragma once

#include <functional>
#include <memory>
#include <optional>
#include <span>
#include <string>
#include <unordered_map>
#include <vector>

#include "backend/backend.h"
#include "graph/plan.h"
#include "runtime/precision.h"

namespace tl {

/// One executed step, as an observer sees it. Everything it refers to is valid during the call only.
struct ExecutedStep {
  const graph::Step& step;
  const graph::Trace& trace;       ///< of the run: trace.values[step.inputs[i]] is the node of input i
  const graph::Node& node;         ///< of the output
  std::span<const Tensor> inputs;  ///< as the run holds them: strided, in their own types
  const Params& params;            ///< those the kernel was given
  const Tensor& output;
};

/// Watches runs, on the thread that runs the session. A run without an observer pays one comparison a step.
class Observer {
 public:
  virtual ~Observer() = default;
  /// Before the first step of a run. Plan and trace live until its end.
  virtual void on_run(const graph::Plan& plan, const graph::Trace& trace) { (void)plan, (void)trace; }
  /// After each step; fused steps are seen as one, views too. Copy what should outlive the call.
  virtual void on_step(const ExecutedStep& step) = 0;
  /// Whether it may be shown runs of a graph that was kept from an earlier step (StepReplay), whose nodes
  /// have no inputs any more.
  virtual bool sees_replays() const { return false; }
  /// Whether it looks at what is in the tensors. Rows of a cache in blocks are decoded for those that do.
  virtual bool reads_tensors() const { return true; }
};

/// How programs are run, from the command line or the language.
struct SessionOptions {
  int n_threads = 0;                 ///< 0: physical cores, or those of `processors`
  std::vector<int> processors = {};  ///< a thread each; none: wherever the system puts them
  Precision precision = {};
  /// A prompt at once gives the bits of one fed token by token, where a backend would be faster otherwise.
  bool batch_invariant = false;
  graph::PassOptions passes = {};
  std::function<void(const std::string&)> notice = {};      ///< told once about each fallback
  std::function<void(const std::string&)> dump_graph = {};  ///< given each new plan as text
  /// Changes what is about to be computed (inspect/plant.h does); told the roots before they are traced.
  std::function<void(std::span<const graph::NodeRef>)> rewrite = {};
  /// Another kernel for a step of a new plan, or null.
  std::function<const Kernel*(const graph::Step&, const graph::Trace&)> kernel = {};
};

/// An operation that failed when it was computed, at the place in the program that made it, with the calls
/// that led there.
class OperationFailure : public ProgramError {
 public:
  using ProgramError::ProgramError;
};

/// One backend with threads, buffers and cached plans. Not thread-safe: one program runs in it at a time.
class Session {
 public:
  /// `fallback` (may be null) runs what `backend` has no kernel for, aloud.
  Session(const Backend& backend, const Backend* fallback, SessionOptions options = {});
  ~Session();
  Session(const Session&) = delete;
  Session& operator=(const Session&) = delete;

  /// The value of a node, computing what is missing. Values that somebody else still holds a node of are kept
  /// on the way. Throws OperationFailure at the failing operation's place in the program, or Interrupted.
  const Tensor& value(const graph::NodeRef& node);
  void compute(std::span<const graph::NodeRef> nodes);

  struct CachedPlan;
  /// The tensors of a run, one per traced value.
  struct Values {
    std::vector<Tensor> tensors;
    std::vector<bool> own_memory;  ///< those that outlive the run: roots, and what somebody else holds
  };
  // What StepReplay runs a graph again with.
  CachedPlan& plan_for(const graph::Trace& trace);
  /// Whether nobody watches or changes the graphs that are run.
  bool may_replay() const;
  /// Whether the backend computes all of a plan with its own kernels.
  bool runs_natively(const CachedPlan& plan) const;
  /// The leaves' tensors; only the root outlives such a run.
  Values leaf_values(const CachedPlan& plan, const graph::Trace& trace) const;
  /// Runs a plan on a trace whose nodes belong to the caller; the value of its root.
  Tensor run_again(const CachedPlan& plan, const graph::Trace& trace, Values& values);

  const Backend& backend() const { return backend_; }
  const Backend* fallback() const { return fallback_; }
  ThreadPool& pool() { return pool_; }
  const SessionOptions& options() const { return options_; }
  void set_observer(Observer* observer) { observer_ = observer; }
  Observer* observer() const { return observer_; }

  struct Statistics {
    int64_t plans = 0;    ///< made so far
    int64_t runs = 0;     ///< plans executed
    int64_t replays = 0;  ///< runs among them of a graph that was kept
  };
  const Statistics& statistics() const { return statistics_; }

 private:
  struct Run;
  void execute(const CachedPlan& plan, const graph::Trace& trace);
  /// What a result is rounded to, if to anything.
  std::optional<DType> rounding(const graph::Node& node) const;
  /// The kernel that sums as the session's precision says: `kernel` itself where it does, or sums nothing.
  const Kernel* summing_kernel(Op op, const Kernel* kernel) const;
  /// A value in the type of its node: rows of a cache may be kept in blocks that stand for floats.
  Tensor as_numbers(const graph::Node& node, const Tensor& value) const;

  const Backend& backend_;
  const Backend* fallback_;
  SessionOptions options_;
  ThreadPool pool_;
  Observer* observer_ = nullptr;
  Statistics statistics_;
  std::unordered_map<size_t, std::vector<std::unique_ptr<CachedPlan>>> plans_;
  std::vector<std::shared_ptr<Storage>> slots_;
  std::vector<Tensor> operands_;  ///< of the running kernel
  std::vector<std::string> noticed_;
};

}  // namespace tl
