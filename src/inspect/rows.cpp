#include "inspect/rows.h"

#include <algorithm>
#include <cstring>

#include "inspect/values.h"

namespace tl::inspect {

namespace {

/// Which inputs have one row per row of the result, and along which axis.
enum class Rule {
  none,
  first_input,  ///< axis 0 of the first input; the others belong to all rows
  every_input,  ///< axis 0 of every input that is not broadcast along it
  rope,
  attention,
  contract,
};

Rule rule_of(const Operation& o) {
  const OpKind kind = info(o.op).kind;
  if (kind == OpKind::unary || kind == OpKind::binary || kind == OpKind::compare) return Rule::every_input;
  switch (o.op) {
    case Op::swiglu:
    case Op::select:
    case Op::logical_not:
    case Op::cast:
      return is_quantised(o.in[0].dtype()) ? Rule::none : Rule::every_input;
    case Op::linear:
    case Op::rms_norm:
    case Op::layer_norm:
      return o.in[0].rank() >= 2 ? Rule::first_input : Rule::none;
    case Op::matmul:
      return o.in[0].rank() == 2 && o.in[1].rank() == 2 ? Rule::first_input : Rule::none;
    case Op::softmax:
    case Op::log_softmax:
      return o.in[0].rank() >= 2 && std::get<AxisAttrs>(o.attrs).axis > 0 ? Rule::every_input : Rule::none;
    case Op::embedding:
      return o.in[1].rank() >= 1 ? Rule::every_input : Rule::none;
    case Op::rope:
      return Rule::rope;
    case Op::attention:
      return Rule::attention;
    case Op::contract:
      return std::get<ContractAttrs>(o.attrs).n_result_labels > 0 ? Rule::contract : Rule::none;
    default:
      return Rule::none;
  }
}

/// Whether input `i` of an operation of `every_input` has the result's rows.
bool has_rows(const Operation& o, size_t i, const Shape& result) {
  if (o.op == Op::embedding) return i == 1;
  const Shape& shape = o.in[i].shape();
  return shape.rank() == result.rank() && shape[0] == result[0];
}

/// Rows `index` of a tensor's outermost axis as a new tensor.
Tensor gathered(const Tensor& t, const std::vector<int64_t>& index) {
  Shape shape = t.shape();
  shape[0] = static_cast<int64_t>(index.size());
  Tensor out(t.dtype(), shape);
  const Tensor whole = t.is_contiguous() ? t : converted(t, t.dtype());
  const int64_t width = t.elements() / std::max<int64_t>(1, t.shape()[0]);
  const auto bytes = static_cast<size_t>(bytes_of(t.dtype(), width));
  for (size_t r = 0; r < index.size(); ++r)
    std::memcpy(out.at(static_cast<int64_t>(r) * width), whole.at(index[r] * width), bytes);
  return out;
}

/// Result label 0 starts at `first`: every index that it takes part in is moved by as much.
void move_label(Operation& o, int64_t first, int64_t n) {
  const auto& attrs = std::get<ContractAttrs>(o.attrs);
  o.params.ints[0] = n;
  auto at = static_cast<size_t>(attrs.n_labels);
  for (const auto& operand : attrs.operands)
    for (const AxisIndex& axis : operand) {
      for (const auto& term : axis.terms)
        if (term.label == 0) o.params.ints[at] += term.coefficient * first;
      ++at;
    }
}

}  // namespace

Tensor part_of(const Tensor& t, int axis, int64_t first, int64_t n) {
  Shape shape = t.shape();
  shape[axis] = n;
  return t.view(shape, t.strides(), first * t.strides()[axis]);
}

int64_t row_count(const Operation& o) {
  const Rule rule = rule_of(o);
  if (rule == Rule::none) return 0;
  const Shape shape = result_type(o).shape;
  if (shape.rank() == 0) return 0;
  if (rule == Rule::attention) return shape[std::get<AttentionAttrs>(o.attrs).out_order[0]];
  return shape[0];
}

RowsOperation rows_of(const Operation& whole, int64_t first, int64_t n) {
  RowsOperation part{whole, 0};
  Operation& o = part.operation;
  const Shape result = result_type(whole).shape;
  switch (rule_of(whole)) {
    case Rule::none:
      TL_CHECK(false, "rows of an operation that has none");
      break;
    case Rule::first_input:
      o.in[0] = part_of(o.in[0], 0, first, n);
      break;
    case Rule::every_input:
      for (size_t i = 0; i < o.in.size(); ++i)
        if (has_rows(whole, i, result)) o.in[i] = part_of(o.in[i], 0, first, n);
      break;
    case Rule::rope:
      o.in[0] = part_of(o.in[0], 0, first, n);
      if (result.rank() <= 3) o.params.ints[0] += first;  // axis 0 is the position
      break;
    case Rule::attention: {
      const auto& attrs = std::get<AttentionAttrs>(o.attrs);
      part.axis = attrs.out_order[0];
      o.in[0] = part_of(o.in[0], attrs.q_order[0], first, n);
      if (o.in.size() == 4) o.in[3] = part_of(o.in[3], 0, first, n);
      o.params.ints[0] += first;
      break;
    }
    case Rule::contract:
      move_label(o, first, n);
      break;
  }
  return part;
}

std::optional<Operation> with_rows(const Operation& whole, int64_t n) {
  const Rule rule = rule_of(whole);
  const int64_t had = rule == Rule::first_input || rule == Rule::every_input ? row_count(whole) : 0;
  if (had == 0) return std::nullopt;
  std::vector<int64_t> index(static_cast<size_t>(n));
  for (size_t i = 0; i < index.size(); ++i) index[i] = static_cast<int64_t>(i) % had;
  const Shape result = result_type(whole).shape;
  Operation o = whole;
  for (size_t i = 0; i < o.in.size(); ++i)
    if (rule == Rule::first_input ? i == 0 : has_rows(whole, i, result)) o.in[i] = gathered(o.in[i], index);
  return o;
}

}  // namespace tl::inspect
