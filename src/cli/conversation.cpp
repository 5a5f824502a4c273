#include "cli/conversation.h"

#include <fmt/format.h>

#include <algorithm>
#include <nlohmann/json.hpp>

#include "base/file.h"

namespace tl::cli {

Conversation::Conversation(Engine& engine, ChatTemplate chat_template, GenerateOptions options)
    : engine_(engine), template_(std::move(chat_template)), options_(std::move(options)) {
  options_.context_length = engine.context_length();
}

GenerateResult Conversation::ask(const std::string& text,
                                 const std::function<void(std::string_view)>& on_text) {
  messages_.push_back({"user", text});
  try {
    const std::vector<int32_t> ids = prompt();
    if (std::ssize(ids) > engine_.context_length()) {
      throw Error(fmt::format(
          "the conversation would have {} tokens, but the context holds {}: /clear starts afresh, -c gives a "
          "larger one",
          ids.size(), engine_.context_length()));
    }
    GenerateResult result = answer(ids, on_text);
    messages_.push_back({"assistant", result.text});
    return result;
  } catch (...) {
    messages_.pop_back();
    throw;
  }
}

GenerateResult Conversation::answer(const std::vector<int32_t>& prompt,
                                    const std::function<void(std::string_view)>& on_text) {
  options_.cached = reuse_cache(prompt);
  cached_ = prompt;
  try {
    GenerateResult result = generate(engine_.tokenizer(), engine_, prompt, options_, on_text);
    for (const GeneratedToken& token : result.tokens) cached_.push_back(token.id);
    cached_.resize(static_cast<size_t>(engine_.position()));  // the last token was not fed
    return result;
  } catch (...) {
    engine_.truncate(std::min(engine_.position(), std::ssize(prompt)));
    cached_.resize(static_cast<size_t>(engine_.position()));
    throw;
  }
}

void Conversation::clear() {
  std::erase_if(messages_, [](const ChatMessage& m) { return m.role != "system"; });
  forget_cache();
}

void Conversation::set_system(const std::string& text) {
  set_messages({});
  if (!text.empty()) messages_.push_back({"system", text});
}

void Conversation::set_messages(std::vector<ChatMessage> messages) {
  messages_ = std::move(messages);
  forget_cache();
}

void Conversation::forget_cache() {
  engine_.truncate(0);
  cached_.clear();
}

/// The template's text as tokens. Most templates write BOS themselves; where one does not, the model's
/// metadata decides.
std::vector<int32_t> Conversation::prompt() const {
  const Tokenizer& tokenizer = engine_.tokenizer();
  ChatTemplateOptions options;
  if (tokenizer.bos()) options.bos_token = tokenizer.piece(*tokenizer.bos());
  if (tokenizer.eos()) options.eos_token = tokenizer.piece(*tokenizer.eos());
  std::vector<int32_t> ids = tokenizer.encode(template_.render(messages_, options), false, true);
  const bool has_bos = !ids.empty() && tokenizer.bos() && ids.front() == *tokenizer.bos();
  if (tokenizer.add_bos() && tokenizer.bos() && !has_bos) ids.insert(ids.begin(), *tokenizer.bos());
  return ids;
}

/// Cuts the cache back to what it shares with the prompt, and returns how much that is. The last token is
/// always fed again: its logits are wanted.
int64_t Conversation::reuse_cache(const std::vector<int32_t>& prompt) {
  const auto shared = std::ranges::mismatch(cached_, prompt).in2 - prompt.begin();
  const auto keep = std::min<int64_t>(shared, std::ssize(prompt) - 1);
  engine_.truncate(keep);
  return keep;
}

void save_conversation(const std::string& path, const std::vector<ChatMessage>& messages) {
  nlohmann::ordered_json j = {{"messages", nlohmann::ordered_json::array()}};
  for (const ChatMessage& m : messages) j["messages"].push_back({{"role", m.role}, {"content", m.content}});
  AtomicFile file(path);
  file.write(j.dump(2, ' ', false, nlohmann::ordered_json::error_handler_t::replace) + "\n");
  file.commit();
}

std::vector<ChatMessage> load_conversation(const std::string& path) {
  const auto j = nlohmann::json::parse(read_file(path), nullptr, false);
  const auto refuse = [&](const std::string& what) {
    return Error(
        fmt::format("{}: {}; a conversation is {{\"messages\": [{{\"role\": …, \"content\": …}}, …]}}, as "
                    "/save writes it",
                    path, what));
  };
  if (j.is_discarded()) throw refuse("is not JSON");
  if (!j.is_object() || !j.contains("messages") || !j["messages"].is_array())
    throw refuse("has no list \"messages\"");
  std::vector<ChatMessage> messages;
  for (const auto& m : j["messages"]) {
    if (!m.is_object() || !m.contains("role") || !m.contains("content") || !m["role"].is_string() ||
        !m["content"].is_string()) {
      throw refuse(fmt::format("message {} lacks a role or a content that is a string", messages.size() + 1));
    }
    messages.push_back({m["role"].get<std::string>(), m["content"].get<std::string>()});
  }
  return messages;
}

}  // namespace tl::cli
