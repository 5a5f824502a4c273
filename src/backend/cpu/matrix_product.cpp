#include "backend/cpu/matrix_product.h"

#include <algorithm>

#include "backend/cpu/isa.h"
#include "backend/cpu/kernels.h"
#include "backend/cpu/strided.h"
#include "ops/functors.h"

namespace tl::cpu {

namespace {

constexpr int64_t kInnerBlock = 256;           // terms of a sum that are packed at a time
constexpr int64_t kRowBlock = 16 * kGemmRows;  // rows and columns of a task
constexpr int64_t kColumnBlock = 8 * kGemmColumns;

/// Packs panel[p][l] = data[base + inner[p] + across[l]] for `width` lanes, missing ones 0.
void pack(const float* data, int64_t base, const int64_t* inner, int64_t n_inner, const int64_t* across,
          int64_t n_across, int64_t width, float* panel) {
  for (int64_t p = 0; p < n_inner; ++p, panel += width) {
    std::fill_n(panel, width, 0.0f);
    if (inner[p] == kOutside) continue;
    const float* line = data + base + inner[p];
    for (int64_t l = 0; l < n_across; ++l)
      if (across[l] != kOutside) panel[l] = line[across[l]];
  }
}

/// A block of rows times a block of columns of one batch element.
struct Task {
  const MatrixProduct& product;
  size_t batch;
  int64_t first_row, n_rows, first_column, n_columns;

  void run() const {
    thread_local std::vector<float> rows(kInnerBlock * kRowBlock), columns(kInnerBlock * kColumnBlock);
    thread_local std::vector<float> sums(kRowBlock * kColumnBlock);
    std::fill(sums.begin(), sums.end(), 0.0f);
    const auto n_inner = static_cast<int64_t>(product.left_inner.size());
    const int64_t left = product.left_batch[batch], right = product.right_batch[batch];
    for (int64_t p = 0; p < n_inner && left != kOutside && right != kOutside; p += kInnerBlock) {
      const int64_t k = std::min(kInnerBlock, n_inner - p);
      for (int64_t i = 0; i < n_rows; i += kGemmRows)
        pack(product.left, left, product.left_inner.data() + p, k, product.left_rows.data() + first_row + i,
             std::min(kGemmRows, n_rows - i), kGemmRows, rows.data() + i * kInnerBlock);
      for (int64_t j = 0; j < n_columns; j += kGemmColumns)
        pack(product.right, right, product.right_inner.data() + p, k,
             product.right_columns.data() + first_column + j, std::min(kGemmColumns, n_columns - j),
             kGemmColumns, columns.data() + j * kInnerBlock);
      for (int64_t j = 0; j < n_columns; j += kGemmColumns)
        for (int64_t i = 0; i < n_rows; i += kGemmRows)
          isa().gemm_tile(rows.data() + i * kInnerBlock, columns.data() + j * kInnerBlock, k,
                          sums.data() + i * kColumnBlock + j * kGemmRows);
    }
    store(sums.data());
  }

  /// Tiles of kGemmRows x kGemmColumns lie one after another.
  void store(const float* sums) const {
    float* out = product.out + product.out_batch[batch];
    for (int64_t i = 0; i < n_rows; ++i)
      for (int64_t j = 0; j < n_columns; ++j) {
        const float* tile =
            sums + i / kGemmRows * kGemmRows * kColumnBlock + j / kGemmColumns * kGemmColumns * kGemmRows;
        out[product.out_rows[static_cast<size_t>(first_row + i)] +
            product.out_columns[static_cast<size_t>(first_column + j)]] =
            product.scale * tile[i % kGemmRows * kGemmColumns + j % kGemmColumns];
      }
  }
};

}  // namespace

void MatrixProduct::run(ThreadPool& pool) const {
  const auto n_rows = static_cast<int64_t>(out_rows.size()),
             n_columns = static_cast<int64_t>(out_columns.size());
  const int64_t row_blocks = (n_rows + kRowBlock - 1) / kRowBlock;
  const int64_t column_blocks = (n_columns + kColumnBlock - 1) / kColumnBlock;
  const int64_t tasks = static_cast<int64_t>(out_batch.size()) * row_blocks * column_blocks;
  const int64_t work = std::min(kRowBlock, n_rows) * std::min(kColumnBlock, n_columns) *
                       std::max<int64_t>(1, static_cast<int64_t>(left_inner.size()));
  pool.parallel_for(tasks, std::max<int64_t>(1, 4 * kGrain / std::max<int64_t>(1, work)),
                    [&](int64_t begin, int64_t end) {
                      for (int64_t t = begin; t < end; ++t) {
                        const int64_t row = t / column_blocks % row_blocks * kRowBlock,
                                      column = t % column_blocks * kColumnBlock;
                        Task{*this,  static_cast<size_t>(t / column_blocks / row_blocks),
                             row,    std::min(kRowBlock, n_rows - row),
                             column, std::min(kColumnBlock, n_columns - column)}
                            .run();
                      }
                    });
}

namespace {

/// 0, stride, 2 stride …
std::vector<int64_t> multiples(int64_t stride, int64_t n) {
  std::vector<int64_t> offsets(static_cast<size_t>(n));
  for (size_t i = 0; i < offsets.size(); ++i) offsets[i] = static_cast<int64_t>(i) * stride;
  return offsets;
}

/// A matrix product's axes: m, k of a; k, n of b; and the batch axes they are broadcast to.
struct Matmul {
  const Tensor &a, &b, &out;
  int rank = out.rank();
  int64_t m = out.shape()[rank - 2], n = out.shape()[rank - 1], k = a.shape().back();

  /// The offsets of every batch element in a, b and out.
  Walk<3> batches() const {
    const auto leading = [](const Tensor& t) {
      const auto count = static_cast<size_t>(t.rank() - 2);
      return t.view(Shape(std::span(t.shape().begin(), count)), Shape(std::span(t.strides().begin(), count)));
    };
    return walk(leading(out).shape(), leading(out), leading(a), leading(b));
  }
};

void integer_matmul(ThreadPool& pool, const Matmul& p) {
  const auto over = p.batches();
  over.each(pool, p.m * p.n * p.k, [&](const auto& at) {
    for (int64_t i = 0; i < p.m; ++i)
      for (int64_t j = 0; j < p.n; ++j) {
        uint64_t sum = 0;  // wraps around, as integers of tensors do
        for (int64_t l = 0; l < p.k; ++l)
          sum += static_cast<uint64_t>(
                     load_int(p.a, at[1] + i * p.a.strides()[p.a.rank() - 2] + l * p.a.strides().back())) *
                 static_cast<uint64_t>(
                     load_int(p.b, at[2] + l * p.b.strides()[p.b.rank() - 2] + j * p.b.strides().back()));
        store_int(p.out, at[0] + i * p.out.strides()[p.rank - 2] + j * p.out.strides().back(),
                  static_cast<int64_t>(sum));
      }
  });
}

}  // namespace

void matmul(const KernelArgs& args) {
  if (!is_float(args.out.dtype())) return integer_matmul(args.pool, {args.in[0], args.in[1], args.out});
  const auto as_float = [](const Tensor& t) {
    return t.dtype() == DType::f32 ? t : converted(t, DType::f32);
  };
  const Tensor a = as_float(args.in[0]), b = as_float(args.in[1]);
  const Matmul p{a, b, args.out};
  MatrixProduct product{
      a.data<float>(), b.data<float>(), args.out.data<float>(), {}, {}, {}, {}, {}, {}, {}, {}, {}};
  p.batches().each_in_order([&](const auto& at) {
    product.out_batch.push_back(at[0]);
    product.left_batch.push_back(at[1]);
    product.right_batch.push_back(at[2]);
  });
  product.left_rows = multiples(a.strides()[a.rank() - 2], p.m);
  product.left_inner = multiples(a.strides().back(), p.k);
  product.right_inner = multiples(b.strides()[b.rank() - 2], p.k);
  product.right_columns = multiples(b.strides().back(), p.n);
  product.out_rows = multiples(args.out.strides()[p.rank - 2], p.m);
  product.out_columns = multiples(args.out.strides().back(), p.n);
  product.run(args.pool);
}

}  // namespace tl::cpu
