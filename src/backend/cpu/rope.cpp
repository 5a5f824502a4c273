#include <cmath>
#include <optional>
#include <vector>

#include "backend/cpu/kernels.h"
#include "backend/cpu/strided.h"

namespace tl::cpu {

namespace {

/// What angles depend on.
struct Rotation {
  int64_t first, positions, half;
  double base, freq_scale;
  std::vector<double> factors;  ///< of the frequencies; empty: 1
  bool operator==(const Rotation&) const = default;

  Rotation(const KernelArgs& args, int64_t n)
      : first(args.params.ints[0]),
        positions(n),
        half(args.params.ints[1] / 2),
        base(args.params.floats[0]),
        freq_scale(args.params.floats[1]) {
    if (args.in.size() < 2) return;
    for (int64_t i = 0; i < half; ++i)
      factors.push_back(load_double(args.in[1], i * args.in[1].strides()[0]));
  }
};

/// Cosine and sine of every angle, [positions, half]. Angles are formed and reduced in double: at position
/// 1e6 a float angle would be wrong in its second decimal.
struct Angles {
  Rotation rotation;
  std::vector<float> cosine, sine;

  explicit Angles(const Rotation& r) : rotation(r) {
    std::vector<double> frequencies;  // radians per position
    for (int64_t i = 0; i < r.half; ++i) {
      const double factor = r.factors.empty() ? 1 : r.factors[static_cast<size_t>(i)];
      frequencies.push_back(r.freq_scale *
                            std::pow(r.base, -static_cast<double>(i) / static_cast<double>(r.half)) / factor);
    }
    for (int64_t p = 0; p < r.positions; ++p) {
      for (const double frequency : frequencies) {
        const double angle = static_cast<double>(r.first + p) * frequency;
        cosine.push_back(static_cast<float>(std::cos(angle)));
        sine.push_back(static_cast<float>(std::sin(angle)));
      }
    }
  }
};

/// The angles of a rotation. All layers of a model rotate by the same, so the last ones are kept.
const Angles& angles_of(const Rotation& rotation) {
  thread_local std::optional<Angles> last;
  if (!last || last->rotation != rotation) last.emplace(rotation);
  return *last;
}

}  // namespace

void rope(const KernelArgs& args) {
  const Tensor &x = args.in[0], &out = args.out;
  const bool neox = args.attr<RopeAttrs>().style == RopeStyle::neox;
  const int64_t n_rot = args.params.ints[1], half = n_rot / 2;
  const int position_axis = x.rank() == 2 ? 0 : x.rank() - 3;
  const int64_t positions = x.shape()[position_axis], heads = x.rank() == 2 ? 1 : x.shape()[x.rank() - 2];
  const auto [rows, head_dim] = rows_of(x);
  const Angles& angles = angles_of(Rotation(args, positions));
  const int64_t distance = neox ? half : 1, stride = neox ? 1 : 2;  // of the two of a pair, of pairs
  args.pool.parallel_for(rows, std::max<int64_t>(1, kGrain / head_dim),
                         [&, head_dim = head_dim](int64_t begin, int64_t end) {
                           for (int64_t r = begin; r < end; ++r) {
                             const float* from = x.data<float>() + r * head_dim;
                             float* to = out.data<float>() + r * head_dim;
                             const auto at = static_cast<size_t>(r / heads % positions * half);
                             for (int64_t i = 0; i < half; ++i) {
                               const float c = angles.cosine[at + static_cast<size_t>(i)],
                                           s = angles.sine[at + static_cast<size_t>(i)];
                               const float a = from[i * stride], b = from[i * stride + distance];
                               to[i * stride] = a * c - b * s;
                               to[i * stride + distance] = a * s + b * c;
                             }
                             std::copy(from + n_rot, from + head_dim, to + n_rot);
                           }
                         });
}

}  // namespace tl::cpu
