// Trace files: what is written is read, and nothing else is.
#include "inspect/trace_file.h"

#include <gtest/gtest.h>
#include <zlib.h>

#include <cmath>
#include <fstream>
#include <sstream>

#include "model/running.h"

namespace tl::test {
namespace {

using inspect::Record;
using inspect::Recording;
using testing_models::TemporaryFile;

Recording small() {
  Recording recording;
  recording.info = {"tl", "p.tl", "m.gguf", "cpu", "q8", {1, 2, 3}};
  Record ids;
  ids.name = "ids";
  ids.op = "constant";
  ids.dtype = DType::i64;
  ids.shape = {3};
  const std::vector<int64_t> numbers{1, 2, 3};
  ids.value = Tensor::from<int64_t>(DType::i64, {3}, numbers);
  recording.records.push_back(ids);
  Record x;
  x.name = "forward/x";
  x.op = "embedding";
  x.dtype = DType::f32;
  x.shape = {2, 3};
  x.inputs = {0};
  x.fuses = {"forward/hidden"};
  x.place = "p.tl:3:9";
  x.statistics = TensorStatistics{};
  x.statistics->count = 6;
  x.statistics->nan = 1;
  x.statistics->mean = 0.1;
  x.statistics->checksum = 0xfedcba9876543210ull;
  const std::vector<float> values{1, 2, 3, 4, 5, NAN};
  x.value = Tensor::from<float>(DType::f32, {2, 3}, values);
  recording.records.push_back(x);
  Record w;
  w.name = "w";
  w.op = "constant";
  w.dtype = DType::q8_0;
  w.shape = {4, 32};
  w.is_weight = true;
  w.weight_rms = 0.25;
  recording.records.push_back(w);
  return recording;
}

std::string bytes_of_small() {
  const TemporaryFile file("small.tlt");
  inspect::write_trace(file.path(), small());
  std::ifstream in(file.path(), std::ios::binary);
  std::stringstream text;
  text << in.rdbuf();
  return text.str();
}

Recording read(const std::string& bytes) {
  return inspect::read_trace(MappedFile::of_bytes("t.tlt", std::as_bytes(std::span(bytes))));
}

std::string message_of(const std::string& bytes) {
  try {
    read(bytes);
  } catch (const FileError& e) {
    return e.what();
  }
  return "";
}

TEST(TraceFile, ReadsWhatWasWritten) {
  const Recording r = read(bytes_of_small());
  EXPECT_EQ(r.info.device, "cpu");
  EXPECT_EQ(r.info.activations, "q8");
  EXPECT_EQ(r.info.tokens, (std::vector<int32_t>{1, 2, 3}));
  ASSERT_EQ(r.records.size(), 3u);
  const Record& x = *r.find("forward/x");
  EXPECT_EQ(x.op, "embedding");
  EXPECT_EQ(x.shape, (Shape{2, 3}));
  EXPECT_EQ(x.inputs, (std::vector<int>{0}));
  EXPECT_EQ(x.fuses, (std::vector<std::string>{"forward/hidden"}));
  EXPECT_EQ(x.place, "p.tl:3:9");
  EXPECT_EQ(x.statistics->nan, 1);
  EXPECT_EQ(x.statistics->mean, 0.1);
  EXPECT_EQ(x.statistics->checksum, 0xfedcba9876543210ull);
  EXPECT_EQ(x.value.data<float>()[4], 5.0f);
  EXPECT_EQ(load_int(r.records[0].value, 2), 3);
  EXPECT_TRUE(r.records[2].is_weight);
  EXPECT_EQ(r.records[2].weight_rms, 0.25);
  EXPECT_FALSE(r.records[2].value);
  EXPECT_EQ(r.find("nothing"), nullptr);
}

TEST(TraceFile, EveryTruncationIsNoticed) {
  const std::string whole = bytes_of_small();
  for (size_t n = 0; n < whole.size(); ++n) {
    const std::string message = message_of(whole.substr(0, n));
    EXPECT_NE(message, "") << n;
  }
  EXPECT_NE(message_of(whole.substr(0, whole.size() - 40)).find("cut off"), std::string::npos);
}

TEST(TraceFile, EveryDamagedPayloadByteIsNoticed) {
  const std::string whole = bytes_of_small();
  size_t unnoticed = 0;
  for (size_t i = 0; i < whole.size(); ++i) {
    std::string damaged = whole;
    damaged[i] = static_cast<char>(damaged[i] ^ 0x20);
    unnoticed += message_of(damaged).empty();
  }
  EXPECT_LE(unnoticed, 7u * 15);  // padding carries nothing
}

TEST(TraceFile, MessagesNameThePlace) {
  EXPECT_EQ(message_of("hello"),
            "t.tlt: this is no trace file (those of `tl trace` begin with 'TensorLogicTrace') (at byte 0)");
  std::string damaged = bytes_of_small();
  damaged[40] ^= 1;
  EXPECT_EQ(message_of(damaged), "t.tlt: block 'INFO' is damaged: its checksum differs (at byte 16)");
  EXPECT_NE(message_of(bytes_of_small() + "x").find("bytes follow the end mark"), std::string::npos);
}

/// A block with its checksum.
std::string block(const std::string& kind, const std::string& payload) {
  const auto crc = static_cast<uint32_t>(
      crc32(0, reinterpret_cast<const Bytef*>(payload.data()), static_cast<uInt>(payload.size())));
  const uint64_t size = payload.size();
  std::string bytes = kind;
  bytes.append(reinterpret_cast<const char*>(&crc), 4).append(reinterpret_cast<const char*>(&size), 8);
  bytes += payload;
  return bytes.append((16 - payload.size() % 16) % 16, '\0');
}

/// A trace of one record whose description is `json`.
std::string message_of_record(const std::string& json) {
  const TemporaryFile file("bad.tlt");
  Recording none;
  inspect::write_trace(file.path(), none);
  std::ifstream in(file.path(), std::ios::binary);
  std::stringstream text;
  text << in.rdbuf();
  std::string bytes = text.str();
  const std::string end = bytes.substr(bytes.rfind("END "));
  bytes.resize(bytes.size() - end.size());
  return message_of(bytes + block("RECD", json) + end);
}

TEST(TraceFile, RefusesWhatMakesNoSense) {
  const auto expect = [](const std::string& json, const std::string& part) {
    const std::string message = message_of_record(json);
    EXPECT_NE(message.find(part), std::string::npos) << json << "\n" << message;
  };
  expect("[]", "holds no JSON object");
  expect(R"({"op":"neg"})", "'name' must be a string");
  expect(R"({"name":"a","op":"neg","dtype":"float7","shape":[],"inputs":[]})",
         "unknown element type 'float7'");
  expect(R"({"name":"a","op":"neg","dtype":"float32","shape":[-1],"inputs":[]})", "extents of moderate size");
  expect(R"({"name":"a","op":"neg","dtype":"float32","shape":[4294967296,4294967296],"inputs":[]})",
         "extents of moderate size");
  expect(R"({"name":"a","op":"neg","dtype":"float32","shape":[1,1,1,1,1,1,1,1,1],"inputs":[]})",
         "at most 8 extents");
  expect(R"({"name":"a","op":"neg","dtype":"float32","shape":[2],"inputs":[0]})", "does not come before it");
  expect(R"({"name":"a","op":"neg","dtype":"float32","shape":[2],"inputs":[],"values":7})",
         "7 bytes of values do not fit float32 [2]");
  expect(R"({"name":"a","op":"neg","dtype":"q4_0","shape":[],"inputs":[],"values":0})", "do not fit q4_0");
  expect(R"({"name":"a","op":"neg","dtype":"float32","shape":[2],"inputs":[],"values":8})",
         "expected a block 'DATA', found 'END '");
  expect(R"({"name":"a","op":"neg","dtype":"float32","shape":[2],"inputs":[],"statistics":{"nan":"x"}})",
         "'nan' must be an integer");
  expect(R"({"name":"a","op":"neg","dtype":"float32","shape":[2],"inputs":[]})", "counts other records");
}

}  // namespace
}  // namespace tl::test
