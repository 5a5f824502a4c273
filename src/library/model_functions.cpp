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
  return Value(new CacheObject(KvCache(model.config(), capacity, host.cache_types())));
}

Value update(Interpreter&, Args& args) {
  KvCache& cache = args.object<CacheObject>(0).cache();
  if (&cache != lang::StepNumbers::cache()) lang::StepNumbers::fix();
  auto [k, v] = cache.update(args.integer(1), args.tensor(2), args.tensor(3));
  return Value(std::vector<Value>{Value(std::move(k)), Value(std::move(v))});
}

Value truncate(Interpreter&, Args& args) {
  lang::StepNumbers::fix();
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
  return Value(generate(tokenizer, runner, prompt, options).text);
}

constexpr lang::NativeRow kRows[] = {
    {"load_model(path: string) -> model", R"(Opens a model in a GGUF or safetensors file.

`path` is a file, a folder of safetensors, or a name that `tl models` lists. Weights stay in the mapped file until
they are used. `m.config` holds the hyperparameters, `m.blk[0].attn_q.weight` is a weight, `m.tokenizer` the
tokenizer, `m.metadata["general.name"]` any key of the file, `m.n_layers`, `m.rope_factors` and `m.path` the rest.
The examples of this subject open a model that is made by
`tl synth tiny.gguf --layers 2 --hidden 64 --ffn 96 --heads 4 --kv-heads 2 --vocab 300 --type q8_0`.

example:
> let m = load_model("tiny.gguf")
> print(m, shape(m.blk[0].attn_k.weight))
> [m.config.n_layers, m.config.n_heads, m.config.head_dim]
model tiny.gguf (llama, 2 layers) [32, 64]
[2, 4, 16]
source: the file formats of ggml and Hugging Face
see: get_tensor, tokenize, generate)",
     load_model},
    {"load_tokenizer(path: string) -> tokenizer", R"(The tokenizer of a model file, or of a tokenizer.json.

`path` names a model as for load_model, or a Hugging Face tokenizer.json. `t.vocab_size`, `t.bos` and `t.eos` are
its members.

example:
> let t = load_tokenizer("tiny.gguf")
> t.vocab_size
300
source: Hugging Face's tokenizers for tokenizer.json, llama.cpp for GGUF
see: tokenize, detokenize)",
     load_tokenizer},
    {"get_tensor(m: model, name: string) -> tensor", R"(A weight by its name in the file.

Quantised weights are read by `linear` and `embedding`; `as float32` decodes them.

shapes: dimensions outermost first: a matrix is [out, in]
dtypes: as stored
example:
> let m = load_model("tiny.gguf")
> let w = get_tensor(m, "blk.0.attn_k.weight")
> [type(w), type(w as float32)]
["q8_0[32, 64]", "float32[32, 64]"]
source: the tensor names of GGUF
see: has_tensor, load_model, linear)",
     get_tensor},
    {"has_tensor(m: model, name: string) -> bool", R"(Whether a model has a weight of that name.

example:
> let m = load_model("tiny.gguf")
> [has_tensor(m, "output.weight"), has_tensor(m, "blk.0.attn_q.bias")]
[true, false]
source: the tensor names of GGUF
see: get_tensor)",
     has_tensor},
    {"layers(m: model, range: any) -> model", R"(The model with its first layers only.

The final norm and the output follow the last of them, so layers(m, 0) is embedding, norm and output. For finding
the layer where numbers go wrong.

example:
> let m = load_model("tiny.gguf")
> [m.n_layers, m.layers(0..1).n_layers, layers(m, 0).n_layers]
[2, 1, 0]
source: the option --layers of `tl run`
see: load_model)",
     layers},
    {"tokenize(t: any, text: string, add_special: bool = true, parse_special: bool = true) -> list",
     R"(The token ids of a text.

`t` is a tokenizer or a model. `add_special` adds BOS where the vocabulary says so; `parse_special` reads control
tokens such as `<|im_start|>` in the text.

example:
> tokenize(load_model("tiny.gguf"), "Hi!")    // BOS, the blank before a word (three bytes), H, i, !
[1, 229, 153, 132, 75, 108, 36]
source: llama.cpp's llama_tokenize
see: detokenize, load_tokenizer)",
     tokenize},
    {"detokenize(t: any, ids: any, skip_special: bool = true) -> string", R"(The text of token ids.

`t` is a tokenizer or a model; `ids` an int, a list of ints, or an integer tensor. Control tokens are left out
unless `skip_special` is false.

example:
> detokenize(load_tokenizer("tiny.gguf"), [75, 108, 36])
Hi!
source: llama.cpp's llama_detokenize
see: tokenize)",
     detokenize},
    {"chat_template(m: model, messages: list, add_generation_prompt: bool = true) -> string",
     R"(The prompt of a conversation, by the model's own template.

A message is a record with `role` ("system", "user", "assistant") and `content`. A model without a template is an
error.

example:
> let m = load_model("chat.gguf")
> chat_template(m, [{role: "user", content: "Hi"}])
<|user|>Hi
<|assistant|>
source: Hugging Face's apply_chat_template; templates are Jinja
see: tokenize, generate)",
     chat_template},
    {"kv_cache(m: model, capacity: int = void) -> cache",
     R"(An empty cache for the keys and values of a model.

`c.length` positions of `c.capacity` are filled. Without a capacity it is the context that the command line or the
model names, at most 4096.

example:
> let c = kv_cache(load_model("tiny.gguf"), 16)
> [c.length, c.capacity]
[0, 16]
source: llama.cpp's llama_kv_cache
see: update, truncate, attention)",
     kv_cache},
    {"update(c: cache, layer: int, k: tensor, v: tensor) -> list",
     R"(Adds keys and values of one layer to a cache, and gives all that it holds of both.

The last layer's update moves `c.length` on.

shapes: k and v [n, kv_heads, head_dim] -> [k, v], each [length + n, kv_heads, head_dim]
dtypes: floats; kept as the cache is (--cache-type)
example:
> let c = kv_cache(load_model("tiny.gguf"), 16)
> let (k, v) = c.update(0, ones([3, 2, 16]), ones([3, 2, 16]))
> [shape(k), shape(v)]
[[3, 2, 16], [3, 2, 16]]
source: Hugging Face's Cache.update
see: kv_cache, truncate)",
     update},
    {"truncate(c: cache, length: int)", R"(Forgets all that a cache holds from a position on.

example:
> let c = kv_cache(load_model("tiny.gguf"), 16)
> for layer in 0..2 { c.update(layer, ones([3, 2, 16]), ones([3, 2, 16])) }
> c.truncate(1)
> c.length
1
source: llama.cpp's llama_kv_cache_seq_rm
see: update)",
     truncate},
    {"generate(m: model, prompt: any, max_tokens: int = 128, temp: float = 0.8, seed: int = 0) -> string",
     R"(Continues a text, or token ids, with the model's own program.

Sampling is that of `tl generate`; temp 0 always takes the likeliest token. It ends at a token that ends the text,
after `max_tokens`, or where the context is full.

example:
> let m = load_model("tiny.gguf")
> generate(m, "Once", 8, temp: 0.0) == generate(m, "Once", 8, temp: 0.0)
true
source: llama.cpp's llama-cli
see: load_model, sample, chat_template)",
     generate_text},
};

}  // namespace

void add_model_functions(lang::Library& library) { library.add("Models", kRows); }

const lang::Library& standard_library() {
  static const lang::Library library = [] {
    lang::Library all;
    lang::add_core_functions(all);
    add_tensor_functions(all);
    add_neural_functions(all);
    add_sampling_functions(all);
    add_inspection_functions(all);
    add_policy_functions(all);
    add_model_functions(all);
    return all;
  }();
  return library;
}

}  // namespace tl
