// What goes wrong with rotary positions, and with the heads of queries and keys.
#include <bit>
#include <cmath>

#include <fmt/format.h>

#include "inspect/hypothesis_rules.h"
#include "inspect/values.h"

namespace tl::inspect {

namespace {

enum class Which { both, queries, keys };

bool concerns(const Replayed& r, Which which) {
  const bool is_key = r.role.find("attn_k") != std::string::npos;
  return which == Which::both || (which == Which::keys) == is_key;
}

/// Changes rope operations by editing them.
template <class Edit>
Replay::Change edited(Replay& replay, Which which, Edit edit) {
  return [&replay, which, edit](const Replayed& r) -> std::optional<Tensor> {
    if (r.operation.op != Op::rope || !concerns(r, which)) return std::nullopt;
    Operation o = r.operation;
    if (!edit(o)) return std::nullopt;
    return replay.run(o);
  };
}

/// Head by head, halves (i, i + d/2) written as neighbours (2i, 2i + 1), or the reverse.
Tensor with_pairs_moved(const Tensor& x, int64_t dim, bool to_neighbours) {
  Tensor y(DType::f64, x.shape());
  const std::vector<double> from = values_of(x);
  auto* to = y.data<double>();
  const int64_t half = dim / 2;
  for (int64_t at = 0; at < x.elements(); ++at) {
    const int64_t head = at / dim * dim, i = at % dim;
    const int64_t source = to_neighbours ? (i % 2) * half + i / 2 : (i % half) * 2 + i / half;
    to[at] = from[static_cast<size_t>(head + source)];
  }
  return y;
}

/// The number of dimensions of a head, and of KV heads, from the reference's rope of keys.
struct Heads {
  int64_t dim = 0, n_kv = 0;
};
Heads heads_of(const Replay& replay) {
  for (size_t i = 0; i < replay.reference().records.size(); ++i) {
    const Record& r = replay.reference().records[i];
    if (r.op == "rope" && r.shape.rank() == 3 &&
        replay.role(static_cast<int>(i)).find("attn_k") != std::string::npos)
      return {r.shape[2], r.shape[1]};
  }
  return {};
}

/// Changes what the projections to queries (and keys) give.
template <class Move>
Replay::Change projected(Replay& replay, Which which, Move move) {
  return [&replay, which, move](const Replayed& r) -> std::optional<Tensor> {
    const bool is_projection = r.operation.op == Op::linear && (r.role.find(".attn_q") != std::string::npos ||
                                                                r.role.find(".attn_k") != std::string::npos);
    if (!is_projection || !concerns(r, which)) return std::nullopt;
    return move(replay.run(r.operation));
  };
}

/// Frequencies as `digits` bits of a half type leave them, handed over as factors.
bool round_frequencies(Operation& o, DType type) {
  if (o.in.size() > 1) return false;
  const int64_t n = o.params.ints[1] / 2;
  Tensor factors(DType::f64, {n});
  for (int64_t i = 0; i < n; ++i) {
    const double exact =
        std::exp(-std::log(o.params.floats[0]) * static_cast<double>(i) / static_cast<double>(n));
    factors.data<double>()[i] = exact / rounded(type, exact);
  }
  o.in.push_back(factors);
  return true;
}

void add_projections(Replay& replay, Hypotheses& all) {
  const Heads heads = heads_of(replay);
  if (heads.dim == 0) return;
  for (const Which which : {Which::both, Which::queries, Which::keys})
    for (const bool to_neighbours : {true, false})
      all.push_back(
          {"qk-permuted", "the rows of the Q and K weights stand in the order of the other RoPE convention",
           "permute them once when the file is converted or loaded: not at all, and twice, are wrong",
           projected(replay, which,
                     [=](const Tensor& y) { return with_pairs_moved(y, heads.dim, to_neighbours); })});
  for (const bool to_neighbours : {true, false})
    all.push_back({"q-permuted-kv-heads",
                   "the rows of Q are permuted for RoPE with the number of KV heads instead of query heads",
                   "permute Q by n_heads and K by n_kv_heads",
                   projected(replay, Which::queries, [=](const Tensor& y) {
                     const int64_t dim = y.shape().back() / heads.n_kv;
                     return with_pairs_moved(y, dim, to_neighbours);
                   })});
  all.push_back({"heads-interleaved",
                 "the projection is split as [head_dim, heads] where heads lie one after another",
                 "reshape to [rows, heads, head_dim]", [](const Replayed& r) -> std::optional<Tensor> {
                   if (r.operation.op != Op::reshape || r.record.shape.rank() != 3) return std::nullopt;
                   const Tensor& x = r.operation.in[0];
                   if (x.rank() != 2) return std::nullopt;
                   const int64_t n = r.record.shape[1], dim = r.record.shape[2];
                   const std::vector<double> from = values_of(x);
                   Tensor moved(DType::f64, r.record.shape);
                   for (int64_t i = 0; i < moved.elements(); ++i) {
                     const int64_t row = i / (n * dim), head = i / dim % n, d = i % dim;
                     moved.data<double>()[i] = from[static_cast<size_t>(row * n * dim + d * n + head)];
                   }
                   return moved;
                 }});
}

}  // namespace

void add_rope_rules(Replay& replay, int, Hypotheses& all) {
  const std::string look = "compare the call of rope with the model's metadata";
  all.push_back(
      {"rope-pairing",
       "RoPE rotates the pairs of the other convention: (i, i + d/2) where (2i, 2i + 1) is meant, or "
       "the reverse",
       "GGUF files of the llama architecture want neighbours, Hugging Face checkpoints and Qwen halves",
       edited(replay, Which::both, [](Operation& o) {
         auto& style = std::get<RopeAttrs>(o.attrs).style;
         style = style == RopeStyle::neox ? RopeStyle::norm : RopeStyle::neox;
         return true;
       })});
  // Before rope-missing: a single token at position 0 looks the same, and a rope that is missing shows
  // earlier.
  all.push_back({"rope-restarted", "positions begin at 0 again after the prompt",
                 "count on from the number of tokens in the cache",
                 edited(replay, Which::both, [](Operation& o) {
                   const bool is_later = o.params.ints[0] != 0;
                   o.params.ints[0] = 0;
                   return is_later;
                 })});
  for (const auto& [name, which, what] : {std::tuple{"rope-missing-k", Which::keys, "keys"},
                                          std::tuple{"rope-missing-q", Which::queries, "queries"}})
    all.push_back({name, fmt::format("RoPE is not applied to {}", what), "rotate queries and keys alike",
                   [which = which](const Replayed& r) -> std::optional<Tensor> {
                     if (r.operation.op != Op::rope || !concerns(r, which)) return std::nullopt;
                     return r.operation.in[0];
                   }});
  for (const int64_t off : {1, -1})
    all.push_back({"rope-position", fmt::format("positions are off by {}", off > 0 ? "one" : "minus one"),
                   "the first token has position 0, and queries and keys of a token the same",
                   edited(replay, Which::both, [off](Operation& o) {
                     o.params.ints[0] += off;
                     return true;
                   })});
  for (const double base : {1e4, 1e5, 5e5, 1e6})
    all.push_back({"rope-base", fmt::format("RoPE's base is {:g} and not the file's", base), look,
                   edited(replay, Which::both, [base](Operation& o) {
                     const bool differs = o.params.floats[0] != base;
                     o.params.floats[0] = base;
                     return differs;
                   })});
  all.push_back({"rope-scaling", "RoPE's scaling of positions is ignored", look,
                 edited(replay, Which::both, [](Operation& o) {
                   const bool scaled = o.in.size() > 1 || o.params.floats[1] != 1;
                   o.in.resize(1);
                   o.params.floats[1] = 1;
                   return scaled;
                 })});
  for (const DType type : {DType::bf16, DType::f16})
    all.push_back({"rope-half", fmt::format("RoPE's inverse frequencies are kept in {}", name(type)),
                   "compute angles in float32 or float64",
                   edited(replay, Which::both, [type](Operation& o) { return round_frequencies(o, type); })});
  add_projections(replay, all);
}

}  // namespace tl::inspect
