// What goes wrong between queries, keys and values.
#include <cmath>

#include <fmt/format.h>

#include "inspect/hypothesis_rules.h"
#include "inspect/values.h"

namespace tl::inspect {

namespace {

bool is_scores(const Replayed& r) { return r.role.ends_with(".attn.scores"); }

/// Operand axes that read several labels' worth of rows (h / group): [operand, axis], or nothing.
struct GroupedAxis {
  size_t operand, axis;
  int64_t group;
};
std::optional<GroupedAxis> grouped_axis(const Operation& o) {
  const auto& operands = std::get<ContractAttrs>(o.attrs).operands;
  for (size_t i = 0; i < operands.size(); ++i)
    for (size_t axis = 0; axis < operands[i].size(); ++axis)
      if (operands[i][axis].divisor > 1) return GroupedAxis{i, axis, operands[i][axis].divisor};
  return std::nullopt;
}

/// The contraction with KV head h % n_kv for query head h.
std::optional<Tensor> with_modulo(Replay& replay, const Replayed& r) {
  if (r.operation.op != Op::contract) return std::nullopt;
  const auto grouped = grouped_axis(r.operation);
  if (!grouped) return std::nullopt;
  Operation o = r.operation;
  const Tensor kv = converted(o.in[grouped->operand], DType::f64);
  const int axis = static_cast<int>(grouped->axis);
  Shape shape = kv.shape();
  const int64_t n_kv = shape[axis], n_heads = n_kv * grouped->group;
  shape[axis] = n_heads;
  int64_t inner = 1, outer = 1;
  for (int a = 0; a < axis; ++a) outer *= shape[a];
  for (int a = axis + 1; a < shape.rank(); ++a) inner *= shape[a];
  Tensor repeated(DType::f64, shape);
  for (int64_t out = 0; out < outer; ++out)
    for (int64_t h = 0; h < n_heads; ++h)
      std::copy_n(kv.data<double>() + (out * n_kv + h % n_kv) * inner, inner,
                  repeated.data<double>() + (out * n_heads + h) * inner);
  o.in[grouped->operand] = repeated;
  std::get<ContractAttrs>(o.attrs).operands[grouped->operand][grouped->axis].divisor = 1;
  return replay.run(o);
}

/// The factor that takes `from` nearest to `to`.
double best_factor(const Tensor& from, const Tensor& to) {
  const std::vector<double> x = values_of(from), y = values_of(to);
  double product = 0, squares = 0;
  for (size_t i = 0; i < x.size(); ++i) product += x[i] * y[i], squares += x[i] * x[i];
  return squares > 0 ? product / squares : 0;
}

Tensor scaled(const Tensor& x, double factor) {
  Tensor y = converted(x, DType::f64);
  for (int64_t i = 0; i < y.elements(); ++i) y.data<double>()[i] *= factor;
  return y;
}

/// A mask over [.., query, key] made of a rule on (query, key), the position of the first query being `pos`.
template <class Visible>
std::optional<Tensor> masked(Replay& replay, const Replayed& r, Visible visible) {
  if (r.operation.op != Op::softmax || r.operation.in.size() < 2) return std::nullopt;
  Operation o = r.operation;
  const Shape& shape = o.in[0].shape();
  const int64_t n_keys = shape.back(), n_queries = shape[shape.rank() - 2];
  Tensor mask(DType::boolean, {n_queries, n_keys});
  for (int64_t i = 0; i < n_queries; ++i)
    for (int64_t j = 0; j < n_keys; ++j) store_int(mask, i * n_keys + j, visible(i + n_keys - n_queries, j));
  o.in[1] = mask;
  try {
    return replay.run(o);
  } catch (const Error&) {  // a row that sees nothing
    return std::nullopt;
  }
}

}  // namespace

void add_attention_rules(Replay& replay, int record, Hypotheses& all) {
  all.push_back({"kv-head-modulo", "query head h reads KV head h % n_kv_heads", "it is h / group",
                 [&replay](const Replayed& r) { return with_modulo(replay, r); }});
  const double factor = best_factor(replay.expected(record), replay.observed(record));
  all.push_back({"attention-scale",
                 fmt::format("attention scores are {:.4g} times what they should be", factor),
                 "divide by the square root of head_dim, once; not of the hidden width",
                 [&replay, factor](const Replayed& r) -> std::optional<Tensor> {
                   if (!is_scores(r) || !(std::fabs(factor) > 1e-6)) return std::nullopt;
                   return scaled(replay.run(r.operation), factor);
                 }});
  all.push_back({"scores-float16", "attention scores are kept in float16", "keep scores in float32",
                 [&replay](const Replayed& r) -> std::optional<Tensor> {
                   if (!is_scores(r)) return std::nullopt;
                   const Tensor exact = replay.run(r.operation);
                   for (int64_t i = 0; i < exact.elements(); ++i)
                     exact.data<double>()[i] = rounded(DType::f16, exact.data<double>()[i]);
                   return exact;
                 }});
  all.push_back({"mask-missing", "the causal mask is missing: queries see later tokens",
                 "only keys j <= i + position are visible to query i", [&replay](const Replayed& r) {
                   return masked(replay, r, [](int64_t, int64_t) { return true; });
                 }});
  for (const int64_t off : {1, -1})
    all.push_back(
        {"mask-off-by-one",
         fmt::format("the causal mask is off by one: a query sees one key too {}", off > 0 ? "many" : "few"),
         "key j is visible to query i where j <= i + position", [&replay, off](const Replayed& r) {
           return masked(replay, r, [off](int64_t i, int64_t j) { return j <= i + off; });
         }});
  all.push_back({"mask-inverted", "the causal mask is inverted", "keys up to the query's own stay visible",
                 [&replay](const Replayed& r) {
                   return masked(replay, r, [](int64_t i, int64_t j) { return j >= i; });
                 }});
  all.push_back({"mask-inverted", "the causal mask is inverted", "keys up to the query's own stay visible",
                 [&replay](const Replayed& r) {
                   return masked(replay, r, [](int64_t i, int64_t j) { return j > i || i == 0; });
                 }});
  all.push_back(
      {"strided-as-contiguous", "memory in the order [head, position] is read as if it were [position, head]",
       "copy a permuted tensor before it is read as contiguous memory",
       [&replay](const Replayed& r) -> std::optional<Tensor> {
         if (!r.role.ends_with(".attn.heads")) return std::nullopt;
         const Tensor heads = replay.run(r.operation);
         if (heads.rank() != 3) return std::nullopt;
         const Shape& s = heads.shape();
         const Tensor by_head = converted(
             heads.view({s[1], s[0], s[2]}, {heads.strides()[1], heads.strides()[0], heads.strides()[2]}),
             DType::f64);
         return by_head.reshaped(s);
       }});
}

}  // namespace tl::inspect
