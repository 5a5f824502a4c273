#include "backend/cpu/panels.h"

#include <algorithm>
#include <cstring>
#include <map>
#include <mutex>
#include <optional>
#include <tuple>

#include "backend/cpu/memory.h"
#include "backend/cpu/panel_layouts.h"
#include "tensor/block_layouts.h"

namespace tl::cpu {

namespace {

/// Byte i of a run of row r goes to its place among the other rows' bytes.
template <size_t groups>
void interleave(const uint8_t* run, int r, uint8_t (&to)[groups][32]) {
  for (size_t g = 0; g < groups; ++g) std::memcpy(to[g] + 4 * r, run + 4 * g, 4);
}

/// 32 bits of a row, bit 4 g + c for element 4 g + c.
void interleave_bits(const uint8_t* bits, int r, uint8_t (&to)[32]) {
  for (int c = 0; c < 4; ++c) {
    unsigned byte = 0;
    for (int g = 0; g < 8; ++g) {
      const int element = 4 * g + c;
      byte |= (static_cast<unsigned>(bits[element / 8]) >> (element % 8) & 1u) << g;
    }
    to[4 * r + c] = static_cast<uint8_t>(byte);
  }
}

/// Scale s of row r.
template <class Byte, size_t fours>
Byte& scale_at(Byte (&scales)[fours][32], int s, int r) {
  return scales[s / 4][4 * r + s % 4];
}

// pack(block, r, floats, panel): a block of row r into its floats and its panel block.

void pack(const BlockQ4_0& b, int r, PanelScale& f, PanelQ4_0& p) {
  f.d[r] = b.d;
  interleave(b.qs, r, p.qs);
}

void pack(const BlockQ4_1& b, int r, PanelScaleMin& f, PanelQ4_1& p) {
  f.d[r] = b.d;
  f.m[r] = b.m;
  interleave(b.qs, r, p.qs);
}

void pack(const BlockQ5_0& b, int r, PanelScale& f, PanelQ5_0& p) {
  f.d[r] = b.d;
  interleave_bits(b.qh, r, p.qh);
  interleave(b.qs, r, p.qs);
}

void pack(const BlockQ5_1& b, int r, PanelScaleMin& f, PanelQ5_1& p) {
  f.d[r] = b.d;
  f.m[r] = b.m;
  interleave_bits(b.qh, r, p.qh);
  interleave(b.qs, r, p.qs);
}

void pack(const BlockQ8_0& b, int r, PanelScale& f, PanelQ8_0& p) {
  f.d[r] = b.d;
  interleave(reinterpret_cast<const uint8_t*>(b.qs), r, p.qs);
}

void pack(const BlockQ2K& b, int r, PanelScaleMin& f, PanelQ2K& p) {
  f.d[r] = b.d;
  f.m[r] = b.dmin;
  for (int s = 0; s < 16; ++s) {
    scale_at(p.scales, s, r) = b.scales[s] & 15;
    scale_at(p.mins, s, r) = static_cast<uint8_t>(b.scales[s] >> 4);
  }
  for (int half = 0; half < 2; ++half) interleave(b.qs + 32 * half, r, p.qs[half]);
}

void pack(const BlockQ3K& b, int r, PanelScale& f, PanelQ3K& p) {
  f.d[r] = b.d;
  for (int s = 0; s < 16; ++s) scale_at(p.scales, s, r) = static_cast<int8_t>(scale_q3k(b.scales, s));
  interleave(b.hmask, r, p.hmask);
  for (int half = 0; half < 2; ++half) interleave(b.qs + 32 * half, r, p.qs[half]);
}

template <class Block, class Panel>
void pack_k4(const Block& b, int r, PanelScaleMin& f, Panel& p) {
  f.d[r] = b.d;
  f.m[r] = b.dmin;
  for (int s = 0; s < 8; ++s) {
    const ScaleMin both = scale_min_k4(b.scales, s);
    scale_at(p.scales, s, r) = both.scale;
    scale_at(p.mins, s, r) = both.min;
  }
  for (int quarter = 0; quarter < 4; ++quarter) interleave(b.qs + 32 * quarter, r, p.qs[quarter]);
}

void pack(const BlockQ4K& b, int r, PanelScaleMin& f, PanelQ4K& p) { pack_k4(b, r, f, p); }

void pack(const BlockQ5K& b, int r, PanelScaleMin& f, PanelQ5K& p) {
  pack_k4(b, r, f, p);
  interleave(b.qh, r, p.qh);
}

void pack(const BlockQ6K& b, int r, PanelScale& f, PanelQ6K& p) {
  f.d[r] = b.d;
  for (int s = 0; s < 16; ++s) scale_at(p.scales, s, r) = b.scales[s];
  for (int half = 0; half < 2; ++half)
    for (int i = 0; i < 3; ++i) {
      uint8_t run[32];
      for (int l = 0; l < 32; ++l) {
        const unsigned low = b.ql[64 * half + 32 * (i % 2) + l], last = b.ql[64 * half + 32 + l];
        const unsigned high = b.qh[32 * half + l];
        const unsigned q = (low >> (i / 2 * 4) & 15u) | (high >> (2 * i) & 3u) << 4;
        const unsigned q3 = last >> 4 | (high >> 6) << 4;
        run[l] = static_cast<uint8_t>(q | (q3 >> (4 - 2 * i) & 3u) << 6);
      }
      for (int g = 0; g < 8; ++g) std::memcpy(p.qs[half][g][i] + 4 * r, run + 4 * g, 4);
    }
}

/// How a format is packed: bytes of a panel of so many blocks, and the rows [first, first + rows) of w into
/// one.
struct Packing {
  int64_t (*panel_bytes)(int64_t blocks);
  void (*panel)(const Tensor& w, int64_t first, int rows, std::byte* out);
};

template <class Panel>
int64_t panel_bytes(int64_t blocks) {
  const int64_t groups = (blocks + kPanelGroup - 1) / kPanelGroup;
  return groups * static_cast<int64_t>(sizeof(PanelGroup<Panel>::floats)) +
         blocks * static_cast<int64_t>(sizeof(Panel));
}

template <class Block, class Panel>
void pack_panel(const Tensor& w, int64_t first, int rows, std::byte* out) {
  auto* const groups = reinterpret_cast<PanelGroup<Panel>*>(out);
  const int64_t blocks = w.shape()[1] / info(w.dtype()).block_elements;
  if (rows < kPanelRows) std::memset(out, 0, static_cast<size_t>(panel_bytes<Panel>(blocks)));
  for (int r = 0; r < rows; ++r) {
    const auto* row = reinterpret_cast<const Block*>(w.at((first + r) * w.strides()[0]));
    for (int64_t b = 0; b < blocks; ++b) {
      PanelGroup<Panel>& group = groups[b / kPanelGroup];
      pack(row[b], r, group.floats[b % kPanelGroup], group.blocks[b % kPanelGroup]);
    }
  }
}

template <int64_t bytes>
int64_t bytes_of_rows(int64_t elements) {
  return kPanelRows * bytes * elements;
}

/// Floats stay as they lie, row after row.
template <int64_t bytes>
void copy_rows(const Tensor& w, int64_t first, int rows, std::byte* out) {
  const int64_t row_bytes = w.shape()[1] * bytes;
  for (int r = 0; r < rows; ++r)
    std::memcpy(out + r * row_bytes, w.at((first + r) * w.strides()[0]), static_cast<size_t>(row_bytes));
}

template <class Block, class Panel>
Packing packing() {
  return {panel_bytes<Panel>, pack_panel<Block, Panel>};
}

Packing packing_of(DType dtype) {
  switch (dtype) {
    case DType::q4_0:
      return packing<BlockQ4_0, PanelQ4_0>();
    case DType::q4_1:
      return packing<BlockQ4_1, PanelQ4_1>();
    case DType::q5_0:
      return packing<BlockQ5_0, PanelQ5_0>();
    case DType::q5_1:
      return packing<BlockQ5_1, PanelQ5_1>();
    case DType::q8_0:
      return packing<BlockQ8_0, PanelQ8_0>();
    case DType::q2_k:
      return packing<BlockQ2K, PanelQ2K>();
    case DType::q3_k:
      return packing<BlockQ3K, PanelQ3K>();
    case DType::q4_k:
      return packing<BlockQ4K, PanelQ4K>();
    case DType::q5_k:
      return packing<BlockQ5K, PanelQ5K>();
    case DType::q6_k:
      return packing<BlockQ6K, PanelQ6K>();
    case DType::f16:
    case DType::bf16:
      return {bytes_of_rows<2>, copy_rows<2>};
    case DType::f32:
      return {bytes_of_rows<4>, copy_rows<4>};
    default:
      TL_CHECK(false, "only weights are packed");
  }
}

/// A matrix is packed in pieces of this many bytes, so that no more of a file's pages stay beside the panels.
constexpr int64_t kPiece = int64_t{4} << 20;

/// What hangs at a storage: the panels of the tensors that lie in it, by where and what they are.
struct PanelsOfStorage {
  using Key = std::tuple<int64_t, DType, int64_t, int64_t, int64_t>;
  PanelMemory memory;
  std::map<Key, std::optional<Panels>> panels;  ///< nothing: asked for once

  static Key key_of(const Tensor& w) {
    return {w.byte_offset(), w.dtype(), w.shape()[0], w.shape()[1], w.strides()[0]};
  }
};

std::mutex panels_mutex;  // several sessions may share a model

PanelsOfStorage& panels_of_storage(const Tensor& w) {
  auto& attachment = w.storage()->attachment;
  if (!attachment) attachment = std::make_shared<PanelsOfStorage>();
  return *static_cast<PanelsOfStorage*>(attachment.get());
}

}  // namespace

std::shared_ptr<Storage> PanelMemory::take(size_t bytes) {
  // What is not touched of a chunk takes no memory; where one ends, the rest of a large page does.
  constexpr size_t kChunk = size_t{256} << 20, kLine = 64;
  const size_t needed = (bytes + kLine - 1) / kLine * kLine;
  if (!chunk_ || taken_ + needed > chunk_->bytes) {
    chunk_ = large_pages(std::max(needed, kChunk), "weights");
    taken_ = 0;
  }
  auto part = Storage::view(chunk_->data + taken_, bytes, chunk_);
  taken_ += needed;
  return part;
}

Panels::Panels(const Tensor& w, PanelMemory& memory, ThreadPool& pool) {
  const Packing packing = packing_of(w.dtype());
  const int64_t n = w.shape()[0];
  panel_bytes_ = panel_bytes_of(w);
  count_ = (n + kPanelRows - 1) / kPanelRows;
  storage_ = memory.take(static_cast<size_t>(count_ * panel_bytes_));
  const int64_t row_bytes = bytes_of(w.dtype(), w.strides()[0]);
  const int64_t piece = std::max<int64_t>(1, kPiece / std::max<int64_t>(1, kPanelRows * row_bytes));
  for (int64_t first = 0; first < count_; first += piece) {
    const int64_t last = std::min(count_, first + piece);
    pool.parallel_for(last - first, 16, [&](int64_t begin, int64_t end) {
      for (int64_t i = first + begin; i < first + end; ++i)
        packing.panel(w, kPanelRows * i, static_cast<int>(std::min<int64_t>(kPanelRows, n - kPanelRows * i)),
                      storage_->data + i * panel_bytes_);
    });
    // All that was read so far: pages at the seams of pieces go with the next one.
    if (w.storage()->give_back)
      w.storage()->give_back(w.bytes(), static_cast<size_t>(std::min(n, kPanelRows * last) * row_bytes));
  }
}

int64_t panel_bytes_of(const Tensor& w) {
  return packing_of(w.dtype()).panel_bytes(w.shape()[1] / info(w.dtype()).block_elements);
}

void pack_panels(const Tensor& w, int64_t first, int64_t n, std::byte* out) {
  const Packing packing = packing_of(w.dtype());
  const int64_t panel_bytes = panel_bytes_of(w);
  for (int64_t i = 0; i < n; i += kPanelRows, out += panel_bytes)
    packing.panel(w, first + i, static_cast<int>(std::min<int64_t>(kPanelRows, n - i)), out);
}

const Panels& panels_of(const Tensor& w, ThreadPool& pool) {
  const std::lock_guard lock(panels_mutex);
  auto& [memory, panels] = panels_of_storage(w);
  std::optional<Panels>& found = panels[PanelsOfStorage::key_of(w)];
  if (!found) found.emplace(w, memory, pool);
  return *found;
}

bool floats_have_panels(const Tensor& w) {
  // Fewer bytes gain nothing, and a program may take many parts of a matrix.
  constexpr int64_t kLeast = int64_t{2} << 20;
  return (w.dtype() == DType::f16 || w.dtype() == DType::bf16 || w.dtype() == DType::f32) &&
         w.storage()->give_back != nullptr && w.strides()[1] == 1 && w.strides()[0] == w.shape()[1] &&
         bytes_of(w.dtype(), w.elements()) >= kLeast;
}

const Panels* panels_unless_new(const Tensor& w, ThreadPool& pool) {
  {
    const std::lock_guard lock(panels_mutex);
    if (panels_of_storage(w).panels.try_emplace(PanelsOfStorage::key_of(w)).second) return nullptr;
  }
  return &panels_of(w, pool);
}

}  // namespace tl::cpu
