#include "lang/known.h"

#include <algorithm>

#include <fmt/format.h>

#include "lang/checker.h"

namespace tl::lang {

using namespace ast;

Known known_of(const Type& type) {
  Known known{type.kind, &type};
  if (type.kind != TypeKind::tensor) return known;
  known.dtype = type.dtype;
  const bool has_rest =
      std::any_of(type.dims.begin(), type.dims.end(), [](const Dim& d) { return d.kind == Dim::Kind::rest; });
  if (!type.has_shape || has_rest) return known;
  known.shape.emplace();
  for (const Dim& d : type.dims) {
    if (d.kind == Dim::Kind::fixed)
      known.shape->push_back(Extent::constant(d.size));
    else if (d.kind == Dim::Kind::symbol)
      known.shape->push_back(Extent::named(d.name));
    else
      known.shape->emplace_back();
  }
  return known;
}

Known int_of(Extent number) {
  Known known{TypeKind::integer};
  known.number = std::move(number);
  return known;
}

Known result_of(const NativeFunction& f) {
  // Its place is in no file that a note could show, but it names the type of an object.
  return {f.result.kind, f.result.kind == TypeKind::object ? &f.result : nullptr};
}

Known common(const Known& a, const Known& b) {
  if (a.kind != b.kind) return {};
  Known out{a.kind};
  if (a.type == b.type) out.type = a.type;
  if (a.dtype == b.dtype) out.dtype = a.dtype;
  if (a.number == b.number) out.number = a.number;
  if (a.shape && b.shape && a.shape->size() == b.shape->size()) {
    out.shape = a.shape;
    for (size_t i = 0; i < out.shape->size(); ++i)
      if (!((*a.shape)[i] == (*b.shape)[i])) (*out.shape)[i] = {};
  }
  return out;
}

static std::string to_string(const Extent& extent) {
  if (extent.kind == Extent::Kind::unknown) return "?";
  return extent.kind == Extent::Kind::constant ? fmt::format("{}", extent.size) : extent.symbol;
}

std::string to_string(const Known& known) {
  switch (known.kind) {
    case TypeKind::any:
      return {};
    case TypeKind::boolean:
      return "bool";
    case TypeKind::integer:
      return "int";
    case TypeKind::floating:
      return "float";
    case TypeKind::string:
      return "string";
    case TypeKind::list:
      return "list";
    case TypeKind::record:
      return "record";
    case TypeKind::function:
      return "function";
    case TypeKind::nothing:
      return "void";
    case TypeKind::object:
      return known.type ? known.type->name : "object";
    case TypeKind::tensor:
      break;
  }
  std::string text(known.dtype ? name(*known.dtype) : "tensor");
  if (!known.shape) return text;
  std::vector<std::string> extents;
  for (const Extent& extent : *known.shape) extents.push_back(to_string(extent));
  return text + fmt::format("[{}]", fmt::join(extents, ", "));
}

std::string describe(const Known& known) {
  if (known.kind == TypeKind::object && known.type) return "a " + known.type->name;
  if (!known.is_tensor()) return std::string(describe(known.kind));
  const std::string text = to_string(known);
  if (!known.dtype) return "a " + text;
  return known.shape ? "a tensor " + text : fmt::format("a {} tensor", text);
}

std::string_view text_of(Span span) { return span.source->text().substr(span.begin, span.end - span.begin); }

std::string type_text(const Type& type) {
  if (type.kind == TypeKind::object) return "a " + type.name;
  if (type.kind != TypeKind::tensor || !type.span) return std::string(describe(type.kind));
  return std::string(text_of(type.span));
}

bool clash(const Extent& a, const Extent& b) {
  return a.kind == Extent::Kind::constant && b.kind == Extent::Kind::constant && a.size != b.size;
}

}  // namespace tl::lang
