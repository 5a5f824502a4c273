// The kernel of warpgroup_product.cuh for the K formats, in a file of their own: they are compiled beside the
// others.
#include "backend/cuda/warpgroup_kernel.cuh"

namespace tl::cuda {

WarpgroupKernels warpgroup_kernels_of_super_blocks(DType weights) {
  switch (weights) {
    case DType::q2_k:
      return warpgroup::coded_kernels<DType::q2_k>();
    case DType::q3_k:
      return warpgroup::coded_kernels<DType::q3_k>();
    case DType::q4_k:
      return warpgroup::coded_kernels<DType::q4_k>();
    case DType::q5_k:
      return warpgroup::coded_kernels<DType::q5_k>();
    case DType::q6_k:
      return warpgroup::coded_kernels<DType::q6_k>();
    default:
      return {};
  }
}

}  // namespace tl::cuda
