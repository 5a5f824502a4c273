#include "backend/cpu/matrix_packing.h"

#include <algorithm>
#include <cstring>

#include "backend/cpu/isa.h"

namespace tl::cpu {

Lie lie_of(const int64_t* offsets, int64_t n) {
  bool is_inside = true, is_run = true;
  for (int64_t i = 0; i < n; ++i) {
    is_inside = is_inside && offsets[i] != kOutside;
    is_run = is_run && offsets[i] == offsets[0] + i;
  }
  return !is_inside ? Lie::anyhow : is_run ? Lie::run : Lie::inside;
}

std::vector<Lie> lies_of(const std::vector<int64_t>& offsets, int64_t width) {
  const auto n = static_cast<int64_t>(offsets.size());
  std::vector<Lie> lies;
  for (int64_t i = 0; i < n; i += width) lies.push_back(lie_of(offsets.data() + i, std::min(width, n - i)));
  return lies;
}

bool is_even(const int64_t* offsets, int64_t n) {
  if (std::find(offsets, offsets + n, kOutside) != offsets + n) return false;
  for (int64_t i = 2; i < n; ++i)
    if (offsets[i] - offsets[i - 1] != offsets[1] - offsets[0]) return false;
  return true;
}

namespace {

/// One panel of a source.
struct Panel {
  const Source& s;
  const int64_t* across;
  int64_t n;  ///< lanes that exist
  float* to;

  /// Lanes next to each other, of as many panels as follow each other so: what lies together is read
  /// together. The lanes behind them are asked for: they may lie in as many pages as there are inner indices.
  template <int64_t width>
  void copy(int64_t panels) const {
    constexpr size_t kBytes = width * sizeof(float);
    const float* line = s.data + across[0];
    const int64_t step = width * s.n_inner;
    float* out = to;
    for (int64_t p = 0; p < s.n_inner; ++p, out += width) {
      if (s.inner[p] == kOutside) {
        for (int64_t i = 0; i < panels; ++i) std::memset(out + i * step, 0, kBytes);
        continue;
      }
      const float* from = line + s.inner[p];
      for (int64_t i = 0; i < panels; ++i) {
        __builtin_prefetch(from + (panels + i) * width);
        std::memcpy(out + i * step, from + i * width, kBytes);
      }
    }
  }

  /// The same for fewer lanes than a panel has. What lies behind them is copied too, as far as it is of the
  /// operand: nobody reads it.
  template <int64_t width>
  void copy_some() const {
    const float* line = s.data + across[0];
    const int64_t last = *std::max_element(s.inner, s.inner + s.n_inner);
    float* out = to;
    for (int64_t p = 0; p < s.n_inner; ++p, out += width) {
      if (s.inner[p] == kOutside)
        std::memset(out, 0, width * sizeof(float));
      else if (s.inner[p] + width <= last + n)
        std::memcpy(out, line + s.inner[p], width * sizeof(float));
      else
        std::copy_n(line + s.inner[p], n, out);
    }
  }

  /// Lanes anyhow, inner indices from p to end each for itself.
  void gather(int64_t p, int64_t end, int64_t width, bool all_inside) const {
    float* out = to + p * width;
    for (; p < end; ++p, out += width) {
      if (s.inner[p] == kOutside) {
        std::fill_n(out, n, 0.0f);
        continue;
      }
      const float* line = s.data + s.inner[p];
      if (all_inside)
        for (int64_t l = 0; l < n; ++l) out[l] = line[across[l]];
      else
        for (int64_t l = 0; l < n; ++l)
          if (across[l] != kOutside) out[l] = line[across[l]];
    }
  }

  /// Inner indices that go up by one, `k` from p on.
  void turn(int64_t p, int64_t k, int64_t width) const {
    const float* first = s.data + s.inner[p];
    float* out = to + p * width;
    const float* lanes[8];
    const int64_t ahead = width * (n > 1 ? across[1] - across[0] : 0);
    for (int64_t l = 0; l < n; l += 8) {  // lanes beyond the panel's are overwritten by what is next
      for (int64_t i = 0; i < 8; ++i) lanes[i] = first + across[std::min(l + i, n - 1)];
      isa().pack_lanes(lanes, k, width, ahead, out + l);
    }
  }

  /// Lanes inside the operand: whole stretches of inner indices that go up by one are turned.
  void by_stretches(int64_t width, bool is_one_stretch) const {
    if (is_one_stretch) return turn(0, s.n_inner, width);
    constexpr int64_t kWorthTurning = 8;
    for (int64_t p = 0; p < s.n_inner;) {
      int64_t end = p + 1;
      while (end < s.n_inner && s.inner[p] != kOutside && s.inner[end] == s.inner[end - 1] + 1) ++end;
      if (end - p >= kWorthTurning)
        turn(p, end - p, width);
      else
        gather(p, end, width, true);
      p = end;
    }
  }
};

/// How many whole panels of the n lanes from the first on, of a few, have lanes next to each other. (Many
/// panels written at once would share too few lines of the L1 cache.)
template <int64_t width>
int64_t panels_in_run(const int64_t* across, const Lie* lies, int64_t n) {
  int64_t panels = 0;
  while (panels < kPanelsTogether && (panels + 1) * width <= n && lies[panels] == Lie::run &&
         across[panels * width] == across[0] + panels * width)
    ++panels;
  return panels;
}

template <int64_t width>
void pack_panels(const Source& s, int64_t n, float* to) {
  const bool is_one_stretch = lie_of(s.inner, s.n_inner) == Lie::run;
  for (int64_t i = 0, panels; i < n; i += panels * width, to += panels * width * s.n_inner) {
    const Panel panel{s, s.across + i, std::min(width, n - i), to};
    panels = panels_in_run<width>(panel.across, s.lies + i / width, n - i);
    if (panels > 0) {
      panel.template copy<width>(panels);
      continue;
    }
    panels = 1;
    const Lie lie = s.lies[i / width];
    if (lie == Lie::anyhow) {
      std::fill_n(to, s.n_inner * width, 0.0f);
      panel.gather(0, s.n_inner, width, false);
    } else if (lie == Lie::run && panel.n > 1) {
      panel.template copy_some<width>();
    } else {
      panel.by_stretches(width, is_one_stretch);
    }
  }
}

}  // namespace

void pack(const Source& source, int64_t n, int64_t width, float* to) {
  if (width == kGemmRows)
    pack_panels<kGemmRows>(source, n, to);
  else
    pack_panels<kGemmColumns>(source, n, to);
}

}  // namespace tl::cpu
