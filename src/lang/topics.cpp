#include "lang/topics.h"

#include <algorithm>

namespace tl::lang {

namespace {

/// As rows of functions: all names, the form, the text.
struct Row {
  std::vector<std::string> names;
  std::string_view form, doc;
};

const std::vector<Row>& rows() {
  static const std::vector<Row> all = {
      {{"programs", "main", "test", "import"},
       "import \"file.tl\"   fn name(…) { … }   main { … }   test \"name\" { … }",
       R"(What a file holds: imports, functions, global values, main, and tests.

`tl run FILE` runs main, which sees the words after FILE as the list of strings `args`; `tl test FILE` runs the test
blocks and compares what main prints with comments `// expect: …`. Imports are looked for beside the file, then among
the installed model programs. A statement ends with its line, unless a bracket is open or an operator is left over.

example:
> fn square(x) { x * x }
> main { print(square(3)) }
> test "squares" { assert_eq(square(2), 4) }
9
source: docs/language.md
see: fn, print, assert_eq)"},
      {{"types", "bool", "string", "list", "record"},
       "int  float  bool  string  list  record  float32[n, d]  model  tokenizer  cache",
       R"(What kinds of values there are.

An int has 64 bits and overflow is an error; a float has 64 bits. A list of numbers is accepted wherever a tensor is.
Strings, lists, records and tensors are values: changing a copy leaves the original as it was.

example:
> let r = {n_heads: 32, eps: 1e-5}
> let copy = r
> copy.n_heads = 4
> print(r.n_heads, copy.n_heads, [1, 2] + [3], "=" * 5)
32 4 [1, 2, 3] =====
source: docs/language.md
see: tensors, type)"},
      {{"tensors", "tensor", "dim", "float16", "bfloat16", "float32", "float64", "int8", "int32", "int64"},
       "tensor x: float32[n, d] = …   fn f(x: float32[n, d]) -> float32[n]",
       R"(Tensor types carry a shape; names in it are dimensions that must agree.

A name binds where it first meets a value; `?` matches anything, and dim(d) gives the number. In a signature any float
type accepts any other; a `tensor` declaration converts. Where types mix, the wider wins, and a plain number never
widens a tensor.

example:
> tensor x: float16[2, 3] = ones([2, 3])
> type(x * 0.5 + zeros(3))
float32[2, 3]
source: docs/language.md
see: types, as, zeros)"},
      {{"let", "="},
       "let x = e   let (a, b) = e   x = e   x += e",
       R"(Names for values: let declares, = assigns to the nearest name, or declares it.

Blocks scope lexically, and `let` may shadow. `:=` is another spelling of `=`.

example:
> let (a, b) = [1, 2]
> a += 10
> [a, b]
[11, 2]
source: docs/language.md
see: equations, fn)"},
      {{"fn", "return"},
       "fn name(x: type, y: type = default) -> type { … }",
       R"(Functions: arguments by position or by name, the value of the last statement or of return.

`x.f(a)` is f(x, a). Types may be left out; those that are given are checked, shapes too.

example:
> fn scaled(x, factor: float = 2.0) { x * factor }
> main { print(scaled(4), scaled(4, factor: 0.5), 4.scaled()) }
8 2 8
source: docs/language.md
see: types, tensors)"},
      {{"if", "else"},
       "if condition { … } else if condition { … } else { … }",
       R"(Chooses what to do; its value is that of the block that ran.

A condition is a bool, or a bool tensor of one element. `select` chooses element by element.

example:
> let x = -3
> if x < 0 { "negative" } else { "positive" }
negative
source: docs/language.md
see: select, operators)"},
      {{"with"},
       "with policy { … }",
       R"(How a block is computed: on another device, or in other types of numbers.

The policy is a value that `device` or `precision` gives. It holds for what the block makes, in functions that it
calls too. Blocks nest; what the inner one does not name stays as it is around it.

example:
> with precision(accumulate: float16) { print(sum(ones([5000]))) }
2048
source: docs/language.md
see: device, precision)"},
      {{"for", "while", "loop", "break", "continue", "in"},
       "for x in list { … }   for i in 0..n { … }   while condition { … }   loop { … }",
       R"(Repetition: over a list, a range of ints, while a condition holds, or until break.

example:
> let total = 0
> for i in 0..5 {
>     if i == 3 { continue }
>     total += i
> }
> total
7
source: docs/language.md
see: range, equations)"},
      {{"operators", "+",  "-", "*",  "/", "%",   "@",  "⊙",   "**",  "^",  "⊗",  "==", "!=",
        "<",         "<=", ">", ">=", "≈", "and", "or", "not", "inv", "&&", "||", "!"},
       "|| or   && and   not   == != < <= > >= ≈   as   + -   * / % @ ⊙   - ! inv   ** ^ ⊗",
       R"(Operators, from loose to tight; on tensors elementwise with NumPy's broadcasting.

int / int truncates, also in tensors (mean(a == b) is a share, sum(a == b) / 4 is an int), and % has the sign of the left side. @ is the matrix product, ⊙ the elementwise product like *,
⊗ the outer product, inv a the inverse matrix, ≈ comparison up to a tolerance. ** (or ^) binds from the right and
tighter than minus: -2 ** 2 is -4. Comparisons of tensors give bool tensors; and, or stop early.

example:
> print(7 / 2, -7 / 2, -7 % 3, 2 ** 3 ** 2, -2 ** 2, 7.0 / 2)
3 -3 -1 512 -4 3.5
> [[1, 2], [3, 4]] @ [1, 1] > 3
[false, true]
source: docs/language.md; numpy for tensors
see: matmul, pow, indexing)"},
      {{"as"},
       "e as type",
       R"(Converts a value: numbers to one another, tensors to another element type.

Floats are cut towards zero when they become integers and rounded to even when they become narrower floats. Of a
quantised weight, `as float32` gives the numbers.

example:
> [2.9 as int, 3 as float]
[2, 3]
> linspace(-1.5, 1.5, 2) as int32
[-1, 1]
source: Rust's as
see: int, float, tensors)"},
      {{"indexing", "slices", "[]"},
       "x[i]   x[-1]   x[a:b]   x[a:b:step, :, i]   x[..., 0]",
       R"(Elements and parts of tensors, lists and strings, as in NumPy and Python.

Positions count from 0, negative ones from the end; the end of a slice is excluded. An int removes its axis. Slices of
tensors copy nothing. A list of positions or a tensor of them chooses along its axis; of two such each pairs with each,
as numpy.ix_ does, and x[arange(n), y] is a grid: gather(x, 1, unsqueeze(y, 1)) takes one element of each row.

example:
> let x = reshape(arange(6), [2, 3])
> print(x[0], x[-1, 1:], x[:, 0], [1, 2, 3][-1], "tensor"[0:3])
[0, 1, 2] [4, 5] [0, 3] 3 ten
source: numpy's basic indexing
see: slice, gather, equations)"},
      {{"equations", "equation", "sum[j]", "max=", "min=", "avg=", "+="},
       "y[i, j] = a[i, k] b[k, j]   m[i] max= x[i, j]   y[i] = sum[j](…)",
       R"(Tensor equations: index names in brackets, and what is not on the left is summed.

Arguments of functions and bases of powers are scopes of their own, so that relu(w[i, j] x[j]) sums first. In each
addend an index is summed over the smallest part that holds it, where a product repeats it or a power is taken. What
an index name reads outside a tensor is 0; an index takes its size from the places where it stands alone. `max=`,
`min=` and `avg=` reduce otherwise, and like `=` make a new tensor, while `+=` adds to what is there; sum[j](…) and its
relatives reduce explicitly, and `j.` on the left marks the index of a normaliser.

Numbers and shifted names on the left fill a part of a tensor, t[3] = …, and an equation that reads the tensor that it
fills, h[t + 1] = f(h[t]), takes one step after another. A name that is an int is written in parentheses:
x[(n - 1), d].

example:
> let w = [[1.0, 2.0], [3.0, -4.0]]
> let x = [1.0, 1.0]
> y[i] = relu(w[i, j] x[j] + 0.5)
> y
[3.5000, 0.0000]
> let x = [[1.0, 5.0], [4.0, 2.0]]
> m[i] max= x[i, j]
> m
[5.0000, 4.0000]
> fib[0] = 0
> fib[1] = 1
> fib[t + 2] = fib[t + 1] + fib[t] where t in 0..5
> let last = 6
> fib[(last)] = 100
> fib
[0, 1, 1, 2, 3, 5, 100]
source: arXiv:2510.12269
see: where, einsum, indexing)"},
      {{"where"},
       "target[…] = … where condition",
       R"(Restricts the domain of an equation.

What is excluded contributes nothing, and takes no part in a normalisation: its weight is exactly 0. Several conditions
are joined by `and`; `i in 0..n` says how far an index runs.

example:
> let s = [[1.0, 9.0], [2.0, 2.0]]
> p[i, j.] = softmax(s[i, j]) where j <= i
> p
[[1.0000, 0.0000],
 [0.5000, 0.5000]]
source: arXiv:2510.12269
see: equations, causal_mask, select)"},
  };
  return all;
}

}  // namespace

const std::vector<Page>& topics() {
  static const std::vector<Page> pages = [] {
    std::vector<Page> all;
    for (const Row& row : rows())
      all.push_back({row.names[0],
                     {row.names.begin() + 1, row.names.end()},
                     "The language",
                     std::string(row.form),
                     parse_documentation(row.doc)});
    return all;
  }();
  return pages;
}

const Page* find_topic(std::string_view name) {
  const auto found = std::find_if(topics().begin(), topics().end(), [&](const Page& page) {
    return page.name == name ||
           std::find(page.aliases.begin(), page.aliases.end(), name) != page.aliases.end();
  });
  return found == topics().end() ? nullptr : &*found;
}

}  // namespace tl::lang
