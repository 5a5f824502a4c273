#include "library/tensor_arguments.h"

#include <algorithm>
#include <cmath>
#include <span>

#include <fmt/format.h>

#include "base/checked.h"

namespace tl {

using graph::NodeRef;
using lang::Args;
using lang::Interpreter;
using lang::Value;
using lang::ValueKind;

std::vector<int> axes_argument(const Args& args, size_t i, int rank) {
  if (!args.has(i)) return {};
  const bool is_list = args[i].is(ValueKind::list);
  std::vector<int> axes;
  for (const int64_t axis : is_list ? args.ints(i) : std::vector{args.integer(i)})
    axes.push_back(graph::normalise_axis(args.function().name, axis, rank));
  return axes;
}

Shape shape_argument(const Args& args, size_t i, bool may_be_open) {
  const bool is_list = args[i].is(ValueKind::list);
  if (!is_list && !args[i].is_number()) args.wrong_kind(i, "a shape, as [2, 3]");
  const std::vector<int64_t> dims = is_list ? args.ints(i) : std::vector{args.integer(i)};
  if (dims.size() > kMaxRank)
    args.fail(i, fmt::format("[{}] a tensor has at most {} axes, and the shape has {}", args.function().name,
                             kMaxRank, dims.size()));
  const Shape shape{std::span(dims)};
  int64_t bytes = 8;
  for (const int64_t d : shape) {
    if (d < 0 && !(may_be_open && d == -1))
      args.fail(
          i, fmt::format("[{}] the extent {} in {} is negative", args.function().name, d, to_string(shape)));
    const auto product = checked_mul(bytes, std::max<int64_t>(d, 1));
    if (!product)
      args.fail(i, fmt::format("[{}] the shape {} is too large", args.function().name, to_string(shape)));
    bytes = *product;
  }
  return shape;
}

DType plain_dtype_argument(const Args& args, size_t i) {
  if (args[i].is_int() && args.function().parameters[0].name == "shape")
    args.fail(i, fmt::format("{0} takes its shape as one list: {0}([2, 3])", args.function().name));
  const DType dtype = args.dtype(i);
  if (is_quantised(dtype))
    args.fail(i, fmt::format("{} is a format of weights in files; a tensor can be made of float16, bfloat16, "
                             "float32, float64, int8, int32, int64 or bool",
                             name(dtype)));
  return dtype;
}

NodeRef ids_argument(const Args& args, size_t i) {
  if (args[i].is_tensor()) return args[i].tensor();
  if (args[i].is_number()) return graph::scalar_int(args.integer(i));
  if (!args[i].is(ValueKind::list)) args.wrong_kind(i, "ids: an int, a list of ints or an integer tensor");
  try {
    return lang::to_tensor(args[i], DType::i64);
  } catch (const Error& e) {
    args.fail(i, fmt::format("[{}] argument '{}': {}", args.function().name,
                             args.function().parameters[i].name, e.what()));
  }
}

NodeRef ids_below(Interpreter& interpreter, const Args& args, size_t i, int64_t n, std::string_view of_what) {
  const NodeRef ids = ids_argument(args, i);
  const auto& f = args.function();
  if (!is_int(ids->dtype()))
    args.fail(i, fmt::format("[{}] {} must be ints, and they are {}", f.name, f.parameters[i].name,
                             args[i].describe()));
  const Tensor values = converted(interpreter.evaluate(ids), DType::i64);
  for (const int64_t id : std::span(values.data<int64_t>(), static_cast<size_t>(values.elements())))
    if (id < 0 || id >= n)
      args.fail(i, fmt::format("[{}] the id {} is out of range: there are {} {}", f.name, id, n, of_what));
  return ids;
}

NodeRef mask_argument(const Args& args, size_t i) {
  const NodeRef mask = args.tensor(i);
  if (mask->dtype() == DType::boolean) return mask;
  const NodeRef zero =
      is_int(mask->dtype()) ? graph::scalar_int(0, mask->dtype()) : graph::scalar(0, mask->dtype());
  return graph::binary(Op::not_equal, mask, zero);
}

/// Argument `i`, which meets a tensor of type `other`.
static NodeRef operand_like(const Args& args, size_t i, DType other) {
  const Value& v = args[i];
  if (!v.is_number() || is_quantised(other)) return args.tensor(i);
  if (is_float(other)) return graph::scalar(v.number(), other);
  if (v.is_int() && is_int(other)) return graph::scalar_int(v.integer(), other);
  return args.tensor(i);
}

std::pair<NodeRef, NodeRef> operands(const Args& args, size_t i, size_t j) {
  if (args[i].is_number()) {
    NodeRef b = args.tensor(j);
    return {operand_like(args, i, b->dtype()), b};
  }
  NodeRef a = args.tensor(i);
  return {a, operand_like(args, j, a->dtype())};
}

void require_broadcast(const Args& args, const NodeRef& a, const NodeRef& b) {
  broadcast_shape(args.function().name, a->shape(), b->shape());
}

NodeRef last_axis_argument(const Args& args, size_t i, const NodeRef& x) {
  const NodeRef v = args.tensor(i);
  const Shape& shape = x->shape();
  if (shape.rank() > 0 && v->shape() != Shape{shape.back()})
    args.fail(i, fmt::format("[{}] x is {}, so argument '{}' must be [{}], and it is {}",
                             args.function().name, to_string(shape), args.function().parameters[i].name,
                             shape.back(), to_string(v->shape())));
  return v;
}

NodeRef number_like(double number, const NodeRef& x) {
  return graph::scalar(number, is_float(x->dtype()) ? x->dtype() : DType::f32);
}

NodeRef as_float(const NodeRef& x) { return is_float(x->dtype()) ? x : graph::cast(x, DType::f32); }

bool is_plain(const Value& value) {
  return value.is_number() || value.is(ValueKind::boolean) || value.is(ValueKind::list);
}

/// Whether every number in a nested list is of one of two kinds.
static bool consists_of(const Value& value, ValueKind kind) {
  if (!value.is(ValueKind::list)) return value.is(kind);
  const auto& items = value.list();
  return std::all_of(items.begin(), items.end(), [&](const Value& v) { return consists_of(v, kind); });
}

NodeRef exact_tensor(const Args& args, size_t i) {
  const Value& v = args[i];
  if (!is_plain(v)) return args.tensor(i);
  try {
    if (consists_of(v, ValueKind::integer)) return lang::to_tensor(v, DType::i64);
    if (consists_of(v, ValueKind::boolean)) return lang::to_tensor(v, DType::boolean);
    return lang::to_tensor(v, DType::f64);
  } catch (const Error& e) {
    args.fail(i, e.what());
  }
}

Value plain_value(Interpreter& interpreter, const NodeRef& node) {
  const Tensor value = interpreter.evaluate(node);
  TL_CHECK(value.elements() == 1, "a plain value has one element");
  if (node->dtype() == DType::boolean) return Value(load_int(value, 0) != 0);
  return is_int(node->dtype()) ? Value(load_int(value, 0)) : Value(load_double(value, 0));
}

}  // namespace tl
