// The kernel of warpgroup_product.cuh for Q4_0 to Q8_0, in a file of their own: they are compiled beside the
// others.
#include "backend/cuda/warpgroup_kernel.cuh"

namespace tl::cuda {

WarpgroupKernels warpgroup_kernels_of_blocks(DType weights) {
  switch (weights) {
    case DType::q4_0:
      return warpgroup::coded_kernels<DType::q4_0>();
    case DType::q4_1:
      return warpgroup::coded_kernels<DType::q4_1>();
    case DType::q5_0:
      return warpgroup::coded_kernels<DType::q5_0>();
    case DType::q5_1:
      return warpgroup::coded_kernels<DType::q5_1>();
    case DType::q8_0:
      return warpgroup::coded_kernels<DType::q8_0>();
    default:
      return {};
  }
}

}  // namespace tl::cuda
