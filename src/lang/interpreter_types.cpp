// Declared types while running: symbolic dimensions, checks of arguments and results, conversions.
#include <cmath>

#include <fmt/format.h>

#include "graph/builder.h"
#include "lang/checker.h"
#include "lang/interpreter_detail.h"

namespace tl::lang {

using namespace ast;

std::string Subject::text() const {
  switch (kind) {
    case Kind::argument:
      return fmt::format("argument '{}' of {}", name, function);
    case Kind::result:
      return fmt::format("the result of {}", function);
    case Kind::variable:
      return fmt::format("'{}'", name);
    case Kind::value:
      break;
  }
  return "the value";
}

/// Whether nothing needs to be looked at or converted.
static bool is_already(const Value& value, const Type& type) {
  switch (type.kind) {
    case TypeKind::any:
      return true;
    case TypeKind::boolean:
      return value.is(ValueKind::boolean);
    case TypeKind::integer:
      return value.is_int();
    case TypeKind::floating:
      return value.is(ValueKind::floating);
    case TypeKind::string:
      return value.is(ValueKind::string);
    case TypeKind::list:
      return value.is(ValueKind::list);
    case TypeKind::record:
      return value.is(ValueKind::record);
    case TypeKind::function:
      return value.is(ValueKind::function);
    case TypeKind::nothing:
      return value.is_nothing();
    case TypeKind::object:
      return value.is(ValueKind::object) && value.object().type_name() == type.name;
    case TypeKind::tensor:
      return value.is_tensor() && !type.dtype && !type.has_shape;
  }
  return false;
}

void Interpreter::Run::check_parameters(const Function& f, const Call* call) {
  for (uint32_t i = 0; i < f.parameters.size(); ++i) {
    const Parameter& p = f.parameters[i];
    if (is_already(frame_->slots[i], p.type)) continue;
    Span span = p.span;
    if (call)
      for (size_t a = 0; a < call->plan.size() && a < call->arguments.size(); ++a)
        if (call->plan[a] == i) span = call->arguments[a].value->span;
    check_value(frame_->slots[i], p.type, span, {Subject::Kind::argument, p.name, f.name});
  }
}

/// The number in a rank-0 tensor: an int, float or bool.
Value Interpreter::Run::scalar_of(const Value& tensor) {
  const Tensor content = host_.evaluate(tensor.tensor());
  if (content.dtype() == DType::boolean) return Value(load_int(content, 0) != 0);
  if (is_int(content.dtype())) return Value(load_int(content, 0));
  return Value(load_double(content, 0));
}

/// Checks `value` against a declared type and makes it that: an int where a float is declared becomes one, a
/// list of numbers a tensor, a rank-0 tensor a number.
void Interpreter::Run::check_value(Value& value, const Type& type, Span span, const Subject& subject) {
  if (is_already(value, type)) return;
  const auto refuse = [&] {
    fail(span, fmt::format("{} must be {}, not {}", subject.text(), type_text(type), value.describe()), {},
         {{type.span, "it is declared here"}});
  };
  const bool wants_scalar =
      type.kind == TypeKind::integer || type.kind == TypeKind::floating || type.kind == TypeKind::boolean;
  if (wants_scalar && value.is_tensor() && value.tensor()->shape().rank() == 0)
    value = guarded(span, [&] { return scalar_of(value); });
  switch (type.kind) {
    case TypeKind::floating:
      if (value.is_int()) value = Value(value.number());
      [[fallthrough]];
    default:
      return is_already(value, type) ? void() : refuse();
    case TypeKind::tensor:
      break;
  }
  const bool is_literal = value.is_number() || value.is(ValueKind::list) || value.is(ValueKind::boolean);
  if (is_literal) value = Value(guarded(span, [&] { return to_tensor(value, type.dtype); }));
  if (!value.is_tensor()) refuse();
  if (type.dtype) {
    const DType found = value.tensor()->dtype();
    const bool float_like = is_float(found) || is_quantised(found);
    if (is_float(*type.dtype) ? !float_like : found != *type.dtype) refuse();
  }
  check_shape(value, type, span, subject);
}

/// Compares extents, binding symbolic dimensions at their first use.
void Interpreter::Run::check_shape(const Value& value, const Type& type, Span span, const Subject& subject) {
  if (!type.has_shape) return;
  const Shape& shape = value.tensor()->shape();
  const auto refuse = [&](std::string why, std::vector<Diagnostic::Note> notes) {
    notes.push_back({type.span, "it is declared here"});
    fail(span,
         fmt::format("{} must be {}, not {}{}", subject.text(), type_text(type), value.describe(),
                     why.empty() ? "" : ": " + why),
         {}, std::move(notes));
  };
  size_t rest = type.dims.size();
  for (size_t i = 0; i < type.dims.size(); ++i)
    if (type.dims[i].kind == Dim::Kind::rest) rest = i;
  const bool has_rest = rest < type.dims.size();
  const auto rank = static_cast<size_t>(shape.rank());
  const size_t fixed = type.dims.size() - (has_rest ? 1 : 0);
  if (has_rest ? rank < fixed : rank != fixed) refuse({}, {});
  for (size_t i = 0; i < type.dims.size(); ++i) {
    const Dim& dim = type.dims[i];
    const size_t axis = i > rest ? i + rank - type.dims.size() : i;
    const bool has_size = dim.kind == Dim::Kind::fixed || dim.kind == Dim::Kind::symbol;
    if (!has_size) continue;
    const int64_t size = shape[static_cast<int>(axis)];
    if (dim.kind == Dim::Kind::fixed) {
      if (size != dim.size) refuse({}, {});
      continue;
    }
    DimBinding& bound = dims_[frame_->dims + dim.slot];
    if (bound.size < 0) {
      bound = {size, span};
    } else if (bound.size != size) {
      refuse(fmt::format("dimension '{}' is {}", dim.name, bound.size),
             {{bound.span, fmt::format("'{}' became {} here", dim.name, bound.size)}});
    }
  }
}

/// tensor x: T = value, and value as T.
Value Interpreter::Run::convert(const Value& value, const Type& type, Span span) {
  const auto refuse = [&] {
    fail(span, fmt::format("{} does not convert to {}", value.describe(), type_text(type)));
  };
  const bool is_scalar_tensor = value.is_tensor() && value.tensor()->shape().rank() == 0;
  const bool to_scalar =
      type.kind == TypeKind::integer || type.kind == TypeKind::floating || type.kind == TypeKind::boolean;
  const Value source =
      to_scalar && is_scalar_tensor ? guarded(span, [&] { return scalar_of(value); }) : value;
  switch (type.kind) {
    case TypeKind::integer:
      if (source.is_int()) return source;
      if (source.is(ValueKind::boolean)) return Value(source.boolean() ? 1 : 0);
      if (source.is(ValueKind::floating) && std::abs(source.floating()) < 0x1p63)
        return Value(static_cast<int64_t>(source.floating()));
      if (source.is_tensor()) return Value(graph::cast(source.tensor(), DType::i64));
      refuse();
      break;
    case TypeKind::floating:
      if (source.is_number()) return Value(source.number());
      if (source.is(ValueKind::boolean)) return Value(source.boolean() ? 1.0 : 0.0);
      if (source.is_tensor()) return Value(graph::cast(source.tensor(), DType::f64));
      refuse();
      break;
    case TypeKind::boolean:
      if (source.is(ValueKind::boolean)) return source;
      if (source.is_number()) return Value(source.number() != 0);
      if (source.is_tensor()) return Value(graph::cast(source.tensor(), DType::boolean));
      refuse();
      break;
    case TypeKind::string:
      return Value(guarded(span, [&] { return format_value(value, host_); }));
    case TypeKind::any:
    case TypeKind::tensor: {
      Value out(guarded(span, [&] { return to_tensor(value, type.dtype); }));
      check_shape(out, type, span, {});
      return out;
    }
    default:
      refuse();
  }
  return {};
}

}  // namespace tl::lang
