#include "lang/text_functions.h"

#include <algorithm>

#include <fmt/format.h>

#include "lang/interpreter.h"
#include "lang/interpreter_detail.h"

namespace tl::lang {

namespace {

constexpr std::string_view kBlanks = " \t\n\r";

/// A value in a format such as ".2f", "8" or ">10", which are those of Python.
std::string formatted(Interpreter& interpreter, const Args& args, size_t i, const std::string& spec) {
  const Value& v = args[i];
  const bool is_long =
      std::count_if(spec.begin(), spec.end(), [](char c) { return c >= '0' && c <= '9'; }) > 4;
  const bool wants_float =
      !spec.empty() && std::string_view("aAeEfFgG").find(spec.back()) != std::string::npos;
  const std::string pattern = "{:" + spec + "}";
  try {
    if (is_long) throw fmt::format_error("");
    if (v.is_tensor() && v.tensor()->shape().elements() == 1) {
      const Tensor t = interpreter.evaluate(v.tensor());
      if (is_float(t.dtype()) || wants_float) return fmt::format(fmt::runtime(pattern), load_double(t, 0));
      return fmt::format(fmt::runtime(pattern), load_int(t, 0));
    }
    if (v.is_int() && !wants_float) return fmt::format(fmt::runtime(pattern), v.integer());
    if (v.is_number()) return fmt::format(fmt::runtime(pattern), v.number());
    if (wants_float)
      args.fail(i, fmt::format("the format {} is for numbers, not for {}", pattern, v.describe()));
    return fmt::format(fmt::runtime(pattern), interpreter.text(v));
  } catch (const fmt::format_error&) {
    args.fail(
        i, fmt::format("{} is no format for {}: {{:.2f}} rounds to two decimals, {{:8}} fills eight places",
                       pattern, v.describe()));
  }
}

/// The end of a place that begins at `at`, "{}" or "{:SPEC}"; `at` itself if none does.
size_t end_of_place(const std::string& pattern, size_t at) {
  if (pattern.compare(at, 2, "{}") == 0) return at + 2;
  if (pattern.compare(at, 2, "{:") != 0) return at;
  const size_t end = pattern.find_first_of("{}", at + 2);
  return end != std::string::npos && pattern[end] == '}' ? end + 1 : at;
}

Value format(Interpreter& interpreter, Args& args) {
  if (!args[0].is(ValueKind::string)) args.wrong_kind(0, "a string");
  return Value(message(interpreter, args));
}

Value join(Interpreter& interpreter, Args& args) {
  if (!args[0].is(ValueKind::list)) args.wrong_kind(0, "a list");
  std::string out;
  bool first = true;
  for (const Value& item : args[0].list()) {
    if (!std::exchange(first, false)) out += args.string(1);
    out += interpreter.text(item);
  }
  return Value(std::move(out));
}

Value trim(Interpreter&, Args& args) {
  const std::string& text = args.string(0);
  const size_t begin = text.find_first_not_of(kBlanks), end = text.find_last_not_of(kBlanks);
  return Value(begin == std::string::npos ? std::string() : text.substr(begin, end - begin + 1));
}

Value replace(Interpreter& interpreter, Args& args) {
  const std::string &text = args.string(0), &old = args.string(1), &by = args.string(2);
  if (old.empty()) args.fail(1, "the text to replace is empty");
  std::string out;
  size_t at = 0;
  for (size_t next; (next = text.find(old, at)) != std::string::npos; at = next + old.size()) {
    out.append(text, at, next - at).append(by);
    if (out.size() > interpreter.limits().elements) args.fail(2, "the text grows too long");
  }
  return Value(out.append(text, at));
}

constexpr NativeRow kRows[] = {
    {"format(pattern: string, values...) -> string", R"(The text that print shows for its arguments.

A place {} takes a value as it is, {:.2f} rounds it to two decimals, {:.3e} writes an exponent, {:8} and {:>8} fill
eight places, {:<8} from the left, {:05} with zeros.

example:
> format("{:.2f} of {}", 2.0 / 3, 5)
0.67 of 5
> print("{:>6}|{:<6}|{:.1e}", 42, "ab", 12345.0)
    42|ab    |1.2e+04
source: Python's str.format and its formats
see: print, str)",
     &format},
    {"join(items: list, separator: string = \"\") -> string",
     R"(The texts of a list's elements, one after the other.

example:
> join([1, 2, "three"], ", ")
1, 2, three
source: Python's str.join
see: split, format)",
     &join},
    {"trim(text: string) -> string", R"(A text without the blanks and line ends around it.

example:
> "[" + trim("  a b \n") + "]"
[a b]
source: Rust's str::trim, Python's str.strip
see: split, replace)",
     &trim},
    {"replace(text: string, old: string, new: string) -> string",
     R"(A text with every occurrence of one part replaced.

example:
> replace("a-b-c", "-", " + ")
a + b + c
source: Python's str.replace
see: split, join)",
     &replace},
};

}  // namespace

size_t count_places(const std::string& text) {
  size_t n = 0;
  for (size_t i = 0; i < text.size();) {
    const size_t end = end_of_place(text, i);
    n += end > i ? 1 : 0;
    i = std::max(end, i + 1);
  }
  return n;
}

std::string message(Interpreter& interpreter, const Args& args, size_t first) {
  std::string out;
  const size_t n = args.size();
  size_t next = first;
  if (n > first + 1 && args[first].is(ValueKind::string)) {
    const std::string& pattern = args[first].string();
    ++next;
    for (size_t i = 0; i < pattern.size();) {
      const size_t end = next < n ? end_of_place(pattern, i) : i;
      if (end == i) {
        out += pattern[i++];
        continue;
      }
      out += end == i + 2 ? interpreter.text(args[next])
                          : formatted(interpreter, args, next, pattern.substr(i + 2, end - i - 3));
      ++next;
      i = end;
    }
    if (next < n) out += ' ';
  }
  for (const size_t begin = next; next < n; ++next)
    out += (next > begin ? " " : "") + interpreter.text(args[next]);
  return out;
}

std::vector<Value> split_text(const std::string& text, const std::string& separator) {
  std::vector<Value> pieces;
  const bool by_words = separator.empty();
  for (size_t at = 0;;) {
    if (by_words && (at = text.find_first_not_of(kBlanks, at)) == std::string::npos) return pieces;
    const size_t end = by_words ? text.find_first_of(kBlanks, at) : text.find(separator, at);
    pieces.emplace_back(text.substr(at, end == std::string::npos ? end : end - at));
    if (end == std::string::npos) return pieces;
    at = end + std::max<size_t>(1, separator.size());
  }
}

void add_text_functions(Library& library) { library.add("Strings", kRows); }

}  // namespace tl::lang
