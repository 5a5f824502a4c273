// Choosing a token from logits. A logits argument is [vocabulary], or [rows, vocabulary] of which the last
// row counts.
#include <array>
#include <cmath>
#include <numeric>

#include <fmt/format.h>

#include "library/library.h"
#include "library/tensor_arguments.h"
#include "llm/sampling.h"

namespace tl {

using graph::NodeRef;
using lang::Args;
using lang::Interpreter;
using lang::NativeRow;
using lang::Value;
using lang::ValueKind;

namespace {

/// The row of logits to choose from.
std::vector<float> last_row(Interpreter& interpreter, const Args& args) {
  NodeRef logits = args.tensor(0);
  const Shape& shape = logits->shape();
  if (shape.rank() < 1 || shape.rank() > 2 || shape.elements() == 0)
    args.fail(0, fmt::format("[{}] needs logits [vocabulary] or [rows, vocabulary], and got {}",
                             args.function().name, args[0].describe()));
  if (shape.rank() == 2) logits = graph::select_index(logits, 0, -1);
  const Tensor row = converted(interpreter.evaluate(logits), DType::f32);
  return {row.data<float>(), row.data<float>() + row.elements()};
}

double temperature_argument(const Args& args, size_t i) {
  const double t = args.number(i);
  if (!(t >= 0) || !std::isfinite(t))
    args.fail(i, fmt::format("[{}] the temperature must be 0 (greedy) or a positive number, and it is {}",
                             args.function().name, t));
  return t;
}

/// A probability from 0 to 1.
double share_argument(const Args& args, size_t i) {
  const double p = args.number(i);
  if (!(p >= 0 && p <= 1))
    args.fail(i, fmt::format("[{}] {} must be between 0 and 1, and it is {}", args.function().name,
                             args.function().parameters[i].name, p));
  return p;
}

/// Greedy choices need no seed; draws do, so that a program can be run again.
int64_t seed_argument(const Args& args, size_t i, double temperature) {
  if (!args.has(i)) {
    if (temperature == 0) return 0;
    args.fail(0,
              fmt::format(
                  "[{}] needs a seed to draw with: seed: 1, and another one for every token (seed: 1 + step)",
                  args.function().name));
  }
  const int64_t seed = args.integer(i);
  if (seed < 0)
    args.fail(i, fmt::format("[{}] the seed must not be negative, and it is {}", args.function().name, seed));
  return seed;
}

Value draw(Interpreter& interpreter, const Args& args, const SamplingOptions& options,
           std::span<const int32_t> recent) {
  return Value(int64_t{Sampler(options).sample(last_row(interpreter, args), recent)});
}

Value temperature_sample(Interpreter& interpreter, Args& args) {
  SamplingOptions options{.temp = temperature_argument(args, 1), .top_k = 0, .top_p = 1, .min_p = 0};
  options.seed = seed_argument(args, 2, options.temp);
  return draw(interpreter, args, options, {});
}

Value sample(Interpreter& interpreter, Args& args) {
  SamplingOptions options;
  options.temp = temperature_argument(args, 1);
  options.top_k = args.integer(2);
  options.top_p = share_argument(args, 3);
  options.min_p = share_argument(args, 4);
  options.seed = seed_argument(args, 5, options.temp);
  options.repeat_penalty = args.number(6);
  if (!(options.repeat_penalty > 0) || !std::isfinite(options.repeat_penalty))
    args.fail(6, fmt::format("[sample] the repeat penalty must be positive (1 is none), and it is {}",
                             options.repeat_penalty));
  std::vector<int32_t> recent;
  for (const int64_t id : args.ints(7))
    if (id >= 0 && id <= INT32_MAX) recent.push_back(static_cast<int32_t>(id));
  return draw(interpreter, args, options, recent);
}

NodeRef logits_argument(const Args& args) {
  const NodeRef logits = as_float(args.tensor(0));
  if (logits->shape().rank() < 1)
    args.fail(0, fmt::format("[{}] needs logits [.., vocabulary], and got a number", args.function().name));
  return logits;
}

NodeRef masked(const NodeRef& logits, const NodeRef& keep) {
  return graph::make(Op::select, {keep, logits, number_like(-INFINITY, logits)});
}

/// The indices of the logits from the largest on (equal ones by id), or with `inverse` each one's place
/// there.
NodeRef ranking(const NodeRef& logits, int axis, bool inverse = false) {
  const NodeRef order = graph::make(Op::argsort, {logits}, SortAttrs{axis, true});
  return inverse ? graph::make(Op::argsort, {order}, SortAttrs{axis, false}) : order;
}

Value top_k(Interpreter&, Args& args) {
  const NodeRef logits = logits_argument(args);
  const int64_t k = args.integer(1);
  if (k < 1) args.fail(1, fmt::format("[top_k] k must be at least 1, and it is {}", k));
  const NodeRef place = ranking(logits, logits->shape().rank() - 1, true);
  return Value(masked(logits, graph::binary(Op::less, place, graph::scalar_int(k))));
}

/// Keeps a logit while the probability of those before it is below p; summed in float64, since a sum near p
/// decides.
Value top_p(Interpreter&, Args& args) {
  const NodeRef logits = logits_argument(args);
  const double p = share_argument(args, 1);
  const int axis = logits->shape().rank() - 1;
  const int64_t n = logits->shape().back();
  const NodeRef wide = graph::cast(logits, DType::f64);
  const NodeRef order = ranking(wide, axis), place = ranking(wide, axis, true);
  const NodeRef sorted = graph::make(Op::gather, {graph::softmax(wide, axis), order}, AxisAttrs{axis});
  Params::Ints padding(2 * static_cast<size_t>(axis + 1), 0);
  padding[2 * static_cast<size_t>(axis)] = 1;
  const NodeRef shifted = graph::make(Op::pad, {graph::slice(sorted, axis, 0, n - 1)}, {}, {padding, {0.0}});
  const NodeRef before = graph::along(Op::cumsum, shifted, axis);
  const NodeRef keep_sorted = graph::binary(Op::less, before, graph::scalar(p, DType::f64));
  const NodeRef keep = graph::make(Op::gather, {keep_sorted, place}, AxisAttrs{axis});
  // The best one always stays, also at p = 0.
  const NodeRef best = graph::binary(Op::equal, place, graph::scalar_int(0));
  return Value(masked(logits, graph::binary(Op::logical_or, keep, best)));
}

Value min_p(Interpreter&, Args& args) {
  const NodeRef logits = logits_argument(args);
  const double p = share_argument(args, 1);
  const NodeRef best = graph::reduce(Op::reduce_max, logits, {-1}, true);
  const NodeRef least = graph::binary(Op::add, best, number_like(std::log(p), logits));
  return Value(masked(logits, graph::binary(Op::greater_equal, logits, least)));
}

Value print_top_k(Interpreter& interpreter, Args& args) {
  const std::vector<float> logits = last_row(interpreter, args);
  if (args.integer(1) < 1)
    args.fail(1, fmt::format("[print_top_k] k must be at least 1, and it is {}", args.integer(1)));
  const auto k =
      static_cast<std::ptrdiff_t>(std::min<int64_t>(args.integer(1), static_cast<int64_t>(logits.size())));
  const std::vector<double> log_p = log_probabilities(logits);
  std::vector<size_t> order(logits.size());
  std::iota(order.begin(), order.end(), size_t{0});
  std::partial_sort(order.begin(), order.begin() + k, order.end(), [&](size_t a, size_t b) {
    return logits[a] != logits[b] ? logits[a] > logits[b] : a < b;
  });
  std::string text = fmt::format("Top {} of {} logits:\n", k, logits.size());
  for (std::ptrdiff_t i = 0; i < k; ++i) {
    const size_t id = order[static_cast<size_t>(i)];
    text +=
        fmt::format("{:>4}: id {:<7} logit {:>9.4f}  p {:.4f}\n", i + 1, id, logits[id], std::exp(log_p[id]));
  }
  interpreter.host().print(text);
  return {};
}

constexpr auto kRows = std::to_array<NativeRow>({
    {"temperature_sample(logits: tensor, temperature: float, seed = void) -> int",
     R"(A token id drawn from softmax(logits / temperature).

Temperature 0 takes the largest logit, the first of equals, and needs no seed. The same seed and logits give the
same id: count it up from token to token.

shapes: logits[vocabulary], or [rows, vocabulary] of which the last row counts
dtypes: any number type
formula: P(i) = e^(logits[i] / t) / sum(e^(logits[j] / t))
example:
> temperature_sample([[9.0, 0.0], [1.0, 2.0]], 0.0)
1
> temperature_sample([1.0, 2.0, 3.0], 0.7, seed: 5)
2
source: llama.cpp's temperature sampler and its std::mt19937
see: sample, argmax, top_k)",
     &temperature_sample},
    {"sample(logits: tensor, temperature|temp: float = 0.8, top_k: int = 40, top_p: float = 0.95, min_p: "
     "float = 0.05, seed = void, repeat_penalty: float = 1.0, recent: list = []) -> int",
     R"(A token id drawn as llama.cpp draws it.

In this order: the penalty on the last 64 ids of `recent`, top-k (0: all), top-p, min-p, temperature, one draw.

shapes: logits[vocabulary], or [rows, vocabulary] of which the last row counts
dtypes: any number type
example:
> sample([1.0, 9.0, 2.0], top_k: 1, seed: 7)
1
source: llama.cpp's samplers, with its defaults
see: temperature_sample, generate)",
     &sample},
    {"top_k(logits: tensor, k: int) -> tensor",
     R"(The logits with all but the k largest of each row at -infinity.

Of equal ones the first stay. `topk` gives the values and their indices.

shapes: […, vocabulary]; kept
dtypes: floats stay, integers become float32
formula: y[i] = logits[i] if fewer than k are before it in descending order, else -inf
example:
> softmax(top_k([1.0, 1.0, 0.0], 2))
[0.5000, 0.5000, 0.0000]
source: arXiv:1805.04833; llama.cpp's top-k sampler
see: topk, top_p, min_p)",
     &top_k},
    {"top_p(logits: tensor, p: float) -> tensor",
     R"(The logits with all but the likeliest, which together reach probability p, at -infinity.

The likeliest always stays.

shapes: […, vocabulary]; kept
dtypes: floats stay, integers become float32
formula: y[i] = logits[i] if those before it in descending order have less than p, else -inf
example:
> softmax(top_p([2.0, 2.0, 0.0], 0.7))
[0.5000, 0.5000, 0.0000]
source: arXiv:1904.09751; llama.cpp's top-p sampler
see: top_k, min_p)",
     &top_p},
    {"min_p(logits: tensor, p: float) -> tensor",
     R"(The logits with those less than p times as likely as the best of their row at -infinity.

shapes: […, vocabulary]; kept
dtypes: floats stay, integers become float32
formula: y[i] = logits[i] if logits[i] >= max(logits) + log(p), else -inf
example:
> softmax(min_p([2.0, 2.0, 0.0], 0.5))
[0.5000, 0.5000, 0.0000]
source: arXiv:2407.01082; llama.cpp's min-p sampler
see: top_k, top_p)",
     &min_p},
    {"print_top_k(logits: tensor, k: int = 10) -> void",
     R"(Prints the k largest logits with their ids and probabilities.

shapes: logits[vocabulary], or [rows, vocabulary] of which the last row counts
dtypes: any number type
example:
> print_top_k([1.0, 3.0, 2.0], 2)
Top 2 of 3 logits:
   1: id 1       logit    3.0000  p 0.6652
   2: id 2       logit    2.0000  p 0.2447
source: llama.cpp's debugging output
see: topk, softmax)",
     &print_top_k},
});

}  // namespace

void add_sampling_functions(lang::Library& library) { library.add("Sampling", kRows); }

}  // namespace tl
