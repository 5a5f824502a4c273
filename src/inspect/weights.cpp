#include "inspect/weights.h"

#include <algorithm>
#include <cmath>

#include <fmt/format.h>

#include "base/interrupt.h"
#include "tensor/blocks.h"

namespace tl::inspect {

namespace {

/// Sums over rows, which threads work on.
struct RowFindings {
  int64_t nan = 0, inf = 0, misdecoded = 0, elements = 0;
  double largest = 0, squares = 0, signal = 0, noise = 0;
  int64_t first_misdecoded = -1;

  void add(const RowFindings& other) {
    nan += other.nan, inf += other.inf, misdecoded += other.misdecoded, elements += other.elements;
    largest = std::max(largest, other.largest);
    squares += other.squares, signal += other.signal, noise += other.noise;
    if (first_misdecoded < 0) first_misdecoded = other.first_misdecoded;
  }
};

/// One row of a matrix, decoded both ways.
class RowReader {
 public:
  RowReader(const Tensor& t, int64_t width)
      : tensor_(t), exact_(static_cast<size_t>(width)), fast_(exact_.size()) {}

  void read(int64_t row) {
    const auto width = static_cast<int64_t>(exact_.size());
    decode_row(tensor_.dtype(), tensor_.at(row * width), exact_.data(), width);
    decode_row(tensor_.dtype(), tensor_.at(row * width), fast_.data(), width);
  }
  const std::vector<double>& exact() const { return exact_; }
  const std::vector<float>& fast() const { return fast_; }

 private:
  const Tensor& tensor_;
  std::vector<double> exact_;
  std::vector<float> fast_;
};

/// A scale times a number and perhaps a minimum: three float32 roundings of terms that may cancel, so
/// relative to the block's largest magnitude.
constexpr double kDecoding = 3 * 0x1p-24;

/// `block` elements share scales.
RowFindings look_at(const RowReader& row, int64_t first, size_t block) {
  RowFindings f;
  const auto& exact = row.exact();
  f.elements = static_cast<int64_t>(exact.size());
  for (size_t b = 0; b < exact.size(); b += block) {
    const size_t end = std::min(b + block, exact.size());
    double largest = 0;
    for (size_t i = b; i < end; ++i) {
      const double x = exact[i];
      f.nan += std::isnan(x), f.inf += std::isinf(x);
      if (!std::isfinite(x)) continue;
      largest = std::max(largest, std::fabs(x));
      f.squares += x * x;
    }
    for (size_t i = b; i < end; ++i) {
      const double off = std::fabs(row.fast()[i] - exact[i]);
      if (!std::isfinite(exact[i]) || off <= kDecoding * largest) continue;
      if (f.misdecoded++ == 0) f.first_misdecoded = first + static_cast<int64_t>(i);
    }
    f.largest = std::max(f.largest, largest);
  }
  return f;
}

void compare(RowFindings& f, const std::vector<double>& a, const std::vector<double>& b) {
  for (size_t i = 0; i < a.size(); ++i) {
    f.signal += b[i] * b[i];
    f.noise += (a[i] - b[i]) * (a[i] - b[i]);
  }
}

/// A tensor whose largest element is this many times its root mean square has a broken scale: of a million
/// normal numbers the largest is five times, and trained weights with their outliers stay below some
/// hundreds.
constexpr double kBrokenScale = 2000;

void judge(const RowFindings& f, const Tensor& t, WeightAudit& audit) {
  const double rms = std::sqrt(f.squares / static_cast<double>(std::max<int64_t>(1, f.elements)));
  audit.outlier = rms > 0 ? f.largest / rms : 0;
  if (f.nan > 0) audit.faults.push_back(fmt::format("{} NaN", f.nan));
  if (f.inf > 0) audit.faults.push_back(fmt::format("{} infinite elements", f.inf));
  if (f.misdecoded > 0)
    audit.faults.push_back(
        fmt::format("{} elements decode to other values than their blocks define, the first at {}",
                    f.misdecoded, f.first_misdecoded));
  if (f.squares == 0 && f.nan + f.inf == 0 && t.elements() > 0) audit.faults.push_back("nothing but zeros");
  if (audit.outlier > kBrokenScale)
    audit.faults.push_back(fmt::format(
        "an element is {:.0f} times the root mean square: a block's scale is broken", audit.outlier));
}

}  // namespace

std::vector<WeightAudit> audit_weights(const ModelFile& file, const ModelFile* against, ThreadPool& pool,
                                       const std::function<void(uint64_t, uint64_t)>& progress) {
  std::vector<WeightAudit> audits;
  uint64_t done = 0;
  for (const TensorEntry& entry : file.tensors()) {
    check_interrupt();
    WeightAudit audit{entry.name, entry.dtype};
    const Tensor t = file.tensor(entry);
    Tensor other;
    if (against != nullptr) {
      const TensorEntry* found = against->find_tensor(entry.name);
      if (found == nullptr)
        audit.faults.push_back(fmt::format("{} has no tensor of this name", against->path()));
      else if (found->shape != entry.shape)
        audit.faults.push_back(fmt::format("{} here and {} in {}", to_string(entry.shape),
                                           to_string(found->shape), against->path()));
      else
        other = against->tensor(*found);
    }
    const int64_t width = t.rank() > 0 ? t.shape().back() : 1, n_rows = width > 0 ? t.elements() / width : 0;
    const bool is_number = is_float(t.dtype()) || is_quantised(t.dtype());
    std::vector<RowFindings> found(is_number ? static_cast<size_t>(n_rows) : 0);
    pool.parallel_for(static_cast<int64_t>(found.size()), 16, [&](int64_t begin, int64_t end) {
      RowReader row(t, width), other_row(other, width);
      for (int64_t r = begin; r < end; ++r) {
        row.read(r);
        auto& f = found[static_cast<size_t>(r)];
        f = look_at(row, r * width, static_cast<size_t>(info(t.dtype()).block_elements));
        if (!other) continue;
        other_row.read(r);
        compare(f, row.exact(), other_row.exact());
      }
    });
    RowFindings all;
    for (const RowFindings& f : found) all.add(f);
    if (is_number) judge(all, t, audit);
    if (other && is_number) audit.snr = 10 * std::log10(all.signal / all.noise);
    audits.push_back(std::move(audit));
    done += entry.bytes;
    if (progress) progress(done, file.tensor_bytes());
  }
  return audits;
}

}  // namespace tl::inspect
