// Fused attention with a streaming softmax.
//
// Keys are taken in spans of kSpan, and those in tiles of kAttentionKeys. A span decodes each tile once, and
// updates the running maximum, sum and weighted values of each of its rows: a row is one query of one of the
// heads that share a KV head. The spans of a row are then merged in their order. What a row computes depends
// on its own query and the spans alone, so neither the number of queries nor that of threads changes a bit;
// tasks are blocks of queries where there are many, and spans where few tokens are fed.
#include <fmt/format.h>
#include <cmath>
#include <limits>
#include <vector>

#include "backend/cpu/isa.h"
#include "backend/cpu/kernels.h"
#include "backend/cpu/strided.h"

namespace tl::cpu {

namespace {

constexpr int64_t kQueries = 8;  // in a block
constexpr int64_t kSpan = 8 * kAttentionKeys;

/// A tensor with its axes renamed to (position, head, head_dim).
struct Ordered {
  const Tensor& tensor;
  int64_t n, heads, dim;
  int64_t position_stride, head_stride, dim_stride;

  Ordered(const Tensor& t, const std::vector<int>& order)
      : tensor(t),
        n(t.shape()[order[0]]),
        heads(t.shape()[order[1]]),
        dim(t.shape()[order[2]]),
        position_stride(t.strides()[order[0]]),
        head_stride(t.strides()[order[1]]),
        dim_stride(t.strides()[order[2]]) {}

  int64_t offset(int64_t position, int64_t head) const {
    return position * position_stride + head * head_stride;
  }

  /// One head's vector at one position: in place if it lies so, else in `buffer`.
  const float* load(int64_t position, int64_t head, float* buffer) const {
    const int64_t at = offset(position, head);
    if (tensor.dtype() == DType::q8_0) {
      isa().q8_0_to_f32(tensor.at(at), buffer, dim);
      return buffer;
    }
    if (tensor.dtype() != DType::f16 || dim_stride != 1) return load_run(tensor, at, dim_stride, dim, buffer);
    isa().f16_to_f32(tensor.data<uint16_t>() + at, buffer, dim);
    return buffer;
  }

  /// The vectors of positions [first, first + count); if `later`, those of float16 are left to the kernel.
  AttentionRows load_tile(int64_t first, int64_t count, int64_t head, bool later, float* buffer) const {
    if (tensor.dtype() == DType::f32 && dim_stride == 1)
      return {tensor.data<float>() + offset(first, head), position_stride, dim};
    if (tensor.dtype() == DType::f16 && dim_stride == 1) {
      const uint16_t* const halves = tensor.data<uint16_t>() + offset(first, head);
      if (later) return {buffer, dim, dim, halves, position_stride};
      isa().f16_rows_to_f32(halves, position_stride, count, dim, kAttentionAhead, buffer);
      return {buffer, dim, dim};
    }
    const auto row_bytes = static_cast<int64_t>(bytes_of(tensor.dtype(), dim));
    for (int64_t j = 0; j < count; ++j) {
      const std::byte* const ahead = tensor.at(offset(first + j + kAttentionAhead, head));
      for (int64_t b = 0; b < row_bytes; b += 64) __builtin_prefetch(ahead + b);
      float* row = buffer + j * dim;
      const float* loaded = load(first + j, head, row);
      if (loaded != row) std::copy_n(loaded, dim, row);
    }
    return {buffer, dim, dim};
  }
};

/// What is kept for each row of a block of queries; row r is query r / group, head r % group of the group.
struct State {
  std::vector<float> q, out, max, sum, k_tile, v_tile;
};

struct Attention {
  const Ordered q, k, v, out;
  const Tensor* mask;  ///< or null
  int64_t group;
  float scale;
  bool causal;
  int64_t pos;

  /// Query i sees keys [0, seen(i)), apart from the mask.
  int64_t seen(int64_t i) const { return causal ? std::clamp<int64_t>(i + pos + 1, 0, k.n) : k.n; }
  int64_t spans(int64_t i) const { return std::max<int64_t>(1, (seen(i) + kSpan - 1) / kSpan); }
};

/// The heads that share a KV head, for some queries.
struct Rows {
  const Attention& a;
  int64_t kv_head, first_query, queries;

  int64_t size() const { return queries * a.group; }
  int64_t query(int64_t r) const { return first_query + r / a.group; }
  int64_t head(int64_t r) const { return kv_head * a.group + r % a.group; }
  int64_t spans() const { return a.spans(first_query + queries - 1); }

  void begin(State& state) const;
  void add_tile(int64_t first, State& state) const;
  /// The state of the rows for the keys of a span alone.
  void attend(int64_t span, State& state) const {
    begin(state);
    const int64_t end = std::min((span + 1) * kSpan, a.seen(first_query + queries - 1));
    for (int64_t first = span * kSpan; first < end; first += kAttentionKeys) add_tile(first, state);
  }
  void merge(const State& next, State& state) const;
  void finish(State& state) const;
};

void Rows::begin(State& state) const {
  const auto n = static_cast<size_t>(size());
  state.q.resize(n * static_cast<size_t>(a.q.dim));
  state.out.assign(n * static_cast<size_t>(a.v.dim), 0.0f);
  state.max.assign(n, -std::numeric_limits<float>::infinity());
  state.sum.assign(n, 0.0f);
  state.k_tile.resize(static_cast<size_t>(kAttentionKeys * a.k.dim));
  state.v_tile.resize(static_cast<size_t>(kAttentionKeys * a.v.dim));
  for (int64_t r = 0; r < size(); ++r) {
    float* to = state.q.data() + r * a.q.dim;
    const float* loaded = a.q.load(query(r), head(r), to);
    if (loaded != to) std::copy_n(loaded, a.q.dim, to);
  }
}

void Rows::add_tile(int64_t first, State& state) const {
  const int64_t count = std::min(kAttentionKeys, a.k.n - first);
  const auto visible = [&](int64_t r) { return std::min(count, a.seen(query(r)) - first); };
  const bool at_once = !a.mask && visible(0) == visible(size() - 1);  // one call below takes all rows
  const auto keys = a.k.load_tile(first, count, kv_head, at_once, state.k_tile.data());
  const auto values = a.v.load_tile(first, count, kv_head, at_once, state.v_tile.data());
  for (int64_t r = 0, end = 0; r < size(); r = end) {
    // Rows that see the same keys: those of a query, and of all queries behind the tile.
    end = r + a.group;
    while (!a.mask && end < size() && visible(end) == visible(r)) end += a.group;
    if (visible(r) <= 0) continue;
    const uint8_t* row_mask =
        a.mask ? a.mask->data<uint8_t>() + query(r) * a.mask->strides()[0] + first * a.mask->strides()[1]
               : nullptr;
    isa().attention_tile({keys, values, visible(r), end - r, state.q.data() + r * a.q.dim, row_mask,
                          a.mask ? a.mask->strides()[1] : 0, a.scale, &state.max[static_cast<size_t>(r)],
                          &state.sum[static_cast<size_t>(r)], state.out.data() + r * a.v.dim});
  }
}

/// Adds the keys of the next span, whose sums are relative to another maximum.
void Rows::merge(const State& next, State& state) const {
  for (size_t r = 0; r < static_cast<size_t>(size()); ++r) {
    if (next.sum[r] == 0.0f) continue;  // it sees none of them
    float& max = state.max[r];
    const float both =
        !(next.max[r] <= max) && max == max ? next.max[r] : max;  // NaN is taken and then stays
    const float old_share = state.sum[r] == 0.0f ? 0.0f : std::exp(max - both);
    const float new_share = std::exp(next.max[r] - both);
    max = both;
    state.sum[r] = state.sum[r] * old_share + next.sum[r] * new_share;
    float* out = state.out.data() + static_cast<int64_t>(r) * a.v.dim;
    const float* more = next.out.data() + static_cast<int64_t>(r) * a.v.dim;
    for (int64_t i = 0; i < a.v.dim; ++i) out[i] = out[i] * old_share + more[i] * new_share;
  }
}

void Rows::finish(State& state) const {
  for (int64_t r = 0; r < size(); ++r) {
    const float sum = state.sum[static_cast<size_t>(r)];
    if (sum == 0.0f) throw Error(fmt::format("[attention] query {} sees no key", query(r)));
    float* row = state.out.data() + r * a.v.dim;
    isa().scale_row(row, 0.0f, 1.0f / sum, nullptr, nullptr, row, a.v.dim);
    store_run(a.out.tensor, a.out.offset(query(r), head(r)), a.out.dim_stride, a.v.dim, row);
  }
}

/// Many queries, or one thread: every task takes a block of them through all spans.
void each_block(ThreadPool& pool, const Attention& a, int64_t kv_heads) {
  const int64_t blocks = (a.q.n + kQueries - 1) / kQueries;
  pool.parallel_for(kv_heads * blocks, 1, [&](int64_t begin, int64_t end) {
    thread_local State state, next;
    for (int64_t task = begin; task < end; ++task) {
      const int64_t first = task % blocks * kQueries;
      const Rows rows{a, task / blocks, first, std::min(kQueries, a.q.n - first)};
      rows.attend(0, state);
      for (int64_t span = 1; span < rows.spans(); ++span) {
        rows.attend(span, next);
        rows.merge(next, state);
      }
      rows.finish(state);
    }
  });
}

/// Few queries on several threads: every task takes a span, so that few KV heads keep all threads busy.
void each_span(ThreadPool& pool, const Attention& a, int64_t kv_heads) {
  thread_local std::vector<State> kept;  // of spans, KV head after KV head
  std::vector<State>& states = kept;
  const int64_t spans = a.spans(a.q.n - 1);
  states.resize(std::max(states.size(), static_cast<size_t>(kv_heads * spans)));
  pool.parallel_for(kv_heads * spans, 1, [&](int64_t begin, int64_t end) {
    for (int64_t task = begin; task < end; ++task)
      Rows{a, task / spans, 0, a.q.n}.attend(task % spans, states[static_cast<size_t>(task)]);
  });
  for (int64_t kv_head = 0; kv_head < kv_heads; ++kv_head) {
    const Rows rows{a, kv_head, 0, a.q.n};
    State* const of_head = &states[static_cast<size_t>(kv_head * spans)];
    for (int64_t span = 1; span < spans; ++span) rows.merge(of_head[span], of_head[0]);
    rows.finish(of_head[0]);
  }
}

}  // namespace

void attention(const KernelArgs& args) {
  const auto& attrs = args.attr<AttentionAttrs>();
  const Attention a{Ordered(args.in[0], attrs.q_order),         Ordered(args.in[1], attrs.k_order),
                    Ordered(args.in[2], attrs.v_order),         Ordered(args.out, attrs.out_order),
                    args.in.size() > 3 ? &args.in[3] : nullptr, attrs.group,
                    static_cast<float>(args.params.floats[0]),  attrs.causal,
                    attrs.causal ? args.params.ints[0] : 0};
  const int64_t kv_heads = (a.q.heads + a.group - 1) / a.group;
  TL_CHECK(a.q.heads % a.group == 0 && kv_heads <= a.k.heads && kv_heads <= a.v.heads,
           "attention's heads come in whole groups");
  if (a.q.n <= kQueries && args.pool.size() > 1)
    each_span(args.pool, a, kv_heads);
  else
    each_block(args.pool, a, kv_heads);
}

}  // namespace tl::cpu
