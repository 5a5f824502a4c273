#include "formats/gguf.h"

#include <unistd.h>
#include <cstdio>
#include <filesystem>

#include <gtest/gtest.h>

#include "unit/formats/gguf_builder.h"
#include "unit/formats/temp_folder.h"

namespace tl::test {
namespace {

MetaValue array(MetaType type, MetaValue::Data data) { return {type, std::move(data)}; }

TEST(Gguf, WhatIsWrittenIsReadBack) {
  const TempFolder folder;
  const std::string path = folder.file("model.gguf");
  std::vector<std::pair<std::string, MetaValue>> metadata{
      {"general.architecture", MetaValue::of_string("llama")},
      {"a.bool", MetaValue::of_bool(true)},
      {"a.u8", {MetaType::u8, uint64_t{255}}},
      {"a.i8", {MetaType::i8, int64_t{-128}}},
      {"a.u16", {MetaType::u16, uint64_t{65535}}},
      {"a.i16", {MetaType::i16, int64_t{-32768}}},
      {"a.u32", MetaValue::of_u32(4294967295u)},
      {"a.i32", MetaValue::of_i32(-2147483647)},
      {"a.u64", MetaValue::of_u64(~uint64_t{0})},
      {"a.i64", {MetaType::i64, std::numeric_limits<int64_t>::min()}},
      {"a.f32", MetaValue::of_f32(0.1f)},
      {"a.f64", {MetaType::f64, 0.1}},
      {"a.text", MetaValue::of_string("Grüße\n")},
      {"a.texts", MetaValue::of_strings({"", "b", std::string("\0c", 2)})},
      {"a.bools", array(MetaType::boolean, std::vector<bool>{true, false, true})},
      {"a.bytes", array(MetaType::u8, std::vector<uint64_t>{1, 2, 255})},
      {"a.shorts", array(MetaType::i16, std::vector<int64_t>{-1, 2})},
      {"a.floats", MetaValue::of_f32s({1.5, -0.25})},
      {"a.none", MetaValue::of_strings({})},
  };
  const std::vector<float> values{1, 2, 3, 4, 5, 6};
  const std::vector<std::byte> blocks(3 * 18, std::byte{0x11});
  {
    GgufWriter writer(path);
    writer.set("a.bool", MetaValue::of_bool(false));  // replaced below, keeping its place
    for (const auto& [key, value] : metadata) writer.set(key, value);
    writer.add_tensor("v", DType::f32, Shape{2, 3});
    writer.add_tensor("w", DType::q4_0, Shape{3, 32});
    const auto bytes = std::as_bytes(std::span(values));
    writer.write(bytes.first(5));
    writer.write(bytes.subspan(5));
    writer.write(blocks);
    writer.finish();
  }
  const auto model = open_model_file(path);
  EXPECT_EQ(model->container(), "gguf");
  EXPECT_EQ(model->path(), path);
  EXPECT_EQ(model->architecture(), "llama");
  for (const auto& [key, value] : metadata) {
    ASSERT_TRUE(model->has(key)) << key;
    EXPECT_EQ(*model->find(key), value) << key;
  }
  EXPECT_EQ(model->metadata()[0].key, "a.bool");
  ASSERT_EQ(model->tensors().size(), 2u);
  const Tensor v = model->tensor("v");
  EXPECT_EQ(v.shape(), (Shape{2, 3}));
  EXPECT_EQ(std::vector<float>(v.data<float>(), v.data<float>() + 6), values);
  EXPECT_EQ(v.storage()->data, model->files()[0]->bytes().data()) << "a view, no copy";
  const TensorEntry& w = *model->find_tensor("w");
  EXPECT_EQ(w.offset % 32, 0u);
  EXPECT_EQ(w.bytes, 54u);
  const auto span = model->tensor_bytes(w);
  EXPECT_EQ(std::vector<std::byte>(span.begin(), span.end()), blocks);
  EXPECT_EQ(std::filesystem::file_size(path) % 32, 0u);
  EXPECT_EQ(model->tensor_bytes(), 24u + 54u);

  const auto copy = open_model_file(path, false);
  EXPECT_EQ(copy->tensor("v").data<float>()[5], 6.0f);
}

TEST(Gguf, AnUnfinishedFileDoesNotAppear) {
  const TempFolder folder;
  const std::string path = folder.file("model.gguf");
  {
    GgufWriter writer(path);
    writer.add_tensor("v", DType::f32, Shape{2});
    const float one = 1;
    writer.write(std::as_bytes(std::span(&one, 1)));
    EXPECT_THROW(writer.finish(), std::logic_error);
  }
  EXPECT_FALSE(std::filesystem::exists(path));
  EXPECT_TRUE(std::filesystem::is_empty(folder.path()));
}

TEST(Gguf, OtherAlignments) {
  const TempFolder folder;
  const std::string path = folder.file("model.gguf");
  GgufWriter writer(path, 256);
  writer.add_tensor("a", DType::i8, Shape{3});
  writer.add_tensor("b", DType::i8, Shape{3});
  const int8_t bytes[] = {1, 2, 3, 4, 5, 6};
  writer.write(std::as_bytes(std::span(bytes)));
  writer.finish();
  const auto model = open_model_file(path);
  EXPECT_EQ(model->find_tensor("b")->offset % 256, 0u);
  EXPECT_EQ(model->tensor("b").data<int8_t>()[0], 4);
}

TEST(Gguf, Version2AndScalars) {
  ByteBuilder b;
  b.header(1, 1, 2).u32("k", 5).tensor("s", {}, 0, 0).pad(32).put(2.5f);
  const auto model = open_bytes(b.bytes());
  EXPECT_EQ(model->get_int("k"), 5);
  EXPECT_EQ(model->tensor("s").rank(), 0);
  EXPECT_EQ(model->tensor("s").data<float>()[0], 2.5f);
}

TEST(Gguf, RopeStyleFollowsTheArchitecture) {
  const auto style = [](const std::string& architecture) {
    ByteBuilder b;
    b.header(0, 1).text("general.architecture", architecture);
    return open_bytes(b.bytes())->get_string("tensorlogic.rope_style", "none");
  };
  EXPECT_EQ(style("llama"), "norm");
  EXPECT_EQ(style("qwen2"), "neox");
  EXPECT_EQ(style("mamba"), "none");
  ByteBuilder b;
  b.header(0, 2).text("general.architecture", "llama").text("tensorlogic.rope_style", "neox");
  EXPECT_EQ(open_bytes(b.bytes())->get_string("tensorlogic.rope_style"), "neox");
}

TEST(ModelFile, TypedGettersSayWhatTheyFound) {
  ByteBuilder b;
  b.header(0, 5).u32("n", 7).f32("x", 0.5f).text("t", "hello").texts("ts", {"a", "b"});
  b.key("big", MetaType::u64).put(~uint64_t{0});
  const auto model = open_bytes(b.bytes());
  EXPECT_EQ(model->get_int("n"), 7);
  EXPECT_EQ(model->get_float("n"), 7.0);
  EXPECT_EQ(model->get_float("x"), 0.5);
  EXPECT_EQ(model->get_int("absent", -3), -3);
  EXPECT_EQ(model->get_string("absent", "other"), "other");
  EXPECT_TRUE(model->get_strings("absent").empty());
  EXPECT_EQ(model->get_strings("ts"), (std::vector<std::string>{"a", "b"}));
  const auto message = [&](auto get) { return message_of([&] { get(*model); }); };
  EXPECT_EQ(message([](auto& m) { m.get_int("absent"); }),
            "bad.gguf: absent: this key is missing (an integer)");
  EXPECT_EQ(message([](auto& m) { m.get_string("absent"); }),
            "bad.gguf: absent: this key is missing (string)");
  EXPECT_EQ(message([](auto& m) { m.get_int("x"); }),
            "bad.gguf: x: expected an integer, found float32 0.5 (at byte 41)");
  EXPECT_EQ(message([](auto& m) { m.get_int("t", 1); }),
            "bad.gguf: t: expected an integer, found string \"hello\" (at byte 58)");
  EXPECT_EQ(message([](auto& m) { m.get_bool("n"); }),
            "bad.gguf: n: expected boolean, found uint32 7 (at byte 24)");
  EXPECT_EQ(message([](auto& m) { m.get_string("n"); }),
            "bad.gguf: n: expected string, found uint32 7 (at byte 24)");
  EXPECT_EQ(message([](auto& m) { m.get_ints("ts"); }),
            "bad.gguf: ts: expected array of integers, found array of string [2 × string] \"a\", \"b\" (at "
            "byte 84)");
  EXPECT_EQ(message([](auto& m) { m.get_floats("n"); }),
            "bad.gguf: n: expected array of numbers, found uint32 7 (at byte 24)");
  EXPECT_EQ(message([](auto& m) { m.get_int("big"); }),
            "bad.gguf: big: expected an integer, found uint64 18446744073709551615 (at byte 128)");
}

TEST(ModelFile, AnUnknownTensorNamesTheNearest) {
  ByteBuilder b;
  b.header(1, 0).tensor("blk.0.attn_q.weight", {8}, 0, 0).pad(32).zeros(32);
  const auto model = open_bytes(b.bytes());
  EXPECT_EQ(message_of([&] { model->tensor("blk.0.attn_k.weight"); }),
            "bad.gguf: there is no tensor 'blk.0.attn_k.weight'; did you mean 'blk.0.attn_q.weight'?");
  EXPECT_EQ(message_of([&] { model->tensor("zzz"); }),
            "bad.gguf: there is no tensor 'zzz'; `tl inspect` lists those there are");
}

TEST(ModelFile, MetadataForPeople) {
  EXPECT_EQ(to_string(MetaValue::of_string("a\n\"b\x01")), R"("a\n\"b\x01")");
  EXPECT_EQ(to_string(MetaValue::of_string("ääääää"), 5), "\"ää…\"");
  EXPECT_EQ(to_string(MetaValue::of_string("日本"), 4), "\"日…\"");
  EXPECT_EQ(to_string(MetaValue::of_f32(0.1f)), "0.1");
  EXPECT_EQ(to_string(MetaValue::of_bool(true)), "true");
  EXPECT_EQ(to_string(MetaValue::of_i32s({1, -2})), "[2 × int32] 1, -2");
  EXPECT_EQ(type_name(MetaValue::of_i32s({})), "array of int32");
  EXPECT_EQ(MetaValue::of_i32s({4, 5, 6}).size(), 3u);
  EXPECT_EQ(MetaValue::of_string("four").size(), 1u);
}

TEST(ModelFile, MissingFilesAreNamed) {
  EXPECT_EQ(message_of([] { open_model_file("/nowhere/x.gguf"); }),
            "/nowhere/x.gguf: cannot open: No such file or directory");
}

// A file of another hand (tools/reference/gguf_golden.py).
TEST(Gguf, ReadsWhatThePythonPackageWrites) {
  const auto model = open_model_file(std::string(TL_SOURCE_DIR) + "/tests/golden/gguf/python.gguf");
  EXPECT_EQ(model->get_string("general.name"), "a file of another hand");
  EXPECT_EQ(model->get_int("llama.embedding_length"), 32);
  EXPECT_EQ(model->get_float("llama.attention.layer_norm_rms_epsilon"), static_cast<double>(1e-5f));
  EXPECT_TRUE(model->get_bool("test.bool"));
  EXPECT_EQ(model->get_int("test.uint8"), 200);
  EXPECT_EQ(model->get_int("test.int8"), -100);
  EXPECT_EQ(model->get_int("test.uint16"), 60000);
  EXPECT_EQ(model->get_int("test.int16"), -30000);
  EXPECT_EQ(*model->find("test.uint64"), MetaValue::of_u64((uint64_t{1} << 63) + 1));
  EXPECT_EQ(model->get_int("test.int64"), -(int64_t{1} << 62));
  EXPECT_EQ(model->get_float("test.float64"), 0.1);
  EXPECT_EQ(model->get_floats("test.floats"), (std::vector<double>{0.5, -1.5}));
  EXPECT_EQ(model->get_ints("test.ints"), (std::vector<int64_t>{1, -2, 3}));
  EXPECT_EQ(model->get_strings("tokenizer.ggml.tokens"), (std::vector<std::string>{"<unk>", "é", "日本"}));
  const Tensor embedding = model->tensor("token_embd.weight");
  EXPECT_EQ(embedding.shape(), (Shape{3, 32}));
  EXPECT_EQ(embedding.data<float>()[95], 95.0f);
  EXPECT_EQ(load_double(model->tensor("test.half"), 63), 1.0);
  const Tensor q8 = converted(model->tensor("test.q8_0"), DType::f32);
  EXPECT_EQ(q8.shape(), (Shape{2, 32}));
  EXPECT_NEAR(q8.data<float>()[0], -1.0f, 0.005);
  EXPECT_NEAR(q8.data<float>()[63], 1.0f, 0.005);
}

}  // namespace
}  // namespace tl::test
