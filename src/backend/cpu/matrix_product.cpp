#include "backend/cpu/matrix_product.h"

#include <algorithm>
#include <utility>

#include "backend/cpu/isa.h"
#include "backend/cpu/kernels.h"
#include "backend/cpu/strided.h"
#include "ops/functors.h"

namespace tl::cpu {

namespace {

constexpr int64_t kInnerBlock = 256;           // terms of a sum that are packed at a time
constexpr int64_t kRowBlock = 32 * kGemmRows;  // packed rows that stay in the L2 cache
constexpr int64_t kColumnBlock = 64 * kGemmColumns;

int64_t blocks(int64_t n, int64_t size) { return (n + size - 1) / size; }

/// Whether entries go up by one.
bool is_run(const int64_t* offsets, int64_t n) {
  if (offsets[0] == kOutside) return false;
  for (int64_t i = 1; i < n; ++i)
    if (offsets[i] != offsets[0] + i) return false;
  return true;
}

/// One operand's element offsets: inner index by index across.
struct Source {
  const float* data;  ///< of the batch element
  const int64_t* inner;
  int64_t n_inner;
  const int64_t* across;
  bool inner_is_run;
};

/// Packs panel[p][l] = data[inner[p] + across[l]] for `width` lanes of which the first n exist; the others
/// are 0.
void pack_panel(const Source& s, int64_t first, int64_t n, int64_t width, float* panel) {
  const int64_t* across = s.across + first;
  const bool all_inside = std::find(across, across + n, kOutside) == across + n;
  if (n < width || !all_inside) std::fill_n(panel, s.n_inner * width, 0.0f);
  if (s.inner_is_run && all_inside) {
    int64_t l = 0;
    if (n == width && width < 8) {  // lanes beyond the panel's are overwritten by what is packed next
      const float* lanes[8];
      for (int64_t i = 0; i < 8; ++i) lanes[i] = s.data + s.inner[0] + across[std::min(i, n - 1)];
      return isa().pack_lanes(lanes, s.n_inner, width, panel);
    }
    for (; l + 8 <= n; l += 8) {
      const float* lanes[8];
      for (int64_t i = 0; i < 8; ++i) lanes[i] = s.data + s.inner[0] + across[l + i];
      isa().pack_lanes(lanes, s.n_inner, width, panel + l);
    }
    for (; l < n; ++l) {
      const float* lane = s.data + s.inner[0] + across[l];
      for (int64_t p = 0; p < s.n_inner; ++p) panel[p * width + l] = lane[p];
    }
    return;
  }
  const bool is_copy = n == width && is_run(across, n);
  for (int64_t p = 0; p < s.n_inner; ++p, panel += width) {
    if (s.inner[p] == kOutside) {
      std::fill_n(panel, width, 0.0f);
      continue;
    }
    const float* line = s.data + s.inner[p];
    if (is_copy) {
      std::copy_n(line + across[0], width, panel);
      continue;
    }
    for (int64_t l = 0; l < n; ++l)
      if (across[l] != kOutside) panel[l] = line[across[l]];
  }
}

/// Packs n lanes in panels of `width`.
void pack(const Source& s, int64_t n, int64_t width, float* to) {
  for (int64_t i = 0; i < n; i += width) pack_panel(s, i, std::min(width, n - i), width, to + i * s.n_inner);
}

/// A block of rows times a block of columns of one batch element.
struct Block {
  const MatrixProduct& product;
  size_t batch;
  int64_t first_row, n_rows, first_column, n_columns;

  /// The whole product, the columns packed for this block alone.
  void run() const {
    thread_local std::vector<float> packed(kInnerBlock * kColumnBlock);
    if (is_empty()) return fill();
    const bool direct = is_direct();
    const auto n_inner = static_cast<int64_t>(product.left_inner.size());
    for (int64_t p = 0; p < n_inner; p += kInnerBlock) {
      if (!direct) pack(right(p), n_columns, kGemmColumns, packed.data());
      add(p, packed.data(), direct);
    }
  }

  /// What the terms from p on, as many as are packed at a time, give: set at first, then added. `direct`:
  /// `packed` is room for the columns that fill no tile, the others are read where they lie.
  void add(int64_t p, float* packed, bool direct) const {
    thread_local std::vector<float> rows(kInnerBlock * kRowBlock + 8);
    const Source columns = right(p);
    const int64_t k = columns.n_inner;
    for (int64_t i = 0; i < n_rows; i += kRowBlock) {
      Source block = left(p);
      block.across += i;
      const int64_t n = std::min(kRowBlock, n_rows - i);
      pack(block, n, kGemmRows, rows.data());
      for (int64_t j = 0; j < n_columns; j += kGemmColumns) {
        const int64_t width = std::min(kGemmColumns, n_columns - j);
        const bool in_place = direct && width == kGemmColumns;
        if (direct && !in_place) pack_panel(columns, j, width, kGemmColumns, packed);
        const float* b =
            in_place ? columns.data + columns.inner[0] + columns.across[j] : packed + (direct ? 0 : j * k);
        for (int64_t r = 0; r < n; r += kGemmRows)
          tile({rows.data() + r * k, b, in_place ? stride() : kGemmColumns, k, nullptr, 0,
                std::min(kGemmRows, n - r), p > 0},
               i + r, j, width);
      }
    }
    if (product.scale != 1.0f && p + k == static_cast<int64_t>(product.left_inner.size())) scale();
  }

  Source left(int64_t p) const {
    return source(product.left, product.left_batch, product.left_inner, product.left_rows, first_row, p);
  }
  Source right(int64_t p) const {
    return source(product.right, product.right_batch, product.right_inner, product.right_columns,
                  first_column, p);
  }
  /// Whether there is nothing to add up.
  bool is_empty() const {
    return product.left_inner.empty() || product.left_batch[batch] == kOutside ||
           product.right_batch[batch] == kOutside;
  }
  void fill() const {
    each([](float& x) { x = 0; });
  }

 private:
  Source source(const float* data, const std::vector<int64_t>& batches, const std::vector<int64_t>& inner,
                const std::vector<int64_t>& across, int64_t first, int64_t p) const {
    const int64_t k = std::min(kInnerBlock, static_cast<int64_t>(inner.size()) - p);
    return {data + batches[batch], inner.data() + p, k, across.data() + first, is_run(inner.data() + p, k)};
  }

  /// Whether the columns of `right` can be read where they lie: packing pays only if several panels of rows
  /// use it.
  bool is_direct() const {
    const auto& inner = product.right_inner;
    if (n_rows > kGemmRows || stride() < 0) return false;
    for (size_t p = 0; p < inner.size(); ++p)
      if (inner[p] == kOutside || inner[p] != inner[0] + static_cast<int64_t>(p) * stride()) return false;
    return is_run(product.right_columns.data() + first_column, n_columns);
  }
  int64_t stride() const {
    const auto& inner = product.right_inner;
    return inner.size() < 2 || inner[1] == kOutside ? kGemmColumns : inner[1] - inner[0];
  }

  float& out(int64_t row, int64_t column) const {
    return product.out[product.out_batch[batch] + product.out_rows[static_cast<size_t>(first_row + row)] +
                       product.out_columns[static_cast<size_t>(first_column + column)]];
  }

  /// One tile into the result, in place where its rows and columns lie evenly.
  void tile(GemmTile t, int64_t row, int64_t column, int64_t width) const {
    const int64_t* rows_at = product.out_rows.data() + first_row + row;
    t.c_stride = t.rows > 1 ? rows_at[1] - rows_at[0] : 0;
    bool in_place =
        width == kGemmColumns && is_run(product.out_columns.data() + first_column + column, width);
    for (int64_t r = 1; in_place && r < t.rows; ++r) in_place = rows_at[r] - rows_at[r - 1] == t.c_stride;
    if (in_place) {
      t.c = &out(row, column);
      return isa().gemm_tile(t);
    }
    float sums[kGemmRows * kGemmColumns];
    const bool adds = std::exchange(t.adds, false);
    t.c = sums;
    t.c_stride = kGemmColumns;
    isa().gemm_tile(t);
    for (int64_t r = 0; r < t.rows; ++r)
      for (int64_t c = 0; c < width; ++c) {
        float& to = out(row + r, column + c);
        to = adds ? to + sums[r * kGemmColumns + c] : sums[r * kGemmColumns + c];
      }
  }

  template <class Change>
  void each(Change change) const {
    for (int64_t i = 0; i < n_rows; ++i)
      for (int64_t j = 0; j < n_columns; ++j) change(out(i, j));
  }
  void scale() const {
    each([&](float& x) { x *= product.scale; });
  }
};

/// The same product with rows and columns exchanged.
MatrixProduct transposed(const MatrixProduct& p) {
  return {p.right,       p.left,      p.out,      p.right_batch, p.left_batch, p.out_batch, p.right_columns,
          p.out_columns, p.left_rows, p.out_rows, p.right_inner, p.left_inner, p.scale};
}

/// Threads take batch elements, or blocks of columns of few rows.
void run_apart(const MatrixProduct& product, ThreadPool& pool) {
  const auto n_rows = static_cast<int64_t>(product.out_rows.size());
  const auto n_columns = static_cast<int64_t>(product.out_columns.size());
  const auto n_batches = static_cast<int64_t>(product.out_batch.size());
  const int64_t wanted = blocks(2 * pool.size(), n_batches);
  const int64_t width =
      std::clamp(blocks(blocks(n_columns, wanted), kGemmColumns) * kGemmColumns, kGemmColumns, kColumnBlock);
  const int64_t n_blocks = blocks(n_columns, width);
  const int64_t work = n_rows * std::min(width, n_columns) *
                       std::max<int64_t>(1, static_cast<int64_t>(product.left_inner.size()));
  pool.parallel_for(n_batches * n_blocks, std::max<int64_t>(1, 4 * kGrain / std::max<int64_t>(1, work)),
                    [&](int64_t begin, int64_t end) {
                      for (int64_t t = begin; t < end; ++t) {
                        const int64_t column = t % n_blocks * width;
                        const auto batch = static_cast<size_t>(t / n_blocks);
                        Block{product, batch, 0, n_rows, column, std::min(width, n_columns - column)}.run();
                      }
                    });
}

/// Threads take blocks of rows, for which they have packed the columns together.
void run_together(const MatrixProduct& product, ThreadPool& pool) {
  thread_local std::vector<float> packed;
  const auto n_rows = static_cast<int64_t>(product.out_rows.size());
  const auto n_columns = static_cast<int64_t>(product.out_columns.size());
  const auto n_inner = static_cast<int64_t>(product.left_inner.size());
  packed.resize(std::max(packed.size(),
                         static_cast<size_t>(kInnerBlock * blocks(n_columns, kGemmColumns) * kGemmColumns)));
  float* const columns = packed.data();  // of this thread, for all
  const int64_t n_blocks = blocks(blocks(n_rows, kRowBlock), pool.size()) * pool.size();
  const int64_t height = blocks(blocks(n_rows, n_blocks), kGemmRows) * kGemmRows;
  for (size_t batch = 0; batch < product.out_batch.size(); ++batch) {
    const Block whole{product, batch, 0, n_rows, 0, n_columns};
    if (whole.is_empty()) {
      whole.fill();
      continue;
    }
    for (int64_t p = 0; p < n_inner; p += kInnerBlock) {
      const Source source = whole.right(p);
      pool.parallel_for(blocks(n_columns, kGemmColumns), 8, [&](int64_t begin, int64_t end) {
        Source part = source;
        part.across += begin * kGemmColumns;
        pack(part, std::min(end * kGemmColumns, n_columns) - begin * kGemmColumns, kGemmColumns,
             columns + begin * kGemmColumns * source.n_inner);
      });
      pool.parallel_for(blocks(n_rows, height), 1, [&](int64_t begin, int64_t end) {
        for (int64_t b = begin; b < end; ++b)
          Block{product, batch, b * height, std::min(height, n_rows - b * height), 0, n_columns}.add(
              p, columns, false);
      });
    }
  }
}

}  // namespace

void MatrixProduct::run(ThreadPool& pool) const {
  const auto n_rows = static_cast<int64_t>(out_rows.size()),
             n_columns = static_cast<int64_t>(out_columns.size());
  if (n_rows == 0 || n_columns == 0 || out_batch.empty()) return;
  // Tiles are wide: the shorter side goes down them where it would not fill them, else the side that lies
  // apart in the result.
  const auto lies_together = [](const std::vector<int64_t>& offsets) {
    return is_run(offsets.data(), std::min<int64_t>(kGemmColumns, static_cast<int64_t>(offsets.size())));
  };
  const bool is_narrow = n_columns < kGemmColumns && n_rows > n_columns;
  const bool is_turned = n_rows >= kGemmColumns && lies_together(out_rows) && !lies_together(out_columns);
  if (is_narrow || is_turned) return transposed(*this).run(pool);
  if (static_cast<int64_t>(out_batch.size()) >= pool.size() || n_rows <= kRowBlock)
    run_apart(*this, pool);
  else
    run_together(*this, pool);
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
