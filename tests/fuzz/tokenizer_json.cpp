// Any bytes as a tokenizer.json: read or refused; what is read encodes and decodes any text.
#include <string>
#include <vector>

#include "base/error.h"
#include "text/stream.h"
#include "text/tokenizer_json.h"

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  const std::string_view text(reinterpret_cast<const char*>(data), size);
  try {
    tl::VocabularySpec spec = tl::spec_from_tokenizer_json(text, "fuzz");
    tl::apply_tokenizer_config(spec, R"({"add_bos_token": true})", "config");
    const tl::Tokenizer tokenizer = tl::Tokenizer::create(std::move(spec));
    const std::string sample = " a\nb\xff 日本 e\xcc\x81 12 <s> it's" + std::string(text.substr(0, 256));
    for (const bool special : {false, true}) {
      const std::vector<int32_t> ids = tokenizer.encode(sample, special, special);
      tokenizer.decode(ids, special);
      tl::StreamDecoder stream(tokenizer, special);
      for (const int32_t id : ids) stream.push(id);
      stream.flush();
    }
  } catch (const tl::Error&) {
    // Refused with a message: as it should be.
  }
  return 0;
}
