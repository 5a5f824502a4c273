// What a KV cache is kept in: blocks of 8 bits keep the contract, and cost what rounding to them costs.
#include <gtest/gtest.h>

#include <cmath>
#include <fstream>
#include <functional>
#include <sstream>

#include "llm/sampling.h"
#include "model/running.h"

namespace tl {
namespace {

using testing_models::Running;
using testing_models::small_llama;
using testing_models::TemporaryFile;

class CacheType : public testing::Test {
 protected:
  CacheType() : model_("cache.gguf") { synthesise_model(model_.path(), small_llama(DType::f16)); }

  static std::vector<int32_t> ids(int n) {
    std::vector<int32_t> out;
    for (int i = 0; i < n; ++i) out.push_back((7 + 41 * i + 3 * i * i) % 600);
    return out;
  }
  std::vector<float> all(const Running::Options& options, int n = 90) {
    return Running(model_.path(), options).all(ids(n));
  }
  /// The largest mean divergence of the distributions of two runs, in nats.
  static double divergence(std::span<const float> p, std::span<const float> q) {
    constexpr size_t kWidth = 600;
    double sum = 0;
    for (size_t row = 0; row < p.size(); row += kWidth) {
      const auto a = log_probabilities(p.subspan(row, kWidth)), b = log_probabilities(q.subspan(row, kWidth));
      for (size_t i = 0; i < kWidth; ++i) sum += std::exp(a[i]) * (a[i] - b[i]);
    }
    return sum / static_cast<double>(p.size() / kWidth);
  }
  /// llama.tl with something added after its cache's update.
  TemporaryFile program(const std::string& addition) {
    std::ifstream in(TL_SOURCE_DIR "/models/llama.tl");
    std::stringstream text;
    text << in.rdbuf();
    std::string program = text.str();
    const std::string update = "let (keys, values) = cache.update(layer, rotate(k, pos, m), v)";
    program.insert(program.find(update) + update.size(), "\n    " + addition);
    TemporaryFile file("cache.tl");
    std::ofstream(file.path()) << program;
    return file;
  }

  TemporaryFile model_;
};

constexpr DType kQ8 = DType::q8_0;

TEST_F(CacheType, BlocksKeepTheContract) {
  const std::vector<CacheTypes> both = {{kQ8, kQ8}, {kQ8, DType::f32}, {DType::f16, kQ8}};
  for (const CacheTypes& types : both) {
    const auto expected = all({.threads = 1, .caches = types});
    EXPECT_EQ(all({.threads = 3, .caches = types}), expected);
    Running model(model_.path(), {.caches = types});
    std::vector<float> rows;
    for (const int32_t id : ids(90)) {
      const auto row = model.last({id});
      rows.insert(rows.end(), row.begin(), row.end());
    }
    EXPECT_EQ(rows, expected);
    EXPECT_GE(model.session().statistics().replays, 80);
  }
}

TEST_F(CacheType, BlocksCostLittle) {
  const auto exact = all({.reference = true});
  const double f32 = divergence(exact, all({})),
               f16 = divergence(exact, all({.caches = {DType::f16, DType::f16}})),
               q8 = divergence(exact, all({.caches = {kQ8, kQ8}}));
  EXPECT_LT(f32, f16);
  EXPECT_LT(f16, q8);
  EXPECT_LT(q8, 1e-3);
}

/// Nothing is converted for all that the cache holds, once a token.
TEST_F(CacheType, AttentionReadsWhatIsKept) {
  for (const DType type : {DType::f32, DType::f16, kQ8}) {
    std::string plans;
    Running model(model_.path(),
                  {.caches = {type, type}, .dump_graph = [&](const std::string& plan) { plans += plan; }});
    model.all(ids(5));
    model.last({3});
    EXPECT_NE(plans.find("attention"), std::string::npos);
    EXPECT_EQ(plans.find("= cast("), std::string::npos) << name(type);
  }
}

TEST_F(CacheType, TheReferenceKeepsFloat64) {
  EXPECT_EQ(all({.reference = true, .caches = {kQ8, kQ8}}, 20), all({.reference = true}, 20));
}

TEST_F(CacheType, UnfusedOperationsReadTheSameNumbers) {
  const Running::Options options{.activations = Activations::float32, .caches = {kQ8, kQ8}};
  Running::Options plain = options;
  plain.passes = graph::PassOptions::none();
  const auto fused = all(options), unfused = all(plain);
  Running::Options exact = options;
  exact.caches = {};
  const double rounding = divergence(all(exact), fused);
  EXPECT_GT(rounding, 0);
  EXPECT_LT(divergence(fused, unfused), 0.1 * rounding);
}

/// Views, sums and prints of what the cache gives are those of its numbers.
TEST_F(CacheType, ProgramsSeeNumbers) {
  const auto plain = all({.caches = {kQ8, kQ8}});
  for (const char* addition : {"let query = query + 0 * mean(keys[-1:])",
                               "let query = query + 0 * sum(permute(values, [2, 0, 1])[3])",
                               "let query = query + 0 * sum(reshape(keys, [-1]))",
                               "assert(max(abs(keys)) > 0)", "assert(type(keys)[0:7] == \"float32\")"}) {
    const TemporaryFile changed = program(addition);
    EXPECT_EQ(all({.caches = {kQ8, kQ8}, .program = changed.path()}), plain) << addition;
  }
}

TEST_F(CacheType, WhatWasCutIsWrittenAgain) {
  Running model(model_.path(), {.caches = {kQ8, kQ8}});
  const auto expected = all({.caches = {kQ8, kQ8}});
  model.all(ids(90));
  model.runner().truncate(33);
  auto rest = ids(90);
  rest.erase(rest.begin(), rest.begin() + 33);
  const auto rows = model.all(rest);
  EXPECT_TRUE(std::equal(rows.begin(), rows.end(), expected.begin() + 33 * 600));
}

TEST_F(CacheType, BlocksTakeAQuarter) {
  const HyperParameters config = Running(model_.path(), {}).runner().model().config();
  const int64_t f32 = KvCache(config, 64, {}).bytes();
  EXPECT_EQ(KvCache(config, 64, {kQ8, kQ8}).bytes(), f32 * 34 / 128);
  EXPECT_EQ(KvCache(config, 64, {DType::f32, kQ8}).bytes(), f32 / 2 + f32 / 2 * 34 / 128);
}

std::string message_of(const std::function<void()>& fails) {
  try {
    fails();
  } catch (const Error& error) {
    return error.what();
  }
  return "";
}

TEST_F(CacheType, MistakesAreExplained) {
  HyperParameters config = Running(model_.path(), {}).runner().model().config();
  EXPECT_EQ(message_of([&] {
              KvCache(config, 64, {DType::q4_0, DType::f32});
            }),
            "a KV cache holds float16, float32, float64 or q8_0, not q4_0");
  config.head_dim = 24;
  EXPECT_EQ(message_of([&] {
              KvCache(config, 64, {DType::f32, kQ8});
            }),
            "a KV cache in q8_0 needs heads of whole blocks of 32, and this model's have 24");
}

/// A backend that cannot read blocks.
class Floats final : public Backend {
 public:
  std::string_view name() const override { return "floats"; }
  const KernelTable& kernels() const override { return cpu_backend().kernels(); }
  DType storage(DType dtype) const override { return dtype; }
  bool fuses() const override { return true; }
  std::string description() const override { return ""; }
};

TEST_F(CacheType, BackendsThatCannotSaySo) {
  const Floats backend;
  Session session(backend, nullptr);
  HostOptions options;
  options.cache = {DType::f16, kQ8};
  const RuntimeHost host(session, options);
  EXPECT_EQ(message_of([&] { host.cache_types(); }),
            "the floats backend keeps no KV cache in q8_0: take f32 or f16");
}

}  // namespace
}  // namespace tl
