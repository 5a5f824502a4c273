// The world around a running program: a session to compute in, and what models and caches need.
#pragma once

#include <functional>
#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "lang/interpreter.h"
#include "llm/kv_cache.h"
#include "llm/model.h"
#include "runtime/session.h"

namespace tl {

/// On what, and how precisely, a `with` block is computed.
struct Policy {
  std::string device;  ///< as --device names it
  Precision precision;
  bool operator==(const Policy&) const = default;
};

struct HostOptions {
  bool use_mmap = true;
  std::optional<int64_t> layers;  ///< limits every model that is opened to its first layers
  CacheTypes cache;               ///< of KV caches, where the backend keeps float32
  int64_t context_length =
      0;                     ///< capacity of KV caches unless the program says; 0: the model's, at most 4096
  std::string program;       ///< a model program by path; "": chosen by architecture
  std::string programs_dir;  ///< where model programs lie
  /// The backend of a device by its name, as --device takes it; throws Error where there is none. Absent: the
  /// session's is the only one.
  std::function<const Backend&(const std::string& device)> backend = {};
};

/// Gives programs the session's backend, and opens models for them.
class RuntimeHost : public lang::Host {
 public:
  RuntimeHost(Session& session, HostOptions options);

  // Whoever asks the host is told of this step, or leaves something behind.
  Tensor evaluate(const graph::NodeRef& node) override {
    lang::StepNumbers::fix();
    return compute(node);
  }
  uint16_t policy(const lang::Value& value) override;
  void print(std::string_view text) override {
    lang::StepNumbers::fix();
    Host::print(text);
  }
  std::string input(std::string_view prompt) override {
    lang::StepNumbers::fix();
    return Host::input(prompt);
  }
  /// The value of a node, every part of it computed in the session of its policy.
  Tensor compute(const graph::NodeRef& node);
  /// The backend of a device. Throws Error where there is none.
  const Backend& backend(const std::string& device) const;

  Session& session() { return session_; }
  const HostOptions& options() const { return options_; }

  /// Opens a model file (a path, or a name of the model cache). Throws Error or FileError.
  std::shared_ptr<Model> open_model(const std::string& name) const;
  /// In what KV caches of this run are kept. Throws Error where the backend cannot.
  CacheTypes cache_types() const;
  /// The capacity of a cache where nobody asks for one.
  int64_t default_context(const Model& model) const;

  /// The host of an interpreter that runs library functions. TL_CHECKs that it is one.
  static RuntimeHost& of(lang::Interpreter& interpreter);

 private:
  Session& session_of(uint16_t policy);

  Session& session_;
  HostOptions options_;
  std::vector<Policy> policies_;                    ///< by number; 0 is the session's own
  std::vector<std::unique_ptr<Session>> sessions_;  ///< of the policies but 0, made when first needed
};

}  // namespace tl
