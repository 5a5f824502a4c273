// Quantised weights as the cpu backend's kernels want them: eight rows side by side, so that one vector holds
// the same four elements of eight rows and a dot product needs no sums across lanes.
//
// A panel is a row of groups of four panel blocks (the last group may be cut short), a panel block for every
// block of the eight rows. A group begins with the floats of its blocks, those of one block by row: they fill
// whole cache lines, so that no vector of a panel block lies in two. In a panel block, a run of bytes of one
// row's block (the nibbles, the high bits) is interleaved with those of the other rows in groups of four:
// byte 4 g + c of row r's run is at [g][4 r + c]. The bytes themselves are the block format's own
// (tensor/block_layouts.h) but for Q6_K, so a vector of quants is unpacked from them by the format's own
// shifts. Integer scales are bytes: scale s of row r is at [s / 4][4 r + s % 4]. A panel takes the bytes of
// its eight rows, but for 3 to 4 per cent more in Q3_K, Q4_K and Q5_K, whose scales have 6 bits, and the
// floats that a last group lacks.
#pragma once

#include <stdint.h>

namespace tl::cpu {

constexpr int kPanelRows = 8;

struct PanelScale {
  uint16_t d[8];
};

struct PanelScaleMin {
  uint16_t d[8], m[8];
};

struct PanelQ4_0 {
  using Floats = PanelScale;
  uint8_t qs[4][32];
};

struct PanelQ4_1 {
  using Floats = PanelScaleMin;
  uint8_t qs[4][32];
};

struct PanelQ5_0 {
  using Floats = PanelScale;
  uint8_t qh[32];  ///< bit g of byte 4 r + c: the fifth bit of element 4 g + c of row r
  uint8_t qs[4][32];
};

struct PanelQ5_1 {
  using Floats = PanelScaleMin;
  uint8_t qh[32];
  uint8_t qs[4][32];
};

struct PanelQ8_0 {
  using Floats = PanelScale;
  uint8_t qs[8][32];
};

struct PanelQ2K {
  using Floats = PanelScaleMin;
  uint8_t scales[4][32], mins[4][32];
  uint8_t qs[2][8][32];
};

struct PanelQ3K {
  using Floats = PanelScale;
  int8_t scales[4][32];
  uint8_t hmask[8][32];
  uint8_t qs[2][8][32];
};

struct PanelQ4K {
  using Floats = PanelScaleMin;
  uint8_t scales[2][32], mins[2][32];
  uint8_t qs[4][8][32];
};

struct PanelQ5K {
  using Floats = PanelScaleMin;
  uint8_t scales[2][32], mins[2][32];
  uint8_t qh[8][32];
  uint8_t qs[4][8][32];
};

struct PanelQ6K {
  using Floats = PanelScale;
  int8_t scales[4][32];
  /// Of each half, vector i of run g: the quants of block i < 3 in the low six bits, above them two bits of
  /// those of block 3, its highest first.
  uint8_t qs[2][8][3][32];
};

constexpr int kPanelGroup = 4;

template <class Panel>
struct PanelGroup {
  typename Panel::Floats floats[kPanelGroup];
  Panel blocks[kPanelGroup];  ///< in the last group no more than there are
};

}  // namespace tl::cpu
