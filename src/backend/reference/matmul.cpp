// Matrix products. Sums run over the inner extent in a fixed order that depends on nothing but that extent.
#include <fmt/format.h>

#include "backend/reference/kernels.h"
#include "backend/reference/strided.h"
#include "ops/functors.h"
#include "tensor/blocks.h"

namespace tl::reference {

namespace {

/// A contiguous copy of `x` in double, one line of its last axis after another.
std::vector<double> as_doubles(const Tensor& x, ThreadPool& pool) {
  std::vector<double> values(static_cast<size_t>(x.elements()));
  const Walk<2> both{x.shape(), {x.strides(), row_major_strides(x.shape())}};
  both.parallel(pool, 1, [&](const auto& at, int64_t n) {
    load_run(x, at[0], both.step(0), n, &values[static_cast<size_t>(at[1])]);
  });
  return values;
}

/// Row `r` of a matrix, decoded exactly.
void load_row(const Tensor& matrix, int64_t r, double* out) {
  const int64_t width = matrix.shape()[1], offset = r * matrix.strides()[0];
  if (is_quantised(matrix.dtype()))
    decode_row(matrix.dtype(), matrix.at(offset), out, width);
  else
    load_run(matrix, offset, matrix.strides()[1], width, out);
}

/// Two doubles, which may lie anywhere; every processor we know has such vectors.
using Two [[gnu::vector_size(16), gnu::aligned(8), gnu::may_alias]] = double;

constexpr int64_t kBlock = 16;  // rows of the weights that are decoded at a time
constexpr int64_t kRows = 4;    // rows of the weights that are multiplied at a time

/// out[r] = x · w[r] for kRows rows of `w`, which lie n apart. Each dot product is four partial sums, over
/// the elements 4i, 4i + 1, 4i + 2 and 4i + 3.
void dot_rows(const double* x, const double* w, int64_t n, double* out) {
  Two low[kRows] = {}, high[kRows] = {};
  const auto two = [](const double* p) { return *reinterpret_cast<const Two*>(p); };
  int64_t i = 0;
  for (; i + 4 <= n; i += 4) {
    const Two x_low = two(x + i), x_high = two(x + i + 2);
    for (int64_t r = 0; r < kRows; ++r) {
      low[r] += x_low * two(w + r * n + i);
      high[r] += x_high * two(w + r * n + i + 2);
    }
  }
  for (int64_t r = 0; r < kRows; ++r) {
    for (int64_t j = i; j < n; ++j) (j - i < 2 ? low : high)[r][j % 2] += x[j] * w[r * n + j];
    out[r] = (low[r][0] + low[r][1]) + (high[r][0] + high[r][1]);
  }
}

}  // namespace

void linear(const KernelArgs& args) {
  const Tensor &x = args.in[0], &w = args.in[1];
  const int64_t n_in = w.shape()[1], n_out = w.shape()[0];
  TL_CHECK(args.out.is_contiguous(), "linear writes a contiguous result");
  const std::vector<double> rows = as_doubles(x, args.pool);
  const int64_t n_rows = args.out.elements() / std::max<int64_t>(1, n_out);
  const std::vector<double> bias =
      args.in.size() == 3 ? as_doubles(args.in[2], args.pool) : std::vector<double>();

  args.pool.parallel_for(n_out, kBlock, [&](int64_t begin, int64_t end) {
    std::vector<double> weights(static_cast<size_t>(kBlock * n_in));
    for (int64_t o = begin; o < end; o += kBlock) {
      const int64_t n = std::min(kBlock, end - o);
      for (int64_t r = 0; r < n; ++r) load_row(w, o + r, weights.data() + r * n_in);
      for (int64_t row = 0; row < n_rows; ++row) {
        std::array<double, kBlock> sums;
        for (int64_t r = 0; r < n; r += kRows)
          dot_rows(rows.data() + row * n_in, weights.data() + r * n_in, n_in, &sums[static_cast<size_t>(r)]);
        for (int64_t r = 0; r < n; ++r) {
          const double b = bias.empty() ? 0 : bias[static_cast<size_t>(o + r)];
          store_double(args.out, row * n_out + o + r, sums[static_cast<size_t>(r)] + b);
        }
      }
    }
  });
}

void embedding(const KernelArgs& args) {
  const Tensor &table = args.in[0], &ids = args.in[1];
  const int64_t width = table.shape()[1];
  // Walk the ids; out's line of each starts where its strides without the last axis say.
  const Walk<2> over{ids.shape(), {without(args.out.strides(), ids.rank()), ids.strides()}};
  over.each(args.pool, width, [&](const auto& at) {
    const int64_t id = load_int(ids, at[1]);
    if (id < 0 || id >= table.shape()[0])
      throw Error(fmt::format("[embedding] id {} is out of range for the table {}: expected 0 to {}", id,
                              to_string(table.shape()), table.shape()[0] - 1));
    std::vector<double> row(static_cast<size_t>(width));
    load_row(table, id, row.data());
    store_run(args.out, at[0], args.out.strides()[ids.rank()], width, row.data());
  });
}

void matmul(const KernelArgs& args) {
  const Tensor &a = args.in[0], &b = args.in[1], &out = args.out;
  const int rank = out.rank();
  const int64_t inner = a.shape().back(), width = out.shape()[rank - 1];
  const Shape rows = without(out.shape(), rank - 1);  // batch axes and the rows of each matrix
  const auto leading = [&](const Tensor& t, bool its_rows) {
    const Tensor line = t.view(without(t.shape(), t.rank() - 1), without(t.strides(), t.rank() - 1));
    Shape strides = line.strides(), shape = line.shape();
    if (!its_rows) strides[line.rank() - 1] = 0, shape[line.rank() - 1] = 1;
    return broadcast_strides(line.view(shape, strides), rows);
  };
  const Walk<3> over{rows, {without(out.strides(), rank - 1), leading(a, true), leading(b, false)}};
  const int64_t a_step = a.strides().back(), b_step = b.strides().back(), b_down = b.strides()[b.rank() - 2];
  as_number(out.dtype(), [&]<class T>(T) {
    over.each(args.pool, inner * width, [&](const auto& at) {
      std::vector<T> sums(static_cast<size_t>(width)), line(static_cast<size_t>(width));
      for (int64_t k = 0; k < inner; ++k) {
        T factor;
        load_run(a, at[1] + k * a_step, 0, 1, &factor);
        load_run(b, at[2] + k * b_down, b_step, width, line.data());
        for (size_t j = 0; j < line.size(); ++j)
          sums[j] = Functor<Op::add>::apply(sums[j], Functor<Op::mul>::apply(factor, line[j]));
      }
      store_run(out, at[0], out.strides()[rank - 1], width, sums.data());
    });
  });
}

}  // namespace tl::reference
