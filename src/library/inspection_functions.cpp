// What programs say to the microscope: names for values, and places where they must be finite.
#include <array>
#include <cmath>

#include <fmt/format.h>
#include <fmt/ranges.h>

#include "graph/builder.h"
#include "lang/interpreter.h"
#include "library/library.h"
#include "tensor/statistics.h"

namespace tl {

using graph::NodeRef;
using lang::Args;
using lang::Interpreter;
using lang::NativeRow;
using lang::Value;

namespace {

/// A value that has a name already gets a view of itself with the new one.
Value probe(Interpreter&, Args& args) {
  if (args.string(0).empty()) args.fail(0, "[probe] needs a name that is not empty");
  NodeRef x = args.tensor(1);
  const Shape& shape = x->shape();
  if (!x->label.empty() || x->value)
    x = graph::make(Op::reshape, {x}, {}, {{shape.begin(), shape.end()}, {}});
  graph::set_label(x, args.string(0));
  return Value(x);
}

/// The index of the first element that is NaN or infinite.
std::vector<int64_t> first_not_finite(const Tensor& t) {
  const Tensor values = converted(t, DType::f64);
  int64_t at = 0;
  while (std::isfinite(values.data<double>()[at])) ++at;
  std::vector<int64_t> index(static_cast<size_t>(t.rank()));
  for (int a = t.rank() - 1; a >= 0; --a) {
    index[static_cast<size_t>(a)] = at % t.shape()[a];
    at /= t.shape()[a];
  }
  return index;
}

Value check_finite(Interpreter& interpreter, Args& args) {
  const NodeRef x = args.tensor(0);
  const Tensor t = interpreter.evaluate(x);
  ThreadPool here(1);
  const TensorStatistics s = tensor_statistics(t, here);
  if (s.nan + s.inf == 0) return Value(x);
  const std::string name = x->label.empty() ? "the tensor" : fmt::format("'{}'", x->label);
  interpreter.fail(
      args.span(),
      fmt::format("[check_finite] {} {} holds {} NaN and {} infinite elements of {}; the first "
                  "stands at [{}]",
                  name, to_string(t.shape()), s.nan, s.inf, s.count, fmt::join(first_not_finite(t), ", ")));
}

constexpr auto kRows = std::to_array<NativeRow>({
    {"probe(name: string, x: tensor) -> tensor", R"(x itself, under a name of its own in traces.

`tl trace` records it as `name`. Inside what a fused kernel computes, a probe keeps the operations apart.

shapes: x[…] -> the same
dtypes: any
example:
> probe("scores", [1.0, 2.0])
[1.0000, 2.0000]
source: TensorLogic's own, for tl trace
see: check_finite)",
     &probe},
    {"check_finite(x: tensor) -> tensor", R"(x itself, if all its elements are finite; otherwise an error.

The error says how many are NaN or infinite, and where the first of them stands.

shapes: x[…] -> the same
dtypes: any
example:
> check_finite([1.0, 2.0])
[1.0000, 2.0000]
source: NumPy's asarray_chkfinite
see: probe, assert_close)",
     &check_finite},
});

}  // namespace

void add_inspection_functions(lang::Library& library) { library.add("Inspection", kRows); }

}  // namespace tl
