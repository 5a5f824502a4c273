// Quantised weights as the cpu backend's kernels want them: eight rows side by side, so that one vector holds
// the same four elements of eight rows and a dot product needs no sums across lanes.
//
// A panel is a row of panel blocks, one for every block of the eight rows. In a panel block, scales stand by
// row, and a run of bytes of one row's block (the nibbles, the high bits) is interleaved with those of the
// other rows in groups of four: byte 4 g + c of row r's run is at [g][4 r + c]. The bytes themselves are the
// block format's own (tensor/block_layouts.h), so a vector of quants is unpacked from them by the format's
// own shifts. 6-bit scales are widened to bytes: a panel takes the bytes of its eight rows, but for 3 to 4
// per cent more in Q3_K, Q4_K and Q5_K.
#pragma once

#include <stdint.h>

namespace tl::cpu {

constexpr int kPanelRows = 8;

struct PanelQ4_0 {
  uint16_t d[8];
  uint8_t qs[4][32];
};

struct PanelQ4_1 {
  uint16_t d[8], m[8];
  uint8_t qs[4][32];
};

struct PanelQ5_0 {
  uint16_t d[8];
  uint8_t qh[32];  ///< bit g of byte 4 r + c: the fifth bit of element 4 g + c of row r
  uint8_t qs[4][32];
};

struct PanelQ5_1 {
  uint16_t d[8], m[8];
  uint8_t qh[32];
  uint8_t qs[4][32];
};

struct PanelQ8_0 {
  uint16_t d[8];
  uint8_t qs[8][32];
};

struct PanelQ2K {
  uint16_t d[8], dmin[8];
  uint8_t scales[16][8], mins[16][8];
  uint8_t qs[2][8][32];
};

struct PanelQ3K {
  uint16_t d[8];
  int8_t scales[16][8];
  uint8_t hmask[8][32];
  uint8_t qs[2][8][32];
};

struct PanelQ4K {
  uint16_t d[8], dmin[8];
  uint8_t scales[8][8], mins[8][8];
  uint8_t qs[4][8][32];
};

struct PanelQ5K {
  uint16_t d[8], dmin[8];
  uint8_t scales[8][8], mins[8][8];
  uint8_t qh[8][32];
  uint8_t qs[4][8][32];
};

struct PanelQ6K {
  uint16_t d[8];
  int8_t scales[16][8];
  uint8_t ql[4][8][32];
  uint8_t qh[2][8][32];
};

}  // namespace tl::cpu
