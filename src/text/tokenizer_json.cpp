#include "text/tokenizer_json.h"

#include <fmt/format.h>
#include <fmt/ranges.h>

#include <algorithm>
#include <nlohmann/json.hpp>

#include "base/error.h"
#include "text/encoders.h"
#include "text/pretokenize.h"

namespace tl {
namespace {

using Json = nlohmann::ordered_json;

/// A value of the file with its path, for messages: "model.vocab", "added_tokens[3].id".
class Node {
 public:
  Node(const Json& json, std::string path, const std::string& file)
      : json_(json), path_(std::move(path)), file_(file) {}

  [[noreturn]] void fail(const std::string& message) const {
    throw Error(path_.empty() ? fmt::format("{}: {}", file_, message)
                              : fmt::format("{}: {}: {}", file_, path_, message));
  }
  /// A member that must be there and not null.
  Node at(const std::string& key) const {
    if (const auto node = find(key)) return *node;
    fail(fmt::format("the key \"{}\" is missing", key));
  }
  /// A member, or nothing if it is absent or null.
  std::optional<Node> find(const std::string& key) const {
    if (!json_.is_object()) fail(fmt::format("expected an object, found {}", json_.type_name()));
    const auto it = json_.find(key);
    if (it == json_.end() || it->is_null()) return std::nullopt;
    return Node(*it, path_.empty() ? key : path_ + "." + key, file_);
  }
  std::string text() const {
    if (!json_.is_string()) fail(fmt::format("expected a string, found {}", json_.type_name()));
    return json_.get<std::string>();
  }
  bool boolean() const {
    if (!json_.is_boolean()) fail(fmt::format("expected true or false, found {}", json_.type_name()));
    return json_.get<bool>();
  }
  int32_t id() const {
    const bool whole = json_.is_number_integer() || json_.is_number_unsigned();
    if (!whole || json_ < 0 || json_ > 0x7fffffff) {
      fail(
          fmt::format("expected a token id, found {}", json_.is_number() ? json_.dump() : json_.type_name()));
    }
    return json_.get<int32_t>();
  }
  bool flag(const std::string& key) const {
    const auto node = find(key);
    return node && node->boolean();
  }
  std::string text_or(const std::string& key, const std::string& fallback) const {
    const auto node = find(key);
    return node ? node->text() : fallback;
  }
  std::vector<Node> items() const {
    if (!json_.is_array()) fail(fmt::format("expected a list, found {}", json_.type_name()));
    std::vector<Node> out;
    for (size_t i = 0; i < json_.size(); ++i)
      out.emplace_back(json_[i], fmt::format("{}[{}]", path_, i), file_);
    return out;
  }
  const Json& json() const { return json_; }

 private:
  const Json& json_;
  std::string path_;
  const std::string& file_;
};

Json parse(std::string_view text, const std::string& name) {
  try {
    return Json::parse(text);
  } catch (const Json::exception& e) {
    throw Error(fmt::format("{}: this is no JSON: {}", name, e.what()));
  }
}

/// The steps of a normalizer, pre-tokenizer or post-processor: itself, or what a "Sequence" holds.
std::vector<Node> steps(const std::optional<Node>& node, const std::string& list_key) {
  if (!node) return {};
  if (node->at("type").text() != "Sequence") return {*node};
  return node->at(list_key).items();
}

class TokenizerReader {
 public:
  TokenizerReader(const Json& json, const std::string& name) : root_(json, "", name) { spec_.name = name; }

  VocabularySpec read() {
    const Node model = root_.at("model");
    const std::string type = model.text_or("type", "BPE");
    if (type != "BPE") model.fail(fmt::format("the model type \"{}\" is not understood; only BPE is", type));
    read_model_options(model);
    read_vocabulary(model.at("vocab"));
    if (const auto added = root_.find("added_tokens")) read_added(*added);
    read_merges(model.at("merges"));
    spec_.kind = model.flag("byte_fallback") ? VocabularyKind::llama : VocabularyKind::gpt2;
    if (spec_.kind == VocabularyKind::llama) {
      read_sentencepiece();
    } else {
      read_byte_level();
    }
    if (const auto unk = model.find("unk_token")) spec_.unk = id_of(*unk, unk->text());
    read_post_processor();
    return std::move(spec_);
  }

 private:
  static void read_model_options(const Node& model) {
    for (const char* key : {"continuing_subword_prefix", "end_of_word_suffix"}) {
      const auto node = model.find(key);
      if (node && !node->text().empty()) node->fail("this option is not understood; only its absence is");
    }
    if (const auto dropout = model.find("dropout"); dropout && dropout->json() != 0) {
      dropout->fail("dropout is for training; remove it");
    }
  }

  /// Makes room for `id`. Ids may have gaps, but not be far beyond the number of tokens.
  void reserve(const Node& node, int32_t id, size_t n_tokens) {
    const size_t limit = 2 * n_tokens + 4096;
    if (static_cast<size_t>(id) >= limit) {
      node.fail(fmt::format("the id {} is far beyond the {} tokens of this vocabulary", id, n_tokens));
    }
    const size_t size = std::max(spec_.tokens.size(), static_cast<size_t>(id) + 1);
    spec_.tokens.resize(size);
    spec_.token_types.resize(size, static_cast<int32_t>(TokenType::unused));
  }

  void put(const Node& node, int32_t id, const std::string& text, TokenType type) {
    const auto index = static_cast<size_t>(id);
    if (!spec_.tokens[index].empty() && spec_.tokens[index] != text) {
      node.fail(fmt::format("the id {} belongs to \"{}\" and to \"{}\"", id, spec_.tokens[index], text));
    }
    spec_.tokens[index] = text;
    spec_.token_types[index] = static_cast<int32_t>(type);
    ids_[text] = id;
  }

  void read_vocabulary(const Node& vocab) {
    if (!vocab.json().is_object())
      vocab.fail(fmt::format("expected an object, found {}", vocab.json().type_name()));
    const std::string& name = spec_.name;
    for (const auto& [text, value] : vocab.json().items()) {
      const Node node(value, fmt::format("model.vocab[\"{}\"]", text), name);
      const int32_t id = node.id();
      if (text.empty()) node.fail("a token without text");
      reserve(node, id, vocab.json().size());
      put(node, id, text, TokenType::normal);
    }
    if (spec_.tokens.empty()) vocab.fail("there are no tokens");
  }

  void read_added(const Node& added) {
    const std::vector<Node> items = added.items();
    const size_t n_tokens = spec_.tokens.size() + items.size();
    for (const Node& item : items) {
      const int32_t id = item.at("id").id();
      const std::string text = item.at("content").text();
      if (text.empty()) item.fail("a token without text");
      if (item.flag("single_word")) item.fail("\"single_word\" is not understood; only false is");
      if (const auto it = ids_.find(text); it != ids_.end() && it->second != id) {
        item.fail(fmt::format("\"{}\" has the ids {} and {}", text, it->second, id));
      }
      reserve(item, id, n_tokens);
      put(item, id, text, item.flag("special") ? TokenType::control : TokenType::user_defined);
      if (item.flag("lstrip")) spec_.lstrip.push_back(id);
      if (item.flag("rstrip")) spec_.rstrip.push_back(id);
    }
  }

  void read_merges(const Node& merges) {
    for (const Node& merge : merges.items()) {
      if (merge.json().is_string()) {
        spec_.merges.push_back(merge.text());
        continue;
      }
      const std::vector<Node> parts = merge.items();
      if (parts.size() != 2) merge.fail(fmt::format("expected two texts, found {}", parts.size()));
      const std::string left = parts[0].text(), right = parts[1].text();
      if (left.empty() || right.empty() || (left + right).find(' ') != std::string::npos) {
        merge.fail("expected two texts without spaces in them");
      }
      spec_.merges.push_back(left + " " + right);
    }
  }

  void read_sentencepiece() {
    for (size_t i = 0; i < spec_.tokens.size(); ++i) {
      const bool normal = spec_.token_types[i] == static_cast<int32_t>(TokenType::normal);
      if (normal && byte_of_token_text(spec_.tokens[i]) >= 0)
        spec_.token_types[i] = static_cast<int32_t>(TokenType::byte);
    }
    spec_.add_space_prefix = false;
    bool marks_spaces = false;
    for (const Node& step : steps(root_.find("normalizer"), "normalizers")) {
      const std::string type = step.at("type").text();
      if (type == "Prepend" && step.at("prepend").text() == kSpaceMark) {
        spec_.add_space_prefix = true;
      } else if (type == "Replace" && step.at("pattern").text_or("String", "") == " " &&
                 step.at("content").text() == kSpaceMark) {
        marks_spaces = true;
      } else {
        step.fail(fmt::format(
            "the normalizer \"{}\" is not understood here; only Prepend and Replace of U+2581 are", type));
      }
    }
    for (const Node& step : steps(root_.find("pre_tokenizer"), "pretokenizers")) {
      read_metaspace(step);
      marks_spaces = true;
    }
    if (!marks_spaces)
      root_.fail("nothing replaces spaces by U+2581, as a vocabulary with byte fallback needs");
  }

  void read_metaspace(const Node& step) {
    const std::string type = step.at("type").text();
    if (type != "Metaspace" || step.at("replacement").text() != kSpaceMark) {
      step.fail(fmt::format(
          "the pre-tokenizer \"{}\" is not understood with byte fallback; only Metaspace is", type));
    }
    const auto split = step.find("split");
    if (!split || split->boolean()) step.fail("Metaspace is understood with \"split\": false alone");
    const std::string scheme = step.text_or("prepend_scheme", "always");
    if (scheme != "always" && scheme != "first" && scheme != "never") {
      step.fail(
          fmt::format("the prepend_scheme \"{}\" is not understood; it is always, first or never", scheme));
    }
    spec_.add_space_prefix = scheme != "never";
    spec_.prefix_first_only = scheme == "first";
    spec_.prefix_unless_space = true;
  }

  void read_byte_level() {
    for (const Node& step : steps(root_.find("normalizer"), "normalizers")) {
      const std::string type = step.at("type").text();
      if (type != "NFC")
        step.fail(
            fmt::format("the normalizer \"{}\" is not understood with byte-level BPE; only NFC is", type));
      spec_.nfc = true;
    }
    std::string cut;  // what cuts words before ByteLevel
    bool byte_level = false;
    for (const Node& step : steps(root_.find("pre_tokenizer"), "pretokenizers")) {
      const std::string type = step.at("type").text();
      if (byte_level) step.fail("nothing is understood after ByteLevel");
      if (type == "ByteLevel") {
        if (step.flag("add_prefix_space")) step.fail("\"add_prefix_space\" is not understood; only false is");
        const auto use_regex = step.find("use_regex");
        const bool regex = !use_regex || use_regex->boolean();
        spec_.pre_tokenizer = pre_tokenizer(step, cut, regex);
        byte_level = true;
      } else if (!cut.empty()) {
        step.fail("two steps before ByteLevel are not understood");
      } else {
        cut = cutting_step(step, type);
      }
    }
    if (!byte_level) {
      root_.fail(
          "this is neither byte-level BPE (pre_tokenizer ByteLevel) nor BPE with byte_fallback; only these "
          "are understood");
    }
    spec_.ignore_merges = root_.at("model").flag("ignore_merges");
  }

  /// The name of a step before ByteLevel: "digits", or the pre-tokenizer whose expression it has.
  static std::string cutting_step(const Node& step, const std::string& type) {
    if (type == "Digits") {
      if (!step.flag("individual_digits"))
        step.fail("Digits is understood with \"individual_digits\": true alone");
      return "digits";
    }
    if (type != "Split") {
      step.fail(fmt::format(
          "the pre-tokenizer \"{}\" is not understood; only Digits, Split and ByteLevel are", type));
    }
    const std::string regex = step.at("pattern").at("Regex").text();
    const std::string name = pre_tokenizer_of_regex(regex);
    if (name.empty() || step.text_or("behavior", "Isolated") != "Isolated" || step.flag("invert")) {
      step.fail(
          fmt::format("this expression is none of those of {}", fmt::join(known_pre_tokenizers(), ", ")));
    }
    return name;
  }

  static std::string pre_tokenizer(const Node& byte_level, const std::string& cut, bool regex) {
    if (cut.empty() && regex) return "gpt-2";
    if (cut == "digits" && regex) return "smollm";
    if (!cut.empty() && cut != "digits" && !regex) return cut;
    byte_level.fail("this combination of steps is that of no known pre-tokenizer");
  }

  int32_t id_of(const Node& node, const std::string& text) const {
    const auto it = ids_.find(text);
    if (it == ids_.end()) node.fail(fmt::format("\"{}\" is no token of this vocabulary", text));
    return it->second;
  }

  void read_post_processor() {
    spec_.add_bos = spec_.add_eos = false;
    for (const Node& step : steps(root_.find("post_processor"), "processors")) {
      const std::string type = step.at("type").text();
      if (type == "ByteLevel") continue;
      if (type != "TemplateProcessing") {
        step.fail(
            fmt::format("the post-processor \"{}\" is not understood; only TemplateProcessing is", type));
      }
      bool before = true;
      for (const Node& item : step.at("single").items()) {
        if (item.find("Sequence")) {
          before = false;
          continue;
        }
        const Node token = item.at("SpecialToken").at("id");
        auto& id = before ? spec_.bos : spec_.eos;
        if (id) item.fail("more than one special token on one side is not understood");
        id = id_of(token, token.text());
        (before ? spec_.add_bos : spec_.add_eos) = true;
      }
    }
  }

  Node root_;
  VocabularySpec spec_;
  std::unordered_map<std::string, int32_t> ids_;
};

}  // namespace

VocabularySpec spec_from_tokenizer_json(std::string_view text, const std::string& name) {
  const Json json = parse(text, name);
  return TokenizerReader(json, name).read();
}

std::string apply_tokenizer_config(VocabularySpec& spec, std::string_view text, const std::string& name) {
  const Json json = parse(text, name);
  const Node root(json, "", name);
  const auto token = [&](const char* key, std::optional<int32_t>& id) {
    const auto node = root.find(key);
    if (!node) return;
    const std::string content = node->json().is_object() ? node->at("content").text() : node->text();
    const auto it = std::find(spec.tokens.begin(), spec.tokens.end(), content);
    if (content.empty() || it == spec.tokens.end()) {
      node->fail(fmt::format("\"{}\" is no token of {}", content, spec.name));
    }
    id = static_cast<int32_t>(it - spec.tokens.begin());
  };
  token("bos_token", spec.bos);
  token("eos_token", spec.eos);
  token("unk_token", spec.unk);
  token("pad_token", spec.pad);
  if (const auto add = root.find("add_bos_token")) spec.add_bos = add->boolean() && spec.bos;
  if (const auto add = root.find("add_eos_token")) spec.add_eos = add->boolean() && spec.eos;
  const auto chat_template = root.find("chat_template");
  if (!chat_template) return "";
  if (!chat_template->json().is_array()) return chat_template->text();
  for (const Node& item : chat_template->items()) {
    if (item.at("name").text() == "default") return item.at("template").text();
  }
  return "";
}

}  // namespace tl
