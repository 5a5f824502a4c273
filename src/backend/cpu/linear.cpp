// x @ w^T with stored weights, and rows of a table. Quantised weights are multiplied in panels (panels.h) by
// activations rounded to 8 bits, floats in rows as they are. The first product with a matrix packs each range
// of it just before it multiplies with that, the second one keeps the panels; likewise floats of a mapped
// file are read there first and from large pages later.
#include <fmt/format.h>
#include <atomic>
#include <memory>
#include <vector>

#include "backend/cpu/isa.h"
#include "backend/cpu/kernels.h"
#include "backend/cpu/memory.h"
#include "backend/cpu/panel_layouts.h"
#include "backend/cpu/panels.h"
#include "backend/cpu/strided.h"
#include "tensor/blocks.h"

namespace tl::cpu {

namespace {

/// Weights of this many bytes are passed over all rows of x before the next come: they stay in the L2 cache.
constexpr int64_t kRangeBytes = 128 * 1024;
/// Multiply-adds that are worth waking a thread for.
constexpr int64_t kLinearGrain = 32 * 1024;

struct Operands {
  const float* x;
  int64_t m, k, n;
  const Tensor& w;
  const std::byte* rows;  ///< the weights
  int64_t row_bytes;
  float* out;
};

/// Calls range(begin, end) on ranges of weight rows, in parallel; on small ones where they are used again.
template <class Range>
void each_range(ThreadPool& pool, const Operands& o, bool are_used_again, Range range) {
  const int64_t work = std::max<int64_t>(1, o.k * o.m);
  const int64_t grain = std::max<int64_t>(16, kLinearGrain / work / 16 * 16);
  const int64_t rows =
      std::max<int64_t>(1, kRangeBytes / std::max<int64_t>(1, o.row_bytes) / kPanelRows) * kPanelRows;
  pool.parallel_for(o.n, grain, [&](int64_t begin, int64_t end) {
    const int64_t step = are_used_again ? rows : end - begin;
    for (int64_t i = begin; i < end; i += step) range(i, std::min(end, i + step));
  });
}

const std::byte* weight_row(const Operands& o, int64_t i) { return o.rows + i * o.row_bytes; }

/// From so many rows of x on they are packed for the tile.
constexpr int64_t kManyRows = 8;

/// Float activations of many rows: every range of weight rows is multiplied with a block of rows after the
/// other.
void packed_linear(ThreadPool& pool, const Operands& o, void (*kernel)(const PackedLinear&)) {
  const int64_t row_floats = (o.k + 15) / 16 * 16, blocks = (o.m + kPackedRows - 1) / kPackedRows;
  const auto memory = result_memory(static_cast<size_t>((o.m + 3) / 4 * 4 * row_floats) * sizeof(float));
  auto* const packed = reinterpret_cast<float*>(memory->data);
  pool.parallel_for((o.m + 3) / 4, std::max<int64_t>(1, kGrain / row_floats),
                    [&](int64_t begin, int64_t end) {
                      const int64_t first = 4 * begin, rows = std::min(4 * end, o.m) - first;
                      isa().pack_rows(o.x + first * o.k, o.k, rows, o.k, packed + first * row_floats);
                    });
  pool.parallel_for(o.n, kPackedWeights, [&](int64_t begin, int64_t end) {
    thread_local const std::unique_ptr<PackedScratch> scratch(new PackedScratch);
    for (int64_t i = begin; i < end; i += kPackedWeights)
      for (int64_t b = 0; b < blocks; ++b) {
        const int64_t row = b * kPackedRows;
        kernel({weight_row(o, i), o.row_bytes, std::min(end - i, kPackedWeights), packed + row * row_floats,
                std::min(o.m - row, kPackedRows), o.k, o.out + row * o.n + i, o.n, scratch.get()});
      }
  });
}

/// Float activations. Weights that have no float kernel are decoded a row at a time.
void float_linear(ThreadPool& pool, Operands o) {
  if (o.k > 0 && floats_have_panels(o.w))
    if (const Panels* const panels = panels_unless_new(o.w, pool)) {
      o.rows = panels->data();
      o.row_bytes = bytes_of(o.w.dtype(), o.k);
    }
  if (const auto many = isa().linear_packed[static_cast<size_t>(o.w.dtype())];
      many && o.m >= kManyRows && o.k > 0)
    return packed_linear(pool, o, many);
  const auto kernel = isa().linear_float[static_cast<size_t>(o.w.dtype())];
  each_range(pool, o, o.m > 1, [&](int64_t begin, int64_t end) {
    FloatLinear a{weight_row(o, begin), o.row_bytes, end - begin, o.x, o.k, o.m, o.k, o.out + begin, o.n};
    if (kernel) return kernel(a);
    std::vector<float> row(static_cast<size_t>(o.k));
    a.w = reinterpret_cast<const std::byte*>(row.data());
    a.n = 1;
    for (int64_t i = begin; i < end; ++i) {
      decode_row(o.w.dtype(), weight_row(o, i), row.data(), o.k);
      a.out = o.out + i;
      isa().linear_float[static_cast<size_t>(DType::f32)](a);
    }
  });
}

/// Memory for activations rounded to 8 bits.
class Rounded {
 public:
  Rounded(int64_t m, int64_t k, bool in_words) {
    const auto n = static_cast<size_t>(m * (k / 32));
    quants_.reset(new int8_t[static_cast<size_t>(m * k)]);
    scales_.reset(new float[2 * n]);
    sums_.reset(new Q8Rows::Sums[n]);
    if (in_words && m >= isa().q8_group) words_.reset(new int16_t[static_cast<size_t>(m * k)]);
    rows = {quants_.get(), scales_.get(), scales_.get() + n, sums_.get(), m, k, isa().q8_group, words_.get()};
  }
  Q8Rows rows{};

 private:
  std::unique_ptr<int8_t[]> quants_;
  std::unique_ptr<int16_t[]> words_;
  std::unique_ptr<float[]> scales_;
  std::unique_ptr<Q8Rows::Sums[]> sums_;
};

/// Activations rounded to 8 bits per block of 32. Rows that hold NaN or infinity are not rounded, so that
/// those come out where they would.
void q8_linear(ThreadPool& pool, const Operands& o, void (*kernel)(const Q8Linear&)) {
  const Rounded rounded(o.m, o.k, isa().q8_in_words[static_cast<size_t>(o.w.dtype())]);
  std::vector<uint8_t> finite(static_cast<size_t>(o.m));
  pool.parallel_for(o.m, std::max<int64_t>(1, kGrain / o.k), [&](int64_t begin, int64_t end) {
    for (int64_t r = begin; r < end; ++r)
      finite[static_cast<size_t>(r)] = isa().quantize_row(o.x + r * o.k, rounded.rows, r);
  });
  const Panels* const panels = panels_unless_new(o.w, pool);
  const int64_t panel_bytes = panel_bytes_of(o.w);
  each_range(
      pool, o, o.m > 1 || panels == nullptr, [&](int64_t begin, int64_t end) {  // begin is a multiple of 16
        thread_local std::vector<std::byte> packed;
        const std::byte* range = nullptr;
        if (panels != nullptr) {
          range = panels->data() + begin / kPanelRows * panel_bytes;
        } else {
          constexpr size_t kLine = 64;  // where panels begin
          const auto bytes = static_cast<size_t>((end - begin + kPanelRows - 1) / kPanelRows * panel_bytes);
          packed.resize(bytes + kLine);
          size_t space = packed.size();
          void* at = packed.data();
          pack_panels(o.w, begin, end - begin, static_cast<std::byte*>(std::align(kLine, bytes, at, space)));
          range = static_cast<const std::byte*>(at);
        }
        kernel({range, panel_bytes, end - begin, rounded.rows, o.out + begin, o.n});
      });
  for (int64_t r = 0; r < o.m; ++r)
    if (!finite[static_cast<size_t>(r)])
      float_linear(pool, {o.x + r * o.k, 1, o.k, o.n, o.w, o.rows, o.row_bytes, o.out + r * o.n});
}

/// A matrix whose rows lie in one piece each: a transposed view is copied.
Tensor with_whole_rows(const Tensor& t) {
  return t.shape()[1] <= 1 || t.strides()[1] == 1 ? t : converted(t, t.dtype());
}

}  // namespace

void linear(const KernelArgs& args) {
  const Tensor& x = args.in[0];
  const auto [m, k] = rows_of(x);
  const Tensor w = with_whole_rows(args.in[1]);
  const int64_t n = w.shape()[0];
  if (args.out.elements() == 0) return;
  const int64_t row_bytes = bytes_of(w.dtype(), w.strides()[0]);
  const Operands o{x.data<float>(), k ? m : args.out.elements() / n, k, n, w, w.bytes(),
                   row_bytes,       args.out.data<float>()};
  const auto q8 = isa().linear_q8[static_cast<size_t>(w.dtype())];
  if (q8 && k > 0 && args.activations == Activations::q8)
    q8_linear(args.pool, o, q8);
  else
    float_linear(args.pool, o);
  if (args.in.size() < 3) return;
  const float* bias = args.in[2].data<float>();
  for (int64_t r = 0; r < o.m; ++r) isa().add_row(bias, o.out + r * n, n);
}

namespace {

/// A row of a mapped table that is touched brings its neighbours into memory, 64 KiB in all: after a few
/// hundred tokens the whole table would stand there. Its pages are given back after so many rows.
constexpr int64_t kRowsKept = 64;

void give_back_rows(const Tensor& table, int64_t n) {
  static std::atomic<int64_t> touched = 0;
  if (!table.storage()->give_back || touched.fetch_add(n) + n < kRowsKept) return;
  touched = 0;
  table.storage()->give_back(
      table.bytes(), static_cast<size_t>(bytes_of(table.dtype(), table.shape()[0] * table.strides()[0])));
}

}  // namespace

void embedding(const KernelArgs& args) {
  const Tensor table = with_whole_rows(args.in[0]);
  const Tensor& ids = args.in[1];
  const int64_t width = table.shape()[1], n = ids.elements();
  const int64_t row_bytes = bytes_of(table.dtype(), table.strides()[0]);
  args.pool.parallel_for(
      n, std::max<int64_t>(1, kGrain / std::max<int64_t>(1, width)), [&](int64_t begin, int64_t end) {
        for (int64_t r = begin; r < end; ++r) {
          const int64_t id = load_int(ids, r);
          if (id < 0 || id >= table.shape()[0])
            throw Error(fmt::format("[embedding] id {} is out of range for the table {}: expected 0 to {}",
                                    id, to_string(table.shape()), table.shape()[0] - 1));
          decode_row(table.dtype(), table.bytes() + id * row_bytes, args.out.data<float>() + r * width,
                     width);
        }
      });
  // Where a product reads the same table as it lies, its pages stay.
  if (floats_have_panels(table) || (is_quantised(table.dtype()) && args.activations == Activations::q8))
    give_back_rows(table, n);
}

}  // namespace tl::cpu
