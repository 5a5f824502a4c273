// Fused attention with a streaming softmax.
//
// A warp takes a tile of kTile keys for one query of one head: the largest score, the sum of weights, and the
// weighted values. A block takes kTiles tiles of the same, and merges them; where there are more tiles, the
// last of the blocks to come merges what the others made of theirs. Bits do not depend on how many queries
// there are. Only where activations are rounded anyway, many queries go to the tensor cores.
#include <optional>

#include "backend/cuda/flash_attention.cuh"
#include "backend/cuda/kernels.h"
#include "backend/cuda/refusals.h"
#include "backend/cuda/strided.cuh"
#include "tensor/block_layouts.h"

namespace tl::cuda {

namespace {

constexpr int kTile = 32, kGroup = 8;  ///< keys of a tile, one a lane; lanes that read a key together
constexpr int kTiles = 8, kThreadsOfTiles = 32 * kTiles, kKeysOfBlock = kTile * kTiles;
constexpr int64_t kMostRows = 4096;  ///< (query, head)s of a launch
constexpr int64_t kMostBlocks = 1 << 16;

/// An element in blocks of 8 bits, by the block and its place there.
struct InBlocks {
  const BlockQ8_0* block;
  int place = 0;

  __device__ InBlocks operator+(int64_t elements) const {
    const int64_t at = place + elements;
    return {block + (at >> 5), static_cast<int>(at & 31)};
  }
  __device__ float scale() const { return __half2float(__ushort_as_half(block->d)); }
  __device__ float number() const { return static_cast<float>(block->qs[place]) * scale(); }
};

/// A tensor with its axes renamed to (position, head, head_dim).
struct Ordered {
  const void* data;
  Wide<DType> dtype;
  int64_t n, heads, dim;
  int64_t position_stride, head_stride, dim_stride;

  __device__ float at(int64_t position, int64_t head, int64_t d) const {
    const int64_t i = position * position_stride + head * head_stride + d * dim_stride;
    if (dtype == DType::f32) return static_cast<const float*>(data)[i];
    if (dtype == DType::q8_0) return (InBlocks{static_cast<const BlockQ8_0*>(data)} + i).number();
    return load<float>(data, dtype, i);
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

/// What blocks made of their tiles, where a row has several blocks.
struct Parts {
  float* values;  ///< of (row, block)
  Running* states;
  unsigned* tickets;  ///< how many blocks of a row are done, for each warp: zeros before and after
  int64_t room;       ///< blocks of a row
};

/// Keys of one head, from `first` on, and the values beside them; some are there.
struct Keys {
  int64_t first, kv;
  int n;
};

/// How a kernel reads keys and values: element by element, whatever their type and strides are.
struct AnyLayout {
  /// Has them fetched to the L2 cache.
  static __device__ void fetch(const Attention&, const Keys&) {}
  /// The query's product with the key of each lane.
  static __device__ float dots(const Attention& a, const Keys& keys, int64_t i, int64_t head) {
    float mine = 0;
    for (int j = 0; j < keys.n; ++j) {
      float sum = 0;
      for (int64_t d = threadIdx.x % 32; d < a.k.dim; d += 32)
        sum = fmaf(a.q.at(i, head, d), a.k.at(keys.first + j, keys.kv, d), sum);
      sum = warp_sum(sum);
      if (static_cast<int>(threadIdx.x % 32) == j) mine = sum;
    }
    return mine;
  }
  /// Values on their way from memory.
  struct Values {
    __device__ Values(const Attention&, const Keys&) {}
    /// The sum of the values, each times the weight that its lane has.
    __device__ void weigh(const Attention& a, const Keys& keys, float weight, float* sums) {
      for (int64_t d0 = 0; d0 < a.v.dim; d0 += 32) {
        const int64_t d = d0 + threadIdx.x % 32;
        float total = 0;
        for (int j = 0; j < keys.n; ++j) {
          const float w = __shfl_sync(~0u, weight, j);
          if (w != 0 && d < a.v.dim) total = fmaf(w, a.v.at(keys.first + j, keys.kv, d), total);
        }
        if (d < a.v.dim) sums[d] = total;
      }
    }
  };
};

/// Numbers of type T that lie one after another.
template <class T>
struct Run {
  using Place = const T*;
  using Four = float4;
  static constexpr int kBytesOf32 = 32 * sizeof(T);
  static __device__ Place begin(const void* data) { return static_cast<const T*>(data); }
  static __device__ Four four(Place p) { return load4(p); }
  static __device__ float4 numbers(const Four& four) { return four; }
};
/// The same in blocks of 8 bits; quants stay as they were read until they are used.
template <>
struct Run<BlockQ8_0> {
  using Place = InBlocks;
  struct Four {
    unsigned quants, scale;
  };
  static constexpr int kBytesOf32 = sizeof(BlockQ8_0);
  static __device__ Place begin(const void* data) { return {static_cast<const BlockQ8_0*>(data)}; }
  static __device__ Four four(const Place& p) {
    const auto* halves = reinterpret_cast<const unsigned short*>(p.block->qs + p.place);
    return {halves[0] | static_cast<unsigned>(halves[1]) << 16, p.block->d};
  }
  static __device__ float4 numbers(const Four& four) {
    const float scale = __half2float(__ushort_as_half(static_cast<unsigned short>(four.scale)));
    const auto number = [&](int i) {
      return static_cast<float>(static_cast<int8_t>(four.quants >> (8 * i))) * scale;
    };
    return {number(0), number(1), number(2), number(3)};
  }
};

/// Heads of 32 * kWide dimensions that lie in one piece, of type T. What is read is asked for before any of
/// it is used.
template <class T, int kWide>
struct PackedLayout {
  /// Where key (or value) `j` of some begins.
  static __device__ typename Run<T>::Place place(const Ordered& t, const Keys& keys, int j) {
    return Run<T>::begin(t.data) + ((keys.first + j) * t.position_stride + keys.kv * t.head_stride);
  }
  static __device__ void fetch(const Attention& a, const Keys& keys) {
    const int j = static_cast<int>(threadIdx.x % 32);
    if (j >= keys.n) return;
    fetch_ahead(address(place(a.k, keys, j)), kWide * Run<T>::kBytesOf32);
    fetch_ahead(address(place(a.v, keys, j)), kWide * Run<T>::kBytesOf32);
  }
  static __device__ float dots(const Attention& a, const Keys& keys, int64_t i, int64_t head) {
    constexpr int kAtOnce = 32 / kGroup, kSteps = 32 / kAtOnce, kBatch = 16 / kWide;
    const int lane = static_cast<int>(threadIdx.x % 32), in_group = lane % kGroup, group = lane / kGroup;
    const typename Run<T>::Place key = place(a.k, keys, 0) + 4 * in_group;
    const auto stride = static_cast<int>(a.k.position_stride);
    const float* query =
        static_cast<const float*>(a.q.data) + i * a.q.position_stride + head * a.q.head_stride + 4 * in_group;
    float4 q[kWide];
#pragma unroll
    for (int t = 0; t < kWide; ++t) q[t] = load4(query + 32 * t);
    float mine = 0;
#pragma unroll
    for (int begin = 0; begin < kSteps; begin += kBatch) {
      typename Run<T>::Four x[kBatch][kWide];
#pragma unroll
      for (int s = 0; s < kBatch; ++s)
#pragma unroll
        for (int t = 0; t < kWide; ++t)
          x[s][t] = Run<T>::four(key + (min(kAtOnce * (begin + s) + group, keys.n - 1) * stride + 32 * t));
#pragma unroll
      for (int s = 0; s < kBatch; ++s) {
        float sum = 0;
#pragma unroll
        for (int t = 0; t < kWide; ++t) {
          const float4 k = Run<T>::numbers(x[s][t]);
          sum = fmaf(q[t].x, k.x, sum), sum = fmaf(q[t].y, k.y, sum);
          sum = fmaf(q[t].z, k.z, sum), sum = fmaf(q[t].w, k.w, sum);
        }
        for (int distance = kGroup / 2; distance > 0; distance /= 2)
          sum += __shfl_xor_sync(~0u, sum, distance);
        const float of_key = __shfl_sync(~0u, sum, lane % kAtOnce * kGroup);
        if (lane / kAtOnce == begin + s) mine = of_key;
      }
    }
    return mine;
  }
  struct Values {
    static constexpr int kLanes = 8 * kWide, kAtOnce = 32 / kLanes;  // lanes a value, four dimensions each
    static constexpr int kBatch = 16;
    typename Run<T>::Four x[kBatch];

    __device__ Values(const Attention& a, const Keys& keys) { load(a, keys, 0); }
    __device__ void load(const Attention& a, const Keys& keys, int begin) {
      const typename Run<T>::Place value = place(a.v, keys, 0) + static_cast<int>(threadIdx.x) % kLanes * 4;
      const auto stride = static_cast<int>(a.v.position_stride);
#pragma unroll
      for (int s = 0; s < kBatch; ++s)
        x[s] = Run<T>::four(value + min(begin + s * kAtOnce + of_batch(), keys.n - 1) * stride);
    }
    __device__ void weigh(const Attention& a, const Keys& keys, float weight, float* sums) {
      float4 total{};
#pragma unroll
      for (int begin = 0; begin < kTile; begin += kBatch * kAtOnce) {
        if (begin > 0) load(a, keys, begin);
#pragma unroll
        for (int s = 0; s < kBatch; ++s) {
          const float w = __shfl_sync(~0u, weight, begin + s * kAtOnce + of_batch());
          if (w != 0) {  // what a mask excludes takes no part
            const float4 v = Run<T>::numbers(x[s]);
            total.x = fmaf(w, v.x, total.x), total.y = fmaf(w, v.y, total.y);
            total.z = fmaf(w, v.z, total.z), total.w = fmaf(w, v.w, total.w);
          }
        }
      }
      if constexpr (kAtOnce == 2) {
        total.x += __shfl_xor_sync(~0u, total.x, 16), total.y += __shfl_xor_sync(~0u, total.y, 16);
        total.z += __shfl_xor_sync(~0u, total.z, 16), total.w += __shfl_xor_sync(~0u, total.w, 16);
      }
      const int in_value = static_cast<int>(threadIdx.x) % kLanes;
      if (of_batch() == 0) *reinterpret_cast<float4*>(sums + 4 * in_value) = total;
    }
    static __device__ int of_batch() { return static_cast<int>(threadIdx.x % 32) / kLanes; }
  };

 private:
  static __device__ const void* address(const void* p) { return p; }
  static __device__ const void* address(const InBlocks& p) { return p.block; }
};

/// The keys of a tile that query i sees, apart from a mask.
__device__ Keys keys_of(const Attention& a, int64_t i, int64_t head, int64_t tile) {
  const int64_t first = tile * kTile;
  return {first, head / a.group,
          static_cast<int>(max(int64_t{0}, min(static_cast<int64_t>(kTile), a.seen(i) - first)))};
}

/// One tile: the largest score and the sum of weights, and the weighted values to `sums`.
template <class Layout>
__device__ Running one_tile(const Attention& a, int64_t i, int64_t head, const Keys& keys, float* sums) {
  const auto lane = static_cast<int>(threadIdx.x % 32);
  if (keys.n == 0) return {};
  typename Layout::Values values(a, keys);
  const float dot = Layout::dots(a, keys, i, head);
  bool sees = lane < keys.n;
  if (sees && a.mask != nullptr)
    sees = a.mask[i * a.mask_query_stride + (keys.first + lane) * a.mask_key_stride] != 0;
  const float score = sees ? static_cast<float>(a.scale) * dot : -INFINITY;
  Running state;
  state.most = warp_max(score);
  const float weight = sees ? expf(score - state.most) : 0.0f;
  state.sum = warp_sum(weight);
  values.weigh(a, keys, weight, sums);
  return state;
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

extern __shared__ __align__(16) float shared_sums[];

/// The weighted values of a tile in shared memory, from a multiple of 16 bytes on.
__host__ __device__ inline int64_t shared_floats(const Attention& a) { return (a.v.dim + 3) / 4 * 4; }

/// Sums of tiles (or of blocks of them), with their states.
struct Sums {
  const float* values;
  const Running* states;
  int n;
  int64_t stride;  ///< from values to the next
};

/// The block's warps merge them, 32 dimensions each in turn: each calls put(state of all, d0, value) with the
/// weighted values of dimensions d0, d0 + 1 …, one a lane.
template <bool of_others, class Put>
__device__ void merge(const Attention& a, const Sums& sums, Put put) {
  constexpr int kBatch = 8;
  const auto lane = static_cast<int>(threadIdx.x % 32);
  const auto state_of = [&](int j) {
    if (j >= sums.n) return Running();
    if constexpr (!of_others) return sums.states[j];
    const float2 state = __ldcg(reinterpret_cast<const float2*>(sums.states) + j);
    return Running{state.x, state.y};
  };
  Running all;
  for (int first = 0; first < sums.n; first += 32)
    if (const Running state = state_of(first + lane); state.sum != 0) all.most = fmaxf(all.most, state.most);
  all.most = warp_max(all.most);
  const auto weight_of = [&](const Running& state) {
    return state.sum == 0 ? 0.0f : expf(state.most - all.most);
  };
  for (int first = 0; first < sums.n; first += 32) {
    const Running state = state_of(first + lane);
    all.sum += state.sum * weight_of(state);
  }
  all.sum = warp_sum(all.sum);
  for (int64_t d0 = threadIdx.x / 32 * 32; d0 < a.v.dim; d0 += kThreadsOfTiles) {
    const int64_t d = min(d0 + lane, a.v.dim - 1);
    float total = 0;
    for (int first = 0; first < sums.n; first += kBatch) {
      const float weight = weight_of(state_of(first + lane % kBatch));
      float x[kBatch];
#pragma unroll
      for (int j = 0; j < kBatch; ++j) {
        const float* value = sums.values + min(first + j, sums.n - 1) * sums.stride + d;
        x[j] = of_others ? __ldcg(value) : *value;
      }
#pragma unroll
      for (int j = 0; j < kBatch; ++j) {
        const float w = __shfl_sync(~0u, weight, j);
        total = w == 0 ? total : fmaf(w, x[j], total);
      }
    }
    put(all, d0, total);
  }
}

/// A block a row, which is a (query, head), and kTiles tiles; rows from `first_row` on.
template <class Layout>
__global__ void __launch_bounds__(kThreadsOfTiles, 2)
    attention_kernel(const __grid_constant__ Attention a, int64_t first_row,
                     const __grid_constant__ Parts parts) {
  __shared__ Running states[kTiles];
  const int lane = static_cast<int>(threadIdx.x % 32), warp = static_cast<int>(threadIdx.x / 32);
  const int64_t row = first_row + blockIdx.x, i = row / a.q.heads, head = row % a.q.heads;
  const auto blocks = static_cast<int>((*a.keys + kKeysOfBlock - 1) / kKeysOfBlock),
             block = static_cast<int>(blockIdx.y);
  const Keys keys = keys_of(a, i, head, int64_t{block} * kTiles + warp);
  if (head % a.group == 0) Layout::fetch(a, keys);
  let_next_begin();
  await_predecessors();
  if (block >= blocks) return;
  const int64_t floats = shared_floats(a);
  const Running state = one_tile<Layout>(a, i, head, keys, shared_sums + warp * floats);
  if (lane == 0) states[warp] = state;
  __syncthreads();
  if (32 * warp >= a.v.dim) return;
  // A tile without keys has no values either: it comes last.
  const int n = static_cast<int>(
      max(int64_t{1}, min(int64_t{kTiles}, (a.seen(i) - int64_t{block} * kKeysOfBlock + kTile - 1) / kTile)));
  const Sums tiles{shared_sums, states, n, floats};
  const auto to_result = [&](const Running& all, int64_t d0, float value) {
    finish(a, i, head, all, d0, value);
  };
  if (blocks == 1) return merge<false>(a, tiles, to_result);
  const int64_t at = blockIdx.x * parts.room;
  float* const values = parts.values + at * a.v.dim;
  merge<false>(a, tiles, [&](const Running& all, int64_t d0, float value) {
    if (d0 + lane < a.v.dim) values[block * a.v.dim + d0 + lane] = value;
    if (lane == 0) parts.states[at + block] = all;  // the same by each warp, which sees its own
  });
  __threadfence();
  __syncwarp();
  unsigned before = 0;
  unsigned* const tickets = parts.tickets + blockIdx.x * kTiles + warp;
  if (lane == 0) before = atomicAdd(tickets, 1u);
  before = __shfl_sync(~0u, before, 0);
  if (before + 1 != static_cast<unsigned>(blocks)) return;
  __threadfence();
  if (lane == 0) *tickets = 0;
  merge<true>(a, {values, parts.states + at, blocks, a.v.dim}, to_result);
}

using Kernel = void (*)(Attention, int64_t, Parts);

/// The kernel for how queries, keys and values lie.
Kernel kernel_for(const Ordered& q, const Ordered& k, const Ordered& v) {
  const auto packed = [&](const Ordered& t) {
    return t.dim_stride == 1 && t.position_stride % 4 == 0 && t.head_stride % 4 == 0 &&
           (t.dtype == DType::q8_0 || reinterpret_cast<uintptr_t>(t.data) % 16 == 0);
  };
  if (packed(q) && q.dtype == DType::f32 && packed(k) && packed(v) && k.dim == v.dim &&
      DType(k.dtype) == DType(v.dtype)) {
    const bool f32 = k.dtype == DType::f32, f16 = k.dtype == DType::f16, q8 = k.dtype == DType::q8_0;
    if (q8 && k.dim == 64) return attention_kernel<PackedLayout<BlockQ8_0, 2>>;
    if (q8 && k.dim == 128) return attention_kernel<PackedLayout<BlockQ8_0, 4>>;
    if (f32 && k.dim == 64) return attention_kernel<PackedLayout<float, 2>>;
    if (f16 && k.dim == 64) return attention_kernel<PackedLayout<__half, 2>>;
    if (f32 && k.dim == 128) return attention_kernel<PackedLayout<float, 4>>;
    if (f16 && k.dim == 128) return attention_kernel<PackedLayout<__half, 4>>;
  }
  return attention_kernel<AnyLayout>;
}

/// The same for flash_attention(), if it takes such tensors.
std::optional<FlashAttention> as_flash(const Attention& a, int64_t keys, int64_t pos) {
  const auto packed = [](const Ordered& t) {
    const int64_t piece = 16 / info(t.dtype).block_bytes;
    return t.dim_stride == 1 && t.position_stride % piece == 0 && t.head_stride % piece == 0 &&
           reinterpret_cast<uintptr_t>(t.data) % 16 == 0;
  };
  if (a.q.dtype != DType::f32 || DType(a.k.dtype) != DType(a.v.dtype) || !packed(a.q) || !packed(a.k) ||
      !packed(a.v) || a.k.dim != a.v.dim || !has_flash_attention(a.k.dim))
    return std::nullopt;
  const auto side = [](const Ordered& t) {
    return FlashAttention::Side{t.data, t.position_stride, t.head_stride};
  };
  Launches& launches = Device::get().launches();
  return FlashAttention{side(a.q),
                        side(a.k),
                        side(a.v),
                        a.k.dtype,
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

Tensor as_float32(const Tensor& t) {
  if (t.dtype() == DType::f32) return t;
  const Tensor copy(DType::f32, t.shape(), allocate(static_cast<size_t>(t.elements()) * sizeof(float)));
  copy_elements(copy, t);
  return copy;
}

/// A counter for each row of a launch and warp of a block, all zeros.
unsigned* tickets() {
  static unsigned* const counters = [] {
    constexpr size_t kBytes = kMostRows * kTiles * sizeof(unsigned);
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
  // Tensor cores take float32 or float16; converting other keys and values for many queries costs little.
  const bool flash = args.in[0].shape()[attrs.q_order[0]] >= kFlashQueries && !masked &&
                     args.activations == Activations::q8 && !args.batch_invariant;
  const bool convert = flash && (args.in[1].dtype() != DType::f16 || args.in[2].dtype() != DType::f16);
  const Tensor keys_in = convert ? as_float32(args.in[1]) : args.in[1],
               values_in = convert ? as_float32(args.in[2]) : args.in[2];
  const void *q = read_bytes(args.in[0]), *k = read_bytes(keys_in), *v = read_bytes(values_in);
  Attention a{ordered(args.in[0], attrs.q_order, q), ordered(keys_in, attrs.k_order, k),
              ordered(values_in, attrs.v_order, v), ordered(args.out, attrs.out_order, nullptr)};
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
  if (flash)
    if (const auto flash = as_flash(a, keys, pos)) return flash_attention(*flash);
  const Kernel kernel = kernel_for(a.q, a.k, a.v);
  const auto shared = static_cast<size_t>(kTiles * shared_floats(a)) * sizeof(float);
  TL_CHECK(shared <= 48 * 1024, "attention with heads of more dimensions than fit shared memory");
  // The same launch while the context grows within its blocks.
  const int64_t rows = a.q.n * a.q.heads, room = (keys + kKeysOfBlock - 1) / kKeysOfBlock;
  const int64_t most = std::clamp<int64_t>(kMostBlocks / room, 1, kMostRows);
  for (int64_t first = 0; first < rows; first += most) {
    const int64_t n = std::min(most, rows - first), parts = room == 1 ? 0 : n * room;
    const Scratch values(static_cast<size_t>(parts * a.v.dim) * sizeof(float)),
        states(static_cast<size_t>(parts) * sizeof(Running));
    a.keys = Device::get().launches().number(keys, {room * kKeysOfBlock});
    a.pos = Device::get().launches().number(pos);
    launch_early(kernel, dim3(static_cast<unsigned>(n), static_cast<unsigned>(room)), kThreadsOfTiles, shared,
                 a, first, Parts{values.as<float>(), states.as<Running>(), tickets(), room});
  }
  if (!masked) return;
  const unsigned long long refused = Device::get().read_verdict();
  if (refused != Device::kNothing) refuse_blind_query(static_cast<int64_t>(refused));
}

}  // namespace tl::cuda
