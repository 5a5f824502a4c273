#include "backend/cuda/matrix_product.h"

#include "backend/cuda/kernels.h"
#include "backend/cuda/strided.cuh"

namespace tl::cuda {

namespace {

constexpr int kTile = 64, kDepth = 16, kMicro = 4;  // a block computes 64 x 64 elements, a thread 4 x 4

struct Side {
  const float* data;
  const int64_t *batch, *outer, *inner;
  int64_t n;  ///< of the outer index

  __device__ float at(int64_t b, int64_t i, int64_t p, int64_t depth) const {
    if (i >= n || p >= depth) return 0.0f;
    const int64_t at_batch = batch[b], at_outer = outer[i], at_inner = inner[p];
    if (at_batch == kOutside || at_outer == kOutside || at_inner == kOutside) return 0.0f;
    return data[at_batch + at_outer + at_inner];
  }
};

struct Result {
  float* data;
  const int64_t *batch, *rows, *columns;
  float divisor;
};

__global__ void matrix_product_kernel(Side left, Side right, Result out, int64_t depth) {
  __shared__ float a[kDepth][kTile + 1], b[kDepth][kTile + 1];
  const int64_t batch = blockIdx.z, first_row = static_cast<int64_t>(blockIdx.y) * kTile,
                first_column = static_cast<int64_t>(blockIdx.x) * kTile;
  const int row = static_cast<int>(threadIdx.x) / 16 * kMicro,
            column = static_cast<int>(threadIdx.x) % 16 * kMicro;
  float sums[kMicro][kMicro] = {};
  for (int64_t p0 = 0; p0 < depth; p0 += kDepth) {
    for (int t = static_cast<int>(threadIdx.x); t < kTile * kDepth; t += kThreads) {
      const int p = t % kDepth, i = t / kDepth;
      a[p][i] = left.at(batch, first_row + i, p0 + p, depth);
      b[p][i] = right.at(batch, first_column + i, p0 + p, depth);
    }
    __syncthreads();
    for (int p = 0; p < kDepth; ++p)
      for (int i = 0; i < kMicro; ++i)
        for (int j = 0; j < kMicro; ++j) sums[i][j] = fmaf(a[p][row + i], b[p][column + j], sums[i][j]);
    __syncthreads();
  }
  for (int i = 0; i < kMicro; ++i)
    for (int j = 0; j < kMicro; ++j) {
      const int64_t r = first_row + row + i, c = first_column + column + j;
      if (r < left.n && c < right.n)
        out.data[out.batch[batch] + out.rows[r] + out.columns[c]] =
            out.divisor == 1.0f ? sums[i][j] : sums[i][j] / out.divisor;
    }
}

std::vector<int64_t> multiples(int64_t n, int64_t step) {
  std::vector<int64_t> table(static_cast<size_t>(n));
  for (int64_t i = 0; i < n; ++i) table[static_cast<size_t>(i)] = i * step;
  return table;
}

/// Integers: the walk holds the offsets of each element, and of the first ones of its row and column.
__global__ void integer_kernel(Walk<3> over, int64_t depth, int64_t left_step, int64_t right_step, Target out,
                               Source left, Source right) {
  TL_EACH(i, over.elements) {
    const auto at = over.offsets(i);
    uint64_t sum = 0;
    for (int64_t p = 0; p < depth; ++p)
      sum += static_cast<uint64_t>(left.at<int64_t>(at[1] + p * left_step)) *
             static_cast<uint64_t>(right.at<int64_t>(at[2] + p * right_step));
    out.set(at[0], static_cast<int64_t>(sum));
  }
}

void integer_matmul(const Tensor& a, const Tensor& b, const Tensor& out) {
  const int a_last = a.rank() - 1, b_last = b.rank() - 1, last = out.rank() - 1;
  Shape in_a = broadcast_strides(a, out.shape()), in_b = broadcast_strides(b, out.shape());
  in_a[last] = 0;
  in_a[last - 1] = a.strides()[a_last - 1];
  in_b[last] = b.strides()[b_last];
  in_b[last - 1] = 0;
  const Walk<3> over(out.shape(), {out.strides(), in_a, in_b});
  const Source left = source_of(a), right = source_of(b);
  launch(integer_kernel, blocks_for(over.elements), kThreads, 0, over, a.shape()[a_last], a.strides()[a_last],
         b.strides()[b_last - 1], target_of(out), left, right);
}

}  // namespace

void MatrixProduct::run() const {
  const auto length = [](const std::vector<int64_t>& table) { return static_cast<int64_t>(table.size()); };
  const int64_t rows = length(left_rows), columns = length(right_columns), batches = length(left_batch);
  if (rows == 0 || columns == 0 || batches == 0) return;
  const Uploaded<int64_t> lb(left_batch), rb(right_batch), ob(out_batch), lr(left_rows), orow(out_rows),
      rc(right_columns), oc(out_columns), li(left_inner), ri(right_inner);
  const auto tiles = [](int64_t n) { return static_cast<unsigned>((n + kTile - 1) / kTile); };
  constexpr int64_t kMostBatches = 65535;
  TL_CHECK(tiles(rows) <= kMostBatches, "a matrix product of too many rows for a grid");
  for (int64_t first = 0; first < batches; first += kMostBatches) {
    const dim3 grid(tiles(columns), tiles(rows),
                    static_cast<unsigned>(std::min(kMostBatches, batches - first)));
    launch(matrix_product_kernel, grid, kThreads, 0,
           Side{left, lb.data() + first, lr.data(), li.data(), rows},
           Side{right, rb.data() + first, rc.data(), ri.data(), columns},
           Result{out, ob.data() + first, orow.data(), oc.data(), divisor}, length(left_inner));
  }
}

void matmul(const KernelArgs& args) {
  const Tensor &a = args.in[0], &b = args.in[1], &out = args.out;
  if (out.elements() == 0) return;
  if (!is_float(out.dtype())) return integer_matmul(a, b, out);
  const int last = out.rank() - 1, a_last = a.rank() - 1, b_last = b.rank() - 1;
  // The leading axes, each tensor repeated to the result's by NumPy's rule.
  std::vector<int64_t> batches[3];
  Shape lead;
  for (int i = 0; i < out.rank() - 2; ++i) lead.push_back(out.shape()[i]);
  for (int64_t i = 0; i < lead.elements(); ++i) {
    int64_t rest = i, offsets[3] = {};
    for (int axis = lead.rank() - 1; axis >= 0; --axis) {
      const int64_t index = rest % lead[axis];
      rest /= lead[axis];
      const auto add = [&](int which, const Tensor& t) {
        const int at = axis - (out.rank() - t.rank());
        if (at >= 0 && t.shape()[at] != 1) offsets[which] += index * t.strides()[at];
      };
      add(0, a), add(1, b), add(2, out);
    }
    for (int which = 0; which < 3; ++which) batches[which].push_back(offsets[which]);
  }
  const int64_t m = out.shape()[last - 1], n = out.shape()[last], k = a.shape()[a_last];
  const float *left = read<float>(a), *right = read<float>(b);
  MatrixProduct{left,
                right,
                write<float>(out),
                batches[0],
                batches[1],
                batches[2],
                multiples(m, a.strides()[a_last - 1]),
                multiples(m, out.strides()[last - 1]),
                multiples(n, b.strides()[b_last]),
                multiples(n, out.strides()[last]),
                multiples(k, a.strides()[a_last]),
                multiples(k, b.strides()[b_last - 1])}
      .run();
}

}  // namespace tl::cuda
