// Hopper's own instructions: products of a warpgroup, barriers, copies by the tensor memory accelerator,
// clusters of blocks (PTX ISA 8.0 and later). They exist where code is made for compute capability 9.0a;
// elsewhere these functions do nothing, and nobody calls the kernels that use them.
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

/// Where piece `piece` of a row lies in a matrix.
__device__ inline int place(int row, int piece) { return row * 128 + ((piece ^ (row & 7)) << 4); }

// ---- Barriers

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
/// The barrier at that address of a block of the cluster.
__device__ inline void tell_in(int block, unsigned barrier) {
#ifdef TL_WARPGROUPS
  asm volatile(
      "{\n.reg .b32 there;\nmapa.shared::cluster.u32 there, %0, %1;\n"
      "mbarrier.arrive.shared::cluster.b64 _, [there];\n}\n" ::"r"(barrier),
      "r"(block)
      : "memory");
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
/// Lets the cluster's blocks go on together, and see what each of them did to its barriers.
__device__ inline void meet_cluster() {
#ifdef TL_WARPGROUPS
  asm volatile("fence.mbarrier_init.release.cluster;\n" ::: "memory");
  asm volatile("barrier.cluster.arrive.release.aligned;\nbarrier.cluster.wait.acquire.aligned;\n" ::
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
/// The same for the cluster's blocks [0, blocks), to the same place and barrier in each.
template <int blocks>
__device__ inline void copy_piece_to_all(unsigned to, const CUtensorMap& from, int column, int row,
                                         unsigned barrier) {
#ifdef TL_WARPGROUPS
  asm volatile(
      "cp.async.bulk.tensor.2d.shared::cluster.global.tile.mbarrier::complete_tx::bytes.multicast::cluster "
      "[%0], [%1, {%2, %3}], [%4], %5;\n" ::"r"(to),
      "l"(&from), "r"(column), "r"(row), "r"(barrier), "h"(static_cast<uint16_t>((1 << blocks) - 1))
      : "memory");
#endif
}

}  // namespace tl::cuda
