// Random numbers that depend on (seed, index) alone, so that every backend and any number of threads give the
// same.
//
// The generator is Philox4x32-10: J. Salmon, M. Moraes, R. Dror, D. Shaw, "Parallel random numbers: as easy
// as 1, 2, 3", SC 2011. The seed is its key. Its counter is (block low, block high, stream, 0); a block gives
// four words, and value i comes from block i / 4.
#pragma once

#include <array>
#include <cmath>
#include <cstdint>
#include <numbers>

namespace tl {

/// The ten rounds of Philox4x32: four random words for a counter and a key.
constexpr std::array<uint32_t, 4> philox4x32(std::array<uint32_t, 4> counter, std::array<uint32_t, 2> key) {
  for (int round = 0; round < 10; ++round) {
    const uint64_t p0 = uint64_t{0xD2511F53u} * counter[0];
    const uint64_t p1 = uint64_t{0xCD9E8D57u} * counter[2];
    counter = {static_cast<uint32_t>(p1 >> 32) ^ counter[1] ^ key[0], static_cast<uint32_t>(p1),
               static_cast<uint32_t>(p0 >> 32) ^ counter[3] ^ key[1], static_cast<uint32_t>(p0)};
    key[0] += 0x9E3779B9u;  // the golden ratio
    key[1] += 0xBB67AE85u;  // sqrt(3) - 1
  }
  return counter;
}

/// Sequences of one seed that have nothing to do with one another.
enum class RandomStream : uint32_t { uniform = 0, normal = 1 };

/// The block of four words with values 4 * block … 4 * block + 3 of a stream.
constexpr std::array<uint32_t, 4> random_block(uint64_t seed, RandomStream stream, uint64_t block) {
  return philox4x32(
      {static_cast<uint32_t>(block), static_cast<uint32_t>(block >> 32), static_cast<uint32_t>(stream), 0},
      {static_cast<uint32_t>(seed), static_cast<uint32_t>(seed >> 32)});
}

/// Value i of the uniform stream, in [0, 1): a multiple of 2^-24, exact in float.
constexpr float random_uniform(uint64_t seed, uint64_t i) {
  return static_cast<float>(random_block(seed, RandomStream::uniform, i / 4)[i % 4] >> 8) * 0x1p-24f;
}

/// Value i of the normal stream, by the transform of G. Box and M. Muller, "A note on the generation of
/// random normal deviates", 1958: each pair of words gives two values. Computed in double and rounded once.
inline float random_normal(uint64_t seed, uint64_t i) {
  const auto words = random_block(seed, RandomStream::normal, i / 4);
  const size_t pair = i % 4 / 2 * 2;
  const double u = (words[pair] + 1.0) * 0x1p-32;  // in (0, 1], so that its logarithm is finite
  const double angle = 2 * std::numbers::pi * (words[pair + 1] * 0x1p-32);
  return static_cast<float>(std::sqrt(-2 * std::log(u)) * (i % 2 ? std::sin(angle) : std::cos(angle)));
}

}  // namespace tl
