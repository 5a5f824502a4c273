// Products of prompts beside cuBLASLt's, the TinyLlama shape: build/bin/products_bench on a GPU. 22 sets of
// weights in turn, as in a model, so that they come from memory. cuBLASLt has weights in float16 that were
// decoded beforehand, and gives float32, as ours do. Each is one CUDA graph. Microseconds for the products of
// one layer's rows, medians of nine.
#include <cublasLt.h>

#include <algorithm>
#include <cstdio>
#include <string>
#include <utility>
#include <vector>

#include "backend/cuda/cuda_backend.h"
#include "backend/cuda/device.h"
#include "backend/cuda/tensor_product.cuh"

namespace tl::cuda {
namespace {

constexpr int kLayers = 22, kRounds = 9;

__global__ void fill(uint16_t* halves, size_t n) {  // of magnitudes 0.06 to 0.12
  for (size_t i = blockIdx.x * size_t{blockDim.x} + threadIdx.x; i < n; i += size_t{gridDim.x} * blockDim.x)
    halves[i] = static_cast<uint16_t>(0x2c00u | (static_cast<uint32_t>(i) * 2654435761u >> 16 & 0x83ffu));
}

/// Device memory of any content that is finite as float16.
class Memory {
 public:
  explicit Memory(size_t bytes) {
    check(cudaMalloc(&data_, bytes), "memory");
    fill<<<1024, 256>>>(static_cast<uint16_t*>(data_), bytes / 2);
    check(cudaDeviceSynchronize(), "filling memory");
  }
  Memory(Memory&& other) noexcept : data_(std::exchange(other.data_, nullptr)) {}
  ~Memory() { cudaFree(data_); }
  template <class T>
  T* as() const {
    return static_cast<T*>(data_);
  }

 private:
  void* data_ = nullptr;
};

struct Shape {
  const char* name;
  std::vector<int64_t> n;  ///< of the products of the same rows
  int64_t k;
  int64_t columns() const {
    int64_t sum = 0;
    for (const int64_t part : n) sum += part;
    return sum;
  }
};

/// The median time of what start() starts, all layers, in microseconds a layer.
template <class Start>
double time_of(const Start& start) {
  const cudaStream_t stream = Device::get().stream();
  cudaEvent_t begin = nullptr, end = nullptr;
  check(cudaEventCreate(&begin), "making an event");
  check(cudaEventCreate(&end), "making an event");
  std::vector<float> times;
  for (int round = 0; round < kRounds + 3; ++round) {  // the first are for warming up
    check(cudaEventRecord(begin, stream), "timing");
    start(stream);
    check(cudaEventRecord(end, stream), "timing");
    check(cudaEventSynchronize(end), "timing");
    float ms = 0;
    check(cudaEventElapsedTime(&ms, begin, end), "timing");
    if (round >= 3) times.push_back(ms);
  }
  cudaEventDestroy(begin), cudaEventDestroy(end);
  std::ranges::nth_element(times, times.begin() + kRounds / 2);
  return times[kRounds / 2] * 1000.0 / kLayers;
}

double ours(DType type, const Shape& shape, int64_t m, const Memory& x) {
  std::vector<Memory> memory;
  std::vector<std::vector<Blocks>> weights(kLayers);
  std::vector<Memory> out;
  for (auto& layer : weights)
    for (const int64_t n : shape.n) {
      Blocks w{type, {}, {}};
      const Format format = format_of(type);
      for (int f = 0; f < format.n_fields; ++f) {
        memory.emplace_back(
            static_cast<size_t>(n * shape.k / info(type).block_elements * format.fields[f].bytes));
        w.data[f] = memory.back().as<uint8_t>();
        w.stride[f] = format.fields[f].bytes;
      }
      layer.push_back(w);
    }
  for (const int64_t n : shape.n) out.emplace_back(static_cast<size_t>(m * n) * sizeof(float));
  const auto multiply = [&](const std::vector<Blocks>& layer) {
    for (size_t i = 0; i < layer.size(); ++i)
      tensor_product(x.as<float>(), {layer[i], shape.k, true}, nullptr, out[i].as<float>(), m, shape.n[i],
                     shape.k);
  };
  Launches& launches = Device::get().launches();
  multiply(weights[0]);  // rounds x, once
  launches.wait();
  launches.begin_recording();
  for (const auto& layer : weights) multiply(layer);
  const Graph graph(launches.end_recording().value().list);
  return time_of([&](cudaStream_t stream) { graph.start(stream); });
}

void require(cublasStatus_t status) {
  if (status != CUBLAS_STATUS_SUCCESS)
    throw Error(std::string("cuBLASLt failed: ") + cublasLtGetStatusString(status));
}

/// All columns in one product, the best case.
double cublas(const Shape& shape, int64_t m, const Memory& x) {
  const auto n = static_cast<uint64_t>(shape.columns()), k = static_cast<uint64_t>(shape.k);
  std::vector<Memory> weights;
  for (int i = 0; i < kLayers; ++i) weights.emplace_back(n * k * 2);
  const Memory out(static_cast<size_t>(m) * n * sizeof(float)), workspace(size_t{64} << 20);
  cublasLtHandle_t handle = nullptr;
  cublasLtMatmulDesc_t product = nullptr;
  cublasLtMatrixLayout_t of_w = nullptr, of_x = nullptr, of_out = nullptr;
  cublasLtMatmulPreference_t preference = nullptr;
  require(cublasLtCreate(&handle));
  require(cublasLtMatmulDescCreate(&product, CUBLAS_COMPUTE_32F, CUDA_R_32F));
  const cublasOperation_t transposed = CUBLAS_OP_T;
  require(
      cublasLtMatmulDescSetAttribute(product, CUBLASLT_MATMUL_DESC_TRANSA, &transposed, sizeof transposed));
  require(cublasLtMatrixLayoutCreate(&of_w, CUDA_R_16F, k, n, shape.k));
  require(cublasLtMatrixLayoutCreate(&of_x, CUDA_R_16F, k, static_cast<uint64_t>(m), shape.k));
  require(
      cublasLtMatrixLayoutCreate(&of_out, CUDA_R_32F, n, static_cast<uint64_t>(m), static_cast<int64_t>(n)));
  require(cublasLtMatmulPreferenceCreate(&preference));
  const size_t room = size_t{64} << 20;
  require(cublasLtMatmulPreferenceSetAttribute(preference, CUBLASLT_MATMUL_PREF_MAX_WORKSPACE_BYTES, &room,
                                               sizeof room));
  // The fastest of what its heuristics offer.
  constexpr int kMost = 8;
  cublasLtMatmulHeuristicResult_t offers[kMost];
  int found = 0;
  require(cublasLtMatmulAlgoGetHeuristic(handle, product, of_w, of_x, of_out, of_out, preference, kMost,
                                         offers, &found));
  double best = 0;
  for (int i = 0; i < found; ++i) {
    const cudaStream_t stream = Device::get().stream();
    cudaGraph_t noted = nullptr;
    cudaGraphExec_t graph = nullptr;
    check(cudaStreamBeginCapture(stream, cudaStreamCaptureModeRelaxed), "noting a graph");
    const float one = 1, zero = 0;
    for (const Memory& w : weights)
      require(cublasLtMatmul(handle, product, &one, w.as<void>(), of_w, x.as<void>(), of_x, &zero,
                             out.as<void>(), of_out, out.as<void>(), of_out, &offers[i].algo,
                             workspace.as<void>(), room, stream));
    check(cudaStreamEndCapture(stream, &noted), "noting a graph");
    check(cudaGraphInstantiate(&graph, noted, 0), "making a graph");
    const double time =
        time_of([&](cudaStream_t to) { check(cudaGraphLaunch(graph, to), "starting a graph"); });
    cudaGraphExecDestroy(graph), cudaGraphDestroy(noted);
    best = i == 0 ? time : std::min(best, time);
  }
  cublasLtMatmulPreferenceDestroy(preference);
  for (const auto layout : {of_w, of_x, of_out}) cublasLtMatrixLayoutDestroy(layout);
  cublasLtMatmulDescDestroy(product), cublasLtDestroy(handle);
  return best;
}

void run() {
  const Shape shapes[] = {{"queries, keys, values", {2048, 256, 256}, 2048},
                          {"attention's output", {2048}, 2048},
                          {"gate, up", {5632, 5632}, 2048},
                          {"down", {2048}, 5632}};
  Device::open(0);
  std::printf("%-24s %6s %10s %10s %10s %10s %10s %10s\n", "us a layer", "rows", "cuBLASLt", "f16", "q4_0",
              "q8_0", "q4_k", "q6_k");
  for (const int64_t m : {128, 512, 1024, 2048}) {
    double sums[6] = {};
    for (const Shape& shape : shapes) {
      const Memory x(static_cast<size_t>(m * shape.k) * sizeof(float));
      const double times[] = {cublas(shape, m, x),
                              ours(DType::f16, shape, m, x),
                              ours(DType::q4_0, shape, m, x),
                              ours(DType::q8_0, shape, m, x),
                              ours(DType::q4_k, shape, m, x),
                              ours(DType::q6_k, shape, m, x)};
      std::printf("%-24s %6d", shape.name, static_cast<int>(m));
      for (size_t i = 0; i < std::size(times); ++i) std::printf(" %10.1f", times[i]), sums[i] += times[i];
      std::printf("\n");
    }
    std::printf("%-24s %6d", "together", static_cast<int>(m));
    for (const double sum : sums) std::printf(" %10.1f", sum);
    std::printf("\n");
  }
}

}  // namespace
}  // namespace tl::cuda

int main() {
  try {
    tl::cuda::run();
  } catch (const tl::Error& error) {
    std::fprintf(stderr, "%s\n", error.what());
    return 1;
  }
}
