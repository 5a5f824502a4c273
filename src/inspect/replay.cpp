#include "inspect/replay.h"

#include <algorithm>
#include <numeric>

#include "inspect/prediction.h"
#include "inspect/structure.h"
#include "inspect/values.h"

namespace tl::inspect {

namespace {

/// Below this nothing is told apart: float32 kernels compute exponentials and long sums to some units in the
/// last place.
constexpr double kLeast = 2e-5;

/// `t` with its axes in an order that gives `shape`; of several that which is nearest to `like`.
Tensor in_axes_of(const Tensor& t, const Shape& shape, const Tensor& like) {
  const int rank = shape.rank();
  if (t.shape() == shape || t.rank() != rank || rank > 4) return t.reshaped(shape);
  std::vector<int> order(static_cast<size_t>(rank));
  std::iota(order.begin(), order.end(), 0);
  Tensor best;
  double least = 0;
  do {
    Shape extents, strides;
    for (const int axis : order) extents.push_back(t.shape()[axis]), strides.push_back(t.strides()[axis]);
    if (!(extents == shape)) continue;
    const Tensor candidate = converted(t.view(extents, strides), DType::f64);
    const double error = difference(like, candidate).nmse;
    if (!best || error < least) best = candidate, least = error;
  } while (std::next_permutation(order.begin(), order.end()));
  return best ? best : t.reshaped(shape);
}

Tensor viewed(const Operation& o, const Shape& shape) {
  const Tensor& x = o.in[0];
  switch (o.op) {
    case Op::reshape:
      return converted(x, x.dtype()).reshaped(shape);
    case Op::permute: {
      Shape strides;
      for (const int axis : std::get<PermuteAttrs>(o.attrs).order) strides.push_back(x.strides()[axis]);
      return x.view(shape, strides);
    }
    case Op::slice: {
      Shape strides = x.strides();
      int64_t offset = 0;
      for (int a = 0; a < x.rank(); ++a) {
        offset += o.params.ints[static_cast<size_t>(3 * a)] * x.strides()[a];
        strides[a] *= o.params.ints[static_cast<size_t>(3 * a + 1)];
      }
      return x.view(shape, strides, offset);
    }
    default:
      return inspect::broadcast_view(x, shape);
  }
}

Op op_named(const std::string& text) {
  for (int i = 0; i < kOpCount; ++i)
    if (name(static_cast<Op>(i)) == text) return static_cast<Op>(i);
  return Op::constant;
}

/// Numbers and masks, and what is made of them alone: part of an operation, not a value of the run.
std::vector<bool> made_of_nothing(const Recording& recording) {
  std::vector<bool> found;
  for (const Record& r : recording.records)
    found.push_back(!r.is_leaf() && std::all_of(r.inputs.begin(), r.inputs.end(), [&](int input) {
      return static_cast<bool>(found[static_cast<size_t>(input)]);
    }));
  return found;
}

}  // namespace

Replay::Replay(const Recording& reference, const Recording& observed, const Comparison& aligned,
               const ModelFile& file, const Backend& oracle, ThreadPool& pool)
    : reference_(reference),
      recording_(observed),
      file_(file),
      oracle_(oracle),
      pool_(pool),
      roles_(inspect::roles(reference)),
      partner_(reference.records.size(), -1),
      observed_(reference.records.size()) {
  std::vector<ObservedError> exact(reference.records.size());
  const std::vector<bool> is_number = made_of_nothing(reference);
  for (const Pair& pair : aligned.pairs) {
    const Record &a = reference.records[static_cast<size_t>(pair.a)],
                 &b = observed.records[static_cast<size_t>(pair.b)];
    if (!a.value || !b.value || a.value.elements() != b.value.elements()) continue;
    const auto at = static_cast<size_t>(pair.a);
    if (a.is_leaf() || is_number[at]) continue;
    partner_[at] = pair.b;
    // Rows in the order of RoPE's other convention mean the same, but cannot be computed with here.
    if (!pair.note.empty()) continue;
    const DType type = is_float(b.dtype) ? DType::f64 : b.dtype;
    observed_[at] = in_axes_of(converted(b.value, type), a.shape, a.value);
    exact[at] = {0, 0, false};
    judged_.push_back(pair.a);
  }
  std::sort(judged_.begin(), judged_.end());
  Coarseness coarseness;
  coarseness.add(observed);
  explained_ = explained_by_rounding(reference, coarseness, exact);
}

const Record& Replay::partner(int record) const {
  return recording_.records[static_cast<size_t>(partner_[static_cast<size_t>(record)])];
}

double Replay::explained(int record) const {
  const double coarse = is_float(partner(record).dtype) ? 8 * unit_roundoff(partner(record).dtype) : 0;
  return std::max({explained_[static_cast<size_t>(record)], coarse, kLeast});
}

Tensor Replay::weight(const std::string& name) const {
  const TensorEntry* entry = file_.find_tensor(name);
  return entry == nullptr ? Tensor() : converted(file_.tensor(*entry), DType::f64);
}

Tensor Replay::run(const Operation& operation) {
  const Tensor result = inspect::run(oracle_, operation, pool_);
  return is_float(result.dtype()) ? converted(result, DType::f64) : result;
}

/// The rows that were in the cache before, as the observed run had them, and the new ones.
Tensor Replay::appended(const Record& record, const Tensor& x, int number) const {
  Tensor rows(DType::f64, record.shape);
  const int64_t width = rows.elements() / std::max<int64_t>(1, rows.shape()[0]);
  const int64_t before = rows.shape()[0] - x.shape()[0];
  const Tensor fresh = converted(x, DType::f64);
  std::copy_n(fresh.data<double>(), fresh.elements(), rows.data<double>() + before * width);
  if (before == 0) return rows;
  for (int i = number - 1; i >= 0; --i) {  // the append before this one
    const Record& earlier = reference_.records[static_cast<size_t>(i)];
    const bool same =
        earlier.op == record.op && (earlier.inputs[0] == record.inputs[0] || i == record.inputs[0]);
    if (!same) continue;
    const Tensor& seen = observed_[static_cast<size_t>(i)];
    const Tensor& known = seen ? seen : earlier.value;
    std::copy_n(known.data<double>(), std::min(known.elements(), before * width), rows.data<double>());
    return rows;
  }
  return rows;
}

Tensor Replay::value(int number, bool is_target, const Change& change, std::vector<Tensor>& known) {
  const auto at = static_cast<size_t>(number);
  if (known[at]) return known[at];
  const Record& record = reference_.records[at];
  if (!is_target && observed_[at]) return known[at] = observed_[at];
  if (record.is_weight) return known[at] = file_.tensor(record.name);
  if (record.is_leaf()) {
    if (!record.value) throw Error("a replay reaches " + record.name + ", whose value was not kept");
    return known[at] = record.value;
  }
  Operation o{.op = op_named(record.op), .what = record.name, .attrs = record.attrs, .params = record.params};
  std::vector<std::string> weights;
  const bool appends = o.op == Op::cache_append;
  for (size_t i = 0; i < record.inputs.size(); ++i) {
    const int input = record.inputs[i];
    const Record& from = reference_.records[static_cast<size_t>(input)];
    weights.push_back(from.is_weight ? from.name : "");
    if (appends && i == 0)
      o.in.emplace_back();
    else
      o.in.push_back(value(input, false, change, known));
  }
  if (change) {
    const Replayed replayed{record, roles_[at], o, weights, number};
    if (std::optional<Tensor> other = change(replayed)) return known[at] = std::move(*other);
  }
  if (appends) return known[at] = appended(record, o.in[1], number);
  if (is_view(o.op)) return known[at] = viewed(o, record.shape);
  if (o.op == Op::scalar) return known[at] = record.value;
  return known[at] = run(o);
}

Tensor Replay::expected(int record, const Change& change) {
  std::vector<Tensor> known(reference_.records.size());
  return converted(value(record, true, change, known), DType::f64);
}

std::vector<const Record*> Replay::operations(int record) const {
  std::vector<const Record*> found;
  std::vector<int> open{record};
  std::vector<bool> met(reference_.records.size());
  while (!open.empty()) {
    const auto at = static_cast<size_t>(open.back());
    open.pop_back();
    const Record& r = reference_.records[at];
    if (met[at] || r.is_leaf() || (static_cast<int>(at) != record && observed_[at])) continue;
    met[at] = true;
    const bool counts = static_cast<int>(at) == record || !is_view(op_named(r.op));
    if (counts && r.op != "scalar" && r.op != "cast" && r.op != "affine_mask") found.push_back(&r);
    for (const int input : r.inputs) open.push_back(input);
  }
  return found;
}

}  // namespace tl::inspect
