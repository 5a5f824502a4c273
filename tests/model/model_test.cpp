// Whole models: bits that do not depend on how they were computed, and numbers that equal the reference's.
#include <gtest/gtest.h>

#include <algorithm>
#include <cmath>
#include <fstream>
#include <sstream>

#include "lang/program.h"
#include "library/model_functions.h"
#include "model/running.h"

namespace tl {
namespace {

using testing_models::Running;
using testing_models::small_llama;
using testing_models::TemporaryFile;

std::vector<int32_t> ids(int n, int seed = 1) {
  std::vector<int32_t> out;
  for (int i = 0; i < n; ++i) out.push_back((7 + 131 * i * seed + 17 * i * i) % 600);
  return out;
}

/// Relative L2 distance, after looking for NaN and Inf.
double distance(const std::vector<float>& x, const std::vector<float>& y) {
  EXPECT_EQ(x.size(), y.size());
  double difference = 0, norm = 0;
  for (size_t i = 0; i < x.size(); ++i) {
    EXPECT_TRUE(std::isfinite(x[i]) && std::isfinite(y[i])) << "element " << i;
    difference += (double{x[i]} - y[i]) * (double{x[i]} - y[i]);
    norm += double{y[i]} * y[i];
  }
  return std::sqrt(difference / norm);
}

class SmallModel : public testing::TestWithParam<DType> {
 protected:
  SmallModel() : file_("small-" + std::string(name(GetParam())) + ".gguf") {
    synthesise_model(file_.path(), small_llama(GetParam()));
  }
  TemporaryFile file_;
};

TEST_P(SmallModel, SameBitsForAnyNumberOfThreads) {
  const auto prompt = ids(37);
  const auto one = Running(file_.path(), {.threads = 1}).all(prompt);
  for (const int threads : {1, 2, 4})
    EXPECT_EQ(Running(file_.path(), {.threads = threads}).all(prompt), one) << threads;
}

TEST_P(SmallModel, SameBitsForPromptAtOnceAndTokenByToken) {
  const auto prompt = ids(37);
  const auto at_once = Running(file_.path(), {}).all(prompt);
  Running stepwise(file_.path(), {});
  std::vector<float> rows;
  for (const int32_t id : prompt) {
    const auto row = stepwise.last({id});
    rows.insert(rows.end(), row.begin(), row.end());
  }
  EXPECT_EQ(rows, at_once);
  Running chunks(file_.path(), {});
  std::vector<float> pieces;
  for (const auto& [begin, end] : {std::pair{0, 5}, {5, 6}, {6, 29}, {29, 37}}) {
    const auto part = chunks.all({prompt.begin() + begin, prompt.begin() + end});
    pieces.insert(pieces.end(), part.begin(), part.end());
  }
  EXPECT_EQ(pieces, at_once);
}

TEST_P(SmallModel, SameBitsAfterForgetting) {
  Running model(file_.path(), {});
  const auto first = model.all(ids(9));
  model.all(ids(11, 3));
  model.runner().cache().truncate(0);
  EXPECT_EQ(model.all(ids(9)), first);
}

TEST_P(SmallModel, EqualsTheReference) {
  const auto prompt = ids(21);
  const auto reference = Running(file_.path(), {.reference = true}).all(prompt);
  const auto exact = Running(file_.path(), {.activations = Activations::float32}).all(prompt);
  EXPECT_LT(distance(exact, reference), 2e-5);
  // 8-bit activations: each row is rounded with relative error about 1 / (254 sqrt(3)) · (peak / rms), a few
  // in a thousand, at every one of 7 products a layer; with 3 layers the sum of independent errors stays
  // below 3 %.
  EXPECT_LT(distance(Running(file_.path(), {}).all(prompt), reference), 0.03);
}

TEST_P(SmallModel, UnfusedIsTheSameWithinRounding) {
  const auto prompt = ids(13);
  const Running::Options unfused{.activations = Activations::float32, .passes = graph::PassOptions::none()};
  EXPECT_LT(distance(Running(file_.path(), unfused).all(prompt),
                     Running(file_.path(), {.activations = Activations::float32}).all(prompt)),
            1e-5);
}

/// Only attention rounds otherwise than what it stands for.
TEST_P(SmallModel, SameBitsWithoutEachOtherFusion) {
  const auto prompt = ids(13);
  const auto fused = Running(file_.path(), {}).all(prompt);
  for (const char* name : {"swiglu", "products"}) {
    Running::Options options;
    options.passes.switch_off(name);
    EXPECT_EQ(Running(file_.path(), options).all(prompt), fused) << name;
  }
}

INSTANTIATE_TEST_SUITE_P(Types, SmallModel,
                         testing::Values(DType::q4_0, DType::q8_0, DType::q6_k, DType::f16, DType::f32),
                         [](const auto& test) { return std::string(name(test.param)); });

class Model : public testing::Test {
 protected:
  Model() : file_("model.gguf") { synthesise_model(file_.path(), small_llama(DType::q4_0)); }
  TemporaryFile file_;
};

TEST_F(Model, ThreeHundredTokensMakeAtMostThreePlans) {
  Running model(file_.path(), {});
  model.last(ids(20));
  for (int i = 0; i < 300; ++i) model.last({i});
  EXPECT_LE(model.session().statistics().plans, 3);
  EXPECT_EQ(model.session().statistics().runs, 301);
}

TEST_F(Model, AttentionIsFusedFromItsEquations) {
  std::string plan;
  Running model(file_.path(), {.dump_graph = [&](const std::string& text) { plan += text; }});
  model.last(ids(5));
  EXPECT_NE(plan.find("= attention("), std::string::npos) << plan;
  EXPECT_EQ(plan.find("= softmax("), std::string::npos) << plan;
  EXPECT_NE(plan.find("= swiglu("), std::string::npos) << plan;
  EXPECT_NE(plan.find("forward/layer[2]/attention/heads"), std::string::npos) << plan;
}

TEST_F(Model, FewerLayers) {
  const auto prompt = ids(6);
  for (const int64_t layers : {0, 1, 2}) {
    const Running::Options cpu{.activations = Activations::float32, .layers = layers},
        reference{.reference = true, .layers = layers};
    EXPECT_LT(distance(Running(file_.path(), cpu).all(prompt), Running(file_.path(), reference).all(prompt)),
              2e-5)
        << layers;
  }
  EXPECT_THROW(Running(file_.path(), {.layers = 4}), Error);
}

TEST_F(Model, HalfCacheIsCloseToFloatCache) {
  const auto prompt = ids(30);
  const auto exact = Running(file_.path(), {.activations = Activations::float32}).all(prompt);
  // float16 keeps 11 bits of keys and values: 2^-12 relative at most each.
  EXPECT_LT(distance(Running(file_.path(),
                             {.activations = Activations::float32, .caches = {DType::f16, DType::f16}})
                         .all(prompt),
                     exact),
            2e-3);
}

TEST_F(Model, FullContextIsSaid) {
  Running model(file_.path(), {.context = 8});
  model.all(ids(6));
  try {
    model.all(ids(3));
    FAIL() << "no error";
  } catch (const Error& e) {
    EXPECT_NE(
        std::string(e.what()).find("the context is full: 6 of 8 tokens are used, and 3 more do not fit"),
        std::string::npos)
        << e.what();
  }
  EXPECT_EQ(model.runner().cache().length(), 6);
  model.all(ids(2));
}

TEST_F(Model, IdsOutOfRangeAreNamed) {
  Running model(file_.path(), {});
  try {
    model.all({5, 600});
    FAIL() << "no error";
  } catch (const Error& e) {
    EXPECT_NE(std::string(e.what()).find("600"), std::string::npos) << e.what();
  }
  EXPECT_EQ(model.runner().cache().length(), 0);
}

/// The operations of a plan with the types of their results, sorted: "attention float32 [5, 8, 32]".
std::vector<std::string> operations_of(const std::string& plan) {
  std::vector<std::string> operations;
  std::istringstream lines(plan);
  for (std::string line; std::getline(lines, line);) {
    const size_t begin = line.find(" = ") + 3, open = line.find('(', begin), close = line.find(')', open);
    const size_t type_end = line.find("  // fuses");
    operations.push_back(line.substr(begin, open - begin) + line.substr(close + 1, type_end - close - 1));
  }
  std::sort(operations.begin(), operations.end());
  return operations;
}

/// The model program with its attention equations written another way gives the same plan.
class Spelling : public testing::TestWithParam<std::pair<const char*, const char*>> {};

TEST_P(Spelling, GivesTheSamePlan) {
  const TemporaryFile file("spelling.gguf"), program("spelling.tl");
  synthesise_model(file.path(), small_llama(DType::q8_0));
  std::string text;
  {
    std::ifstream in(TL_SOURCE_DIR "/models/llama.tl");
    text.assign(std::istreambuf_iterator<char>(in), {});
  }
  const size_t begin = text.find("    scores[h, i, j]"), end = text.find("    return linear(heads");
  ASSERT_NE(begin, std::string::npos);
  ASSERT_NE(end, std::string::npos);
  text.replace(begin, end - begin, GetParam().second);
  std::ofstream(program.path()) << text;
  std::string ours, theirs;
  const auto prompt = ids(17);
  const auto expected =
      Running(file.path(), {.dump_graph = [&](const std::string& t) { ours += t; }}).all(prompt);
  const auto actual = Running(file.path(), {.dump_graph = [&](const std::string& t) { theirs += t; },
                                            .program = program.path()})
                          .all(prompt);
  const auto operations = operations_of(theirs);
  EXPECT_EQ(std::count(operations.begin(), operations.end(), "attention float32 [17, 8, 32]"), 3) << theirs;
  for (const char* unfused : {"= contract(", "= softmax("})
    EXPECT_EQ(theirs.find(unfused), std::string::npos) << theirs;
  // An einsum has no way to write h / group: its keys and values are repeated before it.
  if (std::string_view(GetParam().first) != "einsum") {
    EXPECT_EQ(operations, operations_of(ours));
  }
  EXPECT_LT(distance(actual, expected), 1e-6);
}

INSTANTIATE_TEST_SUITE_P(Attention, Spelling,
                         testing::Values(std::pair{"renamed", R"(
    s[head, row, col]  = query[row, head, e] * keys[col, head / group, e] / sqrt(c.head_dim)
    w[head, row, col.] = softmax(s[head, row, col]) where col <= row + pos
    heads[row, head, e] = w[head, row, col] * values[col, head / group, e]
)"},
                                         std::pair{"reordered", R"(
    scores[h, i, j]   = keys[j, h / group, d] * query[i, h, d] / sqrt(c.head_dim)
    weights[h, i, j.] = softmax(scores[h, i, j]) where i + pos >= j
    heads[i, h, d]    = values[j, h / group, d] * weights[h, i, j]
)"},
                                         std::pair{"juxtaposed", R"(
    scores[h, i, j]   = query[i, h, d] keys[j, h / group, d] / sqrt(c.head_dim)
    weights[h, i, j.] = softmax(scores[h, i, j]) where j < i + pos + 1
    heads[i, h, d]    = weights[h, i, j] values[j, h / group, d]
)"},
                                         std::pair{"inlined", R"(
    weights[h, i, j.] = softmax(query[i, h, d] * keys[j, h / group, d] / sqrt(c.head_dim)) where j - i <= pos
    heads[i, h, d]    = weights[h, i, j] * values[j, h / group, d]
)"},
                                         std::pair{"scaled", R"(
    scores[h, i, j]   = (1 / sqrt(c.head_dim)) * query[i, h, d] * keys[j, h / group, d]
    weights[h, i, j.] = softmax(scores[h, i, j]) where j <= i + pos
    heads[i, h, d]    = weights[h, i, j] * values[j, h / group, d]
)"},
                                         std::pair{"einsum", R"(
    let every = c.n_heads / c.n_kv_heads
    let wide = [shape(keys)[0], c.n_kv_heads, every, c.head_dim]
    let k_all = keys.reshape([-1, c.n_kv_heads, 1, c.head_dim]).broadcast_to(wide).reshape([-1, c.n_heads, c.head_dim])
    let v_all = values.reshape([-1, c.n_kv_heads, 1, c.head_dim]).broadcast_to(wide).reshape([-1, c.n_heads, c.head_dim])
    let scores = einsum("ihd,jhd->hij", query, k_all) / sqrt(c.head_dim)
    weights[h, i, j.] = softmax(scores[h, i, j]) where j <= i + pos
    let heads = einsum("hij,jhd->ihd", weights, v_all)
)"},
                                         std::pair{"query_first", R"(
    scores[i, h, j]   = query[i, h, d] * keys[j, h / group, d] / sqrt(c.head_dim)
    weights[i, h, j.] = softmax(scores[i, h, j]) where j <= i + pos
    heads[i, h, d]    = weights[i, h, j] * values[j, h / group, d]
)"}),
                         [](const auto& test) { return std::string(test.param.first); });

}  // namespace
}  // namespace tl
