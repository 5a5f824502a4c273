// Cases of normalisations, rotary embedding and attention.
#include <cmath>

#include <fmt/format.h>

#include "ops/cases.h"

namespace tl::test {

namespace {

/// A mask that keeps the first element of every line along any axis, and about half of the others.
Tensor random_mask(Random& random, const Shape& shape) {
  const Tensor mask = random_tensor(random, DType::boolean, shape);
  for (int64_t i = 0; i < mask.elements(); ++i) {
    int64_t rest = i;
    for (int a = shape.rank() - 1; a >= 0; rest /= shape[a--])
      if (rest % shape[a] == 0) mask.data<uint8_t>()[i] = 1;
  }
  return mask;
}

void add_softmax_cases(Cases& cases) {
  for (const int64_t n : kSizes) {
    const Tensor x = random_tensor(cases.begin(), cases.base, {3, n});
    cases.add(Op::softmax, "", {x}, AxisAttrs{1});
    cases.add(Op::log_softmax, "", {x}, AxisAttrs{1});
    cases.add(Op::softmax, "masked", {x, random_mask(cases.begin(), {3, n})}, AxisAttrs{1});
  }
  for (const DType dtype : kFloats)
    for (const Layout layout : kLayouts)
      for (const int axis : {0, 1, 2}) {
        Random& random = cases.begin();
        const Tensor x = laid_out(random_tensor(random, dtype, {5, 9, 17}), layout);
        cases.add(Op::softmax, to_string(layout), {x}, AxisAttrs{axis});
        cases.add(Op::log_softmax, to_string(layout), {x}, AxisAttrs{axis});
        cases.add(Op::softmax, "masked " + to_string(layout),
                  {x, laid_out(random_mask(random, {5, 9, 17}), layout)}, AxisAttrs{axis});
        cases.add(Op::softmax, "mask broadcast", {x, laid_out(random_mask(random, {9, 17}), layout)},
                  AxisAttrs{axis == 0 ? 1 : axis});
      }
  // Without the shift by the maximum these would overflow.
  const Tensor large = uniform_tensor(cases.begin(), cases.base, {5, 33}, 900, 1000);
  for (const Op op : {Op::softmax, Op::log_softmax}) cases.add(op, "large", {large}, AxisAttrs{1});
}

void add_norms(Cases& cases) {
  const Params eps = {.floats = {1e-5}};
  const auto add = [&](DType dtype, Layout layout, const Shape& shape, const Params& params) {
    Random& random = cases.begin();
    const Tensor x = laid_out(random_tensor(random, dtype, shape), layout);
    const Tensor w = random_tensor(random, cases.base, {shape.back()}),
                 b = random_tensor(random, dtype, {shape.back()});
    cases.add(Op::rms_norm, to_string(layout), {x, laid_out(w, layout)}, {}, params);
    cases.add(Op::layer_norm, to_string(layout), {x, w, b}, {}, params);
    cases.add(Op::layer_norm, to_string(layout), {x, laid_out(b, layout)}, {}, params);
    cases.add(Op::rms_norm, "without weights", {x}, {}, params);
  };
  for (const int64_t n : kSizes) add(cases.base, Layout::contiguous, {5, n}, eps);
  add(cases.base, Layout::contiguous, {2, 3, 2048}, eps);
  for (const DType dtype : kFloats)
    for (const Layout layout : kLayouts) add(dtype, layout, {3, 5, 33}, eps);
  // Values so small, and eps so large, that forgetting eps shows.
  Random& random = cases.begin();
  const Tensor small = uniform_tensor(random, cases.base, {4, 65}, -1e-3, 1e-3),
               w = random_tensor(random, cases.base, {65});
  for (const double e : {1e-6, 1e-5, 0.3}) {
    cases.add(Op::rms_norm, "small values", {small, w}, {}, {.floats = {e}});
    cases.add(Op::layer_norm, "small values", {small, w}, {}, {.floats = {e}});
  }
}

void add_rope_cases(Cases& cases) {
  for (const RopeStyle style : {RopeStyle::norm, RopeStyle::neox})
    for (const int64_t head_dim : {2, 6, 16, 30, 64, 66, 128})
      for (const int64_t n_rot : {head_dim, head_dim / 4 * 2})
        for (const int64_t first : {0, 7, 300, 4000})
          for (const bool factors : {false, true}) {
            if (n_rot < 2) continue;
            Random& random = cases.begin();
            const Layout layout = kLayouts[random.bits() % 4];
            const DType dtype = kFloats[random.bits() % 4];
            std::vector<Tensor> in = {laid_out(random_tensor(random, dtype, {5, 3, head_dim}), layout)};
            if (factors)
              in.push_back(laid_out(uniform_tensor(random, DType::f32, {n_rot / 2}, 1, 8), layout));
            const double base = first == 7 ? 500000.0 : 10000.0, freq_scale = first == 300 ? 0.25 : 1.0;
            cases.add(Op::rope,
                      fmt::format("{} {}", style == RopeStyle::neox ? "neox" : "norm", to_string(layout)), in,
                      RopeAttrs{style}, {.ints = {first, n_rot}, .floats = {base, freq_scale}});
          }
  Random& random = cases.begin();
  for (const Shape& shape : {Shape{17, 64}, Shape{2, 9, 3, 64}, Shape{1, 32, 64}, Shape{33, 9, 64}})
    cases.add(Op::rope, "shape", {random_tensor(random, cases.base, shape)}, RopeAttrs{},
              {.ints = {250, 64}, .floats = {10000.0, 1.0}});
}

struct AttentionShape {
  int64_t queries, keys, kv_heads, group, k_dim, v_dim;
};

void add_attention(Cases& cases, const AttentionShape& s, DType query_type, DType cache_type, int form,
                   bool causal, bool masked, Activations activations = Activations::float32,
                   double scale = 0.37) {
  Random& random = cases.begin();
  // The axes of (position, head, head_dim) in each tensor: as the model programs have them, and others.
  const std::vector<int> orders[] = {{0, 1, 2}, {1, 0, 2}, {2, 0, 1}};
  const std::vector<int>&q = orders[form % 3], &k = orders[(form + form / 3) % 3], &v = orders[form / 2 % 3],
        &out = orders[form / 3 % 3];
  const auto tensor = [&](DType dtype, const std::vector<int>& order, int64_t n, int64_t heads, int64_t dim) {
    Shape shape{0, 0, 0};
    shape[order[0]] = n, shape[order[1]] = heads, shape[order[2]] = dim;
    if (is_quantised(dtype)) return random_weights(random, dtype, shape);
    return laid_out(random_tensor(random, dtype, shape), kLayouts[form % 4]);
  };
  const int64_t heads = s.kv_heads * s.group;
  const Tensor queries = tensor(query_type, q, s.queries, heads, s.k_dim),
               keys = tensor(cache_type, k, s.keys, s.kv_heads, s.k_dim);
  std::vector<Tensor> in = {queries, keys, tensor(cache_type, v, s.keys, s.kv_heads, s.v_dim)};
  if (masked) in.push_back(laid_out(random_mask(random, {s.queries, s.keys}), kLayouts[form % 4]));
  const AttentionAttrs attrs{q, k, v, out, s.group, causal};
  const int64_t pos = std::max<int64_t>(0, s.keys - s.queries - (form % 2) * 3);
  cases.add(Op::attention, fmt::format("form {}{}{}", form, causal ? " causal" : "", masked ? " masked" : ""),
            in, attrs, {.ints = {pos}, .floats = {scale / std::sqrt(static_cast<double>(s.k_dim))}},
            activations);
}

}  // namespace

void add_norm_cases(Cases& cases) {
  add_softmax_cases(cases);
  add_norms(cases);
  add_rope_cases(cases);
}

void add_attention_cases(Cases& cases) {
  // Grouped heads; keys around the tile of 64; queries around a block of 8; head_dim around the vector width.
  const AttentionShape shapes[] = {{1, 1, 1, 1, 1, 1},      {1, 17, 3, 3, 16, 16},  {5, 5, 2, 3, 64, 64},
                                   {9, 63, 2, 1, 7, 9},     {3, 64, 1, 4, 8, 33},   {2, 65, 3, 2, 17, 8},
                                   {17, 33, 1, 2, 15, 31},  {1, 300, 2, 4, 16, 16}, {3, 129, 2, 2, 9, 40},
                                   {8, 130, 1, 3, 8, 8},    {7, 7, 4, 1, 32, 64},   {3, 70, 2, 2, 64, 64},
                                   {2, 130, 1, 2, 128, 128}};
  int form = 0;
  for (const AttentionShape& s : shapes)
    for (const bool causal : {true, false})
      for (const bool masked : {false, true})
        for (int i = 0; i < 4; ++i)
          add_attention(cases, s, cases.base, i % 2 ? DType::f16 : cases.base, form++ % 12, causal, masked);
  for (const DType dtype : kFloats) add_attention(cases, {4, 70, 2, 2, 16, 16}, dtype, dtype, 0, true, false);
  // Many queries, which may go to tensor cores: one block of them and a part of another, a first query that
  // sees all of a tile but its last key, scores of either sign and large ones.
  for (const AttentionShape& s :
       {AttentionShape{70, 70, 1, 2, 64, 64}, AttentionShape{70, 132, 1, 2, 64, 64},
        AttentionShape{130, 200, 1, 1, 64, 64}, AttentionShape{65, 90, 1, 2, 128, 128}})
    for (const DType cache : {cases.base, DType::f16})
      for (const double scale : {0.37, -0.37, 20.0})
        for (const bool causal : {true, false})
          add_attention(cases, s, cases.base, cache, 0, causal, false, Activations::q8, scale);
  // Keys and values in blocks, whose axes of position and head come in both orders.
  for (const AttentionShape& s : {AttentionShape{1, 17, 3, 3, 32, 32}, AttentionShape{5, 130, 2, 2, 64, 96},
                                  AttentionShape{9, 600, 1, 2, 96, 64}})
    for (const int f : {0, 1, 3, 7, 8, 9})
      add_attention(cases, s, cases.base, DType::q8_0, f, f % 2 == 0, f % 3 == 0);
}

}  // namespace tl::test
