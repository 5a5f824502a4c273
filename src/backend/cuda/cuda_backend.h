// The CUDA backend, as the command line sees it. A build without a CUDA toolkit has these functions too.
#pragma once

#include <string>
#include <vector>

#include "backend/backend.h"

namespace tl {

/// One GPU: its name, compute capability and memory.
struct CudaDevice {
  std::string description;
};

/// Whether this program was built with a CUDA toolkit.
bool built_with_cuda();

/// The GPUs of this machine, by number; none where there is no driver.
std::vector<CudaDevice> cuda_devices();

/// Kernels for GPU `number`. A program works on one GPU: the first call chooses it. Throws Error saying what
/// is missing where it cannot be used.
const Backend& cuda_backend(int number);

}  // namespace tl
