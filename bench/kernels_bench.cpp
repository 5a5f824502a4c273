// Speed of the cpu backend's kernels: bytes of weights (or of the cache) a second where memory is the limit,
// multiply-adds a second where arithmetic is.
//
//   cmake -S . -B build -DTL_BENCH=ON && cmake --build build --target kernels_bench &&
//   build/bin/kernels_bench
//
// Limits: a matrix-vector product reads each weight once, so it cannot be faster than memory, which BM_read
// measures on the same thread; products of many rows are limited by the integer or float multiply-add units.
#include <benchmark/benchmark.h>

#include <cstring>
#include <random>

#include "backend/backend.h"
#include "backend/cpu/isa.h"

namespace tl {
namespace {

Tensor random_tensor(DType dtype, const Shape& shape) {
  Tensor t(dtype, shape);
  std::mt19937 generator(1);
  if (dtype == DType::f32) {
    std::normal_distribution<float> distribution;
    for (int64_t i = 0; i < t.elements(); ++i) t.data<float>()[i] = distribution(generator);
  } else {
    // Bytes below 0x3c never make a float16 infinite or NaN; what the numbers are is of no importance here.
    const int64_t bytes = bytes_of(dtype, t.elements());
    for (int64_t i = 0; i < bytes; ++i) t.bytes()[i] = static_cast<std::byte>(generator() % 0x3c);
  }
  return t;
}

void run(Op op, std::span<const Tensor> in, const Tensor& out, const Attrs& attrs, const Params& params,
         ThreadPool& pool) {
  cpu_backend().kernels()[static_cast<size_t>(op)].run({in, out, attrs, params, pool});
}

/// Reads 256 MiB: the limit of the matrix-vector products.
void BM_read(benchmark::State& state) {
  const Tensor x = random_tensor(DType::f32, {64 << 20});
  for (auto _ : state) benchmark::DoNotOptimize(cpu::isa().sum(x.data<float>(), x.elements()));
  state.SetBytesProcessed(state.iterations() * x.elements() * 4);
}
BENCHMARK(BM_read);

/// x[m, k] times w[n, k]^T. Arguments: dtype, m, k, n, threads.
void BM_linear(benchmark::State& state) {
  const auto dtype = static_cast<DType>(state.range(0));
  const int64_t m = state.range(1), k = state.range(2), n = state.range(3);
  ThreadPool pool(static_cast<int>(state.range(4)));
  const Tensor in[] = {random_tensor(DType::f32, {m, k}), random_tensor(dtype, {n, k})};
  const Tensor out(DType::f32, {m, n});
  for (auto _ : state) run(Op::linear, in, out, NoAttrs{}, {}, pool);
  state.SetBytesProcessed(state.iterations() * bytes_of(dtype, n * k));
  state.counters["MAC/s"] =
      benchmark::Counter(static_cast<double>(m * n * k), benchmark::Counter::kIsIterationInvariantRate);
  state.SetLabel(std::string(name(dtype)));
}

void linear_cases(benchmark::internal::Benchmark* b) {
  b->ArgNames({"dtype", "rows", "in", "out", "threads"});
  for (const DType dtype :
       {DType::q4_0, DType::q4_1, DType::q5_0, DType::q5_1, DType::q8_0, DType::q2_k, DType::q3_k,
        DType::q4_k, DType::q5_k, DType::q6_k, DType::f16, DType::bf16, DType::f32}) {
    b->Args({static_cast<int64_t>(dtype), 1, 2048, 32768,
             1});  // the output layer of a 1B model: beyond all caches
    b->Args({static_cast<int64_t>(dtype), 64, 2048, 2048, 1});
  }
}
BENCHMARK(BM_linear)->Apply(linear_cases)->UseRealTime()->Unit(benchmark::kMicrosecond);
BENCHMARK(BM_linear)
    ->ArgNames({"dtype", "rows", "in", "out", "threads"})
    ->Args({static_cast<int64_t>(DType::q4_0), 1, 2048, 32768, 2})
    ->Args({static_cast<int64_t>(DType::q4_1), 1, 576, 576, 1})
    ->Args({static_cast<int64_t>(DType::q4_1), 1, 576, 576, 2})
    ->UseRealTime()
    ->Unit(benchmark::kMicrosecond);

/// Grouped attention of `queries` at the end of `keys`. Arguments: queries, keys, cache dtype.
void BM_attention(benchmark::State& state) {
  const int64_t queries = state.range(0), keys = state.range(1), heads = 32, kv_heads = 4, dim = 64;
  const auto dtype = static_cast<DType>(state.range(2));
  ThreadPool pool(1);
  const Tensor in[] = {random_tensor(DType::f32, {queries, heads, dim}),
                       random_tensor(dtype, {keys, kv_heads, dim}),
                       random_tensor(dtype, {keys, kv_heads, dim})};
  const Tensor out(DType::f32, {queries, heads, dim});
  const std::vector<int> order{0, 1, 2};
  const AttentionAttrs attrs{order, order, order, order, heads / kv_heads, true};
  const Params params{{keys - queries}, {0.125}};
  for (auto _ : state) run(Op::attention, in, out, attrs, params, pool);
  state.counters["MAC/s"] = benchmark::Counter(static_cast<double>(2 * queries * keys * heads * dim),
                                               benchmark::Counter::kIsIterationInvariantRate);
}
BENCHMARK(BM_attention)
    ->ArgNames({"queries", "keys", "dtype"})
    ->Args({1, 1024, static_cast<int64_t>(DType::f16)})
    ->Args({1, 1024, static_cast<int64_t>(DType::f32)})
    ->Args({64, 1024, static_cast<int64_t>(DType::f16)})
    ->Unit(benchmark::kMicrosecond);

/// A float product of square matrices. Argument: extent.
void BM_matmul(benchmark::State& state) {
  const int64_t n = state.range(0);
  ThreadPool pool(1);
  const Tensor in[] = {random_tensor(DType::f32, {n, n}), random_tensor(DType::f32, {n, n})};
  const Tensor out(DType::f32, {n, n});
  for (auto _ : state) run(Op::matmul, in, out, NoAttrs{}, {}, pool);
  state.counters["MAC/s"] =
      benchmark::Counter(static_cast<double>(n * n * n), benchmark::Counter::kIsIterationInvariantRate);
}
BENCHMARK(BM_matmul)->Arg(64)->Arg(512)->Unit(benchmark::kMicrosecond);

/// One row of width 2048 (rms_norm), of 32000 (softmax), one token's heads (rope).
void BM_rms_norm(benchmark::State& state) {
  ThreadPool pool(1);
  const Tensor in[] = {random_tensor(DType::f32, {1, 2048}), random_tensor(DType::f32, {2048})};
  const Tensor out(DType::f32, {1, 2048});
  for (auto _ : state) run(Op::rms_norm, in, out, NoAttrs{}, {{}, {1e-5}}, pool);
}
BENCHMARK(BM_rms_norm);

void BM_softmax(benchmark::State& state) {
  ThreadPool pool(1);
  const Tensor x = random_tensor(DType::f32, {1, 32000}), out(DType::f32, {1, 32000});
  for (auto _ : state) run(Op::softmax, std::span(&x, 1), out, AxisAttrs{1}, {}, pool);
}
BENCHMARK(BM_softmax)->Unit(benchmark::kMicrosecond);

void BM_rope(benchmark::State& state) {
  ThreadPool pool(1);
  const Tensor x = random_tensor(DType::f32, {1, 32, 64}), out(DType::f32, {1, 32, 64});
  for (auto _ : state) run(Op::rope, std::span(&x, 1), out, RopeAttrs{}, {{1000, 64}, {10000.0, 1.0}}, pool);
}
BENCHMARK(BM_rope);

}  // namespace
}  // namespace tl

BENCHMARK_MAIN();
