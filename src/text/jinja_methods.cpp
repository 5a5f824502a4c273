// Methods of texts, lists, dicts and loops.
#include <fmt/format.h>
#include <utf8proc.h>

#include <algorithm>
#include <array>
#include <utility>

#include "text/jinja_builtins.h"
#include "text/utf8.h"

namespace tl::jinja {
namespace {

using Call = const Builtin::Call&;

/// str.isspace().
bool is_space(char32_t c) {
  return (c >= 0x09 && c <= 0x0d) || (c >= 0x1c && c <= 0x20) || c == 0x85 || c == 0xa0 || c == 0x1680 ||
         (c >= 0x2000 && c <= 0x200a) || c == 0x2028 || c == 0x2029 || c == 0x202f || c == 0x205f ||
         c == 0x3000;
}

template <class Map>
std::string map_characters(std::string_view text, const Map& map) {
  std::string out;
  out.reserve(text.size());
  for (size_t at = 0; at < text.size();) {
    const Utf8Char c = utf8_at(text, at);
    const size_t length = std::max<size_t>(c.length, 1);
    if (c.length == 0)
      out += text[at];
    else
      append_utf8(out, static_cast<char32_t>(map(static_cast<utf8proc_int32_t>(c.code))));
    at += length;
  }
  return out;
}

bool is_cased(utf8proc_int32_t c) { return utf8proc_toupper(c) != c || utf8proc_tolower(c) != c; }

/// str.title(): a cased character is upper case where the one before it is not cased.
std::string title(std::string_view text) {
  bool inside = false;
  return map_characters(text, [&](utf8proc_int32_t c) {
    const bool was_inside = std::exchange(inside, is_cased(c));
    return was_inside ? utf8proc_tolower(c) : utf8proc_totitle(c);
  });
}

template <class Predicate>
bool all_characters(std::string_view text, const Predicate& predicate) {
  for (size_t at = 0; at < text.size();) {
    const Utf8Char c = utf8_at(text, at);
    if (c.length == 0 || !predicate(c.code)) return false;
    at += c.length;
  }
  return !text.empty();
}

const std::string& self_text(Call c) { return *text_of(c.self); }
List& self_list(Call c) { return *std::get<List*>(c.self); }
Dict& self_dict(Call c) { return *std::get<Dict*>(c.self); }

Value strip_method(Call c, bool left, bool right) {
  std::optional<std::string> characters;
  if (given(c[0])) characters = text_argument(c, 0, "chars");
  return c.heap.text(std::string(strip(self_text(c), characters, left, right)));
}

List* texts(Heap& heap, const std::vector<std::string_view>& parts) {
  List* out = heap.list();
  for (const std::string_view part : parts) heap.append(out, heap.text(std::string(part)));
  return out;
}

/// str.split() on white space, at most `limit` times (< 0: any number).
std::vector<std::string_view> split_words(std::string_view text, int64_t limit) {
  std::vector<std::string_view> parts;
  while (!(text = strip(text, std::nullopt, true, false)).empty()) {
    size_t end = 0;
    for (Utf8Char c; end < text.size(); end += std::max<size_t>(c.length, 1)) {
      c = utf8_at(text, end);
      if (c.length > 0 && is_space(c.code)) break;
    }
    if (limit >= 0 && static_cast<int64_t>(parts.size()) == limit) {
      parts.push_back(text);
      break;
    }
    parts.push_back(text.substr(0, end));
    text.remove_prefix(end);
  }
  return parts;
}

std::vector<std::string_view> split_at(std::string_view text, std::string_view separator, int64_t limit) {
  std::vector<std::string_view> parts;
  size_t at = 0;
  while (limit < 0 || static_cast<int64_t>(parts.size()) < limit) {
    at = text.find(separator);
    if (at == std::string_view::npos) break;
    parts.push_back(text.substr(0, at));
    text.remove_prefix(at + separator.size());
  }
  parts.push_back(text);
  return parts;
}

std::vector<std::string_view> split_at_from_right(std::string_view text, std::string_view separator,
                                                  int64_t limit) {
  std::vector<std::string_view> parts;
  while (limit < 0 || static_cast<int64_t>(parts.size()) < limit) {
    const size_t at = text.rfind(separator);
    if (at == std::string_view::npos) break;
    parts.push_back(text.substr(at + separator.size()));
    text = text.substr(0, at);
  }
  parts.push_back(text);
  std::reverse(parts.begin(), parts.end());
  return parts;
}

Value split_method(Call c, bool from_right) {
  const int64_t limit = int_argument(c, 1, "maxsplit", -1);
  c.heap.step(self_text(c).size() / 8);
  if (!given(c[0])) {
    if (from_right && limit >= 0) throw Failure{"rsplit with a limit needs a separator here"};
    return texts(c.heap, split_words(self_text(c), limit));
  }
  const std::string separator = text_argument(c, 0, "sep");
  if (separator.empty()) throw Failure{"the separator is empty"};
  const auto& text = self_text(c);
  return texts(c.heap,
               from_right ? split_at_from_right(text, separator, limit) : split_at(text, separator, limit));
}

/// startswith and endswith: of one text or any of a tuple.
template <class Matches>
Value affix_method(Call c, const Matches& matches) {
  if (const auto* l = get<List*>(c[0]); l && (*l)->tuple) {
    return std::any_of((*l)->items.begin(), (*l)->items.end(), [&](const Value& v) {
      if (!text_of(v)) throw Failure{fmt::format("expected a tuple of str, found a {} in it", type_name(v))};
      c.heap.step();
      return matches(*text_of(v));
    });
  }
  return matches(text_argument(c, 0, "affix"));
}

/// A byte offset as the number of characters before it; -1 for npos.
Value character_index(Call c, size_t at) {
  if (at == std::string::npos) return int64_t{-1};
  return static_cast<int64_t>(
             character_offsets(c.heap, std::string_view(self_text(c)).substr(0, at)).size()) -
         1;
}

Value join_method(Call c) {
  std::string out;
  bool first = true;
  for (const Value& item : items_of(c.heap, c[0])) {
    const std::string* s = text_of(item);
    if (!s) throw Failure{fmt::format("join needs str, found a {}", type_name(item))};
    c.heap.charge(s->size() + self_text(c).size());
    if (!first) out += self_text(c);
    first = false;
    out += *s;
  }
  return c.heap.text(std::move(out));
}

Value count_method(Call c) {
  const std::string part = text_argument(c, 0, "sub");
  if (part.empty()) return length_of(c.heap, c.self) + 1;
  c.heap.step(self_text(c).size() / 16);
  int64_t n = 0;
  for (size_t at = 0; (at = self_text(c).find(part, at)) != std::string::npos; at += part.size()) ++n;
  return n;
}

std::string without_affix(Call c, bool prefix) {
  const std::string affix = text_argument(c, 0, "affix");
  const std::string& text = self_text(c);
  if (prefix && text.starts_with(affix)) return text.substr(affix.size());
  if (!prefix && text.ends_with(affix)) return text.substr(0, text.size() - affix.size());
  return text;
}

bool is_letter(char32_t c) {
  const auto category = utf8proc_category(static_cast<utf8proc_int32_t>(c));
  return category >= UTF8PROC_CATEGORY_LU && category <= UTF8PROC_CATEGORY_LO;
}
bool is_digit(char32_t c) {
  return utf8proc_category(static_cast<utf8proc_int32_t>(c)) == UTF8PROC_CATEGORY_ND;
}

constexpr std::array kStringMethods = {
    Builtin{"strip", "chars", 0, [](Call c) { return strip_method(c, true, true); }},
    Builtin{"lstrip", "chars", 0, [](Call c) { return strip_method(c, true, false); }},
    Builtin{"rstrip", "chars", 0, [](Call c) { return strip_method(c, false, true); }},
    Builtin{"split", "sep,maxsplit", 0, [](Call c) { return split_method(c, false); }},
    Builtin{"rsplit", "sep,maxsplit", 0, [](Call c) { return split_method(c, true); }},
    Builtin{"splitlines", "", 0, [](Call c) -> Value { return texts(c.heap, split_lines(self_text(c))); }},
    Builtin{
        "startswith", "prefix", 1,
        [](Call c) { return affix_method(c, [&](const auto& s) { return self_text(c).starts_with(s); }); }},
    Builtin{"endswith", "suffix", 1,
            [](Call c) { return affix_method(c, [&](const auto& s) { return self_text(c).ends_with(s); }); }},
    Builtin{"removeprefix", "prefix", 1, [](Call c) { return c.heap.text(without_affix(c, true)); }},
    Builtin{"removesuffix", "suffix", 1, [](Call c) { return c.heap.text(without_affix(c, false)); }},
    Builtin{"upper", "", 0, [](Call c) { return c.heap.text(upper(self_text(c))); }},
    Builtin{"lower", "", 0, [](Call c) { return c.heap.text(lower(self_text(c))); }},
    Builtin{"title", "", 0, [](Call c) { return c.heap.text(title(self_text(c))); }},
    Builtin{"capitalize", "", 0, [](Call c) { return c.heap.text(capitalize(self_text(c))); }},
    Builtin{"replace", "old,new,count", 2,
            [](Call c) {
              return c.heap.text(replace(c.heap, self_text(c), text_argument(c, 0, "old"),
                                         text_argument(c, 1, "new"), int_argument(c, 2, "count", -1)));
            }},
    Builtin{"find", "sub", 1,
            [](Call c) { return character_index(c, self_text(c).find(text_argument(c, 0, "sub"))); }},
    Builtin{"rfind", "sub", 1,
            [](Call c) { return character_index(c, self_text(c).rfind(text_argument(c, 0, "sub"))); }},
    Builtin{"count", "sub", 1, count_method},
    Builtin{"join", "iterable", 1, join_method},
    Builtin{"isdigit", "", 0, [](Call c) -> Value { return all_characters(self_text(c), is_digit); }},
    Builtin{"isalpha", "", 0, [](Call c) -> Value { return all_characters(self_text(c), is_letter); }},
    Builtin{"isspace", "", 0, [](Call c) -> Value { return all_characters(self_text(c), is_space); }},
};

constexpr std::array kListMethods = {
    Builtin{"append", "item", 1,
            [](Call c) -> Value {
              if (self_list(c).tuple) throw Failure{"a tuple cannot grow"};
              c.heap.append(&self_list(c), c[0]);
              return None{};
            }},
    Builtin{"index", "item", 1,
            [](Call c) -> Value {
              const auto& items = self_list(c).items;
              for (size_t i = 0; i < items.size(); ++i) {
                if (equal(c.heap, items[i], c[0])) return static_cast<int64_t>(i);
              }
              throw Failure{fmt::format("{} is not in the list", repr(c.heap, c[0]))};
            }},
    Builtin{"count", "item", 1,
            [](Call c) -> Value {
              const auto& items = self_list(c).items;
              return static_cast<int64_t>(std::count_if(
                  items.begin(), items.end(), [&](const Value& v) { return equal(c.heap, v, c[0]); }));
            }},
};

constexpr std::array kDictMethods = {
    Builtin{"get", "key,default", 1,
            [](Call c) -> Value {
              if (const Value* value = self_dict(c).find(c[0])) return *value;
              return is_undefined(c[1]) ? Value(None{}) : c[1];
            }},
    Builtin{"items", "", 0,
            [](Call c) -> Value {
              List* out = c.heap.list();
              for (const auto& [key, value] : self_dict(c).entries) {
                c.heap.append(out, c.heap.list({key, value}, true));
              }
              return out;
            }},
    Builtin{"keys", "", 0, [](Call c) -> Value { return c.heap.list(items_of(c.heap, c.self)); }},
    Builtin{"values", "", 0,
            [](Call c) -> Value {
              List* out = c.heap.list();
              for (const auto& entry : self_dict(c).entries) c.heap.append(out, entry.second);
              return out;
            }},
};

constexpr std::array kLoopMethods = {
    Builtin{"cycle", "*", 1,
            [](Call c) -> Value { return c.arguments[std::get<Loop*>(c.self)->index % c.arguments.size()]; }},
};

}  // namespace

std::span<const Builtin> string_method_rows() { return kStringMethods; }
std::span<const Builtin> list_method_rows() { return kListMethods; }
std::span<const Builtin> dict_method_rows() { return kDictMethods; }
std::span<const Builtin> loop_method_rows() { return kLoopMethods; }

std::string_view strip(std::string_view text, std::optional<std::string_view> characters, bool left,
                       bool right) {
  const auto goes = [&](size_t at, size_t length) {
    if (characters) return characters->find(text.substr(at, length)) != std::string_view::npos;
    const Utf8Char c = utf8_at(text, at);
    return c.length > 0 && is_space(c.code);
  };
  while (left && !text.empty()) {
    const size_t length = std::max<size_t>(utf8_at(text, 0).length, 1);
    if (!goes(0, length)) break;
    text.remove_prefix(length);
  }
  while (right && !text.empty()) {
    size_t at = text.size() - 1;
    while (at > 0 && text.size() - at < 4 && (static_cast<unsigned char>(text[at]) & 0xc0) == 0x80) --at;
    if (utf8_at(text, at).length != text.size() - at) at = text.size() - 1;
    if (!goes(at, text.size() - at)) break;
    text.remove_suffix(text.size() - at);
  }
  return text;
}

std::string upper(std::string_view text) { return map_characters(text, utf8proc_toupper); }
std::string lower(std::string_view text) { return map_characters(text, utf8proc_tolower); }

std::string capitalize(std::string_view text) {
  bool first = true;
  return map_characters(text, [&](utf8proc_int32_t c) {
    return std::exchange(first, false) ? utf8proc_totitle(c) : utf8proc_tolower(c);
  });
}

std::string replace(Heap& heap, std::string_view text, std::string_view from, std::string_view to,
                    int64_t count) {
  heap.step(text.size() / 16);
  std::string out;
  const auto add = [&](std::string_view s) {
    heap.charge(s.size());
    out += s;
  };
  for (; count != 0; --count) {
    if (from.empty()) {  // as in Python: before each character, and at the end
      add(to);
      if (text.empty()) return out;
      const size_t length = std::max<size_t>(utf8_at(text, 0).length, 1);
      add(text.substr(0, length));
      text.remove_prefix(length);
      continue;
    }
    const size_t at = text.find(from);
    if (at == std::string_view::npos) break;
    add(text.substr(0, at));
    add(to);
    text.remove_prefix(at + from.size());
  }
  add(text);
  return out;
}

std::vector<std::string_view> split_lines(std::string_view text) {
  std::vector<std::string_view> lines;
  while (!text.empty()) {
    const size_t end = std::min(text.find_first_of("\r\n"), text.size());
    lines.push_back(text.substr(0, end));
    text.remove_prefix(end);
    if (text.starts_with("\r\n"))
      text.remove_prefix(2);
    else if (!text.empty())
      text.remove_prefix(1);
  }
  return lines;
}

}  // namespace tl::jinja
