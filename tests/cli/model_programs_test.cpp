// Models, tokenizers and caches as programs see them.
#include <gtest/gtest.h>

#include "cli/program.h"

namespace tl::test {
namespace {

/// Runs a main block that begins with the tiny model as `m`.
Output run_main(const std::string& body) {
  const TempFolder folder;
  const std::string program = write_file(
      folder / "program.tl", "import \"llama.tl\"\nmain {\n  let m = load_model(args[0])\n" + body + "\n}\n");
  return run_tl({"run", program, tiny_model()});
}

TEST(ModelPrograms, PropertiesAreWhatTheFileSays) {
  const Output r = run_main(R"(
  print(m.n_layers, m.config.architecture, m.config.hidden_dim, m.config.n_kv_heads, m.config.head_dim)
  print(m.config.rms_eps, m.config.rope_base, m.config.rope_dims, m.config.rope_style, m.config.context_length)
  print(m.metadata["general.architecture"], m.metadata["tokenizer.ggml.add_bos_token"], m.metadata["llama.block_count"])
  print(shape(m.blk[1].attn_k.weight), shape(get_tensor(m, "output.weight")), has_tensor(m, "nope"))
  print(m.tokenizer.bos, m.tokenizer.eos, m.tokenizer.vocab_size, m.path == args[0]))");
  EXPECT_EQ(r.err, "");
  EXPECT_EQ(r.out,
            "2 llama 64 2 16\n"
            "9.999999747378752e-06 10000 16 norm 256\n"
            "llama true 2\n"
            "[32, 64] [512, 64] false\n"
            "1 2 512 true\n");
}

TEST(ModelPrograms, TokenizersGiveIdsAndTextsBack) {
  const Output r = run_main(R"(
  let t = m.tokenizer
  assert_eq(tokenize(t, "ab")[0], t.bos)
  assert_eq(len(tokenize(t, "ab", false)), len(tokenize(m, "ab")) - 1)
  assert_eq(tokenize(t, "a</s>")[-1], t.eos)
  assert(tokenize(t, "a</s>", true, false)[-1] != t.eos, "plain text")
  print(detokenize(m, [68, 69]), detokenize(t, 70), detokenize(t, [1, 68], false)))");
  EXPECT_EQ(r.err, "");
  EXPECT_EQ(r.out, "AB C <s>A\n");
}

TEST(ModelPrograms, ForwardGoesOnWhereTheCacheEnds) {
  const Output r = run_main(R"(
  let ids = tokenize(m, "ab c")
  let cache = kv_cache(m, 16)
  let logits = forward(m, ids, cache)
  assert_eq(cache.length, len(ids))
  assert_eq(cache.capacity, 16)
  truncate(cache, 2)
  assert_eq(cache.length, 2)
  let rest = forward(m, ids[2:], cache)
  assert_eq(max(abs(rest - logits[2:])), 0.0)
  print(shape(logits)))");
  EXPECT_EQ(r.err, "");
  EXPECT_EQ(r.out, "[10, 512]\n");
}

// What is computed late must not see what was appended to the cache meanwhile.
TEST(ModelPrograms, BranchesOfACacheDoNotDisturbEachOther) {
  const Output r = run_main(R"(
  let cache = kv_cache(m, 16)
  let start = forward(m, [5, 6, 7], cache)
  let left = forward(m, [8, 9, 10], cache)
  truncate(cache, 3)
  let right = forward(m, [300, 20], cache)
  let right_alone = forward(m, [5, 6, 7, 300, 20], kv_cache(m, 16))
  let left_alone = forward(m, [5, 6, 7, 8, 9, 10], kv_cache(m, 16))
  truncate(cache, 0)
  let again = forward(m, [5, 6, 7], cache)
  assert_eq(max(abs(right - right_alone[3:])), 0.0)
  assert_eq(max(abs(left - left_alone[3:])), 0.0)
  assert_eq(max(abs(again - start)), 0.0))");
  EXPECT_EQ(r.err, "");
}

TEST(ModelPrograms, LayersLimitTheModel) {
  const Output r = run_main(R"(
  let ids = tokenize(m, "ab c")
  let x = embedding(m.token_embd.weight, ids)
  let direct = linear(rms_norm(x, m.output_norm.weight, m.config.rms_eps), m.output.weight)
  assert_close(forward(m.layers(0..0), ids, kv_cache(m, 16)), direct)
  assert(max(abs(forward(m.layers(0..1), ids, kv_cache(m, 16)) - direct)) > 0.01, "a layer changes something")
  assert_close(forward(m.layers(2), ids, kv_cache(m, 16)), forward(m, ids, kv_cache(m, 16)))
  print(m.layers(0..1).n_layers, m.layers(0).n_layers, m.n_layers))");
  EXPECT_EQ(r.err, "");
  EXPECT_EQ(r.out, "1 0 2\n");
}

TEST(ModelPrograms, GenerateContinuesATextAsTheCommandDoes) {
  const Output r = run_main(R"(print(generate(m, "abc", 6, temp: 0.0)))");
  const Output command =
      run_tl({"generate", tiny_model(), "-p", "abc", "-n", "6", "--temp", "0", "--cache-type", "f32"});
  EXPECT_EQ(r.err, "");
  EXPECT_EQ(r.out, command.out);
}

struct Mistake {
  const char* code;
  const char* message;
};

class ModelMistakes : public testing::TestWithParam<Mistake> {};

TEST_P(ModelMistakes, AreNamed) {
  const Output r = run_main(std::string("  ") + GetParam().code);
  EXPECT_EQ(r.exit_code, 1);
  EXPECT_NE(r.err.find(std::string(": error: ") + GetParam().message), std::string::npos) << r.err;
  // What a model program computes late names its own place.
  EXPECT_TRUE(r.err.find("program.tl:4:") != std::string::npos ||
              r.err.find("llama.tl:") != std::string::npos)
      << r.err;
}

INSTANTIATE_TEST_SUITE_P(
    All, ModelMistakes,
    testing::Values(
        Mistake{"print(m.blk[2])", "the model has 2 layers, and blk[2] was asked for"},
        Mistake{"print(m.blk[\"a\"])", "`blk` is read by an int, not by a string"},
        Mistake{"print(m.blok)", "the model has no tensor `blok`; did you mean `blk`?"},
        Mistake{"print(m.blk[0].attn_qq.weight)",
                "the model has no tensor `blk.0.attn_qq`; did you mean `blk.0.attn_q`?"},
        Mistake{"print(m.output_norm.wieght)",
                "the model has no tensor `output_norm.wieght`; did you mean `output_norm.weight`?"},
        Mistake{"print(m.metadata[\"general.nam\"])",
                "the metadata has no key \"general.nam\"; did you mean \"general.name\"?"},
        Mistake{"print(m.metadata[3])", "metadata is read by a string, not by an int"},
        Mistake{"print(m.config.n_head)", "config has no member `n_head`; did you mean `n_heads`?"},
        Mistake{"print(m.tokenizer.boss)", "tokenizer has no member `boss`; did you mean `bos`?"},
        Mistake{"print(kv_cache(m, 4).lenght)", "cache has no member `lenght`; did you mean `length`?"},
        Mistake{"print(kv_cache(m, 0))", "a KV cache of 0 tokens cannot hold anything"},
        // More than addresses can name: no machine has it.
        Mistake{
            "print(kv_cache(m, 1000000000000000))",
            "there is not enough memory for a KV cache of 1000000000000000 tokens: ask for fewer with -c"},
        Mistake{"print(m.layers(1..2))", "the layers must be the first ones: m.layers(0..k)"},
        Mistake{"print(detokenize(m, -1))", "-1 is no token id"},
        Mistake{"print(detokenize(m, [1.5]))", "expected a list of ints, found a float in it"},
        Mistake{"print(tokenize(3, \"a\"))", "argument 't' of tokenize must be tokenizer, not an int"},
        Mistake{"truncate(kv_cache(m, 4), 3)", "the cache holds 0 tokens and cannot be cut to 3"},
        Mistake{"kv_cache(m, 4).update(7, zeros([1, 2, 16]), zeros([1, 2, 16]))",
                "the cache has 2 layers, and layer 7 was asked for"},
        Mistake{"kv_cache(m, 4).update(0, zeros([1, 3, 16]), zeros([1, 2, 16]))",
                "[cache_append] [1, 3, 16] does not fit a cache of [4, 2, 16]"},
        Mistake{"print(forward(m, [1, 512], kv_cache(m, 4)))",
                "[embedding] id 512 is out of range for the table [512, 64]: expected 0 to 511"},
        Mistake{"print(generate(m, []))", "the prompt has no tokens: there is nothing to continue"},
        Mistake{"print(load_tokenizer(\"/nope.json\"))",
                "/nope.json: cannot open: No such file or directory"},
        Mistake{"print(m.output.weight + 1)",
                "[add] the q8_0 tensor [512, 64] can only be a weight of linear or a table of embedding"}));

TEST(ModelMistakes, NameTheFile) {
  const Output layers = run_main("  print(m.layers(3))");
  EXPECT_NE(layers.err.find(tiny_model() + " has 2 layers, and 3 were asked for"), std::string::npos)
      << layers.err;
  const Output chat = run_main("  print(chat_template(m, []))");
  EXPECT_NE(chat.err.find(tiny_model() + " has no chat template"), std::string::npos) << chat.err;
  const Output id = run_main("  print(detokenize(m, 1000))");
  EXPECT_NE(id.err.find(tiny_model() + ": token id 1000 is out of range; the vocabulary has 512 tokens"),
            std::string::npos)
      << id.err;
}

}  // namespace
}  // namespace tl::test
