// Models, tokenizers and caches as programs see them: m.blk[i].attn_q.weight, m.config.n_heads, cache.length.
#pragma once

#include <memory>
#include <string>

#include "lang/interpreter.h"
#include "lang/value.h"
#include "llm/kv_cache.h"
#include "llm/model.h"

namespace tl {

/// A model: its weights by name, `config`, `n_layers`, `metadata`, `tokenizer`, `rope_factors`, `path`.
class ModelObject : public lang::NativeObject {
 public:
  static constexpr std::string_view kTypeName = "model";
  explicit ModelObject(std::shared_ptr<const Model> model);
  std::string_view type_name() const override { return kTypeName; }
  lang::Value get(lang::Interpreter& interpreter, std::string_view name) const override;
  std::vector<std::string> members() const override;
  std::string text() const override;
  const Model& model() const { return *model_; }
  const std::shared_ptr<const Model>& shared() const { return model_; }

 private:
  std::shared_ptr<const Model> model_;
  lang::Value config_, weights_;  ///< made once: programs read them at every layer of every step
};

class TokenizerObject : public lang::NativeObject {
 public:
  static constexpr std::string_view kTypeName = "tokenizer";
  explicit TokenizerObject(Tokenizer tokenizer) : tokenizer_(std::move(tokenizer)) {}
  std::string_view type_name() const override { return kTypeName; }
  lang::Value get(lang::Interpreter& interpreter, std::string_view name) const override;
  std::vector<std::string> members() const override;
  const Tokenizer& tokenizer() const { return tokenizer_; }

 private:
  Tokenizer tokenizer_;
};

/// A KV cache: `length`, `capacity`, and update(cache, layer, k, v).
class CacheObject : public lang::NativeObject {
 public:
  static constexpr std::string_view kTypeName = "cache";
  explicit CacheObject(KvCache cache) : cache_(std::move(cache)) {}
  std::string_view type_name() const override { return kTypeName; }
  lang::Value get(lang::Interpreter& interpreter, std::string_view name) const override;
  std::vector<std::string> members() const override;
  KvCache& cache() { return cache_; }

 private:
  KvCache cache_;
};

/// The members of a native object by the name of its type, as far as all objects of the type have them.
std::vector<std::string> object_members(std::string_view type);

}  // namespace tl
