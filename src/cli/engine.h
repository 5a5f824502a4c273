// A model ready to run, as the commands see it.
#pragma once

#include <cstdint>
#include <memory>

#include "cli/options.h"
#include "cli/session.h"
#include "formats/model_file.h"
#include "llm/language_model.h"
#include "runtime/session.h"
#include "text/tokenizer.h"

namespace tl::cli {

/// An open model with its program, its backend and a KV cache.
class Engine : public LanguageModel {
 public:
  /// Resolves and opens the model, chooses its program by architecture (or --program) and sizes the cache.
  /// Throws Error or ProgramError. `choice` may give other kernels than the backend's.
  static std::unique_ptr<Engine> open(const ModelOptions& options, const KernelChoice& choice = {});
  /// Another model, computed in the session of `engine`, which must outlive it.
  static std::unique_ptr<Engine> open_beside(Engine& engine, const ModelOptions& options);

  /// What it is computed in.
  virtual Session& session() = 0;
  virtual const ModelFile& file() const = 0;
  virtual const Tokenizer& tokenizer() const = 0;
  /// How many tokens the cache can hold.
  virtual int64_t context_length() const = 0;
};

}  // namespace tl::cli
