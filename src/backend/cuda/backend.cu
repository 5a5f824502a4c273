#include <mutex>

#include "backend/cuda/cuda_backend.h"
#include "backend/cuda/device.h"
#include "backend/cuda/kernels.h"
#include "backend/cuda/recorder.h"

namespace tl {

namespace cuda {
namespace {

/// Whether a kernel wants its inputs in row-major order.
enum class Inputs : bool { strided, contiguous };

KernelTable make_table() {
  KernelTable table{};
  add_unary(table);
  add_binary(table);
  add_reductions(table);
  const auto add = [&](Op op, void (*run)(const KernelArgs&), Inputs inputs) {
    table[static_cast<size_t>(op)] = {run, DType::f32, inputs == Inputs::contiguous};
  };
  add(Op::iota, iota, Inputs::strided);
  add(Op::affine_mask, affine_mask, Inputs::strided);
  add(Op::random_uniform, random_uniform, Inputs::strided);
  add(Op::random_normal, random_normal, Inputs::strided);
  add(Op::reshape, copy, Inputs::strided);
  add(Op::concat, concat, Inputs::strided);
  add(Op::pad, pad, Inputs::strided);
  add(Op::take, take, Inputs::strided);
  add(Op::gather, gather, Inputs::strided);
  add(Op::scatter, scatter, Inputs::strided);
  add(Op::cache_append, cache_append, Inputs::strided);
  add(Op::argmax, argmax, Inputs::strided);
  add(Op::argmin, argmin, Inputs::strided);
  add(Op::cumsum, cumsum, Inputs::strided);
  add(Op::sort, sort, Inputs::strided);
  add(Op::argsort, argsort, Inputs::strided);
  add(Op::top_k, top_k, Inputs::strided);
  add(Op::draw, draw, Inputs::contiguous);
  add(Op::contract, contract, Inputs::strided);
  add(Op::matmul, matmul, Inputs::strided);
  add(Op::linear, linear, Inputs::contiguous);
  add(Op::embedding, embedding, Inputs::contiguous);
  add(Op::softmax, softmax, Inputs::strided);
  add(Op::log_softmax, log_softmax, Inputs::strided);
  add(Op::rms_norm, rms_norm, Inputs::contiguous);
  add(Op::layer_norm, layer_norm, Inputs::contiguous);
  add(Op::rope, rope, Inputs::contiguous);
  add(Op::attention, attention, Inputs::strided);
  return table;
}

std::string describe(const cudaDeviceProp& p) {
  return std::string(p.name) + ", compute capability " + std::to_string(p.major) + "." +
         std::to_string(p.minor) + ", " + std::to_string(p.totalGlobalMem >> 20) + " MiB, " +
         std::to_string(p.multiProcessorCount) + " multiprocessors";
}

class CudaBackend final : public Backend, public RecordsSteps {
 public:
  explicit CudaBackend(int number) : device_(Device::open(number)) {}
  std::string_view name() const override { return "cuda"; }
  const KernelTable& kernels() const override { return table_; }
  DType storage(DType dtype) const override { return dtype; }
  bool fuses() const override { return true; }
  bool caches_blocks() const override { return true; }
  bool has_own_memory() const override { return true; }
  double copy_bandwidth() const override { return cuda::copy_bandwidth(); }
  std::string description() const override { return describe(device_.properties()); }
  std::unique_ptr<StepRecorder> recorder() const override { return step_recorder(); }
  std::shared_ptr<Storage> allocate(size_t bytes) const override { return cuda::allocate(bytes); }
  Tensor converted(const Tensor& t, DType dtype) const override {
    const Tensor to(dtype, t.shape(), cuda::allocate(static_cast<size_t>(bytes_of(dtype, t.elements()))));
    copy_elements(to, t);
    return to;
  }

 private:
  Device& device_;
  KernelTable table_ = make_table();
};

}  // namespace
}  // namespace cuda

bool built_with_cuda() { return true; }

std::vector<CudaDevice> cuda_devices() {
  int count = 0;
  if (cudaGetDeviceCount(&count) != cudaSuccess) return {};
  std::vector<CudaDevice> devices;
  for (int i = 0; i < count; ++i) {
    cudaDeviceProp properties{};
    if (cudaGetDeviceProperties(&properties, i) == cudaSuccess)
      devices.push_back({cuda::describe(properties)});
  }
  return devices;
}

const Backend& cuda_backend(int number) {
  static const cuda::CudaBackend backend(number);
  cuda::Device::open(number);  // another number is refused
  return backend;
}

}  // namespace tl
