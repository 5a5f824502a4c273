// Cases of tensor equations and matrix products.
#include <fmt/format.h>

#include "ops/cases.h"

namespace tl::test {

namespace {

using Term = AxisIndex::Term;

/// An axis read at one label itself.
AxisIndex plain(int label) { return {{{label, 1}}, 1}; }

ContractAttrs equation(int n_result, int n_labels, Reduction reduction,
                       std::vector<std::vector<AxisIndex>> operands) {
  return {n_result, n_labels, reduction, std::move(operands)};
}

constexpr Reduction kReductions[] = {Reduction::sum, Reduction::mean, Reduction::max, Reduction::min,
                                     Reduction::prod};

void add_equations(Cases& cases, DType dtype, Layout layout) {
  const auto tensor = [&](Random& random, const Shape& shape) {
    return laid_out(random_tensor(random, dtype, shape), layout);
  };
  const auto add = [&](const char* what, const ContractAttrs& attrs, std::vector<Tensor> in,
                       Params::Ints ints) {
    cases.add(Op::contract, fmt::format("{} {}", what, to_string(layout)), std::move(in), attrs,
              {.ints = std::move(ints)});
  };
  const auto two = [&](const Shape& a, const Shape& b) {
    Random& random = cases.begin();
    const Tensor first = tensor(random, a);
    return std::vector<Tensor>{first, tensor(random, b)};
  };
  const auto sum = Reduction::sum;
  // y[i] = w[i, j] x[j]
  add("matrix-vector", equation(1, 2, sum, {{plain(0), plain(1)}, {plain(1)}}), two({9, 33}, {33}),
      {9, 33, 0, 0, 0});
  // s[h, i, j] = q[i, h, d] k[j, h / 3, d]
  add("scores", equation(3, 4, sum, {{plain(1), plain(0), plain(3)}, {plain(2), {{{0, 1}}, 3}, plain(3)}}),
      two({5, 6, 16}, {17, 2, 16}), {6, 5, 17, 16, 0, 0, 0, 0, 0, 0});
  // o[i, h, d] = p[h, i, j] v[j, h / 3, d]
  add("values", equation(3, 4, sum, {{plain(1), plain(0), plain(3)}, {plain(3), {{{1, 1}}, 3}, plain(2)}}),
      two({6, 5, 17}, {17, 2, 9}), {5, 6, 9, 17, 0, 0, 0, 0, 0, 0});
  // A convolution: y[x] = f[x + k - 1] w[k], with zeros outside
  add("convolution", equation(1, 2, sum, {{{{{0, 1}, {1, 1}}, 1}}, {plain(1)}}), two({33}, {3}),
      {33, 3, -1, 0});
  // Every second element backwards: y[i, o] = f[2 * i - j + 1] w[j, o]
  add("strided", equation(2, 3, sum, {{{{{0, 2}, {2, -1}}, 1}}, {plain(2), plain(1)}}), two({31}, {9, 4}),
      {17, 4, 9, 1, 0, 0});
  // An index divided by a constant that is summed over: y[i] = f[(j + i) / 3] w[j]
  add("divided", equation(1, 2, sum, {{{{{0, 1}, {1, 1}}, 3}}, {plain(1)}}), two({9}, {17}), {7, 17, -4, 0});
  // Nothing is summed: y[i, d] = x[i, d] w[d]
  add("product", equation(2, 2, sum, {{plain(0), plain(1)}, {plain(1)}}), two({5, 65}, {65}),
      {5, 65, 0, 0, 0});
  // A shift: y[i] = x[i - 1]
  add("shift", equation(1, 1, sum, {{plain(0)}}), {tensor(cases.begin(), {17})}, {17, -1});
  // Whole rows outside, after the last and before the first: y[i, d] = x[i + 2, d] and x[i - 3, d]
  for (const int64_t offset : {2, -3})
    add("rows outside", equation(2, 2, sum, {{plain(0), plain(1)}}), {tensor(cases.begin(), {5, 33})},
        {7, 33, offset, 0});
  // A convolution of rows: y[i, o] = x[i + k - 1, d] w[k, d, o]
  add("rows convolved",
      equation(2, 4, sum, {{{{{0, 1}, {2, 1}}, 1}, plain(3)}, {plain(2), plain(3), plain(1)}}),
      two({9, 17}, {3, 17, 5}), {9, 5, 3, 17, -1, 0, 0, 0, 0});
  // A literal index and everything summed: y = x[2, j] z[j]
  add("dot", equation(0, 1, sum, {{{{}, 1}, plain(0)}, {plain(0)}}), two({4, 257}, {257}), {257, 2, 0, 0});
  // Two summed labels and a transposed result: y[k, i] = a[i, j, l] b[j, k, l]
  add("two sums", equation(2, 4, sum, {{plain(1), plain(2), plain(3)}, {plain(2), plain(0), plain(3)}}),
      two({5, 9, 7}, {9, 17, 7}), {17, 5, 9, 7, 0, 0, 0, 0, 0, 0});
  // A diagonal: y[i] = x[i, i]
  add("diagonal", equation(1, 1, sum, {{plain(0), plain(0)}}), {tensor(cases.begin(), {9, 9})}, {9, 0, 0});
}

void add_reductions(Cases& cases, DType dtype) {
  for (const Reduction reduction : kReductions) {
    Random& random = cases.begin();
    const bool small = reduction == Reduction::prod;
    const auto tensor = [&](const Shape& shape) {
      if (!small) return random_tensor(random, dtype, shape);
      return is_float(dtype) ? uniform_tensor(random, dtype, shape, 0.9, 1.1)
                             : integer_tensor(random, dtype, shape, -1, 2);
    };
    const Tensor a = tensor({5, 33}), b = tensor({33, 4}), c = tensor({5, 4});
    const std::string what = fmt::format("reduction {}", static_cast<int>(reduction));
    cases.add(Op::contract, what, {a, b},
              equation(2, 3, reduction, {{plain(0), plain(2)}, {plain(2), plain(1)}}),
              {.ints = {5, 4, 33, 0, 0, 0, 0}});
    cases.add(Op::contract, what, {a, b, c},
              equation(1, 3, reduction, {{plain(0), plain(1)}, {plain(1), plain(2)}, {plain(0), plain(2)}}),
              {.ints = {5, 33, 4, 0, 0, 0, 0, 0, 0}});
    cases.add(Op::contract, what, {a}, equation(1, 2, reduction, {{plain(0), plain(1)}}),
              {.ints = {5, 33, 0, 0}});
  }
}

}  // namespace

void add_contract_cases(Cases& cases) {
  for (const DType dtype : {DType::f32, DType::f16, DType::f64, DType::i32}) {
    for (const Layout layout : kLayouts) add_equations(cases, dtype, layout);
    add_reductions(cases, dtype);
  }
  for (const int64_t n : kSizes) {  // every extent of a matrix product in turn
    for (const auto& [i, j, k] :
         {std::array{n, int64_t{5}, int64_t{9}}, std::array{int64_t{3}, n, int64_t{17}},
          std::array{int64_t{5}, int64_t{7}, n}}) {
      Random& random = cases.begin();
      const Tensor a = random_tensor(random, cases.base, {i, k});
      cases.add(Op::contract, "matrix product", {a, random_tensor(random, cases.base, {j, k})},
                equation(2, 3, Reduction::sum, {{plain(0), plain(2)}, {plain(1), plain(2)}}),
                {.ints = {i, j, k, 0, 0, 0, 0}});
    }
  }
  Random& random = cases.begin();
  const Tensor mask = random_tensor(random, DType::boolean, {9, 17}),
               x = random_tensor(random, DType::f32, {9, 17});
  cases.add(Op::contract, "masked", {mask, x},
            equation(1, 2, Reduction::sum, {{plain(0), plain(1)}, {plain(0), plain(1)}}),
            {.ints = {9, 17, 0, 0, 0, 0}});
}

void add_matrix_cases(Cases& cases) {
  for (const int64_t n : kSizes)
    for (const auto& [i, k, j] :
         {std::array{n, int64_t{5}, int64_t{9}}, std::array{int64_t{3}, n, int64_t{17}},
          std::array{int64_t{5}, int64_t{7}, n}}) {
      Random& random = cases.begin();
      const Tensor a = random_tensor(random, cases.base, {i, k});
      cases.add(Op::matmul, "", {a, random_tensor(random, cases.base, {k, j})});
    }
  // One more than the blocks that the product is cut in: tiles of 6 x 16, 192 rows, 1024 columns, 256 terms.
  for (const auto& [i, k, j] : {std::array{193, 257, 17}, std::array{7, 9, 1025}, std::array{385, 5, 31},
                                std::array{205, 513, 6}, std::array{1, 300, 40}})
    for (const Layout layout : kLayouts) {
      Random& random = cases.begin();
      const Tensor a = laid_out(random_tensor(random, DType::f32, {i, k}), layout);
      cases.add(Op::matmul, fmt::format("blocks {}", to_string(layout)),
                {a, laid_out(random_tensor(random, DType::f32, {k, j}), layout)});
    }
  for (const DType dtype :
       {DType::f32, DType::f16, DType::bf16, DType::f64, DType::i8, DType::i32, DType::i64})
    for (const Layout layout : kLayouts)
      for (const auto& [a, b] :
           {std::pair{Shape{17, 33}, Shape{33, 9}}, std::pair{Shape{3, 1, 5, 7}, Shape{2, 7, 4}},
            std::pair{Shape{5, 7}, Shape{3, 7, 65}}}) {
        Random& random = cases.begin();
        const Tensor x = laid_out(random_tensor(random, dtype, a), layout);
        cases.add(Op::matmul, to_string(layout), {x, laid_out(random_tensor(random, dtype, b), layout)});
      }
  Random& random = cases.begin();
  const Tensor mixed = random_tensor(random, DType::f16, {9, 17});
  cases.add(Op::matmul, "mixed types", {mixed, random_tensor(random, DType::f32, {17, 5})});

  // More tiles of tensor cores than a GPU takes at once, of all sizes: of weights that they take in an odd
  // number of groups, and of float16 ones, whose results are written while the next tile is multiplied, in
  // fewer steps than there are rows to write.
  for (const auto& [type, in] : {std::pair{DType::q4_0, 32}, std::pair{DType::f16, 40}}) {
    Random& inner = cases.begin();
    const Tensor x = random_tensor(inner, cases.base, {1450, in}),
                 w = random_weights(inner, type, {2570, in});
    cases.add(Op::linear, "many tiles", {x, w}, {}, {}, Activations::q8);
  }
  // Few tiles and long sums, which a GPU may divide: into two and into four, of odd and of different lengths.
  for (const auto& [rows, in] : {std::pair{130, 2816}, std::pair{66, 5376}})
    for (const DType type : {DType::f16, DType::q4_0, DType::q6_k}) {
      Random& inner = cases.begin();
      const Tensor x = random_tensor(inner, cases.base, {rows, in}),
                   w = random_weights(inner, type, {132, in});
      cases.add(Op::linear, "long sums", {x, w}, {}, {}, Activations::q8);
    }
  for (const DType type : kWeights) {
    const int64_t block = info(type).block_elements;
    for (const Activations activations : {Activations::float32, Activations::q8}) {
      const char* what = activations == Activations::q8 ? "q8" : "float32";
      const bool is_halved = type == DType::f16 || type == DType::bf16;  // by tensor cores, as blocks are
      if (activations == Activations::q8 && block == 1 && !is_halved) continue;
      // Widths around every unrolling; for blocks, whole and partial groups of them.
      for (const int64_t width : kSizes) {
        const int64_t in = block == 1 ? width : width <= 17 ? width * block : 0;
        if (in == 0 || (block == 256 && width > 5)) continue;
        Random& inner = cases.begin();
        const Tensor x = random_tensor(inner, cases.base, {3, in});
        cases.add(Op::linear, what, {x, random_weights(inner, type, {7, in})}, {}, {}, activations);
      }
      // Numbers of rows of x and of the weights.
      for (const int64_t rows : {1, 2, 3, 4, 5, 7, 8, 9, 17, 33, 65})
        for (const int64_t out : {1, 5, 33}) {
          const int64_t in = block == 1 ? 40 : block == 32 ? 96 : 512;
          Random& inner = cases.begin();
          const Tensor x = random_tensor(inner, cases.base, {rows, in}),
                       w = random_weights(inner, type, {out, in});
          const Tensor bias = random_tensor(inner, cases.base, {out});
          cases.add(Op::linear, fmt::format("{} with bias", what), {x, w, bias}, {}, {}, activations);
        }
      // Several rows of x at once and one, several panels, and the last group of a panel cut short.
      if (block > 1) {
        Random& inner = cases.begin();
        const Tensor x = random_tensor(inner, cases.base, {9, 7 * block});
        cases.add(Op::linear, what, {x, random_weights(inner, type, {19, 7 * block})}, {}, {}, activations);
      }
      // Every second row of weights, with as many rows of x as tensor cores take.
      if (activations == Activations::q8) {
        const int64_t in = block == 1 ? 72 : block;
        Random& inner = cases.begin();
        const Tensor x = random_tensor(inner, cases.base, {65, in}),
                     w = random_weights(inner, type, {18, in});
        cases.add(Op::linear, fmt::format("{} every second row", what), {x, w.view({9, in}, {2 * in, 1}, in)},
                  {}, {}, activations);
      }
      // Several tiles of tensor cores, the last ones in part, and an odd number of the groups that they take
      // blocks in.
      if (activations == Activations::q8)
        for (const int64_t blocks : {3, block == 32 ? 9 : 4}) {
          const int64_t in = block == 1 ? 24 * blocks : block * blocks;
          Random& inner = cases.begin();
          const Tensor x = random_tensor(inner, cases.base, {129, in}),
                       w = random_weights(inner, type, {130, in});
          cases.add(Op::linear, what, {x, w}, {}, {}, activations);
        }
      for (const Layout layout : kLayouts) {
        const int64_t in = block == 1 ? 33 : block;
        Random& inner = cases.begin();
        const Tensor x = laid_out(
            random_tensor(inner, layout == Layout::sliced ? DType::f16 : cases.base, {2, 3, in}), layout);
        Tensor w = random_weights(inner, type, {18, in});
        if (block == 1)
          w = laid_out(w, layout);
        else if (layout == Layout::sliced)
          w = w.view({9, in}, {2 * in, 1}, in);  // every second row
        cases.add(Op::linear, fmt::format("{} {}", what, to_string(layout)), {x, w}, {}, {}, activations);
      }
    }
    Random& inner = cases.begin();
    const int64_t width = block == 1 ? 33 : 2 * block;
    const Tensor table = random_weights(inner, type, {19, width});
    cases.add(Op::embedding, "", {table, integer_tensor(inner, DType::i64, {17}, 0, 18)});
    cases.add(Op::embedding, "two axes",
              {table, laid_out(integer_tensor(inner, DType::i32, {3, 5}, 0, 18), Layout::permuted)});
    cases.add(Op::embedding, "one id", {table, integer_tensor(inner, DType::i64, {}, 18, 18)});
    if (block > 1)
      cases.add(
          Op::embedding, "every second row",
          {table.view({9, width}, {2 * width, 1}, width), integer_tensor(inner, DType::i64, {9}, 0, 8)});
  }
}

}  // namespace tl::test
