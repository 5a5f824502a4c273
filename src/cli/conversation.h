// A conversation with a model: the messages, and what of them is in the model's cache.
#pragma once

#include <functional>
#include <string>
#include <string_view>
#include <vector>

#include "cli/engine.h"
#include "llm/generate.h"
#include "text/chat_template.h"

namespace tl::cli {

class Conversation {
 public:
  Conversation(Engine& engine, ChatTemplate chat_template, GenerateOptions options);

  /// Adds the user's message, generates the answer and adds that too (what there is of it, if it is
  /// interrupted). An error leaves the messages as they were.
  GenerateResult ask(const std::string& text, const std::function<void(std::string_view)>& on_text);

  /// Forgets all messages but the system's.
  void clear();
  /// Sets the system message ("" removes it) and forgets the others.
  void set_system(const std::string& text);
  const std::vector<ChatMessage>& messages() const { return messages_; }
  const SamplingOptions& sampling() const { return options_.sampling; }
  bool has_drafter() const { return options_.draft.drafter != nullptr; }
  /// Takes up another conversation.
  void set_messages(std::vector<ChatMessage> messages);
  /// How many tokens the model's cache holds now.
  int64_t tokens() const { return engine_.position(); }

 private:
  std::vector<int32_t> prompt() const;
  /// Generates, and knows afterwards what is in the engine's cache.
  GenerateResult answer(const std::vector<int32_t>& prompt,
                        const std::function<void(std::string_view)>& on_text);
  int64_t reuse_cache(const std::vector<int32_t>& prompt);
  void forget_cache();

  Engine& engine_;
  ChatTemplate template_;
  GenerateOptions options_;
  std::vector<ChatMessage> messages_;
  std::vector<int32_t> cached_;  // the tokens in the engine's cache
};

/// The messages as JSON, and back. The latter throws Error naming the file where it is something else.
void save_conversation(const std::string& path, const std::vector<ChatMessage>& messages);
std::vector<ChatMessage> load_conversation(const std::string& path);

}  // namespace tl::cli
