#include "text/chat_template.h"

#include <fmt/format.h>

#include <nlohmann/json.hpp>

#include "base/error.h"
#include "text/jinja_eval.h"
#include "text/utf8.h"

namespace tl {
namespace {

using Json = nlohmann::ordered_json;

jinja::Value value_of(jinja::Heap& heap, const Json& json, int depth = 0) {
  if (depth > jinja::kMaxNesting)
    throw Error(fmt::format("the variables nest more than {} deep", jinja::kMaxNesting));
  switch (json.type()) {
    case Json::value_t::boolean:
      return json.get<bool>();
    case Json::value_t::number_integer:
      return json.get<int64_t>();
    case Json::value_t::number_unsigned:
      if (json.get<uint64_t>() > static_cast<uint64_t>(INT64_MAX)) return json.get<double>();
      return json.get<int64_t>();
    case Json::value_t::number_float:
      return json.get<double>();
    case Json::value_t::string:
      return heap.text(json.get<std::string>());
    case Json::value_t::array: {
      jinja::List* list = heap.list();
      for (const Json& item : json) heap.append(list, value_of(heap, item, depth + 1));
      return list;
    }
    case Json::value_t::object: {
      jinja::Dict* dict = heap.dict();
      for (const auto& [key, value] : json.items())
        heap.set(dict, heap.text(key), value_of(heap, value, depth + 1));
      return dict;
    }
    default:
      return jinja::None{};
  }
}

std::tm local_time() {
  const std::time_t now = std::time(nullptr);
  std::tm result{};
  localtime_r(&now, &result);
  return result;
}

}  // namespace

struct ChatTemplate::Impl {
  std::unique_ptr<jinja::Program> program;

  /// Renders with the variables that `fill` puts into a scope.
  template <class Fill>
  std::string render(const ChatTemplateOptions& options, const Fill& fill) const {
    jinja::Heap heap;
    jinja::Context context{heap, options.now ? *options.now : local_time()};
    jinja::Scope variables;
    try {
      fill(heap, variables);
    } catch (const jinja::Failure& failure) {  // more than a rendering may hold
      throw Error(fmt::format("{}: {}; {}", program->source.name(), failure.message, failure.help));
    }
    return jinja::run(*program, context, variables);
  }
};

ChatTemplate ChatTemplate::parse(std::string_view text, const std::string& name) {
  auto impl = std::make_shared<Impl>();
  impl->program = jinja::parse_template(text, name);
  return ChatTemplate(std::move(impl));
}

std::string ChatTemplate::render(std::span<const ChatMessage> messages,
                                 const ChatTemplateOptions& options) const {
  return impl_->render(options, [&](jinja::Heap& heap, jinja::Scope& scope) {
    jinja::List* list = heap.list();
    for (const ChatMessage& message : messages) {
      jinja::Dict* dict = heap.dict();
      heap.set(dict, heap.text("role"), heap.text(message.role));
      heap.set(dict, heap.text("content"), heap.text(message.content));
      heap.append(list, dict);
    }
    scope.variables["messages"] = list;
    scope.variables["add_generation_prompt"] = options.add_generation_prompt;
    scope.variables["bos_token"] = heap.text(options.bos_token);
    scope.variables["eos_token"] = heap.text(options.eos_token);
  });
}

std::string ChatTemplate::render_json(std::string_view variables, const ChatTemplateOptions& options) const {
  Json json;
  try {
    json = Json::parse(variables);
  } catch (const Json::exception& e) {
    throw Error(fmt::format("the variables for {} are no JSON: {}", impl_->program->source.name(), e.what()));
  }
  if (!json.is_object()) {
    throw Error(fmt::format("the variables for {} are no JSON object", impl_->program->source.name()));
  }
  return impl_->render(options, [&](jinja::Heap& heap, jinja::Scope& scope) {
    for (const auto& [key, value] : json.items()) scope.variables[key] = value_of(heap, value);
  });
}

}  // namespace tl
