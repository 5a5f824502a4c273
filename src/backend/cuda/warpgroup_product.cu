// Blocks stay on their multiprocessor and take one tile of 128 x 128 results after another. Two of their
// warpgroups fill a ring of steps of 64 elements in shared memory, as far ahead as the ring is long and from
// one tile on into the next: they have x (and weights that are halves) copied by the tensor memory
// accelerator, and decode other weights. Two more multiply, 64 rows of x each. Barriers say which steps are
// full and which are free.
//
// Two blocks make a cluster. Where there are many tiles theirs lie side by side, and each block fetches half
// of their rows of x for both: the L2 cache could not feed them all otherwise. Where there are few, both
// compute the same tile, half of the elements each.
#include "backend/cuda/warpgroup_product.cuh"

#include <cuda.h>

#include <cstring>

#include "backend/cuda/hopper.cuh"
#include "backend/cuda/q8.cuh"

namespace tl::cuda {

namespace {

/// Products of the same rows with up to three weights of a type. No gaps: launches are compared by their
/// bytes.
struct Products {
  static constexpr int kMostParts = kMostWarpgroupParts;
  CUtensorMap x, halves[kMostParts];  ///< the latter of weights that are halves
  const float* scales;
  int64_t m, k, n_parts;
  WarpgroupProduct::Part parts[kMostParts];
  int64_t end_tile[kMostParts];  ///< where each part's columns end, in tiles
  int64_t unused[5];             ///< up to a multiple of what tensor maps are aligned to

  __host__ __device__ int64_t tiles() const { return end_tile[n_parts - 1]; }
  /// Whether one more product can become part of this launch, which then comes after what was launched since.
  bool accepts(const Products& one) const {
    const WarpgroupProduct::Part& part = one.parts[0];
    return n_parts < kMostParts && std::memcmp(&x, &one.x, sizeof x) == 0 && part.kept &&
           std::all_of(parts, parts + n_parts, [&](const auto& p) { return p.kept && p.out != part.out; });
  }
};
static_assert(sizeof(Products) == sizeof(CUtensorMap) * (1 + Products::kMostParts) +
                                      sizeof(WarpgroupProduct::Part) * Products::kMostParts +
                                      12 * sizeof(int64_t));

constexpr int kRows = 128, kColumns = 128, kDepth = 64;  ///< of a tile, and of a step
constexpr int kGroup = 128;                              ///< threads of a warpgroup
constexpr int kFillers = 2, kMultipliers = 2;  ///< warpgroups; the former take pairs of steps in turns
constexpr int kThreadsOfBlock = kGroup * (kFillers + kMultipliers);
constexpr int kGroupRows = kRows / kMultipliers;
constexpr int kCluster = 2;  ///< blocks
constexpr int kWeightBytes = kColumns * kDepth * 2, kRowsBytes = kRows * kDepth * 2,
              kStageBytes = kWeightBytes + kRowsBytes;  ///< of a step
constexpr int kStages = 6;
constexpr int kAlignment = 1024;  ///< of matrices in shared memory
constexpr int kShared = kStages * kStageBytes + kAlignment;

constexpr int64_t kLongSum = 4096;  ///< elements from which on it pays that two blocks add half of them each

/// What a cluster's blocks have in common.
enum class Common {
  rows,  ///< of x; their tiles lie side by side
  tile,  ///< of which each takes half of the steps
};

// ---- Operands

/// Weights in float16: copied as they are.
struct HalfWeights {
  static constexpr bool kCoded = false;
};

/// Two numbers of bytes i and i + 1 of `word`, biased by 128 where bytes have signs.
template <bool has_sign>
__device__ inline __half2 two_numbers(unsigned word, int i) {
  // A byte behind 0x64 is the half 1024 + byte.
  const unsigned bits = __byte_perm(word, 0x64646464u, i == 0 ? 0x4140u : 0x4342u);
  return __hsub2(*reinterpret_cast<const __half2*>(&bits), __float2half2_rn(has_sign ? 1152.0f : 1024.0f));
}

/// Quantised weights whose chunks of 32 lie within a step. Four threads decode a pair of steps of a row, a
/// chunk each, so that what a warp reads together lies in few lines.
template <DType format>
struct CodedWeights {
  using Chunk = ChunksOf<format>;
  static_assert(Chunk::kElements == 32 && Chunk::kParts == 2);
  static constexpr bool kCoded = true;
  static constexpr int kApart = kGroup / 4, kEach = kColumns / kApart;  ///< of a thread's rows
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

  /// Which of the pair's steps a thread decodes, and which half of it.
  static __device__ int step() { return static_cast<int>(threadIdx.x) / 2 % 2; }
  static __device__ int half() { return static_cast<int>(threadIdx.x) % 2; }

  struct Rows {
    Fields<format> fields[kEach];
    int to[4];

    __device__ Rows(const WarpgroupProduct::Part& p, int64_t k, int64_t first) {
      const int row = static_cast<int>(threadIdx.x) % kGroup / 4;
#pragma unroll
      for (int i = 0; i < kEach; ++i)
        fields[i] =
            Fields<format>::from(p.w.data, min(first + row + i * kApart, p.n - 1) * (k / Chunk::kBlock));
#pragma unroll
      for (int i = 0; i < 4; ++i) {
        // A chunk is one block, or halves of two sub-blocks (ChunksOf::place()).
        const int part = i / 2, piece = Chunk::kPerBlock == 1 ? 4 * half() + 2 * part : 4 * part + 2 * half();
        to[i] = place(row, piece + i % 2);
      }
    }
    __device__ Chunk load(int i, int step) const { return Chunk(fields[i], 2 * step + half()); }
    __device__ void store(const Chunk& chunk, int row, unsigned char* matrix) const {
#pragma unroll
      for (int i = 0; i < 4; ++i) {
        const Part part = chunk.part(i / 2);
        *reinterpret_cast<uint4*>(matrix + row * kApart * 128 + to[i]) = decoded(part, part.q + i % 2 * 2);
      }
    }
  };
};

// ---- The ring of steps

/// Steps in shared memory, from the first tile's to the last one's, each at its place in turn.
template <Common common>
class Ring {
 public:
  static constexpr int kBarriers = 2 * kStages;

  __device__ Ring(const unsigned char* shared, const uint64_t* barriers)
      : barriers_(static_cast<unsigned>(__cvta_generic_to_shared(barriers))) {
    const auto address = static_cast<unsigned>(__cvta_generic_to_shared(shared));
    base_ = (address + kAlignment - 1) / kAlignment * kAlignment;
    bytes_ = const_cast<unsigned char*>(shared) + (base_ - address);
  }
  /// By one thread; `fillers` tell of each step.
  __device__ void begin(int fillers) const {
    constexpr int kReaders = (common == Common::rows ? kCluster : 1) * kMultipliers * kGroup / 32;
    for (int i = 0; i < kStages; ++i) begin_barrier(full(i), fillers), begin_barrier(free(i), kReaders);
  }
  __device__ void next() {
    if (++stage_ < kStages) return;
    stage_ = 0;
    phase_ ^= 1u;
  }
  __device__ int stage() const { return stage_; }
  /// Weights, and behind them x.
  __device__ unsigned char* bytes() const { return bytes_ + stage_ * kStageBytes; }
  __device__ unsigned address() const { return base_ + static_cast<unsigned>(stage_ * kStageBytes); }
  __device__ unsigned full() const { return full(stage_); }
  __device__ void wait_until_full() const { wait_for(full(stage_), phase_); }
  /// In all blocks that have what is copied there.
  __device__ void wait_until_free() const { wait_for(free(stage_), phase_ ^ 1u); }
  __device__ void tell_free(int stage) const {
    if constexpr (common == Common::rows)
      for (int block = 0; block < kCluster; ++block) tell_in(block, free(stage));
    else
      tell(free(stage));
  }
  /// Room for a quarter of a warpgroup's sums, in its rows of a stage: for when all steps have been
  /// multiplied.
  __device__ unsigned room(int group, int stage) const {
    return base_ +
           static_cast<unsigned>(stage * kStageBytes + kWeightBytes + group * (kRowsBytes / kMultipliers));
  }

 private:
  __device__ unsigned full(int stage) const { return barriers_ + 8 * static_cast<unsigned>(stage); }
  __device__ unsigned free(int stage) const { return full(kStages + stage); }

  unsigned barriers_, base_;
  unsigned char* bytes_;
  int stage_ = 0;
  unsigned phase_ = 0;
};

// ---- The kernel

__host__ __device__ inline int64_t row_tiles(const Products& p) { return (p.m + kRows - 1) / kRows; }

/// Turns of a cluster that take all tiles.
template <Common common>
__host__ __device__ int64_t turns_of(const Products& p) {
  return row_tiles(p) * (common == Common::rows ? (p.tiles() + kCluster - 1) / kCluster : p.tiles());
}

/// A tile of results, and the steps that the block takes. Tiles that share weights come one after another;
/// behind the last column there may be a tile of nothing.
struct Tile {
  int part;
  int64_t row, column;
  int first_step, end_step;

  template <Common common>
  static __device__ Tile at(const Products& p, int64_t turn) {
    const int block = block_of_cluster(), steps = static_cast<int>(p.k / kDepth), half = (steps + 1) / 2;
    const int64_t tiles = row_tiles(p);
    const int64_t of_columns = common == Common::rows ? turn / tiles * kCluster + block : turn / tiles;
    const int which =
        (p.n_parts > 1 && of_columns >= p.end_tile[0]) + (p.n_parts > 2 && of_columns >= p.end_tile[1]);
    Tile tile{which, turn % tiles * kRows, (of_columns - (which == 0 ? 0 : p.end_tile[which - 1])) * kColumns,
              0, steps};
    if (common == Common::tile) tile.first_step = block * half, tile.end_step = block == 0 ? half : steps;
    return tile;
  }
};

/// Has what is copied of step s copied.
template <class Weights, Common common>
__device__ void copy_step(const Products& p, const Tile& tile, const Ring<common>& ring, int s) {
  tell_and_expect(ring.full(), kRowsBytes + (Weights::kCoded ? 0 : kWeightBytes));
  const unsigned x = ring.address() + kWeightBytes;
  const auto copy_half = [&](int half, auto copy) {
    copy(x + static_cast<unsigned>(half * kRowsBytes / 2), p.x, s * kDepth,
         static_cast<int>(tile.row) + half * kRows / 2, ring.full());
  };
  if constexpr (common == Common::rows) {
    copy_half(block_of_cluster(), copy_piece_to_all<kCluster>);
  } else {
    copy_half(0, copy_piece);
    copy_half(1, copy_piece);
  }
  if constexpr (!Weights::kCoded)
    copy_piece(ring.address(), p.halves[tile.part], s * kDepth, static_cast<int>(tile.column), ring.full());
}

/// Decodes a tile's weights into the ring, those of this warpgroup's steps, and has the rest of them copied.
template <class Weights, Common common>
__device__ void fill_decoded(const Products& p, const Tile& tile, Ring<common>& ring) {
  const int mine = static_cast<int>(threadIdx.x) / kGroup;
  const bool copies = threadIdx.x % kGroup == 0;
  const WarpgroupProduct::Part& part = p.parts[tile.part];
  if (!part.kept) await_predecessors();
  const typename Weights::Rows weights(part, p.k, tile.column);
  const auto load = [&](int row, int s) {
    return weights.load(row, min(s + Weights::step(), tile.end_step - 1));
  };
  static_assert(Weights::kEach == 4);
  const int begin = tile.first_step + 2 * mine;
  typename Weights::Chunk coded[] = {load(0, begin), load(1, begin), load(2, begin), load(3, begin)};
  if (copies) await_predecessors();
  for (int s = tile.first_step; s < tile.end_step; s += 2) {
    Ring<common> second = ring;
    second.next();
    const bool two = s + 1 < tile.end_step;
    if ((s - tile.first_step) / 2 % kFillers == mine) {
      ring.wait_until_free();
      if (copies) copy_step<Weights>(p, tile, ring, s);
      if (two) {
        second.wait_until_free();
        if (copies) copy_step<Weights>(p, tile, second, s + 1);
      }
      unsigned char* const to = Weights::step() == 0 ? ring.bytes() : second.bytes();
#pragma unroll
      for (int row = 0; row < Weights::kEach; ++row) {
        if (two || Weights::step() == 0) weights.store(coded[row], row, to);
        coded[row] = load(row, s + 2 * kFillers);
      }
      publish_shared();
      __syncwarp();
      if (threadIdx.x % 32 == 0) {
        tell(ring.full());
        if (two) tell(second.full());
      }
    }
    ring = second;
    if (two) ring.next();
  }
}

/// Has all of a tile's steps copied, by one thread.
template <class Weights, Common common>
__device__ void fill_copied(const Products& p, const Tile& tile, Ring<common>& ring) {
  await_predecessors();
  for (int s = tile.first_step; s < tile.end_step; ++s, ring.next()) {
    ring.wait_until_free();
    copy_step<Weights>(p, tile, ring, s);
  }
}

/// A warpgroup that multiplies: its number.
__device__ inline int group_of_rows() { return static_cast<int>(threadIdx.x) / kGroup - kFillers; }

/// Empties the ring of a tile's steps: adds up products of the warpgroup's rows. A step is free when the next
/// one's products have begun and its own have ended.
template <Common common>
__device__ void multiply_tile(const Tile& tile, Ring<common>& ring, float (&sums)[64]) {
  const bool speaks = threadIdx.x % 32 == 0;
  const auto rows = static_cast<unsigned>(kWeightBytes + group_of_rows() * (kRowsBytes / kMultipliers));
  int before = -1;
  for (int s = tile.first_step; s < tile.end_step; ++s) {
    ring.wait_until_full();
    const uint64_t w = matrix_at(ring.address()), x = matrix_at(ring.address() + rows);
    begin_products();
#pragma unroll
    for (int d = 0; d < kDepth / 16; ++d) multiply(sums, x + 2 * d, w + 2 * d);
    commit_products();
    wait_for_products<1>();
    if (before >= 0 && speaks) ring.tell_free(before);
    before = ring.stage();
    ring.next();
  }
  wait_for_products<0>();
  if (before >= 0 && speaks) ring.tell_free(before);
}

/// Where a thread leaves four of its sums, the same in all blocks.
template <Common common>
__device__ unsigned room_of(const Ring<common>& ring, int four) {
  constexpr int kFoursOfStage = kRowsBytes / kMultipliers / (kGroup * 16);
  static_assert(kFoursOfStage * kStages >= 16);
  return ring.room(group_of_rows(), four / kFoursOfStage) +
         static_cast<unsigned>((four % kFoursOfStage * kGroup + static_cast<int>(threadIdx.x) % kGroup) * 16);
}

/// Leaves the warpgroup's sums for the cluster's other block.
template <Common common>
__device__ void leave_sums(const Ring<common>& ring, const float (&sums)[64]) {
#pragma unroll
  for (int i = 0; i < 16; ++i)
    asm volatile("st.shared.v4.f32 [%0], {%1, %2, %3, %4};\n" ::"r"(room_of(ring, i)), "f"(sums[4 * i]),
                 "f"(sums[4 * i + 1]), "f"(sums[4 * i + 2]), "f"(sums[4 * i + 3])
                 : "memory");
}
/// Adds those that the other block has left.
template <Common common>
__device__ void add_sums([[maybe_unused]] const Ring<common>& ring, [[maybe_unused]] float (&sums)[64]) {
#ifdef TL_WARPGROUPS
#pragma unroll
  for (int i = 0; i < 16; ++i) {
    float4 more;
    asm volatile(
        "{\n.reg .b32 there;\nmapa.shared::cluster.u32 there, %4, %5;\n"
        "ld.shared::cluster.v4.f32 {%0, %1, %2, %3}, [there];\n}\n"
        : "=f"(more.x), "=f"(more.y), "=f"(more.z), "=f"(more.w)
        : "r"(room_of(ring, i)), "r"(1 - block_of_cluster())
        : "memory");
    sums[4 * i] += more.x, sums[4 * i + 1] += more.y, sums[4 * i + 2] += more.z, sums[4 * i + 3] += more.w;
  }
#endif
}

/// The first of the two rows of which a thread has results, eight apart.
__device__ inline int64_t first_row(const Tile& tile) {
  return tile.row + group_of_rows() * kGroupRows + threadIdx.x % kGroup / 32 * 16 + threadIdx.x % 32 / 4;
}

/// What sums of the thread's rows are to be multiplied by.
struct Scales {
  float of_row[2];
  __device__ Scales(const Products& p, const Tile& tile) {
    for (int e = 0; e < 2; ++e) of_row[e] = p.scales[min(first_row(tile) + 8 * e, p.m - 1)];
  }
};

/// Writes a warpgroup's 64 x 128 results.
__device__ void write_results(const Products& p, const Tile& tile, const Scales& scales,
                              const float (&sums)[64]) {
  const int lane = static_cast<int>(threadIdx.x % 32);
  const WarpgroupProduct::Part& part = p.parts[tile.part];
  const bool in_pairs = part.n % 2 == 0 && reinterpret_cast<uintptr_t>(part.out) % sizeof(float2) == 0;
#pragma unroll
  for (int e = 0; e < 2; ++e) {
    const int64_t row = first_row(tile) + 8 * e;
    if (row >= p.m) continue;
    const float scale = scales.of_row[e];
    float* out = part.out + row * part.n;
#pragma unroll
    for (int j = 0; j < kColumns / 8; ++j) {
      const int64_t column = tile.column + 8 * j + lane % 4 * 2;
      if (column >= part.n) continue;
      const bool both = column + 1 < part.n;
      float2 value{sums[4 * j + 2 * e] * scale, sums[4 * j + 2 * e + 1] * scale};
      if (part.bias != nullptr) {
        value.x += part.bias[column];
        if (both) value.y += part.bias[column + 1];
      }
      if (in_pairs) {
        *reinterpret_cast<float2*>(out + column) = value;
      } else {
        out[column] = value.x;
        if (both) out[column + 1] = value.y;
      }
    }
  }
}

/// Fills the ring with a tile's steps.
template <class Weights, Common common>
__device__ void fill(const Products& p, const Tile& tile, Ring<common>& ring) {
  if constexpr (Weights::kCoded)
    fill_decoded<Weights>(p, tile, ring);
  else if (threadIdx.x == 0)
    fill_copied<Weights>(p, tile, ring);
}

template <class Weights, Common common>
__global__ void TL_CLUSTERS(kCluster) __launch_bounds__(kThreadsOfBlock, 1)
    warpgroup_kernel(const __grid_constant__ Products p) {
  extern __shared__ unsigned char shared_bytes[];
  __shared__ uint64_t barriers[Ring<common>::kBarriers];
  Ring<common> ring(shared_bytes, barriers);
  if (threadIdx.x == 0) ring.begin(Weights::kCoded ? kGroup / 32 + 1 : 1);
  meet_cluster();
  const bool fills = threadIdx.x < kFillers * kGroup;
  const int64_t first = blockIdx.x / kCluster;
  if constexpr (common == Common::rows) {
    for (int64_t turn = first; turn < turns_of<common>(p); turn += gridDim.x / kCluster) {
      const Tile tile = Tile::at<common>(p, turn);
      if (fills) {
        fill<Weights>(p, tile, ring);
      } else {
        await_predecessors();
        let_next_begin();
        const Scales scales(p, tile);
        float sums[64] = {};
        multiply_tile(tile, ring, sums);
        write_results(p, tile, scales, sums);
      }
    }
  } else {  // a cluster for each tile; a block ends one warpgroup's rows
    const Tile tile = Tile::at<common>(p, first);
    const bool ends = !fills && group_of_rows() == block_of_cluster();
    float sums[64] = {};
    if (fills) {
      fill<Weights>(p, tile, ring);
    } else {
      await_predecessors();
      let_next_begin();
      multiply_tile(tile, ring, sums);
      if (!ends) leave_sums(ring, sums);
    }
    meet_cluster();
    if (ends) {
      const Scales scales(p, tile);
      add_sums(ring, sums);
      write_results(p, tile, scales, sums);
    }
  }
  meet_cluster();  // nobody leaves while others still write to it, or read
}

using Kernel = void (*)(Products);
struct Kernels {
  Kernel rows = nullptr, tile = nullptr;  ///< by what a cluster's blocks have in common
};

template <class Weights>
constexpr Kernels kernels_of() {
  return {warpgroup_kernel<Weights, Common::rows>, warpgroup_kernel<Weights, Common::tile>};
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

/// How rows of halves are found, in pieces of `rows` rows and a step of columns.
CUtensorMap map_of(const void* data, int64_t n, int64_t k, int64_t stride, int rows) {
  static const auto encode = [] {
    void* found = nullptr;
    cudaDriverEntryPointQueryResult status{};
#if CUDART_VERSION >= 12050
    check(
        cudaGetDriverEntryPointByVersion("cuTensorMapEncodeTiled", &found, 12000, cudaEnableDefault, &status),
        "asking for tensor maps");
#else
    check(cudaGetDriverEntryPoint("cuTensorMapEncodeTiled", &found, cudaEnableDefault, &status),
          "asking for tensor maps");
#endif
    TL_CHECK(found != nullptr, "a driver for Hopper makes tensor maps");
    return reinterpret_cast<decltype(&cuTensorMapEncodeTiled)>(found);
  }();
  CUtensorMap map{};  // compared by its bytes
  const cuuint64_t sizes[] = {static_cast<cuuint64_t>(k), static_cast<cuuint64_t>(n)},
                   strides[] = {static_cast<cuuint64_t>(stride) * sizeof(__half)};
  const cuuint32_t piece[] = {kDepth, static_cast<cuuint32_t>(rows)}, steps[] = {1, 1};
  const CUresult outcome =
      encode(&map, CU_TENSOR_MAP_DATA_TYPE_FLOAT16, 2, const_cast<void*>(data), sizes, strides, piece, steps,
             CU_TENSOR_MAP_INTERLEAVE_NONE, CU_TENSOR_MAP_SWIZZLE_128B, CU_TENSOR_MAP_L2_PROMOTION_L2_256B,
             CU_TENSOR_MAP_FLOAT_OOB_FILL_NONE);
  TL_CHECK(outcome == CUDA_SUCCESS, "rows of halves lie at multiples of 16 bytes");
  return map;
}

}  // namespace

bool has_warpgroup_product(DType weights, int64_t k) {
  return Device::get().properties().major == 9 && k % kDepth == 0 && kernels_for(weights).rows != nullptr;
}

void warpgroup_product(const WarpgroupProduct& p, const std::function<void()>& prepare) {
  const Kernels kernels = kernels_for(p.part.w.dtype);
  Launches& launches = Device::get().launches();
  Products all{};
  all.x = map_of(p.x, p.m, p.k, p.k, kRows / 2);
  all.scales = p.scales, all.m = p.m, all.k = p.k, all.n_parts = 1;
  all.parts[0] = p.part;
  all.end_tile[0] = (p.part.n + kColumns - 1) / kColumns;
  // By the product's own sizes, so that its bits do not depend on what it is launched with; queries, keys and
  // values, of which the first alone has many columns, are to stay one launch.
  const int64_t clusters = Device::get().properties().multiProcessorCount / kCluster;
  const bool few = p.k >= kLongSum && turns_of<Common::tile>(all) <= clusters;
  const Kernel kernel = few ? kernels.tile : kernels.rows;
  if (const void* found = launches.last_of(kernel)) {
    Products last;
    std::memcpy(&last, found, sizeof last);  // it lies at no multiple of what tensor maps are aligned to
    if (last.accepts(all)) {
      last.end_tile[last.n_parts] = last.tiles() + all.tiles();
      last.parts[last.n_parts++] = p.part;
      all = last;
      launches.drop_last();
    }
  }
  if (prepare) prepare();
  const int64_t part = all.n_parts - 1;
  if (p.part.w.dtype == DType::f16)
    all.halves[part] = map_of(p.part.w.data[0], p.part.n, p.k, p.part.stride, kColumns);
  const int64_t busy = few ? turns_of<Common::tile>(all) : std::min(clusters, turns_of<Common::rows>(all));
  check(cudaFuncSetAttribute(kernel, cudaFuncAttributeMaxDynamicSharedMemorySize, kShared),
        "asking for shared memory");
  launch_early(kernel, static_cast<unsigned>(kCluster * busy), kThreadsOfBlock, static_cast<size_t>(kShared),
               all);
}

}  // namespace tl::cuda
