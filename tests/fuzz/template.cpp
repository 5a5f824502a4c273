// Any bytes as a chat template: refused, or rendered within its bounds.
#include <string>
#include <vector>

#include "base/error.h"
#include "text/chat_template.h"

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  const std::string_view text(reinterpret_cast<const char*>(data), size);
  tl::ChatTemplateOptions options;
  options.bos_token = "<s>";
  options.eos_token = "</s>";
  options.now.emplace();
  const std::vector<tl::ChatMessage> messages = {
      {"system", "Be brief."}, {"user", " h\xc3\xa9llo\n"}, {"assistant", "yes"}, {"user", "bye \xff"}};
  try {
    const tl::ChatTemplate chat_template = tl::ChatTemplate::parse(text, "fuzz");
    for (const bool prompt : {false, true}) {
      options.add_generation_prompt = prompt;
      chat_template.render(messages, options);
    }
    chat_template.render_json(
        R"({"messages": [{"role": "user", "content": null, "tool_calls": [{"a": [1, 2.5]}]}],
                                  "tools": [{"x": {"y": true}}], "n": 3, "s": "text"})",
        options);
  } catch (const tl::Error&) {
    // Refused with a message: as it should be.
  }
  return 0;
}
