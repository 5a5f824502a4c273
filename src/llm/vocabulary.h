// The tokenizer and the chat template that a model file carries.
#pragma once

#include <string>

#include "formats/model_file.h"
#include "text/tokenizer.h"

namespace tl {

/// The tokenizer of a model: from GGUF's tokenizer.ggml.* metadata, else from the tokenizer.json (and
/// tokenizer_config.json) beside a safetensors model. Throws FileError or Error where the model has none, of
/// an unknown kind, or one that contradicts itself.
Tokenizer model_tokenizer(const ModelFile& file);

/// The text of the model's Jinja chat template, or "" where it has none.
std::string model_chat_template(const ModelFile& file);

}  // namespace tl
