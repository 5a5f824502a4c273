// Properties of the cpu backend's kernels beyond their values (which tests/ops checks): the same bits for any
// number of threads and rows, views read where they lie, and clear errors.
#include <gtest/gtest.h>

#include <cmath>
#include <cstring>
#include <limits>
#include <random>

#include "backend/backend.h"
#include "base/half.h"

namespace tl {
namespace {

constexpr float kInf = std::numeric_limits<float>::infinity();

Tensor random_tensor(const Shape& shape, unsigned seed, DType dtype = DType::f32) {
  Tensor t(dtype, shape);
  std::mt19937 generator(seed);
  std::normal_distribution<double> distribution;
  for (int64_t i = 0; i < t.elements(); ++i) store_double(t, i, distribution(generator));
  return t;
}

/// Runs a kernel into memory that was filled with NaN.
Tensor run(Op op, std::vector<Tensor> in, const Attrs& attrs = {}, const Params& params = {}, int threads = 1,
           const Backend& backend = cpu_backend(), Activations activations = Activations::q8) {
  std::vector<TensorType> types;
  for (const Tensor& t : in) types.push_back({t.dtype(), t.shape()});
  const TensorType type = infer(op, types, attrs, params);
  const Tensor out(backend.storage(type.dtype), type.shape);
  if (out.elements())
    std::memset(out.bytes(), 0xff, static_cast<size_t>(bytes_of(out.dtype(), out.elements())));
  ThreadPool pool(threads);
  backend.kernels()[static_cast<size_t>(op)].run({in, out, attrs, params, pool, activations});
  return out;
}

void expect_same_bits(const Tensor& a, const Tensor& b) {
  ASSERT_EQ(a.shape(), b.shape());
  EXPECT_EQ(0, std::memcmp(a.bytes(), b.bytes(), static_cast<size_t>(bytes_of(a.dtype(), a.elements()))));
}

void expect_near(const Tensor& actual, const Tensor& expected, double bound) {
  ASSERT_EQ(actual.shape(), expected.shape());
  for (int64_t i = 0; i < actual.elements(); ++i)
    ASSERT_NEAR(load_double(actual, i), load_double(expected, i), bound) << "element " << i;
}

/// Rows [first, first + n) of axis 0.
Tensor rows(const Tensor& t, int64_t first, int64_t n) {
  Shape shape = t.shape();
  shape[0] = n;
  return t.view(shape, t.strides(), first * t.strides()[0]);
}

std::string error_of(const std::function<void()>& f) {
  try {
    f();
  } catch (const Error& e) {
    return e.what();
  }
  return "no error";
}

// ---- linear

TEST(CpuLinear, RowsAndThreadsDoNotChangeABit) {
  for (const DType dtype : {DType::f32, DType::f16}) {
    const Tensor x = random_tensor({13, 100}, 1), w = random_tensor({333, 100}, 2, dtype),
                 b = random_tensor({333}, 3);
    const Tensor all = run(Op::linear, {x, w, b});
    expect_same_bits(all, run(Op::linear, {x, w, b}, {}, {}, 3));
    for (int64_t r = 0; r < 13; ++r)
      expect_same_bits(rows(all, r, 1), run(Op::linear, {rows(x, r, 1), w, b}, {}, {}, 2));
  }
}

TEST(CpuLinear, ReadsTransposedAndDoubleWeights) {
  const Tensor x = random_tensor({3, 20}, 4), w = random_tensor({20, 7}, 5),
               w64 = random_tensor({7, 20}, 6, DType::f64);
  const Tensor transposed = w.view({7, 20}, {1, 7});
  expect_near(run(Op::linear, {x, transposed}),
              run(Op::linear, {x, transposed}, {}, {}, 1, reference_backend()), 1e-5);
  const Tensor in[] = {x, w64};
  const Tensor out(DType::f32, {3, 7});
  ThreadPool pool(1);
  cpu_backend().kernels()[static_cast<size_t>(Op::linear)].run({in, out, NoAttrs{}, {}, pool});
  expect_near(out, run(Op::linear, {x, w64}, {}, {}, 1, reference_backend()), 1e-5);
}

/// Q8_0 weights of value 1 (quant 100, scale 0.01): 34 bytes a block.
Tensor q8_weights(int64_t n, int64_t k) {
  Tensor w(DType::q8_0, {n, k});
  for (int64_t b = 0; b < n * k / 32; ++b) {
    const uint16_t scale = f32_to_f16(0.01f);
    std::memcpy(w.bytes() + 34 * b, &scale, 2);
    std::memset(w.bytes() + 34 * b + 2, 100, 32);
  }
  return w;
}

TEST(CpuLinear, NanAndInfinityPassThroughRoundedActivations) {
  const Tensor w = q8_weights(4, 64);
  Tensor x = random_tensor({3, 64}, 7);
  x.data<float>()[64 + 5] = kInf;
  x.data<float>()[128 + 60] = std::numeric_limits<float>::quiet_NaN();
  const Tensor out = run(Op::linear, {x, w});
  for (int64_t i = 0; i < 4; ++i) {
    EXPECT_TRUE(std::isfinite(out.data<float>()[i]));
    EXPECT_EQ(out.data<float>()[4 + i], kInf);
    EXPECT_TRUE(std::isnan(out.data<float>()[8 + i]));
  }
}

TEST(CpuLinear, Float32ActivationsAreNotRounded) {
  const Tensor w = q8_weights(2, 64), x = random_tensor({2, 64}, 8);
  const Tensor exact = run(Op::linear, {x, w}, {}, {}, 1, reference_backend());
  const Tensor rounded = run(Op::linear, {x, w});
  expect_near(run(Op::linear, {x, w}, {}, {}, 1, cpu_backend(), Activations::float32), exact, 1e-5);
  expect_near(rounded, exact, 0.5);
  EXPECT_GT(std::fabs(load_double(rounded, 0) - load_double(exact, 0)), 1e-4);
}

// ---- matmul

/// Threads share a product by batch elements, rows, columns or terms, and few rows are not packed.
TEST(CpuMatmul, EveryWayToShareTheWorkGivesTheSameBits) {
  for (const auto& [m, k, n] : {std::array<int64_t, 3>{2, 300, 4200},
                                {1, 1300, 33},
                                {33, 5003, 65},
                                {181, 4300, 181},  // more blocks of terms than there are copies of the result
                                {7, 4400, 1},
                                {701, 321, 70},
                                {40, 319, 700},
                                {5, 0, 3}}) {
    const Tensor a = random_tensor({m, k}, 21), b = random_tensor({k, n}, 22);
    const Tensor one = run(Op::matmul, {a, b});
    expect_near(one, run(Op::matmul, {a, b}, {}, {}, 1, reference_backend()), 2e-3);
    for (const int threads : {2, 3, 5}) expect_same_bits(one, run(Op::matmul, {a, b}, {}, {}, threads));
    for (const int64_t row : {int64_t{0}, m / 2, m - 1})
      expect_same_bits(rows(one, row, 1), run(Op::matmul, {rows(a, row, 1), b}));
  }
  const Tensor a = random_tensor({9, 50, 70}, 23), b = random_tensor({9, 70, 40}, 24);
  const Tensor batches = run(Op::matmul, {a, b});
  for (const int threads : {2, 3, 16}) expect_same_bits(batches, run(Op::matmul, {a, b}, {}, {}, threads));
}

/// Panels may be packed with what lies behind an operand's rows, but it has no part in a result.
TEST(CpuMatmul, WhatLiesBetweenAnOperandsRowsIsNotMultiplied) {
  const int64_t k = 70, stride = 43;
  for (const int64_t n : {1, 5, 9, 17, 23, 40}) {
    const Tensor whole = random_tensor({k, stride}, 25), other = random_tensor({13, k}, 26);
    for (int64_t p = 0; p < k; ++p)
      for (int64_t j = n; j < stride; ++j) store_double(whole, p * stride + j, kInf);
    Tensor alone(DType::f32, {k, n});
    for (int64_t i = 0; i < k * n; ++i) store_double(alone, i, load_double(whole, i / n * stride + i % n));
    expect_same_bits(run(Op::matmul, {other, alone}),
                     run(Op::matmul, {other, whole.view({k, n}, {stride, 1})}));
    const Tensor turned = other.view({k, 13}, {1, k});
    expect_same_bits(run(Op::matmul, {alone.view({n, k}, {1, n}), turned}),
                     run(Op::matmul, {whole.view({n, k}, {1, stride}), turned}));
  }
}

TEST(CpuMemory, LargeResultsTakeWhatOthersGaveBack) {
  const Backend& backend = cpu_backend();
  constexpr size_t kLarge = size_t{9} << 20;
  const std::byte* first = nullptr;
  {
    const auto storage = backend.allocate(kLarge);
    first = storage->data;
    EXPECT_EQ(storage->bytes, kLarge);
    EXPECT_FALSE(storage->constant);
    EXPECT_NE(backend.allocate(kLarge)->data, first);  // in use
  }
  const auto again = backend.allocate(kLarge - 1000), small = backend.allocate(1000);
  EXPECT_EQ(again->data, first);
  EXPECT_EQ(again->bytes, kLarge - 1000);
  EXPECT_EQ(small->bytes, 1000u);
}

TEST(CpuEmbedding, IdOutOfRangeNamesIdAndTable) {
  const Tensor table = random_tensor({10, 4}, 9);
  for (const int64_t bad : {int64_t{-1}, int64_t{10}}) {
    const int64_t ids[] = {3, bad};
    const Tensor index = Tensor::from<int64_t>(DType::i64, {2}, ids);
    const std::string message = error_of([&] { run(Op::embedding, {table, index}); });
    EXPECT_NE(message.find("[embedding] id " + std::to_string(bad)), std::string::npos) << message;
    EXPECT_NE(message.find("[10, 4]: expected 0 to 9"), std::string::npos) << message;
    EXPECT_NE(error_of([&] {
                run(Op::take, {table, index}, AxisAttrs{0});
              }).find("[take] index " + std::to_string(bad)),
              std::string::npos);
  }
}

// ---- contract

/// scores[h, i, j] = q[i, h, d] * k[j, h / group, d]; labels h i j d.
ContractAttrs grouped_scores(int64_t group) {
  const auto label = [](int l, int64_t divisor = 1) { return AxisIndex{{{l, 1}}, divisor}; };
  return {3, 4, Reduction::sum, {{label(1), label(0), label(3)}, {label(2), label(0, group), label(3)}}};
}

TEST(CpuContract, GroupedHeadsAreReadWhereTheyLie) {
  const int64_t heads = 9, group = 3, n = 5, keys = 300, dim = 20;
  const Tensor q = random_tensor({n, heads, dim}, 10), k = random_tensor({keys, heads / group, dim}, 11);
  const auto params = [&](int64_t queries) {
    return Params{{heads, queries, keys, dim, 0, 0, 0, 0, 0, 0}, {}};
  };
  const Tensor scores = run(Op::contract, {q, k}, grouped_scores(group), params(n));
  expect_near(scores, run(Op::contract, {q, k}, grouped_scores(group), params(n), 1, reference_backend()),
              2e-5);
  expect_same_bits(scores, run(Op::contract, {q, k}, grouped_scores(group), params(n), 3));
  for (int64_t i = 0; i < n; ++i) {
    const Tensor one = run(Op::contract, {rows(q, i, 1), k}, grouped_scores(group), params(1), 2);
    for (int64_t h = 0; h < heads; ++h)
      for (int64_t j = 0; j < keys; ++j)
        ASSERT_EQ(one.data<float>()[h * keys + j], scores.data<float>()[(h * n + i) * keys + j]);
  }
}

/// y[i, j] = x[i] z[j], and elements of a transposed matrix times those of another: written once, wherever
/// they lie.
TEST(CpuContract, ElementsAreMultipliedWhereTheyLie) {
  const auto plain = [](int label) { return AxisIndex{{{label, 1}}, 1}; };
  const Tensor x = random_tensor({37}, 31), z = random_tensor({600}, 32), m = random_tensor({600, 37}, 33);
  const auto check = [&](const ContractAttrs& attrs, const std::vector<Tensor>& in, const Params& params) {
    const Tensor one = run(Op::contract, in, attrs, params);
    expect_same_bits(one, run(Op::contract, in, attrs, params, 3));
    expect_near(one, run(Op::contract, in, attrs, params, 1, reference_backend()), 1e-5);
  };
  check({2, 2, Reduction::sum, {{plain(0)}, {plain(1)}}}, {x, z}, {.ints = {37, 600, 0, 0}});
  check({2, 2, Reduction::sum, {{plain(1)}, {plain(0)}}}, {z, x}, {.ints = {37, 600, 0, 0}});
  check({2, 2, Reduction::sum, {{plain(0), plain(1)}, {plain(1), plain(0)}}},
        {random_tensor({37, 600}, 34), m}, {.ints = {37, 600, 0, 0, 0, 0}});
}

TEST(CpuContract, ConvolutionReadsZerosOutside) {
  // out[x, o] = image[x + dx - 1, c] * kernel[dx, c, o]; labels x o dx c. The whole range leaves the image at
  // both ends.
  const ContractAttrs attrs{2,
                            4,
                            Reduction::sum,
                            {{AxisIndex{{{0, 1}, {2, 1}}}, AxisIndex{{{3, 1}}}},
                             {AxisIndex{{{2, 1}}}, AxisIndex{{{3, 1}}}, AxisIndex{{{1, 1}}}}}};
  const Tensor image = random_tensor({10, 3}, 12), kernel = random_tensor({3, 3, 4}, 13);
  const auto both = [&](int64_t width, int64_t offset) {
    const Params params{{width, 4, 3, 3, offset, 0, 0, 0, 0}, {}};
    expect_near(run(Op::contract, {image, kernel}, attrs, params),
                run(Op::contract, {image, kernel}, attrs, params, 1, reference_backend()), 1e-5);
  };
  both(10, -1);  // the general loop
  both(8, 0);    // a matrix product
}

TEST(CpuContract, ZerosAfterTheEndOfASumChangeNothing) {
  const ContractAttrs attrs{
      2,
      3,
      Reduction::sum,
      {{AxisIndex{{{0, 1}}}, AxisIndex{{{2, 1}}}}, {AxisIndex{{{2, 1}}}, AxisIndex{{{1, 1}}}}}};
  const int64_t keys = 300;
  Tensor weights = random_tensor({2, keys}, 14), values = random_tensor({keys, 5}, 15);
  for (int64_t j = 130; j < keys; ++j) weights.data<float>()[j] = 0;
  const Tensor all = run(Op::contract, {weights, values}, attrs, {{2, 5, keys, 0, 0, 0, 0}, {}});
  const Tensor first = weights.view({1, 130}, {130, 1});
  expect_same_bits(rows(all, 0, 1),
                   run(Op::contract, {first, rows(values, 0, 130)}, attrs, {{1, 5, 130, 0, 0, 0, 0}, {}}));
}

// ---- attention

struct AttentionCase {
  int64_t queries, keys, heads, group, dim, value_dim;
  bool causal, masked;
  DType cache = DType::f32;
};

struct AttentionInputs {
  Tensor q, k, v, mask;
  AttentionAttrs attrs;

  explicit AttentionInputs(const AttentionCase& c)
      : q(random_tensor({c.heads, c.queries, c.dim}, 20)),
        k(random_tensor({c.keys, c.heads / c.group, c.dim}, 21, c.cache)),
        v(random_tensor({c.keys, c.heads / c.group, c.value_dim}, 22, c.cache)),
        attrs{{1, 0, 2}, {0, 1, 2}, {0, 1, 2}, {0, 1, 2}, c.group, c.causal} {
    if (!c.masked) return;
    mask = Tensor(DType::boolean, {c.queries, c.keys});
    for (int64_t i = 0; i < mask.elements(); ++i) store_int(mask, i, i % 3 != 0 || i % c.keys == 0);
  }
  std::vector<Tensor> inputs() const { return mask ? std::vector{q, k, v, mask} : std::vector{q, k, v}; }
  /// Query i alone.
  std::vector<Tensor> only(int64_t i) const {
    const Shape shape{q.shape()[0], 1, q.shape()[2]};
    std::vector<Tensor> in{q.view(shape, q.strides(), i * q.strides()[1]), k, v};
    if (mask) in.push_back(rows(mask, i, 1));
    return in;
  }
};

TEST(CpuAttention, EqualsTheReferenceAndKeepsItsBits) {
  for (const AttentionCase& c :
       {AttentionCase{1, 1, 2, 1, 8, 8, true, false}, AttentionCase{19, 19, 6, 3, 64, 64, true, false},
        AttentionCase{5, 200, 4, 2, 36, 20, true, false, DType::f16},
        AttentionCase{9, 130, 8, 8, 16, 40, false, true},
        AttentionCase{20, 150, 3, 1, 7, 9, true, true, DType::f16},
        AttentionCase{3, 64, 2, 2, 128, 128, false, false},
        // several spans of 512 keys: some queries see the last one, some do not
        AttentionCase{10, 1028, 6, 3, 64, 64, true, false},
        AttentionCase{4, 1500, 2, 1, 36, 20, true, true, DType::f16},
        AttentionCase{1, 513, 2, 2, 8, 8, false, true}}) {
    const AttentionInputs a(c);
    const Params params{{c.keys - c.queries}, {0.3}};
    const Tensor out = run(Op::attention, a.inputs(), a.attrs, params);
    expect_near(out, run(Op::attention, a.inputs(), a.attrs, params, 1, reference_backend()), 3e-6);
    expect_same_bits(out, run(Op::attention, a.inputs(), a.attrs, params, 3));
    for (int64_t i = 0; i < c.queries; ++i)
      for (const int threads : {1, 3})
        expect_same_bits(rows(out, i, 1),
                         run(Op::attention, a.only(i), a.attrs, {{c.keys - c.queries + i}, {0.3}}, threads));
  }
}

TEST(CpuAttention, WhatIsNotSeenTakesNoPart) {
  const AttentionCase c{4, 100, 2, 1, 8, 8, true, false};
  const AttentionInputs a(c);
  const Params params{{40}, {0.3}};
  const Tensor before = run(Op::attention, a.inputs(), a.attrs, params);
  for (int64_t j = 44; j < 100; ++j)
    for (int64_t d = 0; d < 16; ++d)
      a.k.data<float>()[j * 16 + d] = kInf, a.v.data<float>()[j * 16 + d] = kInf;
  expect_same_bits(before, run(Op::attention, a.inputs(), a.attrs, params));
}

/// Of groups of one to nine heads, whose rows are taken a few at a time; the last numbers of a row fill no
/// vector.
TEST(CpuAttention, EveryGroupOfHeadsEqualsTheReference) {
  for (const DType cache : {DType::f32, DType::f16})
    for (int64_t group = 1; group <= 9; ++group)
      for (const int64_t dim : {5, 64, 76}) {
        const AttentionCase c{3, 150, 2 * group, group, dim, 81 - dim, true, false, cache};
        const AttentionInputs a(c);
        const Params params{{c.keys - c.queries}, {0.3}};
        const Tensor out = run(Op::attention, a.inputs(), a.attrs, params);
        expect_near(out, run(Op::attention, a.inputs(), a.attrs, params, 1, reference_backend()), 3e-6);
        for (int64_t i = 0; i < c.queries; ++i)
          expect_same_bits(rows(out, i, 1),
                           run(Op::attention, a.only(i), a.attrs, {{c.keys - c.queries + i}, {0.3}}));
      }
}

/// A score that is not a number is not lost among the others, wherever it stands, and stays in its row.
TEST(CpuAttention, NanIsNotHidden) {
  for (const int64_t at : {0, 3, 63, 64, 511, 512, 599}) {
    const AttentionInputs a({2, 600, 3, 3, 16, 24, true, false});
    a.k.data<float>()[at * 16 + 7] = std::numeric_limits<float>::quiet_NaN();
    const Tensor out = run(Op::attention, a.inputs(), a.attrs, {{598}, {0.3}});
    for (int64_t i = 0; i < out.elements(); ++i)
      EXPECT_EQ(std::isnan(out.data<float>()[i]), at < 599 || i >= out.elements() / 2) << at << " " << i;
  }
}

/// Differences of scores as large as floats allow: the lesser weights are 0, not NaN.
TEST(CpuAttention, ScoresFarApart) {
  for (const float far : {80.0f, 86.9f, 87.1f, 104.0f, 1e30f}) {
    const AttentionInputs a({1, 70, 1, 1, 8, 8, true, false});
    std::fill_n(a.q.data<float>(), 8, 0.0f);
    std::fill_n(a.k.data<float>(), 70 * 8, 0.0f);
    a.q.data<float>()[0] = 1.0f;
    for (const int64_t j : {5, 66}) a.k.data<float>()[8 * j] = far;
    const Tensor out = run(Op::attention, a.inputs(), a.attrs, {{69}, {1.0}});
    for (int64_t i = 0; i < 8; ++i)
      EXPECT_FLOAT_EQ(out.data<float>()[i], 0.5f * (a.v.data<float>()[40 + i] + a.v.data<float>()[528 + i]));
  }
}

TEST(CpuAttention, SeeingNothingIsAnError) {
  const AttentionInputs a({2, 3, 2, 1, 8, 8, true, false});
  EXPECT_EQ(error_of([&] {
              run(Op::attention, a.inputs(), a.attrs, {{-1}, {1.0}});
            }),
            "[attention] query 0 sees no key");
  const AttentionInputs masked({2, 3, 2, 1, 8, 8, false, true});
  for (int64_t j = 3; j < 6; ++j) store_int(masked.mask, j, 0);
  EXPECT_EQ(error_of([&] {
              run(Op::attention, masked.inputs(), masked.attrs, {{0}, {1.0}});
            }),
            "[attention] query 1 sees no key");
}

// ---- others

TEST(CpuSoftmax, MaskedElementsAreZeroAndNothingLeftIsAnError) {
  const Tensor x = random_tensor({2, 3}, 30);
  x.data<float>()[1] = kInf;
  const uint8_t kept[] = {1, 0, 1, 0, 0, 0};
  const Tensor mask = Tensor::from<uint8_t>(DType::boolean, {2, 3}, kept);
  const Tensor first = run(Op::softmax, {rows(x, 0, 1), rows(mask, 0, 1)}, AxisAttrs{1});
  EXPECT_EQ(first.data<float>()[1], 0);
  EXPECT_FLOAT_EQ(first.data<float>()[0] + first.data<float>()[2], 1);
  EXPECT_EQ(error_of([&] {
              run(Op::softmax, {x, mask}, AxisAttrs{1});
            }),
            "[softmax] a line along axis 1 of [2, 3] has no element that its mask keeps");
}

TEST(CpuRope, FarPositionsAreRight) {
  const Tensor x = random_tensor({3, 2, 64}, 31);
  for (const RopeStyle style : {RopeStyle::norm, RopeStyle::neox})
    for (const int64_t position : {int64_t{0}, int64_t{1000000}}) {
      const Params params{{position, 48}, {500000.0, 1.0}};
      const Tensor out = run(Op::rope, {x}, RopeAttrs{style}, params);
      expect_near(out, run(Op::rope, {x}, RopeAttrs{style}, params, 1, reference_backend()), 1e-6);
      for (int64_t r = 0; r < 6; ++r)
        for (int64_t d = 48; d < 64; ++d)
          EXPECT_EQ(out.data<float>()[r * 64 + d], x.data<float>()[r * 64 + d]);
    }
}

TEST(CpuCast, NumbersThatDoNotFitAreErrors) {
  for (const float bad : {128.0f, -129.0f, kInf, std::numeric_limits<float>::quiet_NaN()}) {
    const Tensor x = Tensor::from<float>(DType::f32, {1}, std::span(&bad, 1));
    EXPECT_NE(error_of([&] { run(Op::cast, {x}, DTypeAttrs{DType::i8}); }).find("does not fit int8"),
              std::string::npos)
        << bad;
  }
}

TEST(CpuTable, EveryOperationHasAKernel) {
  for (int op = 0; op < kOpCount; ++op) {
    const auto which = static_cast<Op>(op);
    const bool needs_none = which == Op::constant || which == Op::scalar || which == Op::permute ||
                            which == Op::broadcast || which == Op::slice;
    EXPECT_EQ(cpu_backend().kernels()[static_cast<size_t>(op)].run == nullptr, needs_none) << name(which);
  }
}

}  // namespace
}  // namespace tl
