// The vocabulary inside a GGUF file, for tests of the text room, which knows no file formats.
#pragma once

#include <string>

#include "text/tokenizer.h"

namespace tl::test {

/// Reads the tokenizer keys of a GGUF file by looking for their names. This is no GGUF reader: it exists so
/// that a vocabulary can be tested alone, and it also understands files whose non-UTF-8 bytes a text
/// conversion has replaced by U+FFFD. Texts and merges survive that; scores do not and are, in such a file,
/// taken to be those of Llama's model: minus the distance from the last byte token, -1e9 for runs of
/// spaces.
VocabularySpec read_vocabulary(const std::string& path);

/// The bytes of a text in golden files: "\n", "\t", "\\" and "\xAB" stand for what they do in C.
std::string unescape(const std::string& text);

/// FNV-1a over the ids, each as four little-endian bytes.
uint32_t hash_of(const std::vector<int32_t>& ids);

}  // namespace tl::test
