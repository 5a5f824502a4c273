// The type rules: what every operation makes of its inputs, and every message with which it refuses them.
#include <cmath>

#include <gtest/gtest.h>

#include "ops/op.h"

namespace tl {

namespace {

constexpr DType f16 = DType::f16, f32 = DType::f32, bf16 = DType::bf16, i32 = DType::i32, i64 = DType::i64,
                boolean = DType::boolean, q4 = DType::q4_0;

using Types = std::vector<TensorType>;

void expect_type(Op op, const Types& in, const Attrs& attrs, const Params& params, DType dtype,
                 const Shape& shape) {
  const TensorType type = infer(op, in, attrs, params);
  EXPECT_EQ(name(type.dtype), name(dtype)) << name(op);
  EXPECT_EQ(to_string(type.shape), to_string(shape)) << name(op);
}

void expect_error(Op op, const Types& in, const Attrs& attrs, const Params& params,
                  const std::string& message) {
  try {
    infer(op, in, attrs, params);
    ADD_FAILURE() << name(op) << " accepted what it should refuse: " << message;
  } catch (const Error& e) {
    EXPECT_EQ(e.what(), message);
  }
}

TEST(Infer, Elementwise) {
  expect_type(Op::exp, {{f16, {2, 3}}}, {}, {}, f16, {2, 3});
  expect_type(Op::exp, {{i64, {2}}}, {}, {}, f32, {2});
  expect_type(Op::neg, {{i32, {2}}}, {}, {}, i32, {2});
  expect_type(Op::floor, {{i32, {2}}}, {}, {}, i32, {2});
  expect_type(Op::add, {{i64, {3, 1}}, {f16, {4}}}, {}, {}, f16, {3, 4});
  expect_type(Op::add, {{f16, {3, 1}}, {bf16, {}}}, {}, {}, f32, {3, 1});
  expect_type(Op::less, {{i64, {3, 1}}, {f16, {4}}}, {}, {}, boolean, {3, 4});
  expect_type(Op::logical_not, {{f16, {4}}}, {}, {}, boolean, {4});
  expect_type(Op::select, {{boolean, {2, 1}}, {f16, {3}}, {f32, {}}}, {}, {}, f32, {2, 3});
  expect_type(Op::cast, {{i64, {3}}}, DTypeAttrs{f16}, {}, f16, {3});
  expect_type(Op::swiglu, {{f16, {2, 3}}, {f32, {2, 3}}}, {}, {}, f32, {2, 3});

  expect_error(Op::add, {{f32, {2}}}, {}, {}, "[add] takes 2 to 2 inputs, and got 1");
  expect_error(Op::add, {{f32, {2, 3}}, {f32, {2, 4}}}, {}, {},
               "[add] shapes [2, 3] and [2, 4] do not fit: their extents 3 and 4 differ and neither is 1");
  expect_error(Op::add, {{boolean, {2}}, {boolean, {2}}}, {}, {},
               "[add] needs numbers, and both inputs are bool; convert one with `as int64`");
  expect_error(Op::neg, {{boolean, {2}}}, {}, {},
               "[neg] needs numbers, and input 1 is bool; convert it with `as float32`");
  expect_error(Op::exp, {{q4, {2, 32}}}, {}, {},
               "[exp] the q4_0 tensor [2, 32] can only be a weight of linear or a table of embedding (or w "
               "in an equation x[i, d] * w[o, d]); "
               "convert it with `as float32` to compute with it");
  expect_error(Op::cast, {{f32, {32}}}, DTypeAttrs{q4}, {},
               "[cast] cannot convert to q4_0; `tl quantize` writes quantised files");
  expect_error(Op::swiglu, {{f32, {2}}, {i32, {2}}}, {}, {}, "[swiglu] needs floats, and input 2 is int32");
}

TEST(Infer, Reductions) {
  expect_type(Op::reduce_sum, {{f16, {2, 3, 4}}}, ReduceAttrs{0b101, false}, {}, f16, {3});
  expect_type(Op::reduce_sum, {{boolean, {2, 3}}}, ReduceAttrs{0b10, true}, {}, i64, {2, 1});
  expect_type(Op::reduce_mean, {{i32, {2, 3}}}, ReduceAttrs{0b10, false}, {}, f32, {2});
  expect_type(Op::reduce_max, {{i32, {2, 3}}}, ReduceAttrs{0b1, false}, {}, i32, {3});
  expect_type(Op::reduce_any, {{f32, {2, 3}}}, ReduceAttrs{0b11, false}, {}, boolean, {});
  expect_type(Op::reduce_sum, {{f32, {0, 3}}}, ReduceAttrs{1, false}, {}, f32, {3});
  for (const Op op : {Op::reduce_max, Op::reduce_min, Op::reduce_mean})
    expect_error(op, {{f32, {2, 0}}}, ReduceAttrs{0b10, false}, {},
                 "[" + std::string(name(op)) + "] of no elements is not defined; the shape is [2, 0]");
  expect_error(Op::reduce_sum, {{f32, {2, 3}}}, ReduceAttrs{0b100, false}, {},
               "[sum] an axis is out of range for shape [2, 3]");
  expect_error(Op::reduce_max, {{boolean, {2}}}, ReduceAttrs{1, false}, {},
               "[max] needs numbers, and input 1 is bool; convert it with `as float32`");
}

TEST(Infer, Creation) {
  expect_type(Op::scalar, {}, DTypeAttrs{f16}, {.floats = {1.5}}, f16, {});
  expect_type(Op::iota, {}, {}, {.ints = {5}}, i64, {5});
  expect_type(Op::affine_mask, {}, AffineMaskAttrs{{1, -1}}, {.ints = {3, 4, 0}}, boolean, {3, 4});
  expect_type(Op::random_uniform, {}, {}, {.ints = {42, 3, 4}}, f32, {3, 4});
  expect_type(Op::random_normal, {}, {}, {.ints = {42}}, f32, {});
}

TEST(Infer, Reshape) {
  expect_type(Op::reshape, {{f16, {6, 4}}}, {}, {.ints = {3, 8}}, f16, {3, 8});
  expect_error(Op::reshape, {{f32, {6}}}, {}, {.ints = {1, 1, 1, 1, 1, 1, 1, 1, 6}},
               "[reshape] rank 9 is above 8");
  expect_error(Op::reshape, {{f32, {6}}}, {}, {.ints = {-2, -3}},
               "[reshape] the extent -2 in [-2, -3] is negative");
  expect_error(Op::reshape, {{f32, {6}}}, {}, {.ints = {1ll << 62, 4}},
               "[reshape] the shape [4611686018427387904, 4] is too large");
  expect_error(Op::reshape, {{f32, {2, 3}}}, {}, {.ints = {4, 2}},
               "[reshape] [2, 3] has 6 elements and cannot become [4, 2], which has 8");
}

TEST(Infer, Views) {
  expect_type(Op::permute, {{f32, {2, 3, 4}}}, PermuteAttrs{{2, 0, 1}}, {}, f32, {4, 2, 3});
  for (const PermuteAttrs& order :
       {PermuteAttrs{{0, 0, 1}}, PermuteAttrs{{0, 1}}, PermuteAttrs{{0, 1, 3}}, PermuteAttrs{{-1, 0, 1}}})
    expect_error(Op::permute, {{f32, {2, 3, 4}}}, order, {},
                 "[permute] the axes must name each of the 3 axes of [2, 3, 4] once");

  expect_type(Op::broadcast, {{f32, {3, 1}}}, {}, {.ints = {2, 3, 4}}, f32, {2, 3, 4});
  expect_error(Op::broadcast, {{f32, {3, 2}}}, {}, {.ints = {3, 4}},
               "[broadcast] [3, 2] cannot be broadcast to [3, 4]");
  expect_error(Op::broadcast, {{f32, {3, 2}}}, {}, {.ints = {2}},
               "[broadcast] [3, 2] cannot be broadcast to [2]");

  expect_type(Op::slice, {{f32, {5, 7}}}, {}, {.ints = {1, 2, 2, 6, -3, 3}}, f32, {2, 3});
  expect_type(Op::slice, {{f32, {5}}}, {}, {.ints = {9, 1, 0}}, f32, {0});
  expect_error(Op::slice, {{f32, {5}}}, {}, {.ints = {0, 0, 2}}, "[slice] the step of axis 0 is 0");
  expect_error(Op::slice, {{f32, {5}}}, {}, {.ints = {3, 1, 3}},
               "[slice] axis 0 has extent 5, and 3 to 5 is outside");
  expect_error(Op::slice, {{f32, {5}}}, {}, {.ints = {1, -1, 3}},
               "[slice] axis 0 has extent 5, and 1 to -1 is outside");
}

TEST(Infer, JoiningAndPadding) {
  expect_type(Op::concat, {{f16, {2, 3}}, {i32, {4, 3}}, {f32, {1, 3}}}, AxisAttrs{0}, {}, f32, {7, 3});
  expect_error(Op::concat, {{f32, {2, 3}}, {f32, {2, 4}}}, AxisAttrs{0}, {},
               "[concat] [2, 4] does not fit [2, 3]: all extents but that of axis 0 must agree");
  expect_error(Op::concat, {{f32, {2, 3}}, {f32, {2}}}, AxisAttrs{0}, {},
               "[concat] [2] does not fit [2, 3]: all extents but that of axis 0 must agree");
  expect_error(Op::concat, {{f32, {2, 3}}}, AxisAttrs{2}, {},
               "[concat] axis 2 is out of range for shape [2, 3]");
  expect_type(Op::pad, {{f16, {2, 3}}}, {}, {.ints = {1, 2, 0, 4}, .floats = {0}}, f16, {5, 7});
  expect_error(Op::pad, {{f32, {2}}}, {}, {.ints = {0, -1}, .floats = {0}},
               "[pad] the padding of axis 0 is negative");
}

TEST(Infer, Indexing) {
  expect_type(Op::take, {{f16, {5, 6, 7}}, {i32, {2, 3}}}, AxisAttrs{1}, {}, f16, {5, 2, 3, 7});
  expect_error(Op::take, {{f32, {5}}, {f32, {2}}}, AxisAttrs{0}, {},
               "[take] indices must be int64 or int32, and these are float32; convert them with `as int64`");
  expect_error(Op::take, {{f32, {1, 1, 1, 1, 1}}, {i64, {1, 1, 1, 1, 1}}}, AxisAttrs{0}, {},
               "[take] the result would have a rank above 8");

  expect_type(Op::gather, {{f16, {5, 6}}, {i64, {9, 3}}}, AxisAttrs{0}, {}, f16, {9, 3});
  expect_error(Op::gather, {{f32, {5, 6}}, {i64, {9, 7}}}, AxisAttrs{0}, {},
               "[gather] the index [9, 7] has 7 elements along axis 1, where x [5, 6] has 6; only along axis "
               "0 it may be longer");
  expect_error(
      Op::gather, {{f32, {5, 6}}, {i64, {9}}}, AxisAttrs{0}, {},
      "[gather] x is [5, 6], so the index must have rank 2, and it is [9] (unsqueeze gives it an axis)");

  expect_type(Op::scatter, {{f16, {5, 6}}, {i64, {9, 3}}, {f32, {9, 3}}}, AxisAttrs{0}, {}, f16, {5, 6});
  expect_error(Op::scatter, {{f32, {5}}, {i64, {3}}, {f32, {2}}}, AxisAttrs{0}, {},
               "[scatter] the index is [3], so src must be too, and it is [2]");
}

TEST(Infer, Order) {
  expect_type(Op::argmax, {{f16, {5, 6}}}, AxisAttrs{0}, {}, i64, {6});
  expect_type(Op::cumsum, {{f16, {5, 6}}}, AxisAttrs{0}, {}, f16, {5, 6});
  expect_type(Op::sort, {{i32, {5, 6}}}, SortAttrs{1, true}, {}, i32, {5, 6});
  expect_type(Op::argsort, {{f16, {5, 6}}}, SortAttrs{1, true}, {}, i64, {5, 6});
  expect_type(Op::top_k, {{f16, {5, 60}}}, {}, {{40}, {}}, f32, {5, 2, 40});
  expect_type(Op::top_k, {{DType::f64, {6}}}, {}, {{6}, {}}, DType::f64, {2, 6});
  expect_error(Op::top_k, {{i32, {5}}}, {}, {{1}, {}}, "[top_k] needs floats, and input 1 is int32");
  expect_error(Op::top_k, {{f32, {}}}, {}, {{1}, {}},
               "[top_k] needs at least one axis and at most 7; the shape is []");
  expect_error(Op::top_k, {{f32, {5}}}, {}, {{6}, {}},
               "[top_k] gives 1 to 5 of 5 elements, and 6 were asked for");
  expect_error(Op::top_k, {{f32, {5000}}}, {}, {{0}, {}},
               "[top_k] gives 1 to 1024 of 5000 elements, and 0 were asked for");
  expect_error(Op::top_k, {{f32, {1 << 25}}}, {}, {{1}, {}},
               "[top_k] of 33554432 elements cannot name their places as float32");
  const Params plain{{}, {1, 1, -INFINITY}};
  expect_type(Op::draw, {{f32, {5, 2, 40}}, {i64, {5}}}, {}, plain, i64, {5});
  expect_type(Op::draw, {{f32, {2, 1}}, {i64, {}}}, {}, plain, i64, {});
  expect_error(Op::draw, {{i32, {2, 4}}, {i64, {}}}, {}, plain, "[draw] needs floats, and input 1 is int32");
  for (const Shape& shape : {Shape{40}, Shape{3, 40}, Shape{2, 0}, Shape{2, 1025}})
    expect_error(Op::draw, {{f32, shape}, {i64, {}}}, {}, plain,
                 "[draw] draws from logits and places [.., 2, 1 to 1024] as top_k gives them, and not from " +
                     to_string(shape));
  expect_error(Op::draw, {{f32, {5, 2, 4}}, {i64, {4}}}, {}, plain,
               "[draw] needs random bits as int64[5], and input 2 is int64[4]");
  expect_error(Op::draw, {{f32, {2, 4}}, {f32, {}}}, {}, plain,
               "[draw] needs random bits as int64[], and input 2 is float32[]");
  for (const auto& [floats, said] :
       std::vector<std::pair<Params::Floats, std::string>>{{{0, 1, 0}, "0, 1 and 0"},
                                                           {{INFINITY, 1, 0}, "inf, 1 and 0"},
                                                           {{1, -0.5, 0}, "1, -0.5 and 0"},
                                                           {{1, 1.5, 0}, "1, 1.5 and 0"},
                                                           {{1, 1, 0.5}, "1, 1 and 0.5"}})
    expect_error(
        Op::draw, {{f32, {2, 4}}, {i64, {}}}, {}, {{}, floats},
        "[draw] needs a temperature above 0, a top-p of 0 to 1 and a logarithm of 0 or less, not " + said);
  expect_error(Op::argmin, {{f32, {5, 0}}}, AxisAttrs{1}, {},
               "[argmin] of no elements is not defined; the shape is [5, 0]");
  expect_error(Op::cumsum, {{f32, {5}}}, AxisAttrs{1}, {}, "[cumsum] axis 1 is out of range for shape [5]");
  expect_error(Op::sort, {{boolean, {5}}}, SortAttrs{0, false}, {},
               "[sort] needs numbers, and input 1 is bool; convert it with `as float32`");
}

TEST(Infer, Contract) {
  const auto plain = [](int label) { return AxisIndex{{{label, 1}}, 1}; };
  const ContractAttrs product{2, 3, Reduction::sum, {{plain(0), plain(2)}, {plain(2), plain(1)}}};
  const Params sizes = {.ints = {3, 5, 4, 0, 0, 0, 0}};
  expect_type(Op::contract, {{f16, {3, 4}}, {f32, {4, 5}}}, product, sizes, f32, {3, 5});
  expect_type(Op::contract, {{boolean, {3, 4}}, {boolean, {4, 5}}}, product, sizes, i64, {3, 5});
  const ContractAttrs mean{0, 1, Reduction::mean, {{plain(0)}}};
  expect_type(Op::contract, {{i32, {3}}}, mean, {.ints = {3, 0}}, f32, {});
  const ContractAttrs large{9, 9, Reduction::sum, {{}}};
  expect_error(Op::contract, {{f32, {}}}, large, {.ints = {1, 1, 1, 1, 1, 1, 1, 1, 1}},
               "[contract] the result would have a rank above 8");
}

TEST(Infer, MatrixProducts) {
  expect_type(Op::matmul, {{f16, {3, 1, 4, 5}}, {f16, {2, 5, 6}}}, {}, {}, f16, {3, 2, 4, 6});
  expect_error(Op::matmul, {{f32, {5}}, {f32, {5, 6}}}, {}, {},
               "[matmul] needs matrices, and the shapes are [5] and [5, 6]");
  expect_error(
      Op::matmul, {{f32, {4, 5}}, {f32, {6, 7}}}, {}, {},
      "[matmul] the last extent of [4, 5] is 5, and the second to last of [6, 7] is 6; they must be equal");

  expect_type(Op::linear, {{f32, {2, 3, 32}}, {q4, {7, 32}}}, {}, {}, f32, {2, 3, 7});
  expect_type(Op::linear, {{f32, {3, 32}}, {f16, {7, 32}}, {f32, {7}}}, {}, {}, f32, {3, 7});
  expect_type(Op::linear, {{f16, {3, 32}}, {q4, {7, 32}}}, {}, {}, f16, {3, 7});
  expect_error(Op::linear, {{i32, {3, 32}}, {f32, {7, 32}}}, {}, {},
               "[linear] needs floats, and input 1 is int32");
  expect_error(Op::linear, {{f32, {}}, {f32, {7, 32}}}, {}, {},
               "[linear] needs x[.., in] and w[out, in], and the shapes are [] and [7, 32]");
  expect_error(Op::linear, {{f32, {3, 7}}, {f32, {7, 32}}}, {}, {},
               "[linear] x is [3, 7] and w is [7, 32]: the last extent of x, 7, must be w's second, 32 (w is "
               "[out, in])");
  expect_error(Op::linear, {{f32, {3, 32}}, {f32, {7, 32}}, {f32, {8}}}, {}, {},
               "[linear] the bias is [8], and w [7, 32] needs [7]");
  expect_error(Op::linear, {{f32, {3, 32}}, {i32, {7, 32}}}, {}, {},
               "[linear] needs float or quantised weights, and w is int32");

  expect_type(Op::embedding, {{q4, {9, 32}}, {i64, {2, 3}}}, {}, {}, f32, {2, 3, 32});
  expect_error(Op::embedding, {{f32, {9}}, {i64, {2}}}, {}, {},
               "[embedding] the table must be [n, width], and its shape is [9]");
  expect_error(Op::embedding, {{i32, {9, 4}}, {i64, {2}}}, {}, {},
               "[embedding] needs a table of floats, and it is int32");
  expect_error(
      Op::embedding, {{f32, {9, 4}}, {f32, {2}}}, {}, {},
      "[embedding] indices must be int64 or int32, and these are float32; convert them with `as int64`");
}

TEST(Infer, Normalisations) {
  const Params eps = {.floats = {1e-5}};
  expect_type(Op::softmax, {{f16, {3, 4}}, {boolean, {4}}}, AxisAttrs{1}, {}, f16, {3, 4});
  expect_error(Op::softmax, {{f32, {3, 0}}}, AxisAttrs{1}, {},
               "[softmax] over no elements is not defined; the shape is [3, 0]");
  expect_error(Op::softmax, {{f32, {3, 4}}, {f32, {3, 4}}}, AxisAttrs{1}, {},
               "[softmax] the mask must be bool, and it is float32");
  expect_error(Op::softmax, {{f32, {3, 1}}, {boolean, {3, 4}}}, AxisAttrs{0}, {},
               "[softmax] the mask [3, 4] cannot be broadcast to [3, 1]");
  expect_error(Op::log_softmax, {{i32, {3}}}, AxisAttrs{0}, {},
               "[log_softmax] needs floats, and input 1 is int32");

  expect_type(Op::rms_norm, {{f16, {3, 4}}, {f32, {4}}}, {}, eps, f16, {3, 4});
  expect_type(Op::layer_norm, {{f32, {3, 4}}, {f32, {4}}, {f32, {4}}}, {}, eps, f32, {3, 4});
  expect_error(Op::rms_norm, {{f32, {}}}, {}, eps, "[rms_norm] needs at least one axis, and x is a scalar");
  expect_error(Op::layer_norm, {{f32, {3, 4}}, {f32, {4}}, {f32, {3}}}, {}, eps,
               "[layer_norm] x is [3, 4], so input 3 must be [4], and it is [3]");
}

TEST(Infer, Rope) {
  const Attrs style = RopeAttrs{RopeStyle::neox};
  const auto numbers = [](int64_t n_rot) { return Params{.ints = {0, n_rot}, .floats = {10000.0, 1.0}}; };
  expect_type(Op::rope, {{f16, {5, 3, 8}}, {f32, {4}}}, style, numbers(8), f16, {5, 3, 8});
  expect_error(Op::rope, {{f32, {8}}}, style, numbers(8),
               "[rope] needs x[.., position, head, head_dim] or x[position, head_dim], and x is [8]");
  for (const int64_t n_rot : {0, 3, 10})
    expect_error(
        Op::rope, {{f32, {5, 3, 8}}}, style, numbers(n_rot),
        "[rope] the number of rotated dimensions must be even and between 2 and head_dim = 8, and it is " +
            std::to_string(n_rot));
  expect_error(Op::rope, {{f32, {5, 3, 8}}, {f32, {8}}}, style, numbers(8),
               "[rope] the frequency factors must be [4], and they are [8]");
}

TEST(Infer, AttentionAndCache) {
  const AttentionAttrs attrs{{0, 1, 2}, {1, 0, 2}, {0, 1, 2}, {1, 0, 2}, 2, true};
  expect_type(Op::attention, {{f32, {5, 4, 8}}, {f16, {2, 9, 8}}, {f16, {9, 2, 16}}}, attrs,
              {.ints = {4}, .floats = {1.0}}, f32, {4, 5, 16});
  expect_type(Op::cache_append, {{f16, {64, 2, 8}}, {f32, {3, 2, 8}}}, {}, {.ints = {7}}, f16, {10, 2, 8});
  expect_error(Op::cache_append, {{f16, {64, 2, 8}}, {f32, {3, 8}}}, {}, {.ints = {7}},
               "[cache_append] [3, 8] does not fit a cache of [64, 2, 8]");
  expect_error(Op::cache_append, {{f16, {64, 8}}, {f32, {3, 9}}}, {}, {.ints = {7}},
               "[cache_append] [3, 9] does not fit a cache of [64, 8]");
  expect_error(Op::cache_append, {{i32, {64, 8}}, {f32, {3, 8}}}, {}, {.ints = {7}},
               "[cache_append] needs floats, and input 1 is int32");
}

TEST(OpTable, RowsAreInOrderAndNamesUnique) {
  for (int i = 0; i < kOpCount; ++i) {
    const OpInfo& row = info(static_cast<Op>(i));
    EXPECT_EQ(static_cast<int>(row.op), i);
    EXPECT_FALSE(row.doc.empty()) << row.name;
    EXPECT_LE(row.min_inputs, row.max_inputs) << row.name;
    for (int j = 0; j < i; ++j) EXPECT_NE(row.name, info(static_cast<Op>(j)).name);
  }
}

}  // namespace

}  // namespace tl
