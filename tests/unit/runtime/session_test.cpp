// Planning and execution: fused against unfused, reuse of plans and buffers, what is kept, what is told.
#include <gtest/gtest.h>

#include <cmath>
#include <cstring>
#include <random>

#include "graph/builder.h"
#include "runtime/session.h"

namespace tl {
namespace {

using graph::NodeRef;

NodeRef random(const Shape& shape, unsigned seed) {
  std::mt19937 generator(seed);
  std::normal_distribution<float> normal;
  Tensor t(DType::f32, shape);
  for (int64_t i = 0; i < t.elements(); ++i) t.data<float>()[i] = normal(generator);
  return graph::constant(t);
}

struct Attention {
  NodeRef q, k, v;
  int64_t pos;
  int64_t group;
};

NodeRef causal_mask(const Shape& shape, std::vector<int64_t> coefficients, int64_t pos) {
  Params params;
  for (const int64_t d : shape) params.ints.push_back(d);
  params.ints.push_back(pos);
  return graph::make(Op::affine_mask, {}, AffineMaskAttrs{std::move(coefficients)}, std::move(params));
}

/// scores in the axis order (h, i, j) or (i, h, j); scaled by / or *.
NodeRef attend(const Attention& a, bool query_first, bool multiply, bool swap,
               NodeRef* weights_out = nullptr) {
  const int64_t n = a.q->shape()[0], m = a.k->shape()[0], heads = a.q->shape()[1], dim = a.q->shape()[2];
  enum { h, i, j, d };
  const std::vector<int64_t> sizes{heads, n, m, dim};
  graph::Operand q{a.q, {{{{i, 1}}}, {{{h, 1}}}, {{{d, 1}}}}},
      k{a.k, {{{{j, 1}}}, {{{h, 1}}, 0, a.group}, {{{d, 1}}}}};
  graph::Operand v{a.v, {{{{j, 1}}}, {{{h, 1}}, 0, a.group}, {{{d, 1}}}}};
  const std::vector<int> order = query_first ? std::vector<int>{i, h, j} : std::vector<int>{h, i, j};
  NodeRef scores = graph::contract(swap ? std::vector{k, q} : std::vector{q, k}, order, sizes);
  const double root = std::sqrt(static_cast<double>(dim));
  scores = multiply ? graph::binary(Op::mul, graph::scalar(1 / root), scores)
                    : graph::binary(Op::div, scores, graph::scalar(root));
  const NodeRef mask =
      query_first ? causal_mask({n, 1, m}, {1, 0, -1}, a.pos) : causal_mask({1, n, m}, {0, 1, -1}, a.pos);
  const NodeRef weights = graph::softmax(scores, 2, mask);
  if (weights_out != nullptr) *weights_out = weights;
  graph::Operand w{weights, {}};
  for (const int l : order) w.axes.push_back({{{l, 1}}, 0, 1});
  return graph::contract(swap ? std::vector{v, w} : std::vector{w, v}, {i, h, d}, sizes);
}

Attention example(int64_t n, int64_t pos, unsigned seed) {
  return {random({n, 6, 16}, seed), random({n + pos, 2, 16}, seed + 1), random({n + pos, 2, 16}, seed + 2),
          pos, 3};
}

double largest_difference(const Tensor& a, const Tensor& b) {
  EXPECT_EQ(a.shape(), b.shape());
  const Tensor x = converted(a, DType::f64), y = converted(b, DType::f64);
  double worst = 0;
  for (int64_t i = 0; i < x.elements(); ++i) {
    EXPECT_TRUE(std::isfinite(x.data<double>()[i]));
    worst = std::max(worst, std::abs(x.data<double>()[i] - y.data<double>()[i]));
  }
  return worst;
}

class Dump {
 public:
  SessionOptions options(graph::PassOptions passes = {}) {
    SessionOptions o;
    o.n_threads = 2;
    o.passes = passes;
    o.dump_graph = [this](const std::string& text) { text_ += text; };
    return o;
  }
  bool mentions(const std::string& what) const { return text_.find(what) != std::string::npos; }
  std::string text_;
};

TEST(FuseAttention, EverySpellingIsFoundAndGivesTheReferenceResult) {
  for (const bool query_first : {false, true}) {
    for (const bool multiply : {false, true}) {
      for (const bool swap : {false, true}) {
        SCOPED_TRACE(testing::Message() << query_first << multiply << swap);
        const Attention a = example(5, 3, 1);
        Dump fused, unfused;
        Session cpu(cpu_backend(), nullptr, fused.options()),
            plain(cpu_backend(), nullptr, unfused.options(graph::PassOptions::none()));
        Session reference(reference_backend(), nullptr);
        const Tensor x = cpu.value(attend(a, query_first, multiply, swap));
        EXPECT_TRUE(fused.mentions("= attention(")) << fused.text_;
        EXPECT_FALSE(fused.mentions("softmax(")) << fused.text_;
        EXPECT_LT(largest_difference(x, plain.value(attend(a, query_first, multiply, swap))), 1e-5);
        EXPECT_FALSE(unfused.mentions("= attention("));
        EXPECT_LT(largest_difference(x, reference.value(attend(a, query_first, multiply, swap))), 1e-5);
      }
    }
  }
}

TEST(Plans, ProductsOfTheSameRowsFollowOneAnother) {
  Dump dump;
  Session cpu(cpu_backend(), nullptr, dump.options()), reference(reference_backend(), nullptr);
  const NodeRef rows = random({3, 8}, 1), others = random({3, 8}, 2),
                weights[] = {random({4, 8}, 3), random({4, 8}, 4)};
  const auto build = [&] {
    const NodeRef x = graph::unary(Op::neg, rows);
    const auto product = [&](const NodeRef& of, int w) {
      return graph::unary(Op::tanh, graph::linear(of, weights[w]));
    };
    const NodeRef sum = graph::binary(Op::add, product(x, 0), product(graph::unary(Op::abs, others), 0));
    return graph::binary(Op::add, sum, product(x, 1));
  };
  EXPECT_LT(largest_difference(cpu.value(build()), reference.value(build())), 1e-5);
  std::string order;
  for (const char* at = dump.text_.c_str(); (at = std::strstr(at, "= ")) != nullptr; at += 2)
    order += at[2];  // neg, linear, tanh, abs, add
  EXPECT_EQ(order, "nlltaltata") << dump.text_;
}

TEST(FuseAttention, NotWhereSomebodyWantsTheWeights) {
  Dump dump;
  Session cpu(cpu_backend(), nullptr, dump.options());
  NodeRef weights;
  const NodeRef out = attend(example(4, 2, 5), false, false, false, &weights);
  const NodeRef both[] = {out, weights};
  cpu.compute(both);
  EXPECT_FALSE(dump.mentions("= attention(")) << dump.text_;
  EXPECT_TRUE(weights->value);
}

TEST(FuseAttention, NotWhenTheMaskIsAnother) {
  const Attention a = example(4, 2, 9);
  Dump dump;
  Session cpu(cpu_backend(), nullptr, dump.options()), reference(reference_backend(), nullptr);
  const auto build = [&] {
    const NodeRef scores = graph::einsum("ihd,jhd->hij", {a.q, graph::concat({a.k, a.k, a.k}, 1)});
    const NodeRef weights =
        graph::softmax(scores, 2, causal_mask({1, 4, 6}, {0, -1, 1}, 4));  // the future, not the past
    return graph::einsum("hij,jhd->ihd", {weights, graph::concat({a.v, a.v, a.v}, 1)});
  };
  const Tensor x = cpu.value(build());
  EXPECT_FALSE(dump.mentions("= attention(")) << dump.text_;
  EXPECT_LT(largest_difference(x, reference.value(build())), 1e-5);
}

TEST(FuseSwiglu, BothOrders) {
  for (const bool swap : {false, true}) {
    Dump dump;
    Session cpu(cpu_backend(), nullptr, dump.options()), reference(reference_backend(), nullptr);
    const NodeRef gate = random({3, 37}, 1), up = random({3, 37}, 2);
    const auto build = [&] {
      const NodeRef s = graph::unary(Op::silu, gate);
      return swap ? graph::binary(Op::mul, up, s) : graph::binary(Op::mul, s, up);
    };
    const Tensor x = cpu.value(build());
    EXPECT_TRUE(dump.mentions("= swiglu("));
    EXPECT_LT(largest_difference(x, reference.value(build())), 1e-5);
  }
}

TEST(PlanCache, LengthsAndPositionsDoNotMakeNewPlans) {
  Session cpu(cpu_backend(), nullptr);
  const NodeRef k_state = graph::constant(Tensor(DType::f32, {64, 2, 16})),
                v_state = graph::constant(Tensor(DType::f32, {64, 2, 16}));
  int64_t pos = 0;
  for (const int64_t n : {7, 1, 1, 1, 5, 1, 1}) {
    const NodeRef k = graph::cache_append(k_state, random({n, 2, 16}, 3), pos),
                  v = graph::cache_append(v_state, random({n, 2, 16}, 4), pos);
    cpu.value(attend({random({n, 6, 16}, 5), k, v, pos, 3}, false, false, false));
    pos += n;
  }
  EXPECT_EQ(cpu.statistics().plans, 1);
  EXPECT_EQ(cpu.statistics().runs, 7);
}

TEST(Execution, ValuesThatVariablesHoldAreKept) {
  Session cpu(cpu_backend(), nullptr);
  const NodeRef x = random({4, 4}, 1);
  const NodeRef held = graph::unary(Op::exp, x);
  const NodeRef root = graph::reduce(Op::reduce_sum, graph::unary(Op::sqrt, held), {}, false);
  cpu.value(root);
  EXPECT_TRUE(held->value);
  EXPECT_TRUE(held->inputs.empty());
  EXPECT_TRUE(root->inputs.empty());
}

TEST(Execution, ReusedBuffersDoNotOverwriteLivingValues) {
  // A strided reshape copies: its buffer must live as long as its readers, and so must a view's.
  Session cpu(cpu_backend(), nullptr), reference(reference_backend(), nullptr);
  const NodeRef x = random({6, 10}, 1);
  const auto build = [&] {
    NodeRef t = graph::reshape(graph::permute(graph::unary(Op::exp, x), {1, 0}), {60});
    NodeRef other = x;
    for (int i = 0; i < 5; ++i) other = graph::unary(i % 2 ? Op::tanh : Op::neg, other);
    const NodeRef a = graph::reshape(other, {60});
    return graph::binary(Op::sub, graph::binary(Op::mul, t, a), t);
  };
  EXPECT_LT(largest_difference(cpu.value(build()), reference.value(build())), 1e-4);
}

TEST(Execution, Float64IsComputedInFloat64) {
  Session cpu(cpu_backend(), &reference_backend());
  const NodeRef x = graph::scalar(1.0, DType::f64);
  const NodeRef y = graph::binary(Op::add, x, graph::scalar(1e-12, DType::f64));
  const Tensor difference = cpu.value(graph::binary(Op::sub, y, x));
  EXPECT_EQ(difference.dtype(), DType::f64);
  EXPECT_NEAR(load_double(difference, 0), 1e-12, 1e-15);
}

TEST(Execution, AFallbackThatTakesTimeIsSaidOnce) {
  std::vector<std::string> notices;
  SessionOptions options;
  options.notice = [&](const std::string& text) { notices.push_back(text); };
  Session cpu(cpu_backend(), &reference_backend(), options);
  const auto add = [&](int64_t n) {
    const NodeRef x = graph::constant(
        Tensor::from<double>(DType::f64, {n}, std::vector<double>(static_cast<size_t>(n), 0.5)));
    cpu.value(graph::binary(Op::add, x, x));
  };
  add(1000);
  EXPECT_TRUE(notices.empty()) << "small ones cost nothing";
  add(100'000);
  add(200'000);
  EXPECT_EQ(notices, std::vector<std::string>{
                         "[cpu] no kernel for 'add' (float64): computed by the reference backend"});
}

TEST(Execution, HalfTensorsAreComputedInFloat32AndRoundedOnce) {
  Session cpu(cpu_backend(), nullptr);
  const std::vector<float> values{1.0f, 2049.0f, 3.0f};
  const NodeRef x = graph::cast(graph::constant(Tensor::from<float>(DType::f32, {3}, values)), DType::f16);
  const Tensor sum = cpu.value(graph::reduce(Op::reduce_sum, x, {}, false));
  EXPECT_EQ(sum.dtype(), DType::f16);
  EXPECT_EQ(load_double(sum, 0),
            2052.0);  // 1 + 2048 + 3: 2049 rounds to even at the cast, the sum only at its end
}

struct Watcher : Observer {
  void on_run(const graph::Plan& plan, const graph::Trace&) override { steps += plan.steps.size(); }
  void on_step(const ExecutedStep& s) override {
    seen.push_back(std::string(name(s.step.op)) + " " + s.node.path() + " " + to_string(s.output.shape()));
    inputs.assign(s.inputs.begin(), s.inputs.end());
    params = s.params;
  }
  size_t steps = 0;
  std::vector<Tensor> inputs;
  Params params;
  std::vector<std::string> seen;
};

TEST(Observer, SeesFusedStepsAsOneAndBitsStayTheSame) {
  Session cpu(cpu_backend(), nullptr);
  const Attention a = example(3, 2, 7);
  const Tensor plain = cpu.value(attend(a, false, false, false));
  Watcher watcher;
  cpu.set_observer(&watcher);
  const Tensor watched = cpu.value(attend(a, false, false, false));
  ASSERT_EQ(watcher.seen.size(), 1u);
  EXPECT_EQ(watcher.seen[0], "attention #contract [3, 6, 16]");
  EXPECT_EQ(watcher.steps, 1u);
  ASSERT_EQ(watcher.inputs.size(), 3u);
  EXPECT_EQ(watcher.inputs[0].bytes(), a.q->value.bytes());
  EXPECT_EQ(watcher.params.floats[0], 0.25);  // bound from the division by sqrt(16)
  EXPECT_EQ(std::memcmp(plain.bytes(), watched.bytes(), static_cast<size_t>(plain.elements()) * 4), 0);
}

}  // namespace
}  // namespace tl
