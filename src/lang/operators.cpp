// Operators on values that are not both plain ints.
#include <cmath>

#include <fmt/format.h>

#include "base/checked.h"
#include "graph/builder.h"
#include "lang/interpreter_detail.h"

namespace tl::lang {

using ast::BinaryOp;
using ast::UnaryOp;
using graph::NodeRef;

namespace {

[[noreturn]] void mismatch(BinaryOp op, const Value& a, const Value& b) {
  throw Error(fmt::format("'{}' does not apply to {} and {}", spelling(op), a.describe(), b.describe()));
}

template <class T>
T checked(std::optional<T> result, BinaryOp op, int64_t a, int64_t b) {
  if (result) return *result;
  throw Error(fmt::format("{} {} {} does not fit in a 64-bit int", a, spelling(op), b));
}

int64_t int_power(int64_t base, int64_t exponent) {
  if (exponent < 0)
    throw Error(fmt::format("{} ** {} is no int; write {}.0 for a float power", base, exponent, base));
  const int64_t given_base = base, given_exponent = exponent;
  int64_t result = 1;
  while (exponent > 0) {
    if (exponent & 1)
      result = checked(checked_mul(result, base), BinaryOp::power, given_base, given_exponent);
    exponent >>= 1;
    if (exponent > 0) base = checked(checked_mul(base, base), BinaryOp::power, given_base, given_exponent);
  }
  return result;
}

Value int_operation(BinaryOp op, int64_t a, int64_t b) {
  switch (op) {
    case BinaryOp::add:
      return Value(checked(checked_add(a, b), op, a, b));
    case BinaryOp::subtract:
      return Value(checked(checked_sub(a, b), op, a, b));
    case BinaryOp::multiply:
    case BinaryOp::hadamard:
    case BinaryOp::outer:
      return Value(checked(checked_mul(a, b), op, a, b));
    case BinaryOp::divide:
    case BinaryOp::remainder:
      if (b == 0) throw Error("division of an int by zero");
      if (b == -1)
        return op == BinaryOp::divide ? Value(checked(checked_sub<int64_t>(0, a), op, a, b)) : Value(0);
      return Value(op == BinaryOp::divide ? a / b : a % b);
    case BinaryOp::power:
      return Value(int_power(a, b));
    default:
      return {};
  }
}

/// |a - b| <= 1e-8 + 1e-5 |b|, as numpy.isclose.
constexpr double kAbsolute = 1e-8, kRelative = 1e-5;

Value float_operation(BinaryOp op, double a, double b) {
  switch (op) {
    case BinaryOp::add:
      return Value(a + b);
    case BinaryOp::subtract:
      return Value(a - b);
    case BinaryOp::multiply:
    case BinaryOp::hadamard:
    case BinaryOp::outer:
      return Value(a * b);
    case BinaryOp::divide:
      return Value(a / b);
    case BinaryOp::remainder:
      return Value(std::fmod(a, b));
    case BinaryOp::power:
      return Value(std::pow(a, b));
    case BinaryOp::less:
      return Value(a < b);
    case BinaryOp::less_equal:
      return Value(a <= b);
    case BinaryOp::greater:
      return Value(a > b);
    case BinaryOp::greater_equal:
      return Value(a >= b);
    case BinaryOp::approximately:
      return Value(a == b || std::abs(a - b) <= kAbsolute + kRelative * std::abs(b));
    default:
      return {};
  }
}

// ----------------------------------------------------------------------------------------------------
// tensors

/// A number as a rank-0 tensor beside `other`: it takes the other's type, so that it never widens it; a float
/// beside ints gives float32.
NodeRef beside(const Value& number, const NodeRef& other) {
  const DType type = other->dtype();
  if (number.is(ValueKind::boolean)) return graph::scalar_int(number.boolean() ? 1 : 0, DType::boolean);
  if (is_float(type)) return graph::scalar(number.number(), type);
  if (number.is(ValueKind::floating)) return graph::scalar(number.floating(), DType::f32);
  if (!is_int(type)) return graph::scalar_int(number.integer());
  const int64_t v = number.integer();
  const bool fits =
      type == DType::i64 || (type == DType::i32 ? v == static_cast<int32_t>(v) : v == static_cast<int8_t>(v));
  if (!fits) throw Error(fmt::format("{} does not fit in {}", v, name(type)));
  return graph::scalar_int(v, type);
}

bool is_tensor_operand(const Value& v) {
  return v.is_tensor() || v.is_number() || v.is(ValueKind::boolean) || v.is(ValueKind::list);
}

NodeRef outer_product(const NodeRef& a, const NodeRef& b) {
  Shape left = a->shape();
  for (int i = 0; i < b->shape().rank(); ++i) {
    if (left.rank() == kMaxRank) throw Error(fmt::format("[⊗] the result has more than {} axes", kMaxRank));
    left.push_back(1);
  }
  return graph::binary(Op::mul, graph::reshape(a, left), b);
}

NodeRef approximately(const NodeRef& a, const NodeRef& b) {
  const auto constant = [&](double v) {
    return graph::scalar(v, is_float(b->dtype()) ? b->dtype() : DType::f32);
  };
  const NodeRef distance = graph::unary(Op::abs, graph::binary(Op::sub, a, b));
  const NodeRef size = graph::binary(Op::mul, graph::unary(Op::abs, b), constant(kRelative));
  return graph::binary(Op::less_equal, distance, graph::binary(Op::add, size, constant(kAbsolute)));
}

Op graph_op(BinaryOp op) {
  switch (op) {
    case BinaryOp::logical_or:
      return Op::logical_or;
    case BinaryOp::logical_and:
      return Op::logical_and;
    case BinaryOp::equal:
      return Op::equal;
    case BinaryOp::not_equal:
      return Op::not_equal;
    case BinaryOp::less:
      return Op::less;
    case BinaryOp::less_equal:
      return Op::less_equal;
    case BinaryOp::greater:
      return Op::greater;
    case BinaryOp::greater_equal:
      return Op::greater_equal;
    case BinaryOp::add:
      return Op::add;
    case BinaryOp::subtract:
      return Op::sub;
    case BinaryOp::divide:
      return Op::div;
    case BinaryOp::remainder:
      return Op::mod;
    case BinaryOp::power:
      return Op::pow;
    default:
      return Op::mul;
  }
}

Value tensor_operation(BinaryOp op, const Value& a, const Value& b) {
  if (!is_tensor_operand(a) || !is_tensor_operand(b)) mismatch(op, a, b);
  const auto is_array = [](const Value& v) { return v.is_tensor() || v.is(ValueKind::list); };
  NodeRef x = is_array(a) ? to_tensor(a) : nullptr;
  NodeRef y = is_array(b) ? to_tensor(b) : nullptr;
  if (!x) x = beside(a, y);
  if (!y) y = beside(b, x);
  // A list beside a tensor is a literal: it takes the tensor's float type.
  if (a.is(ValueKind::list) && b.is_tensor() && is_float(y->dtype())) x = graph::cast(x, y->dtype());
  if (b.is(ValueKind::list) && a.is_tensor() && is_float(x->dtype())) y = graph::cast(y, x->dtype());
  switch (op) {
    case BinaryOp::matmul:
      return Value(graph::matmul(std::move(x), std::move(y)));
    case BinaryOp::outer:
      return Value(outer_product(x, y));
    case BinaryOp::approximately:
      return Value(approximately(x, y));
    default:
      return Value(graph::binary(graph_op(op), std::move(x), std::move(y)));
  }
}

// ------------------------------------------------------------------------------------------- everything else

Value string_operation(BinaryOp op, const Value& a, const Value& b, const Limits& limits) {
  const bool both = a.is(ValueKind::string) && b.is(ValueKind::string);
  if (both) {
    switch (op) {
      case BinaryOp::add: {
        if (a.string().size() + b.string().size() > limits.elements)
          throw Error("this string grows too long");
        return Value(a.string() + b.string());
      }
      case BinaryOp::less:
        return Value(a.string() < b.string());
      case BinaryOp::less_equal:
        return Value(a.string() <= b.string());
      case BinaryOp::greater:
        return Value(a.string() > b.string());
      case BinaryOp::greater_equal:
        return Value(a.string() >= b.string());
      default:
        mismatch(op, a, b);
    }
  }
  const Value& text = a.is(ValueKind::string) ? a : b;
  const Value& count = a.is(ValueKind::string) ? b : a;
  if (op != BinaryOp::multiply || !count.is_int()) mismatch(op, a, b);
  const auto times = static_cast<uint64_t>(std::max<int64_t>(0, count.integer()));
  if (!text.string().empty() && times > limits.elements / text.string().size())
    throw Error("this string grows too long");
  std::string out;
  out.reserve(text.string().size() * times);
  for (uint64_t i = 0; i < times; ++i) out += text.string();
  return Value(std::move(out));
}

bool contains(const Value& sequence, const Value& item) {
  if (sequence.is(ValueKind::string) && item.is(ValueKind::string))
    return sequence.string().find(item.string()) != std::string::npos;
  if (sequence.is(ValueKind::record) && item.is(ValueKind::string))
    return sequence.field(item.string()) != nullptr;
  if (!sequence.is(ValueKind::list)) mismatch(BinaryOp::in, item, sequence);
  for (const Value& v : sequence.list())
    if (equal_values(v, item)) return true;
  return false;
}

Value concatenated(const Value& a, const Value& b, const Limits& limits) {
  std::vector<Value> items = a.list();
  if (items.size() + b.list().size() > limits.elements) throw Error("this list grows too long");
  items.insert(items.end(), b.list().begin(), b.list().end());
  return Value(std::move(items));
}

}  // namespace

bool equal_values(const Value& a, const Value& b) {
  if (a.is_number() && b.is_number()) {
    if (a.is_int() && b.is_int()) return a.integer() == b.integer();
    return a.number() == b.number();
  }
  if (a.kind() != b.kind()) return false;
  switch (a.kind()) {
    case ValueKind::nothing:
      return true;
    case ValueKind::boolean:
      return a.boolean() == b.boolean();
    case ValueKind::string:
      return a.string() == b.string();
    case ValueKind::list:
      return std::equal(a.list().begin(), a.list().end(), b.list().begin(), b.list().end(), equal_values);
    case ValueKind::record: {
      if (a.fields().size() != b.fields().size()) return false;
      for (const auto& [name, value] : a.fields()) {
        const Value* other = b.field(name);
        if (!other || !equal_values(value, *other)) return false;
      }
      return true;
    }
    case ValueKind::function:
      return a.function().user == b.function().user && a.function().native == b.function().native;
    case ValueKind::tensor:
      return a.tensor() == b.tensor();
    default:
      return &a.object() == &b.object();
  }
}

Value apply_unary(UnaryOp op, const Value& operand) {
  if (op == UnaryOp::logical_not) {
    if (operand.is(ValueKind::boolean)) return Value(!operand.boolean());
    if (operand.is_tensor()) return Value(graph::unary(Op::logical_not, operand.tensor()));
    throw Error(fmt::format("'not' does not apply to {}", operand.describe()));
  }
  if (operand.is_int()) {
    if (const auto negated = checked_sub<int64_t>(0, operand.integer())) return Value(*negated);
    throw Error(fmt::format("-({}) does not fit in a 64-bit int", operand.integer()));
  }
  if (operand.is(ValueKind::floating)) return Value(-operand.floating());
  if (operand.is_tensor() || operand.is(ValueKind::list))
    return Value(graph::unary(Op::neg, to_tensor(operand)));
  throw Error(fmt::format("'-' does not apply to {}", operand.describe()));
}

Value apply_binary(BinaryOp op, const Value& a, const Value& b, const Limits& limits) {
  if (op == BinaryOp::in) return Value(contains(b, a));
  if (a.is_tensor() || b.is_tensor()) return tensor_operation(op, a, b);
  if (op == BinaryOp::equal) return Value(equal_values(a, b));
  if (op == BinaryOp::not_equal) return Value(!equal_values(a, b));
  if (a.is_number() && b.is_number() && op != BinaryOp::matmul) {
    const bool is_comparison = op < BinaryOp::add;
    if (a.is_int() && b.is_int() && !is_comparison) return int_operation(op, a.integer(), b.integer());
    return float_operation(op, a.number(), b.number());
  }
  if (a.is(ValueKind::string) || b.is(ValueKind::string)) return string_operation(op, a, b, limits);
  // Lists join with +; anything else takes a list of numbers for the tensor it could be.
  if (op == BinaryOp::add && a.is(ValueKind::list) && b.is(ValueKind::list))
    return concatenated(a, b, limits);
  if (a.is(ValueKind::list) || b.is(ValueKind::list)) return tensor_operation(op, a, b);
  mismatch(op, a, b);
}

}  // namespace tl::lang
