// Takes the place of the CUDA backend in a build without a CUDA toolkit.
#include "backend/cuda/cuda_backend.h"

namespace tl {

bool built_with_cuda() { return false; }

std::vector<CudaDevice> cuda_devices() { return {}; }

const Backend& cuda_backend(int) {
  throw Error(
      "--device cuda: this build has no CUDA (configure it with -DTL_CUDA=ON where nvcc is installed)");
}

}  // namespace tl
