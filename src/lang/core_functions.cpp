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
#include "lang/text_functions.h"

namespace tl::lang {

namespace {

// ---------------------------------------------------------------------------------------------------- output

Value print(Interpreter& interpreter, Args& args) {
  interpreter.host().print(message(interpreter, args) + "\n");
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
  StepNumbers::fix();
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
      StepNumbers::fix();
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
      args.has(1) ? message(interpreter, args, 1) : std::string("the assertion does not hold");
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
  interpreter.fail(args.span(), message(interpreter, args));
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
  StepNumbers::fix();
  AtomicFile file(args.string(0));
  file.write(args.string(1));
  file.commit();
  return {};
}

Value time(Interpreter&, Args&) {
  StepNumbers::fix();
  const auto now = std::chrono::steady_clock::now().time_since_epoch();
  return Value(std::chrono::duration<double>(now).count());
}

constexpr NativeRow kConversionRows[] = {
    {"print(values...)", R"(Prints values with blanks between them, and ends the line.

A first string that holds places {} is filled with the values that follow; what is left over comes after it.
A place {:.2f} rounds to two decimals, as `format` says.
Floats are the shortest text that reads back the same, whole ones without a point; tensors are shown as NumPy
shows them, with four decimals and, above 1,000 elements, with their middle left out.

shapes: tensors of any shape
dtypes: anything
example:
> print("n =", 3, [1, 2], true)
n = 3 [1, 2] true
> print("{} of {}, {:.1f} %", 2, 5, 40)
2 of 5, 40.0 %
source: Python's print; the places are Rust's
see: str, format)",
     &print},
    {"str(value) -> string", R"(The text that print shows for a value.

dtypes: anything
shapes: tensors of any shape
example:
> "loss " + str(0.5)
loss 0.5
source: Python's str
see: print, int, float)",
     &str},
    {"int(value) -> int", R"(A number, bool, string or tensor of one element as an int.

Floats are cut towards zero; a string must hold a whole number and nothing else but blanks around it.

shapes: a tensor must have exactly one element
dtypes: any tensor type; a float that does not fit 64 bits is an error
example:
> [int(-2.9), int("42"), int(true)]
[-2, 42, 1]
source: Python's int
see: float, floor, round)",
     &to_int},
    {"float(value) -> float", R"(A number, bool, string or tensor of one element as a float.

shapes: a tensor must have exactly one element
dtypes: any tensor type; the float has 64 bits
example:
> float("2.5") + float(3)
5.5
source: Python's float
see: int)",
     &to_float},
    {"type(value) -> string", R"(The name of a value's type; of a tensor, with its shape.

shapes: tensors of any shape
dtypes: anything
example:
> type(zeros([2, 3]))
float32[2, 3]
> [type(1), type(0.5), type([1]), type("a")]
["int", "float", "list", "string"]
source: Python's type, in the spelling of the language's own types
see: shape, rank)",
     &type},
};

constexpr NativeRow kListRows[] = {
    {"len(value) -> int",
     R"(How many elements a list, characters a string, fields a record, or rows a tensor has.

shapes: x[n, …] gives n; a tensor of rank 0 has no length
dtypes: any tensor type
example:
> [len([1, 2, 3]), len("grün"), len({a: 1}), len(zeros([4, 2]))]
[3, 4, 1, 4]
source: Python's len; a string is counted in code points
see: shape)",
     &len},
    {"append(items: list, value) -> list", R"(The list with one more element at its end.

The list itself stays as it is; `xs += [value]` changes it in place, without copying.

example:
> append([1, 2], 3)
[1, 2, 3]
source: Go's append
see: concat)",
     &append},
    {"keys(fields: record) -> list", R"(The names of a record's fields, in the order they were given.

example:
> keys({n_heads: 32, eps: 1e-5})
["n_heads", "eps"]
source: Python's dict.keys
see: len)",
     &keys},
    {"range(begin: int, end: int = void) -> list",
     R"(The ints from begin on, below end; range(n) counts from 0.

`begin..end` is the same list, and a loop over either makes none.

example:
> range(2, 5)
[2, 3, 4]
source: Python's range
see: arange)",
     &range},
};

constexpr NativeRow kAssertionRows[] = {
    {"assert(condition, message...)", R"(Fails, with the message, unless the condition holds.

Places `{}` in the message are filled with the values that follow it, as `print` does.

shapes: a tensor must have exactly one element; `all` and `any` reduce others
dtypes: bool
example:
> assert(all(exp([1.0, 2.0]) > 2.0), "exp({}) is too small", [1.0, 2.0])
source: Python's assert
see: assert_eq, assert_close, all)",
     &assert_that},
    {"assert_eq(actual, expected, message = void)",
     R"(Fails unless both are equal; tensors element by element.

NaN counts as equal to NaN, so that a test can expect it. The message names the first element that differs.

shapes: both the same
dtypes: any; a list of numbers stands for a tensor
example:
> assert_eq(cumsum([1, 2, 3]), [1, 3, 6])
source: numpy.testing.assert_array_equal
see: assert_close)",
     &assert_eq},
    {"assert_close(actual, expected, rtol: number = 1e-5, atol: number = 1e-8, message = void)",
     R"(Fails unless two numbers or tensors agree up to a tolerance.

shapes: both the same
dtypes: any; compared in float64
formula: |actual - expected| <= atol + rtol * |expected|, for every element
example:
> assert_close(softmax([0.0, 1.0]), [0.268941, 0.731059])
source: numpy.testing.assert_allclose, with the tolerances of numpy.isclose
see: assert_eq)",
     &assert_close},
    {"panic(values...)", R"(Ends the program with a message, which is put together as print does it.

example:
> if 2 + 2 != 4 { panic("arithmetic is broken: {}", 2 + 2) }
source: Rust's panic!
see: assert)",
     &panic},
};

constexpr NativeRow kSystemRows[] = {
    {"env(name: string, default = void)",
     R"(An environment variable; an error if it is not set and has no default.

example:
> env("TL_DOC_EXAMPLE", "not set")
not set
source: POSIX getenv
see: input)",
     &env},
    {"input(prompt: string = \"\") -> string", R"(A line that the user types, without its end.

example:
> let name = input("Your name: ")
> print("Hello", name)
Hello Ada
source: Python's input
see: read_text)",
     &input},
    {"read_text(path: string) -> string", R"(The content of a text file.

example:
> write_text("greeting.txt", "hello")
> read_text("greeting.txt")
hello
source: Python's pathlib.Path.read_text
see: write_text)",
     &read_text},
    {"write_text(path: string, text: string)", R"(Writes a text file, replacing what was there.

The file appears under its name only when it is whole: a failure leaves the old one.

example:
> write_text("greeting.txt", "hello")
> len(read_text("greeting.txt"))
5
source: Python's pathlib.Path.write_text
see: read_text)",
     &write_text},
    {"time() -> float",
     R"(Seconds from a clock that only moves forward, for measuring how long something takes.

Tensors are computed when they are needed: print or read the result before the second call.

example:
> let start = time()
> let y = sum(rand([100, 100], seed: 1))
> print("the sum is a number:", float(y) > 0, "- time passed:", time() - start > 0)
the sum is a number: true - time passed: true
source: Python's time.perf_counter)",
     &time},
};

}  // namespace

void add_core_functions(Library& library) {
  library.add("Printing and conversion", kConversionRows);
  add_text_functions(library);
  library.add("Lists and records", kListRows);
  library.add("Assertions", kAssertionRows);
  library.add("System", kSystemRows);
}

}  // namespace tl::lang
