#include "library/model_functions.h"

#include <fmt/format.h>

#include "base/file.h"
#include "formats/registry.h"
#include "graph/builder.h"
#include "library/host.h"
#include "library/library.h"
#include "library/model_objects.h"
#include "library/model_runner.h"
#include "llm/generate.h"
#include "llm/vocabulary.h"
#include "text/chat_template.h"
#include "text/tokenizer_json.h"

namespace tl {

using lang::Args;
using lang::Interpreter;
using lang::Value;
using lang::ValueKind;

namespace {

Value load_model(Interpreter& interpreter, Args& args) {
  return Value(new ModelObject(RuntimeHost::of(interpreter).open_model(args.string(0))));
}

Value load_tokenizer(Interpreter&, Args& args) {
  const std::string& path = args.string(0);
  if (path.ends_with(".json"))
    return Value(new TokenizerObject(Tokenizer::create(spec_from_tokenizer_json(read_file(path), path))));
  return Value(new TokenizerObject(model_tokenizer(*open_model_file(resolve_model(path)))));
}

Value get_tensor(Interpreter&, Args& args) {
  const Model& model = args.object<ModelObject>(0).model();
  return Value(model.weight(args.string(1)));
}

Value has_tensor(Interpreter&, Args& args) {
  return Value(args.object<ModelObject>(0).model().has_weight(args.string(1)));
}

Value layers(Interpreter&, Args& args) {
  auto limited = std::make_shared<Model>(args.object<ModelObject>(0).model());
  if (args[1].is_int()) {
    limited->set_layers(args.integer(1));
  } else {
    const auto range = args.ints(1);
    for (size_t i = 0; i < range.size(); ++i)
      if (range[i] != static_cast<int64_t>(i))
        args.fail(1, "the layers must be the first ones: m.layers(0..k)");
    limited->set_layers(static_cast<int64_t>(range.size()));
  }
  return Value(new ModelObject(std::move(limited)));
}

/// The tokenizer that argument 0 is, or that of the model it is.
const Tokenizer& tokenizer_of(Args& args) {
  if (const auto* model = args[0].object_as<ModelObject>()) return model->model().tokenizer();
  return args.object<TokenizerObject>(0).tokenizer();
}

Value ids_value(std::span<const int32_t> ids) {
  std::vector<Value> values;
  values.reserve(ids.size());
  for (const int32_t id : ids) values.emplace_back(int64_t{id});
  return Value(std::move(values));
}

std::vector<int32_t> ids_argument(Interpreter& interpreter, Args& args, size_t i) {
  std::vector<int64_t> wide;
  if (args[i].is_int()) {
    wide = {args.integer(i)};
  } else if (args[i].is_tensor()) {
    const Tensor t = interpreter.evaluate(args[i].tensor());
    if (!is_int(t.dtype()))
      args.fail(i, fmt::format("token ids are integers, and this is {}", args[i].describe()));
    const Tensor ids = converted(t, DType::i64);
    wide.assign(ids.data<int64_t>(), ids.data<int64_t>() + ids.elements());
  } else {
    wide = args.ints(i);
  }
  std::vector<int32_t> ids;
  for (const int64_t id : wide) {
    if (id < 0 || id > INT32_MAX) args.fail(i, fmt::format("{} is no token id", id));
    ids.push_back(static_cast<int32_t>(id));
  }
  return ids;
}

Value tokenize(Interpreter&, Args& args) {
  return ids_value(tokenizer_of(args).encode(args.string(1), args.boolean(2), args.boolean(3)));
}

Value detokenize(Interpreter& interpreter, Args& args) {
  return Value(tokenizer_of(args).decode(ids_argument(interpreter, args, 1), args.boolean(2)));
}

std::vector<ChatMessage> messages_argument(Args& args, size_t i) {
  if (!args[i].is(ValueKind::list)) args.wrong_kind(i, "a list of records {role: …, content: …}");
  std::vector<ChatMessage> messages;
  for (const Value& item : args[i].list()) {
    const Value* role = item.is(ValueKind::record) ? item.field("role") : nullptr;
    const Value* content = item.is(ValueKind::record) ? item.field("content") : nullptr;
    if (role == nullptr || content == nullptr || !role->is(ValueKind::string) ||
        !content->is(ValueKind::string))
      args.fail(i, fmt::format("a message is a record {{role: \"user\", content: \"…\"}}, not {}",
                               item.describe()));
    messages.push_back({role->string(), content->string()});
  }
  return messages;
}

Value chat_template(Interpreter&, Args& args) {
  const Model& model = args.object<ModelObject>(0).model();
  const std::string text = model_chat_template(model.file());
  if (text.empty()) args.fail(0, fmt::format("{} has no chat template", model.file().path()));
  const Tokenizer& tokenizer = model.tokenizer();
  ChatTemplateOptions options;
  options.add_generation_prompt = args.boolean(2);
  if (tokenizer.bos()) options.bos_token = tokenizer.piece(*tokenizer.bos());
  if (tokenizer.eos()) options.eos_token = tokenizer.piece(*tokenizer.eos());
  return Value(ChatTemplate::parse(text, model.file().path()).render(messages_argument(args, 1), options));
}

Value kv_cache(Interpreter& interpreter, Args& args) {
  RuntimeHost& host = RuntimeHost::of(interpreter);
  const Model& model = args.object<ModelObject>(0).model();
  const int64_t capacity = args.has(1) ? args.integer(1) : host.default_context(model);
  return Value(new CacheObject(KvCache(model.config(), capacity, host.cache_dtype())));
}

Value update(Interpreter&, Args& args) {
  auto [k, v] = args.object<CacheObject>(0).cache().update(args.integer(1), args.tensor(2), args.tensor(3));
  return Value(std::vector<Value>{Value(std::move(k)), Value(std::move(v))});
}

Value truncate(Interpreter&, Args& args) {
  args.object<CacheObject>(0).cache().truncate(args.integer(1));
  return {};
}

Value generate_text(Interpreter& interpreter, Args& args) {
  RuntimeHost& host = RuntimeHost::of(interpreter);
  ModelRunner runner(args.object<ModelObject>(0).shared(), host);
  const Tokenizer& tokenizer = runner.model().tokenizer();
  const auto prompt = args[1].is(ValueKind::string) ? tokenizer.encode(args.string(1), true, true)
                                                    : ids_argument(interpreter, args, 1);
  GenerateOptions options;
  options.max_tokens = args.integer(2);
  options.context_length = runner.cache().capacity();
  options.sampling.temp = args.number(3);
  options.sampling.seed = args.integer(4);
  const auto step = [&](std::span<const int32_t> ids) { return runner.step(ids, false); };
  return Value(generate(tokenizer, step, prompt, options).text);
}

constexpr lang::NativeRow kRows[] = {
    {"load_model(path: string) -> model",
     "Opens a GGUF or safetensors model (a path, or a name that `tl models` lists). Weights stay in the "
     "mapped file.\n"
     "Example: let m = load_model(\"tinyllama.Q4_0.gguf\")",
     load_model},
    {"load_tokenizer(path: string) -> tokenizer",
     "The tokenizer of a model (as load_model names it), or a Hugging Face tokenizer.json.\nExample: let t = "
     "load_tokenizer(\"model.gguf\")",
     load_tokenizer},
    {"get_tensor(m: model, name: string) -> tensor",
     "A weight by its name in the file, dimensions outermost first: [out, in].\nExample: get_tensor(m, "
     "\"blk.0.attn_q.weight\")",
     get_tensor},
    {"has_tensor(m: model, name: string) -> bool", "Whether the model has a weight of that name.",
     has_tensor},
    {"layers(m: model, range: any) -> model",
     "The model with its first layers only; norm and output follow them. layers(m, 0) is embedding, norm, "
     "output.\n"
     "Example: forward(m.layers(0..2), ids, cache)",
     layers},
    {"tokenize(t: any, text: string, add_special: bool = true, parse_special: bool = true) -> list",
     "Token ids of a text. `t` is a tokenizer or a model. `add_special` adds BOS where the vocabulary says "
     "so; `parse_special` "
     "reads control tokens such as <|im_start|> in the text.",
     tokenize},
    {"detokenize(t: any, ids: any, skip_special: bool = true) -> string",
     "Text of token ids (an int, a list, or a tensor).", detokenize},
    {"chat_template(m: model, messages: list, add_generation_prompt: bool = true) -> string",
     "The prompt of a conversation, by the model's own template.\nExample: chat_template(m, [{role: "
     "\"user\", content: \"Hi\"}])",
     chat_template},
    {"kv_cache(m: model, capacity: int = void) -> cache", "An empty KV cache of that many tokens.", kv_cache},
    {"update(c: cache, layer: int, k: tensor, v: tensor) -> list",
     "Appends keys and values [n, n_kv_heads, head_dim] of a layer and gives all rows so far of both.",
     update},
    {"truncate(c: cache, length: int)", "Forgets all tokens from position `length` on.", truncate},
    {"generate(m: model, prompt: any, max_tokens: int = 128, temp: float = 0.8, seed: int = 0) -> string",
     "Continues a text (or token ids) with the model's program. temp 0 is greedy.", generate_text},
};

}  // namespace

void add_model_functions(lang::Library& library) { library.add(kRows); }

const lang::Library& standard_library() {
  static const lang::Library library = [] {
    lang::Library all;
    lang::add_core_functions(all);
    add_tensor_functions(all);
    add_neural_functions(all);
    add_sampling_functions(all);
    add_inspection_functions(all);
    add_model_functions(all);
    return all;
  }();
  return library;
}

}  // namespace tl
