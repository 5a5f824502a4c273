// Fused attention with a streaming softmax.
//
// A warp takes one query of one head. It walks the keys in tiles of kTile that start at multiples of kTile;
// what it computes of a tile (largest score, sum of weights, weighted values) is merged tile after tile.
// Where there are few queries, warps take tiles and a second kernel merges them in the same order: neither
// the number of queries nor the way they are computed changes a bit. Only where activations are rounded
// anyway, many queries go to the tensor cores.
#include <optional>

#include "backend/cuda/flash_attention.cuh"
#include "backend/cuda/kernels.h"
#include "backend/cuda/refusals.h"
#include "backend/cuda/strided.cuh"

namespace tl::cuda {

namespace {

constexpr int kTile = 64, kGroup = 8;  ///< keys of a tile; lanes that share a key
constexpr int kWarps = 4;
constexpr int64_t kTileRoom = 8;       ///< tiles are launched in multiples of this
constexpr int64_t kFewQueries = 4096;  ///< warps below which tiles are spread over the GPU

/// A tensor with its axes renamed to (position, head, head_dim).
struct Ordered {
  const void* data;
  Wide<DType> dtype;
  int64_t n, heads, dim;
  int64_t position_stride, head_stride, dim_stride;

  __device__ float at(int64_t position, int64_t head, int64_t d) const {
    const int64_t i = position * position_stride + head * head_stride + d * dim_stride;
    return dtype == DType::f32 ? static_cast<const float*>(data)[i] : load<float>(data, dtype, i);
  }
};

Ordered ordered(const Tensor& t, const std::vector<int>& order, const void* data) {
  return {data,
          t.dtype(),
          t.shape()[order[0]],
          t.shape()[order[1]],
          t.shape()[order[2]],
          t.strides()[order[0]],
          t.strides()[order[1]],
          t.strides()[order[2]]};
}

struct Attention {
  Ordered q, k, v, out;
  float* result = nullptr;
  const uint8_t* mask = nullptr;
  int64_t mask_query_stride = 0, mask_key_stride = 0;
  int64_t group = 1;
  double scale = 1;
  Wide<bool> causal = false;
  Number keys = nullptr, pos = nullptr;  ///< how many keys there are, and the position of the first query
  unsigned long long* refused = nullptr;

  /// Query i sees keys [0, seen(i)), apart from the mask.
  __device__ int64_t seen(int64_t i) const {
    return causal ? min(max(i + *pos + 1, int64_t{0}), *keys) : *keys;
  }
};

/// What was computed of some keys; the weighted values lie in shared or global memory.
struct Running {
  float most = -INFINITY, sum = 0;
};

/// How a kernel reads keys and values: element by element, whatever their type and strides are.
struct AnyLayout {
  /// With key first + j.
  static __device__ float dot(const Attention& a, int64_t first, int j, int64_t kv, int in_group,
                              const float* query) {
    float sum = 0;
    for (int64_t d = in_group; d < a.k.dim; d += kGroup) sum = fmaf(query[d], a.k.at(first + j, kv, d), sum);
    return sum;
  }
  /// The weighted sum of the values of keys first, first + 1 …; weight(j) is the same in all lanes.
  template <class Weight>
  static __device__ void weigh(const Attention& a, int64_t first, int keys, int64_t kv, Weight weight,
                               float* values) {
    for (int64_t d0 = 0; d0 < a.v.dim; d0 += 32) {
      const int64_t d = d0 + threadIdx.x % 32;
      float total = 0;
      for (int j = 0; j < keys; ++j) {
        const float w = weight(j);
        if (w != 0 && d < a.v.dim) total = fmaf(w, a.v.at(first + j, kv, d), total);
      }
      if (d < a.v.dim) values[d] = total;
    }
  }
};

/// Heads of 32 * kWide dimensions that lie in one piece, of type T.
template <class T, int kWide>
struct PackedLayout {
  static __device__ float dot(const Attention& a, int64_t first, int j, int64_t kv, int in_group,
                              const float* query) {
    const T* key = static_cast<const T*>(a.k.data) + first * a.k.position_stride + kv * a.k.head_stride +
                   j * static_cast<int>(a.k.position_stride);
    float sum = 0;
#pragma unroll
    for (int t = 0; t < kWide; ++t) {
      const float4 q = load4(query + 32 * t + 4 * in_group), x = load4(key + 32 * t + 4 * in_group);
      sum = fmaf(q.x, x.x, sum);
      sum = fmaf(q.y, x.y, sum);
      sum = fmaf(q.z, x.z, sum);
      sum = fmaf(q.w, x.w, sum);
    }
    return sum;
  }
  template <class Weight>
  static __device__ void weigh(const Attention& a, int64_t first, int keys, int64_t kv, Weight weight,
                               float* values) {
    const int lane = static_cast<int>(threadIdx.x % 32);
    const T* value =
        static_cast<const T*>(a.v.data) + first * a.v.position_stride + kv * a.v.head_stride + lane;
    float totals[kWide] = {};
#pragma unroll 16
    for (int j = 0; j < keys; ++j) {
      const float w = weight(j);
#pragma unroll
      for (int t = 0; t < kWide; ++t) {
        const auto x = static_cast<float>(value[j * static_cast<int>(a.v.position_stride) + 32 * t]);
        totals[t] = w == 0 ? totals[t] : fmaf(w, x, totals[t]);  // what a mask excludes takes no part
      }
    }
#pragma unroll
    for (int t = 0; t < kWide; ++t) values[32 * t + lane] = totals[t];
  }
};

/// One tile: scores, their largest and the sum of weights, and the weighted values to `values`.
template <class Layout>
__device__ Running one_tile(const Attention& a, int64_t i, int64_t head, int64_t tile, const float* query,
                            float* values) {
  const int lane = static_cast<int>(threadIdx.x % 32), in_group = lane % kGroup, group = lane / kGroup;
  const int64_t kv = head / a.group, first = tile * kTile;
  const int keys = static_cast<int>(min(static_cast<int64_t>(kTile), a.seen(i) - first));
  float scores[kTile / 32] = {-INFINITY, -INFINITY};  // of keys lane and lane + 32
  const uint8_t* mask =
      a.mask == nullptr ? nullptr : a.mask + i * a.mask_query_stride + first * a.mask_key_stride;
  const auto sees = [&](int j) { return j < keys && (mask == nullptr || mask[j * a.mask_key_stride] != 0); };
#pragma unroll
  for (int half = 0; half < kTile / 32; ++half) {
    if (32 * half >= keys) break;
#pragma unroll
    for (int step = 0; step < 8; ++step) {
      const int j = 32 * half + 4 * step + group;
      float dot = Layout::dot(a, first, min(j, keys - 1), kv, in_group, query);
      if (!sees(j)) dot = 0;
      for (int distance = kGroup / 2; distance > 0; distance /= 2) dot += __shfl_xor_sync(~0u, dot, distance);
      const float score = sees(j) ? static_cast<float>(a.scale) * dot : -INFINITY;
      // Key 4 * step + g of a half belongs to lane 4 * step + g.
      const float mine = __shfl_sync(~0u, score, lane % 4 * kGroup);
      if (lane / 4 == step) scores[half] = mine;
    }
  }
  Running tile_state;
  tile_state.most = warp_max(fmaxf(scores[0], scores[1]));
  float weights[2];
  for (int h = 0; h < 2; ++h) {
    weights[h] = sees(lane + 32 * h) ? expf(scores[h] - tile_state.most) : 0.0f;
  }
  tile_state.sum = warp_sum(weights[0] + weights[1]);
  Layout::weigh(
      a, first, keys, kv, [&](int j) { return __shfl_sync(~0u, j < 32 ? weights[0] : weights[1], j % 32); },
      values);
  return tile_state;
}

/// Adds a tile to what there is: `scale_old` and `scale_new` are what the weighted values are multiplied by.
__device__ void merge(Running& all, const Running& tile, float& scale_old, float& scale_new) {
  const float most = fmaxf(all.most, tile.most);
  scale_old = all.sum == 0 ? 0.0f : expf(all.most - most);
  scale_new = tile.sum == 0 ? 0.0f : expf(tile.most - most);
  all.sum = all.sum * scale_old + tile.sum * scale_new;
  all.most = most;
}

/// Writes the dimensions d0, d0 + 1 … of a result, one a lane.
__device__ void finish(const Attention& a, int64_t i, int64_t head, const Running& all, int64_t d0,
                       float value) {
  const int64_t d = d0 + threadIdx.x % 32;
  if (all.sum == 0 && d == 0 && a.refused != nullptr)
    atomicMin(a.refused, static_cast<unsigned long long>(i));
  if (d < a.v.dim)
    a.result[i * a.out.position_stride + head * a.out.head_stride + d * a.out.dim_stride] =
        value * (1.0f / all.sum);
}

/// What a warp keeps: its query and two vectors of values, from a multiple of 16 bytes on.
__host__ __device__ inline int64_t shared_floats(const Attention& a) {
  return (a.k.dim + 2 * a.v.dim + 3) / 4 * 4;
}

extern __shared__ __align__(16) float shared_memory[];

/// The warp's query, then room for two vectors of values.
__device__ float* load_query(const Attention& a, int64_t i, int64_t head) {
  float* mine = shared_memory + threadIdx.x / 32 * shared_floats(a);
  for (int64_t d = threadIdx.x % 32; d < a.k.dim; d += 32) mine[d] = a.q.at(i, head, d);
  __syncwarp();
  return mine;
}

/// A warp a (query, head): all tiles.
template <class Layout>
__global__ void whole_kernel(Attention a) {
  let_next_begin();
  await_predecessors();
  const int64_t row = static_cast<int64_t>(blockIdx.x) * (blockDim.x / 32) + threadIdx.x / 32;
  if (row >= a.q.n * a.q.heads) return;
  const int64_t i = row / a.q.heads, head = row % a.q.heads;
  const int lane = static_cast<int>(threadIdx.x % 32);
  float *query = load_query(a, i, head), *values = query + a.k.dim, *of_tile = values + a.v.dim;
  Running all;
  for (int64_t tile = 0; tile * kTile < a.seen(i); ++tile) {
    const Running state = one_tile<Layout>(a, i, head, tile, query, of_tile);
    if (state.sum == 0) continue;
    float scale_old, scale_new;
    const bool fresh = all.sum == 0;
    merge(all, state, scale_old, scale_new);
    for (int64_t d = lane; d < a.v.dim; d += 32)
      values[d] = fresh ? of_tile[d] * scale_new : values[d] * scale_old + of_tile[d] * scale_new;
  }
  for (int64_t d0 = 0; d0 < a.v.dim; d0 += 32)
    finish(a, i, head, all, d0, values[min(d0 + lane, a.v.dim - 1)]);
}

/// Merges the tiles of a (query, head) in order: as whole_kernel() does, 32 dimensions at a time.
__device__ void merge_tiles(const Attention& a, int64_t row, const float* parts) {
  constexpr int kAhead = 4;
  const int64_t rows = a.q.n * a.q.heads, width = a.v.dim + 2, tiles = (*a.keys + kTile - 1) / kTile;
  const int lane = static_cast<int>(threadIdx.x % 32);
  for (int64_t d0 = 0; d0 < a.v.dim; d0 += 32) {
    const int64_t d = min(d0 + lane, a.v.dim - 1);
    Running all;
    float value = 0;
    for (int64_t first = 0; first < tiles; first += kAhead) {
      Running states[kAhead];
      float values[kAhead];
#pragma unroll
      for (int t = 0; t < kAhead; ++t) {
        const float* part = parts + (min(first + t, tiles - 1) * rows + row) * width;
        states[t] = {__ldcg(part), __ldcg(part + 1)};
        values[t] = __ldcg(part + 2 + d);
      }
#pragma unroll
      for (int t = 0; t < kAhead; ++t) {
        if (first + t >= tiles || states[t].sum == 0) continue;
        float scale_old, scale_new;
        const bool fresh = all.sum == 0;
        merge(all, states[t], scale_old, scale_new);
        value = fresh ? values[t] * scale_new : value * scale_old + values[t] * scale_new;
      }
    }
    finish(a, row / a.q.heads, row % a.q.heads, all, d0, value);
  }
}

/// A warp a (query, head, tile): its state and values to `parts`. The last warp of a (query, head) to come
/// merges them; `tickets` counts the others, and is all zeros before and after.
template <class Layout>
__global__ void tile_kernel(Attention a, int64_t tiles, float* parts, unsigned* tickets) {
  let_next_begin();
  await_predecessors();
  const int64_t rows = a.q.n * a.q.heads;
  const int64_t unit = static_cast<int64_t>(blockIdx.x) * (blockDim.x / 32) + threadIdx.x / 32;
  if (unit >= rows * tiles) return;
  const int64_t row = unit % rows, tile = unit / rows, i = row / a.q.heads, head = row % a.q.heads;
  const bool first_lane = threadIdx.x % 32 == 0;
  float* part = parts + unit * (a.v.dim + 2);
  Running state;
  if (tile * kTile < a.seen(i)) state = one_tile<Layout>(a, i, head, tile, load_query(a, i, head), part + 2);
  if (first_lane) part[0] = state.most, part[1] = state.sum;
  __threadfence();
  __syncwarp();
  unsigned before = 0;
  if (first_lane) before = atomicAdd(tickets + row, 1u);
  before = __shfl_sync(~0u, before, 0);
  if (before + 1 != tiles) return;
  __threadfence();
  if (first_lane) tickets[row] = 0;
  merge_tiles(a, row, parts);
}

/// Warps a block of which each needs `floats` of shared memory.
int warps_for(int64_t floats) {
  const int64_t fit = 48 * 1024 / static_cast<int64_t>(sizeof(float)) / std::max<int64_t>(1, floats);
  TL_CHECK(fit > 0, "attention with heads of more dimensions than fit shared memory");
  return static_cast<int>(std::min<int64_t>(kWarps, fit));
}

/// Launches `warps` warps that need `floats` of shared memory each.
template <class... Params, class... Args>
void launch_warps(void (*kernel)(Params...), int64_t warps, int64_t floats, Args&&... args) {
  const int per_block = warps_for(floats);
  launch_early(kernel, blocks_for(warps, per_block), static_cast<unsigned>(32 * per_block),
               static_cast<size_t>(per_block * floats) * sizeof(float), std::forward<Args>(args)...);
}

struct Kernels {
  void (*whole)(Attention);
  void (*tile)(Attention, int64_t, float*, unsigned*);
};

template <class Layout>
constexpr Kernels kernels_of() {
  return {whole_kernel<Layout>, tile_kernel<Layout>};
}

/// The kernels for how keys and values lie.
Kernels kernels_for(const Ordered& k, const Ordered& v) {
  const auto packed = [&](const Ordered& t) {
    return t.dim_stride == 1 && t.position_stride % 4 == 0 && t.head_stride % 4 == 0 &&
           reinterpret_cast<uintptr_t>(t.data) % 16 == 0;
  };
  if (packed(k) && packed(v) && k.dim == v.dim && DType(k.dtype) == DType(v.dtype)) {
    const bool f32 = k.dtype == DType::f32, f16 = k.dtype == DType::f16;
    if (f32 && k.dim == 64) return kernels_of<PackedLayout<float, 2>>();
    if (f16 && k.dim == 64) return kernels_of<PackedLayout<__half, 2>>();
    if (f32 && k.dim == 128) return kernels_of<PackedLayout<float, 4>>();
    if (f16 && k.dim == 128) return kernels_of<PackedLayout<__half, 4>>();
  }
  return kernels_of<AnyLayout>();
}

/// The same for flash_attention(), if it takes such tensors.
std::optional<FlashAttention> as_flash(const Attention& a, int64_t keys, int64_t pos) {
  const auto packed = [](const Ordered& t) {
    return t.dtype == DType::f32 && t.dim_stride == 1 && t.position_stride % 4 == 0 &&
           t.head_stride % 4 == 0 && reinterpret_cast<uintptr_t>(t.data) % 16 == 0;
  };
  if (!packed(a.q) || !packed(a.k) || !packed(a.v) || a.k.dim != a.v.dim || !has_flash_attention(a.k.dim))
    return std::nullopt;
  const auto side = [](const Ordered& t) {
    return FlashAttention::Side{static_cast<const float*>(t.data), t.position_stride, t.head_stride};
  };
  Launches& launches = Device::get().launches();
  return FlashAttention{side(a.q),
                        side(a.k),
                        side(a.v),
                        a.result,
                        a.out.position_stride,
                        a.out.head_stride,
                        a.out.dim_stride,
                        a.q.n,
                        a.q.heads,
                        a.group,
                        a.k.dim,
                        a.scale,
                        a.causal,
                        launches.number(keys),
                        launches.number(pos)};
}

/// A counter for each of kFewQueries, all zeros.
unsigned* tickets() {
  static unsigned* const counters = [] {
    constexpr size_t kBytes = kFewQueries * sizeof(unsigned);
    unsigned* memory = nullptr;
    check(cudaMalloc(&memory, kBytes), "memory");
    check(cudaMemsetAsync(memory, 0, kBytes, Device::get().stream()), "setting memory");
    return memory;
  }();
  return counters;
}

}  // namespace

void attention(const KernelArgs& args) {
  const auto& attrs = args.attr<AttentionAttrs>();
  const bool masked = args.in.size() > 3;
  if (args.out.elements() == 0) return;
  const void *q = read_bytes(args.in[0]), *k = read_bytes(args.in[1]), *v = read_bytes(args.in[2]);
  Attention a{ordered(args.in[0], attrs.q_order, q), ordered(args.in[1], attrs.k_order, k),
              ordered(args.in[2], attrs.v_order, v), ordered(args.out, attrs.out_order, nullptr)};
  const int64_t keys = a.k.n, pos = attrs.causal ? args.params.ints[0] : 0;
  if (keys == 0 || pos < 0) refuse_blind_query(0);
  a.k.n = a.v.n = 0;  // known to the kernels as a number of this step
  if (masked) {
    a.mask = read<uint8_t>(args.in[3]);
    a.mask_query_stride = args.in[3].strides()[0];
    a.mask_key_stride = args.in[3].strides()[1];
  }
  a.result = write<float>(args.out);
  a.group = attrs.group;
  a.scale = args.params.floats[0];
  a.causal = attrs.causal;
  if (masked) a.refused = Device::get().verdict();
  if (a.q.n >= kFlashQueries && !masked && args.activations == Activations::q8)
    if (const auto flash = as_flash(a, keys, pos)) return flash_attention(*flash);
  const Kernels kernels = kernels_for(a.k, a.v);
  const auto of_this_step = [&] {
    a.keys = Device::get().launches().number(keys);
    a.pos = Device::get().launches().number(pos);
    return a;
  };
  const int64_t rows = a.q.n * a.q.heads, tiles = (keys + kTile - 1) / kTile, floats = shared_floats(a);
  if (rows >= kFewQueries || tiles == 1) {
    launch_warps(kernels.whole, rows, floats, of_this_step());
  } else {
    // The same launch while the context grows: tiles that are not there yet end at once.
    const int64_t room = (tiles + kTileRoom - 1) / kTileRoom * kTileRoom;
    const Scratch parts(static_cast<size_t>(rows * room * (a.v.dim + 2)) * sizeof(float));
    launch_warps(kernels.tile, rows * room, floats, of_this_step(), room, parts.as<float>(), tickets());
  }
  if (!masked) return;
  const unsigned long long refused = Device::get().read_verdict();
  if (refused != Device::kNothing) refuse_blind_query(static_cast<int64_t>(refused));
}

}  // namespace tl::cuda
