#include "ops/op.h"

#include <ranges>

#include "base/error.h"

namespace tl {

namespace {
constexpr std::array kOps{
#define X(id, doc) OpInfo{Op::id, OpKind::unary, #id, 1, 1, doc},
    TL_UNARY_OPS(X)
#undef X
#define X(id, doc) OpInfo{Op::id, OpKind::binary, #id, 2, 2, doc},
        TL_BINARY_OPS(X)
#undef X
#define X(id, doc) OpInfo{Op::id, OpKind::compare, #id, 2, 2, doc},
            TL_COMPARE_OPS(X)
#undef X
#define X(id, doc) OpInfo{Op::reduce_##id, OpKind::reduce, #id, 1, 1, doc},
                TL_REDUCE_OPS(X)
#undef X
#define X(id, least, most, doc) OpInfo{Op::id, OpKind::structured, #id, least, most, doc},
                    TL_STRUCTURED_OPS(X)
#undef X
};
static_assert(kOps.size() == kOpCount);

/// Spells attributes as words.
struct Spell {
  std::vector<int64_t>& words;
  void add(int64_t v) { words.push_back(v); }
  template <std::ranges::sized_range List>
  void add(const List& values) {
    add(static_cast<int64_t>(values.size()));
    for (const auto& v : values) add(v);
  }
  void add(const AxisIndex::Term& t) { add(t.label), add(t.coefficient); }
  void add(const AxisIndex& a) { add(a.terms), add(a.divisor); }

  void operator()(const NoAttrs&) {}
  void operator()(const AxisAttrs& a) { add(a.axis); }
  void operator()(const ReduceAttrs& a) { add(a.axes), add(a.keepdim); }
  void operator()(const PermuteAttrs& a) { add(a.order); }
  void operator()(const DTypeAttrs& a) { add(static_cast<int64_t>(a.dtype)); }
  void operator()(const SortAttrs& a) { add(a.axis), add(a.descending); }
  void operator()(const RopeAttrs& a) { add(static_cast<int64_t>(a.style)); }
  void operator()(const AffineMaskAttrs& a) { add(a.coefficients); }
  void operator()(const ContractAttrs& a) {
    add(a.n_result_labels), add(a.n_labels), add(static_cast<int64_t>(a.reduction)), add(a.operands);
  }
  void operator()(const AttentionAttrs& a) {
    add(a.q_order), add(a.k_order), add(a.v_order), add(a.out_order), add(a.group), add(a.causal);
  }
};
}  // namespace

const OpInfo& info(Op op) { return kOps[static_cast<size_t>(op)]; }

void append_words(const Attrs& attrs, std::vector<int64_t>& words) {
  words.push_back(static_cast<int64_t>(attrs.index()));
  std::visit(Spell{words}, attrs);
}

}  // namespace tl
