// The functions that belong to the language itself.
#include <charconv>
#include <chrono>
#include <cmath>
#include <cstdlib>

#include <fmt/format.h>

#include "base/file.h"
#include "graph/builder.h"
#include "lang/interpreter.h"
#include "lang/interpreter_detail.h"
#include "lang/native.h"

namespace tl::lang {

namespace {

// ---------------------------------------------------------------------------------------------------- output

/// The values as text: `{}` places of a first string are filled in turn, what remains follows after blanks.
std::string message(Interpreter& interpreter, std::span<const Value> values) {
  std::string out;
  size_t next = 0;
  if (values.size() > 1 && values[0].is(ValueKind::string)) {
    const std::string& pattern = values[0].string();
    next = 1;
    for (size_t i = 0; i < pattern.size(); ++i) {
      if (pattern.compare(i, 2, "{}") == 0 && next < values.size()) {
        out += interpreter.text(values[next++]);
        ++i;
      } else {
        out += pattern[i];
      }
    }
    if (next < values.size()) out += ' ';
  }
  for (const size_t first = next; next < values.size(); ++next)
    out += (next > first ? " " : "") + interpreter.text(values[next]);
  return out;
}

Value print(Interpreter& interpreter, Args& args) {
  interpreter.host().print(message(interpreter, args.rest()) + "\n");
  return {};
}

// ----------------------------------------------------------------------------------------------- conversions

Value str(Interpreter& interpreter, Args& args) { return Value(interpreter.text(args[0])); }

/// The number in a tensor of one element; other values as they are.
Value single(Interpreter& interpreter, const Args& args) {
  if (!args[0].is_tensor()) return args[0];
  if (args[0].tensor()->shape().elements() != 1)
    args.fail(0, fmt::format("{} takes one number, not {}", args.function().name, args[0].describe()));
  const Tensor t = interpreter.evaluate(args[0].tensor());
  if (is_int(t.dtype()) || t.dtype() == DType::boolean) return Value(load_int(t, 0));
  return Value(load_double(t, 0));
}

template <class T>
std::optional<T> parse_number(const std::string& text) {
  const size_t begin = text.find_first_not_of(" \t\n\r"), end = text.find_last_not_of(" \t\n\r");
  if (begin == std::string::npos) return std::nullopt;
  T value{};
  const char* last = text.data() + end + 1;
  const auto result = std::from_chars(text.data() + begin, last, value);
  if (result.ec != std::errc() || result.ptr != last) return std::nullopt;
  return value;
}

Value to_int(Interpreter& interpreter, Args& args) {
  const Value v = single(interpreter, args);
  if (v.is_int()) return v;
  if (v.is(ValueKind::boolean)) return Value(v.boolean() ? 1 : 0);
  if (v.is(ValueKind::floating)) {
    if (!(std::abs(v.floating()) < 0x1p63))
      args.fail(0, fmt::format("{} does not fit in an int", v.floating()));
    return Value(static_cast<int64_t>(v.floating()));
  }
  if (!v.is(ValueKind::string)) args.wrong_kind(0, "a number or a string");
  if (const auto number = parse_number<int64_t>(v.string())) return Value(*number);
  args.fail(0, fmt::format("\"{}\" is not an int", v.string()));
}

Value to_float(Interpreter& interpreter, Args& args) {
  const Value v = single(interpreter, args);
  if (v.is_number()) return Value(v.number());
  if (v.is(ValueKind::boolean)) return Value(v.boolean() ? 1.0 : 0.0);
  if (!v.is(ValueKind::string)) args.wrong_kind(0, "a number or a string");
  if (const auto number = parse_number<double>(v.string())) return Value(*number);
  args.fail(0, fmt::format("\"{}\" is not a number", v.string()));
}

Value type(Interpreter&, Args& args) {
  const Value& v = args[0];
  if (v.is_tensor())
    return Value(fmt::format("{}{}", name(v.tensor()->dtype()), to_string(v.tensor()->shape())));
  if (v.is(ValueKind::object)) return Value(std::string(v.object().type_name()));
  if (v.is_nothing()) return Value("void");
  const std::string_view with_article = describe(v.kind());
  return Value(std::string(with_article.substr(with_article.find(' ') + 1)));
}

// --------------------------------------------------------------------------------------------------- lists

Value len(Interpreter&, Args& args) {
  const Value& v = args[0];
  switch (v.kind()) {
    case ValueKind::list:
      return Value(static_cast<int64_t>(v.list().size()));
    case ValueKind::record:
      return Value(static_cast<int64_t>(v.fields().size()));
    case ValueKind::string: {
      int64_t n = 0;
      for (const char c : v.string()) n += (static_cast<unsigned char>(c) & 0xc0) != 0x80;
      return Value(n);
    }
    case ValueKind::tensor:
      if (v.tensor()->shape().rank() == 0) args.fail(0, "a tensor of rank 0 has no length");
      return Value(v.tensor()->shape()[0]);
    default:
      args.wrong_kind(0, "a list, string, record or tensor");
  }
}

Value append(Interpreter& interpreter, Args& args) {
  if (!args[0].is(ValueKind::list)) args.wrong_kind(0, "a list");
  Value list = args.take(0);
  auto& items = list.mutable_list();
  if (items.size() >= interpreter.limits().elements) args.fail(0, "this list grows too long");
  items.push_back(args[1]);
  return list;
}

Value keys(Interpreter&, Args& args) {
  if (!args[0].is(ValueKind::record)) args.wrong_kind(0, "a record");
  std::vector<Value> out;
  for (const auto& [name, value] : args[0].fields()) out.emplace_back(name);
  return Value(std::move(out));
}

Value range(Interpreter& interpreter, Args& args) {
  const int64_t begin = args.has(1) ? args.integer(0) : 0;
  const int64_t end = args.has(1) ? args.integer(1) : args.integer(0);
  int64_t count = 0;
  if (end > begin && (__builtin_sub_overflow(end, begin, &count) ||
                      static_cast<uint64_t>(count) > interpreter.limits().elements))
    args.fail(0, "this range is too long for a list");
  std::vector<Value> out;
  out.reserve(static_cast<size_t>(count));
  for (int64_t i = begin; i < end; ++i) out.emplace_back(i);
  return Value(std::move(out));
}

// ------------------------------------------------------------------------------------------------ assertions

Value assert_that(Interpreter& interpreter, Args& args) {
  if (interpreter.truth(args[0], args.span(0))) return {};
  const std::string text =
      args.has(1) ? interpreter.text(args[1]) : std::string("the assertion does not hold");
  interpreter.fail(args.span(), text);
}

/// Whether two values are equal, and where tensors first differ. NaN equals NaN here: a test that expects it
/// should be able to say so.
bool same_tensors(const Tensor& a, const Tensor& b, double relative, double absolute, std::string& why) {
  if (a.shape() != b.shape()) {
    why = fmt::format("the shapes are {} and {}", to_string(a.shape()), to_string(b.shape()));
    return false;
  }
  const Tensor x = converted(a, DType::f64), y = converted(b, DType::f64);
  for (int64_t i = 0; i < x.elements(); ++i) {
    const double u = load_double(x, i), v = load_double(y, i);
    if (u == v || (std::isnan(u) && std::isnan(v))) continue;
    if (std::abs(u - v) <= absolute + relative * std::abs(v)) continue;
    why = fmt::format("element {} is {} and should be {}", i, u, v);
    return false;
  }
  return true;
}

bool same(Interpreter& interpreter, const Value& a, const Value& b, double relative, double absolute,
          std::string& why) {
  if (a.is_tensor() || b.is_tensor()) {
    const bool comparable =
        (a.is_tensor() || a.is_number() || a.is(ValueKind::list) || a.is(ValueKind::boolean)) &&
        (b.is_tensor() || b.is_number() || b.is(ValueKind::list) || b.is(ValueKind::boolean));
    if (!comparable) return false;
    return same_tensors(interpreter.evaluate(to_tensor(a)), interpreter.evaluate(to_tensor(b)), relative,
                        absolute, why);
  }
  if (a.is(ValueKind::list) && b.is(ValueKind::list)) {
    if (a.list().size() != b.list().size()) return false;
    for (size_t i = 0; i < a.list().size(); ++i)
      if (!same(interpreter, a.list()[i], b.list()[i], relative, absolute, why)) return false;
    return true;
  }
  if (a.is_number() && b.is_number() && !(a.is_int() && b.is_int()))
    return a.number() == b.number() ||
           std::abs(a.number() - b.number()) <= absolute + relative * std::abs(b.number());
  return equal_values(a, b);
}

[[noreturn]] void fail_comparison(Interpreter& interpreter, Args& args, const std::string& why) {
  std::string text;
  if (args.has(args.size() - 1) && args[args.size() - 1].is(ValueKind::string))
    text = args[args.size() - 1].string() + ": ";
  if (!why.empty()) interpreter.fail(args.span(), text + why);
  interpreter.fail(args.span(),
                   fmt::format("{}{} is not {}", text, interpreter.text(args[0]), interpreter.text(args[1])));
}

Value assert_eq(Interpreter& interpreter, Args& args) {
  std::string why;
  if (!same(interpreter, args[0], args[1], 0, 0, why)) fail_comparison(interpreter, args, why);
  return {};
}

Value assert_close(Interpreter& interpreter, Args& args) {
  std::string why;
  if (!same(interpreter, args[0], args[1], args.number(2), args.number(3), why))
    fail_comparison(interpreter, args, why);
  return {};
}

Value panic(Interpreter& interpreter, Args& args) {
  interpreter.fail(args.span(), message(interpreter, args.rest()));
}

// ---------------------------------------------------------------------------------------------------- system

Value env(Interpreter&, Args& args) {
  if (const char* value = std::getenv(args.string(0).c_str())) return Value(std::string(value));
  if (args.has(1)) return args[1];
  args.fail(0, fmt::format("the environment variable {} is not set", args.string(0)));
}

Value input(Interpreter& interpreter, Args& args) { return Value(interpreter.host().input(args.string(0))); }

Value read_text(Interpreter&, Args& args) { return Value(read_file(args.string(0))); }

Value write_text(Interpreter&, Args& args) {
  AtomicFile file(args.string(0));
  file.write(args.string(1));
  file.commit();
  return {};
}

Value time(Interpreter&, Args&) {
  const auto now = std::chrono::steady_clock::now().time_since_epoch();
  return Value(std::chrono::duration<double>(now).count());
}

constexpr NativeRow kRows[] = {
    {"print(values...)",
     "Prints values with blanks between; a first string may hold {} places for the others.", &print},
    {"str(value) -> string", "The text that print shows for a value.", &str},
    {"int(value) -> int", "A number, bool, string or one-element tensor as int; floats are cut towards zero.",
     &to_int},
    {"float(value) -> float", "A number, bool, string or one-element tensor as float.", &to_float},
    {"type(value) -> string", "The name of a value's type, for tensors with its shape: float32[2, 3].",
     &type},
    {"len(value) -> int", "Elements of a list, characters of a string, fields of a record, rows of a tensor.",
     &len},
    {"append(items: list, value) -> list",
     "The list with one more element at its end; xs += [v] does so in place.", &append},
    {"keys(fields: record) -> list", "The names of a record's fields, in order.", &keys},
    {"range(begin: int, end: int = void) -> list", "The ints from begin (or 0) to end, which is excluded.",
     &range},
    {"assert(condition, message = void)", "Fails, with the message, unless the condition holds.",
     &assert_that},
    {"assert_eq(actual, expected, message = void)",
     "Fails unless both are equal; tensors element by element.", &assert_eq},
    {"assert_close(actual, expected, rtol: number = 1e-5, atol: number = 1e-8, message = void)",
     "Fails unless |actual - expected| <= atol + rtol * |expected| everywhere.", &assert_close},
    {"panic(values...)", "Ends the program with a message.", &panic},
    {"env(name: string, default = void)",
     "An environment variable; an error if it is not set and has no default.", &env},
    {"input(prompt: string = \"\") -> string", "A line that the user types.", &input},
    {"read_text(path: string) -> string", "The content of a text file.", &read_text},
    {"write_text(path: string, text: string)", "Writes a text file, replacing it once it is whole.",
     &write_text},
    {"time() -> float", "Seconds from a clock that only moves forward.", &time},
};

}  // namespace

void add_core_functions(Library& library) { library.add(kRows); }

}  // namespace tl::lang
