#include "backend/cuda/row_fusion.h"

#include <algorithm>
#include <cstring>

#include "backend/cuda/joined_row.cuh"

namespace tl::cuda {

namespace {

RowOperation operation_of(const LaunchList& list, const LaunchList::Launch& launch) {
  static const RowMeanings meanings = [] {
    RowMeanings all;
    tell_norms(all);
    tell_roundings(all);
    tell_products(all);
    tell_rotations(all);
    tell_appends(all);
    tell_binary(all);
    return all;
  }();
  const auto found = meanings.find(launch.kernel);
  return found == meanings.end() ? RowOperation() : found->second(list, launch);
}

/// Whether 16 bytes can be read there at once.
bool aligned(const void* memory) { return reinterpret_cast<uintptr_t>(memory) % 16 == 0; }

/// Takes operations as long as one kernel can do them all.
class Joiner {
 public:
  /// Whether the operation became a part of what is joined; if not, it starts something new.
  bool take(const RowOperation& operation) {
    return std::visit([this](const auto& o) { return add(o); }, operation);
  }
  /// Whether what was taken is worth a launch, and may be done at once.
  bool complete() const { return row_.n_parts > 0 && (!row_.gated || row_.n_parts == 2) && !clash(); }
  const JoinedRow& row() const { return row_; }

 private:
  using Part = JoinedRow::Part;
  using Place = JoinedRow::Place;
  static constexpr int64_t kMost = 1 << 30;  ///< rows of a weight

  bool add(std::monostate) { return false; }

  bool add(const RowNorm& norm) {
    if (begun_ || norm.n % 4 != 0 || !aligned(norm.x) || !aligned(norm.weight) || !aligned(norm.out))
      return false;
    begin(norm.n, norm.x);
    row_.normed = true;
    row_.norm_weight = norm.weight;
    row_.eps = norm.eps;
    write(row_.normed_out, norm.out, norm.n);
    input_ = norm.out;
    return true;
  }

  bool add(const RowRounding& rounding) {
    if (row_.n_parts > 0 || row_.quants != nullptr || rounding.n % 32 != 0 || !aligned(rounding.x))
      return false;
    if (!begun_) begin(rounding.n, rounding.x);
    if (rounding.n != row_.k || rounding.x != input_) return false;
    write(row_.quants, rounding.quants, 2 * rounding.n);
    write(row_.scales, rounding.scales, rounding.n / 32);
    write(row_.sums, rounding.sums, rounding.n / 16);
    input_ = rounding.quants;
    return true;
  }

  bool add(const RowProduct& product) {
    const bool rounded = is_quantised(product.w.dtype);
    if (!begun_ && !rounded) begin(product.k, static_cast<const float*>(product.x));
    if (product.x != input_ || product.k != row_.k || rounded != (row_.quants != nullptr)) return false;
    if (row_.n_parts == JoinedRow::kMostParts || row_.gated || row_.addend != nullptr) return false;
    if (row_.n_parts > 0 && product.w.dtype != row_.weights) return false;
    if (!can_join(product.w.dtype, rounded, product.k) || product.n > kMost) return false;
    row_.weights = product.w.dtype;
    Part& part = row_.parts[row_.n_parts++];
    std::copy(product.w.data, product.w.data + kMaxFields, part.data);
    part.stride = product.stride;
    part.n = static_cast<int>(product.n);
    part.bias = product.bias;
    part.units = (part.n + 1) / 2;
    row_.units += part.units;
    write(part.out, product.out, product.n);
    result_[row_.n_parts - 1] = product.out;
    return true;
  }

  bool add(const RowRotation& rotation) {
    const int part = part_with(rotation.x);
    Rope rope = rotation.rope;
    if (part < 0 || rope.heads * rope.head_dim != row_.parts[part].n || rope.head_dim % 2 != 0 ||
        rope.half > JoinedRow::kMostPairs)
      return false;
    Place& place = row_.places[part];
    if (place.position != nullptr || place.row != nullptr || !plain_so_far()) return false;
    place.position = rope.first;
    // One rotation for all: they may differ in their number of heads and in where their position lies.
    rope.first = nullptr;
    rope.rows = rope.heads = 0;
    if (turns_ && std::memcmp(&rope, &row_.rope, sizeof rope) != 0) return place.position = nullptr, false;
    turns_ = true;
    row_.rope = rope;
    write(place.rotated_out, rotation.out, row_.parts[part].n);
    result_[part] = rotation.out;
    return true;
  }

  bool add(const RowAppend& append) {
    const int part = part_with(append.x);
    if (part < 0 || append.n != row_.parts[part].n || !plain_so_far()) return false;
    Place& place = row_.places[part];
    if (place.row != nullptr) return false;
    appends_ = true;
    place.cache = append.to;
    place.row = append.row;
    place.row_stride = append.row_stride;
    return true;
  }

  bool add(const RowGate& gate) {
    if (row_.n_parts != 2 || !plain_so_far() || turns_ || appends_ || row_.parts[0].n != row_.parts[1].n ||
        row_.parts[0].n != gate.n || result_[0] == result_[1])
      return false;
    if (result_[0] == gate.up && result_[1] == gate.gate) {
      std::swap(row_.parts[0], row_.parts[1]);
      std::swap(result_[0], result_[1]);
      moved();
    }
    if (result_[0] != gate.gate || result_[1] != gate.up) return false;
    row_.gated = true;
    row_.units = static_cast<int>(gate.n);
    write(row_.result, gate.out, gate.n);
    return true;
  }

  bool add(const RowSum& sum) {
    if (row_.n_parts != 1 || !plain_so_far() || turns_ || appends_ || row_.parts[0].n != sum.n) return false;
    if ((sum.a == result_[0]) == (sum.b == result_[0])) return false;
    row_.addend = sum.a == result_[0] ? sum.b : sum.a;
    write(row_.result, sum.out, sum.n);
    return true;
  }

  void begin(int64_t k, const float* x) {
    begun_ = true;
    row_.k = static_cast<int>(k);
    row_.x = x;
    input_ = x;
  }
  bool plain_so_far() const { return !row_.gated && row_.addend == nullptr; }
  /// The last product whose result (rotated, where it is) lies there, or -1.
  int part_with(const float* result) const {
    for (int i = row_.n_parts; i-- > 0;)
      if (result_[i] == result) return i;
    return -1;
  }

  /// A range of memory that the joined launch writes.
  struct Written {
    void** place;  ///< where the row names it
    const std::byte* begin;
    int64_t bytes;
  };

  /// Has a result written. Memory that holds one already was handed out again: nobody reads that any more.
  template <class T>
  void write(T*& place, T* memory, int64_t n) {
    const auto* begin = reinterpret_cast<const std::byte*>(memory);
    std::erase_if(written_, [&](const Written& w) {
      if (w.begin == begin) *w.place = nullptr;
      return w.begin == begin;
    });
    place = memory;
    written_.push_back({reinterpret_cast<void**>(&place), begin, n * static_cast<int64_t>(sizeof(T))});
  }
  /// Parts 0 and 1 changed places.
  void moved() {
    for (Written& w : written_) {
      if (w.place == reinterpret_cast<void**>(&row_.parts[0].out))
        w.place = reinterpret_cast<void**>(&row_.parts[1].out);
      else if (w.place == reinterpret_cast<void**>(&row_.parts[1].out))
        w.place = reinterpret_cast<void**>(&row_.parts[0].out);
    }
  }

  /// Whether something is written that is read, or written twice: blocks of one kernel have no order.
  bool clash() const {
    const auto overlaps = [](const Written& w, const void* memory, int64_t bytes) {
      const auto* begin = static_cast<const std::byte*>(memory);
      return begin < w.begin + w.bytes && w.begin < begin + bytes;
    };
    const bool own_sum = row_.addend == row_.result;  // each element is read where it is written
    for (size_t i = 0; i < written_.size(); ++i) {
      const Written& w = written_[i];
      if (overlaps(w, row_.x, int64_t{row_.k} * 4) || overlaps(w, row_.norm_weight, int64_t{row_.k} * 4))
        return true;
      if (row_.addend != nullptr && !own_sum && overlaps(w, row_.addend, int64_t{row_.parts[0].n} * 4))
        return true;
      for (size_t j = 0; j < i; ++j)
        if (overlaps(w, written_[j].begin, written_[j].bytes)) return true;
    }
    return false;
  }

  bool begun_ = false, turns_ = false, appends_ = false;
  JoinedRow row_{};
  const void* input_ = nullptr;  ///< what products read
  const float* result_[JoinedRow::kMostParts] = {};
  std::vector<Written> written_;
};

}  // namespace

LaunchList with_joined_rows(const LaunchList& list) {
  LaunchList result;
  const auto& launches = list.launches();
  for (size_t i = 0; i < launches.size();) {
    Joiner joiner;
    JoinedRow row;
    size_t end = i + 1;  // of the longest run that can be joined
    for (size_t next = i; next < launches.size() && joiner.take(operation_of(list, launches[next])); ++next) {
      if (!joiner.complete()) continue;
      row = joiner.row();
      end = next + 1;
    }
    if (end > i + 1)
      add_joined_row(result, row);
    else
      result.add(list, launches[i]);
    i = end;
  }
  return result;
}

}  // namespace tl::cuda
