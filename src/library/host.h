// The world around a running program: a session to compute in, and what models and caches need.
#pragma once

#include <memory>
#include <optional>
#include <string>

#include "lang/interpreter.h"
#include "llm/model.h"
#include "runtime/session.h"

namespace tl {

struct HostOptions {
  bool use_mmap = true;
  std::optional<int64_t> layers;   ///< limits every model that is opened to its first layers
  DType cache_dtype = DType::f32;  ///< of KV caches, where the backend keeps float32
  int64_t context_length =
      0;                     ///< capacity of KV caches unless the program says; 0: the model's, at most 4096
  std::string program;       ///< a model program by path; "": chosen by architecture
  std::string programs_dir;  ///< where model programs lie
};

/// Gives programs the session's backend, and opens models for them.
class RuntimeHost : public lang::Host {
 public:
  RuntimeHost(Session& session, HostOptions options) : session_(session), options_(std::move(options)) {}

  // Whoever asks the host is told of this step, or leaves something behind.
  Tensor evaluate(const graph::NodeRef& node) override {
    lang::StepNumbers::fix();
    return session_.value(node);
  }
  void print(std::string_view text) override {
    lang::StepNumbers::fix();
    Host::print(text);
  }
  std::string input(std::string_view prompt) override {
    lang::StepNumbers::fix();
    return Host::input(prompt);
  }
  Session& session() { return session_; }
  const HostOptions& options() const { return options_; }

  /// Opens a model file (a path, or a name of the model cache). Throws Error or FileError.
  std::shared_ptr<Model> open_model(const std::string& name) const;
  /// In what KV caches of this run are kept.
  DType cache_dtype() const { return session_.backend().storage(options_.cache_dtype); }
  /// The capacity of a cache where nobody asks for one.
  int64_t default_context(const Model& model) const;

  /// The host of an interpreter that runs library functions. TL_CHECKs that it is one.
  static RuntimeHost& of(lang::Interpreter& interpreter);

 private:
  Session& session_;
  HostOptions options_;
};

}  // namespace tl
