#include "backend/cuda/tensor_product.cuh"

#include <bit>
#include <cmath>
#include <map>

#include "backend/cuda/q8.cuh"
#include "backend/cuda/strided.cuh"
#include "backend/cuda/tensor_core.cuh"
#include "backend/cuda/warpgroup_product.cuh"

namespace tl::cuda {

namespace {

// ---- Operands in float16

/// Four numbers, or one where rows do not lie at multiples of 16 bytes.
template <class T>
struct Numbers;
template <>
struct Numbers<float4> {
  static __device__ float most(const float4& v) {
    return fmaxf(fmaxf(fabsf(v.x), fabsf(v.y)), fmaxf(fabsf(v.z), fabsf(v.w)));
  }
  static __device__ void narrow(__half* to, const float4& v, float factor) {
    const __half2 both[] = {__floats2half2_rn(v.x * factor, v.y * factor),
                            __floats2half2_rn(v.z * factor, v.w * factor)};
    *reinterpret_cast<uint2*>(to) = *reinterpret_cast<const uint2*>(both);
  }
  static __device__ float4 four(const float4* row, int64_t at) { return row[at / 4]; }
};
template <>
struct Numbers<float> {
  static __device__ float most(float v) { return fabsf(v); }
  static __device__ void narrow(__half* to, float v, float factor) { *to = __float2half_rn(v * factor); }
  static __device__ float4 four(const float* row, int64_t at) {
    return {row[at], row[at + 1], row[at + 2], row[at + 3]};
  }
};

/// exponent_for_halves() of a block's row.
template <class T>
__device__ int exponent_of_row(const T* row, int64_t length) {
  __shared__ float parts[kThreads / 32];
  float most = 0;
  for (int64_t i = threadIdx.x; i < length; i += kThreads) most = fmaxf(most, Numbers<T>::most(row[i]));
  most = warp_max(most);
  if (threadIdx.x % 32 == 0) parts[threadIdx.x / 32] = most;
  __syncthreads();
  most = parts[0];
  for (int w = 1; w < kThreads / 32; ++w) most = fmaxf(most, parts[w]);
  return exponent_for_halves(most);
}

/// A block a row: halves of x * 2^-e; scales get 2^e.
template <class T>
__global__ void narrow_kernel(int64_t k, const float* x, __half* halves, float* scales) {
  take_turn();
  constexpr int kEach = sizeof(T) / sizeof(float);
  const T* row = reinterpret_cast<const T*>(x + blockIdx.x * k);
  const int exponent = exponent_of_row(row, k / kEach);
  if (threadIdx.x == 0) scales[blockIdx.x] = ldexpf(1.0f, exponent);
  const float factor = ldexpf(1.0f, -exponent);
  for (int64_t i = threadIdx.x; i < k / kEach; i += kThreads)
    Numbers<T>::narrow(halves + blockIdx.x * k + i * kEach, row[i], factor);
}

/// The same in an order of elements, k a multiple of four: a thread takes four, whose first and third, second
/// and fourth become neighbours, eight halves apart.
template <class T>
__global__ void narrow_in_order_kernel(int64_t k, OrderOfRows order, const float* x, __half* halves,
                                       float* scales) {
  take_turn();
  constexpr int kEach = sizeof(T) / sizeof(float);
  const T* row = reinterpret_cast<const T*>(x + blockIdx.x * k);
  const int exponent = exponent_of_row(row, k / kEach);
  if (threadIdx.x == 0) scales[blockIdx.x] = ldexpf(1.0f, exponent);
  const float factor = ldexpf(1.0f, -exponent);
  const int group = 64 * order.parts, length = static_cast<int>(order.length(k));
  __half* const to = halves + static_cast<int64_t>(blockIdx.x) * length;
  for (int i = 4 * static_cast<int>(threadIdx.x); i < length; i += 4 * kThreads) {
    const int of_group = i % group, place = order.places[of_group / 16];
    const float4 v = i < k ? Numbers<T>::four(row, i) : float4{};
    auto* const two = reinterpret_cast<__half2*>(to + (i - of_group) + place / 4 * 64 +
                                                 of_group % 16 / 4 * 16 + place % 4 * 2);
    two[0] = __floats2half2_rn(v.x * factor, v.z * factor);
    two[4] = __floats2half2_rn(v.y * factor, v.w * factor);
  }
}

/// Rows of x in float16.
struct Narrowed {
  Scratch halves, scales;
  Narrowed(int64_t m, int64_t length)
      : halves(static_cast<size_t>(m * length) * sizeof(__half)),
        scales(static_cast<size_t>(m) * sizeof(float)) {}
};

/// Products of the same rows share them.
std::shared_ptr<Narrowed> narrowed(const float* x, int64_t m, int64_t k, const OrderOfRows& order) {
  Remembered& last = remembered();
  std::vector<int64_t> how = {m, k, 16, order.parts};
  how.insert(how.end(), order.places.begin(), order.places.end());
  if (last.from != x || last.how != how) {
    const auto rows = std::make_shared<Narrowed>(m, order.length(k));
    auto* const halves = rows->halves.as<__half>();
    auto* const scales = rows->scales.as<float>();
    const auto blocks = static_cast<unsigned>(m);
    const bool fours = k % 4 == 0 && reinterpret_cast<uintptr_t>(x) % sizeof(float4) == 0;
    if (order.parts != 0)
      launch_early(fours ? narrow_in_order_kernel<float4> : narrow_in_order_kernel<float>, blocks, kThreads,
                   0, k, order, x, halves, scales);
    else
      launch_early(fours ? narrow_kernel<float4> : narrow_kernel<float>, blocks, kThreads, 0, k, x, halves,
                   scales);
    last = {x, static_cast<size_t>(m * k) * sizeof(float), how, rows};
  }
  return std::static_pointer_cast<Narrowed>(last.result);
}

/// A thread decodes eight elements of a chunk, so that a warp writes whole lines.
template <DType format>
__global__ void decode_kernel(int64_t n_chunks, Blocks w, __half* out) {
  using Chunks = ChunksOf<format>;
  constexpr int kPieces = 2 * Chunks::kParts;
  TL_EACH(i, n_chunks * kPieces) {
    const int64_t c = i / kPieces;
    const int piece = static_cast<int>(i % kPieces);
    const Chunks chunk(w, c);
    const Part part = chunk.part(piece / 2);
    const bool second = piece % 2 != 0;
    const int words[] = {second ? part.q[2] : part.q[0], second ? part.q[3] : part.q[1]};
    __half2 halves[4];
#pragma unroll
    for (int j = 0; j < 4; ++j) {
      const int word = words[j / 2] >> (j % 2 * 16);
      halves[j] = __floats2half2_rn(fmaf(part.a, static_cast<float>(static_cast<int8_t>(word)), part.b),
                                    fmaf(part.a, static_cast<float>(static_cast<int8_t>(word >> 8)), part.b));
    }
    const int64_t at = element_of<Chunks>(c, piece / 2) + 8 * (piece % 2);
    *reinterpret_cast<uint4*>(out + at) = *reinterpret_cast<const uint4*>(halves);
  }
}

template <DType format>
void decode(const Blocks& w, int64_t elements, __half* out) {
  using Chunks = ChunksOf<format>;
  const int64_t chunks = elements / Chunks::kElements;
  launch(decode_kernel<format>, blocks_for(chunks * 2 * Chunks::kParts), kThreads, 0, chunks, w, out);
}

void decode_all(const Blocks& w, int64_t elements, __half* out) {
#define TL_ENTRY(format) {DType::format, decode<DType::format>},
  static const std::map<DType, void (*)(const Blocks&, int64_t, __half*)> table = {
      TL_QUANTISED_FORMATS(TL_ENTRY)};
#undef TL_ENTRY
  table.at(w.dtype)(w, elements, out);
}

// ---- Weights in bfloat16

/// Halves of w * 2^-e, eight elements a thread.
__global__ void narrow_weights_kernel(int64_t n, int64_t k, int64_t stride, const __nv_bfloat16* w,
                                      float factor, __half* out) {
  constexpr int kEach = sizeof(uint4) / sizeof(__half);
  TL_EACH(i, n * (k / kEach)) {
    const int64_t row = i / (k / kEach), at = i % (k / kEach) * kEach;
    const uint4 from = *reinterpret_cast<const uint4*>(w + row * stride + at);
    const auto* pairs = reinterpret_cast<const __nv_bfloat162*>(&from);
    __half2 halves[kEach / 2];
#pragma unroll
    for (int j = 0; j < kEach / 2; ++j) {
      const float2 two = __bfloat1622float2(pairs[j]);
      halves[j] = __floats2half2_rn(two.x * factor, two.y * factor);
    }
    *reinterpret_cast<uint4*>(out + row * k + at) = *reinterpret_cast<const uint4*>(halves);
  }
}

/// The largest magnitude, as bits: more than those of infinity where there is a NaN.
__global__ void largest_kernel(int64_t n, int64_t k, int64_t stride, const uint16_t* w, unsigned* most) {
  unsigned mine = 0;
  TL_EACH(i, n * k) mine = max(mine, w[i / k * stride + i % k] & 0x7fffu);
  for (int lanes = 16; lanes > 0; lanes /= 2) mine = max(mine, __shfl_xor_sync(~0u, mine, lanes));
  if (threadIdx.x % 32 == 0) atomicMax(most, mine);
}

class KnownExponent final : public Derived {
 public:
  /// A row's scale, at most 2^120, times two to the power of this is a float.
  static constexpr int kMostExponent = 7;
  explicit KnownExponent(const Tensor& w) {
    const Scratch memory(sizeof(unsigned));
    auto* const most = memory.as<unsigned>();
    const unsigned none = 0;
    Device::get().upload(most, &none, sizeof none);
    const int64_t n = w.shape()[0], k = w.shape()[1];
    launch(largest_kernel, blocks_for(n * k), kThreads, 0, n, k, w.strides()[0], read<uint16_t>(w), most);
    unsigned bits = 0;
    Device::get().download(&bits, most, sizeof bits);
    constexpr unsigned kInfinity = 0x7f80;
    if (bits >= kInfinity) return;
    const int exponent = bits == 0 ? 0 : std::max(ilogbf(std::bit_cast<float>(bits << 16)) - 14, -126);
    if (exponent <= kMostExponent) exponent_ = exponent;
  }
  std::optional<int> exponent() const { return exponent_; }

 private:
  std::optional<int> exponent_;
};

// ---- The product

constexpr int kDepth = 32;  ///< of a stage, in elements
constexpr int kPitch =
    kDepth + 8;  ///< of a row in shared memory: eight rows of a matrix lie in different banks
constexpr int kStages = 4;

struct Product {
  const __half *x, *w;
  const float *scales, *bias;
  float* out;
  int64_t m, n, k, stride;  ///< the stride is that of w's rows
  Wide<int> exponent;       ///< w stands for 2^exponent times what it is
};

/// Copies kRows rows of a stage, 16 bytes a thread at a time; rows past the end become zeros.
template <int kRows, int kBlockThreads>
__device__ inline void load_rows(__half* to, const __half* from, int64_t first, int64_t rows, int64_t k,
                                 int64_t stride, int64_t at) {
  for (int t = static_cast<int>(threadIdx.x); t < kRows * kDepth / 8; t += kBlockThreads) {
    const int row = t / (kDepth / 8), piece = t % (kDepth / 8) * 8;
    const bool there = first + row < rows && at + piece < k;
    copy_async(to + row * kPitch + piece, from + (there ? (first + row) * stride + at + piece : 0), there);
  }
}

/// A block computes kM x kN elements, each of its kWarpsM x kWarpsN warps a part of them.
template <int kM, int kN, int kWarpsM, int kWarpsN>
__global__ void __launch_bounds__(kWarpsM* kWarpsN * 32) product_kernel(Product p) {
  constexpr int kBlockThreads = kWarpsM * kWarpsN * 32, kTilesM = kM / kWarpsM / 16,
                kTilesN = kN / kWarpsN / 8;
  extern __shared__ __half shared[];
  const int lane = static_cast<int>(threadIdx.x % 32), warp = static_cast<int>(threadIdx.x / 32);
  const int warp_row = warp / kWarpsN * (kM / kWarpsM), warp_column = warp % kWarpsN * (kN / kWarpsN);
  const int64_t first_row = static_cast<int64_t>(blockIdx.x) * kM,
                first_column = static_cast<int64_t>(blockIdx.y) * kN;
  const auto stage = [&](int64_t s) { return shared + s % kStages * (kM + kN) * kPitch; };
  const int64_t steps = (p.k + kDepth - 1) / kDepth;
  const auto fetch = [&](int64_t s) {
    if (s < steps) {
      load_rows<kM, kBlockThreads>(stage(s), p.x, first_row, p.m, p.k, p.k, s * kDepth);
      load_rows<kN, kBlockThreads>(stage(s) + kM * kPitch, p.w, first_column, p.n, p.k, p.stride, s * kDepth);
    }
    commit_copies();
  };
  for (int s = 0; s < kStages - 1; ++s) fetch(s);

  float sums[kTilesM][kTilesN][4] = {};
  for (int64_t s = 0; s < steps; ++s) {
    wait_for_copies<kStages - 2>();
    __syncthreads();
    fetch(s + kStages - 1);
    const __half *x = stage(s), *w = x + kM * kPitch;
#pragma unroll
    for (int d = 0; d < kDepth; d += 16) {
      unsigned a[kTilesM][4], b[kTilesN / 2][4];
#pragma unroll
      for (int i = 0; i < kTilesM; ++i)
        load_matrices(a[i], x + (warp_row + 16 * i + lane % 16) * kPitch + d + lane / 16 * 8);
#pragma unroll
      for (int j = 0; j < kTilesN / 2;
           ++j)  // two columns of tiles: rows 0-7 and 8-15 of w, each depths 0-7 and 8-15
        load_matrices(b[j],
                      w + (warp_column + 16 * j + lane / 16 * 8 + lane % 8) * kPitch + d + lane / 8 % 2 * 8);
#pragma unroll
      for (int i = 0; i < kTilesM; ++i)
#pragma unroll
        for (int j = 0; j < kTilesN; ++j)
          multiply_add(sums[i][j], a[i], b[j / 2][j % 2 * 2], b[j / 2][j % 2 * 2 + 1]);
    }
  }
  const float of_weights = ldexpf(1.0f, p.exponent);
  for (int i = 0; i < kTilesM; ++i)
    for (int j = 0; j < kTilesN; ++j)
      for (int e = 0; e < 4; ++e) {
        const int64_t row = first_row + warp_row + 16 * i + lane / 4 + e / 2 * 8;
        const int64_t column = first_column + warp_column + 8 * j + lane % 4 * 2 + e % 2;
        if (row >= p.m || column >= p.n) continue;
        const float value = sums[i][j][e] * (p.scales[row] * of_weights);
        p.out[row * p.n + column] = p.bias == nullptr ? value : value + p.bias[column];
      }
}

template <int kM, int kN, int kWarpsM, int kWarpsN>
void run(const Product& p) {
  constexpr size_t kShared = sizeof(__half) * kStages * (kM + kN) * kPitch;
  const auto kernel = product_kernel<kM, kN, kWarpsM, kWarpsN>;
  static const cudaError_t raised =
      cudaFuncSetAttribute(kernel, cudaFuncAttributeMaxDynamicSharedMemorySize, static_cast<int>(kShared));
  check(raised, "asking for shared memory");
  const dim3 grid(static_cast<unsigned>((p.m + kM - 1) / kM), static_cast<unsigned>((p.n + kN - 1) / kN));
  launch(kernel, grid, kWarpsM * kWarpsN * 32, kShared, p);
}

}  // namespace

bool has_tensor_product() { return Device::get().code().version >= 80; }

std::optional<int> exponent_of(const Tensor& w) {
  std::shared_ptr<Derived>* const kept = derived(w, DerivedKind::exponent);
  if (kept == nullptr) return KnownExponent(w).exponent();
  if (*kept == nullptr) *kept = std::make_shared<KnownExponent>(w);
  return static_cast<const KnownExponent&>(**kept).exponent();
}

void tensor_product(const float* x, const TensorWeights& w, const float* bias, float* out, int64_t m,
                    int64_t n, int64_t k) {
  if (w.blocks.dtype == DType::bf16) {
    const Scratch halves(static_cast<size_t>(n * k) * sizeof(__half));
    launch(narrow_weights_kernel, blocks_for(n * k / 8), kThreads, 0, n, k, w.stride,
           reinterpret_cast<const __nv_bfloat16*>(w.blocks.data[0]), std::ldexp(1.0f, -w.exponent),
           halves.as<__half>());
    return tensor_product(x, {{DType::f16, {halves.as<uint8_t>()}, {}}, k, false, w.exponent}, bias, out, m,
                          n, k);
  }
  const bool by_warpgroups = has_warpgroup_product(w.blocks.dtype, k);
  const std::shared_ptr<Narrowed> rows =
      narrowed(x, m, k, by_warpgroups ? order_for(w.blocks.dtype) : OrderOfRows{});
  const auto* halves = rows->halves.as<__half>();
  const auto* scales = rows->scales.as<float>();
  if (by_warpgroups)
    return warpgroup_product({halves, scales, m, k, {w.blocks, bias, out, n, w.stride, w.exponent, w.kept}});
  const bool coded = is_quantised(w.blocks.dtype);
  const Scratch decoded(coded ? static_cast<size_t>(n * k) * sizeof(__half) : 1);
  if (coded) decode_all(w.blocks, n * k, decoded.as<__half>());
  const auto* weights = coded ? decoded.as<__half>() : reinterpret_cast<const __half*>(w.blocks.data[0]);
  const int64_t stride = coded ? k : w.stride;
  const Product p{halves, weights, scales, bias, out, m, n, k, stride, w.exponent};
  // Sums are the same either way: each element adds its depths in order.
  const int64_t large = (m + 127) / 128 * ((n + 127) / 128);
  if (large >= Device::get().properties().multiProcessorCount)
    run<128, 128, 2, 4>(p);
  else
    run<64, 64, 2, 2>(p);
}

}  // namespace tl::cuda
