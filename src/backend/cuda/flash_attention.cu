// A block takes 64 queries of one head, 16 a warp, and walks the keys in tiles of 64 that are copied to
// shared memory one ahead. Sums over dimensions and keys go in any order: a lane's depths t and t + 4 are
// elements 2t and 2t + 1, so that it reads pairs, and what a score's product leaves in a lane is what the
// values' product wants there.
#include "backend/cuda/flash_attention.cuh"

#include "backend/cuda/tensor_core.cuh"

namespace tl::cuda {

namespace {

constexpr int kQueries = 64, kKeys = 64, kBlockThreads = 128;

/// The pitches of rows in shared memory keep a warp's reads in different banks.
template <int dim>
constexpr int kKeyPitch = dim + 8;
template <int dim>
constexpr int kValuePitch = dim + 4;
template <int dim>
constexpr int kStageFloats = kKeys*(kKeyPitch<dim> + kValuePitch<dim>);

/// Copies rows first, first + 1 … of one head; those from `rows` on become zeros.
template <int dim>
__device__ void fetch(float* to, int pitch, const FlashAttention::Side& from, int64_t head, int64_t first,
                      int64_t rows) {
  const float* data = from.data + head * from.head_stride;
  for (int t = static_cast<int>(threadIdx.x); t < kKeys * dim / 4; t += kBlockThreads) {
    const int row = t / (dim / 4), piece = t % (dim / 4) * 4;
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
template <int dim>
__device__ void multiply_keys(const Rows<dim>& rows, const float* keys, float (&scores)[kKeys / 8][4]) {
  const int lane = static_cast<int>(threadIdx.x % 32), g = lane / 4, t = lane % 4;
#pragma unroll
  for (int d = 0; d < dim / 8; ++d) {
#pragma unroll
    for (int j = 0; j < kKeys / 8; ++j) {
      const float2 pair =
          *reinterpret_cast<const float2*>(keys + (8 * j + g) * kKeyPitch<dim> + 8 * d + 2 * t);
      multiply_add_tf32(scores[j], rows.q[d], to_tf32(pair.x), to_tf32(pair.y));
    }
  }
}

/// Adds the weighted values of the tile.
template <int dim>
__device__ void multiply_values(Rows<dim>& rows, const float* values, const float (&weights)[kKeys / 8][4]) {
  const int lane = static_cast<int>(threadIdx.x % 32), g = lane / 4, t = lane % 4;
#pragma unroll
  for (int j = 0; j < kKeys / 8; ++j) {
    // Row g + 8 comes second here, third there.
    const unsigned w[4] = {to_tf32(weights[j][0]), to_tf32(weights[j][2]), to_tf32(weights[j][1]),
                           to_tf32(weights[j][3])};
    const float* row = values + (8 * j + 2 * t) * kValuePitch<dim> + g;
#pragma unroll
    for (int d = 0; d < dim / 8; ++d) {
      multiply_add_tf32(rows.out[d], w, to_tf32(row[8 * d]), to_tf32(row[kValuePitch<dim> + 8 * d]));
    }
  }
}

/// The same where values that some queries do not see are not finite: 0 times those would not be 0. The
/// tile's keys give their place to the weights.
template <int dim>
__device__ void weigh_values(Rows<dim>& rows, float* keys, const float* values,
                             const float (&weights)[kKeys / 8][4]) {
  const int lane = static_cast<int>(threadIdx.x % 32), g = lane / 4, t = lane % 4;
  float* row = keys + (threadIdx.x / 32 * 16 + g) * kKeys;
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
              fmaf(w[i / 2], values[key * kValuePitch<dim> + 8 * d + 2 * t + i % 2], rows.out[d][i]);
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
    const float* q = a.q.data + min(row[i], a.queries - 1) * a.q.position_stride + head * a.q.head_stride;
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

template <int dim>
__global__ void __launch_bounds__(kBlockThreads) flash_kernel(FlashAttention a) {
  extern __shared__ __align__(16) float shared_tiles[];
  const int lane = static_cast<int>(threadIdx.x % 32);
  // Blocks with the most keys start first.
  const int64_t block = static_cast<int64_t>(gridDim.x) - 1 - blockIdx.x, head = blockIdx.y;
  const int64_t first_row = block * kQueries, warp_row = first_row + threadIdx.x / 32 * 16;
  const int64_t row[2] = {warp_row + lane / 4, warp_row + lane / 4 + 8};
  const int64_t keys = *a.keys, pos = *a.pos;
  const auto sees = [&](int64_t i) { return a.causal ? min(i + pos + 1, keys) : keys; };
  const int64_t seen[2] = {sees(row[0]), sees(row[1])}, least = sees(first_row),
                most = sees(first_row + kQueries - 1);
  const auto stage = [&](int64_t tile) { return shared_tiles + tile % 2 * kStageFloats<dim>; };
  const auto fetch_tile = [&](int64_t tile) {
    if (tile * kKeys < most) {
      fetch<dim>(stage(tile), kKeyPitch<dim>, a.k, head / a.group, tile * kKeys, keys);
      fetch<dim>(stage(tile) + kKeys * kKeyPitch<dim>, kValuePitch<dim>, a.v, head / a.group, tile * kKeys,
                 keys);
    }
    commit_copies();
  };
  fetch_tile(0);
  Rows<dim> rows;
  read_queries(rows, a, head, row);
  for (int64_t tile = 0; tile * kKeys < most; ++tile) {
    fetch_tile(tile + 1);
    wait_for_copies<1>();
    float *k = stage(tile), *v = k + kKeys * kKeyPitch<dim>;
    bool strange = false;  // values that are not finite where some are not seen
    __syncthreads();
    if ((tile + 1) * kKeys > least) {
      for (int t = static_cast<int>(threadIdx.x); t < kKeys * dim; t += kBlockThreads)
        strange = strange || !isfinite(v[t / dim * kValuePitch<dim> + t % dim]);
      strange = __syncthreads_or(strange);
    }
    float scores[kKeys / 8][4] = {};
    multiply_keys(rows, k, scores);
    weigh(rows, scores, static_cast<float>(a.scale), tile * kKeys, seen);
    if (strange) {
      __syncthreads();
      weigh_values(rows, k, v, scores);
    } else {
      multiply_values(rows, v, scores);
    }
    __syncthreads();
  }
  write_results(rows, a, head, row);
}

template <int dim>
void run(const FlashAttention& a) {
  constexpr size_t kShared = 2 * kStageFloats<dim> * sizeof(float);
  static const cudaError_t raised = cudaFuncSetAttribute(
      flash_kernel<dim>, cudaFuncAttributeMaxDynamicSharedMemorySize, static_cast<int>(kShared));
  check(raised, "asking for shared memory");
  const dim3 grid(static_cast<unsigned>((a.queries + kQueries - 1) / kQueries),
                  static_cast<unsigned>(a.heads));
  launch(flash_kernel<dim>, grid, kBlockThreads, kShared, a);
}

}  // namespace

bool has_flash_attention(int64_t dim) {
  // Two stages for heads of 128 dimensions take more shared memory than some devices have.
  const cudaDeviceProp& p = Device::get().properties();
  return p.major >= 8 &&
         ((dim == 64) || (dim == 128 && p.sharedMemPerBlockOptin >= 2 * kStageFloats<128> * 4));
}

void flash_attention(const FlashAttention& a) {
  if (a.dim == 64)
    run<64>(a);
  else
    run<128>(a);
}

}  // namespace tl::cuda
