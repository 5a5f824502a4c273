// Crafted GGUF files, each wrong in one place: every one is refused, naming key or tensor and the byte.
#include <cmath>
#include <limits>

#include <gtest/gtest.h>

#include "unit/formats/gguf_builder.h"

namespace tl::test {
namespace {

struct BadFile {
  const char* name;
  std::function<void(ByteBuilder&)> build;
  const char* message;  // after "bad.gguf: "
};

// Offsets in the messages: the header has 24 bytes; a key "k" with its type 13.
const BadFile kBadFiles[] = {
    {"Empty", [](ByteBuilder&) {}, "the file is empty (at byte 0)"},
    {"BadMagic", [](ByteBuilder& b) { b.raw("GGML").zeros(40); },
     "not a GGUF file: it begins with 47 47 4d 4c instead of \"GGUF\" (at byte 0)"},
    {"TooShortForMagic", [](ByteBuilder& b) { b.raw("GG"); },
     "not a GGUF file: it begins with 47 47 instead of \"GGUF\" (at byte 0)"},
    {"TruncatedHeader", [](ByteBuilder& b) { b.raw("GGUF").put(uint32_t{3}).put(uint32_t{0}); },
     "the file ends within the tensor count (at byte 8)"},
    {"Version1", [](ByteBuilder& b) { b.header(0, 0, 1); },
     "GGUF version 1 is not supported, only 2 and 3: convert the model anew (at byte 4)"},
    {"Version4", [](ByteBuilder& b) { b.header(0, 0, 4); },
     "GGUF version 4 is not supported, only 2 and 3: convert the model anew (at byte 4)"},
    {"BigEndian", [](ByteBuilder& b) { b.header(0, 0, 0x03000000); },
     "this file is big-endian (version field 0x03000000); only little-endian GGUF can be read: convert it "
     "with "
     "gguf_convert_endian.py of the Python package gguf (at byte 4)"},
    {"TensorCountPastEnd", [](ByteBuilder& b) { b.header(uint64_t{1} << 60, 0); },
     "the header claims 1152921504606846976 tensors, but only 0 bytes follow (at byte 8)"},
    {"MetadataCountPastEnd", [](ByteBuilder& b) { b.header(0, 9).zeros(20); },
     "the header claims 9 metadata entries, but only 20 bytes follow (at byte 16)"},
    {"EmptyKey", [](ByteBuilder& b) { b.header(0, 1).u32("", 1); }, "a metadata key is empty (at byte 24)"},
    {"KeyPastEnd", [](ByteBuilder& b) { b.header(0, 1).put(~uint64_t{0}).zeros(20); },
     "a metadata key claims a length of 18446744073709551615 bytes, but only 20 remain (at byte 24)"},
    {"KeyTooLong", [](ByteBuilder& b) { b.header(0, 1).u32(std::string(65536, 'k'), 1); },
     "a metadata key has 65536 bytes; at most 65535 are allowed (at byte 24)"},
    {"KeyWithControlCharacter", [](ByteBuilder& b) { b.header(0, 1).u32("a\nb", 1); },
     "a metadata key contains a control character (at byte 24)"},
    {"DuplicateKey", [](ByteBuilder& b) { b.header(0, 2).u32("k", 1).u32("k", 1); },
     "k: this key appears twice (at byte 41)"},
    {"UnknownValueType", [](ByteBuilder& b) { b.header(0, 1).string("k").put(uint32_t{13}).zeros(8); },
     "k: the value type 13 is unknown (0 to 12 are defined) (at byte 33)"},
    {"TruncatedValue", [](ByteBuilder& b) { b.header(0, 1).key("k", MetaType::u64).put(uint32_t{1}); },
     "k: the file ends within the value (at byte 37)"},
    {"StringPastEnd",
     [](ByteBuilder& b) { b.header(0, 1).key("k", MetaType::string).put(uint64_t{9}).zeros(8); },
     "k: the value claims a length of 9 bytes, but only 8 remain (at byte 37)"},
    {"BooleanOf2", [](ByteBuilder& b) { b.header(0, 1).key("k", MetaType::boolean).put(uint8_t{2}); },
     "k: a boolean has the value 2; 0 and 1 are allowed (at byte 37)"},
    {"ArrayPastEnd",
     [](ByteBuilder& b) {
       b.header(0, 1).key("k", MetaType::array).put(uint32_t{4}).put(uint64_t{1} << 62).zeros(16);
     },
     "k: an array claims 4611686018427387904 elements of uint32, but only 16 bytes remain (at byte 37)"},
    {"StringInArrayPastEnd",
     [](ByteBuilder& b) {
       b.header(0, 1)
           .key("k", MetaType::array)
           .put(uint32_t{8})
           .put(uint64_t{2})
           .string("a")
           .put(uint64_t{5})
           .zeros(1);
     },
     "k: a string in the array claims a length of 5 bytes, but only 1 remain (at byte 58)"},
    {"UnknownElementType",
     [](ByteBuilder& b) { b.header(0, 1).key("k", MetaType::array).put(uint32_t{99}).put(uint64_t{0}); },
     "k: the array's element type 99 is unknown (0 to 12 are defined) (at byte 37)"},
    {"NestedArray",
     [](ByteBuilder& b) { b.header(0, 1).key("k", MetaType::array).put(uint32_t{9}).put(uint64_t{0}); },
     "k: arrays of arrays are not supported (at byte 37)"},
    {"AlignmentNoPowerOfTwo", [](ByteBuilder& b) { b.header(0, 1).u32("general.alignment", 48); },
     "general.alignment: 48 is no power of two (at byte 24)"},
    {"AlignmentZero", [](ByteBuilder& b) { b.header(0, 1).u32("general.alignment", 0); },
     "general.alignment: 0 is no power of two (at byte 24)"},
    {"AlignmentMistyped", [](ByteBuilder& b) { b.header(0, 1).text("general.alignment", "32"); },
     "general.alignment: expected uint32, found string \"32\" (at byte 24)"},
    {"SplitModel",
     [](ByteBuilder& b) { b.header(0, 1).key("split.count", MetaType::u16).put(uint16_t{3}).zeros(4); },
     "split.count: this is one part of a model split into 3 files; join them with `llama-gguf-split --merge` "
     "(at byte "
     "24)"},
    {"EmptyTensorName", [](ByteBuilder& b) { b.header(1, 0).tensor("", {32}, 0, 0).zeros(200); },
     "a tensor name is empty (at byte 24)"},
    {"DuplicateTensor",
     [](ByteBuilder& b) { b.header(2, 0).tensor("w", {8}, 0, 0).tensor("w", {8}, 0, 32).pad(32).zeros(64); },
     "tensor 'w': this tensor appears twice (at byte 57)"},
    {"FiveDimensions",
     [](ByteBuilder& b) {
       b.header(1, 0).tensor("w", {1, 1, 1, 1, 1}, 0, 0).pad(32).zeros(64);
     },
     "tensor 'w': 5 dimensions; at most 4 are allowed (at byte 33)"},
    {"ZeroDimension",
     [](ByteBuilder& b) {
       b.header(1, 0).tensor("w", {32, 0}, 0, 0).pad(32).zeros(64);
     },
     "tensor 'w': dimension 1 is zero (at byte 45)"},
    {"HugeDimension",
     [](ByteBuilder& b) { b.header(1, 0).tensor("w", {uint64_t{1} << 63}, 0, 0).pad(32).zeros(64); },
     "tensor 'w': dimension 0 is 9223372036854775808: the number of elements overflows (at byte 37)"},
    {"OverflowingProduct",
     [](ByteBuilder& b) {
       b.header(1, 0).tensor("w", {uint64_t{1} << 40, uint64_t{1} << 40}, 0, 0).pad(32).zeros(64);
     },
     "tensor 'w': dimension 1 is 1099511627776: the number of elements overflows (at byte 45)"},
    {"OverflowingBytes",
     [](ByteBuilder& b) { b.header(1, 0).tensor("w", {uint64_t{1} << 62}, 28, 0).pad(32).zeros(64); },
     "tensor 'w': its size in bytes overflows (at byte 45)"},
    {"RowsNoMultipleOfBlock",
     [](ByteBuilder& b) {
       b.header(1, 0).tensor("w", {48, 2}, 2, 0).pad(32).zeros(64);
     },
     "tensor 'w': rows of 48 elements are no multiple of Q4_0's block of 32 (at byte 53)"},
    {"UnsupportedType", [](ByteBuilder& b) { b.header(1, 0).tensor("w", {256}, 16, 0).pad(32).zeros(640); },
     "tensor 'w': tensor type 16 (IQ2_XXS) is not supported; convert the model to one of F32, F16, BF16, "
     "Q4_0, Q4_1, "
     "Q5_0, Q5_1, Q8_0, Q2_K … Q6_K (at byte 45)"},
    {"UnknownType",
     [](ByteBuilder& b) { b.header(1, 0).tensor("w", {256}, 4000000000, 0).pad(32).zeros(640); },
     "tensor 'w': tensor type 4000000000 (unknown) is not supported; convert the model to one of F32, F16, "
     "BF16, Q4_0, "
     "Q4_1, Q5_0, Q5_1, Q8_0, Q2_K … Q6_K (at byte 45)"},
    {"MisalignedOffset", [](ByteBuilder& b) { b.header(1, 0).tensor("w", {8}, 0, 16).pad(32).zeros(64); },
     "tensor 'w': the data offset 16 is no multiple of the alignment 32 (at byte 49)"},
    {"DataPastEnd", [](ByteBuilder& b) { b.header(1, 0).tensor("w", {16}, 0, 0).pad(32).zeros(63); },
     "tensor 'w': its 64 bytes at data offset 0 lie past the end of the file, which has 127 bytes: the file "
     "is truncated "
     "or damaged, fetch it again (at byte 24)"},
    {"OffsetOverflows",
     [](ByteBuilder& b) { b.header(1, 0).tensor("w", {8}, 0, ~uint64_t{31}).pad(32).zeros(64); },
     "tensor 'w': its 32 bytes at data offset 18446744073709551584 lie past the end of the file, which has "
     "128 bytes: "
     "the file is truncated or damaged, fetch it again (at byte 24)"},
    {"OverlappingTensors",
     [](ByteBuilder& b) { b.header(2, 0).tensor("v", {16}, 0, 0).tensor("w", {8}, 0, 32).pad(32).zeros(64); },
     "tensor 'w': its data overlaps that of tensor 'v' (at byte 57)"},
    {"TruncatedTensorTable",
     [](ByteBuilder& b) { b.header(1, 0).string("w").put(uint32_t{1}).put(uint64_t{8}).zeros(3); },
     "tensor 'w': the file ends within the tensor type (at byte 45)"},
    // Hyperparameters and tokens, checked for every container.
    {"EpsilonNaN",
     [](ByteBuilder& b) {
       b.header(0, 2).text("general.architecture", "llama");
       b.f32("llama.attention.layer_norm_rms_epsilon", std::numeric_limits<float>::quiet_NaN());
     },
     "llama.attention.layer_norm_rms_epsilon: nan is not finite and positive (at byte 69)"},
    {"RopeBaseNegative",
     [](ByteBuilder& b) {
       b.header(0, 2).text("general.architecture", "llama").f32("llama.rope.freq_base", -10000.0f);
     },
     "llama.rope.freq_base: -10000 is not finite and positive (at byte 69)"},
    {"HeadCountMistyped",
     [](ByteBuilder& b) {
       b.header(0, 2).text("general.architecture", "llama").f32("llama.attention.head_count", 8.0f);
     },
     "llama.attention.head_count: expected an integer, found float32 8 (at byte 69)"},
    {"ArchitectureMistyped", [](ByteBuilder& b) { b.header(0, 1).u32("general.architecture", 7); },
     "general.architecture: expected string, found uint32 7 (at byte 24)"},
    {"LayerCountZero",
     [](ByteBuilder& b) { b.header(0, 2).text("general.architecture", "llama").u32("llama.block_count", 0); },
     "llama.block_count: 0 is out of range (1 to 2147483648) (at byte 69)"},
    {"HeadsDoNotDivide",
     [](ByteBuilder& b) {
       b.header(0, 3).text("general.architecture", "llama").u32("llama.embedding_length", 64);
       b.u32("llama.attention.head_count", 7);
     },
     "llama.attention.head_count: 7 heads do not divide an embedding length of 64 (at byte 107)"},
    {"KvHeadsDoNotDivide",
     [](ByteBuilder& b) {
       b.header(0, 4).text("general.architecture", "llama").u32("llama.embedding_length", 64);
       b.u32("llama.attention.head_count", 8).u32("llama.attention.head_count_kv", 3);
     },
     "llama.attention.head_count_kv: 3 key/value heads do not divide 8 heads (at byte 149)"},
    {"RotatedOdd",
     [](ByteBuilder& b) {
       b.header(0, 4).text("general.architecture", "llama").u32("llama.embedding_length", 64);
       b.u32("llama.attention.head_count", 8).u32("llama.rope.dimension_count", 16);
     },
     "llama.rope.dimension_count: 16 must be even and at most the head dimension 8 (at byte 149)"},
    {"TokenIdOutOfRange",
     [](ByteBuilder& b) {
       b.header(0, 2).texts("tokenizer.ggml.tokens", {"a", "b"}).u32("tokenizer.ggml.eos_token_id", 2);
     },
     "tokenizer.ggml.eos_token_id: token id 2 is out of range: there are 2 tokens (at byte 87)"},
    {"TokensMistyped", [](ByteBuilder& b) { b.header(0, 1).u32("tokenizer.ggml.tokens", 2); },
     "tokenizer.ggml.tokens: expected array of string, found uint32 2 (at byte 24)"},
    {"ScoresOfOtherLength",
     [](ByteBuilder& b) {
       b.header(0, 2).texts("tokenizer.ggml.tokens", {"a", "b"});
       b.key("tokenizer.ggml.scores", MetaType::array).put(uint32_t{6}).put(uint64_t{1}).put(0.5f);
     },
     "tokenizer.ggml.scores: 1 entries for 2 tokens (at byte 87)"},
    {"ShapeContradicts",
     [](ByteBuilder& b) {
       b.header(1, 4).text("general.architecture", "llama").u32("llama.embedding_length", 64);
       b.u32("llama.attention.head_count", 4).u32("llama.attention.head_count_kv", 2);
       b.tensor("blk.0.attn_k.weight", {64, 64}, 0, 0).pad(32).zeros(16384);
     },
     "tensor 'blk.0.attn_k.weight': its shape [64, 64] contradicts the hyperparameters, which make it [32, "
     "64] (at byte "
     "194)"},
    {"RankContradicts",
     [](ByteBuilder& b) {
       b.header(1, 2).text("general.architecture", "llama").u32("llama.embedding_length", 64);
       b.tensor("output_norm.weight", {64, 1}, 0, 0).pad(32).zeros(256);
     },
     "tensor 'output_norm.weight': its shape [1, 64] contradicts the hyperparameters, which make it [64] (at "
     "byte 107)"},
    {"VocabularyContradicts",
     [](ByteBuilder& b) {
       b.header(1, 3).text("general.architecture", "llama").u32("llama.embedding_length", 32);
       b.texts("tokenizer.ggml.tokens", {"a", "b"})
           .tensor("token_embd.weight", {32, 3}, 0, 0)
           .pad(32)
           .zeros(384);
     },
     "tensor 'token_embd.weight': its shape [3, 32] contradicts the hyperparameters, which make it [2, 32] "
     "(at byte 170)"},
    {"LayerContradicts",
     [](ByteBuilder& b) {
       b.header(1, 2).text("general.architecture", "llama").u32("llama.block_count", 2);
       b.tensor("blk.2.attn_norm.weight", {8}, 0, 0).pad(32).zeros(32);
     },
     "tensor 'blk.2.attn_norm.weight': layer 2 contradicts llama.block_count, which is 2 (at byte 102)"},
};

class BadGguf : public testing::TestWithParam<BadFile> {};

TEST_P(BadGguf, IsRefused) {
  ByteBuilder b;
  GetParam().build(b);
  EXPECT_EQ(message_of([&] { open_bytes(b.bytes()); }), std::string("bad.gguf: ") + GetParam().message);
}

INSTANTIATE_TEST_SUITE_P(Crafted, BadGguf, testing::ValuesIn(kBadFiles),
                         [](const auto& param) { return std::string(param.param.name); });

// Whatever prefix of a good file is left, it is refused, or is a file with less data than announced never
// read.
TEST(BadGguf, EveryTruncationIsRefused) {
  ByteBuilder b;
  b.header(1, 2).text("general.architecture", "llama").texts("tokenizer.ggml.tokens", {"a", "b", "c"});
  b.tensor("token_embd.weight", {32, 3}, 2, 0).pad(32).zeros(54);
  EXPECT_EQ(message_of([&] { open_bytes(b.bytes()); }), "no error");
  for (size_t n = 0; n < b.size(); ++n)
    EXPECT_NE(message_of([&] { open_bytes(std::span(b.bytes()).first(n)); }), "no error") << n << " bytes";
}

}  // namespace
}  // namespace tl::test
