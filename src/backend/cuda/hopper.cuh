// Hopper's own instructions: products of a warpgroup, barriers, copies by the tensor memory accelerator,
// clusters of blocks (PTX ISA 8.0 and later). They exist where code is made for compute capability 9.0a;
// elsewhere these functions do nothing (but for named barriers and load_acquire()), and nobody calls the
// kernels that use them.
//
// Matrices lie in shared memory at multiples of 1024 bytes, in rows of 128 bytes (64 halves) as the
// instructions want them: piece c of 16 bytes of row r lies at place c ^ (r % 8).
#pragma once

#include <cuda.h>

#include <cstdint>

namespace tl::cuda {

#ifdef __CUDA_ARCH_FEAT_SM90_ALL
#define TL_WARPGROUPS 1
#define TL_CLUSTERS(n) __cluster_dims__(n, 1, 1)
#else
#define TL_CLUSTERS(n)
#endif

/// How the instructions find a matrix in shared memory: its address, 1024 bytes from eight rows to the next
/// eight, and the order of pieces said above. 32 bytes further are 2 more.
__device__ inline uint64_t matrix_at(unsigned address) {
  constexpr uint64_t kLayout = uint64_t{1} << 16 | uint64_t{64} << 32 | uint64_t{1} << 62;
  return kLayout | (address & 0x3ffffu) >> 4;
}

/// Keeps what is done to registers that products read or add to on this side of the call.
template <int n>
__device__ inline void settle([[maybe_unused]] float (&x)[n]) {
#ifdef TL_WARPGROUPS
#pragma unroll
  for (int i = 0; i < n; ++i) asm volatile("" : "+f"(x[i]));
#endif
}
template <int n>
__device__ inline void settle([[maybe_unused]] unsigned (&x)[n][4]) {
#ifdef TL_WARPGROUPS
#pragma unroll
  for (int i = 0; i < n; ++i) asm volatile("" : "+r"(x[i][0]), "+r"(x[i][1]), "+r"(x[i][2]), "+r"(x[i][3]));
#endif
}
/// Before products: they see what was done to registers.
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

// Places of operands in the instructions below, and the sums that stand there.
#define TL_PLACES_32                                                                                     \
  "%0, %1, %2, %3, %4, %5, %6, %7, %8, %9, %10, %11, %12, %13, %14, %15, %16, %17, %18, %19, %20, %21, " \
  "%22, %23, %24, %25, %26, %27, %28, %29, %30, %31"
#define TL_PLACES_48 \
  TL_PLACES_32 ", %32, %33, %34, %35, %36, %37, %38, %39, %40, %41, %42, %43, %44, %45, %46, %47"
#define TL_PLACES_64 \
  TL_PLACES_48 ", %48, %49, %50, %51, %52, %53, %54, %55, %56, %57, %58, %59, %60, %61, %62, %63"
#define TL_PLACES_80 \
  TL_PLACES_64 ", %64, %65, %66, %67, %68, %69, %70, %71, %72, %73, %74, %75, %76, %77, %78, %79"
#define TL_PLACES_88 TL_PLACES_80 ", %80, %81, %82, %83, %84, %85, %86, %87"
#define TL_PLACES_128                                                                                        \
  TL_PLACES_88                                                                                               \
  ", %88, %89, %90, %91, %92, %93, %94, %95, %96, %97, %98, %99, %100, %101, %102, %103, %104, %105, %106, " \
  "%107, %108, %109, %110, %111, %112, "                                                                     \
  "%113, %114, %115, %116, %117, %118, %119, %120, %121, %122, %123, %124, %125, %126, %127"
#define TL_SUMS_8(i)                                                                          \
  "+f"(d[i]), "+f"(d[i + 1]), "+f"(d[i + 2]), "+f"(d[i + 3]), "+f"(d[i + 4]), "+f"(d[i + 5]), \
      "+f"(d[i + 6]), "+f"(d[i + 7])
#define TL_SUMS_32 TL_SUMS_8(0), TL_SUMS_8(8), TL_SUMS_8(16), TL_SUMS_8(24)
#define TL_SUMS_48 TL_SUMS_32, TL_SUMS_8(32), TL_SUMS_8(40)
#define TL_SUMS_64 TL_SUMS_48, TL_SUMS_8(48), TL_SUMS_8(56)
#define TL_SUMS_80 TL_SUMS_64, TL_SUMS_8(64), TL_SUMS_8(72)
#define TL_SUMS_88 TL_SUMS_80, TL_SUMS_8(80)
#define TL_SUMS_128 TL_SUMS_88, TL_SUMS_8(88), TL_SUMS_8(96), TL_SUMS_8(104), TL_SUMS_8(112), TL_SUMS_8(120)
#ifdef TL_WARPGROUPS
#define TL_MULTIPLY(columns, sums, a, b, ...)                                                             \
  asm volatile("{\n.reg .pred adds;\nsetp.ne.b32 adds, 1, 0;\nwgmma.mma_async.sync.aligned.m64n" #columns \
               "k16.f32.f16.f16 {" TL_PLACES_##sums "}, " a ", " b ";\n}\n"                               \
               : TL_SUMS_##sums                                                                           \
               : __VA_ARGS__)
#else
#define TL_MULTIPLY(...)
#endif
/// d[64, columns] += a[64, 16] * b[columns, 16]^T, in the background; `a` in the warpgroup's registers.
#define TL_MULTIPLY_REGISTERS(columns, sums, a, b)                                                          \
  __device__ inline void multiply([[maybe_unused]] float(&d)[sums], [[maybe_unused]] const unsigned(&w)[4], \
                                  [[maybe_unused]] uint64_t x) {                                            \
    TL_MULTIPLY(columns, sums, a, b ", adds, 1, 1, 0", "r"(w[0]), "r"(w[1]), "r"(w[2]), "r"(w[3]), "l"(x)); \
  }
/// The same with both in shared memory.
#define TL_MULTIPLY_MATRIX(columns, sums, a, b)                                                  \
  __device__ inline void multiply([[maybe_unused]] float(&d)[sums], [[maybe_unused]] uint64_t w, \
                                  [[maybe_unused]] uint64_t x) {                                 \
    TL_MULTIPLY(columns, sums, a, b ", adds, 1, 1, 0, 0", "l"(w), "l"(x));                       \
  }
TL_MULTIPLY_REGISTERS(64, 32, "{%32, %33, %34, %35}", "%36")
TL_MULTIPLY_REGISTERS(96, 48, "{%48, %49, %50, %51}", "%52")
TL_MULTIPLY_REGISTERS(128, 64, "{%64, %65, %66, %67}", "%68")
TL_MULTIPLY_REGISTERS(160, 80, "{%80, %81, %82, %83}", "%84")
TL_MULTIPLY_REGISTERS(176, 88, "{%88, %89, %90, %91}", "%92")
TL_MULTIPLY_REGISTERS(256, 128, "{%128, %129, %130, %131}", "%132")
TL_MULTIPLY_MATRIX(64, 32, "%32", "%33")
TL_MULTIPLY_MATRIX(96, 48, "%48", "%49")
TL_MULTIPLY_MATRIX(128, 64, "%64", "%65")
TL_MULTIPLY_MATRIX(160, 80, "%80", "%81")
TL_MULTIPLY_MATRIX(176, 88, "%88", "%89")
#undef TL_MULTIPLY_REGISTERS
#undef TL_MULTIPLY_MATRIX
#undef TL_MULTIPLY
#undef TL_SUMS_128
#undef TL_SUMS_88
#undef TL_SUMS_80
#undef TL_SUMS_64
#undef TL_SUMS_48
#undef TL_SUMS_32
#undef TL_SUMS_8
#undef TL_PLACES_128
#undef TL_PLACES_88
#undef TL_PLACES_80
#undef TL_PLACES_64
#undef TL_PLACES_48
#undef TL_PLACES_32

/// Gives registers of a warpgroup's threads back, or takes more, until each has `n`: the block has as many as
/// its threads were started with.
template <int n>
__device__ inline void keep_registers() {
#ifdef TL_WARPGROUPS
  asm volatile("setmaxnreg.dec.sync.aligned.u32 %0;\n" ::"n"(n));
#endif
}
template <int n>
__device__ inline void take_registers() {
#ifdef TL_WARPGROUPS
  asm volatile("setmaxnreg.inc.sync.aligned.u32 %0;\n" ::"n"(n));
#endif
}

// ---- Barriers

/// Waits at barrier `id` of the block until `threads` have come to it or passed it.
template <int threads>
__device__ inline void wait_at_barrier(unsigned id) {
  asm volatile("bar.sync %0, %1;\n" ::"r"(id), "n"(threads) : "memory");
}
template <int threads>
__device__ inline void pass_barrier(unsigned id) {
  asm volatile("bar.arrive %0, %1;\n" ::"r"(id), "n"(threads) : "memory");
}

/// What others wrote before they told so by a change of this number is seen after it.
__device__ inline unsigned load_acquire(const unsigned* number) {
  unsigned value = 0;
  asm volatile("ld.acquire.gpu.global.u32 %0, [%1];\n" : "=r"(value) : "l"(number) : "memory");
  return value;
}

/// Barriers in shared memory, by address. A phase of one ends when it has been told `count` times and all
/// bytes have come that it expects; whoever waits for phase 0, then 1, then 0 … goes on.
__device__ inline void begin_barrier(unsigned barrier, int count) {
#ifdef TL_WARPGROUPS
  asm volatile("mbarrier.init.shared::cta.b64 [%0], %1;\n" ::"r"(barrier), "r"(count) : "memory");
#endif
}
__device__ inline void tell(unsigned barrier) {
#ifdef TL_WARPGROUPS
  asm volatile("mbarrier.arrive.shared::cta.b64 _, [%0];\n" ::"r"(barrier) : "memory");
#endif
}
__device__ inline void tell_and_expect(unsigned barrier, int bytes) {
#ifdef TL_WARPGROUPS
  asm volatile("mbarrier.arrive.expect_tx.shared::cta.b64 _, [%0], %1;\n" ::"r"(barrier), "r"(bytes)
               : "memory");
#endif
}
/// Where shared memory of a block of the cluster lies whose address in that block is this.
__device__ inline unsigned address_in([[maybe_unused]] int block, unsigned address) {
#ifdef TL_WARPGROUPS
  asm volatile("mapa.shared::cluster.u32 %0, %0, %1;\n" : "+r"(address) : "r"(block));
#endif
  return address;
}
/// The barrier of any block of the cluster, by address_in().
__device__ inline void tell_there([[maybe_unused]] unsigned barrier) {
#ifdef TL_WARPGROUPS
  asm volatile("mbarrier.arrive.shared::cluster.b64 _, [%0];\n" ::"r"(barrier) : "memory");
#endif
}
/// Not by `.acquire.cluster`, which throws the L1 cache away at each look.
__device__ inline void wait_for(unsigned barrier, unsigned phase) {
#ifdef TL_WARPGROUPS
  asm volatile(
      "{\n.reg .pred over;\nWAIT:\n"
      "mbarrier.try_wait.parity.shared::cta.b64 over, [%0], %1;\n"
      "@!over bra WAIT;\n}\n" ::"r"(barrier),
      "r"(phase)
      : "memory");
#endif
}
/// Lets the cluster's blocks go on together, and see the barriers that each of them has begun. Nothing else:
/// what they wrote to memory need not have arrived.
__device__ inline void meet_cluster() {
#ifdef TL_WARPGROUPS
  asm volatile("fence.mbarrier_init.release.cluster;\n" ::: "memory");
  asm volatile("barrier.cluster.arrive.relaxed.aligned;\nbarrier.cluster.wait.acquire.aligned;\n" ::
                   : "memory");
#endif
}
__device__ inline int block_of_cluster() {
  unsigned rank = 0;
#ifdef TL_WARPGROUPS
  asm("mov.u32 %0, %%cluster_ctarank;\n" : "=r"(rank));
#endif
  return static_cast<int>(rank);
}

/// Brings a map to where copies look for it.
__device__ inline void fetch_map([[maybe_unused]] const CUtensorMap& map) {
#ifdef TL_WARPGROUPS
  asm volatile("prefetch.tensormap [%0];\n" ::"l"(&map) : "memory");
#endif
}
/// Copies a piece of a matrix from `row` and `column` on, and lets the barrier know; zeros for what is
/// outside.
__device__ inline void copy_piece(unsigned to, const CUtensorMap& from, int column, int row,
                                  unsigned barrier) {
#ifdef TL_WARPGROUPS
  asm volatile(
      "cp.async.bulk.tensor.2d.shared::cluster.global.tile.mbarrier::complete_tx::bytes [%0], [%1, {%2, "
      "%3}], "
      "[%4];\n" ::"r"(to),
      "l"(&from), "r"(column), "r"(row), "r"(barrier)
      : "memory");
#endif
}
/// The same for the cluster's blocks whose bits are set, to the same place and barrier in each. For one block
/// this takes longer.
__device__ inline void copy_piece_to(unsigned blocks, unsigned to, const CUtensorMap& from, int column,
                                     int row, unsigned barrier) {
#ifdef TL_WARPGROUPS
  asm volatile(
      "cp.async.bulk.tensor.2d.shared::cluster.global.tile.mbarrier::complete_tx::bytes.multicast::cluster "
      "[%0], [%1, {%2, %3}], [%4], %5;\n" ::"r"(to),
      "l"(&from), "r"(column), "r"(row), "r"(barrier), "h"(static_cast<uint16_t>(blocks))
      : "memory");
#endif
}

}  // namespace tl::cuda
