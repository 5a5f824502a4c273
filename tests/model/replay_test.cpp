// Steps of a generation that are computed without walking the program again: they are the walked ones bit for
// bit, and a program whose walk depends on the position is walked every time.
#include <gtest/gtest.h>

#include <fstream>
#include <functional>
#include <sstream>

#include "model/running.h"

namespace tl {
namespace {

using testing_models::Running;
using testing_models::small_llama;
using testing_models::TemporaryFile;

std::string llama_program() {
  std::ifstream in(TL_SOURCE_DIR "/models/llama.tl");
  std::stringstream text;
  text << in.rdbuf();
  return text.str();
}

class Replay : public testing::Test {
 protected:
  Replay() : model_("replay.gguf") { synthesise_model(model_.path(), small_llama(DType::q4_0)); }

  static std::vector<int32_t> ids(int n) {
    std::vector<int32_t> out;
    for (int i = 0; i < n; ++i) out.push_back((11 + 37 * i + 5 * i * i) % 600);
    return out;
  }
  /// Token by token; the logits of all.
  static std::vector<float> feed(Running& model, std::span<const int32_t> tokens) {
    std::vector<float> rows;
    for (const int32_t id : tokens) {
      const auto row = model.last({id});
      rows.insert(rows.end(), row.begin(), row.end());
    }
    return rows;
  }
  /// A llama.tl in which `from` is replaced by `to` gives the same bits at once and token by token; how many
  /// of 40 steps were replayed.
  int64_t replays_of(const std::string& from, const std::string& to, const std::string& before = "") {
    std::string text = before + llama_program();
    const size_t at = text.find(from);
    EXPECT_NE(at, std::string::npos) << from;
    text.replace(at, from.size(), to);
    const TemporaryFile program("replay.tl");
    std::ofstream(program.path()) << text;
    Running at_once(model_.path(), {.program = program.path()});
    Running stepwise(model_.path(), {.program = program.path()});
    const auto tokens = ids(40);
    const auto rows = feed(stepwise, tokens);
    if (compares_) {
      EXPECT_EQ(rows, at_once.all(tokens)) << to;
    }
    return stepwise.session().statistics().replays;
  }

  TemporaryFile model_;
  bool compares_ = true;
};

TEST_F(Replay, ComputesTheWalkedBits) {
  const auto tokens = ids(100);
  const auto expected = Running(model_.path(), {}).all(tokens);
  for (const DType cache : {DType::f32, DType::f16}) {
    Running model(model_.path(), {.caches = {cache, cache}});
    const auto rows = feed(model, tokens);
    if (cache == DType::f32) {
      EXPECT_EQ(rows, expected);
    }
    EXPECT_GE(model.session().statistics().replays, 90);
    EXPECT_EQ(model.runner().cache().length(), 100);
    EXPECT_EQ(rows, Running(model_.path(), {.caches = {cache, cache}}).all(tokens));
  }
}

TEST_F(Replay, GoesOnAfterPromptsAndForgetting) {
  const auto tokens = ids(60);
  const auto expected = Running(model_.path(), {}).all(tokens);
  Running model(model_.path(), {});
  const auto check = [&](const std::vector<float>& rows, size_t first) {
    EXPECT_TRUE(std::equal(rows.begin(), rows.end(), expected.begin() + static_cast<long>(first * 600)))
        << first;
  };
  check(feed(model, std::span(tokens).first(20)), 0);
  check(model.all({tokens.begin() + 20, tokens.begin() + 30}), 20);
  check(feed(model, std::span(tokens).subspan(30, 10)), 30);
  const int64_t replays = model.session().statistics().replays;
  EXPECT_GE(replays, 25);
  model.runner().cache().truncate(5);
  check(feed(model, std::span(tokens).subspan(5)), 5);
  EXPECT_GE(model.session().statistics().replays, replays + 45);
}

/// What was learned holds from the second token on, of other texts too.
TEST_F(Replay, GoesOnAtTheBeginning) {
  const auto tokens = ids(40);
  const auto expected = Running(model_.path(), {}).all(tokens);
  Running model(model_.path(), {});
  const auto others = ids(70);
  feed(model, std::span(others).subspan(40));
  const int64_t replays = model.session().statistics().replays;
  model.runner().cache().truncate(0);
  EXPECT_EQ(feed(model, tokens), expected);
  EXPECT_EQ(model.session().statistics().replays, replays + 39);
}

/// A cache that holds nothing is not as long as a replay takes it to be.
TEST_F(Replay, SeveralRowsAtTheBeginningAreWalked) {
  const auto tokens = ids(40);
  const auto expected = Running(model_.path(), {}).all(tokens);
  Running model(model_.path(), {});
  const auto feed_threes = [&](std::span<const int32_t> of) {
    std::vector<float> rows;
    for (size_t at = 0; at + 3 <= of.size(); at += 3) {
      const auto three =
          model.all({of.begin() + static_cast<long>(at), of.begin() + static_cast<long>(at) + 3});
      rows.insert(rows.end(), three.begin(), three.end());
    }
    return rows;
  };
  feed_threes(ids(90));
  model.runner().cache().truncate(0);
  auto rows = feed_threes(tokens);
  const auto last = model.last({tokens[39]});
  rows.insert(rows.end(), last.begin(), last.end());
  EXPECT_EQ(rows, expected);
}

TEST_F(Replay, EndsWithTheContext) {
  Running model(model_.path(), {.context = 12});
  feed(model, ids(12));
  EXPECT_GE(model.session().statistics().replays, 5);
  try {
    model.last({1});
    FAIL();
  } catch (const Error& e) {
    EXPECT_NE(std::string(e.what()).find("the context is full: 12 of 12 tokens"), std::string::npos)
        << e.what();
  }
  EXPECT_EQ(model.runner().cache().length(), 12);
}

TEST_F(Replay, PositionsMayBeAddedToAndHandedOn) {
  EXPECT_GE(replays_of("let pos = cache.length", "let pos = 3 + cache.length - 3"), 30);
}

TEST_F(Replay, WhatDependsOnThePositionIsWalked) {
  const std::string x = "let x = embedding(m.token_embd.weight, ids)";
  const std::vector<std::pair<std::string, std::string>> programs{
      {"a condition", "let x = embedding(m.token_embd.weight, ids)\n    if pos > 1000 { x = x * 2 }"},
      {"a product", "let twice = pos * 2\n    let x = embedding(m.token_embd.weight, ids) * (1 + 0 * twice)"},
      {"a division", "let x = embedding(m.token_embd.weight, ids) + 0 * (pos / 16)"},
      {"a float", "let x = embedding(m.token_embd.weight, ids) * (1.0 + 0.0 * float(pos))"},
      {"a list's element",
       "let t = [0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, "
       "0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0]\n    let x = embedding(m.token_embd.weight, ids) + t[pos]"},
      {"the clock", "let x = embedding(m.token_embd.weight, ids) + 0 * time()"},
      {"the content of a tensor", "let x = embedding(m.token_embd.weight, ids) + 0 * int(ids[0])"},
      {"an extent", "let x = embedding(m.token_embd.weight, ids) + 0 * len(ids)"},
  };
  for (const auto& [what, program] : programs) EXPECT_EQ(replays_of(x, program), 0) << what;
}

TEST_F(Replay, AStepThatIgnoresItsIdsIsWalked) {
  compares_ = false;  // all at once it has one row too few
  const std::string x = "embedding(m.token_embd.weight, ";
  EXPECT_EQ(replays_of(x + "ids)", x + "[7])"), 0);
}

TEST_F(Replay, WhatAPolicyComputesIsWalked) {
  const std::string layer = "x = x + feed_forward(rms_norm(x, b.ffn_norm.weight, c.rms_eps), b)";
  EXPECT_EQ(replays_of(layer, "with precision(accumulate: float64) { " + layer + " }"), 0);
  const std::string attention =
      "x = x + attention(rms_norm(x, b.attn_norm.weight, c.rms_eps), b, layer, pos, m, cache)";
  EXPECT_EQ(replays_of(attention, "with precision(activations: bfloat16) { " + attention + " }"), 0);
}

TEST_F(Replay, WhatTheCacheGivesMayNotDecide) {
  const std::string keys = "let (keys, values) = cache.update(layer, rotate(k, pos, m), v)";
  compares_ = false;  // one row at a time, another part of the keys is meant
  EXPECT_EQ(replays_of(keys, keys + "\n    let query = query + 0 * mean(keys[-1:])"), 0);
  EXPECT_EQ(replays_of(keys, keys + "\n    let query = query + 0 * sum(chunk(keys, 1)[0])"), 0);
}

TEST_F(Replay, AProgramThatRemembersIsWalked) {
  const std::string x = "let pos = cache.length";
  EXPECT_EQ(replays_of(x, x + "\n    calls = calls + 1", "let calls = 0\n"), 0);
}

/// What a prompt leaves behind may be read by later steps.
TEST_F(Replay, AProgramThatRemembersItsPromptsStartsAgain) {
  std::string text = "let prompts = 0\n" + llama_program();
  const std::string x = "let pos = cache.length";
  text.replace(text.find(x), x.size(), x + "\n    if len(ids) > 1 { prompts = prompts + 1 }");
  const std::string logits = "return logits";
  text.replace(text.find(logits), logits.size(), "return logits * (1.0 + prompts)");
  const TemporaryFile program("replay.tl");
  std::ofstream(program.path()) << text;
  Running model(model_.path(), {.program = program.path()});
  Running plain(model_.path(), {});
  const auto tokens = ids(30);
  feed(model, std::span(tokens).first(20));
  model.all({tokens.begin() + 20, tokens.begin() + 25});
  plain.all({tokens.begin(), tokens.begin() + 29});
  const auto once = plain.last({tokens[29]});
  const auto rows = feed(model, std::span(tokens).subspan(25));
  for (size_t i = 0; i < once.size(); ++i) EXPECT_EQ(rows[4 * once.size() + i], 2 * once[i]) << i;
}

TEST_F(Replay, RowsThatComeTogetherAreReplayedTogether) {
  const auto tokens = ids(99);
  const auto expected = Running(model_.path(), {}).all(tokens);
  Running model(model_.path(), {});
  std::vector<float> rows;
  for (size_t at = 0; at < tokens.size(); at += 3) {
    const auto three = model.all({tokens.begin() + at, tokens.begin() + at + 3});
    rows.insert(rows.end(), three.begin(), three.end());
  }
  EXPECT_EQ(rows, expected);
  EXPECT_GE(model.session().statistics().replays, 28);
}

}  // namespace
}  // namespace tl
