// Fused attention with a streaming softmax.
//
// Tasks are (KV head, block of queries). A task walks the keys in tiles that start at multiples of
// kAttentionKeys, decodes each tile once, and updates the running maximum, sum and weighted values of each of
// its (query, head of the group) rows. What a row computes depends on its own query and the tiles alone, so
// neither the number of queries nor that of threads changes a bit.
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
    if (tensor.dtype() != DType::f16 || dim_stride != 1) return load_run(tensor, at, dim_stride, dim, buffer);
    isa().f16_to_f32(tensor.data<uint16_t>() + at, buffer, dim);
    return buffer;
  }

  struct Tile {
    const float* data;
    int64_t stride;
  };
  /// The vectors of positions [first, first + count).
  Tile load_tile(int64_t first, int64_t count, int64_t head, float* buffer) const {
    if (tensor.dtype() == DType::f32 && dim_stride == 1)
      return {tensor.data<float>() + offset(first, head), position_stride};
    for (int64_t j = 0; j < count; ++j) {
      float* row = buffer + j * dim;
      const float* loaded = load(first + j, head, row);
      if (loaded != row) std::copy_n(loaded, dim, row);
    }
    return {buffer, dim};
  }
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

  void run(int64_t kv_head, int64_t first_query, int64_t queries) const;
};

/// What a task keeps for each of its rows; row r is query r / group, head r % group of the group.
struct State {
  std::vector<float> q, out, max, sum, k_tile, v_tile;

  void reset(const Attention& a, int64_t rows) {
    const auto n = static_cast<size_t>(rows);
    q.resize(n * static_cast<size_t>(a.q.dim));
    out.assign(n * static_cast<size_t>(a.v.dim), 0.0f);
    max.assign(n, -std::numeric_limits<float>::infinity());
    sum.assign(n, 0.0f);
    k_tile.resize(static_cast<size_t>(kAttentionKeys * a.k.dim));
    v_tile.resize(static_cast<size_t>(kAttentionKeys * a.v.dim));
  }
};

void Attention::run(int64_t kv_head, int64_t first_query, int64_t queries) const {
  thread_local State state;
  const int64_t rows = queries * group;
  state.reset(*this, rows);
  const auto query_of = [&](int64_t r) { return first_query + r / group; };
  const auto head_of = [&](int64_t r) { return kv_head * group + r % group; };
  for (int64_t r = 0; r < rows; ++r) {
    float* to = state.q.data() + r * q.dim;
    const float* loaded = q.load(query_of(r), head_of(r), to);
    if (loaded != to) std::copy_n(loaded, q.dim, to);
  }
  for (int64_t first = 0; first < seen(first_query + queries - 1); first += kAttentionKeys) {
    const int64_t count = std::min(kAttentionKeys, k.n - first);
    const auto keys = k.load_tile(first, count, kv_head, state.k_tile.data());
    const auto values = v.load_tile(first, count, kv_head, state.v_tile.data());
    for (int64_t r = 0; r < rows; ++r) {
      const int64_t visible = std::min(count, seen(query_of(r)) - first);
      if (visible <= 0) continue;
      const uint8_t* row_mask =
          mask ? mask->data<uint8_t>() + query_of(r) * mask->strides()[0] + first * mask->strides()[1]
               : nullptr;
      isa().attention_tile({keys.data, values.data, visible, k.dim, v.dim, keys.stride, values.stride,
                            state.q.data() + r * q.dim, row_mask, mask ? mask->strides()[1] : 0, scale,
                            &state.max[static_cast<size_t>(r)], &state.sum[static_cast<size_t>(r)],
                            state.out.data() + r * v.dim});
    }
  }
  for (int64_t r = 0; r < rows; ++r) {
    const float sum = state.sum[static_cast<size_t>(r)];
    if (sum == 0.0f) throw Error(fmt::format("[attention] query {} sees no key", query_of(r)));
    float* row = state.out.data() + r * v.dim;
    isa().scale_row(row, 0.0f, 1.0f / sum, nullptr, nullptr, row, v.dim);
    store_run(out.tensor, out.offset(query_of(r), head_of(r)), out.dim_stride, v.dim, row);
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
  const int64_t blocks = (a.q.n + kQueries - 1) / kQueries;
  args.pool.parallel_for(kv_heads * blocks, 1, [&](int64_t begin, int64_t end) {
    for (int64_t task = begin; task < end; ++task) {
      const int64_t first = task % blocks * kQueries;
      a.run(task / blocks, first, std::min(kQueries, a.q.n - first));
    }
  });
}

}  // namespace tl::cpu
