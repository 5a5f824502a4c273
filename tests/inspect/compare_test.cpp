// Comparing recordings: alignment by name and by structure, distances, and the first divergence.
#include "inspect/compare.h"

#include <gtest/gtest.h>

#include <cmath>
#include <fstream>

#include "inspect/faulty.h"
#include "inspect/structure.h"

namespace tl::test {
namespace {

using inspect::Comparison;
using inspect::Record;
using inspect::Recording;

const std::vector<int32_t> kIds{1, 17, 300, 42, 5, 599, 8};

Recording recorded(const Backend& backend, bool values = true, graph::PassOptions passes = {}) {
  ModelOn model(backend, passes);
  inspect::RecorderOptions options;
  if (values) options.keep = {"*"};
  inspect::Recorder recorder(model.session().pool(), options);
  model.watched(recorder, kIds);
  Recording recording;
  recording.info.tokens = kIds;
  recording.info.activations = backend.name() == "reference" ? "" : "q8";
  recording.records = recorder.take();
  return recording;
}

const Recording& reference() {
  static const Recording recording = recorded(reference_backend());
  return recording;
}

std::string first_of(const Comparison& c, const Recording& a) {
  return c.first < 0 ? "" : a.records[static_cast<size_t>(c.pairs[static_cast<size_t>(c.first)].a)].name;
}

TEST(Difference, OfKnownVectors) {
  const auto d = inspect::difference({3, 4, 0}, {3, 4.5, 0}, 0x1p-23);
  EXPECT_NEAR(d.nmse, 0.01, 1e-15);
  EXPECT_NEAR(d.relative(), 0.1, 1e-15);
  EXPECT_EQ(d.max_abs, 0.5);
  EXPECT_EQ(d.max_rel, 0.125);
  EXPECT_EQ(d.worst, 1);
  EXPECT_EQ(d.max_ulp, 0.5 / (4 * 0x1p-23));
  EXPECT_NEAR(d.cosine, (9 + 18) / (5 * std::sqrt(9 + 20.25)), 1e-15);
  const auto same = inspect::difference({1, NAN, INFINITY}, {1, NAN, INFINITY}, 0x1p-23);
  EXPECT_EQ(same.relative(), 0);
  EXPECT_EQ(inspect::difference({1, 2}, {1, NAN}, 0x1p-23).not_finite, 1);
  EXPECT_TRUE(std::isinf(inspect::difference({1, 2}, {1, NAN}, 0x1p-23).relative()));
  EXPECT_EQ(inspect::difference({0, 0}, {0, 0}, 0x1p-23).cosine, 1);
}

TEST(Compare, RoundingExplainsTheCpuBackend) {
  for (const bool values : {true, false}) {
    const Recording cpu = recorded(cpu_backend(), values);
    const Comparison c = inspect::compare(reference(), cpu);
    EXPECT_EQ(first_of(c, reference()), "");
    EXPECT_GT(c.pairs.size(), 60u);
    EXPECT_TRUE(c.only_b.empty());
    EXPECT_FALSE(c.only_a.empty());  // what the fused kernels keep to themselves
    EXPECT_EQ(c.inputs, "");
  }
}

TEST(Compare, FindsWhereAFaultBegins) {
  // From its second layer on: three rms_norms are right, the rest lose their weight.
  static int calls = 0;
  calls = 0;
  const FaultyBackend backend(Op::rms_norm, [](const KernelArgs& args) {
    right(Op::rms_norm, args);
    if (++calls <= 3) return;
    for (int64_t i = 0; i < args.out.elements(); ++i)
      store_double(args.out, i, 1.2 * load_double(args.out, i));
  });
  const Recording faulty = recorded(backend);
  const Comparison c = inspect::compare(reference(), faulty);
  EXPECT_EQ(first_of(c, reference()), "forward/layer[1]/#rms_norm:2");
  // What follows inherits its error, and is not accused of it.
  size_t beyond = 0;
  for (const auto& pair : c.pairs) beyond += pair.beyond;
  EXPECT_LE(beyond, 4u);
}

TEST(Compare, AlignsForeignNamesByTheirRoles) {
  Recording foreign;
  foreign.info.tokens = kIds;
  for (const auto& [name, ours] : std::vector<std::pair<std::string, std::string>>{
           {"inp_embd", "forward/x"},
           {"attn_norm-1", "forward/layer[1]/#rms_norm"},
           {"Qcur-1", "forward/layer[1]/attention/query"},
           {"kqv_out-1", "forward/layer[1]/attention/heads"},
           {"ffn_inp-1", "forward/layer[1]/x"},
           {"l_out-1", "forward/layer[1]/x:2"},
           {"model.layers.2.mlp.gate_proj", "forward/layer[2]/feed_forward/gate"},
           {"result_output", "forward/logits"}}) {
    Record r = *reference().find(ours);
    r.name = name;
    r.inputs.clear();
    foreign.records.push_back(r);
  }
  const Comparison c = inspect::compare(reference(), foreign);
  EXPECT_TRUE(c.only_b.empty());
  EXPECT_EQ(c.pairs.size(), foreign.records.size());
  for (const auto& pair : c.pairs) EXPECT_EQ(pair.error, 0);
}

TEST(Compare, AlignsByAMap) {
  Recording foreign;
  Record r = *reference().find("forward/layer[1]/x");
  r.name = "after attention";
  r.inputs.clear();
  foreign.records.push_back(r);
  EXPECT_TRUE(inspect::compare(reference(), foreign).pairs.empty());
  const testing_models::TemporaryFile map("names.map");
  std::ofstream(map.path()) << "# ours theirs\n\nforward/layer[1]/x  x1 # the residual stream\n";
  const auto names = inspect::read_name_map(map.path());
  ASSERT_EQ(names.size(), 1u);
  EXPECT_EQ(names[0].second, "x1");
  const Comparison c =
      inspect::compare(reference(), foreign, {.names = {{"forward/layer[1]/x", "after attention"}}});
  EXPECT_EQ(c.pairs.size(), 1u);
  std::ofstream(map.path()) << "one\n";
  try {
    inspect::read_name_map(map.path());
    ADD_FAILURE() << "a line of one name was taken";
  } catch (const FileError& e) {
    EXPECT_NE(std::string(e.what()).find("line 1: a line holds two names"), std::string::npos) << e.what();
  }
}

TEST(Compare, SaysThatOtherTokensWereFed) {
  Recording other = reference();
  other.info.tokens[2] = 4;
  EXPECT_EQ(inspect::compare(reference(), other).inputs,
            "token 2 is 300 in the first trace and 4 in the second");
  other.info.tokens = {1, 17};
  EXPECT_EQ(inspect::compare(reference(), other).inputs,
            "7 tokens were fed in the first trace and 2 in the second");
}

TEST(Compare, SeesThroughTheOrderOfRopesPairs) {
  Recording a, b;
  Record r;
  r.name = "q";
  r.op = "linear";
  r.shape = {3, 64};
  std::vector<float> halves(3 * 64), neighbours(3 * 64);
  for (size_t i = 0; i < halves.size(); ++i) halves[i] = std::sin(static_cast<float>(i * i));
  for (size_t head = 0; head < halves.size(); head += 32)
    for (size_t i = 0; i < 16; ++i)
      for (size_t part = 0; part < 2; ++part) neighbours[head + 2 * i + part] = halves[head + i + 16 * part];
  r.value = Tensor::from<float>(DType::f32, r.shape, halves);
  a.records.push_back(r);
  r.value = Tensor::from<float>(DType::f32, r.shape, neighbours);
  b.records.push_back(r);
  const Comparison c = inspect::compare(a, b);
  ASSERT_EQ(c.pairs.size(), 1u);
  EXPECT_EQ(c.pairs[0].error, 0);
  EXPECT_EQ(c.pairs[0].note, "equal up to the order of RoPE's pairs (head_dim 32)");
}

TEST(Compare, NoiseMeasuresWhatRoundingExplains) {
  Recording disturbed = reference();
  for (Record& r : disturbed.records) {
    if (!r.value || !is_float(r.dtype)) continue;
    Tensor t = converted(r.value, r.dtype);
    for (int64_t i = 0; i < t.elements(); ++i) store_double(t, i, load_double(t, i) * (1 + 1e-3));
    r.value = t;
  }
  const auto off_by = [&](double factor) {
    Recording b = reference();
    for (Record& r : b.records) {
      if (r.name != "forward/layer[1]/x") continue;
      Tensor t = converted(r.value, r.dtype);
      for (int64_t i = 0; i < t.elements(); ++i) store_double(t, i, load_double(t, i) * (1 + factor));
      r.value = t;
    }
    return first_of(inspect::compare(reference(), b, {.noise = {&disturbed}}), reference());
  };
  EXPECT_EQ(off_by(2e-3), "");
  EXPECT_EQ(off_by(4e-3), "forward/layer[1]/x");
}

TEST(Roles, AreToldByWeightsWhateverTheNames) {
  const Recording unfused = recorded(cpu_backend(), false, graph::PassOptions::none());
  const Recording fused = recorded(cpu_backend(), false);
  for (const Recording* recording : {&unfused, &fused}) {
    const auto found = inspect::roles(*recording);
    const auto name_of = [&](std::string_view role) -> std::string {
      for (size_t i = 0; i < found.size(); ++i)
        if (found[i] == role) return recording->records[i].name;
      return "";
    };
    EXPECT_EQ(name_of("token_embd"), "forward/x");
    EXPECT_EQ(name_of("blk.1.attn_norm"), "forward/layer[1]/#rms_norm");
    EXPECT_EQ(name_of("blk.1.ffn_norm"), "forward/layer[1]/#rms_norm:2");
    EXPECT_EQ(name_of("blk.1.attn_q.rope"), "forward/layer[1]/attention/query");
    EXPECT_EQ(name_of("blk.2.attn.heads"), "forward/layer[2]/attention/heads");
    EXPECT_EQ(name_of("blk.2.attn_residual"), "forward/layer[2]/x");
    EXPECT_EQ(name_of("blk.2.ffn_residual"), "forward/layer[2]/x:2");
    EXPECT_EQ(name_of("blk.0.ffn_up"), "forward/layer[0]/feed_forward/up");
    EXPECT_NE(name_of("blk.0.ffn_gated"), "");
    EXPECT_EQ(name_of("output"), "forward/logits");
    EXPECT_NE(name_of("output_norm"), "");
    EXPECT_EQ(name_of("blk.1.attn.weights"),
              recording == &unfused ? "forward/layer[1]/attention/weights" : "");
  }
}

TEST(Roles, OfForeignNames) {
  EXPECT_EQ(inspect::role_of_foreign_name("l_out-13"), "blk.13.ffn_residual");
  EXPECT_EQ(inspect::role_of_foreign_name("model.layers.7"), "blk.7.ffn_residual");
  EXPECT_EQ(inspect::role_of_foreign_name("model.layers.7.self_attn.k_proj"), "blk.7.attn_k");
  EXPECT_EQ(inspect::role_of_foreign_name("model.layers."), "");
  EXPECT_EQ(inspect::role_of_foreign_name("l_out-x"), "");
  EXPECT_EQ(inspect::role_of_foreign_name("forward/x"), "");
  EXPECT_EQ(inspect::layer_of("forward/layer[12]/x"), 12);
  EXPECT_EQ(inspect::layer_of("blk.3.attn_q"), 3);
  EXPECT_EQ(inspect::layer_of("l_out-4"), 4);
  EXPECT_EQ(inspect::layer_of("forward/logits"), -1);
}

}  // namespace
}  // namespace tl::test
