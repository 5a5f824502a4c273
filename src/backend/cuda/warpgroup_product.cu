#include "backend/cuda/warpgroup_product.cuh"

#include <cuda.h>

#include <algorithm>
#include <cstring>
#include <limits>
#include <map>
#include <optional>

#include "backend/cuda/warpgroup_kernel.cuh"

namespace tl::cuda {

namespace {

WarpgroupKernels make_kernels(DType weights) {
  using warpgroup::kernel_of;
  using Halves = warpgroup::HalfWeights;
  if (weights == DType::f16)
    return {{kernel_of<Halves, 64, 1, 2>(94), kernel_of<Halves, 64, 1, 2, true>(94),
             kernel_of<Halves, 64, 2, 2>(79), kernel_of<Halves, 96, 2, 2>(98),
             kernel_of<Halves, 128, 2, 1>(137), kernel_of<Halves, 128, 2, 1, true>(137),
             kernel_of<Halves, 160, 2, 1>(170), kernel_of<Halves, 176, 2, 1>(194)},
            {}};
  return weights < DType::q2_k ? warpgroup_kernels_of_blocks(weights)
                               : warpgroup_kernels_of_super_blocks(weights);
}

const WarpgroupKernels& kernels_for(DType weights) {
  static std::map<DType, WarpgroupKernels> known;
  const auto [found, is_new] = known.try_emplace(weights);
  if (is_new) found->second = make_kernels(weights);
  return found->second;
}

/// How rows of halves are found, in pieces of `rows` rows.
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
  const cuuint32_t piece[] = {warpgroup::kPiece, static_cast<cuuint32_t>(rows)}, steps[] = {1, 1};
  const CUresult outcome =
      encode(&map, CU_TENSOR_MAP_DATA_TYPE_FLOAT16, 2, const_cast<void*>(data), sizes, strides, piece, steps,
             CU_TENSOR_MAP_INTERLEAVE_NONE, CU_TENSOR_MAP_SWIZZLE_128B, CU_TENSOR_MAP_L2_PROMOTION_L2_256B,
             CU_TENSOR_MAP_FLOAT_OOB_FILL_NONE);
  TL_CHECK(outcome == CUDA_SUCCESS, "rows of halves lie at multiples of 16 bytes");
  return map;
}

/// How many clusters of a kernel the GPU has room for.
int64_t clusters_of(const WarpgroupKernel& kernel) {
  static std::map<const void*, int> known;
  const void* const key = reinterpret_cast<const void*>(kernel.run);
  if (const auto found = known.find(key); found != known.end()) return found->second;
  check(cudaFuncSetAttribute(kernel.run, cudaFuncAttributeMaxDynamicSharedMemorySize, kernel.shared),
        "asking for shared memory");
  const auto blocks = static_cast<unsigned>(kernel.across * kernel.down);
  cudaLaunchAttribute cluster{};
  cluster.id = cudaLaunchAttributeClusterDimension;
  cluster.val.clusterDim = {blocks, 1, 1};
  cudaLaunchConfig_t config{};
  config.gridDim = dim3(blocks), config.blockDim = dim3(warpgroup::kThreadsOfBlock);
  config.dynamicSmemBytes = static_cast<size_t>(kernel.shared);
  config.attrs = &cluster, config.numAttrs = 1;
  int clusters = 0;
  check(cudaOccupancyMaxActiveClusters(&clusters, kernel.run, &config), "asking for room for clusters");
  return known[key] = clusters;
}

int64_t divide_up(int64_t n, int64_t by) { return (n + by - 1) / by; }

constexpr int64_t kMostCounters = 4096;

/// Into how many shares a tile's elements are divided: by the product's own sizes alone, whatever it is
/// joined with and on whatever GPU. What it costs for shares to meet takes sums of some length to gain.
int64_t shares_of(int64_t m, int64_t n, int64_t k) {
  constexpr int64_t kTile = 128, kBusy = 128, kMostShares = 4;
  const int64_t tiles = divide_up(m, kTile) * divide_up(n, kTile);
  const int64_t least = m <= kTile && n <= k ? 1024 : 1280;
  int64_t shares = 1;
  while (shares < kMostShares && 2 * shares * tiles <= kBusy && k >= 2 * shares * least) shares *= 2;
  return shares;
}

/// Counters for tiles of so many shares: zeros at first, and multiples of the shares between launches.
unsigned* counters_for(int64_t shares) {
  static unsigned* const counters = [] {
    constexpr size_t kBytes = 2 * kMostCounters * sizeof(unsigned);
    unsigned* memory = nullptr;
    check(cudaMalloc(&memory, kBytes), "memory");
    check(cudaMemsetAsync(memory, 0, kBytes, Device::get().stream()), "setting memory");
    return memory;
  }();
  return counters + (shares == 2 ? 0 : kMostCounters);
}

/// Clusters at work, and turns that each of them takes.
struct Turns {
  int64_t all, clusters, most;
  Turns(const WarpgroupProducts& p, const WarpgroupKernel& kernel) {
    all = p.shares * divide_up(p.m, kernel.rows * kernel.down) * divide_up(p.tiles(), kernel.across);
    clusters = std::min(all, clusters_of(kernel));
    most = clusters == 0 ? 0 : divide_up(all, clusters);
  }
};

/// The kernel that takes least. A tile's shares wait for each other: where the GPU has no room for all of
/// them at once, it has one.
const WarpgroupKernel& fastest(const WarpgroupKernels& kernels, WarpgroupProducts& p) {
  constexpr int64_t kNever = std::numeric_limits<int64_t>::max();
  const auto cost = [&](const WarpgroupKernel& kernel) {
    if (kernel.divides != (p.shares > 1)) return kNever;
    const Turns turns(p, kernel);
    return turns.clusters < p.shares ? kNever : turns.most * kernel.cost;
  };
  const auto best = [&] { return std::ranges::min_element(kernels.by_rows, {}, cost); };
  if (p.shares > 1 && cost(*best()) == kNever) p.shares = 1;
  return *best();
}

/// The last launch, if one more product can become part of it: it then comes after what was launched since.
std::optional<WarpgroupProducts> last_launch(const WarpgroupKernels& kernels, const WarpgroupProduct& p) {
  for (const WarpgroupKernel& kernel : kernels.by_rows)
    if (const void* found = Device::get().launches().last_of(kernel.run)) {
      WarpgroupProducts last;
      std::memcpy(&last, found, sizeof last);  // it lies at no multiple of what tensor maps are aligned to
      const bool same = last.rows == p.x && last.scales == p.scales && last.m == p.m && last.k == p.k &&
                        last.shares == shares_of(p.m, p.part.n, p.k) &&
                        last.n_parts < WarpgroupProducts::kMostParts && p.part.kept;
      if (same && std::all_of(last.parts, last.parts + last.n_parts,
                              [&](const auto& part) { return part.kept && part.out != p.part.out; }))
        return last;
    }
  return std::nullopt;
}

}  // namespace

OrderOfRows order_for(DType weights) { return kernels_for(weights).order; }

bool has_warpgroup_product(DType weights, int64_t k) {
  constexpr int64_t kAligned = 16 / sizeof(__half);
  return Device::get().code().warpgroups && k % kAligned == 0 && !kernels_for(weights).by_rows.empty();
}

void warpgroup_product(const WarpgroupProduct& p) {
  const WarpgroupKernels& kernels = kernels_for(p.part.w.dtype);
  const auto last = last_launch(kernels, p);
  WarpgroupProducts all = last.value_or(WarpgroupProducts{});
  if (!last) {
    all.rows = p.x, all.scales = p.scales, all.m = p.m, all.k = p.k;
    all.shares = shares_of(p.m, p.part.n, p.k);
  }
  const int64_t part = all.n_parts++;
  all.parts[part] = p.part;
  all.end_tile[part] = (part == 0 ? 0 : all.end_tile[part - 1]) + divide_up(p.part.n, warpgroup::kFeatures);
  const WarpgroupKernel& kernel = fastest(kernels, all);
  const int64_t length = kernels.order.length(p.k);
  all.x = map_of(p.x, p.m, length, length, kernel.rows / kernel.across);
  for (int64_t i = 0; i < all.n_parts && p.part.w.dtype == DType::f16; ++i)
    all.halves[i] = map_of(all.parts[i].w.data[0], all.parts[i].n, p.k, all.parts[i].stride,
                           warpgroup::kFeatures / kernel.down);
  const Turns turns(all, kernel);
  std::optional<Scratch> sums;
  if (all.shares > 1) {
    const int64_t blocks = kernel.across * kernel.down * turns.all;
    TL_CHECK(blocks / all.shares * warpgroup::kMultipliers <= kMostCounters, "few tiles have shares");
    sums.emplace(static_cast<size_t>(blocks * kernel.rows * warpgroup::kFeatures) * sizeof(float));
    all.sums = sums->as<float4>(), all.written = counters_for(all.shares);
  }
  if (last) {
    if (!last_launch(kernels, p)) return warpgroup_product(p);  // to make room, what was noted was started
    Device::get().launches().drop_last();
  }
  launch_early(kernel.run, static_cast<unsigned>(kernel.across * kernel.down * turns.clusters),
               warpgroup::kThreadsOfBlock, static_cast<size_t>(kernel.shared), all);
}

}  // namespace tl::cuda
