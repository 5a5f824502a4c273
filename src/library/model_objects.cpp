#include "library/model_objects.h"

#include <algorithm>
#include <unordered_map>

#include <fmt/format.h>

#include "base/source.h"
#include "tensor/statistics.h"

namespace tl {

using lang::Interpreter;
using lang::Value;

namespace {

[[noreturn]] void no_member(std::string_view of, std::string_view name,
                            const std::vector<std::string>& known) {
  const std::string near = nearest_name(name, known);
  throw Error(fmt::format("{} has no member `{}`{}", of, name,
                          near.empty() ? "" : fmt::format("; did you mean `{}`?", near)));
}

using ConfigFields = std::vector<std::pair<std::string_view, Value>>;
ConfigFields config_fields(const HyperParameters& c) {
  return {{"architecture", Value(c.architecture)},
          {"n_layers", Value(c.n_layers)},
          {"hidden_dim", Value(c.hidden_dim)},
          {"ffn_dim", Value(c.ffn_dim)},
          {"n_heads", Value(c.n_heads)},
          {"n_kv_heads", Value(c.n_kv_heads)},
          {"head_dim", Value(c.head_dim)},
          {"vocab_size", Value(c.vocab_size)},
          {"context_length", Value(c.context_length)},
          {"rms_eps", Value(c.rms_eps)},
          {"rope_base", Value(c.rope_base)},
          {"rope_dims", Value(c.rope_dims)},
          {"rope_scale", Value(c.rope_scale)},
          {"rope_style", Value(c.rope_style == RopeStyle::norm ? "norm" : "neox")}};
}

std::vector<std::string> names_of(const ConfigFields& fields) {
  std::vector<std::string> names;
  for (const auto& [name, value] : fields) names.emplace_back(name);
  return names;
}

/// m.config: hyperparameters read from the file.
class ConfigObject : public lang::NativeObject {
 public:
  explicit ConfigObject(const HyperParameters& c) : fields_(config_fields(c)) {}
  std::string_view type_name() const override { return "config"; }

  Value get(Interpreter&, std::string_view name) const override {
    for (const auto& [field, value] : fields_)
      if (field == name) return value;
    no_member("config", name, members());
  }

  std::vector<std::string> members() const override { return names_of(fields_); }

  std::string text() const override {
    std::string out = "config {";
    for (const auto& [field, value] : fields_) {
      if (out.back() != '{') out += ',';
      out += fmt::format(" {}: ", field);
      out += value.is_int()      ? fmt::format("{}", value.integer())
             : value.is_number() ? fmt::format("{}", value.number())
                                 : value.string();
    }
    return out + " }";
  }

 private:
  ConfigFields fields_;
};

/// m.metadata["general.name"]
class MetadataObject : public lang::NativeObject {
 public:
  explicit MetadataObject(std::shared_ptr<const Model> model) : model_(std::move(model)) {}
  std::string_view type_name() const override { return "metadata"; }

  Value index(Interpreter&, const Value& key) const override {
    if (!key.is(lang::ValueKind::string))
      throw Error(fmt::format("metadata is read by a string, not by {}", key.describe()));
    const MetaValue* found = model_->file().find(key.string());
    if (found == nullptr) {
      std::vector<std::string> known;
      for (const auto& entry : model_->file().metadata()) known.push_back(entry.key);
      const std::string near = nearest_name(key.string(), known);
      throw Error(fmt::format("the metadata has no key \"{}\"{}", key.string(),
                              near.empty() ? "" : fmt::format("; did you mean \"{}\"?", near)));
    }
    return std::visit([](const auto& data) { return convert(data); }, found->data);
  }

 private:
  static Value convert(bool b) { return Value(b); }
  static Value convert(int64_t i) { return Value(i); }
  static Value convert(uint64_t u) { return Value(static_cast<int64_t>(u)); }
  static Value convert(double d) { return Value(d); }
  static Value convert(const std::string& s) { return Value(s); }
  template <class T>
  static Value convert(const std::vector<T>& items) {
    std::vector<Value> values;
    values.reserve(items.size());
    for (const auto& item : items) values.push_back(convert(static_cast<const T&>(item)));
    return Value(std::move(values));
  }
  std::shared_ptr<const Model> model_;
};

/// The words that follow `prefix` in names of the model's tensors.
std::vector<std::string> words_below(const Model& model, const std::string& prefix) {
  std::vector<std::string> words;
  for (const auto& entry : model.file().tensors()) {
    if (!entry.name.starts_with(prefix)) continue;
    const std::string word =
        entry.name.substr(prefix.size(), entry.name.find('.', prefix.size()) - prefix.size());
    if (std::find(words.begin(), words.end(), word) == words.end()) words.push_back(word);
  }
  return words;
}

/// A prefix of tensor names: m.blk, m.blk[3], m.blk[3].attn_q. What has been asked for is remembered, so that
/// a model program finds its weights without building their names again.
class WeightsObject : public lang::NativeObject {
 public:
  WeightsObject(std::shared_ptr<const Model> model, std::string prefix)
      : model_(std::move(model)), prefix_(std::move(prefix)) {}
  std::string_view type_name() const override { return "weights"; }
  std::string text() const override { return fmt::format("weights {}", prefix_); }

  Value get(Interpreter&, std::string_view name) const override {
    for (const auto& [known, value] : members_)
      if (known == name) return value;
    Value value = below(prefix_.empty() ? std::string(name) : fmt::format("{}.{}", prefix_, name));
    members_.emplace_back(name, value);
    return value;
  }
  std::vector<std::string> members() const override {
    return prefix_ == "blk" ? std::vector<std::string>{} : words_below(*model_, prefix_ + ".");
  }

  Value index(Interpreter&, const Value& key) const override {
    if (!key.is_int()) throw Error(fmt::format("`{}` is read by an int, not by {}", prefix_, key.describe()));
    if (const auto found = elements_.find(key.integer()); found != elements_.end()) return found->second;
    if (prefix_ == "blk" && (key.integer() < 0 || key.integer() >= model_->config().n_layers))
      throw Error(fmt::format("the model has {} layers, and blk[{}] was asked for", model_->config().n_layers,
                              key.integer()));
    return elements_.emplace(key.integer(), below(fmt::format("{}.{}", prefix_, key.integer())))
        .first->second;
  }

 private:
  /// The tensor of that name, or the names below it.
  Value below(const std::string& name) const {
    if (model_->has_weight(name) || name == "output.weight") return Value(model_->weight(name));
    const std::string start = name + ".";
    for (const auto& entry : model_->file().tensors())
      if (entry.name.starts_with(start)) return Value(new WeightsObject(model_, name));
    if (name == "output") return Value(new WeightsObject(model_, name));
    // Names as deep as this one: a slip may be in `blk.0.attn_q` of `blk.0.attn_q.weight`.
    const auto depth = std::ranges::count(name, '.');
    std::vector<std::string> known;
    for (const auto& entry : model_->file().tensors()) {
      size_t end = entry.name.find('.');
      for (auto i = depth; i > 0 && end != std::string::npos; --i) end = entry.name.find('.', end + 1);
      known.push_back(entry.name.substr(0, end));
    }
    const std::string near = nearest_name(name, known);
    throw Error(fmt::format("the model has no tensor `{}`{}", name,
                            near.empty() ? "" : fmt::format("; did you mean `{}`?", near)));
  }

  std::shared_ptr<const Model> model_;
  std::string prefix_;
  mutable std::vector<std::pair<std::string, Value>> members_;
  mutable std::unordered_map<int64_t, Value> elements_;
};

}  // namespace

ModelObject::ModelObject(std::shared_ptr<const Model> model)
    : model_(std::move(model)),
      config_(new ConfigObject(model_->config())),
      weights_(new WeightsObject(model_, "")) {}

Value ModelObject::get(Interpreter& interpreter, std::string_view name) const {
  if (name == "config") return config_;
  if (name == "n_layers") return Value(model_->n_layers());
  if (name == "metadata") return Value(new MetadataObject(model_));
  if (name == "tokenizer") return Value(new TokenizerObject(model_->tokenizer()));
  if (name == "rope_factors") return model_->rope_factors() ? Value(model_->rope_factors()) : Value();
  if (name == "path") return Value(model_->file().path());
  return weights_.object().get(interpreter, name);
}

std::vector<std::string> ModelObject::members() const {
  std::vector<std::string> names = object_members(kTypeName);
  for (std::string& word : words_below(*model_, "")) names.push_back(std::move(word));
  return names;
}

std::string ModelObject::text() const {
  return fmt::format("model {} ({}, {} layers)", model_->file().path(), model_->config().architecture,
                     model_->n_layers());
}

Value TokenizerObject::get(Interpreter&, std::string_view name) const {
  const auto optional_id = [](std::optional<int32_t> id) { return id ? Value(int64_t{*id}) : Value(); };
  if (name == "vocab_size") return Value(int64_t{tokenizer_.vocab_size()});
  if (name == "bos") return optional_id(tokenizer_.bos());
  if (name == "eos") return optional_id(tokenizer_.eos());
  no_member("tokenizer", name, members());
}

std::vector<std::string> TokenizerObject::members() const { return object_members(kTypeName); }

Value CacheObject::get(Interpreter&, std::string_view name) const {
  if (name == "length") return Value::varying(cache_.length());
  if (name == "capacity") return Value(cache_.capacity());
  no_member("cache", name, members());
}

std::vector<std::string> CacheObject::members() const { return object_members(kTypeName); }

std::vector<std::string> object_members(std::string_view type) {
  if (type == ModelObject::kTypeName)
    return {"config", "n_layers", "metadata", "tokenizer", "rope_factors", "path"};
  if (type == "config") return names_of(config_fields({}));
  if (type == TokenizerObject::kTypeName) return {"vocab_size", "bos", "eos"};
  if (type == CacheObject::kTypeName) return {"length", "capacity"};
  return {};
}

}  // namespace tl
