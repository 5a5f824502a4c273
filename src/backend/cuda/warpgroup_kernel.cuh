// The kernel of warpgroup_product.cuh. Blocks stay on their multiprocessor and take one tile of results after
// another: 128 features (rows of weights) of 64 to 256 rows of x. Two warpgroups multiply, 64 features
// each; a thread of a third fills a ring of steps in shared memory with what they need, by the tensor memory
// accelerator, as far ahead as the ring is long and from one tile on into the next. Barriers say which steps
// are full and which are free.
//
// Quantised weights do not pass through shared memory. A thread reads the blocks of its two features where
// they lie and decodes them to the registers that the instruction takes them from, a step ahead: while the
// step before is multiplied. What the instruction takes from a thread of each 16 elements is four halves of a
// row. A sum may be taken in any order, so rows of x are written in the one (OrderOfRows) by which those four
// are bytes of one word of a block, and a thread needs no other thread's blocks.
//
// Where tiles are few and sums long, a tile's elements are divided into shares, each of which is a block's
// turn. Such blocks write their sums down, wait for each other, and finish some of the tile's rows each.
//
// Blocks make clusters: the L2 cache could not feed all of them otherwise. Two tiles side by side share rows
// of x, of which each block fetches half for both; two that lie one above the other share float16 weights in
// the same way. Small tiles of those, whose operands are many for what is computed, do both.
#pragma once

#include <vector>

#include "backend/cuda/q8.cuh"
#include "backend/cuda/warpgroup_results.cuh"

namespace tl::cuda {

/// A kernel, and what its launches are like.
struct WarpgroupKernel {
  void (*run)(WarpgroupProducts) = nullptr;
  int rows = 0;              ///< of x in a tile
  int cost = 0;              ///< what 2,048 elements of a tile take, in tenths of a microsecond on an H100
  int across = 0, down = 0;  ///< tiles of a cluster, side by side and one above the other
  int shared = 0;            ///< bytes of shared memory
  bool divides = false;      ///< whether tiles have several shares
};
/// What there is for a type of weights.
struct WarpgroupKernels {
  std::vector<WarpgroupKernel> by_rows;  ///< none if there is nothing
  OrderOfRows order = {};
};
/// For Q4_0 to Q8_0, and for the K formats.
WarpgroupKernels warpgroup_kernels_of_blocks(DType weights);
WarpgroupKernels warpgroup_kernels_of_super_blocks(DType weights);

namespace warpgroup {

// ---- Weights

/// Weights in float16: copied as they are.
struct HalfWeights {
  static constexpr bool kCoded = false;
  static constexpr int kDepth = 64;  ///< elements of a step
  static constexpr int kSteps = 1;   ///< of a group
  static __device__ int groups(int64_t k) { return static_cast<int>((k + kDepth - 1) / kDepth); }
};

/// Quantised weights: of a group of four chunks of a feature, a thread has one. Its parts, two at a time, are
/// its share of a step.
template <DType format>
struct CodedWeights {
  using Chunk = ChunksOf<format>;
  static constexpr bool kCoded = true;
  static constexpr int kDepth = 128;
  static constexpr int kSteps = Chunk::kParts / 2;  ///< of a group
  static __device__ int groups(int64_t k) {
    return static_cast<int>((k + 4 * Chunk::kElements - 1) / (4 * Chunk::kElements));
  }
  /// A thread's share of a step: of each 16 elements what the instruction takes.
  using Operand = unsigned[kDepth / 16][4];

  static constexpr bool kNibbles = format == DType::q4_0 || format == DType::q4_1 || format == DType::q4_k;
  static constexpr bool kSigned = format == DType::q8_0;
  /// What quants are counted from where a weight is a * (quant - kZero), not a * quant + b.
  static constexpr int kZero = format == DType::q4_0   ? 8
                               : format == DType::q5_0 ? 16
                               : format == DType::q6_k ? 32
                               : format == DType::q3_k ? 4
                                                       : 0;
  static constexpr bool kHasLeast = format == DType::q4_1 || format == DType::q5_1 || format == DType::q2_k ||
                                    format == DType::q4_k || format == DType::q5_k;
  /// Whether `a` and `b` are halves, so that a weight is rounded once.
  static constexpr bool kHalfScales = format < DType::q2_k;

  /// Chunks of the thread's two features.
  struct Two {
    Chunk chunks[2];
  };

  /// Two whole numbers quant - kZero: of part i, word j, bytes b and b + 2.
  static __device__ __half2 quants(const Chunk& chunk, const Part& part, int i, int j, int b) {
    // A byte behind 0x64 is the half 1024 + byte.
    if constexpr (kNibbles) {
      const unsigned word = detail::word(chunk.qs, j) >> (8 * b);
      unsigned bits = 0;
      if (i == 0)
        asm("lop3.b32 %0, %1, %2, %3, 0xea;\n" : "=r"(bits) : "r"(word), "n"(0x000f000f), "r"(0x64006400u));
      else  // sixteen times as much
        asm("lop3.b32 %0, %1, %2, %3, 0xea;\n" : "=r"(bits) : "r"(word), "n"(0x00f000f0), "r"(0x64006400u));
      const __half2 biased = *reinterpret_cast<const __half2*>(&bits);
      return i == 0 ? __hsub2(biased, __float2half2_rn(1024.0f + kZero))
                    : __hfma2(biased, __float2half2_rn(1.0f / 16), __float2half2_rn(-64.0f - kZero));
    } else {
      const unsigned word = static_cast<unsigned>(part.q[j]) ^ (kSigned ? 0x80808080u : 0u);
      const unsigned bits = __byte_perm(word, 0x64646464u, b == 0 ? 0x4240u : 0x4341u);
      return __hsub2(*reinterpret_cast<const __half2*>(&bits),
                     __float2half2_rn(1024.0f + kZero + (kSigned ? 128 : 0)));
    }
  }
  /// Part i of one of the two features, as the instruction wants it.
  static __device__ void decode(const Chunk& chunk, int i, int feature, Operand& to) {
    const Part part = chunk.part(i);
    const __half2 a = __float2half2_rn(part.a), b = __float2half2_rn(part.b);
    // What they lose as halves makes a sum of its own.
    const __half2 rest_of_a = __float2half2_rn(part.a - __low2float(a)),
                  rest_of_b = __float2half2_rn(part.b - __low2float(b));
#pragma unroll
    for (int j = 0; j < 4; ++j)
#pragma unroll
      for (int half = 0; half < 2; ++half) {
        const __half2 q = quants(chunk, part, i, j, half);
        __half2 value;
        if constexpr (kHalfScales)
          value = kHasLeast ? __hfma2(q, a, b) : __hmul2(q, a);
        else if constexpr (kHasLeast)
          value = __hadd2(__hfma2(q, a, b), __hfma2(q, rest_of_a, rest_of_b));
        else
          value = __hfma2(q, a, __hmul2(q, rest_of_a));
        to[i % 2 * 4 + j][2 * half + feature] = *reinterpret_cast<const unsigned*>(&value);
      }
  }
  /// The thread's share of a group's step.
  static __device__ void decode(const Two& two, int step, Operand& to) {
#pragma unroll
    for (int i = 2 * step; i < 2 * step + 2; ++i)
#pragma unroll
      for (int feature = 0; feature < 2; ++feature) decode(two.chunks[feature], i, feature, to);
  }

  /// A thread's chunks, one group after another, tile after tile.
  template <class Layout>
  class Reader {
   public:
    __device__ Reader(const Products& p, unsigned turn, unsigned stride)
        : p_(p), turn_(turn), stride_(stride), last_(static_cast<int>(p.k / Chunk::kElements) - 1) {
      begin_tile();
    }
    /// Behind the last tile comes the same again.
    __device__ Two next() {
      // A row may end within a group; x has zeros there.
      const int chunk = min(4 * group_ + static_cast<int>(threadIdx.x) % 4, last_);
      const Two two{{Chunk(fields_[0], chunk), Chunk(fields_[1], chunk)}};
      if (++group_ == (Layout::kDivides ? end_ : groups(p_.k))) {
        group_ = Layout::kDivides ? first_ : 0;
        if (turn_ + stride_ < Layout::turns(p_)) {
          turn_ += stride_;
          begin_tile();
        }
      }
      return two;
    }

   private:
    __device__ void begin_tile() {
      const Tile tile = Tile::at<Layout>(p_, turn_);
      first_ = group_ = tile.first, end_ = tile.end;
      const WarpgroupProduct::Part& part = p_.parts[tile.part];
      const int feature =
          tile.feature + static_cast<int>(threadIdx.x) / 32 * 16 + static_cast<int>(threadIdx.x) % 32 / 4;
      const int blocks = static_cast<int>(p_.k) / Chunk::kBlock, last = static_cast<int>(part.n) - 1;
#pragma unroll
      for (int i = 0; i < 2; ++i)
        fields_[i] = Fields<format>::from(part.w.data, int64_t{min(feature + 8 * i, last)} * blocks);
    }

    const Products& p_;
    Fields<format> fields_[2];
    unsigned turn_, stride_;
    int last_, group_ = 0, first_ = 0, end_ = 0;
  };
};

// ---- Multiplying

/// Tells that steps are free, whose products have ended.
template <class Ring>
class Freeing {
 public:
  __device__ explicit Freeing(Ring& ring) : ring_(ring) {}
  /// The products of the ring's step have begun; those of the step before have ended.
  __device__ void begun() {
    commit_products();
    wait_for_products<1>();
    if (before_ >= 0) free(before_);
    before_ = ring_.stage();
    ring_.next();
  }
  /// Waits until the products have ended that begun() has not waited for.
  __device__ void end() {
    wait_for_products<0>();
    if (before_ >= 0) free(before_);
    before_ = -1;
  }

 private:
  __device__ void free(int stage) const {
    if (threadIdx.x % 32 == 0) ring_.tell_free(stage);
  }
  Ring& ring_;
  int before_ = -1;
};

/// The products of a step with weights at hand.
template <int rows, int pieces>
__device__ void multiply_step(float (&sums)[rows / 2], unsigned (&weights)[pieces][4], unsigned x) {
  constexpr int kOfPiece = kPiece / 16;
  settle(weights);
  settle(sums);
  begin_products();
#pragma unroll
  for (int i = 0; i < pieces; ++i)
    multiply(sums, weights[i], matrix_at(x) + 2 * (i % kOfPiece) + i / kOfPiece * (rows * kPiece * 2 / 16));
}
/// The same with weights in shared memory, from a warpgroup's first feature on.
template <int rows>
__device__ void multiply_step(float (&sums)[rows / 2], unsigned weights, unsigned x) {
  settle(sums);
  begin_products();
#pragma unroll
  for (int i = 0; i < kPiece / 16; ++i) multiply(sums, matrix_at(weights) + 2 * i, matrix_at(x) + 2 * i);
}

// ---- A block's turns

/// What multiplies: a tile's sums, and with weights in registers the operand of the next step.
template <class Layout, class Weights = typename Layout::Weights>
class Multiplier;

template <class Layout>
class Multiplier<Layout, HalfWeights> {
  static constexpr int kRows = Layout::kRows;

 public:
  __device__ Multiplier(const Products&, unsigned, unsigned) {}
  template <class Ring>
  __device__ void multiply(int steps, Ring& ring, Freeing<Ring>& freeing, float (&sums)[kRows / 2],
                           Results<kWrittenRows<HalfWeights, kRows>>& before) {
    const unsigned mine = threadIdx.x / kGroup * 64 * kPiece * 2;
    for (int s = 0; s < steps; ++s) {
      ring.wait_until_full();
      multiply_step<kRows>(sums, ring.weights() + mine, ring.x());
      freeing.begun();
      before.write_next();
    }
  }
};

/// Sums of many rows leave no registers for two operands. Then the warpgroups take turns: one decodes while
/// the other multiplies.
template <class Layout, DType format>
class Multiplier<Layout, CodedWeights<format>> {
  using Weights = CodedWeights<format>;
  static constexpr int kRows = Layout::kRows, kOperands = kRows <= 192 ? 2 : 1;

 public:
  __device__ Multiplier(const Products& p, unsigned turn, unsigned stride) : reader_(p, turn, stride) {
#pragma unroll
    for (auto& two : read_) two = reader_.next();
    decode_step(0);
    if (kOperands == 1 && threadIdx.x >= kGroup) let_other_go();
  }
  template <class Ring>
  __device__ void multiply(int groups, Ring& ring, Freeing<Ring>& freeing, float (&sums)[kRows / 2],
                           Results<kWrittenRows<Weights, kRows>>&) {
    for (int g = 0; g < groups; g += kOperands) {
#pragma unroll
      for (int s = 0; s < kOperands * Weights::kSteps; ++s) {
        if (s == Weights::kSteps && g + 1 >= groups) break;
        ring.wait_until_full();
        if constexpr (kOperands == 1) wait_for_other();
        multiply_step<kRows>(sums, operands_[s % kOperands], ring.x());
        freeing.begun();
        if constexpr (kOperands == 1) {
          let_other_go();
          freeing.end();
        }
        decode_step(s + 1);
      }
    }
  }
  /// Behind the last tile: nothing is left at barriers.
  __device__ void end() {
    if (kOperands == 1 && threadIdx.x < kGroup) wait_for_other();
  }
  /// An odd number of groups leaves things the other way round.
  __device__ void turn_round(int groups) {
    if constexpr (kOperands == 2) {
      if (groups % 2 == 0) return;
      const typename Weights::Two first = read_[0];
      read_[0] = read_[1], read_[1] = first;
      if constexpr (Weights::kSteps % 2 != 0) {
#pragma unroll
        for (int d = 0; d < Weights::kDepth / 16; ++d)
#pragma unroll
          for (int i = 0; i < 4; ++i) operands_[0][d][i] = operands_[1][d][i];
      }
    }
  }

 private:
  /// Step `s` of as many groups as there are operands, and then asks for the next group where it was the
  /// last.
  __device__ void decode_step(int s) {
    const int group = s / Weights::kSteps % kOperands, step = s % Weights::kSteps;
    Weights::decode(read_[group], step, operands_[s % kOperands]);
    if (step + 1 == Weights::kSteps) read_[group] = reader_.next();
  }
  static __device__ void wait_for_other() { wait_at_barrier<2 * kGroup>(1 + threadIdx.x / kGroup); }
  static __device__ void let_other_go() { pass_barrier<2 * kGroup>(2 - threadIdx.x / kGroup); }

  typename Weights::template Reader<Layout> reader_;
  typename Weights::Two read_[kOperands];
  typename Weights::Operand operands_[kOperands];
};

// ---- The kernel

/// Whether nobody writes to the weights, so that they need not be waited for.
inline __device__ bool kept(const Products& p) {
  bool all = true;
  for (int i = 0; i < p.n_parts; ++i) all = all && p.parts[i].kept;
  return all;
}

/// What has steps copied, by one thread.
template <class Layout>
class Filler {
  using Weights = typename Layout::Weights;
  using Steps = Ring<Layout>;
  /// Steps whose weights are copied before x is there: more of them would stand in the way of x where a
  /// launch begins late.
  static constexpr int kEarly = 2;

 public:
  __device__ explicit Filler(const Products& p) : p_(p) {}

  /// All steps from a turn's tile on. Stays until nobody writes to this block's shared memory any more.
  __device__ void fill(Steps& ring, unsigned turn, unsigned stride) {
    int ahead = begin(ring, turn);
    for (; turn < Layout::turns(p_); turn += stride) {
      const Tile tile = Tile::at<Layout>(p_, turn);
      for (int s = first_step(tile); s < end_step(tile); ++s, --ahead, ring.next()) {
        if (ahead <= 0) {
          ring.wait_until_free();
          tell_and_expect(ring.full(), ring.kStageBytes);
          copy_weights(ring, tile, s);
        }
        copy_x(ring, tile, s);
      }
    }
    for (int i = 0; i < ring.kStages; ++i, ring.next()) ring.wait_until_free();
  }

 private:
  /// Weights that nobody writes to need not wait for x: has those of the first steps copied, and says how
  /// many they are.
  __device__ int begin(Steps ring, unsigned turn) const {
    const Tile tile = Tile::at<Layout>(p_, turn);
    const int first = first_step(tile);
    int ahead = 0;
    for (; kept(p_) && ahead < min(end_step(tile) - first, kEarly); ++ahead, ring.next()) {
      tell_and_expect(ring.full(), ring.kStageBytes);
      copy_weights(ring, tile, first + ahead);
    }
    await_predecessors();
    return ahead;
  }
  static __device__ int first_step(const Tile& tile) { return tile.first * Weights::kSteps; }
  static __device__ int end_step(const Tile& tile) { return tile.end * Weights::kSteps; }
  __device__ void copy_x(const Steps& ring, const Tile& tile, int step) const {
    constexpr unsigned kTogether = (1u << Layout::kAcross) - 1;
    copy<Layout::kRows, Layout::kAcross>(ring, p_.x, step, tile.row, ring.x(), Layout::column(),
                                         kTogether << Layout::row() * Layout::kAcross);
  }
  __device__ void copy_weights(const Steps& ring, const Tile& tile, int step) const {
    constexpr unsigned kTogether = Layout::kDown == 1 ? 1u : 1u | 1u << Layout::kAcross;
    if constexpr (!Weights::kCoded)
      copy<kFeatures, Layout::kDown>(ring, p_.halves[tile.part], step, tile.feature, ring.weights(),
                                     Layout::row(), kTogether << Layout::column());
  }
  /// A share of n rows of a step, the share-th of so many, for all blocks of the cluster that are set in
  /// `blocks`.
  template <int n, int shares>
  static __device__ void copy(const Steps& ring, const CUtensorMap& from, int step, int row, unsigned to,
                              int share, unsigned blocks) {
    const int first = share * n / shares;
#pragma unroll
    for (int at = 0; at < Weights::kDepth; at += kPiece, to += n * kPiece * 2) {
      const int column = step * Weights::kDepth + at;
      if (shares == 1)
        copy_piece(to, from, column, row, ring.full());
      else
        copy_piece_to(blocks, to + static_cast<unsigned>(first * kPiece * 2), from, column, row + first,
                      ring.full());
    }
  }

  const Products& p_;
};

template <class Layout>
__device__ void multiply_all(const Products& p, Ring<Layout>& ring, unsigned turn, unsigned stride) {
  using Weights = typename Layout::Weights;
  constexpr int kRows = Layout::kRows;
  if (!kept(p)) await_predecessors();
  Multiplier<Layout> multiplier(p, turn, stride);
  await_predecessors();
  let_next_begin();
  const unsigned turns = Layout::turns(p);
  Results<kWrittenRows<Weights, kRows>> results;
  for (; turn < turns; turn += stride) {
    const Tile tile = Tile::at<Layout>(p, turn);
    Freeing<Ring<Layout>> freeing(ring);
    float sums[kRows / 2] = {};
    multiplier.multiply(tile.end - tile.first, ring, freeing, sums, results);
    if constexpr (Layout::kDivides)
      end_share<Layout>(p, tile, turn, freeing, sums);
    else
      end_tile<Weights, kRows>(p, tile, freeing, sums, results, turn + stride >= turns);
    if constexpr (Weights::kCoded) multiplier.turn_round(tile.end - tile.first);
  }
  if constexpr (Weights::kCoded) multiplier.end();
}

template <class Layout>
__global__ void TL_CLUSTERS(Layout::kBlocks) __launch_bounds__(kThreadsOfBlock, 1)
    kernel(const __grid_constant__ Products p) {
  extern __shared__ unsigned char shared_bytes[];
  __shared__ uint64_t barriers[Ring<Layout>::kBarriers];
  Ring<Layout> ring(shared_bytes, barriers);
  if (threadIdx.x == 0) ring.begin();
  meet_cluster();
  const unsigned turn = blockIdx.x / Layout::kBlocks, stride = gridDim.x / Layout::kBlocks;
  if (threadIdx.x >= kGroup * kMultipliers) {
    keep_registers<kFillerRegisters>();
    if (threadIdx.x == kGroup * kMultipliers) {
      fetch_map(p.x);
      Filler<Layout>(p).fill(ring, turn, stride);
    }
  } else {
    take_registers<kMultiplierRegisters>();
    multiply_all(p, ring, turn, stride);
  }
}

template <class Weights, int rows, int across, int down, bool divides = false>
WarpgroupKernel kernel_of(int cost) {
  using Layout = Layout<Weights, rows, across, down, divides>;
  return {kernel<Layout>, rows, cost, across, down, Ring<Layout>::kShared, divides};
}

/// The order of rows of x by which a thread's share of a step are words of its chunks.
template <DType format>
OrderOfRows order_of() {
  using Chunk = ChunksOf<format>;
  OrderOfRows order{Chunk::kParts, {}};
  for (int chunk = 0; chunk < 4; ++chunk)
    for (int i = 0; i < Chunk::kParts; ++i) {
      const int at = element_of<Chunk>(chunk, i);
      order.places[static_cast<size_t>(at / 16)] = static_cast<uint8_t>(4 * i + chunk);
    }
  return order;
}

/// Decoding super-blocks takes longer: there tiles of 256 rows pay, though they leave registers for one
/// operand.
template <DType format>
WarpgroupKernels coded_kernels() {
  using Weights = CodedWeights<format>;
  WarpgroupKernels all;
  all.order = order_of<format>();
  constexpr bool kSuper = Weights::Chunk::kBlock > 32;
  all.by_rows = {kernel_of<Weights, 64, 2, 1>(kSuper ? 143 : 100),
                 kernel_of<Weights, 64, 2, 1, true>(kSuper ? 143 : 100),
                 kernel_of<Weights, 96, 2, 1>(kSuper ? 169 : 127),
                 kernel_of<Weights, 128, 2, 1>(kSuper ? 186 : 137),
                 kernel_of<Weights, 128, 2, 1, true>(kSuper ? 186 : 137),
                 kernel_of<Weights, 160, 2, 1>(kSuper ? 206 : 162),
                 kernel_of<Weights, 176, 2, 1>(kSuper ? 237 : 185)};
  if constexpr (kSuper) all.by_rows.push_back(kernel_of<Weights, 256, 2, 1>(345));
  return all;
}

}  // namespace warpgroup

}  // namespace tl::cuda
