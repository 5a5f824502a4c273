#include "text/pretokenize.h"

#define PCRE2_CODE_UNIT_WIDTH 8
#include <fmt/format.h>
#include <fmt/ranges.h>
#include <pcre2.h>

#include "base/error.h"
#include "text/tokenizer.h"

namespace tl {
namespace {

// The expressions as the models' authors published them, with one substitution: \s is written out as
// Unicode's White_Space, because PCRE's own \s differs in two characters (U+0085 and U+180E).
#define WS "\\t-\\r \\x{85}\\x{a0}\\x{1680}\\x{2000}-\\x{200a}\\x{2028}\\x{2029}\\x{202f}\\x{205f}\\x{3000}"
// An \s+ that backs off one character before a word, so that the word keeps its leading space.
#define SPACES "[" WS "]+(?![^" WS "])"
#define GPT2 "'s|'t|'re|'ve|'m|'ll|'d| ?\\p{L}+| ?\\p{N}+| ?[^" WS "\\p{L}\\p{N}]+|" SPACES
#define LLAMA3(digits)                                                                                     \
  "'[sS]|'[tT]|'[rR][eE]|'[vV][eE]|'[mM]|'[lL][lL]|'[dD]|[^\\r\\n\\p{L}\\p{N}]?\\p{L}+|" digits "| ?[^" WS \
  "\\p{L}\\p{N}]+[\\r\\n]*|[" WS "]*[\\r\\n]+|" SPACES "|[" WS "]+"

struct Definition {
  const char* name;
  std::vector<const char*> patterns;
};

const std::vector<Definition>& definitions() {
  static const std::vector<Definition> all = {
      {"default", {"[\\p{P}$+<=>^~|]+", GPT2, "\\p{N}+", "[0-9][0-9][0-9]"}},
      {"gpt-2", {GPT2}},
      {"llama-bpe", {LLAMA3("\\p{N}{1,3}")}},
      {"smollm", {"\\p{N}", GPT2}},
      {"qwen2", {LLAMA3("\\p{N}")}},
  };
  return all;
}

#undef LLAMA3
#undef GPT2
#undef SPACES
#undef WS

std::shared_ptr<void> compile(const char* pattern) {
  int error = 0;
  PCRE2_SIZE offset = 0;
  pcre2_code* code = pcre2_compile(reinterpret_cast<PCRE2_SPTR>(pattern), PCRE2_ZERO_TERMINATED,
                                   PCRE2_UTF | PCRE2_NO_UTF_CHECK, &error, &offset, nullptr);
  TL_CHECK(code != nullptr, fmt::format("expression {} does not compile at {}", pattern, offset));
  pcre2_jit_compile(code, PCRE2_JIT_COMPLETE);  // where it is not to be had, matching is merely slower
  return {code, [](void* c) { pcre2_code_free(static_cast<pcre2_code*>(c)); }};
}

struct FreeMatch {
  void operator()(pcre2_match_data* data) const { pcre2_match_data_free(data); }
};

void split_by(const pcre2_code* code, pcre2_match_data* match, std::string_view text,
              std::vector<std::string_view>& out) {
  const PCRE2_SIZE* range = pcre2_get_ovector_pointer(match);
  size_t done = 0;
  while (done < text.size()) {
    const int rc = pcre2_match(code, reinterpret_cast<PCRE2_SPTR>(text.data()), text.size(), done,
                               PCRE2_NO_UTF_CHECK, match, nullptr);
    if (rc == PCRE2_ERROR_NOMATCH) break;
    TL_CHECK(rc > 0 && range[1] > range[0], fmt::format("pre-tokenizer expression failed with {}", rc));
    if (range[0] > done) out.push_back(text.substr(done, range[0] - done));
    out.push_back(text.substr(range[0], range[1] - range[0]));
    done = range[1];
  }
  if (done < text.size()) out.push_back(text.substr(done));
}

}  // namespace

const std::vector<std::string>& known_pre_tokenizers() {
  static const std::vector<std::string> names = [] {
    std::vector<std::string> result;
    for (const Definition& d : definitions()) result.emplace_back(d.name);
    return result;
  }();
  return names;
}

PreTokenizer::PreTokenizer(const std::string& name, const std::string& origin) {
  for (const Definition& d : definitions()) {
    if ((name.empty() ? "default" : name) != d.name) continue;
    for (const char* pattern : d.patterns) patterns_.push_back(compile(pattern));
    return;
  }
  throw Error(fmt::format("{}: unknown pre-tokenizer \"{}\"; known are {}", origin, name,
                          fmt::join(known_pre_tokenizers(), ", ")));
}

std::vector<std::string_view> PreTokenizer::split(std::string_view text) const {
  std::vector<std::string_view> words = {text};
  for (const auto& pattern : patterns_) {
    const auto* code = static_cast<const pcre2_code*>(pattern.get());
    const std::unique_ptr<pcre2_match_data, FreeMatch> match(
        pcre2_match_data_create_from_pattern(code, nullptr));
    TL_CHECK(match != nullptr, "out of memory");
    std::vector<std::string_view> finer;
    for (const std::string_view word : words) split_by(code, match.get(), word, finer);
    words = std::move(finer);
  }
  return words;
}

std::string pre_tokenizer_of_regex(std::string_view regex) {
  if (regex ==
      "(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\\r\\n\\p{L}\\p{N}]?\\p{L}+|\\p{N}{1,3}| "
      "?[^\\s\\p{L}\\p{N}]+[\\r\\n]*|\\s*[\\r\\n]+"
      "|\\s+(?!\\S)|\\s+") {
    return "llama-bpe";
  }
  if (regex ==
      "(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\\r\\n\\p{L}\\p{N}]?\\p{L}+|\\p{N}| "
      "?[^\\s\\p{L}\\p{N}]+[\\r\\n]*|\\s*[\\r\\n]+"
      "|\\s+(?!\\S)|\\s+") {
    return "qwen2";
  }
  if (regex == "'s|'t|'re|'ve|'m|'ll|'d| ?\\p{L}+| ?\\p{N}+| ?[^\\s\\p{L}\\p{N}]+|\\s+(?!\\S)|\\s+")
    return "gpt-2";
  return "";
}

}  // namespace tl
