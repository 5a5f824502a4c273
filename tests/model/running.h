// Models for the tests: small synthetic ones made here, and the real one that TL_TEST_MODEL names.
#pragma once

#include <unistd.h>
#include <cstdlib>
#include <filesystem>
#include <memory>
#include <string>

#include "formats/synth.h"
#include "library/host.h"
#include "library/model_runner.h"

namespace tl::testing_models {

/// A file in a temporary folder that goes with the object.
class TemporaryFile {
 public:
  explicit TemporaryFile(const std::string& name) {
    path_ = std::filesystem::temp_directory_path() / ("tl-test-" + std::to_string(::getpid()) + "-" + name);
  }
  ~TemporaryFile() {
    std::error_code ignored;
    std::filesystem::remove(path_, ignored);
  }
  std::string path() const { return path_.string(); }

 private:
  std::filesystem::path path_;
};

/// A small model with the traits that hide faults when they are missing: n_heads, n_kv_heads and their ratio
/// all differ, no square weights, several layers.
inline SynthOptions small_llama(DType type, const std::string& architecture = "llama") {
  SynthOptions o;
  o.architecture = architecture;
  o.n_layers = 3;
  o.hidden = 256;
  o.ffn = 512;
  o.n_heads = 8;
  o.n_kv_heads = 2;
  o.vocab = 600;
  o.context = 512;
  o.type = type;
  return o;
}

/// A session, a host and a runner on a backend.
class Running {
 public:
  struct Options {
    bool reference = false;
    const Backend* backend = nullptr;  ///< another than cpu or reference
    int threads = 2;
    Activations activations = Activations::q8;
    CacheTypes caches = {};
    int64_t context = 512;
    graph::PassOptions passes = {};
    std::function<void(const std::string&)> dump_graph = {};
    std::string program = {};
    std::optional<int64_t> layers = {};
    bool replays = true;  ///< later steps may do without the program
  };

  Running(const std::string& path, const Options& o)
      : session_(o.backend != nullptr ? *o.backend
                 : o.reference        ? reference_backend()
                                      : cpu_backend(),
                 o.reference ? nullptr : &reference_backend(), session_options(o)),
        host_(session_, host_options(o)),
        runner_(host_.open_model(path), host_) {}

  ModelRunner& runner() { return runner_; }
  Session& session() { return session_; }
  RuntimeHost& host() { return host_; }
  /// Logits of all rows, a copy.
  std::vector<float> all(const std::vector<int32_t>& ids) {
    const auto logits = runner_.step(ids, true);
    return {logits.begin(), logits.end()};
  }
  std::vector<float> last(const std::vector<int32_t>& ids) {
    const auto logits = runner_.step(ids, false);
    return {logits.begin(), logits.end()};
  }

 private:
  static SessionOptions session_options(const Options& o) {
    SessionOptions s;
    s.n_threads = o.threads;
    s.precision.activations = o.activations;
    s.passes = o.passes;
    s.dump_graph = o.dump_graph;
    if (!o.replays) s.rewrite = [](auto) {};
    return s;
  }
  static HostOptions host_options(const Options& o) {
    HostOptions h;
    h.layers = o.layers;
    h.cache = o.caches;
    h.context_length = o.context;
    h.program = o.program;
    h.programs_dir = TL_SOURCE_DIR "/models";
    return h;
  }
  Session session_;
  RuntimeHost host_;
  ModelRunner runner_;
};

}  // namespace tl::testing_models
