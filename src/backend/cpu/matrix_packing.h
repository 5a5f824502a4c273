// How the operands of a matrix product lie, and their copies in the order in which its inner loops read them.
#pragma once

#include <cstdint>
#include <vector>

namespace tl::cpu {

/// The table entry of an index that is read outside the operand, where its value is 0.
constexpr int64_t kOutside = INT64_MIN;

/// How the entries of a panel's part of a table of offsets lie.
enum class Lie : uint8_t {
  anyhow,  ///< some may be outside
  inside,  ///< none is outside
  run,     ///< they go up by one
};

/// How the n entries from `offsets` on lie.
Lie lie_of(const int64_t* offsets, int64_t n);
/// The same for every panel of `width` entries of a table; the last may be shorter.
std::vector<Lie> lies_of(const std::vector<int64_t>& offsets, int64_t width);

/// Whether n entries lie inside the operand, evenly apart.
bool is_even(const int64_t* offsets, int64_t n);

/// One operand's element offsets: inner index by index across.
struct Source {
  const float* data;  ///< of the batch element
  const int64_t* inner;
  int64_t n_inner;
  const int64_t* across;
  const Lie* lies;  ///< of across, panel by panel
};

/// Panels that are packed together where their lanes lie next to each other.
constexpr int64_t kPanelsTogether = 4;

/// panel[p][l] = data[inner[p] + across[l]] in panels of `width` lanes (kGemmRows or kGemmColumns), one after
/// the other, for n lanes; what the lanes that the last panel lacks hold is left open. A panel of kGemmRows
/// may write two numbers beyond its end.
void pack(const Source& source, int64_t n, int64_t width, float* to);

}  // namespace tl::cpu
