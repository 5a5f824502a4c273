#include "lang/indexing.h"

#include <algorithm>

#include <fmt/format.h>

#include "graph/builder.h"
#include "lang/native.h"

namespace tl::lang {

using Kind = ast::IndexItem::Kind;
using graph::NodeRef;

namespace {

/// x read at one position, which stands at `axis`; `axis` moves behind what it gave.
NodeRef read_at(NodeRef x, const IndexPosition& p, int& axis) {
  if (p.kind == Kind::slice) return graph::slice(std::move(x), axis++, p.begin, p.end, p.step.value_or(1));
  if (p.key.is_int()) return graph::select_index(std::move(x), axis, p.key.integer());
  if (!p.key.is_tensor() && !p.key.is(ValueKind::list))
    throw Error(fmt::format("a tensor is indexed by ints and slices, not {}", p.key.describe()));
  const NodeRef ids = to_tensor(p.key, p.key.is_tensor() ? std::nullopt : std::optional(DType::i64));
  if (ids->dtype() == DType::boolean)
    throw Error("indices are ints, not bool; select(condition, a, b) chooses element by element");
  if (!is_int(ids->dtype())) throw Error(fmt::format("indices are ints, not {}", name(ids->dtype())));
  x = graph::make(Op::take, {x, ids}, AxisAttrs{axis});
  axis += ids->shape().rank();
  return x;
}

}  // namespace

NodeRef index_tensor(NodeRef x, std::span<const IndexPosition> positions) {
  const auto is_rest = [](const IndexPosition& p) { return p.kind == Kind::ellipsis; };
  const auto n_rest = std::count_if(positions.begin(), positions.end(), is_rest);
  const auto n_given = static_cast<int64_t>(positions.size()) - n_rest;
  if (n_rest > 1) throw Error("an index holds at most one '...'");
  if (n_given > x->shape().rank())
    throw Error(
        fmt::format("{} positions index a tensor {}{}", n_given, name(x->dtype()), to_string(x->shape())));
  int axis = 0;
  for (const IndexPosition& p : positions) {
    if (is_rest(p)) {
      const auto after = positions.end() - std::find_if(positions.begin(), positions.end(), is_rest) - 1;
      axis = x->shape().rank() - static_cast<int>(after);
      continue;
    }
    try {
      x = read_at(std::move(x), p, axis);
    } catch (const ProgramError&) {
      throw;
    } catch (const Error& e) {
      throw ProgramError({{Severity::error, p.span, e.what(), {}, {}}});
    }
  }
  return x;
}

}  // namespace tl::lang
