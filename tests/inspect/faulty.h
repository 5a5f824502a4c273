// The cpu backend with one kernel exchanged, and a small model run on any backend.
#pragma once

#include <memory>
#include <string>
#include <vector>

#include "model/running.h"

namespace tl::test {

/// The path of a small model with random weights, made once.
inline const std::string& inspected_model() {
  static const testing_models::TemporaryFile file("inspect.gguf");
  static const std::string path = [] {
    synthesise_model(file.path(), testing_models::small_llama(DType::q8_0), {});
    return file.path();
  }();
  return path;
}

/// The cpu backend, but for the kernel of one operation.
class FaultyBackend : public Backend {
 public:
  FaultyBackend(Op op, void (*run)(const KernelArgs&)) : table_(cpu_backend().kernels()) {
    table_[static_cast<size_t>(op)].run = run;
  }
  std::string_view name() const override { return "cpu"; }
  const KernelTable& kernels() const override { return table_; }
  DType storage(DType dtype) const override { return dtype; }
  bool fuses() const override { return true; }
  std::string description() const override { return "faulty"; }

 private:
  KernelTable table_;
};

/// What the cpu backend computes.
inline void right(Op op, const KernelArgs& args) {
  cpu_backend().kernels()[static_cast<size_t>(op)].run(args);
}

/// The small model on a backend.
class ModelOn {
 public:
  explicit ModelOn(const Backend& backend, graph::PassOptions passes = {})
      : session_(backend, &reference_backend(), options(passes)),
        host_(session_, host_options()),
        runner_(host_.open_model(inspected_model()), host_) {}

  Session& session() { return session_; }
  /// Runs it on `ids` under an observer; logits of all rows.
  std::vector<float> watched(Observer& observer, const std::vector<int32_t>& ids) {
    session_.set_observer(&observer);
    const auto logits = runner_.step(ids, true);
    session_.set_observer(nullptr);
    return {logits.begin(), logits.end()};
  }

 private:
  static SessionOptions options(graph::PassOptions passes) {
    SessionOptions o;
    o.n_threads = 2;
    o.passes = passes;
    return o;
  }
  static HostOptions host_options() {
    HostOptions h;
    h.context_length = 64;
    h.programs_dir = TL_SOURCE_DIR "/models";
    return h;
  }
  Session session_;
  RuntimeHost host_;
  ModelRunner runner_;
};

}  // namespace tl::test
