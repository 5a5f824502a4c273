#include "backend/cpu/matrix_product.h"

#include <algorithm>
#include <utility>

#include "backend/cpu/isa.h"
#include "backend/cpu/kernels.h"
#include "backend/cpu/strided.h"
#include "ops/functors.h"

namespace tl::cpu {

namespace {

constexpr int64_t kInnerBlock = 256;  // terms that are summed before they are added to the result
constexpr int64_t kInnerTail = 64;    // as few as these are packed together with the block before them
constexpr int64_t kMostInner = kInnerBlock + kInnerTail;
constexpr int64_t kPackedRows = 64 * 1024;            // packed numbers of the left that stay in the L2 cache
constexpr int64_t kColumnBlock = 256 * kGemmColumns;  // columns that threads pack together
constexpr int64_t kTogether = kPanelsTogether * kGemmColumns;
constexpr int64_t kFewRows = 2;          // for which it does not pay to pack the columns
constexpr int64_t kFewSums = 8 * 1024;   // sums of such rows at a time
constexpr int64_t kFewTerms = 12;        // that such rows share while they are in the L1 cache
constexpr int64_t kSmall = 32 * 1024;    // elements of a result of which each block has its own copy
constexpr int64_t kCopies = 512 * 1024;  // elements of those copies

int64_t blocks(int64_t n, int64_t size) { return (n + size - 1) / size; }
int64_t length(const std::vector<int64_t>& table) { return static_cast<int64_t>(table.size()); }

/// 0, stride, 2 stride …
std::vector<int64_t> multiples(int64_t stride, int64_t n) {
  std::vector<int64_t> offsets(static_cast<size_t>(n));
  for (size_t i = 0; i < offsets.size(); ++i) offsets[i] = static_cast<int64_t>(i) * stride;
  return offsets;
}

/// How many terms are packed at a time from p on.
int64_t inner_step(int64_t p, int64_t n_inner) {
  const int64_t rest = n_inner - p;
  return rest <= kMostInner ? rest : kInnerBlock;
}

/// A product and how its tables lie.
struct Layout {
  explicit Layout(const MatrixProduct& p)
      : product(p),
        n_batches(length(p.out_batch)),
        n_rows(length(p.out_rows)),
        n_columns(length(p.out_columns)),
        n_inner(length(p.left_inner)),
        left_rows(lies_of(p.left_rows, kGemmRows)),
        right_columns(lies_of(p.right_columns, kGemmColumns)),
        few_rows(has_few_rows()) {}

  const MatrixProduct& product;
  int64_t n_batches, n_rows, n_columns, n_inner;
  std::vector<Lie> left_rows, right_columns;
  bool few_rows;

  /// Rows of which `k` terms each are packed at a time.
  int64_t row_block(int64_t k) const {
    return std::max<int64_t>(1, kPackedRows / (std::max<int64_t>(1, k) * kGemmRows)) * kGemmRows;
  }
  int64_t row_block() const { return row_block(std::min(n_inner, kMostInner)); }

  /// Terms from p on of rows and of columns; `first` begins a panel.
  Source left(size_t batch, int64_t p, int64_t k, int64_t first) const {
    return {product.left + product.left_batch[batch], product.left_inner.data() + p, k,
            product.left_rows.data() + first, left_rows.data() + first / kGemmRows};
  }
  Source right(size_t batch, int64_t p, int64_t k, int64_t first) const {
    return {product.right + product.right_batch[batch], product.right_inner.data() + p, k,
            product.right_columns.data() + first, right_columns.data() + first / kGemmColumns};
  }
  /// Whether there is nothing to add up.
  bool is_empty(size_t batch) const {
    return n_inner == 0 || product.left_batch[batch] == kOutside || product.right_batch[batch] == kOutside;
  }
  /// Whether there are few rows and the right side can be read row by row as it lies.
  bool has_few_rows() const {
    return n_rows <= kFewRows && lie_of(product.right_columns.data(), n_columns) == Lie::run &&
           is_even(product.right_inner.data(), n_inner);
  }
  float& out(size_t batch, int64_t row, int64_t column) const {
    return product.out[product.out_batch[batch] + product.out_rows[static_cast<size_t>(row)] +
                       product.out_columns[static_cast<size_t>(column)]];
  }
};

/// Rows and columns of one batch element; both begin a panel.
struct Part {
  const Layout& layout;
  size_t batch;
  int64_t first_row, n_rows, first_column, n_columns;

  /// What the terms [begin, end) give, set or added to what those before them gave; everything packed for
  /// this part alone. `begin` is a multiple of kInnerBlock.
  void run(int64_t begin, int64_t end) const {
    if (layout.is_empty(batch)) return each([](float& x) { x = 0; });
    if (layout.few_rows)
      add_rows(begin, end);
    else
      pack_and_add(begin, end);
    if (end == layout.n_inner) scale();
  }

  /// The same for k terms from p on, the columns packed already, panel after panel.
  void run_packed(int64_t p, int64_t k, const float* columns) const {
    add(p, k, p > 0, [&](int64_t column) { return columns + column * k; });
    if (p + k == layout.n_inner) scale();
  }

  /// Sets all to sums that lie together, row by row.
  void set(const float* sums) const {
    write(first_row, n_rows, first_column, n_columns, sums, n_columns, false);
    scale();
  }

 private:
  /// The right side read as it lies, whole stretches of columns at a time.
  void add_rows(int64_t begin, int64_t end) const {
    thread_local std::vector<float> sums(kFewSums);
    const int64_t widest = kFewSums / n_rows, width = blocks(n_columns, blocks(n_columns, widest));
    for (int64_t j = first_column; j < first_column + n_columns; j += width) {
      const int64_t n = std::min(width, first_column + n_columns - j);
      for (int64_t p = begin; p < end; p += kInnerBlock) {
        std::fill_n(sums.data(), n_rows * n, 0.0f);
        add_block_of_rows(p, std::min(kInnerBlock, end - p), j, n, sums.data());
        write(first_row, n_rows, j, n, sums.data(), n, p > begin);
      }
    }
  }

  void add_block_of_rows(int64_t p, int64_t k, int64_t column, int64_t n, float* sums) const {
    const MatrixProduct& product = layout.product;
    const int64_t* inner = product.right_inner.data() + p;
    const float* rows = product.right + product.right_batch[batch] + inner[0] +
                        product.right_columns[static_cast<size_t>(column)];
    const int64_t stride = k > 1 ? inner[1] - inner[0] : 0;
    float factors[kFewRows][kInnerBlock];
    for (int64_t i = 0; i < n_rows; ++i) gather_row(first_row + i, p, k, factors[i]);
    for (int64_t t = 0; t < k; t += kFewTerms)
      for (int64_t i = 0; i < n_rows; ++i)
        isa().add_rows(
            {factors[i] + t, rows + t * stride, stride, std::min(kFewTerms, k - t), sums + i * n, n});
  }

  void pack_and_add(int64_t begin, int64_t end) const {
    thread_local std::vector<float> columns(kMostInner * kTogether);
    for (int64_t p = begin, k; p < end; p += k) {
      k = inner_step(p, end);
      const auto column_panels = [&](int64_t column) -> const float* {
        pack(layout.right(batch, p, k, first_column + column), std::min(kTogether, n_columns - column),
             kGemmColumns, columns.data());
        return columns.data();
      };
      add(p, k, p > begin, column_panels);
    }
  }

  /// Adds k terms from p on: the rows are packed here, the columns come from column_panels(first column).
  template <class ColumnPanels>
  void add(int64_t p, int64_t k, bool adds, ColumnPanels column_panels) const {
    thread_local std::vector<float> rows;
    const int64_t block = layout.row_block(k);
    rows.resize(std::max(rows.size(), static_cast<size_t>(std::min(block, n_rows + kGemmRows) * k + 8)));
    for (int64_t i = 0; i < n_rows; i += block) {
      const int64_t row = first_row + i, n = std::min(block, n_rows - i);
      pack(layout.left(batch, p, k, row), n, kGemmRows, rows.data());
      const bool is_row_even = is_even(layout.product.out_rows.data() + row, n);
      for (int64_t j = 0; j < n_columns; j += kTogether) {
        const int64_t width = std::min(kTogether, n_columns - j);
        add_panels(
            {rows.data(), kGemmRows * k, column_panels(j), kGemmColumns * k, k, nullptr, 0, n, width, adds},
            row, first_column + j, is_row_even);
      }
    }
  }

  /// The panels' terms in blocks, each of which is summed and then added.
  void add_panels(GemmPanels panels, int64_t row, int64_t column, bool is_row_even) const {
    const bool is_run = lie_of(layout.product.out_columns.data() + column, panels.columns) == Lie::run;
    for (int64_t rest = panels.k; rest > 0; rest -= panels.k) {
      panels.k = std::min(rest, kInnerBlock);
      if (is_row_even && is_run)
        add_block(panels, row, column);
      else
        add_block_by_buffer(panels, row, column);
      panels.a += panels.k * kGemmRows;
      panels.b += panels.k * kGemmColumns;
      panels.adds = true;
    }
  }

  /// Into the result, whose rows lie evenly and columns together.
  void add_block(GemmPanels panels, int64_t row, int64_t column) const {
    panels.c = &layout.out(batch, row, column);
    panels.c_stride = panels.rows > 1 ? &layout.out(batch, row + 1, column) - panels.c : 0;
    isa().gemm_panels(panels);
  }

  void add_block_by_buffer(GemmPanels panels, int64_t row, int64_t column) const {
    constexpr int64_t kBuffered = 8 * kGemmRows;
    float sums[kBuffered * kTogether];
    const bool adds = panels.adds;
    panels.c = sums;
    panels.c_stride = kTogether;
    panels.adds = false;
    for (int64_t rest = panels.rows; rest > 0; rest -= kBuffered, row += kBuffered) {
      panels.rows = std::min(rest, kBuffered);
      isa().gemm_panels(panels);
      write(row, panels.rows, column, panels.columns, sums, kTogether, adds);
      panels.a += kBuffered / kGemmRows * panels.a_stride;
    }
  }

  /// Sets or adds sums, rows of them `stride` apart.
  void write(int64_t row, int64_t height, int64_t column, int64_t width, const float* sums, int64_t stride,
             bool adds) const {
    const int64_t* at = layout.product.out_columns.data() + column;
    const bool is_run = lie_of(at, width) == Lie::run;
    for (int64_t i = 0; i < height; ++i, sums += stride) {
      float* to = &layout.out(batch, row + i, column);
      if (is_run && adds)
        isa().add_row(sums, to, width);
      else if (is_run)
        std::copy_n(sums, width, to);
      else
        for (int64_t j = 0; j < width; ++j) to[at[j] - at[0]] = adds ? to[at[j] - at[0]] + sums[j] : sums[j];
    }
  }

  void gather_row(int64_t row, int64_t p, int64_t k, float* factors) const {
    const MatrixProduct& product = layout.product;
    const int64_t at = product.left_rows[static_cast<size_t>(row)];
    const float* line = product.left + product.left_batch[batch];
    for (int64_t i = 0; i < k; ++i) {
      const int64_t inner = product.left_inner[static_cast<size_t>(p + i)];
      factors[i] = at == kOutside || inner == kOutside ? 0.0f : line[at + inner];
    }
  }

  template <class Change>
  void each(Change change) const {
    for (int64_t i = 0; i < n_rows; ++i)
      for (int64_t j = 0; j < n_columns; ++j) change(layout.out(batch, first_row + i, first_column + j));
  }
  void scale() const {
    if (const float factor = layout.product.scale; factor != 1.0f) each([factor](float& x) { x *= factor; });
  }
};

/// The same product with rows and columns exchanged.
MatrixProduct transposed(MatrixProduct p) {
  std::swap(p.left, p.right);
  p.left_batch.swap(p.right_batch);
  p.left_rows.swap(p.right_columns);
  p.out_rows.swap(p.out_columns);
  p.left_inner.swap(p.right_inner);
  return p;
}

/// Cuts n rows or columns in panels of `panel` into `wanted` pieces of about one size.
int64_t piece_of(int64_t n, int64_t panel, int64_t wanted) {
  return blocks(blocks(n, panel), std::max<int64_t>(1, std::min(wanted, blocks(n, panel)))) * panel;
}

/// Threads take batch elements, or pieces of their longer side.
void run_apart(const Layout& layout, ThreadPool& pool) {
  const int64_t pieces = layout.few_rows || pool.size() == 1 ? pool.size() : 8 * pool.size();
  const int64_t wanted = blocks(pieces, layout.n_batches);
  const bool cuts_rows = layout.n_rows > layout.n_columns;
  const int64_t height = cuts_rows ? piece_of(layout.n_rows, kGemmRows, wanted) : layout.n_rows;
  const int64_t width = cuts_rows ? layout.n_columns : piece_of(layout.n_columns, kGemmColumns, wanted);
  const int64_t down = blocks(layout.n_rows, height), across = blocks(layout.n_columns, width);
  const int64_t work = height * width * std::max<int64_t>(1, layout.n_inner);
  pool.parallel_for(layout.n_batches * down * across,
                    std::max<int64_t>(1, 4 * kGrain / std::max<int64_t>(1, work)),
                    [&](int64_t begin, int64_t end) {
                      for (int64_t t = begin; t < end; ++t) {
                        const int64_t row = t / across % down * height, column = t % across * width;
                        const Part part{layout, static_cast<size_t>(t / across / down),
                                        row,    std::min(height, layout.n_rows - row),
                                        column, std::min(width, layout.n_columns - column)};
                        part.run(0, layout.n_inner);
                      }
                    });
}

/// Threads take blocks of rows, for which they have packed the columns together.
void run_together(const Layout& layout, ThreadPool& pool) {
  thread_local std::vector<float> packed;
  const int64_t most = std::min(kColumnBlock, blocks(layout.n_columns, kGemmColumns) * kGemmColumns);
  packed.resize(std::max(packed.size(), static_cast<size_t>(std::min(layout.n_inner, kMostInner) * most)));
  float* const columns = packed.data();  // of this thread, for all
  const int64_t n_blocks = blocks(blocks(layout.n_rows, layout.row_block()), pool.size()) * pool.size();
  const int64_t height = piece_of(layout.n_rows, kGemmRows, n_blocks);
  const auto block = [&](size_t batch, int64_t column, int64_t n, int64_t p, int64_t k) {
    pool.parallel_for(blocks(n, kGemmColumns), 8, [&](int64_t begin, int64_t end) {
      const int64_t first = begin * kGemmColumns;
      pack(layout.right(batch, p, k, column + first), std::min(end * kGemmColumns, n) - first, kGemmColumns,
           columns + first * k);
    });
    pool.parallel_for(blocks(layout.n_rows, height), 1, [&](int64_t begin, int64_t end) {
      const int64_t row = begin * height;
      Part{layout, batch, row, std::min(end * height, layout.n_rows) - row, column, n}.run_packed(p, k,
                                                                                                  columns);
    });
  };
  for (size_t batch = 0; batch < static_cast<size_t>(layout.n_batches); ++batch) {
    if (layout.is_empty(batch)) {
      Part{layout, batch, 0, layout.n_rows, 0, layout.n_columns}.run(0, 0);
      continue;
    }
    for (int64_t column = 0; column < layout.n_columns; column += kColumnBlock)
      for (int64_t p = 0, k; p < layout.n_inner; p += k) {
        k = inner_step(p, layout.n_inner);
        block(batch, column, std::min(kColumnBlock, layout.n_columns - column), p, k);
      }
  }
}

/// For small results of long sums: threads take blocks of terms, whose sums are added in their order
/// afterwards.
class Along {
 public:
  /// Takes the operands' tables from the product, which `layout` is of: they may be long.
  Along(MatrixProduct& product, const Layout& layout, ThreadPool& pool)
      : product_(product),
        whole_(layout),
        pool_(pool),
        size_(layout.n_rows * layout.n_columns),
        n_blocks_(blocks(layout.n_inner, kInnerBlock)),
        at_once_(std::min(n_blocks_, std::max(kCopies / size_, 8 * int64_t{pool.size()}))) {}

  /// Whether it is worth it.
  static bool suits(const Layout& layout, const ThreadPool& pool) {
    return pool.size() > 1 && layout.n_batches < pool.size() && layout.n_rows * layout.n_columns <= kSmall &&
           layout.n_inner >= 4 * kInnerBlock * pool.size();
  }

  void run() {
    thread_local std::vector<float> memory;
    memory.resize(std::max(memory.size(), static_cast<size_t>(at_once_ * size_)));
    sums_ = memory.data();
    MatrixProduct copies = take_copies();
    const Layout layout(copies);
    for (size_t batch = 0; batch < static_cast<size_t>(whole_.n_batches); ++batch) {
      if (whole_.is_empty(batch)) {
        Part{whole_, batch, 0, whole_.n_rows, 0, whole_.n_columns}.run(0, 0);
        continue;
      }
      std::fill(copies.left_batch.begin(), copies.left_batch.end(), product_.left_batch[batch]);
      std::fill(copies.right_batch.begin(), copies.right_batch.end(), product_.right_batch[batch]);
      for (int64_t done = 0; done < n_blocks_;) done += some(layout, done);
      Part{whole_, batch, 0, whole_.n_rows, 0, whole_.n_columns}.set(sums_);
    }
  }

 private:
  /// The product of a batch element, as often as there are blocks at once, each with a result of its own.
  MatrixProduct take_copies() {
    const auto n = static_cast<size_t>(at_once_);
    return {product_.left,
            product_.right,
            sums_,
            std::vector<int64_t>(n),
            std::vector<int64_t>(n),
            multiples(size_, at_once_),
            std::move(product_.left_rows),
            multiples(whole_.n_columns, whole_.n_rows),
            std::move(product_.right_columns),
            multiples(1, whole_.n_columns),
            std::move(product_.left_inner),
            std::move(product_.right_inner)};
  }

  /// The blocks from `first` on, as many as there is room for, and their sum with those before; how many.
  int64_t some(const Layout& layout, int64_t first) {
    const int64_t sums = first > 0 ? 1 : 0;  // of those before, which take the first place
    const int64_t n = std::min(at_once_ - sums, n_blocks_ - first);
    pool_.parallel_for(n, 1, [&](int64_t begin, int64_t end) {
      for (int64_t b = begin; b < end; ++b) {
        const int64_t p = (first + b) * kInnerBlock;
        Part{layout, static_cast<size_t>(sums + b), 0, layout.n_rows, 0, layout.n_columns}.run(
            p, std::min(p + kInnerBlock, layout.n_inner));
      }
    });
    pool_.parallel_for(size_, blocks(kGrain, n), [&](int64_t begin, int64_t end) {
      for (int64_t b = 1; b < sums + n; ++b)
        isa().add_row(sums_ + b * size_ + begin, sums_ + begin, end - begin);
    });
    return n;
  }

  MatrixProduct& product_;
  const Layout& whole_;
  ThreadPool& pool_;
  const int64_t size_, n_blocks_, at_once_;
  float* sums_ = nullptr;  ///< of blocks, each as large as the result; in the first all are added
};

void run_laid_out(MatrixProduct product, ThreadPool& pool) {
  const Layout layout(product);
  if (Along::suits(layout, pool)) return Along(product, layout, pool).run();
  const bool is_shared = pool.size() > 1 && layout.n_batches >= pool.size();
  if (layout.few_rows || is_shared || layout.n_rows <= layout.row_block())
    run_apart(layout, pool);
  else
    run_together(layout, pool);
}

}  // namespace

void MatrixProduct::run(ThreadPool& pool) && {
  const int64_t n_rows = length(out_rows), n_columns = length(out_columns);
  if (n_rows == 0 || n_columns == 0 || out_batch.empty()) return;
  // Panels of columns are wide: the shorter side goes down them where it would not fill them, else the side
  // that lies apart in the result.
  const auto lies_together = [](const std::vector<int64_t>& offsets) {
    return lie_of(offsets.data(), std::min(kGemmColumns, length(offsets))) == Lie::run;
  };
  const bool is_narrow = n_columns < kGemmColumns && n_rows > n_columns;
  const bool is_turned = n_rows >= kGemmColumns && lies_together(out_rows) && !lies_together(out_columns);
  run_laid_out(is_narrow || is_turned ? transposed(std::move(*this)) : std::move(*this), pool);
}

namespace {

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
  std::move(product).run(args.pool);
}

}  // namespace tl::cpu
