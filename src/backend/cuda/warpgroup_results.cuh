// What becomes of a tile's sums, or of a share's, of the kernel in warpgroup_kernel.cuh.
#pragma once

#include <utility>

#include "backend/cuda/warpgroup_tiles.cuh"

namespace tl::cuda {

namespace warpgroup {

/// Rows of a tile whose results a thread has registers for beside all sums.
template <class Weights, int rows>
constexpr int kWrittenRows = rows <= 128 || !Weights::kCoded ? rows
                             : rows <= 192                   ? rows / 2
                                                             : 64;

/// What sums of a thread's rows of x, two of each eight from `first` on, are to be multiplied by, as are
/// those of all rows.
template <int rows>
struct Scales {
  float2 of_two[rows / 8];
  __device__ Scales(const Products& p, int first, float of_weights) {
    const int row = first + static_cast<int>(threadIdx.x) % 4 * 2, m = static_cast<int>(p.m);
    if (first + rows <= m) {
      const auto* from = reinterpret_cast<const float2*>(p.scales + row);
#pragma unroll
      for (int j = 0; j < rows / 8; ++j) of_two[j] = from[4 * j];
    } else {
#pragma unroll
      for (int j = 0; j < rows / 8; ++j)
        of_two[j] = {p.scales[min(row + 8 * j, m - 1)], p.scales[min(row + 8 * j + 1, m - 1)]};
    }
#pragma unroll
    for (float2& two : of_two) two.x *= of_weights, two.y *= of_weights;
  }
};

/// A thread's results of some of a tile's rows, eight rows at a time: of those it has two rows (one after the
/// other) and two features (8 apart). They can wait and be written while the next tile is multiplied.
template <int rows>
class Results {
 public:
  /// Those of rows from `first` of the tile on, with sums from `at` on.
  template <int at, int count>
  __device__ void take(const Products& p, const Tile& tile, int first, const Scales<rows>& scales,
                       const float (&sums)[count]) {
    const WarpgroupProduct::Part& part = p.parts[tile.part];
    const int lane = static_cast<int>(threadIdx.x) % 32, row = tile.row + first + lane % 4 * 2;
    const int feature = tile.feature + static_cast<int>(threadIdx.x) / 32 * 16 + lane / 4;
    n_ = static_cast<int>(part.n);
    next_ = 0, rows_left_ = static_cast<int>(p.m) - row, features_ = n_ - feature;
    whole_ = tile.row + first + rows <= p.m && tile.feature + kFeatures <= n_;
    out_ = part.out + int64_t{row} * n_ + feature;
#pragma unroll
    for (int e = 0; e < 2; ++e) {
      // -0 changes nothing, not even a 0
      const float bias = part.bias == nullptr ? -0.0f : part.bias[min(feature + 8 * e, n_ - 1)];
#pragma unroll
      for (int j = 0; j < kPieces; ++j) {
        values_[4 * j + 2 * e] = sums[at + 4 * j + 2 * e] * scales.of_two[j].x + bias;
        values_[4 * j + 2 * e + 1] = sums[at + 4 * j + 2 * e + 1] * scales.of_two[j].y + bias;
      }
    }
  }
  /// Writes eight rows of what waits, if anything does.
  __device__ void write_next() {
    if (next_ < kPieces) write_one_of<0, kPieces>();
  }
  __device__ void write_rest() {
#pragma unroll 1
    while (next_ < kPieces) write_next();
  }
  /// All that was taken, if nothing of it has been written.
  __device__ void write_all() {
    [&]<int... j>(std::integer_sequence<int, j...>) { (write<j>(), ...); }
    (std::make_integer_sequence<int, kPieces>());
  }

 private:
  static constexpr int kPieces = rows / 8;

  /// The next one, which is one of [first, end): registers have no index.
  template <int first, int end>
  __device__ void write_one_of() {
    constexpr int kMiddle = (first + end) / 2;
    if constexpr (end - first == 1)
      write<first>();
    else if (next_ < kMiddle)
      write_one_of<first, kMiddle>();
    else
      write_one_of<kMiddle, end>();
  }
  template <int j>
  __device__ void write() {
#pragma unroll
    for (int i = 0; i < 2; ++i)
#pragma unroll
      for (int e = 0; e < 2; ++e)
        if (whole_ || (i < rows_left_ && 8 * e < features_))
          out_[(i == 0 ? 0 : n_) + 8 * e] = values_[4 * j + 2 * e + i];
    out_ += 8 * int64_t{n_}, rows_left_ -= 8, next_ = j + 1;
  }

  float values_[rows / 2];
  float* out_ = nullptr;
  int n_ = 0, next_ = kPieces, rows_left_ = 0, features_ = 0;  ///< what lies from the thread's first on
  bool whole_ = false;
};

/// Ends a tile's products. Its results wait, but for those of the last tile: nothing is multiplied after it.
template <class Weights, int rows, class Freeing>
__device__ void end_tile(const Products& p, const Tile& tile, Freeing& freeing, float (&sums)[rows / 2],
                         Results<kWrittenRows<Weights, rows>>& results, bool last) {
  constexpr int kRows = kWrittenRows<Weights, rows>;
  if (!Weights::kCoded) results.write_rest();
  const float of_weights = ldexpf(1.0f, p.parts[tile.part].exponent);
  const Scales<kRows> scales(p, tile.row, of_weights);  // asked for before the products have ended
  freeing.end();
  settle(sums);
  results.template take<0>(p, tile, 0, scales, sums);
  if (Weights::kCoded || last || kRows < rows) results.write_all();
  [&]<int... i>(std::integer_sequence<int, i...>) {
    ((results.template take<(i + 1) * kRows / 2>(
          p, tile, (i + 1) * kRows, Scales<kRows>(p, tile.row + (i + 1) * kRows, of_weights), sums),
      results.write_all()),
     ...);
  }
  (std::make_integer_sequence<int, rows / kRows - 1>());
}

// ---- Shares

/// Where sums of a tile's shares meet: those of eight rows, `piece` of the tile, of a thread.
template <class Layout>
__device__ float4* sums_of(const Products& p, unsigned turn, int piece) {
  const unsigned block = turn * Layout::kBlocks + static_cast<unsigned>(block_of_cluster());
  return p.sums + (block * (Layout::kRows / 8) + static_cast<unsigned>(piece)) * (kMultipliers * kGroup) +
         threadIdx.x;
}

/// Waits until a warpgroup's sums of all shares of its tile have been written.
template <class Layout>
__device__ void await_shares(const Products& p, unsigned turn) {
  const auto shares = static_cast<unsigned>(p.shares), group = threadIdx.x / kGroup;
  wait_at_barrier<kGroup>(3 + group);
  if (threadIdx.x % kGroup == 0) {
    __threadfence();  // what the others wrote before the barrier, too
    unsigned* const written =
        p.written +
        (turn / shares * Layout::kBlocks + static_cast<unsigned>(block_of_cluster())) * kMultipliers + group;
    const unsigned all = (atomicAdd(written, 1u) / shares + 1) * shares;
    while (static_cast<int>(load_acquire(written) - all) < 0) {
    }
  }
  wait_at_barrier<kGroup>(3 + group);
}

/// Ends the products of a share of a tile: has the others add what it computed of their rows, and adds what
/// they did of its own. Sums of shares are added two by two, so that it does not matter who adds them.
template <int shares, class Layout, int count>
__device__ void exchange(const Products& p, const Tile& tile, unsigned turn, float (&sums)[count]) {
  constexpr int kPieces = Layout::kRows / 8, kMine = kPieces / shares;
#pragma unroll
  for (int j = 0; j < kPieces; ++j)
    if (j / kMine != tile.share)
      *sums_of<Layout>(p, turn, j) = {sums[4 * j], sums[4 * j + 1], sums[4 * j + 2], sums[4 * j + 3]};
#pragma unroll
  for (int share = 1; share < shares; ++share)
#pragma unroll
    for (int i = 0; i < 4 * kMine; ++i)
      if (share == tile.share) sums[i] = sums[share * 4 * kMine + i];
  await_shares<Layout>(p, turn);
  // Shares lie one after another, from a multiple of their number on.
  const auto add = [&](float* to, unsigned from) {
#pragma unroll
    for (int j = 0; j < kMine; ++j) {
      const float4 four = __ldcg(sums_of<Layout>(p, from, tile.share * kMine + j));
      to[4 * j] += four.x, to[4 * j + 1] += four.y, to[4 * j + 2] += four.z, to[4 * j + 3] += four.w;
    }
  };
  add(sums, turn ^ 1);
  if constexpr (shares == 4) {
    float others[4 * kMine] = {};
    add(others, turn ^ 2), add(others, turn ^ 3);
#pragma unroll
    for (int i = 0; i < 4 * kMine; ++i) sums[i] += others[i];
  }
  constexpr int kRows = 8 * kMine;
  Results<kRows> results;
  const Scales<kRows> scales(p, tile.row + tile.share * kRows, ldexpf(1.0f, p.parts[tile.part].exponent));
  results.template take<0>(p, tile, tile.share * kRows, scales, sums);
  results.write_all();
}

template <class Layout, class Freeing, int count>
__device__ void end_share(const Products& p, const Tile& tile, unsigned turn, Freeing& freeing,
                          float (&sums)[count]) {
  freeing.end();
  settle(sums);
  if (p.shares == 2)
    exchange<2, Layout>(p, tile, turn, sums);
  else
    exchange<4, Layout>(p, tile, turn, sums);
}

}  // namespace warpgroup

}  // namespace tl::cuda
