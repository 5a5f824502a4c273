// What goes wrong with weights, token ids, sums and the cache.
#include <algorithm>
#include <cmath>
#include <cstdlib>

#include <fmt/format.h>

#include "base/half.h"
#include "inspect/hypothesis_rules.h"
#include "inspect/values.h"

namespace tl::inspect {

namespace {

/// Changes operations that read a weight, by giving them another one. `other(name, weight)` returns it, or
/// nothing.
template <class Other>
Replay::Change with_weight(Replay& replay, Other other) {
  return [&replay, other](const Replayed& r) -> std::optional<Tensor> {
    for (size_t i = 0; i < r.weights.size(); ++i) {
      if (r.weights[i].empty()) continue;
      const Tensor changed = other(r.weights[i], r.operation.in[i]);
      if (!changed || !(changed.shape() == r.operation.in[i].shape())) continue;
      Operation o = r.operation;
      o.in[i] = changed;
      return replay.run(o);
    }
    return std::nullopt;
  };
}

/// "blk.4.attn_q.weight" for ("blk.3.attn_q.weight", 1); "" for weights of no layer.
std::string in_other_layer(const std::string& name, int by) {
  if (!name.starts_with("blk.")) return {};
  const size_t dot = name.find('.', 4);
  return fmt::format("blk.{}{}", std::atoi(name.c_str() + 4) + by, name.substr(dot));
}

Tensor transposed(const Tensor& w) {
  if (w.rank() != 2 || w.shape()[0] != w.shape()[1]) return {};
  const Tensor plain = converted(w, DType::f64);
  return converted(plain.view({w.shape()[1], w.shape()[0]}, {plain.strides()[1], plain.strides()[0]}),
                   DType::f64);
}

/// Blocks of 32 whose element 2k + p was stored as that of k + 16 p.
Tensor with_nibbles_as_neighbours(const Tensor& w) {
  if (w.dtype() != DType::q4_0 && w.dtype() != DType::q4_1) return {};
  const Tensor right = converted(w, DType::f64);
  Tensor wrong(DType::f64, w.shape());
  for (int64_t block = 0; block < w.elements(); block += 32)
    for (int64_t k = 0; k < 16; ++k)
      for (int64_t high = 0; high < 2; ++high)
        wrong.data<double>()[block + 2 * k + high] = right.data<double>()[block + k + 16 * high];
  return wrong;
}

/// The last `n` rows are the `n` before them.
Tensor with_tail_repeated(const Tensor& w, int64_t n) {
  if (w.rank() != 2 || w.shape()[0] < 2 * n) return {};
  Tensor y = converted(w, DType::f64);
  double* end = y.data<double>() + y.elements();
  std::copy_n(end - 2 * n * w.shape()[1], n * w.shape()[1], end - n * w.shape()[1]);
  return y;
}

float half(float x) { return f16_to_f32(f32_to_f16(x)); }

/// A product with a matrix whose sum float16 holds: products rounded too, or not.
Tensor summed_in_float16(const Operation& o, bool rounds_products) {
  const Tensor x = converted(o.in[0], DType::f32), w = converted(o.in[1], DType::f32);
  const int64_t width = x.shape().back(), n_out = w.shape()[0], rows = x.elements() / width;
  Shape shape = x.shape();
  shape[shape.rank() - 1] = n_out;
  Tensor y(DType::f64, shape);
  for (int64_t r = 0; r < rows; ++r)
    for (int64_t out = 0; out < n_out; ++out) {
      float sum = 0;
      for (int64_t i = 0; i < width; ++i) {
        const float product = x.data<float>()[r * width + i] * w.data<float>()[out * width + i];
        sum = half(sum + (rounds_products ? half(product) : product));
      }
      y.data<double>()[r * n_out + out] = sum;
    }
  return y;
}

/// Multiply-adds that are worth a replay in steps of float16.
constexpr double kMostWork = 3e8;
double work_of(const Operation& o) {
  return static_cast<double>(o.in[0].elements()) * static_cast<double>(o.in[1].shape()[0]);
}

Tensor ids_through(const Tensor& ids, DType type) {
  Tensor y(DType::i64, ids.shape());
  for (int64_t i = 0; i < ids.elements(); ++i)
    y.data<int64_t>()[i] = static_cast<int64_t>(rounded(type, static_cast<double>(load_int(ids, i))));
  return y;
}

void add_float_rules(Replay& replay, Hypotheses& all) {
  for (const bool rounds_products : {true, false})
    all.push_back({"float16-accumulation", "a matrix product adds up in float16",
                   "accumulate in float32 whatever the type of the operands",
                   [rounds_products](const Replayed& r) -> std::optional<Tensor> {
                     if (r.operation.op != Op::linear || work_of(r.operation) > kMostWork)
                       return std::nullopt;
                     return summed_in_float16(r.operation, rounds_products);
                   }});
  for (const DType type : {DType::f16, DType::bf16})
    all.push_back({type == DType::f16 ? "token-ids-float16" : "token-ids-bfloat16",
                   fmt::format("token ids pass through {}, which cannot hold them", name(type)),
                   "keep ids in an integer type",
                   [&replay, type](const Replayed& r) -> std::optional<Tensor> {
                     if (r.operation.op != Op::embedding) return std::nullopt;
                     Operation o = r.operation;
                     o.in[1] = ids_through(o.in[1], type);
                     const int64_t n = o.in[0].shape()[0];
                     for (int64_t i = 0; i < o.in[1].elements(); ++i)
                       if (load_int(o.in[1], i) >= n) return std::nullopt;
                     return replay.run(o);
                   }});
}

/// Rows that were in the cache before, taken from another layer's cache.
void add_cache_rules(Replay& replay, Hypotheses& all) {
  for (const int by : {1, -1})
    all.push_back(
        {"cache-shared",
         fmt::format("the cache of this layer is overwritten by the layer {}",
                     by > 0 ? "after it" : "before it"),
         "give every layer a buffer of its own", [&replay, by](const Replayed& r) -> std::optional<Tensor> {
           if (r.operation.op != Op::cache_append) return std::nullopt;
           const Tensor& x = r.operation.in[1];
           const int64_t before = r.record.shape[0] - x.shape()[0];
           if (before == 0) return std::nullopt;
           // The same operation of the other layer, one step earlier: the last that is long enough.
           const std::string& state =
               replay.reference().records[static_cast<size_t>(r.record.inputs[0])].name;
           if (!state.starts_with("cache.")) return std::nullopt;
           const std::string wanted =
               fmt::format("cache.{}{}", std::atoi(state.c_str() + 6) + by, state.substr(state.find('.', 6)));
           Tensor rows;
           for (int64_t i = 0; i < r.step; ++i) {
             const Record& other = replay.reference().records[static_cast<size_t>(i)];
             if (other.op != "cache_append") continue;
             const Record& from = replay.reference().records[static_cast<size_t>(other.inputs[0])];
             if (from.name == wanted && other.shape[0] >= before) rows = replay.observed(static_cast<int>(i));
           }
           if (!rows) return std::nullopt;
           Tensor y(DType::f64, r.record.shape);
           const int64_t width = y.elements() / y.shape()[0];
           const Tensor fresh = converted(x, DType::f64);
           std::copy_n(rows.data<double>(), before * width, y.data<double>());
           std::copy_n(fresh.data<double>(), fresh.elements(), y.data<double>() + before * width);
           return y;
         }});
}

}  // namespace

void add_weight_rules(Replay& replay, int, Hypotheses& all) {
  for (const int by : {-1, 1})
    all.push_back(
        {"layer-repeated",
         fmt::format("the weights of the layer {} are used", by > 0 ? "after this one" : "before this one"),
         "each layer reads its own weights",
         with_weight(replay, [&replay, by](const std::string& name, const Tensor&) {
           return replay.weight(in_other_layer(name, by));
         })});
  for (const auto& [from, to] : {std::pair{"ffn_gate", "ffn_up"}, std::pair{"ffn_up", "ffn_gate"}})
    all.push_back({"gate-up-swapped", "gate and up are exchanged: one is computed with the other's weight",
                   "the feed-forward layer is silu(gate) * up",
                   with_weight(replay, [&replay, from = std::string(from), to = std::string(to)](
                                           const std::string& name, const Tensor&) {
                     const size_t at = name.find(from);
                     if (at == std::string::npos) return Tensor();
                     return replay.weight(std::string(name).replace(at, from.size(), to));
                   })});
  all.push_back({"weight-transposed", "a square weight is used transposed", "weights are [out, in]",
                 with_weight(replay, [](const std::string&, const Tensor& w) { return transposed(w); })});
  all.push_back(
      {"nibble-order", "4-bit blocks are read as neighbours (2k, 2k + 1) and not as halves (j, j + 16)",
       "the low nibbles of a block are its first 16 elements",
       with_weight(replay,
                   [](const std::string&, const Tensor& w) { return with_nibbles_as_neighbours(w); })});
  for (const int64_t n : {8, 4, 16})
    all.push_back(
        {"repack-tail", fmt::format("the last {0} rows of a weight are the {0} before them", n),
         "look at how the last block of rows is repacked",
         with_weight(replay, [n](const std::string&, const Tensor& w) { return with_tail_repeated(w, n); })});
  all.push_back({"output-tied", "the token embedding is used as output matrix where the file has another",
                 "use output.weight where the file has it",
                 with_weight(replay, [&replay](const std::string& name, const Tensor&) {
                   return name == "output.weight" ? replay.weight("token_embd.weight") : Tensor();
                 })});
  add_float_rules(replay, all);
  add_cache_rules(replay, all);
}

}  // namespace tl::inspect
