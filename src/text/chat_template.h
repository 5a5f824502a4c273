// Chat templates: the subset of Jinja that model files use, and what a conversation looks like to them.
#pragma once

#include <ctime>
#include <memory>
#include <optional>
#include <span>
#include <string>
#include <string_view>

namespace tl {

/// One turn of a conversation. `role` is "system", "user", "assistant" or what else a template knows.
struct ChatMessage {
  std::string role, content;
};

/// What a template sees besides the messages.
struct ChatTemplateOptions {
  bool add_generation_prompt = true;  ///< end with the opening of the assistant's turn
  std::string bos_token, eos_token;   ///< their texts, as Tokenizer::piece gives them
  std::optional<std::tm> now;         ///< what strftime_now() sees; default: the local time
};

/// A parsed chat template. Understands what Hugging Face's `apply_chat_template` does: Jinja with trim_blocks
/// and lstrip_blocks, loop controls, raise_exception, strftime_now, tojson. Immutable, safe to use from
/// several threads, cheap to copy. Rendering is bounded in steps, depth and memory, so a hostile template
/// ends in an error.
class ChatTemplate {
 public:
  /// Throws Error "NAME:LINE:COLUMN: …" when the text is no template or uses what is not understood.
  static ChatTemplate parse(std::string_view text, const std::string& name);

  /// The prompt for a conversation. Throws Error "NAME:LINE:COLUMN: …" when the template fails; what a
  /// template says through raise_exception is in the message.
  std::string render(std::span<const ChatMessage> messages, const ChatTemplateOptions& options) const;

  /// As above, with all variables given as a JSON object, for templates that want more than messages (tools,
  /// documents, parts of content). `options.bos_token`, `eos_token` and `add_generation_prompt` are ignored.
  std::string render_json(std::string_view variables, const ChatTemplateOptions& options) const;

 private:
  struct Impl;
  explicit ChatTemplate(std::shared_ptr<const Impl> impl) : impl_(std::move(impl)) {}
  std::shared_ptr<const Impl> impl_;
};

}  // namespace tl
