// What a recording says of a run, and that recording changes nothing.
#include "inspect/recording.h"

#include <gtest/gtest.h>

#include <cmath>
#include <cstring>
#include <map>

#include "graph/builder.h"
#include "inspect/faulty.h"
#include "model/running.h"

namespace tl::test {
namespace {

using graph::NodeRef;
using inspect::Record;
using inspect::Recorder;
using testing_models::Running;

NodeRef vector_of(std::vector<float> values) {
  const Shape shape{static_cast<int64_t>(values.size())};
  return graph::constant(Tensor::from<float>(DType::f32, shape, values));
}

const std::vector<int32_t> kIds{1, 17, 300, 42, 5, 599, 8};

std::vector<Record> recorded(Running& running, inspect::RecorderOptions options = {}) {
  Recorder recorder(running.session().pool(), std::move(options));
  running.session().set_observer(&recorder);
  running.all(kIds);
  running.session().set_observer(nullptr);
  return recorder.take();
}

const Record* find(const std::vector<Record>& records, std::string_view name) {
  for (const Record& r : records)
    if (r.name == name) return &r;
  return nullptr;
}

TEST(Matches, StarsAndQuestionMarks) {
  EXPECT_TRUE(inspect::matches("*", ""));
  EXPECT_TRUE(inspect::matches("*/layer[3]/*", "forward/layer[3]/attention/scores"));
  EXPECT_FALSE(inspect::matches("*/layer[3]/*", "forward/layer[13]/x"));
  EXPECT_TRUE(inspect::matches("*layer[?]*x", "forward/layer[3]/ax/x"));
  EXPECT_TRUE(inspect::matches("a*b*c", "a-b-b-c"));
  EXPECT_FALSE(inspect::matches("a*b*c", "a-b-b-d"));
  EXPECT_FALSE(inspect::matches("abc", "abcd"));
  EXPECT_FALSE(inspect::matches("abcd", "abc"));
}

TEST(Recorder, NamesValuesAndSaysWhereTheyComeFrom) {
  Session session(cpu_backend(), nullptr);
  Recorder recorder(session.pool(), {.keep = {"*x*"}});
  session.set_observer(&recorder);
  NodeRef x = vector_of({1, -2, 3});
  graph::set_label(x, "start");
  NodeRef y;
  {
    const graph::Scope scope("step", 4);
    y = graph::unary(Op::neg, x);
    graph::set_label(y, "x");
    y = graph::binary(Op::add, y, x);
    graph::set_label(y, "x");
  }
  session.value(y);
  const auto& records = recorder.records();
  ASSERT_EQ(records.size(), 3u);
  EXPECT_EQ(records[0].name, "start");
  EXPECT_TRUE(records[0].is_leaf());
  EXPECT_EQ(records[1].name, "step[4]/x");
  EXPECT_EQ(records[1].op, "neg");
  EXPECT_EQ(records[1].inputs, (std::vector<int>{0}));
  EXPECT_EQ(records[2].name, "step[4]/x:2");
  EXPECT_EQ(records[2].inputs, (std::vector<int>{1, 0}));
  ASSERT_TRUE(records[1].value);
  EXPECT_EQ(load_double(records[1].value, 1), 2.0);
  EXPECT_FALSE(records[0].value);
  EXPECT_EQ(records[1].statistics->min, -3);
  EXPECT_EQ(records[1].statistics->max, 2);
}

TEST(Recorder, KnowsWhatAnEarlierRunMade) {
  Session session(cpu_backend(), nullptr);
  Recorder recorder(session.pool(), {});
  session.set_observer(&recorder);
  const NodeRef x = graph::unary(Op::neg, vector_of({1, 2}));
  session.value(x);
  recorder.begin_step(1);
  session.value(graph::unary(Op::exp, x));
  const auto& records = recorder.records();
  ASSERT_EQ(records.size(), 3u);
  EXPECT_EQ(records[2].name, "step[1]/#exp");
  EXPECT_EQ(records[2].inputs, (std::vector<int>{1}));
}

TEST(Recorder, StatisticsOfViewsAreThoseOfTheirElements) {
  Session session(cpu_backend(), nullptr);
  Recorder recorder(session.pool(), {});
  session.set_observer(&recorder);
  const NodeRef x = graph::unary(Op::neg, vector_of({1, 2, 3, 4, 5, 6}));
  const NodeRef matrix = graph::reshape(x, {2, 3});
  const NodeRef wide = graph::broadcast_to(graph::reshape(x, {6, 1}), {6, 4});
  const NodeRef part = graph::slice(graph::permute(matrix, {1, 0}), 0, 1, 3);
  const NodeRef roots[] = {matrix, wide, part};
  session.compute(roots);
  std::map<std::string, const Record*> by_op;
  for (const Record& r : recorder.records()) by_op[r.op] = &r;
  EXPECT_EQ(by_op["reshape"]->statistics->mean, -3.5);
  EXPECT_EQ(by_op["broadcast"]->statistics->count, 24);
  EXPECT_EQ(by_op["broadcast"]->statistics->mean, -3.5);
  EXPECT_NEAR(by_op["broadcast"]->statistics->std, std::sqrt(35.0 / 12), 1e-12);
  EXPECT_EQ(by_op["slice"]->statistics->mean, -4);  // of 2, 5, 3, 6
  EXPECT_EQ(by_op["slice"]->statistics->max, -2);
  EXPECT_NE(by_op["permute"]->statistics->checksum, by_op["neg"]->statistics->checksum);
  EXPECT_EQ(by_op["permute"]->statistics->mean, -3.5);
}

TEST(Recorder, ChangesNoBit) {
  for (const bool fused : {true, false}) {
    Running::Options options;
    if (!fused) options.passes = graph::PassOptions::none();
    Running plain(inspected_model(), options), traced(inspected_model(), options);
    Recorder recorder(traced.session().pool(), {.keep = {"*"}});
    traced.session().set_observer(&recorder);
    const auto a = plain.all(kIds), b = traced.all(kIds);
    ASSERT_EQ(a.size(), b.size());
    EXPECT_EQ(std::memcmp(a.data(), b.data(), a.size() * sizeof(float)), 0);
    const std::vector<int32_t> more{7};
    EXPECT_EQ(plain.last(more), traced.last(more));
  }
}

TEST(Recorder, NamesDoNotDependOnFusion) {
  Running::Options unfused;
  unfused.passes = graph::PassOptions::none();
  Running fused(inspected_model(), {}), whole(inspected_model(), unfused);
  const auto some = recorded(fused), all = recorded(whole);
  EXPECT_LT(some.size(), all.size());
  for (const Record& r : some) {
    const Record* other = find(all, r.name);
    ASSERT_NE(other, nullptr) << r.name;
    EXPECT_EQ(other->shape, r.shape);
    for (const std::string& hidden : r.fuses) EXPECT_NE(find(all, hidden), nullptr) << hidden;
  }
  const Record* heads = find(some, "forward/layer[2]/attention/heads");
  ASSERT_NE(heads, nullptr);
  EXPECT_EQ(heads->op, "attention");
  EXPECT_NE(std::find(heads->fuses.begin(), heads->fuses.end(), "forward/layer[2]/attention/scores"),
            heads->fuses.end());
  EXPECT_EQ(find(some, "forward/layer[2]/attention/scores"), nullptr);
  EXPECT_NE(find(all, "forward/layer[2]/attention/scores"), nullptr);
  EXPECT_NE(find(all, "forward/layer[2]/x:2"), nullptr);
}

TEST(Recorder, SaysWhatAnOperationReadAndWhereItStands) {
  Running running(inspected_model(), {});
  const auto records = recorded(running);
  const Record* logits = find(records, "forward/logits");
  ASSERT_NE(logits, nullptr);
  EXPECT_EQ(logits->op, "linear");
  EXPECT_EQ(logits->shape, (Shape{7, 600}));
  EXPECT_NE(logits->place.find("llama.tl:"), std::string::npos) << logits->place;
  ASSERT_EQ(logits->inputs.size(), 2u);
  const Record& weight = records[static_cast<size_t>(logits->inputs[1])];
  EXPECT_EQ(weight.name, "output.weight");
  EXPECT_TRUE(weight.is_weight);
  EXPECT_FALSE(weight.statistics);
  EXPECT_GT(weight.weight_rms, 0);
  EXPECT_TRUE(find(records, "output_norm.weight")->statistics);
  const Record* ids = find(records, "ids");
  ASSERT_NE(ids, nullptr);
  EXPECT_EQ(ids->statistics->max, 599);
  const Record* norm = find(records, "forward/layer[0]/#rms_norm");
  ASSERT_NE(norm, nullptr);
  EXPECT_EQ(norm->params.floats.size(), 1u);
}

TEST(Recorder, HandsRecordsToTheSinkWithTheirValues) {
  Running running(inspected_model(), {});
  size_t seen = 0, kept = 0;
  const auto records = recorded(running, {.keep = {"*/x"}, .sink = [&](const Record& r) {
                                            ++seen;
                                            kept += static_cast<bool>(r.value);
                                          }});
  EXPECT_EQ(seen, records.size());
  EXPECT_EQ(kept, 4u);  // the embedding's, and the first of each of three layers
  for (const Record& r : records) EXPECT_FALSE(r.value);
}

}  // namespace
}  // namespace tl::test
