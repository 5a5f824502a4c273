// Reading and writing tensors that lie anyhow, element by element, and launching a thread for each.
#pragma once

#include <cuda_bf16.h>
#include <cuda_fp16.h>

#include <array>
#include <type_traits>

#include "backend/cuda/device.h"
#include "tensor/tensor.h"

namespace tl::cuda {

constexpr int kThreads = 256;

/// Has kernel(args...) run, after all that was asked for before.
template <class... Params, class... Args>
void launch(void (*kernel)(Params...), dim3 grid, unsigned threads, size_t shared, Args&&... args) {
  Device::get().launches().add(Follows::plainly, kernel, grid, threads, shared, std::forward<Args>(args)...);
}
/// The same for a kernel that calls await_predecessors() before it reads what others wrote, and before it
/// writes.
template <class... Params, class... Args>
void launch_early(void (*kernel)(Params...), dim3 grid, unsigned threads, size_t shared, Args&&... args) {
  Device::get().launches().add(Follows::overlaps, kernel, grid, threads, shared, std::forward<Args>(args)...);
}

/// Waits until everything has ended that was asked for before this kernel.
__device__ inline void await_predecessors() {
#if __CUDA_ARCH__ >= 900
  asm volatile("griddepcontrol.wait;" ::: "memory");
#endif
}
/// Lets the next kernel begin, as far as await_predecessors().
__device__ inline void let_next_begin() {
#if __CUDA_ARCH__ >= 900
  asm volatile("griddepcontrol.launch_dependents;" ::: "memory");
#endif
}

/// Both at the start, for kernels that have nothing to do ahead.
__device__ inline void take_turn() {
  await_predecessors();
  let_next_begin();
}

/// Has memory brought to the L2 cache, while a launch waits for the one before.
__device__ inline void fetch_ahead(const void* memory, int bytes) {
#if __CUDA_ARCH__ >= 900
  const auto begin = reinterpret_cast<uintptr_t>(memory) / 16 * 16,
             end = (reinterpret_cast<uintptr_t>(memory) + static_cast<unsigned>(bytes) + 15) / 16 * 16;
  asm volatile("cp.async.bulk.prefetch.L2.global [%0], %1;" ::"l"(begin),
               "r"(static_cast<unsigned>(end - begin)));
#endif
}

/// Blocks for a kernel whose threads stride over n items.
inline unsigned blocks_for(int64_t n, int threads = kThreads) {
  return static_cast<unsigned>(std::clamp<int64_t>((n + threads - 1) / threads, 1, int64_t{1} << 20));
}

/// The items of a thread that strides over them with the whole grid.
#define TL_EACH(i, n)                                                                    \
  for (int64_t i = static_cast<int64_t>(blockIdx.x) * blockDim.x + threadIdx.x; i < (n); \
       i += static_cast<int64_t>(gridDim.x) * blockDim.x)

/// Element `i` of plain memory of type `dtype`, converted to T (float, double or int64_t).
template <class T>
__device__ T load(const void* data, DType dtype, int64_t i) {
  switch (dtype) {
    case DType::f32:
      return static_cast<T>(static_cast<const float*>(data)[i]);
    case DType::f16:
      return static_cast<T>(__half2float(static_cast<const __half*>(data)[i]));
    case DType::bf16:
      return static_cast<T>(__bfloat162float(static_cast<const __nv_bfloat16*>(data)[i]));
    case DType::f64:
      return static_cast<T>(static_cast<const double*>(data)[i]);
    case DType::i64:
      return static_cast<T>(static_cast<const int64_t*>(data)[i]);
    case DType::i32:
      return static_cast<T>(static_cast<const int32_t*>(data)[i]);
    case DType::i8:
      return static_cast<T>(static_cast<const int8_t*>(data)[i]);
    default:
      return static_cast<T>(static_cast<const uint8_t*>(data)[i] != 0);
  }
}

/// Four numbers at once.
__device__ inline float4 load4(const float* p) { return *reinterpret_cast<const float4*>(p); }
__device__ inline float4 load4(const __half* p) {
  const uint2 bits = *reinterpret_cast<const uint2*>(p);
  const float2 low = __half22float2(*reinterpret_cast<const __half2*>(&bits.x)),
               high = __half22float2(*reinterpret_cast<const __half2*>(&bits.y));
  return {low.x, low.y, high.x, high.y};
}

/// Numbers of type T in 16 bytes.
template <class T>
constexpr int kPacked = 16 / sizeof(T);

/// sum + the products of the numbers in 16 bytes with as many of x, one after another.
template <class T>
__device__ void add_packed(float& sum, const uint4& bits, const float* x) {
  const T* numbers = reinterpret_cast<const T*>(&bits);
#pragma unroll
  for (int i = 0; i < kPacked<T>; i += 4) {
    const float4 four = load4(x + i);
    sum = fmaf(static_cast<float>(numbers[i]), four.x, sum);
    sum = fmaf(static_cast<float>(numbers[i + 1]), four.y, sum);
    sum = fmaf(static_cast<float>(numbers[i + 2]), four.z, sum);
    sum = fmaf(static_cast<float>(numbers[i + 3]), four.w, sum);
  }
}

/// Rounds floats to the nearest value of the type; integers wrap around; bool is whether the value is not 0.
template <class T>
__device__ void store(void* data, DType dtype, int64_t i, T value) {
  switch (dtype) {
    case DType::f32:
      static_cast<float*>(data)[i] = static_cast<float>(value);
      break;
    case DType::f16:
      static_cast<__half*>(data)[i] = std::is_same_v<T, double> ? __double2half(static_cast<double>(value))
                                                                : __float2half_rn(static_cast<float>(value));
      break;
    case DType::bf16:
      static_cast<__nv_bfloat16*>(data)[i] = std::is_same_v<T, double>
                                                 ? __double2bfloat16(static_cast<double>(value))
                                                 : __float2bfloat16_rn(static_cast<float>(value));
      break;
    case DType::f64:
      static_cast<double*>(data)[i] = static_cast<double>(value);
      break;
    case DType::i64:
      static_cast<int64_t*>(data)[i] = static_cast<int64_t>(value);
      break;
    case DType::i32:
      static_cast<int32_t*>(data)[i] = static_cast<int32_t>(static_cast<int64_t>(value));
      break;
    case DType::i8:
      static_cast<int8_t*>(data)[i] = static_cast<int8_t>(static_cast<int64_t>(value));
      break;
    default:
      static_cast<uint8_t*>(data)[i] = value != 0;
  }
}

/// A tensor to read as a kernel sees it. A number that lies on the host travels in the launch itself.
struct Source {
  const void* data = nullptr;  ///< null: the number
  Wide<DType> dtype = DType::f32;
  double number = 0;
  int64_t integer = 0;

  template <class T>
  __device__ T at(int64_t i) const {
    if (data == nullptr) return std::is_same_v<T, int64_t> ? static_cast<T>(integer) : static_cast<T>(number);
    return load<T>(data, dtype, i);
  }
};

inline Source source_of(const Tensor& t) {
  Source s{nullptr, t.dtype()};
  if (t.elements() == 1 && is_on_host(t) && !is_quantised(t.dtype())) {
    s.number = load_double(t, 0);
    s.integer = is_float(t.dtype()) ? 0 : load_int(t, 0);
  } else {
    s.data = read_bytes(t);
  }
  return s;
}

struct Target {
  void* data;
  Wide<DType> dtype;
  template <class T>
  __device__ void set(int64_t i, T value) const {
    store(data, dtype, i, value);
  }
};
inline Target target_of(const Tensor& t) { return {write_bytes(t), t.dtype()}; }

/// The strides that read `t` as if repeated to `shape` by NumPy's rule.
inline Shape broadcast_strides(const Tensor& t, const Shape& shape) {
  Shape strides = shape;
  const int lead = shape.rank() - t.rank();
  for (int a = 0; a < shape.rank(); ++a)
    strides[a] = a < lead || t.shape()[a - lead] == 1 ? 0 : t.strides()[a - lead];
  return strides;
}

/// `shape` (or strides) without one axis.
inline Shape without(const Shape& shape, int axis) {
  Shape rest;
  for (int a = 0; a < shape.rank(); ++a)
    if (a != axis) rest.push_back(shape[a]);
  return rest;
}

/// Every index of a shape in row-major order with the element offset it has in each of N tensors. Axes that
/// lie after one another in all of them are one axis here.
template <int N>
struct Walk {
  int64_t rank = 0;
  int64_t elements = 1;
  int64_t shape[kMaxRank] = {};
  int64_t strides[N][kMaxRank] = {};

  Walk(const Shape& over, const std::array<Shape, N>& in) {
    elements = over.elements();
    for (int a = 0; a < over.rank(); ++a) {
      if (over[a] == 1) continue;
      bool joins = rank > 0;
      for (int k = 0; joins && k < N; ++k)
        joins = strides[k][rank - 1] == in[static_cast<size_t>(k)][a] * over[a];
      if (!joins) ++rank;
      shape[rank - 1] = joins ? shape[rank - 1] * over[a] : over[a];
      for (int k = 0; k < N; ++k) strides[k][rank - 1] = in[static_cast<size_t>(k)][a];
    }
  }

  struct Offsets {
    int64_t of[N];
    __device__ int64_t operator[](int k) const { return of[k]; }
  };

  __device__ Offsets offsets(int64_t element) const {
    Offsets result{};
    for (int a = static_cast<int>(rank) - 1; a > 0; --a) {
      int64_t rest, index;
      if (element < (int64_t{1} << 31) &&
          shape[a] < (int64_t{1} << 31)) {  // 32-bit division is several times faster
        const auto e = static_cast<uint32_t>(element), s = static_cast<uint32_t>(shape[a]);
        rest = e / s;
        index = e % s;
      } else {
        rest = element / shape[a];
        index = element % shape[a];
      }
      element = rest;
      for (int k = 0; k < N; ++k) result.of[k] += index * strides[k][a];
    }
    for (int k = 0; k < N; ++k) result.of[k] += element * strides[k][0];
    return result;
  }
};

/// A walk over tensors broadcast to `shape`.
template <class... Tensors>
Walk<sizeof...(Tensors)> walk(const Shape& shape, const Tensors&... tensors) {
  return {shape, {broadcast_strides(tensors, shape)...}};
}

/// Calls body(T{}) with the type that numbers of `dtype` are computed in: float or int64_t.
template <class Body>
void as_number(DType dtype, Body body) {
  if (is_float(dtype))
    body(float{});
  else
    body(int64_t{});
}

/// The sum of every thread's value in a warp, for all of them, in a fixed order.
template <class T>
__device__ T warp_sum(T value) {
  for (int distance = 16; distance > 0; distance /= 2) value += __shfl_xor_sync(~0u, value, distance);
  return value;
}
__device__ inline float warp_max(float value) {
  for (int distance = 16; distance > 0; distance /= 2)
    value = fmaxf(value, __shfl_xor_sync(~0u, value, distance));
  return value;
}
/// The sum of the values of the first kThreads threads of a block, for all of them.
__device__ inline float block_sum(float value) {
  __shared__ float parts[kThreads / 32];
  value = warp_sum(value);
  if (threadIdx.x % 32 == 0 && threadIdx.x < kThreads) parts[threadIdx.x / 32] = value;
  __syncthreads();
  value = parts[0];
  for (int w = 1; w < kThreads / 32; ++w) value += parts[w];
  __syncthreads();
  return value;
}

/// 1 / sqrt(x), rounded once but for about one number in 2^19: division and root in double take as long as
/// the rest of a norm.
__device__ inline float inverse_root(double x) {
  const float guess = rsqrtf(static_cast<float>(x));
  if (!(guess > 0 && guess < INFINITY)) return static_cast<float>(1 / sqrt(x));
  const double g = guess;
  return static_cast<float>(g * fma(-0.5 * x * g, g, 1.5));
}

// A line's squares are added up 128 at a time, four a lane, by a warp; then their sums, kSquareParts of them
// at most: part p is the sum of the 128s p, p + kSquareParts … Whichever warp adds which, bits stay the same.
constexpr int kSquareParts = 512;

__device__ inline float squares_of(const float4& x) {
  return x.x * x.x + x.y * x.y + (x.z * x.z + x.w * x.w);
}

/// What a line is multiplied by to normalise it, from the parts of its squares; for each thread of a warp.
__device__ inline float rms_factor(const float* parts, int n_parts, double share, double eps) {
  float squares = 0;
#pragma unroll 1
  for (int p = static_cast<int>(threadIdx.x % 32); p < n_parts; p += 32) squares += parts[p];
  return inverse_root(static_cast<double>(warp_sum(squares)) * share + eps);
}

/// The same for a block that has the line in memory.
__device__ inline float rms_factor(const float* line, int64_t n, double eps) {
  __shared__ float parts[kSquareParts];
  const int lane = static_cast<int>(threadIdx.x % 32);
  const bool packed = n % 4 == 0 && reinterpret_cast<uintptr_t>(line) % 16 == 0;
  const auto pieces = (n + 127) / 128;
  const int n_parts = static_cast<int>(min(pieces, int64_t{kSquareParts}));
  for (int p = static_cast<int>(threadIdx.x / 32); p < n_parts; p += static_cast<int>(blockDim.x / 32)) {
    float squares = 0;
    for (int64_t piece = p; piece < pieces; piece += kSquareParts) {
      const int64_t i = 128 * piece + 4 * lane;
      float4 x{};
      if (packed && i < n)
        x = load4(line + i);
      else if (i < n)
        x = {line[i], i + 1 < n ? line[i + 1] : 0, i + 2 < n ? line[i + 2] : 0, i + 3 < n ? line[i + 3] : 0};
      squares += squares_of(x);
    }
    squares = warp_sum(squares);
    if (lane == 0) parts[p] = squares;
  }
  __syncthreads();
  return rms_factor(parts, n_parts, 1.0 / static_cast<double>(n), eps);
}

}  // namespace tl::cuda
