// Products of prompts beside cuBLASLt's, the TinyLlama shape: build/bin/products_bench on a GPU. 22 sets of
// weights in turn, as in a model, so that they come from memory. cuBLASLt has weights in float16 that were
// decoded beforehand, and gives float32, as ours do. Each is one CUDA graph. Microseconds for the products of
// one layer's rows, medians, all in turns.
#include <cublasLt.h>

#include <algorithm>
#include <cstdio>
#include <functional>
#include <memory>
#include <string>
#include <utility>
#include <vector>

#include "backend/cuda/cuda_backend.h"
#include "backend/cuda/device.h"
#include "backend/cuda/tensor_product.cuh"

namespace tl::cuda {
namespace {

constexpr int kLayers = 22, kRounds = 21, kWarmUp = 3;

__global__ void fill(uint16_t* halves, size_t n) {  // of magnitudes 0.06 to 0.12
  for (size_t i = blockIdx.x * size_t{blockDim.x} + threadIdx.x; i < n; i += size_t{gridDim.x} * blockDim.x)
    halves[i] = static_cast<uint16_t>(0x2c00u | (static_cast<uint32_t>(i) * 2654435761u >> 16 & 0x83ffu));
}

__global__ void widen(float* floats, const __half* halves, size_t n) {
  for (size_t i = blockIdx.x * size_t{blockDim.x} + threadIdx.x; i < n; i += size_t{gridDim.x} * blockDim.x)
    floats[i] = __half2float(halves[i]);
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

/// What multiplies all layers once.
using Start = std::function<void(cudaStream_t)>;

/// Median times of what is to be compared, in turns: the GPU lowers its clock under load, for all of them
/// alike then. Microseconds a layer.
std::vector<double> times_of(const std::vector<Start>& all, int rounds) {
  const cudaStream_t stream = Device::get().stream();
  cudaEvent_t begin = nullptr, end = nullptr;
  check(cudaEventCreate(&begin), "making an event");
  check(cudaEventCreate(&end), "making an event");
  std::vector<std::vector<float>> times(all.size());
  for (int round = 0; round < rounds + kWarmUp; ++round)
    for (size_t i = 0; i < all.size(); ++i) {
      check(cudaEventRecord(begin, stream), "timing");
      all[i](stream);
      check(cudaEventRecord(end, stream), "timing");
      check(cudaEventSynchronize(end), "timing");
      float ms = 0;
      check(cudaEventElapsedTime(&ms, begin, end), "timing");
      if (round >= kWarmUp) times[i].push_back(ms);
    }
  cudaEventDestroy(begin), cudaEventDestroy(end);
  std::vector<double> medians;
  for (auto& of_one : times) {
    std::ranges::nth_element(of_one, of_one.begin() + rounds / 2);
    medians.push_back(of_one[static_cast<size_t>(rounds / 2)] * 1000.0 / kLayers);
  }
  return medians;
}

/// Our products of a shape with weights of a type.
class Ours {
 public:
  Ours(DType type, const Shape& shape, int64_t m, const Memory& x) {
    std::vector<std::vector<Blocks>> weights(kLayers);
    for (auto& layer : weights)
      for (const int64_t n : shape.n) {
        Blocks w{type, {}, {}};
        const Format format = format_of(type);
        for (int f = 0; f < format.n_fields; ++f) {
          memory_.emplace_back(
              static_cast<size_t>(n * shape.k / info(type).block_elements * format.fields[f].bytes));
          w.data[f] = memory_.back().as<uint8_t>();
          w.stride[f] = format.fields[f].bytes;
        }
        layer.push_back(w);
      }
    for (const int64_t n : shape.n) out_.emplace_back(static_cast<size_t>(m * n) * sizeof(float));
    const auto multiply = [&](const std::vector<Blocks>& layer) {
      for (size_t i = 0; i < layer.size(); ++i)
        tensor_product(x.as<float>(), {layer[i], shape.k, true}, nullptr, out_[i].as<float>(), m, shape.n[i],
                       shape.k);
    };
    Launches& launches = Device::get().launches();
    multiply(weights[0]);  // rounds x, once
    launches.wait();
    launches.begin_recording();
    for (const auto& layer : weights) multiply(layer);
    graph_ = Graph(launches.end_recording().value().list);
  }
  void operator()(cudaStream_t stream) const { graph_.start(stream); }

 private:
  std::vector<Memory> memory_, out_;
  Graph graph_;
};

void require(cublasStatus_t status) {
  if (status != CUBLAS_STATUS_SUCCESS)
    throw Error(std::string("cuBLASLt failed: ") + cublasLtGetStatusString(status));
}

/// cuBLASLt's, all columns in one product, by the fastest of what its heuristics offer: the best case.
class CublasLt {
 public:
  /// x is of halves.
  CublasLt(const Shape& shape, int64_t m, const Memory& x)
      : out_(static_cast<size_t>(m * shape.columns()) * sizeof(float)), workspace_(kRoom) {
    const auto n = static_cast<uint64_t>(shape.columns()), k = static_cast<uint64_t>(shape.k);
    for (int i = 0; i < kLayers; ++i) weights_.emplace_back(n * k * 2);
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
    require(cublasLtMatrixLayoutCreate(&of_out, CUDA_R_32F, n, static_cast<uint64_t>(m),
                                       static_cast<int64_t>(n)));
    require(cublasLtMatmulPreferenceCreate(&preference));
    require(cublasLtMatmulPreferenceSetAttribute(preference, CUBLASLT_MATMUL_PREF_MAX_WORKSPACE_BYTES, &kRoom,
                                                 sizeof kRoom));
    constexpr int kMost = 8;
    cublasLtMatmulHeuristicResult_t offers[kMost];
    int found = 0;
    require(cublasLtMatmulAlgoGetHeuristic(handle, product, of_w, of_x, of_out, of_out, preference, kMost,
                                           offers, &found));
    std::vector<Start> graphs;
    for (int i = 0; i < found; ++i) {
      const cudaStream_t stream = Device::get().stream();
      cudaGraph_t noted = nullptr;
      check(cudaStreamBeginCapture(stream, cudaStreamCaptureModeRelaxed), "noting a graph");
      const float one = 1, zero = 0;
      for (const Memory& w : weights_)
        require(cublasLtMatmul(handle, product, &one, w.as<void>(), of_w, x.as<void>(), of_x, &zero,
                               out_.as<void>(), of_out, out_.as<void>(), of_out, &offers[i].algo,
                               workspace_.as<void>(), kRoom, stream));
      check(cudaStreamEndCapture(stream, &noted), "noting a graph");
      cudaGraphExec_t graph = nullptr;
      check(cudaGraphInstantiate(&graph, noted, 0), "making a graph");
      cudaGraphDestroy(noted);
      const std::shared_ptr<CUgraphExec_st> owned(graph, cudaGraphExecDestroy);
      graphs.emplace_back(
          [owned](cudaStream_t to) { check(cudaGraphLaunch(owned.get(), to), "starting a graph"); });
    }
    if (graphs.empty()) throw Error("cuBLASLt has nothing for such a product");
    const std::vector<double> times = times_of(graphs, kRounds);
    best_ = graphs[static_cast<size_t>(std::ranges::min_element(times) - times.begin())];
    cublasLtMatmulPreferenceDestroy(preference);
    for (const auto layout : {of_w, of_x, of_out}) cublasLtMatrixLayoutDestroy(layout);
    cublasLtMatmulDescDestroy(product), cublasLtDestroy(handle);
  }
  void operator()(cudaStream_t stream) const { best_(stream); }

 private:
  static constexpr size_t kRoom = size_t{64} << 20;
  std::vector<Memory> weights_;
  Memory out_, workspace_;
  Start best_;
};

void run() {
  const Shape shapes[] = {{"queries, keys, values", {2048, 256, 256}, 2048},
                          {"attention's output", {2048}, 2048},
                          {"gate, up", {5632, 5632}, 2048},
                          {"down", {2048}, 5632}};
  constexpr DType kTypes[] = {DType::f16, DType::q4_0, DType::q8_0, DType::q4_k, DType::q6_k};
  Device::open(0);
  std::printf("%-24s %6s %10s %10s %10s %10s %10s %10s\n", "us a layer", "rows", "cuBLASLt", "f16", "q4_0",
              "q8_0", "q4_k", "q6_k");
  for (const int64_t m : {128, 512, 1024, 2048}) {
    double sums[1 + std::size(kTypes)] = {};
    for (const Shape& shape : shapes) {
      const auto elements = static_cast<size_t>(m * shape.k);
      const Memory halves(elements * sizeof(__half)), x(elements * sizeof(float));
      widen<<<1024, 256>>>(x.as<float>(), halves.as<__half>(), elements);
      check(cudaDeviceSynchronize(), "filling memory");
      const CublasLt cublas(shape, m, halves);
      std::vector<Ours> ours;
      for (const DType type : kTypes) ours.emplace_back(type, shape, m, x);
      std::vector<Start> all{std::cref(cublas)};
      for (const Ours& of_type : ours) all.emplace_back(std::cref(of_type));
      const std::vector<double> times = times_of(all, kRounds);
      std::printf("%-24s %6d", shape.name, static_cast<int>(m));
      for (size_t i = 0; i < times.size(); ++i) std::printf(" %10.1f", times[i]), sums[i] += times[i];
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
