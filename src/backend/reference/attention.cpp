// Rotary position embedding and attention.
#include <cmath>
#include <limits>

#include <fmt/format.h>

#include "backend/reference/kernels.h"
#include "backend/reference/strided.h"

namespace tl::reference {

void rope(const KernelArgs& args) {
  const Tensor &x = args.in[0], &out = args.out;
  const bool neox = args.attr<RopeAttrs>().style == RopeStyle::neox;
  const auto first = args.params.ints[0], n_rot = args.params.ints[1];
  const double base = args.params.floats[0], freq_scale = args.params.floats[1];
  std::vector<double> frequencies;  // radians per position
  for (int64_t i = 0; i < n_rot / 2; ++i) {
    const double factor = args.in.size() == 2 ? load_double(args.in[1], i * args.in[1].strides()[0]) : 1;
    frequencies.push_back(
        freq_scale * std::pow(base, -2.0 * static_cast<double>(i) / static_cast<double>(n_rot)) / factor);
  }

  const int last = x.rank() - 1, position_axis = x.rank() == 2 ? 0 : x.rank() - 3;
  const int64_t head_dim = x.shape().back();
  Shape position_strides = without(x.strides(), last);  // offsets that count positions
  for (int a = 0; a < last; ++a) position_strides[a] = a == position_axis;
  const Walk<3> over{without(x.shape(), last),
                     {without(out.strides(), last), without(x.strides(), last), position_strides}};
  over.each(args.pool, 16 * head_dim, [&](const auto& at) {
    std::vector<double> head(static_cast<size_t>(head_dim));
    load_run(x, at[1], x.strides()[last], head_dim, head.data());
    for (size_t i = 0; i < frequencies.size(); ++i) {
      const double angle = static_cast<double>(first + at[2]) * frequencies[i];
      double& a = head[neox ? i : 2 * i];
      double& b = head[neox ? i + frequencies.size() : 2 * i + 1];
      const double c = std::cos(angle), s = std::sin(angle), a0 = a;
      a = a0 * c - b * s;
      b = a0 * s + b * c;
    }
    store_run(out, at[0], out.strides()[last], head_dim, head.data());
  });
}

namespace {

/// A tensor with its axes renamed to (position, head, head_dim), and its blocks decoded.
Tensor ordered(Tensor t, const std::vector<int>& order) {
  if (is_quantised(t.dtype())) t = converted(t, DType::f64);
  Shape shape, strides;
  for (const int axis : order) shape.push_back(t.shape()[axis]), strides.push_back(t.strides()[axis]);
  return t.view(shape, strides);
}

std::vector<double> load_head(const Tensor& t, int64_t position, int64_t head) {
  std::vector<double> values(static_cast<size_t>(t.shape()[2]));
  load_run(t, position * t.strides()[0] + head * t.strides()[1], t.strides()[2], t.shape()[2], values.data());
  return values;
}

}  // namespace

void attention(const KernelArgs& args) {
  const auto& attrs = args.attr<AttentionAttrs>();
  const Tensor q = ordered(args.in[0], attrs.q_order), k = ordered(args.in[1], attrs.k_order);
  const Tensor v = ordered(args.in[2], attrs.v_order), out = ordered(args.out, attrs.out_order);
  const double scale = args.params.floats[0];
  const int64_t n_keys = k.shape()[0], n_heads = q.shape()[1];
  const auto visible = [&](int64_t i, int64_t j) {
    if (attrs.causal && j > i + args.params.ints[0]) return false;
    if (args.in.size() < 4) return true;
    const Tensor& mask = args.in[3];
    return load_int(mask, i * mask.strides()[0] + j * mask.strides()[1]) != 0;
  };

  args.pool.parallel_for(q.shape()[0] * n_heads, 1, [&](int64_t begin, int64_t end) {
    for (int64_t r = begin; r < end; ++r) {
      const int64_t i = r / n_heads, head = r % n_heads, kv_head = head / attrs.group;
      const std::vector<double> query = load_head(q, i, head);
      std::vector<double> scores(static_cast<size_t>(n_keys), -std::numeric_limits<double>::infinity());
      double most = -std::numeric_limits<double>::infinity();
      bool any = false;
      for (int64_t j = 0; j < n_keys; ++j) {
        if (!visible(i, j)) continue;
        const std::vector<double> key = load_head(k, j, kv_head);
        double dot = 0;
        for (size_t d = 0; d < query.size(); ++d) dot += query[d] * key[d];
        double& score = scores[static_cast<size_t>(j)];
        score = scale * dot;
        most = score > most ? score : most;  // a NaN reaches the result through the sum
        any = true;
      }
      if (!any) throw Error(fmt::format("[attention] query {} sees no key", i));
      std::vector<double> sums(static_cast<size_t>(v.shape()[2]));
      double total = 0;
      for (int64_t j = 0; j < n_keys; ++j) {
        if (!visible(i, j)) continue;
        const double weight = std::exp(scores[static_cast<size_t>(j)] - most);
        const std::vector<double> value = load_head(v, j, kv_head);
        for (size_t d = 0; d < sums.size(); ++d) sums[d] += weight * value[d];
        total += weight;
      }
      for (double& s : sums) s /= total;
      store_run(out, i * out.strides()[0] + head * out.strides()[1], out.strides()[2], v.shape()[2],
                sums.data());
    }
  });
}

}  // namespace tl::reference
