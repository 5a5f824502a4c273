// A warp takes 16 or 32 queries of one head, four warps a block, and walks the keys in tiles of 64 that are
// copied to shared memory one ahead. What a score's product leaves in a lane is what the values' product
// wants there.
//
// Halves are multiplied as halves, with queries scaled row by row by a power of two; float32 is rounded to
// TF32, as many bits. There a lane's depths t and t + 4 are elements 2t and 2t + 1, so that it reads pairs:
// sums over dimensions and keys go in any order.
#include "backend/cuda/flash_attention.cuh"

#include "backend/cuda/tensor_core.cuh"

namespace tl::cuda {

namespace {

constexpr int kWarps = 4, kBlockThreads = 32 * kWarps, kKeys = 64;

/// A tile of keys and one of values in shared memory. The pitches of rows keep a warp's reads in different
/// banks.
template <class T, int dim>
struct Stage {
  static constexpr int kKeyPitch = dim + 8, kValuePitch = dim + (sizeof(T) == 4 ? 4 : 8);
  static constexpr size_t kKeyBytes = kKeys * kKeyPitch * sizeof(T);
  static constexpr size_t kBytes = kKeyBytes + kKeys * kValuePitch * sizeof(T);

  unsigned char* begin;
  __device__ T* keys() const { return reinterpret_cast<T*>(begin); }
  __device__ T* values() const { return reinterpret_cast<T*>(begin + kKeyBytes); }
};

__device__ inline float number_of(float x) { return x; }
__device__ inline float number_of(__half x) { return __half2float(x); }
__device__ inline unsigned two_halves(float first, float second) {
  const __half2 both = __floats2half2_rn(first, second);
  return *reinterpret_cast<const unsigned*>(&both);
}

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

using Scores = float[kKeys / 8][4];

/// What a warp knows of 16 queries; a lane of rows g and g + 8.
template <class T, int dim>
struct Rows {
  static constexpr int kDepth = 32 / sizeof(T);  ///< elements of a query in a factor
  unsigned q[dim / kDepth][4];                   ///< in float16 or TF32
  float scale[2];                                ///< of scores, so that weights are powers of two
  float out[dim / 8][4] = {};
  float most[2] = {-INFINITY, -INFINITY}, sum[2] = {};  ///< of scaled scores, and of weights
};

// ---- Factors in float16

/// scores[m][j] = the products with keys 8j … 8j + 7 of the tile.
template <int dim, int blocks>
__device__ void multiply_keys(const Rows<__half, dim> (&rows)[blocks], const __half* keys,
                              Scores (&scores)[blocks]) {
  const int lane = static_cast<int>(threadIdx.x % 32);
#pragma unroll
  for (int d = 0; d < dim / 32; ++d)
#pragma unroll
    for (int j = 0; j < kKeys / 8; ++j) {
      unsigned k[4];
      load_matrices(k, keys + (8 * j + lane % 8) * Stage<__half, dim>::kKeyPitch + 32 * d + lane / 8 * 8);
#pragma unroll
      for (int m = 0; m < blocks; ++m) {
        multiply_add(scores[m][j], rows[m].q[2 * d], k[0], k[1]);
        multiply_add(scores[m][j], rows[m].q[2 * d + 1], k[2], k[3]);
      }
    }
}

/// Adds the weighted values of the tile.
template <int dim, int blocks>
__device__ void multiply_values(Rows<__half, dim> (&rows)[blocks], const __half* values,
                                const Scores (&weights)[blocks]) {
  const int lane = static_cast<int>(threadIdx.x % 32);
#pragma unroll
  for (int j = 0; j < kKeys / 16; ++j) {
    unsigned w[blocks][4];
#pragma unroll
    for (int m = 0; m < blocks; ++m)
#pragma unroll
      for (int i = 0; i < 4; ++i)
        w[m][i] = two_halves(weights[m][2 * j + i / 2][i % 2 * 2], weights[m][2 * j + i / 2][i % 2 * 2 + 1]);
#pragma unroll
    for (int d = 0; d < dim / 16; ++d) {
      unsigned v[4];
      load_matrices_transposed(
          v, values + (16 * j + lane % 16) * Stage<__half, dim>::kValuePitch + 16 * d + lane / 16 * 8);
#pragma unroll
      for (int m = 0; m < blocks; ++m) {
        multiply_add(rows[m].out[2 * d], w[m], v[0], v[1]);
        multiply_add(rows[m].out[2 * d + 1], w[m], v[2], v[3]);
      }
    }
  }
}

/// Row i of a lane's query as factors: halves of q * 2^-e and `sign`, with e its exponent_for_halves().
/// Returns 2^e.
template <int dim>
__device__ float round_query(Rows<__half, dim>& rows, int i, const float* q, float sign) {
  const int t = static_cast<int>(threadIdx.x % 4);
  float most = 0;
  for (int d = 2 * t; d < dim; d += 8) most = fmaxf(most, fmaxf(fabsf(q[d]), fabsf(q[d + 1])));
  most = fmaxf(most, __shfl_xor_sync(~0u, most, 1));
  most = fmaxf(most, __shfl_xor_sync(~0u, most, 2));
  const int exponent = exponent_for_halves(most);
  const float factor = sign * ldexpf(1.0f, -exponent);
#pragma unroll
  for (int d = 0; d < dim / 16; ++d)
#pragma unroll
    for (int half = 0; half < 2; ++half) {
      const float* two = q + 16 * d + 8 * half + 2 * t;
      rows.q[d][2 * half + i] = two_halves(two[0] * factor, two[1] * factor);
    }
  return ldexpf(1.0f, exponent);
}

// ---- Factors in TF32

template <int dim, int blocks>
__device__ void multiply_keys(const Rows<float, dim> (&rows)[blocks], const float* keys,
                              Scores (&scores)[blocks]) {
  const int lane = static_cast<int>(threadIdx.x % 32), g = lane / 4, t = lane % 4;
#pragma unroll
  for (int d = 0; d < dim / 8; ++d)
#pragma unroll
    for (int j = 0; j < kKeys / 8; ++j) {
      const auto pair =
          *reinterpret_cast<const float2*>(keys + (8 * j + g) * Stage<float, dim>::kKeyPitch + 8 * d + 2 * t);
#pragma unroll
      for (int m = 0; m < blocks; ++m)
        multiply_add_tf32(scores[m][j], rows[m].q[d], to_tf32(pair.x), to_tf32(pair.y));
    }
}

template <int dim, int blocks>
__device__ void multiply_values(Rows<float, dim> (&rows)[blocks], const float* values,
                                const Scores (&weights)[blocks]) {
  constexpr int kPitch = Stage<float, dim>::kValuePitch;
  const int lane = static_cast<int>(threadIdx.x % 32), g = lane / 4, t = lane % 4;
#pragma unroll
  for (int m = 0; m < blocks; ++m)
#pragma unroll
    for (int j = 0; j < kKeys / 8; ++j) {
      // Row g + 8 comes second here, third there.
      const float* of_lane = weights[m][j];
      const unsigned w[4] = {to_tf32(of_lane[0]), to_tf32(of_lane[2]), to_tf32(of_lane[1]),
                             to_tf32(of_lane[3])};
      const float* row = values + (8 * j + 2 * t) * kPitch + g;
#pragma unroll
      for (int d = 0; d < dim / 8; ++d)
        multiply_add_tf32(rows[m].out[d], w, to_tf32(row[8 * d]), to_tf32(row[kPitch + 8 * d]));
    }
}

template <int dim>
__device__ float round_query(Rows<float, dim>& rows, int i, const float* q, float sign) {
  const int t = static_cast<int>(threadIdx.x % 4);
#pragma unroll
  for (int d = 0; d < dim / 8; ++d)
    rows.q[d][i] = to_tf32(sign * q[8 * d + 2 * t]), rows.q[d][2 + i] = to_tf32(sign * q[8 * d + 2 * t + 1]);
  return 1;
}

// ---- Either

/// The weighted values where some that some queries do not see are not finite: 0 times those would not be 0.
template <class T, int dim>
__device__ void weigh_values(Rows<T, dim>& rows, const T* values, const Scores& weights) {
  const int lane = static_cast<int>(threadIdx.x % 32), t = lane % 4;
#pragma unroll
  for (int j = 0; j < kKeys / 8; ++j)
#pragma unroll 1
    for (int key = 0; key < 8; ++key) {
      const int from = lane - t + key / 2;
      const float w[2] = {__shfl_sync(~0u, key % 2 == 0 ? weights[j][0] : weights[j][1], from),
                          __shfl_sync(~0u, key % 2 == 0 ? weights[j][2] : weights[j][3], from)};
      const T* row = values + (8 * j + key) * Stage<T, dim>::kValuePitch + 2 * t;
#pragma unroll
      for (int d = 0; d < dim / 8; ++d)
#pragma unroll
        for (int i = 0; i < 4; ++i)
          if (w[i / 2] != 0) rows.out[d][i] = fmaf(w[i / 2], number_of(row[8 * d + i % 2]), rows.out[d][i]);
    }
}

/// 2^x, to two units in the last place.
__device__ inline float power_of_two(float x) {
  float result = 0;
  asm("ex2.approx.ftz.f32 %0, %1;" : "=f"(result) : "f"(x));
  return result;
}

/// What weights are multiplied by, as a power of two, beside their sum: the largest is 2^14 as a half, so
/// that one has all its bits down to 2^-28 of it.
template <class T>
constexpr float kLift = sizeof(T) == 2 ? 14 : 0;

/// Turns scores of the keys from `first` on into weights, and scales what there is to the new maximum. Row i
/// sees `seen[i]` keys; `all` if both see the whole tile.
template <bool all, class T, int dim>
__device__ void weigh(Rows<T, dim>& rows, Scores& scores, int64_t first, const int64_t (&seen)[2]) {
  const int t = static_cast<int>(threadIdx.x % 4);
#pragma unroll
  for (int i = 0; i < 2; ++i) {
    const auto visible = static_cast<int>(min(max(seen[i] - first, int64_t{0}), int64_t{kKeys}));
    float most = -INFINITY;
#pragma unroll
    for (int j = 0; j < kKeys / 8; ++j)
#pragma unroll
      for (int c = 0; c < 2; ++c) {
        float& score = scores[j][2 * i + c];
        if (!all && 8 * j + 2 * t + c >= visible) score = -INFINITY;
        most = fmaxf(most, score);
      }
    most = fmaxf(most, __shfl_xor_sync(~0u, most, 1));
    most = fmaxf(most, __shfl_xor_sync(~0u, most, 2));
    most = fmaxf(rows.most[i], most * rows.scale[i]);
    // A tile that changes nothing, for this row or another, must not change a bit: then this is 1.
    const float base = most == -INFINITY ? 0.0f : most, old = power_of_two(rows.most[i] - base);
    float sum = 0;
#pragma unroll
    for (int j = 0; j < kKeys / 8; ++j)
#pragma unroll
      for (int c = 0; c < 2; ++c) {
        float& weight = scores[j][2 * i + c];
        weight = power_of_two(fmaf(weight, rows.scale[i], kLift<T> - base));
        if (!all && 8 * j + 2 * t + c >= visible) weight = 0;
        sum += weight;
      }
    rows.sum[i] = rows.sum[i] * old + sum;
    rows.most[i] = most;
#pragma unroll
    for (int d = 0; d < dim / 8; ++d) rows.out[d][2 * i] *= old, rows.out[d][2 * i + 1] *= old;
  }
}

template <class T, int dim>
__device__ void read_queries(Rows<T, dim>& rows, const FlashAttention& a, int64_t head, int64_t first) {
  constexpr float kLog2E = 1.44269504088896340736f;
  const auto scale = static_cast<float>(a.scale);
  for (int i = 0; i < 2; ++i) {
    const int64_t row = first + threadIdx.x % 32 / 4 + 8 * i;
    const float* q = static_cast<const float*>(a.q.data) + min(row, a.queries - 1) * a.q.position_stride +
                     head * a.q.head_stride;
    // Scores are to grow with what they are scaled to, so that their largest is known before.
    const float of_query = round_query(rows, i, q, scale < 0 ? -1.0f : 1.0f);
    const float of_score = fabsf(scale) * kLog2E * of_query;
    rows.scale[i] = of_score == 0 ? 1e-37f : of_score;  // -infinity times it stays what it is
  }
}

template <class T, int dim>
__device__ void write_results(const Rows<T, dim>& rows, const FlashAttention& a, int64_t head,
                              int64_t first) {
  const int t = static_cast<int>(threadIdx.x % 4);
  for (int i = 0; i < 2; ++i) {
    const int64_t row = first + threadIdx.x % 32 / 4 + 8 * i;
    float sum = rows.sum[i];
    sum += __shfl_xor_sync(~0u, sum, 1);
    sum += __shfl_xor_sync(~0u, sum, 2);
    if (row >= a.queries) continue;
    const float factor = 1.0f / sum;
    float* out = a.out + row * a.out_position_stride + head * a.out_head_stride;
    for (int d = 0; d < dim / 8; ++d)
      for (int c = 0; c < 2; ++c)
        out[(8 * d + 2 * t + c) * a.out_dim_stride] = rows.out[d][2 * i + c] * factor;
  }
}

/// `blocks` of 16 queries a warp.
template <class T, int dim, int blocks>
__global__ void __launch_bounds__(kBlockThreads) flash_kernel(FlashAttention a) {
  using Tile = Stage<T, dim>;
  take_turn();
  extern __shared__ __align__(16) unsigned char shared_tiles[];
  constexpr int kQueries = 16 * blocks * kWarps;
  // Blocks with the most keys start first.
  const int64_t block = static_cast<int64_t>(gridDim.x) - 1 - blockIdx.x, head = blockIdx.y;
  const int64_t first_row = block * kQueries, of_warp = first_row + threadIdx.x / 32 * (16 * blocks);
  const int64_t keys = *a.keys, pos = *a.pos;
  const auto sees = [&](int64_t i) { return a.causal ? min(i + pos + 1, keys) : keys; };
  const int64_t least = sees(first_row), most = sees(first_row + kQueries - 1);
  const auto stage = [&](int64_t tile) { return Tile{shared_tiles + tile % 2 * Tile::kBytes}; };
  const auto fetch_tile = [&](int64_t tile) {
    if (tile * kKeys < most) {
      fetch<T, dim>(stage(tile).keys(), Tile::kKeyPitch, a.k, head / a.group, tile * kKeys, keys);
      fetch<T, dim>(stage(tile).values(), Tile::kValuePitch, a.v, head / a.group, tile * kKeys, keys);
    }
    commit_copies();
  };
  fetch_tile(0);
  Rows<T, dim> rows[blocks];
#pragma unroll
  for (int m = 0; m < blocks; ++m) read_queries(rows[m], a, head, of_warp + 16 * m);
  for (int64_t tile = 0; tile * kKeys < most; ++tile) {
    fetch_tile(tile + 1);
    wait_for_copies<1>();
    const Tile staged = stage(tile);
    const bool whole = (tile + 1) * kKeys <= least;  // every query sees all of it
    bool strange = false;                            // values that are not finite where some are not seen
    __syncthreads();
    if (!whole) {
      for (int t = static_cast<int>(threadIdx.x); t < kKeys * dim; t += kBlockThreads)
        strange = strange || !isfinite(number_of(staged.values()[t / dim * Tile::kValuePitch + t % dim]));
      strange = __syncthreads_or(strange);
    }
    Scores scores[blocks] = {};
    multiply_keys(rows, staged.keys(), scores);
#pragma unroll
    for (int m = 0; m < blocks; ++m) {
      const int64_t row = of_warp + 16 * m + threadIdx.x % 32 / 4, seen[2] = {sees(row), sees(row + 8)};
      if (whole)
        weigh<true>(rows[m], scores[m], tile * kKeys, seen);
      else
        weigh<false>(rows[m], scores[m], tile * kKeys, seen);
    }
    if (!strange) {
      multiply_values(rows, staged.values(), scores);
    } else {
#pragma unroll
      for (int m = 0; m < blocks; ++m) weigh_values(rows[m], staged.values(), scores[m]);
    }
    __syncthreads();
  }
#pragma unroll
  for (int m = 0; m < blocks; ++m) write_results(rows[m], a, head, of_warp + 16 * m);
}

template <class T, int dim, int blocks>
void run(const FlashAttention& a) {
  constexpr size_t kShared = 2 * Stage<T, dim>::kBytes;
  constexpr int kQueries = 16 * blocks * kWarps;
  static const cudaError_t raised = cudaFuncSetAttribute(
      flash_kernel<T, dim, blocks>, cudaFuncAttributeMaxDynamicSharedMemorySize, static_cast<int>(kShared));
  check(raised, "asking for shared memory");
  const dim3 grid(static_cast<unsigned>((a.queries + kQueries - 1) / kQueries),
                  static_cast<unsigned>(a.heads));
  launch_early(flash_kernel<T, dim, blocks>, grid, kBlockThreads, kShared, a);
}

/// Warps of 32 queries read keys and values half as often, where there are enough of them for all
/// multiprocessors. What is computed is the same.
void run_halves(const FlashAttention& a) {
  const int64_t blocks = (a.queries + 127) / 128 * a.heads;
  if (blocks >= 2 * Device::get().properties().multiProcessorCount)
    run<__half, 64, 2>(a);
  else
    run<__half, 64, 1>(a);
}

}  // namespace

bool has_flash_attention(int64_t dim) {
  // Two stages for heads of 128 dimensions take more shared memory than some devices have.
  const cudaDeviceProp& p = Device::get().properties();
  return Device::get().code().version >= 80 &&
         ((dim == 64) || (dim == 128 && p.sharedMemPerBlockOptin >= 2 * Stage<float, 128>::kBytes));
}

void flash_attention(const FlashAttention& a) {
  const bool halves = a.cache == DType::f16;
  if (a.dim == 64)
    halves ? run_halves(a) : run<float, 64, 1>(a);
  else
    halves ? run<__half, 128, 1>(a) : run<float, 128, 1>(a);
}

}  // namespace tl::cuda
