// A block of two warpgroups computes 128 x 128 results, 64 rows of x each, in steps of 64 elements. While the
// tensor cores work on a step, quantised weights of the next one are decoded into shared memory, and x of a
// later one is copied there. Where there are more blocks than multiprocessors two share one, else a block has
// the shared memory of both, and copies further ahead.
//
// Shared memory holds rows of 128 bytes as the instructions want them: piece c of 16 bytes of row r lies at
// place c ^ (r % 8).
#include "backend/cuda/warpgroup_product.cuh"

#include "backend/cuda/q8.cuh"
#include "backend/cuda/tensor_core.cuh"

namespace tl::cuda {

namespace {

/// Products of the same rows with up to three weights of a type.
struct Products {
  static constexpr int kMostParts = 3;
  const __half* x;
  const float* scales;
  int64_t m, k, n_parts;
  WarpgroupProduct::Part parts[kMostParts];
  int64_t end_tile[kMostParts];  ///< where each part's columns end, in tiles

  int64_t tiles() const { return end_tile[n_parts - 1]; }
  bool writes(const float* out) const {
    return std::any_of(parts, parts + n_parts, [&](const auto& part) { return part.out == out; });
  }
};

constexpr int kTile = 128, kDepth = 64, kBlockThreads = 256;
constexpr int kCodedAhead = 3;  ///< steps that coded weights are fetched ahead of being decoded
constexpr int kMatrixBytes = kTile * kDepth * 2, kStageBytes = 2 * kMatrixBytes;
constexpr int kAlignment = 1024;  ///< of matrices in shared memory

// ---- The instructions

#ifdef __CUDA_ARCH_FEAT_SM90_ALL
#define TL_WARPGROUPS 1
#endif

/// How the instructions find a matrix in shared memory: its address, 1024 bytes from eight rows to the next
/// eight, and the order of pieces said above. 32 bytes further are 2 more.
__device__ inline uint64_t matrix_at(unsigned address) {
  constexpr uint64_t kLayout = uint64_t{1} << 16 | uint64_t{64} << 32 | uint64_t{1} << 62;
  return kLayout | (address & 0x3ffffu) >> 4;
}

__device__ inline void begin_products() {
#ifdef TL_WARPGROUPS
  asm volatile("wgmma.fence.sync.aligned;\n" ::: "memory");
#endif
}
/// Ends a group of products.
__device__ inline void commit_products() {
#ifdef TL_WARPGROUPS
  asm volatile("wgmma.commit_group.sync.aligned;\n" ::: "memory");
#endif
}
/// Waits for all groups but the last `pending`.
template <int pending>
__device__ inline void wait_for_products() {
#ifdef TL_WARPGROUPS
  asm volatile("wgmma.wait_group.sync.aligned %0;\n" ::"n"(pending) : "memory");
#endif
}
/// Lets the tensor cores see what threads wrote to shared memory.
__device__ inline void publish_shared() {
#ifdef TL_WARPGROUPS
  asm volatile("fence.proxy.async.shared::cta;\n" ::: "memory");
#endif
}

/// d += a[64, 16] * b[128, 16]^T, in the background.
__device__ inline void multiply(float (&d)[64], uint64_t a, uint64_t b) {
#ifdef TL_WARPGROUPS
  asm volatile(
      "{\n.reg .pred p;\nsetp.ne.b32 p, %66, 0;\n"
      "wgmma.mma_async.sync.aligned.m64n128k16.f32.f16.f16 {"
      "%0, %1, %2, %3, %4, %5, %6, %7, %8, %9, %10, %11, %12, %13, %14, %15, "
      "%16, %17, %18, %19, %20, %21, %22, %23, %24, %25, %26, %27, %28, %29, %30, %31, "
      "%32, %33, %34, %35, %36, %37, %38, %39, %40, %41, %42, %43, %44, %45, %46, %47, "
      "%48, %49, %50, %51, %52, %53, %54, %55, %56, %57, %58, %59, %60, %61, %62, %63}, "
      "%64, %65, p, 1, 1, 0, 0;\n}\n"
      : "+f"(d[0]), "+f"(d[1]), "+f"(d[2]), "+f"(d[3]), "+f"(d[4]), "+f"(d[5]), "+f"(d[6]), "+f"(d[7]),
        "+f"(d[8]), "+f"(d[9]), "+f"(d[10]), "+f"(d[11]), "+f"(d[12]), "+f"(d[13]), "+f"(d[14]), "+f"(d[15]),
        "+f"(d[16]), "+f"(d[17]), "+f"(d[18]), "+f"(d[19]), "+f"(d[20]), "+f"(d[21]), "+f"(d[22]),
        "+f"(d[23]), "+f"(d[24]), "+f"(d[25]), "+f"(d[26]), "+f"(d[27]), "+f"(d[28]), "+f"(d[29]),
        "+f"(d[30]), "+f"(d[31]), "+f"(d[32]), "+f"(d[33]), "+f"(d[34]), "+f"(d[35]), "+f"(d[36]),
        "+f"(d[37]), "+f"(d[38]), "+f"(d[39]), "+f"(d[40]), "+f"(d[41]), "+f"(d[42]), "+f"(d[43]),
        "+f"(d[44]), "+f"(d[45]), "+f"(d[46]), "+f"(d[47]), "+f"(d[48]), "+f"(d[49]), "+f"(d[50]),
        "+f"(d[51]), "+f"(d[52]), "+f"(d[53]), "+f"(d[54]), "+f"(d[55]), "+f"(d[56]), "+f"(d[57]),
        "+f"(d[58]), "+f"(d[59]), "+f"(d[60]), "+f"(d[61]), "+f"(d[62]), "+f"(d[63])
      : "l"(a), "l"(b), "r"(1));
#endif
}

// ---- Operands

/// Where piece `piece` of a row lies in a matrix.
__device__ inline int place(int row, int piece) { return row * 128 + ((piece ^ (row & 7)) << 4); }

/// Copies steps of 128 rows of halves in the background; rows past the end become zeros. A thread copies the
/// same piece of four rows.
class RowCopier {
 public:
  __device__ RowCopier(const __half* rows, int64_t stride, int64_t first, int64_t n) {
    const int row = static_cast<int>(threadIdx.x) / 8, piece = static_cast<int>(threadIdx.x) % 8;
    to_ = place(row, piece);
#pragma unroll
    for (int i = 0; i < kRows; ++i) {
      const int64_t mine = first + row + i * kApart;
      from_[i] = rows + min(mine, n - 1) * stride + piece * 8;
      there_[i] = mine < n;
    }
  }
  __device__ void copy(unsigned char* to, int step) const {
#pragma unroll
    for (int i = 0; i < kRows; ++i)
      copy_async(to + to_ + i * kApart * 128, from_[i] + step * kDepth, there_[i]);
  }

 private:
  static constexpr int kApart = kBlockThreads / 8, kRows = kTile / kApart;
  const __half* from_[kRows];
  bool there_[kRows];
  int to_;
};

/// Weights in float16: copied as they are.
struct HalfWeights {
  struct Raw {};
  struct Row {
    RowCopier copier;
    __device__ Row(const WarpgroupProduct::Part& p, int64_t, int64_t first)
        : copier(reinterpret_cast<const __half*>(p.w.data[0]), p.stride, first, p.n) {}
    __device__ void copy(unsigned char* to, int step) const { copier.copy(to, step); }
    __device__ Raw load(int) const { return {}; }
    __device__ void store(const Raw&, unsigned char*) const {}
  };
};

/// Two numbers of bytes i and i + 1 of `word`, biased by 128 where bytes have signs.
template <bool has_sign>
__device__ inline __half2 two_numbers(unsigned word, int i) {
  // A byte behind 0x64 is the half 1024 + byte.
  const unsigned bits = __byte_perm(word, 0x64646464u, i == 0 ? 0x4140u : 0x4342u);
  return __hsub2(*reinterpret_cast<const __half2*>(&bits), __float2half2_rn(has_sign ? 1152.0f : 1024.0f));
}

/// Quantised weights whose chunks of 32 lie within a step: a thread decodes half a step of a row.
template <DType format>
struct CodedWeights {
  using Raw = ChunksOf<format>;
  static_assert(Raw::kElements == 32);
  static constexpr bool kSigned = format == DType::q8_0;
  /// Scales are halves: the product with one rounds once, as from float32.
  static constexpr bool kHalfScales = format < DType::q2_k;

  /// Eight of a part's weights.
  static __device__ uint4 decoded(const Part& part, const int* words) {
    __half2 halves[4];
#pragma unroll
    for (int j = 0; j < 4; ++j) {
      const unsigned word = static_cast<unsigned>(words[j / 2]) ^ (kSigned ? 0x80808080u : 0u);
      const __half2 numbers = two_numbers<kSigned>(word, j % 2 * 2);
      if constexpr (kHalfScales) {
        halves[j] = __hfma2(numbers, __float2half2_rn(part.a), __float2half2_rn(part.b));
      } else {
        const float2 wide = __half22float2(numbers);
        halves[j] = __floats2half2_rn(fmaf(part.a, wide.x, part.b), fmaf(part.a, wide.y, part.b));
      }
    }
    return *reinterpret_cast<const uint4*>(halves);
  }

  /// The row that a thread decodes a half of: one chunk a step.
  struct Row {
    Fields<format> fields;
    int half = static_cast<int>(threadIdx.x % 2);
    int to[4];

    __device__ Row(const WarpgroupProduct::Part& p, int64_t k, int64_t first)
        : fields(Fields<format>::from(p.w.data, min(first + threadIdx.x / 2, p.n - 1) * (k / Raw::kBlock))) {
      static_assert(Raw::kParts == 2);
      const int row = static_cast<int>(threadIdx.x / 2);
#pragma unroll
      for (int i = 0; i < 4; ++i) {
        // A chunk is one block, or halves of two sub-blocks (ChunksOf::place()).
        const int part = i / 2, piece = Raw::kPerBlock == 1 ? 4 * half + 2 * part : 4 * part + 2 * half;
        to[i] = place(row, piece + i % 2);
      }
    }
    __device__ void copy(unsigned char*, int) const {}
    __device__ Raw load(int step) const { return Raw(fields, 2 * step + half); }
    __device__ void store(const Raw& raw, unsigned char* matrix) const {
#pragma unroll
      for (int i = 0; i < 4; ++i) {
        const Part part = raw.part(i / 2);
        *reinterpret_cast<uint4*>(matrix + to[i]) = decoded(part, part.q + i % 2 * 2);
      }
    }
  };
};

// ---- The kernel

template <class Weights, int kStages>
__global__ void __launch_bounds__(kBlockThreads, kStages > 3 ? 1 : 2)
    warpgroup_kernel(const __grid_constant__ Products p) {
  // With many stages the products of a step may run on while the next one begins.
  constexpr int kPending = kStages > 3 ? 1 : 0, kAhead = kStages - 1 - kPending;
  extern __shared__ unsigned char shared_bytes[];
  const auto raw_address = static_cast<unsigned>(__cvta_generic_to_shared(shared_bytes));
  const unsigned base = (raw_address + kAlignment - 1) / kAlignment * kAlignment;
  unsigned char* const stages = shared_bytes + (base - raw_address);
  const int which = (blockIdx.y >= p.end_tile[0]) + (p.n_parts > 2 && blockIdx.y >= p.end_tile[1]);
  const WarpgroupProduct::Part part = which == 0 ? p.parts[0] : which == 1 ? p.parts[1] : p.parts[2];
  const int64_t first_tile = which == 0 ? 0 : which == 1 ? p.end_tile[0] : p.end_tile[1];
  const int64_t first_row = static_cast<int64_t>(blockIdx.x) * kTile,
                first_column = (blockIdx.y - first_tile) * kTile;
  const int steps = static_cast<int>(p.k / kDepth);
  const typename Weights::Row weights(part, p.k, first_column);
  const RowCopier rows(p.x, p.k, first_row, p.m);
  // Stages are known when the code is made: the loop below takes as many steps at once as there are stages.
  const auto copy_step = [&](int s, int stage) {
    if (s < steps) {
      rows.copy(stages + stage * kStageBytes, s);
      weights.copy(stages + stage * kStageBytes + kMatrixBytes, s);
    }
    commit_copies();
  };
  const auto decode_step = [&](const typename Weights::Raw& raw, int stage) {
    weights.store(raw, stages + stage * kStageBytes + kMatrixBytes);
  };
  const auto load_step = [&](int s) { return weights.load(min(s, steps - 1)); };
  decode_step(load_step(0), 0);
  typename Weights::Raw coded[kCodedAhead] = {load_step(1), load_step(2), load_step(3)};
  static_assert(kCodedAhead == 3 && kStages % kCodedAhead == 0);
#pragma unroll
  for (int s = 0; s < kAhead; ++s) copy_step(s, s);

  // The warpgroup's half of x, and the weights.
  const uint64_t x = matrix_at(base + threadIdx.x / 128 * (kMatrixBytes / 2)),
                 w = matrix_at(base + kMatrixBytes);
  float sums[64] = {};
  for (int begin = 0; begin < steps; begin += kStages) {
#pragma unroll
    for (int i = 0; i < kStages; ++i) {
      const int s = begin + i;
      if (s >= steps) break;
      wait_for_copies<kAhead - 1>();
      publish_shared();
      __syncthreads();
      begin_products();
#pragma unroll
      for (int d = 0; d < kDepth / 16; ++d) {
        const int further = (i * kStageBytes + 32 * d) / 16;
        multiply(sums, x + further, w + further);
      }
      commit_products();
      if (s + 1 < steps) decode_step(coded[i % kCodedAhead], (i + 1) % kStages);
      coded[i % kCodedAhead] = load_step(s + 1 + kCodedAhead);
      copy_step(s + kAhead, (i + kAhead) % kStages);
      wait_for_products<kPending>();
    }
  }
  wait_for_products<0>();

  const auto lane = static_cast<int>(threadIdx.x % 32), warp = static_cast<int>(threadIdx.x / 32);
#pragma unroll
  for (int e = 0; e < 2; ++e) {
    const int64_t row = first_row + 16 * warp + lane / 4 + 8 * e;
    if (row >= p.m) continue;
    const float scale = p.scales[row];
    float* out = part.out + row * part.n;
#pragma unroll
    for (int j = 0; j < kTile / 8; ++j) {
#pragma unroll
      for (int c = 0; c < 2; ++c) {
        const int64_t column = first_column + 8 * j + lane % 4 * 2 + c;
        if (column >= part.n) continue;
        const float value = sums[4 * j + 2 * e + c] * scale;
        out[column] = part.bias == nullptr ? value : value + part.bias[column];
      }
    }
  }
}

using Kernel = void (*)(Products);
struct Kernels {
  Kernel few = nullptr;   ///< for few blocks
  Kernel many = nullptr;  ///< two on a multiprocessor
};
constexpr int kStagesOfFew = 6, kStagesOfMany = 3;

template <class Weights>
constexpr Kernels kernels_of() {
  return {warpgroup_kernel<Weights, kStagesOfFew>, warpgroup_kernel<Weights, kStagesOfMany>};
}

Kernels kernels_for(DType weights) {
  switch (weights) {
    case DType::f16:
      return kernels_of<HalfWeights>();
#define TL_FORMAT(format) \
  case DType::format:     \
    return kernels_of<CodedWeights<DType::format>>();
      TL_FORMAT(q4_0)
      TL_FORMAT(q4_1)
      TL_FORMAT(q5_0)
      TL_FORMAT(q5_1)
      TL_FORMAT(q8_0)
      TL_FORMAT(q4_k)
      TL_FORMAT(q5_k)
#undef TL_FORMAT
    default:
      return {};
  }
}

}  // namespace

bool has_warpgroup_product(DType weights, int64_t k) {
  return Device::get().properties().major == 9 && k % kDepth == 0 && kernels_for(weights).few != nullptr;
}

void warpgroup_product(const WarpgroupProduct& p) {
  const Kernels kernels = kernels_for(p.part.w.dtype);
  Launches& launches = Device::get().launches();
  Products all{p.x, p.scales, p.m, p.k, 0, {}, {}};
  for (const Kernel kernel : {kernels.few, kernels.many}) {
    const Products* last = launches.last_of(kernel);
    if (last == nullptr || last->n_parts == Products::kMostParts || last->x != p.x || last->m != p.m ||
        last->k != p.k || last->writes(p.part.out))
      continue;
    all = *last;
    launches.drop_last();
  }
  const int64_t tiles = (p.part.n + kTile - 1) / kTile;
  all.parts[all.n_parts] = p.part;
  all.end_tile[all.n_parts] = tiles + (all.n_parts == 0 ? 0 : all.end_tile[all.n_parts - 1]);
  ++all.n_parts;
  const dim3 grid(static_cast<unsigned>((p.m + kTile - 1) / kTile), static_cast<unsigned>(all.tiles()));
  const bool few = static_cast<int64_t>(grid.x) * grid.y <= Device::get().properties().multiProcessorCount;
  const auto kernel = few ? kernels.few : kernels.many;
  const int shared = (few ? kStagesOfFew : kStagesOfMany) * kStageBytes + kAlignment;
  check(cudaFuncSetAttribute(kernel, cudaFuncAttributeMaxDynamicSharedMemorySize, shared),
        "asking for shared memory");
  launch(kernel, grid, kBlockThreads, static_cast<size_t>(shared), all);
}

}  // namespace tl::cuda
