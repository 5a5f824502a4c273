// x @ w^T with stored weights, and rows of a table.
//
// A warp computes one or two rows of w against up to kColumns rows of x: lanes take every 32nd piece of the
// row, then add up in a tree. Nothing depends on how many rows x has. Quantised weights meet activations
// rounded to 8 bits in integer dot products of four (dp4a); with float activations every weight is decoded.
#include "backend/cuda/blocks.cuh"
#include "backend/cuda/kernels.h"
#include "backend/cuda/q8.cuh"
#include "backend/cuda/refusals.h"
#include "backend/cuda/row_operation.cuh"
#include "backend/cuda/strided.cuh"
#include "backend/cuda/tensor_product.cuh"

namespace tl::cuda {

namespace {

constexpr int kColumns = 8;
constexpr int kWarps = kThreads / 32;

struct Product {
  int64_t m, n, k;
  const float* bias;
  float* out;
  Wide<bool> constant;  ///< nobody writes to the weights

  /// A row of x, the last one for those behind it: nobody looks at their sums, and a question before each row
  /// is read would have the rows wait for one another.
  __device__ int64_t row(int64_t i) const { return min(i, m - 1); }
  __device__ void set(int64_t row, int64_t column, float value) const {
    out[row * n + column] = bias == nullptr ? value : value + bias[column];
  }
};

/// Rows of x are taken `columns` at a time, blockIdx.y after blockIdx.y.
template <int columns>
__device__ int64_t first_column(int64_t first) {
  return first + static_cast<int64_t>(blockIdx.y) * columns;
}

/// Calls body(first, groups) for groups of `columns` rows of x, as many as a grid takes at once.
template <class Body>
void each_columns(int64_t m, int columns, Body body) {
  constexpr int64_t kMostGroups = 65535;
  for (int64_t first = 0; first < m; first += kMostGroups * columns)
    body(first, static_cast<unsigned>(std::min(kMostGroups, (m - first + columns - 1) / columns)));
}

/// Rows of w are `stride` elements apart.
template <int columns>
__global__ void float_kernel(Product p, Blocks w, int64_t stride, const float* x, int64_t from) {
  const int64_t first = first_column<columns>(from);
  const int lane = static_cast<int>(threadIdx.x % 32);
  const int64_t j = static_cast<int64_t>(blockIdx.x) * kWarps + threadIdx.x / 32;
  if (j >= p.n) return;
  float sums[columns] = {};
  for (int64_t i = lane; i < p.k; i += 32) {
    const float weight = w.decode(j * stride + i);
    for (int c = 0; c < columns; ++c) sums[c] = fmaf(weight, x[p.row(first + c) * p.k + i], sums[c]);
  }
  for (int c = 0; c < columns; ++c) {
    const float sum = warp_sum(sums[c]);
    if (lane == 0 && first + c < p.m) p.set(first + c, j, sum);
  }
}

/// The same for plain types whose rows lie at multiples of 16 bytes: 16 at a time.
template <class T, int columns>
__global__ void packed_float_kernel(Product p, const T* w, int64_t stride, const float* x, int64_t from) {
  const int64_t first = first_column<columns>(from);
  const int lane = static_cast<int>(threadIdx.x % 32);
  const int64_t j = static_cast<int64_t>(blockIdx.x) * kWarps + threadIdx.x / 32;
  if (j >= p.n) return;
  const auto* row = reinterpret_cast<const uint4*>(w + j * stride);
  float sums[columns] = {};
#pragma unroll 4
  for (int64_t i = lane; i < p.k / kPacked<T>; i += 32) {
    const uint4 weights = row[i];
#pragma unroll
    for (int c = 0; c < columns; ++c)
      add_packed<T>(sums[c], weights, x + p.row(first + c) * p.k + i * kPacked<T>);
  }
#pragma unroll
  for (int c = 0; c < columns; ++c) {
    const float sum = warp_sum(sums[c]);
    if (lane == 0 && first + c < p.m) p.set(first + c, j, sum);
  }
}

template <class T>
void packed_float_linear(const Product& p, const Blocks& w, int64_t stride, const float* x) {
  const T* weights = reinterpret_cast<const T*>(w.data[0]);
  const unsigned blocks = blocks_for(p.n, kWarps);
  if (p.m == 1) return launch(packed_float_kernel<T, 1>, blocks, kThreads, 0, p, weights, stride, x, 0);
  each_columns(p.m, kColumns, [&](int64_t first, unsigned groups) {
    launch(packed_float_kernel<T, kColumns>, dim3(blocks, groups), kThreads, 0, p, weights, stride, x, first);
  });
}

/// Whether rows of plain weights are whole pieces of 16 bytes.
bool reads_packed(const Blocks& w, int64_t stride, int64_t k) {
  const int64_t in_16_bytes = std::max<int64_t>(1, 16 / info(w.dtype).block_bytes);
  return k > 0 && k % in_16_bytes == 0 && stride % in_16_bytes == 0 &&
         reinterpret_cast<uintptr_t>(w.data[0]) % 16 == 0;
}

void float_linear(const Product& p, const Blocks& w, int64_t stride, const float* x) {
  const bool packed = reads_packed(w, stride, p.k) && reinterpret_cast<uintptr_t>(x) % 16 == 0;
  if (packed && w.dtype == DType::f32) return packed_float_linear<float>(p, w, stride, x);
  if (packed && w.dtype == DType::f16) return packed_float_linear<__half>(p, w, stride, x);
  if (packed && w.dtype == DType::bf16) return packed_float_linear<__nv_bfloat16>(p, w, stride, x);
  const unsigned blocks = blocks_for(p.n, kWarps);
  if (p.m == 1) return launch(float_kernel<1>, blocks, kThreads, 0, p, w, stride, x, 0);
  each_columns(p.m, kColumns, [&](int64_t first, unsigned groups) {
    launch(float_kernel<kColumns>, dim3(blocks, groups), kThreads, 0, p, w, stride, x, first);
  });
}

/// A warp takes `rows` rows of w at once.
template <DType format, int rows, int columns>
__global__ void q8_kernel(Product p, Blocks w, Q8Rows x, int64_t from) {
  const int64_t first = first_column<columns>(from);
  using Chunks = ChunksOf<format>;
  const int lane = static_cast<int>(threadIdx.x % 32);
  const int64_t j = (static_cast<int64_t>(blockIdx.x) * kWarps + threadIdx.x / 32) * rows;
  if (j >= p.n) return;
  const int64_t chunks = p.k / Chunks::kElements;
  float sums[rows][columns] = {};
#pragma unroll 2
  for (int64_t c = lane; c < chunks; c += 32) {
#pragma unroll
    for (int r = 0; r < rows; ++r) {
      const Chunks chunk(w, min(j + r, p.n - 1) * chunks + c);
      if constexpr (Chunks::kBlock == 32) {
#pragma unroll
        for (int i = 0; i < columns; ++i) sums[r][i] += x.dot(p.row(first + i), 32 * c, chunk);
      } else {
#pragma unroll
        for (int part = 0; part < Chunks::kParts; ++part) {
          const Part weights = chunk.part(part);
          const int64_t at = element_of<Chunks>(c, part);
#pragma unroll
          for (int i = 0; i < columns; ++i) sums[r][i] += x.dot(p.row(first + i), at, weights);
        }
      }
    }
  }
#pragma unroll
  for (int r = 0; r < rows; ++r)
#pragma unroll
    for (int i = 0; i < columns; ++i) {
      const float sum = warp_sum(sums[r][i]);
      if (lane == 0 && first + i < p.m && j + r < p.n) p.set(first + i, j + r, sum);
    }
}

template <DType format>
void q8_linear(const Product& p, const Blocks& w, const Q8Rows& x) {
  // Two rows of w a warp where there are enough of them to keep the GPU busy.
  const bool many = p.n >= int64_t{64} * Device::get().properties().multiProcessorCount / 2;
  if (p.m == 1 && many)
    return launch(q8_kernel<format, 2, 1>, blocks_for(p.n, 2 * kWarps), kThreads, 0, p, w, x, 0);
  if (p.m == 1) return launch(q8_kernel<format, 1, 1>, blocks_for(p.n, kWarps), kThreads, 0, p, w, x, 0);
  each_columns(p.m, kColumns, [&](int64_t first, unsigned groups) {
    if (many || groups > 1)
      launch(q8_kernel<format, 2, kColumns>, dim3(blocks_for(p.n, 2 * kWarps), groups), kThreads, 0, p, w, x,
             first);
    else
      launch(q8_kernel<format, 1, kColumns>, dim3(blocks_for(p.n, kWarps), groups), kThreads, 0, p, w, x,
             first);
  });
}

using Q8Linear = void (*)(const Product&, const Blocks&, const Q8Rows&);

Q8Linear q8_linear_for(DType format) {
#define TL_ENTRY(format) {DType::format, q8_linear<DType::format>},
  static const std::map<DType, Q8Linear> table = {TL_QUANTISED_FORMATS(TL_ENTRY)};
#undef TL_ENTRY
  const auto found = table.find(format);
  return found == table.end() ? nullptr : found->second;
}

/// Rows of x rounded to 8 bits: products of the same rows (queries, keys and values) share them.
std::shared_ptr<const Q8Memory> rounded(const float* x, int64_t m, int64_t k) {
  Remembered& last = remembered();
  const std::vector<int64_t> how = {m, k};
  if (last.from != x || last.how != how) {
    const auto rows = std::make_shared<Q8Memory>(m, k);
    rows->round(x);
    last = {x, static_cast<size_t>(m * k) * sizeof(float), how, rows};
  }
  return std::static_pointer_cast<const Q8Memory>(last.result);
}

/// A matrix whose rows lie in one piece each: a transposed view is copied.
Tensor with_whole_rows(const Tensor& t) {
  if (t.shape()[1] <= 1 || t.strides()[1] == 1) return t;
  const Tensor copy(t.dtype(), t.shape(), allocate(static_cast<size_t>(bytes_of(t.dtype(), t.elements()))));
  copy_elements(copy, t);
  return copy;
}

__global__ void embedding_kernel(int64_t n, int64_t width, int64_t rows, int64_t stride, Blocks table,
                                 Source ids, float* out, unsigned long long* refused) {
  TL_EACH(i, n * width) {
    const int64_t id = ids.at<int64_t>(i / width);
    if (id < 0 || id >= rows)
      atomicMin(refused, static_cast<unsigned long long>(i / width));
    else
      out[i] = table.decode(id * stride + i % width);
  }
}

RowOperation row_product(const LaunchList& list, const LaunchList::Launch& launch) {
  const Arguments a(list, launch);
  const auto& p = a.get<Product>(0);
  if (!p.constant) return {};
  return RowProduct{p.n, p.k, p.bias, p.out, a.get<Blocks>(1), p.k, a.get<Q8Rows>(2).quants};
}

template <DType plain>
RowOperation row_float_product(const LaunchList& list, const LaunchList::Launch& launch) {
  const Arguments a(list, launch);
  const auto& p = a.get<Product>(0);
  if (!p.constant) return {};
  return RowProduct{p.n,
                    p.k,
                    p.bias,
                    p.out,
                    {plain, {a.get<const uint8_t*>(1)}, {}},
                    a.get<int64_t>(2),
                    a.get<const float*>(3)};
}

/// Throws Error for an id outside the table.
void check_ids(const Tensor& ids, const Shape& table) {
  for (int64_t i = 0; i < ids.elements(); ++i)
    if (const int64_t id = load_int(ids, i); id < 0 || id >= table[0]) refuse_id(id, table);
}

}  // namespace

void tell_products(RowMeanings& meanings) {
#define TL_MEANING(format)                                                  \
  meanings[reinterpret_cast<const void*>(q8_kernel<DType::format, 1, 1>)] = \
      meanings[reinterpret_cast<const void*>(q8_kernel<DType::format, 2, 1>)] = row_product;
  TL_QUANTISED_FORMATS(TL_MEANING)
#undef TL_MEANING
  meanings[reinterpret_cast<const void*>(packed_float_kernel<float, 1>)] = row_float_product<DType::f32>;
  meanings[reinterpret_cast<const void*>(packed_float_kernel<__half, 1>)] = row_float_product<DType::f16>;
  meanings[reinterpret_cast<const void*>(packed_float_kernel<__nv_bfloat16, 1>)] =
      row_float_product<DType::bf16>;
}

void linear(const KernelArgs& args) {
  const Tensor& x = args.in[0];
  const Tensor w = with_whole_rows(args.in[1]);
  const int64_t n = w.shape()[0], k = w.shape()[1];
  if (args.out.elements() == 0) return;
  const float* from = read<float>(x);
  const float* bias = args.in.size() > 2 ? read<float>(args.in[2]) : nullptr;
  auto* out = reinterpret_cast<float*>(overwrite_bytes(args.out));
  const Product p{args.out.elements() / n, n, k, bias, out, w.storage()->constant};
  const bool tensors = p.m >= kTensorRows && args.activations == Activations::q8 && !args.batch_invariant &&
                       has_tensor_product();
  const bool kept = p.constant && (bias == nullptr || args.in[2].storage()->constant);
  if (tensors && (w.dtype() == DType::f16 || w.dtype() == DType::bf16) && w.strides()[0] >= k &&
      reads_packed(blocks_of(w), w.strides()[0], k)) {
    const std::optional<int> exponent = w.dtype() == DType::f16 ? 0 : exponent_of(w);
    if (exponent)
      return tensor_product(from, {blocks_of(w), w.strides()[0], kept, *exponent}, bias, p.out, p.m, n, k);
  }
  const Q8Linear q8 = q8_linear_for(w.dtype());
  if (q8 == nullptr || k == 0 || args.activations == Activations::float32)
    return float_linear(p, blocks_of(w), w.strides()[0], from);
  const std::shared_ptr<Derived>* const before = derived(w, DerivedKind::planes);
  const bool were_there = before != nullptr && *before != nullptr;  // the launch before does not write them
  const std::shared_ptr<const Planes> planes = planes_of(w);
  if (tensors) return tensor_product(from, {planes->blocks(), k, kept && were_there}, bias, p.out, p.m, n, k);
  q8(p, planes->blocks(), rounded(from, p.m, k)->rows());
}

void embedding(const KernelArgs& args) {
  const Tensor table = with_whole_rows(args.in[0]);
  const Tensor& ids = args.in[1];
  if (args.out.elements() == 0) return;
  const bool known = is_on_host(ids);
  if (known) check_ids(ids, table.shape());
  const std::shared_ptr<const Planes> planes = planes_of(table);
  float* out = write<float>(args.out);
  unsigned long long* verdict = known ? nullptr : Device::get().verdict();
  Source from{nullptr, ids.dtype()};
  if (known && ids.elements() == 1)
    from = {Device::get().launches().number(load_int(ids, 0), {table.shape()[0] - 1, ids.storage().get()}),
            DType::i64};
  else
    from.data = read_bytes(ids);
  launch(embedding_kernel, blocks_for(args.out.elements()), kThreads, 0, ids.elements(), table.shape()[1],
         table.shape()[0], table.shape()[1], planes->blocks(), from, out, verdict);
  if (!known && Device::get().read_verdict() != Device::kNothing) check_ids(ids, table.shape());
}

}  // namespace tl::cuda
