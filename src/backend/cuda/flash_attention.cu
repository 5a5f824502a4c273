// A block takes 64 queries of one head, 16 a warp, and walks the keys in tiles of 64 that are copied to
// shared memory one ahead. Sums over dimensions and keys go in any order: a lane's depths t and t + 4 are
// elements 2t and 2t + 1, so that it reads pairs, and what a score's product leaves in a lane is what the
// values' product wants there.
#include "backend/cuda/flash_attention.cuh"

#include <algorithm>

#include "backend/cuda/tensor_core.cuh"

namespace tl::cuda {

namespace {

constexpr int kQueries = 64, kKeys = 64, kBlockThreads = 128;

/// A tile of keys and one of values in shared memory. The pitches of rows keep a warp's reads in different
/// banks.
template <class T, int dim>
struct Stage {
  static constexpr int kKeyPitch = dim + 8, kValuePitch = dim + (sizeof(T) == 4 ? 4 : 8);
  // weigh_values() keeps the weights of all queries where the keys were.
  static constexpr size_t kWeightBytes = kQueries * kKeys * sizeof(float);
  static constexpr size_t kKeyBytes = std::max(kKeys * kKeyPitch * sizeof(T), kWeightBytes);
  static constexpr size_t kBytes = kKeyBytes + kKeys * kValuePitch * sizeof(T);

  unsigned char* begin;
  __device__ T* keys() const { return reinterpret_cast<T*>(begin); }
  __device__ float* weights() const { return reinterpret_cast<float*>(begin); }
  __device__ T* values() const { return reinterpret_cast<T*>(begin + kKeyBytes); }
};

/// Elements as factors of the tensor cores: a half is a TF32 number as it is.
__device__ inline unsigned factor_of(float x) { return to_tf32(x); }
__device__ inline unsigned factor_of(__half x) { return __float_as_uint(__half2float(x)); }
__device__ inline float2 two_of(const float* p) { return *reinterpret_cast<const float2*>(p); }
__device__ inline __half2 two_of(const __half* p) { return *reinterpret_cast<const __half2*>(p); }
__device__ inline float number_of(float x) { return x; }
__device__ inline float number_of(__half x) { return __half2float(x); }

/// Copies rows first, first + 1 … of one head; those from `rows` on become zeros.
template <class T, int dim>
__device__ void fetch(T* to, int pitch, const FlashAttention::Side& from, int64_t head, int64_t first,
                      int64_t rows) {
  constexpr int kPiece = 16 / sizeof(T);
  const T* data = static_cast<const T*>(from.data) + head * from.head_stride;
  for (int t = static_cast<int>(threadIdx.x); t < kKeys * dim / kPiece; t += kBlockThreads) {
    const int row = t / (dim / kPiece), piece = t % (dim / kPiece) * kPiece;
    const bool there = first + row < rows;
    copy_async(to + row * pitch + piece, data + (there ? (first + row) * from.position_stride + piece : 0),
               there);
  }
}

/// What a warp knows of its 16 queries; a lane of rows g and g + 8.
template <int dim>
struct Rows {
  unsigned q[dim / 8][4];  ///< in TF32
  float out[dim / 8][4] = {};
  float most[2] = {-INFINITY, -INFINITY}, sum[2] = {};
};

/// scores[j] = the products with keys 8j … 8j + 7 of the tile.
template <class T, int dim>
__device__ void multiply_keys(const Rows<dim>& rows, const T* keys, float (&scores)[kKeys / 8][4]) {
  const int lane = static_cast<int>(threadIdx.x % 32), g = lane / 4, t = lane % 4;
#pragma unroll
  for (int d = 0; d < dim / 8; ++d) {
#pragma unroll
    for (int j = 0; j < kKeys / 8; ++j) {
      const auto pair = two_of(keys + (8 * j + g) * Stage<T, dim>::kKeyPitch + 8 * d + 2 * t);
      multiply_add_tf32(scores[j], rows.q[d], factor_of(pair.x), factor_of(pair.y));
    }
  }
}

/// Adds the weighted values of the tile.
template <class T, int dim>
__device__ void multiply_values(Rows<dim>& rows, const T* values, const float (&weights)[kKeys / 8][4]) {
  constexpr int kPitch = Stage<T, dim>::kValuePitch;
  const int lane = static_cast<int>(threadIdx.x % 32), g = lane / 4, t = lane % 4;
#pragma unroll
  for (int j = 0; j < kKeys / 8; ++j) {
    // Row g + 8 comes second here, third there.
    const unsigned w[4] = {to_tf32(weights[j][0]), to_tf32(weights[j][2]), to_tf32(weights[j][1]),
                           to_tf32(weights[j][3])};
    const T* row = values + (8 * j + 2 * t) * kPitch + g;
#pragma unroll
    for (int d = 0; d < dim / 8; ++d)
      multiply_add_tf32(rows.out[d], w, factor_of(row[8 * d]), factor_of(row[kPitch + 8 * d]));
  }
}

/// The same where values that some queries do not see are not finite: 0 times those would not be 0. The
/// tile's keys give their place to the weights.
template <class T, int dim>
__device__ void weigh_values(Rows<dim>& rows, const Stage<T, dim>& tile,
                             const float (&weights)[kKeys / 8][4]) {
  const int lane = static_cast<int>(threadIdx.x % 32), g = lane / 4, t = lane % 4;
  float* row = tile.weights() + (threadIdx.x / 32 * 16 + g) * kKeys;
#pragma unroll
  for (int j = 0; j < kKeys / 8; ++j)
#pragma unroll
    for (int i = 0; i < 4; ++i) row[i / 2 * 8 * kKeys + 8 * j + 2 * t + i % 2] = weights[j][i];
  __syncwarp();
#pragma unroll 1
  for (int key = 0; key < kKeys; ++key) {
    const float w[2] = {row[key], row[8 * kKeys + key]};
#pragma unroll
    for (int d = 0; d < dim / 8; ++d)
#pragma unroll
      for (int i = 0; i < 4; ++i)
        if (w[i / 2] != 0)
          rows.out[d][i] =
              fmaf(w[i / 2], number_of(tile.values()[key * tile.kValuePitch + 8 * d + 2 * t + i % 2]),
                   rows.out[d][i]);
  }
}

/// Turns scores of the keys from `first` on into weights, and scales what there is to the new maximum. Row i
/// sees `seen[i]` keys.
template <int dim>
__device__ void weigh(Rows<dim>& rows, float (&scores)[kKeys / 8][4], float scale, int64_t first,
                      const int64_t (&seen)[2]) {
  const int t = static_cast<int>(threadIdx.x % 4);
#pragma unroll
  for (int i = 0; i < 2; ++i) {
    const auto visible = static_cast<int>(min(max(seen[i] - first, int64_t{0}), int64_t{kKeys}));
    float most = rows.most[i];
#pragma unroll
    for (int j = 0; j < kKeys / 8; ++j)
#pragma unroll
      for (int c = 0; c < 2; ++c) {
        float& score = scores[j][2 * i + c];
        score = 8 * j + 2 * t + c < visible ? score * scale : -INFINITY;
        most = fmaxf(most, score);
      }
    most = fmaxf(most, __shfl_xor_sync(~0u, most, 1));
    most = fmaxf(most, __shfl_xor_sync(~0u, most, 2));
    const float base = most == -INFINITY ? 0.0f : most, old = expf(rows.most[i] - base);
    float sum = 0;
#pragma unroll
    for (int j = 0; j < kKeys / 8; ++j)
#pragma unroll
      for (int c = 0; c < 2; ++c) {
        float& weight = scores[j][2 * i + c];
        weight = 8 * j + 2 * t + c < visible ? expf(weight - base) : 0.0f;
        sum += weight;
      }
    rows.sum[i] = rows.sum[i] * old + sum;
    rows.most[i] = most;
#pragma unroll
    for (int d = 0; d < dim / 8; ++d) rows.out[d][2 * i] *= old, rows.out[d][2 * i + 1] *= old;
  }
}

template <int dim>
__device__ void read_queries(Rows<dim>& rows, const FlashAttention& a, int64_t head,
                             const int64_t (&row)[2]) {
  const int t = static_cast<int>(threadIdx.x % 4);
  for (int i = 0; i < 2; ++i) {
    const float* q = static_cast<const float*>(a.q.data) + min(row[i], a.queries - 1) * a.q.position_stride +
                     head * a.q.head_stride;
#pragma unroll
    for (int d = 0; d < dim / 8; ++d)
      rows.q[d][i] = to_tf32(q[8 * d + 2 * t]), rows.q[d][2 + i] = to_tf32(q[8 * d + 2 * t + 1]);
  }
}

template <int dim>
__device__ void write_results(const Rows<dim>& rows, const FlashAttention& a, int64_t head,
                              const int64_t (&row)[2]) {
  const int t = static_cast<int>(threadIdx.x % 4);
  for (int i = 0; i < 2; ++i) {
    float sum = rows.sum[i];
    sum += __shfl_xor_sync(~0u, sum, 1);
    sum += __shfl_xor_sync(~0u, sum, 2);
    if (row[i] >= a.queries) continue;
    const float factor = 1.0f / sum;
    float* out = a.out + row[i] * a.out_position_stride + head * a.out_head_stride;
    for (int d = 0; d < dim / 8; ++d)
      for (int c = 0; c < 2; ++c)
        out[(8 * d + 2 * t + c) * a.out_dim_stride] = rows.out[d][2 * i + c] * factor;
  }
}

template <class T, int dim>
__global__ void __launch_bounds__(kBlockThreads) flash_kernel(FlashAttention a) {
  using Tile = Stage<T, dim>;
  extern __shared__ __align__(16) unsigned char shared_tiles[];
  const int lane = static_cast<int>(threadIdx.x % 32);
  // Blocks with the most keys start first.
  const int64_t block = static_cast<int64_t>(gridDim.x) - 1 - blockIdx.x, head = blockIdx.y;
  const int64_t first_row = block * kQueries, warp_row = first_row + threadIdx.x / 32 * 16;
  const int64_t row[2] = {warp_row + lane / 4, warp_row + lane / 4 + 8};
  const int64_t keys = *a.keys, pos = *a.pos;
  const auto sees = [&](int64_t i) { return a.causal ? min(i + pos + 1, keys) : keys; };
  const int64_t seen[2] = {sees(row[0]), sees(row[1])}, least = sees(first_row),
                most = sees(first_row + kQueries - 1);
  const auto stage = [&](int64_t tile) { return Tile{shared_tiles + tile % 2 * Tile::kBytes}; };
  const auto fetch_tile = [&](int64_t tile) {
    if (tile * kKeys < most) {
      fetch<T, dim>(stage(tile).keys(), Tile::kKeyPitch, a.k, head / a.group, tile * kKeys, keys);
      fetch<T, dim>(stage(tile).values(), Tile::kValuePitch, a.v, head / a.group, tile * kKeys, keys);
    }
    commit_copies();
  };
  fetch_tile(0);
  Rows<dim> rows;
  read_queries(rows, a, head, row);
  for (int64_t tile = 0; tile * kKeys < most; ++tile) {
    fetch_tile(tile + 1);
    wait_for_copies<1>();
    const Tile staged = stage(tile);
    bool strange = false;  // values that are not finite where some are not seen
    __syncthreads();
    if ((tile + 1) * kKeys > least) {
      for (int t = static_cast<int>(threadIdx.x); t < kKeys * dim; t += kBlockThreads)
        strange = strange || !isfinite(number_of(staged.values()[t / dim * Tile::kValuePitch + t % dim]));
      strange = __syncthreads_or(strange);
    }
    float scores[kKeys / 8][4] = {};
    multiply_keys<T>(rows, staged.keys(), scores);
    weigh(rows, scores, static_cast<float>(a.scale), tile * kKeys, seen);
    if (strange) {
      __syncthreads();
      weigh_values(rows, staged, scores);
    } else {
      multiply_values<T>(rows, staged.values(), scores);
    }
    __syncthreads();
  }
  write_results(rows, a, head, row);
}

template <class T, int dim>
void run(const FlashAttention& a) {
  constexpr size_t kShared = 2 * Stage<T, dim>::kBytes;
  static const cudaError_t raised = cudaFuncSetAttribute(
      flash_kernel<T, dim>, cudaFuncAttributeMaxDynamicSharedMemorySize, static_cast<int>(kShared));
  check(raised, "asking for shared memory");
  const dim3 grid(static_cast<unsigned>((a.queries + kQueries - 1) / kQueries),
                  static_cast<unsigned>(a.heads));
  launch(flash_kernel<T, dim>, grid, kBlockThreads, kShared, a);
}

}  // namespace

bool has_flash_attention(int64_t dim) {
  // Two stages for heads of 128 dimensions take more shared memory than some devices have.
  const cudaDeviceProp& p = Device::get().properties();
  return p.major >= 8 &&
         ((dim == 64) || (dim == 128 && p.sharedMemPerBlockOptin >= 2 * Stage<float, 128>::kBytes));
}

void flash_attention(const FlashAttention& a) {
  const bool halves = a.cache == DType::f16;
  if (a.dim == 64)
    halves ? run<__half, 64>(a) : run<float, 64>(a);
  else
    halves ? run<__half, 128>(a) : run<float, 128>(a);
}

}  // namespace tl::cuda
