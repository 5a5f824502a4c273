// Faults planted in a small model are found, named and placed; where nothing is wrong nothing is found.
#include "inspect/diagnosis.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <cmath>
#include <set>

#include "inspect/faulty.h"
#include "inspect/invariants.h"
#include "inspect/plant.h"

namespace tl::test {
namespace {

using inspect::Fault;
using inspect::Recording;

/// More heads than groups, 4-bit weights, ids that float16 cannot hold.
const std::string& planted_model() {
  static const testing_models::TemporaryFile file("planted.gguf");
  static const std::string path = [] {
    SynthOptions o = testing_models::small_llama(DType::q4_0);
    o.vocab = 4200;
    synthesise_model(file.path(), o, {});
    return file.path();
  }();
  return path;
}

const std::vector<int32_t> kIds{1, 17, 300, 42, 5, 4099, 8, 77, 200, 3001, 16};

/// A run of the model: all but two tokens at once, then one by one.
Recording recorded(const Backend& backend, const std::vector<std::string>& plants,
                   const std::string& program = {}) {
  SessionOptions options;
  options.n_threads = 2;
  options.passes = graph::PassOptions::none();
  options.precision.activations = Activations::float32;
  std::vector<inspect::Plant> parsed;
  for (const std::string& text : plants) parsed.push_back(inspect::parse_plant(text));
  inspect::Planter planter(parsed);
  options.rewrite = [&](std::span<const graph::NodeRef> roots) { planter.rewrite(roots); };
  options.kernel = [&](const graph::Step& step, const graph::Trace& trace) {
    return planter.kernel(step, trace);
  };
  Session session(backend, &reference_backend(), options);
  HostOptions host_options;
  host_options.context_length = 64;
  host_options.programs_dir = TL_SOURCE_DIR "/models";
  host_options.program = program;
  RuntimeHost host(session, host_options);
  ModelRunner runner(host.open_model(planted_model()), host);
  inspect::Recorder recorder(session.pool(), {.keep = {"*"}});
  session.set_observer(&recorder);
  const std::span ids(kIds);
  recorder.begin_step(0);
  runner.step(ids.first(9), true);
  recorder.begin_step(1);
  runner.step(ids.subspan(9, 1), true);
  recorder.begin_step(2);
  runner.step(ids.subspan(10, 1), true);
  EXPECT_TRUE(planter.unused().empty()) << planter.unused().front() << " found no place";
  Recording recording;
  recording.info.tool = "tl";
  recording.info.device = backend.name();
  recording.info.activations = "float32";
  recording.info.tokens = kIds;
  recording.records = recorder.take();
  return recording;
}

const Recording& reference() {
  static const Recording recording = recorded(reference_backend(), {});
  return recording;
}

Fault found(const Recording& observed) {
  const auto file = open_model_file(planted_model(), true);
  const inspect::Comparison c = inspect::compare(reference(), observed);
  ThreadPool pool(2);
  inspect::Replay replay(reference(), observed, c, *file, reference_backend(), pool);
  EXPECT_GT(replay.judged().size(), 30u);
  return inspect::first_fault(replay);
}

Fault found(const std::string& plant) { return found(recorded(cpu_backend(), {plant})); }

std::string described(const Fault& fault) {
  std::string text = fault.name + " (" + fault.operation + "), error " + std::to_string(fault.error);
  for (const auto& c : fault.candidates) text += "\n  " + c.name + " " + std::to_string(c.residual);
  return text;
}

TEST(Diagnosis, FindsNothingWhereNothingIsWrong) {
  const Recording observed = recorded(cpu_backend(), {});
  const Fault fault = found(observed);
  EXPECT_EQ(fault.record, -1) << described(fault);
  const auto file = open_model_file(planted_model(), true);
  const auto checks = inspect::check_invariants(observed, *file);
  EXPECT_EQ(checks.size(), 3u);
  for (const auto& check : checks)
    EXPECT_TRUE(check.holds) << check.what << " " << check.worst << check.where;
}

struct Expected {
  std::string fault, operation;
};

class PlantedFault : public testing::TestWithParam<Expected> {};

TEST_P(PlantedFault, IsNamedAndPlaced) {
  for (const int layer : {0, 1, 2}) {
    std::string plant = GetParam().fault;
    int expected_layer = -1;
    for (const auto& known : inspect::plantable_faults())
      if (known.name == plant && known.in_layers) expected_layer = layer;
    if (expected_layer < 0 && layer > 0) return;
    if (plant == "cache-shared" && layer == 2) return;  // there is no layer after the last
    if (plant == "rms-eps" && layer == 2) return;  // too small beside the stream there to change anything
    if (expected_layer >= 0) plant += "@" + std::to_string(layer);
    const Fault fault = found(plant);
    ASSERT_GE(fault.record, 0) << plant << " was not seen";
    EXPECT_EQ(fault.layer, expected_layer) << plant << ": " << described(fault);
    EXPECT_EQ(fault.operation, GetParam().operation) << plant << ": " << described(fault);
    ASSERT_FALSE(fault.candidates.empty()) << plant << ": " << described(fault);
    EXPECT_EQ(fault.candidates[0].name, GetParam().fault) << plant << ": " << described(fault);
  }
}

INSTANTIATE_TEST_SUITE_P(
    All, PlantedFault,
    testing::Values(Expected{"rope-pairing", "rope"}, Expected{"rope-missing-k", "rope"},
                    Expected{"rope-missing-q", "rope"}, Expected{"rope-position", "rope"},
                    Expected{"rope-restarted", "rope"}, Expected{"rope-base", "rope"},
                    Expected{"rope-half", "rope"}, Expected{"qk-permuted", "linear"},
                    Expected{"q-permuted-kv-heads", "linear"}, Expected{"kv-head-modulo", "contract"},
                    Expected{"heads-interleaved", "reshape"}, Expected{"attention-scale", "div"},
                    Expected{"mask-missing", "softmax"}, Expected{"mask-off-by-one", "softmax"},
                    Expected{"mask-inverted", "softmax"}, Expected{"scores-float16", "div"},
                    Expected{"rms-eps", "rms_norm"}, Expected{"norm-missing", "rms_norm"},
                    Expected{"norm-weight-missing", "rms_norm"}, Expected{"final-norm-missing", "rms_norm"},
                    Expected{"final-norm-weight-missing", "rms_norm"}, Expected{"residual-lost", "add"},
                    Expected{"residual-doubled", "add"}, Expected{"residual-scaled", "add"},
                    Expected{"gate-up-swapped", "linear"}, Expected{"silu-missing", "silu"},
                    Expected{"silu-replaced", "silu"}, Expected{"weight-transposed", "linear"},
                    Expected{"layer-repeated", "rms_norm"}, Expected{"output-tied", "linear"},
                    Expected{"nibble-order", "linear"}, Expected{"repack-tail", "linear"},
                    Expected{"unwritten-elements", "rms_norm"}, Expected{"strided-as-contiguous", "contract"},
                    Expected{"float16-accumulation", "linear"}, Expected{"token-ids-float16", "embedding"},
                    Expected{"cache-shared", "cache_append"}),
    [](const auto& instance) {
      std::string text = instance.param.fault;
      std::replace(text.begin(), text.end(), '-', '_');
      return text;
    });

TEST(Diagnosis, EveryPlantableFaultIsTested) {
  // Named here so that a fault added to one list and not to the tests is seen.
  EXPECT_EQ(inspect::plantable_faults().size(), 37u);
  std::set<std::string_view> names;
  for (const auto& fault : inspect::plantable_faults())
    EXPECT_TRUE(names.insert(fault.name).second) << fault.name;
}

TEST(Diagnosis, SaysWhatItDoesNotKnow) {
  const FaultyBackend backend(Op::silu, [](const KernelArgs& args) {
    right(Op::silu, args);
    for (int64_t i = 0; i < args.out.elements(); ++i)
      store_double(args.out, i, std::cos(3 * load_double(args.out, i) + static_cast<double>(i)));
  });
  const Fault fault = found(recorded(backend, {}));
  ASSERT_GE(fault.record, 0);
  EXPECT_EQ(fault.operation, "silu");
  EXPECT_EQ(fault.layer, 0);
  EXPECT_TRUE(fault.candidates.empty()) << described(fault);
}

struct Variant {
  std::string program, fault;
  int layer;
};

class BrokenProgram : public testing::TestWithParam<Variant> {};

TEST_P(BrokenProgram, IsDiagnosed) {
  const auto& [program, name, layer] = GetParam();
  const Fault fault = found(recorded(cpu_backend(), {}, TL_SOURCE_DIR "/examples/broken/" + program + ".tl"));
  if (name.empty()) {
    EXPECT_EQ(fault.record, -1) << described(fault);
    return;
  }
  ASSERT_GE(fault.record, 0) << "not seen";
  ASSERT_FALSE(fault.candidates.empty()) << described(fault);
  EXPECT_EQ(fault.candidates[0].name, name) << described(fault);
  EXPECT_EQ(fault.layer, layer) << described(fault);
}

INSTANTIATE_TEST_SUITE_P(
    All, BrokenProgram,
    testing::Values(Variant{"right", "", -1}, Variant{"pairs", "rope-pairing", 0},
                    Variant{"unrotated_keys", "rope-missing-k", 0},
                    Variant{"next_position", "rope-position", 0},
                    Variant{"striped_heads", "kv-head-modulo", 0},
                    Variant{"wide_scale", "attention-scale", 0}, Variant{"sees_ahead", "mask-missing", 0},
                    Variant{"fixed_eps", "rms-eps", 0}, Variant{"no_stream", "residual-lost", 0},
                    Variant{"twice_added", "residual-doubled", 0},
                    Variant{"opened_held", "gate-up-swapped", 0}, Variant{"gelu", "silu-replaced", 0},
                    Variant{"no_last_norm", "final-norm-missing", -1},
                    Variant{"last_weights_twice", "layer-repeated", 2}),
    [](const auto& instance) { return instance.param.program; });

TEST(Plant, RefusesWhatItDoesNotKnow) {
  const auto message = [](const std::string& text) {
    try {
      inspect::parse_plant(text);
    } catch (const Error& e) {
      return std::string(e.what());
    }
    return std::string("accepted");
  };
  EXPECT_NE(message("rope-pairin@1").find("did you mean 'rope-pairing'?"), std::string::npos);
  EXPECT_NE(message("rope-pairing").find("say in which layer: rope-pairing@0"), std::string::npos);
  EXPECT_NE(message("rope-pairing@x").find("after @ stands a layer"), std::string::npos);
  EXPECT_NE(message("output-tied@1").find("belongs to no layer"), std::string::npos);
}

TEST(Invariants, FindWhatDoesNotHold) {
  const auto file = open_model_file(planted_model(), true);
  Recording broken = recorded(cpu_backend(), {});
  for (inspect::Record& r : broken.records)
    if (r.name == "forward/layer[1]/attention/weights")
      store_double(r.value, 0, load_double(r.value, 0) + 0.01);
  bool seen = false;
  for (const auto& check : inspect::check_invariants(broken, *file)) {
    if (check.what != "rows of attention weights sum to 1") continue;
    seen = true;
    EXPECT_FALSE(check.holds);
    EXPECT_NEAR(check.worst, 0.01, 1e-5);
    EXPECT_EQ(check.where, "forward/layer[1]/attention/weights");
  }
  EXPECT_TRUE(seen);
  const std::vector<float> a{1, 2, 3, 4}, b{1, 2, 3, 5};
  EXPECT_TRUE(inspect::same_logits("", a, a, 2).holds);
  const auto differs = inspect::same_logits("", a, b, 2);
  EXPECT_FALSE(differs.holds);
  EXPECT_EQ(differs.where, "row 1");
}

}  // namespace
}  // namespace tl::test
