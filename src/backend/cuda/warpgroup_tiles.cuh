// What is multiplied, its tiles, and the steps in shared memory, of the kernel in warpgroup_kernel.cuh.
#pragma once

#include "backend/cuda/hopper.cuh"
#include "backend/cuda/warpgroup_product.cuh"

namespace tl::cuda {

/// Products of the same rows with up to three weights of a type. No gaps: launches are compared by their
/// bytes.
struct WarpgroupProducts {
  static constexpr int kMostParts = 3;
  CUtensorMap x, halves[kMostParts];  ///< the latter of weights that are halves
  const __half* rows;
  const float* scales;
  int64_t m, k, n_parts;
  WarpgroupProduct::Part parts[kMostParts];
  int64_t end_tile[kMostParts];  ///< where each part's features end, in tiles
  int64_t shares;                ///< of a tile's elements: 1, 2 or 4, each a turn of its own
  float4* sums;                  ///< of shares, where there are several
  unsigned* written;             ///< for each tile and warpgroup, how many of those were written ever
  int64_t unused[14];            ///< up to a multiple of what tensor maps are aligned to

  __host__ __device__ int64_t tiles() const { return end_tile[n_parts - 1]; }
};
static_assert(sizeof(WarpgroupProducts) ==
              sizeof(CUtensorMap) * (1 + WarpgroupProducts::kMostParts) +
                  sizeof(WarpgroupProduct::Part) * WarpgroupProducts::kMostParts + 25 * sizeof(int64_t));

namespace warpgroup {

using Products = WarpgroupProducts;

constexpr int kGroup = 128;                   ///< threads of a warpgroup
constexpr int kMultipliers = 2;               ///< warpgroups
constexpr int kFeatures = 64 * kMultipliers;  ///< of a tile
constexpr int kPiece = 64;                    ///< elements of what is copied at once
constexpr int kThreadsOfBlock = kGroup * (kMultipliers + 1);
constexpr int kFillerRegisters = 40, kMultiplierRegisters = 232;
constexpr int kAlignment = 1024;  ///< of matrices in shared memory
constexpr int kRoom = 192 << 10, kMostStages = 8;

// ---- Tiles

/// What a kernel is for: weights, rows of x in a tile, and the tiles of a cluster: those side by side share
/// rows of x, those one above the other share weights. `divides`: tiles have several shares, all at least
/// two; the others would be slower for what it takes to ask.
template <class W, int rows, int across, int down, bool divides>
struct Layout {
  using Weights = W;
  static constexpr bool kDivides = divides;
  static constexpr int kRows = rows, kAcross = across, kDown = down, kBlocks = across * down;
  static_assert(rows % (8 * across) == 0 && across * down > 1);
  static_assert(!W::kCoded || down == 1, "each thread reads its own");
  static_assert(!divides || rows % 32 == 0, "four shares have as many pieces of eight rows each");

  /// Where the block's tile is among its cluster's.
  static __device__ int column() { return block_of_cluster() % across; }
  static __device__ int row() { return block_of_cluster() / across; }
  /// Tiles are dealt out to clusters in turns, their shares one after another. Those that need the same
  /// weights come next.
  static __host__ __device__ unsigned turns_of_rows(const Products& p) {
    return static_cast<unsigned>((p.m + rows * down - 1) / (rows * down));
  }
  static __host__ __device__ unsigned turns(const Products& p) {
    const unsigned tiles = turns_of_rows(p) * static_cast<unsigned>((p.tiles() + across - 1) / across);
    return divides ? static_cast<unsigned>(p.shares) * tiles : tiles;
  }
};

/// A tile of results, or a share of its elements; behind the last row or feature there may be one of nothing.
struct Tile {
  int part, row, feature;
  int share, first, end;  ///< the latter two are groups of elements

  template <class Layout>
  static __device__ Tile at(const Products& p, unsigned turn) {
    const unsigned shares = Layout::kDivides ? static_cast<unsigned>(p.shares) : 1;
    const int share = static_cast<int>(turn % shares), groups = Layout::Weights::groups(p.k);
    turn /= shares;
    const unsigned of_rows = Layout::turns_of_rows(p);
    const int tile = static_cast<int>(turn / of_rows) * Layout::kAcross + Layout::column();
    const int part = (p.n_parts > 1 && tile >= p.end_tile[0]) + (p.n_parts > 2 && tile >= p.end_tile[1]);
    return {part,
            (static_cast<int>(turn % of_rows) * Layout::kDown + Layout::row()) * Layout::kRows,
            (tile - (part == 0 ? 0 : static_cast<int>(p.end_tile[part - 1]))) * kFeatures,
            share,
            groups * share / static_cast<int>(shares),
            groups * (share + 1) / static_cast<int>(shares)};
  }
};

// ---- The ring of steps

/// Steps in shared memory, from the first tile's to the last one's, each at its place in turn: x, and weights
/// that are halves behind it. Both are pieces of 64 elements, one after the other.
template <class Layout>
class Ring {
  using Weights = typename Layout::Weights;

 public:
  static constexpr int kXBytes = Layout::kRows * Weights::kDepth * 2,
                       kWeightBytes = Weights::kCoded ? 0 : kFeatures * Weights::kDepth * 2;
  static constexpr int kStageBytes = kXBytes + kWeightBytes;
  static constexpr int kStages = kRoom / kStageBytes < kMostStages ? kRoom / kStageBytes : kMostStages;
  static constexpr int kShared = kStages * kStageBytes + kAlignment, kBarriers = 2 * kStages;

  __device__ Ring(const unsigned char* shared, const uint64_t* barriers)
      : barriers_(static_cast<unsigned>(__cvta_generic_to_shared(barriers))),
        base_((static_cast<unsigned>(__cvta_generic_to_shared(shared)) + kAlignment - 1) / kAlignment *
              kAlignment),
        across_(Layout::kAcross > 1 ? address_in(block_of_cluster() ^ 1, barriers_) : 0),
        down_(Layout::kDown > 1 ? address_in(block_of_cluster() ^ Layout::kAcross, barriers_) : 0) {}
  /// By one thread.
  __device__ void begin() const {
    for (int i = 0; i < kStages; ++i)
      begin_barrier(full(i), 1),
          begin_barrier(free(i), (Layout::kAcross + Layout::kDown - 1) * kMultipliers * kGroup / 32);
  }
  __device__ void next() {
    if (++stage_ < kStages) return;
    stage_ = 0;
    phase_ ^= 1u;
  }
  __device__ int stage() const { return stage_; }
  __device__ unsigned x() const { return base_ + static_cast<unsigned>(stage_ * kStageBytes); }
  __device__ unsigned weights() const { return x() + kXBytes; }
  __device__ unsigned full() const { return full(stage_); }
  __device__ void wait_until_full() const { wait_for(full(stage_), phase_); }
  /// In all blocks that get copies from this one.
  __device__ void wait_until_free() const { wait_for(free(stage_), phase_ ^ 1u); }
  /// By each warp that multiplies.
  __device__ void tell_free(int stage) const {
    tell(free(stage));
    if (Layout::kAcross > 1) tell_there(across_ + free(stage) - barriers_);
    if (Layout::kDown > 1) tell_there(down_ + free(stage) - barriers_);
  }

 private:
  __device__ unsigned full(int stage) const { return barriers_ + 8 * static_cast<unsigned>(stage); }
  __device__ unsigned free(int stage) const { return full(kStages + stage); }

  unsigned barriers_, base_, across_, down_;  ///< the latter two are barriers of other blocks
  int stage_ = 0;
  unsigned phase_ = 0;
};

}  // namespace warpgroup

}  // namespace tl::cuda
