// What one decode step costs outside the kernels: walking the program to a graph, tracing it, spelling its
// structure, finding the plan, and the executor. Kernels are replaced by functions that do nothing, so that
// the model's widths do not matter.
//
//   step_bench MODEL.gguf PROGRAMS_FOLDER [ROUNDS]     prints medians in milliseconds as JSON
#include <algorithm>
#include <chrono>
#include <cstdio>
#include <cstdlib>
#include <functional>
#include <vector>

#include <fmt/format.h>

#include "backend/backend.h"
#include "formats/model_file.h"
#include "graph/builder.h"
#include "lang/interpreter.h"
#include "library/host.h"
#include "library/model_functions.h"
#include "library/model_objects.h"
#include "library/model_runner.h"

namespace tl {
namespace {

/// The cpu backend's table with kernels that leave their output as it is.
class IdleBackend : public Backend {
 public:
  IdleBackend() : table_(cpu_backend().kernels()) {
    for (Kernel& kernel : table_)
      if (kernel.run != nullptr) kernel.run = [](const KernelArgs&) {};
  }
  std::string_view name() const override { return "idle"; }
  const KernelTable& kernels() const override { return table_; }
  DType storage(DType dtype) const override { return cpu_backend().storage(dtype); }
  bool fuses() const override { return cpu_backend().fuses(); }
  std::string description() const override { return {}; }

 private:
  KernelTable table_;
};

double milliseconds(const std::function<void()>& work) {
  const auto start = std::chrono::steady_clock::now();
  work();
  return std::chrono::duration<double, std::milli>(std::chrono::steady_clock::now() - start).count();
}

double median(std::vector<double> values) {
  std::nth_element(values.begin(), values.begin() + static_cast<long>(values.size() / 2), values.end());
  return values[values.size() / 2];
}

/// A model, its program, and a cache that holds a prompt.
class Step {
 public:
  Step(const std::string& model_path, const std::string& programs)
      : session_(backend_, nullptr, one_thread()),
        host_(session_, {}),
        model_(host_.open_model(model_path)),
        cache_(new CacheObject(KvCache(model_->config(), 512, CacheTypes{}))),
        arguments_{lang::Value(new ModelObject(model_)), lang::Value(), lang::Value(cache_)} {
    const std::string path = model_program(model_->config().architecture, programs);
    auto program = lang::Program::load(path, standard_library(), {{programs}});
    program->require_ok();
    interpreter_ = std::make_unique<lang::Interpreter>(std::move(program), host_);
    session_.value(logits(40));  // a prompt
  }

  /// The graph of one more token, nothing computed.
  graph::NodeRef build() { return logits(1); }
  void compute(const graph::NodeRef& node) { session_.value(node); }
  /// Forgets what build() appended.
  void forget() { cache_->cache().truncate(cache_->cache().length() - 1); }
  int64_t plans() const { return session_.statistics().plans; }

 private:
  static SessionOptions one_thread() {
    SessionOptions options;
    options.n_threads = 1;
    return options;
  }
  graph::NodeRef logits(int64_t n) {
    Tensor ids(DType::i64, {n});
    std::fill_n(ids.data<int64_t>(), n, 1);
    arguments_[1] = lang::Value(graph::constant(ids));
    return graph::slice(interpreter_->call("forward", arguments_).tensor(), 0, -1, std::nullopt);
  }

  IdleBackend backend_;
  Session session_;
  RuntimeHost host_;
  std::shared_ptr<const Model> model_;
  CacheObject* cache_;
  lang::Value arguments_[3];
  std::unique_ptr<lang::Interpreter> interpreter_;
};

void run(const std::string& model, const std::string& programs, int rounds) {
  Step step(model, programs);
  std::vector<double> build, release, trace, key, compute, whole;
  size_t nodes = 0;
  for (int i = 0; i < rounds; ++i) {
    graph::NodeRef node;
    graph::Trace traced;
    std::vector<int64_t> words;
    build.push_back(milliseconds([&] { node = step.build(); }));
    trace.push_back(milliseconds([&] { traced = graph::trace(std::span(&node, 1)); }));
    key.push_back(milliseconds([&] { words = graph::structure(traced); }));
    nodes = traced.values.size();
    traced = {};
    step.forget();
    release.push_back(milliseconds([&] { node = nullptr; }));

    whole.push_back(milliseconds([&] {
      node = step.build();
      compute.push_back(milliseconds([&] { step.compute(node); }));
      node = nullptr;
    }));
    step.forget();
  }
  fmt::print(
      "{{\"nodes\": {}, \"plans\": {}, \"build\": {:.4f}, \"release\": {:.4f}, \"trace\": {:.4f}, "
      "\"structure\": {:.4f}, \"compute\": {:.4f}, \"step\": {:.4f}}}\n",
      nodes, step.plans(), median(build), median(release), median(trace), median(key), median(compute),
      median(whole));
}

}  // namespace
}  // namespace tl

int main(int argc, char** argv) {
  if (argc < 3) {
    std::fprintf(stderr, "usage: step_bench MODEL.gguf PROGRAMS_FOLDER [ROUNDS]\n");
    return 2;
  }
  try {
    tl::run(argv[1], argv[2], argc > 3 ? std::atoi(argv[3]) : 300);
  } catch (const tl::Error& e) {
    std::fprintf(stderr, "%s\n", e.what());
    return 1;
  }
}
