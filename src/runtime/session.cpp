#include "runtime/session.h"

#include <algorithm>
#include <utility>

#include <fmt/format.h>

#include "base/interrupt.h"

namespace tl {

using graph::Node;
using graph::Plan;
using graph::Step;
using graph::Trace;

struct Session::CachedPlan {
  std::vector<int64_t> structure;
  Plan plan;
  std::vector<const Kernel*> kernels;  ///< per step; null for views and numbers
  struct Fallback {
    const Step* step;
    std::string what;
  };
  std::vector<Fallback> fallbacks;  ///< the steps that the fallback backend computes
};

namespace {

/// Elements from which on it takes noticeable time that a kernel is missing.
constexpr int64_t kNoticeable = 1 << 16;

size_t hash(const std::vector<int64_t>& words) {
  uint64_t h = 0xcbf29ce484222325ull;
  for (const int64_t w : words) h = (h ^ static_cast<uint64_t>(w)) * 0x100000001b3ull;
  return h;
}

bool needs_kernel(Op op) {
  return !(op == Op::permute || op == Op::broadcast || op == Op::slice || op == Op::scalar);
}

/// Whether an operation has to be computed in float64 although the backend computes in a narrower type.
bool wants_f64(const Step& step, const Trace& trace) {
  const auto dtype = [&](int v) { return trace.values[static_cast<size_t>(v)]->dtype(); };
  if (step.op == Op::cast && is_float(dtype(step.output)) && is_float(dtype(step.inputs[0]))) return false;
  const auto is_f64 = [&](int v) { return trace.values[static_cast<size_t>(v)]->dtype() == DType::f64; };
  return is_f64(step.output) || std::any_of(step.inputs.begin(), step.inputs.end(), is_f64);
}

Tensor slice_view(const Tensor& x, const Params& params, const Shape& shape) {
  Shape strides = x.strides();
  int64_t offset = 0;
  for (int a = 0; a < x.rank(); ++a) {
    const auto at = static_cast<size_t>(3 * a);
    offset += params.ints[at] * x.strides()[a];
    strides[a] *= params.ints[at + 1];
  }
  return x.view(shape, strides, offset);
}

Tensor permuted_view(const Tensor& x, const PermuteAttrs& attrs, const Shape& shape) {
  Shape strides;
  for (const int axis : attrs.order) strides.push_back(x.strides()[axis]);
  return x.view(shape, strides);
}

Tensor broadcast_view(const Tensor& x, const Shape& shape) {
  Shape strides = shape;
  const int shift = shape.rank() - x.rank();
  for (int a = 0; a < shape.rank(); ++a)
    strides[a] = a < shift || x.shape()[a - shift] != shape[a] ? 0 : x.strides()[a - shift];
  return x.view(shape, strides);
}

}  // namespace

/// One execution of a plan.
struct Session::Run {
  Session& session;
  const CachedPlan& cached;
  const Trace& trace;
  Values& values;

  const Node& node(int v) const { return *trace.values[static_cast<size_t>(v)]; }
  Tensor& value(int v) { return values.tensors[static_cast<size_t>(v)]; }

  void execute() {
    for (const auto& fallback : cached.fallbacks) note(fallback);
    const auto& steps = cached.plan.steps;
    if (session.observer_ != nullptr) session.observer_->on_run(cached.plan, trace);
    for (size_t s = 0; s < steps.size(); ++s) {
      check_interrupt();
      run_step(steps[s], cached.kernels[s]);
      if (session.observer_ != nullptr) show(steps[s]);
    }
  }

  void show(const Step& step) {
    std::vector<Tensor> inputs;
    inputs.reserve(step.inputs.size());
    const auto shown = [&](int v) { return session.observer_->reads_tensors() ? numbers(v) : value(v); };
    for (const int v : step.inputs) inputs.push_back(shown(v));
    session.observer_->on_step({step, trace, node(step.output), inputs, params(step), shown(step.output)});
  }

  Tensor numbers(int v) { return session.as_numbers(node(v), value(v)); }

  /// A node with more owners than readers in this trace is held by the program (a variable) and may be asked
  /// for later.
  void find_own_memory() {
    const size_t n = trace.values.size();
    std::vector<long> readers(n);
    for (const int v : trace.inputs.all()) ++readers[static_cast<size_t>(v)];
    std::vector<const graph::NodeRef*> owner(n);
    for (size_t v = 0; v < n; ++v) {
      if (trace.values[v]->value) continue;
      for (const auto& input : trace.values[v]->inputs) owner[static_cast<size_t>(input->index)] = &input;
    }
    for (size_t v = 0; v < n; ++v)
      if (owner[v] != nullptr && owner[v]->use_count() > readers[v])
        keep(cached.plan, static_cast<int>(v), values);
  }

  /// Makes each reusable buffer as large as it must be before anything is computed: one that grew from step
  /// to step would leave smaller ones behind.
  void reserve_slots() {
    std::vector<size_t> needed(session.slots_.size());
    for (const Step& step : cached.plan.steps) {
      const auto v = static_cast<size_t>(step.output);
      if (cached.plan.slot[v] < 0 || values.own_memory[v]) continue;
      const DType stored = session.backend_.storage(trace.values[v]->dtype());
      size_t& bytes = needed[static_cast<size_t>(cached.plan.slot[v])];
      bytes = std::max(bytes, static_cast<size_t>(bytes_of(stored, trace.values[v]->shape().elements())));
    }
    for (size_t slot = 0; slot < needed.size(); ++slot) {
      auto& storage = session.slots_[slot];
      if (needed[slot] == 0 || (storage && storage->bytes >= needed[slot])) continue;
      storage.reset();  // before the new one is there
      storage = session.backend_.allocate(needed[slot]);
    }
  }

  /// A value and the memory it looks at outlive the run.
  static void keep(const Plan& plan, int v, Values& values) {
    for (; v >= 0; v = plan.parent[static_cast<size_t>(v)]) values.own_memory[static_cast<size_t>(v)] = true;
  }

  Params params(const Step& step) const {
    if (step.bind == nullptr) return node(step.output).params;
    std::vector<const Node*> members;
    for (const int m : step.members) members.push_back(&node(m));
    return step.bind(members);
  }

  Tensor allocate(int v, DType dtype, const Shape& shape) {
    const int slot = cached.plan.slot[static_cast<size_t>(v)];
    const auto bytes = static_cast<size_t>(bytes_of(dtype, shape.elements()));
    if (slot < 0 || values.own_memory[static_cast<size_t>(v)]) {
      // A replayed run takes the memory of the one before, unless somebody kept what it holds.
      std::shared_ptr<Storage> last = std::exchange(value(v), {}).storage();
      if (last.use_count() != 1 || last->bytes < bytes) last = session.backend_.allocate(bytes);
      return {dtype, shape, std::move(last)};
    }
    auto& storage = session.slots_[static_cast<size_t>(slot)];
    if (!storage || storage->bytes < bytes) storage = session.backend_.allocate(bytes);
    return {dtype, shape, storage};
  }

  void run_step(const Step& step, const Kernel* kernel) {
    const Node& out = node(step.output);
    const DType stored = session.backend_.storage(out.dtype());
    switch (step.op) {
      case Op::permute:
        value(step.output) =
            permuted_view(numbers(step.inputs[0]), std::get<PermuteAttrs>(step.attrs), out.shape());
        return;
      case Op::broadcast:
        value(step.output) = broadcast_view(numbers(step.inputs[0]), out.shape());
        return;
      case Op::slice:
        value(step.output) = slice_view(numbers(step.inputs[0]), out.params, out.shape());
        return;
      case Op::reshape:
        if (value(step.inputs[0]).is_contiguous()) {
          value(step.output) = numbers(step.inputs[0]).reshaped(out.shape());
          return;
        }
        break;
      case Op::scalar: {
        const Tensor number(stored, {});
        if (is_float(stored))
          store_double(number, 0, out.params.floats[0]);
        else
          store_int(number, 0, out.params.ints[0]);
        value(step.output) = number;
        return;
      }
      default:
        break;
    }
    if (step.op == Op::cache_append) {
      const Tensor& state = value(step.inputs[0]);
      value(step.output) = state.view(out.shape(), state.strides());
    } else {
      value(step.output) = allocate(step.output, stored, out.shape());
    }
    try {
      call(step, *kernel);
      // The places that top_k gives are not results to be rounded, and its other numbers are rounded already.
      if (step.op != Op::cache_append && step.op != Op::top_k) round(step.output);
    } catch (const ProgramError&) {
      throw;
    } catch (const Error& e) {
      if (!out.span) throw;
      auto notes = graph::call_notes(out.made_in ? out.made_in : out.scope);
      const std::string where = out.label.empty() ? to_string(out.scope) : out.path();
      if (!where.empty() && where != "main") notes.push_back({{}, "in " + where});
      throw OperationFailure({Diagnostic{Severity::error, out.span, e.what(), std::move(notes)}});
    }
  }

  void call(const Step& step, const Kernel& kernel) {
    std::vector<Tensor>& in = session.operands_;
    in.clear();
    for (size_t i = 0; i < step.inputs.size(); ++i) {
      Tensor operand = value(step.inputs[i]);
      if (!reads_stored(step.op, i)) {
        // `w as float32` is the one operation besides reads_stored() that takes quantised operands: decoding
        // is conversion.
        if (is_quantised(operand.dtype()) || (is_float(operand.dtype()) && operand.dtype() != kernel.compute))
          operand = session.backend_.converted(operand, kernel.compute);
        else if (kernel.contiguous && !operand.is_contiguous())
          operand = contiguous(operand);
      }
      in.push_back(std::move(operand));
    }
    const Tensor& out = value(step.output);
    const bool direct =
        !is_float(out.dtype()) || out.dtype() == kernel.compute || step.op == Op::cache_append;
    const Tensor target = direct ? out : temporary(kernel.compute, out.shape());
    const Params fused = step.bind != nullptr ? params(step) : Params();
    const Params& numbers = step.bind != nullptr ? fused : node(step.output).params;
    kernel.run({in, target, step.attrs, numbers, session.pool_, session.options_.precision.activations,
                session.options_.batch_invariant});
    in.clear();
    if (!direct) value(step.output) = session.backend_.converted(target, out.dtype());
  }

  /// Rounds a result to the type that the session's precision says.
  void round(int v) {
    const std::optional<DType> type = session.rounding(node(v));
    Tensor& result = value(v);
    if (!type || !is_float(result.dtype()) || bytes_of(*type, 1) >= bytes_of(result.dtype(), 1)) return;
    const Backend& backend = session.backend_;
    result = backend.converted(backend.converted(result, *type), result.dtype());
  }

  Tensor temporary(DType dtype, const Shape& shape) const {
    return {dtype, shape, session.backend_.allocate(static_cast<size_t>(bytes_of(dtype, shape.elements())))};
  }

  /// A copy in row-major order: what the backend's kernel for reshape does with a strided input.
  Tensor contiguous(const Tensor& x) {
    const Kernel& copy = session.backend_.kernels()[static_cast<size_t>(Op::reshape)];
    Tensor out = temporary(x.dtype(), x.shape());
    const Params none;
    copy.run({std::span(&x, 1), out, NoAttrs{}, none, session.pool_, session.options_.precision.activations});
    return out;
  }

  /// Says once that a kernel is missing, where that takes time.
  void note(const CachedPlan::Fallback& fallback) {
    if (!session.options_.notice) return;
    const auto elements = [&](int v) { return trace.values[static_cast<size_t>(v)]->shape().elements(); };
    int64_t most = elements(fallback.step->output);
    for (const int input : fallback.step->inputs) most = std::max(most, elements(input));
    auto& said = session.noticed_;
    if (most < kNoticeable || std::find(said.begin(), said.end(), fallback.what) != said.end()) return;
    said.push_back(fallback.what);
    session.options_.notice(
        fmt::format("{}: computed by the {} backend", fallback.what, session.fallback_->name()));
  }

  /// Gives the values that outlive the run to their nodes; those need their inputs no more.
  void hand_over() {
    std::vector<graph::NodeRef> released;  // destroyed after the loop: they may own traced nodes
    for (const Step& step : cached.plan.steps) {
      const auto v = static_cast<size_t>(step.output);
      if (values.own_memory[v]) trace.values[v]->value = values.tensors[v];
    }
    for (const Step& step : cached.plan.steps) {
      const auto v = static_cast<size_t>(step.output);
      if (!values.own_memory[v]) continue;
      auto& inputs = trace.values[v]->inputs;
      std::move(inputs.begin(), inputs.end(), std::back_inserter(released));
      inputs.clear();
    }
  }
};

Session::Session(const Backend& backend, const Backend* fallback, SessionOptions options)
    : backend_(backend),
      fallback_(fallback),
      options_(std::move(options)),
      pool_(options_.n_threads, options_.processors) {
  const Precision& p = options_.precision;
  // Inside a fused kernel nothing can be rounded.
  if (!backend_.fuses() || p.results || p.residual || p.sums) options_.passes = graph::PassOptions::none();
}

Session::~Session() = default;

std::optional<DType> Session::rounding(const Node& node) const {
  const Precision& p = options_.precision;
  return node.is_residual && p.residual ? p.residual : p.results;
}

const Kernel* Session::summing_kernel(Op op, const Kernel* kernel) const {
  const std::optional<DType>& sums = options_.precision.sums;
  if (!sums || kernel->compute == *sums) return kernel;
  const Kernel* other = backend_.summing(op, *sums);
  if (other == nullptr && fallback_ != nullptr) other = fallback_->summing(op, *sums);
  return other != nullptr ? other : kernel;
}

const Tensor& Session::value(const graph::NodeRef& node) {
  if (!node->value) compute(std::span(&node, 1));
  node->value = as_numbers(*node, node->value);
  return node->value;
}

Tensor Session::as_numbers(const Node& node, const Tensor& value) const {
  const bool in_blocks = is_quantised(value.dtype()) && !is_quantised(node.dtype());
  return in_blocks ? backend_.converted(value, node.dtype()) : value;
}

void Session::compute(std::span<const graph::NodeRef> nodes) {
  std::vector<graph::NodeRef> missing;
  for (const auto& node : nodes)
    if (!node->value) missing.push_back(node);
  if (missing.empty()) return;
  if (options_.rewrite) options_.rewrite(missing);
  const Trace trace = graph::trace(missing);
  execute(plan_for(trace), trace);
}

Session::CachedPlan& Session::plan_for(const Trace& trace) {
  std::vector<int64_t> words = graph::structure(trace);
  auto& bucket = plans_[hash(words)];
  for (auto& cached : bucket)
    if (cached->structure == words) return *cached;

  auto cached = std::make_unique<CachedPlan>();
  cached->structure = std::move(words);
  cached->plan = graph::plan(trace, options_.passes);
  for (const Step& step : cached->plan.steps) {
    const Kernel* kernel = nullptr;
    if (needs_kernel(step.op)) {
      const auto at = static_cast<size_t>(step.op);
      kernel = &backend_.kernels()[at];
      const bool narrow = is_float(kernel->compute) && kernel->compute != DType::f64 && step.op != Op::cast &&
                          wants_f64(step, trace);
      if (kernel->run == nullptr || (narrow && fallback_ != nullptr)) {
        const DType dtype = trace.values[static_cast<size_t>(step.output)]->dtype();
        std::string what =
            fmt::format("[{}] no kernel for '{}' ({})", backend_.name(), name(step.op), name(dtype));
        if (fallback_ == nullptr || fallback_->kernels()[at].run == nullptr) throw Error(what);
        kernel = &fallback_->kernels()[at];
        cached->fallbacks.push_back({&step, std::move(what)});
      }
    }
    if (kernel != nullptr) kernel = summing_kernel(step.op, kernel);
    if (kernel != nullptr && options_.kernel)
      if (const Kernel* other = options_.kernel(step, trace)) kernel = other;
    cached->kernels.push_back(kernel);
  }
  ++statistics_.plans;
  if (options_.dump_graph) options_.dump_graph(graph::to_string(cached->plan, trace));
  if (static_cast<int>(slots_.size()) < cached->plan.n_slots)
    slots_.resize(static_cast<size_t>(cached->plan.n_slots));
  bucket.push_back(std::move(cached));
  return *bucket.back();
}

void Session::execute(const CachedPlan& cached, const Trace& trace) {
  ++statistics_.runs;
  Values values = leaf_values(cached, trace);
  Run run{*this, cached, trace, values};
  run.find_own_memory();
  run.reserve_slots();
  run.execute();
  run.hand_over();
}

Session::Values Session::leaf_values(const CachedPlan& cached, const Trace& trace) const {
  Values values{std::vector<Tensor>(trace.values.size()), std::vector<bool>(trace.values.size())};
  for (size_t v = 0; v < trace.values.size(); ++v) values.tensors[v] = trace.values[v]->value;
  for (const int root : trace.roots) Run::keep(cached.plan, root, values);
  return values;
}

bool Session::runs_natively(const CachedPlan& plan) const {
  return plan.fallbacks.empty() && !options_.kernel;
}

bool Session::may_replay() const {
  return !options_.rewrite && (observer_ == nullptr || observer_->sees_replays());
}

Tensor Session::run_again(const CachedPlan& cached, const Trace& trace, Values& values) {
  ++statistics_.runs;
  ++statistics_.replays;
  Run run{*this, cached, trace, values};
  run.execute();
  return run.value(trace.roots[0]);
}

}  // namespace tl
