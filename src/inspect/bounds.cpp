// Derivations. Every floating-point operation errs by at most u relative to its result. Two kinds of bounds
// follow (N. Higham, "Accuracy and Stability of Numerical Algorithms", 2nd ed., chapters 3 and 4):
//  - worst case, where few roundings meet: their bounds add up;
//  - statistical, for sums: roundings are modelled as independent and even in [-u, u], so with variance u^2 /
//  3, and
//    the bound is kSigmas standard deviations (one element in 5e8 exceeds six if the model holds). Sums take
//    the smaller of the two, since the worst case is vacuous for long ones.
#include "inspect/bounds.h"

#include <algorithm>
#include <cmath>
#include <limits>
#include <numbers>

#include "inspect/values.h"
#include "tensor/blocks.h"

namespace tl::inspect {

namespace {

constexpr double kSigmas = 6;

/// The result of the same operation on inputs mapped by `f`: sums of magnitudes or squares of its terms.
template <class F>
std::vector<double> with_inputs(const Backend& oracle, Operation c, F f) {
  for (size_t i = 0; i < c.in.size(); ++i) {
    std::vector<double> values = values_of(c.in[i]);
    for (double& v : values) v = f(v);
    c.in[i] = Tensor::from<double>(DType::f64, c.in[i].shape(), values);
  }
  ThreadPool pool(1);
  return values_of(run(oracle, c, pool));
}

/// The error of a sum of n terms t, themselves products that were rounded `roundings` times, in L lanes.
///
/// Worst case: a term passes its roundings, at most ceil(n / L) - 1 additions in its lane and log2 L at the
/// end. Statistical: the rounding after each addition is relative to a partial sum s. In a lane of m = ceil(n
/// / L) terms s^2 is at most about sum t^2 (terms of random sign) + (sum t / L)^2 (their mean), after the
/// lanes' merging sum t^2 + (sum t)^2. So the variance is u^2 / 3 times
///   roundings * sum t^2 + m * (sum t^2 + (sum t)^2 / L) + log2 L * (sum t^2 + (sum t)^2).
double sum_error(double u, int64_t n, int lanes, int roundings, double sum, double magnitudes,
                 double squares) {
  const double m = std::ceil(static_cast<double>(n) / lanes), levels = std::log2(lanes);
  const double additions = std::min(static_cast<double>(n) - 1, m - 1 + levels);
  const double worst = u * (additions + roundings) * magnitudes;
  const double variance =
      roundings * squares + m * (squares + sum * sum / lanes) + levels * (squares + sum * sum);
  return std::min(worst, kSigmas * u * std::sqrt(variance / 3));
}

double sum_error(double u, int lanes, const std::vector<double>& terms) {
  double sum = 0, magnitudes = 0, squares = 0;
  for (const double t : terms) sum += t, magnitudes += std::fabs(t), squares += t * t;
  return sum_error(u, static_cast<int64_t>(terms.size()), lanes, 0, sum, magnitudes, squares);
}

/// The relative error of a product of n factors, each rounded once: n - 1 roundings.
double product_error(double u, double n) {
  return std::min(u * (n - 1), kSigmas * u * std::sqrt((n - 1) / 3));
}

/// The result of an exact operation.
bool is_exact(const Operation& c, DType result) {
  switch (c.op) {
    case Op::neg:
    case Op::abs:
    case Op::sign:
    case Op::floor:
    case Op::ceil:
    case Op::round:
    case Op::relu:
    case Op::mod:
    case Op::minimum:
    case Op::maximum:
    case Op::reduce_max:
    case Op::reduce_min:
    case Op::select:
    case Op::cast:
    case Op::reshape:
    case Op::concat:
    case Op::pad:
    case Op::take:
    case Op::gather:
    case Op::scatter:
    case Op::cache_append:
    case Op::sort:
    case Op::top_k:
    case Op::embedding:  // scale * q and min fit float32: decoding rounds once, as the expected value is
    case Op::random_uniform:
    case Op::random_normal:
      return true;
    case Op::contract: {
      const auto r = std::get<ContractAttrs>(c.attrs).reduction;
      return !is_float(result) || (c.in.size() == 1 && (r == Reduction::max || r == Reduction::min));
    }
    default:
      return !is_float(result);
  }
}

/// Functions of the C library err by less than one unit in the last place, 2 u (glibc manual, "Known Maximum
/// Errors in Math Functions"; tanh: two). Our own exp: the argument is reduced with an error below u / 2, the
/// polynomial adds 2^-28 and u / 4, and the final addition rounds once, by at most u of a result of at least
/// 1 / sqrt(2): 2 u in all.
constexpr double kFunction = 2;

/// The error of a / (1 + e^-x), a * sigmoid(x): e = e^-x errs by 2u relative, 1 + e and the division round
/// once each, and e is the share 1 - sigmoid of 1 + e. Where e overflows the result is 0 instead of less than
/// a / largest number.
double sigmoid_error(double u, double x, double a) {
  const double s = 1 / (1 + std::exp(-x)),
               largest = u > 0x1p-30 ? 0x1p128 : std::numeric_limits<double>::max();
  return std::fabs(a) * (s * u * (2 + kFunction * (1 - s)) + 1 / largest);
}

double unary_error(Op op, double u, double x, double y) {
  switch (op) {
    case Op::sqrt:
    case Op::reciprocal:
      return u * std::fabs(y);
    case Op::tanh:
      return 2 * kFunction * u * std::fabs(y);
    case Op::sigmoid:
      return sigmoid_error(u, x, 1);
    case Op::silu:
      return sigmoid_error(u, x, x);
    case Op::gelu: {
      // z = x / sqrt 2 is off by 2u (constant and product), which erf passes on with slope 2 / sqrt(pi)
      // e^(-z^2); then erf, 1 + erf and the product with x round. Halving is exact.
      const double z = x / std::sqrt(2.0), erf = std::erf(z);
      const double slope = 1.1283791670955126 * std::exp(-z * z);
      const double inner = slope * 2 * u * std::fabs(z) + kFunction * u * std::fabs(erf) + u * (1 + erf);
      return std::fabs(x) / 2 * inner + u * std::fabs(y);
    }
    default:
      return kFunction * u * std::fabs(y);  // one function, or sqrt and a division
  }
}

struct Bound {
  const Operation& c;
  const Arithmetic& a;
  const std::vector<double>& y;
  const Backend& oracle;
  std::vector<double> error = std::vector<double>(y.size());

  double u() const { return unit_roundoff(a.type); }
  std::vector<double> input(size_t i) const {
    return values_of(broadcast_view(c.in[i], result_type(c).shape));
  }

  template <class F>
  void each(F f) {
    for (size_t i = 0; i < y.size(); ++i) error[i] = f(i, std::fabs(y[i]));
  }

  void unary() {
    const std::vector<double> x = values_of(c.in[0]);
    each([&](size_t i, double) { return unary_error(c.op, u(), x[i], y[i]); });
  }

  /// Sums of products of inputs; `n` terms each rounded `roundings` times, in `lanes`.
  void sums(int64_t n, int lanes, int roundings) {
    const std::vector<double> magnitudes = with_inputs(oracle, c, [](double v) { return std::fabs(v); });
    const std::vector<double> squares = with_inputs(oracle, c, [](double v) { return v * v; });
    each([&](size_t i, double) {
      return sum_error(u(), n, lanes, roundings, y[i], magnitudes[i], squares[i]);
    });
  }

  void reduction() {
    const int64_t n = c.in[0].elements() / std::max<int64_t>(1, static_cast<int64_t>(y.size()));
    if (c.op == Op::reduce_prod)
      return each([&](size_t, double size) { return product_error(u(), static_cast<double>(n)) * size; });
    if (c.op == Op::reduce_sum) return sums(n, a.sum_lanes, 0);
    // The mean: a sum, scaled by 1 / n with one rounding.
    Operation sum = c;
    sum.op = Op::reduce_sum;
    std::vector<double> totals = y;
    for (double& t : totals) t *= static_cast<double>(n);
    Bound of_sum{sum, a, totals, oracle};
    of_sum.sums(n, a.sum_lanes, 0);
    each([&](size_t i, double size) { return of_sum.error[i] / static_cast<double>(n) + u() * size; });
  }

  void contract() {
    const auto& attrs = std::get<ContractAttrs>(c.attrs);
    int64_t n = 1;
    for (int l = attrs.n_result_labels; l < attrs.n_labels; ++l) n *= c.params.ints[static_cast<size_t>(l)];
    const int products = static_cast<int>(c.in.size()) - 1;
    switch (attrs.reduction) {
      case Reduction::max:
      case Reduction::min:
        return each([&](size_t, double size) { return u() * products * size; });
      case Reduction::prod:
        return each([&](size_t, double size) {
          return product_error(u(), static_cast<double>(n * (products + 1))) * size;
        });
      case Reduction::mean: {
        Operation sum = c;
        std::get<ContractAttrs>(sum.attrs).reduction = Reduction::sum;
        std::vector<double> totals = y;
        for (double& t : totals) t *= static_cast<double>(n);
        Bound of_sum{sum, a, totals, oracle};
        of_sum.sums(n, 1, products);
        return each(
            [&](size_t i, double size) { return of_sum.error[i] / static_cast<double>(n) + 2 * u() * size; });
      }
      case Reduction::sum:
        break;
    }
    sums(n, 1, products);
  }

  void linear();
  void softmax();
  void norm();
  void attention();
  void cumsum();
  void rope();
  void run();
};

/// Calls visit(positions in a contiguous tensor of `shape`) for every line along `axis`.
template <class Visit>
void each_line(const Shape& shape, int axis, Visit visit) {
  int64_t inner = 1;
  for (int i = axis + 1; i < shape.rank(); ++i) inner *= shape[i];
  const int64_t n = shape[axis], outer = n ? shape.elements() / n / inner : 0;
  std::vector<size_t> line(static_cast<size_t>(n));
  for (int64_t o = 0; o < outer; ++o)
    for (int64_t i = 0; i < inner; ++i) {
      for (int64_t k = 0; k < n; ++k)
        line[static_cast<size_t>(k)] = static_cast<size_t>((o * n + k) * inner + i);
      visit(line);
    }
}

void Bound::linear() {
  Operation products = c;
  if (products.in.size() == 3) products.in.pop_back();
  const int64_t n = c.in[1].shape()[1];
  std::vector<double> exact = y;  // without the bias
  if (c.in.size() == 3) {
    const std::vector<double> bias = input(2);
    for (size_t i = 0; i < exact.size(); ++i) exact[i] -= bias[i];
  }
  Bound of_sum{products, a, exact, oracle};
  // A quantised weight is rounded once when it is decoded to float32, and so is its product with x.
  const bool quantised = is_quantised(c.in[1].dtype());
  of_sum.sums(n, a.dot_lanes, quantised ? 2 : 1);
  error = of_sum.error;
  const DType type = c.in[1].dtype();
  const int64_t rows = n > 0 ? c.in[0].elements() / n : 0;
  const bool halves = a.rows_in_halves > 0 && rows >= a.rows_in_halves && !c.batch_invariant &&
                      (quantised || type == DType::f16 || type == DType::bf16);
  if (c.activations == Activations::q8 && ((quantised && a.activation_steps > 0) || halves)) {
    // A block of 32 activations is rounded to multiples of its largest magnitude / steps: an error even in +-
    // half of that, of variance (largest / steps)^2 / 12, which the weights pass on. Halves of activations
    // and weights have steps of at most 1 / 1024 of each: two such errors.
    const double step = 1 / (halves ? 1024 / std::numbers::sqrt2 : a.activation_steps);
    std::vector<double> x = values_of(c.in[0]);
    for (size_t b = 0; b < x.size(); b += 32) {
      const size_t end = std::min(b + 32, x.size());
      double largest = 0;
      for (size_t i = b; i < end; ++i) largest = std::max(largest, std::fabs(x[i]));
      std::fill(x.begin() + static_cast<int64_t>(b), x.begin() + static_cast<int64_t>(end), largest * step);
    }
    Operation steps = products;
    steps.in[0] = Tensor::from<double>(DType::f64, c.in[0].shape(), x);
    const std::vector<double> squares = with_inputs(oracle, steps, [](double v) { return v * v; });
    const std::vector<double> magnitudes = with_inputs(oracle, steps, [](double v) { return std::fabs(v); });
    each([&](size_t i, double) {
      return error[i] + std::min(magnitudes[i] / 2, kSigmas * std::sqrt(squares[i] / 12));
    });
  }
  if (c.in.size() == 3) each([&](size_t i, double size) { return error[i] + u() * size; });
}

/// p = e^(x - max) / total. x - max rounds to within u |x - max|, which exp turns into a relative error,
/// beside its own; the total has the mean of these and those of its additions, relative to positive partial
/// sums (variance u^2 / 3 * (m / L + log2 L), as in sum_error with sum t^2 <= (sum t)^2); 1 / total and the
/// product round once each. log p = x - max - log(total) has x - max, the total's relative error, log's own
/// and the last subtraction.
void Bound::softmax() {
  const std::vector<double> x = values_of(c.in[0]);
  const std::vector<double> keep = c.in.size() == 2 ? input(1) : std::vector<double>(x.size(), 1);
  each_line(c.in[0].shape(), std::get<AxisAttrs>(c.attrs).axis, [&](const std::vector<size_t>& line) {
    double most = -std::numeric_limits<double>::infinity(), total = 0, of_terms = 0;
    for (const size_t i : line)
      if (keep[i] != 0) most = std::max(most, x[i]);
    for (const size_t i : line) {
      const double e = keep[i] != 0 ? std::exp(x[i] - most) : 0;
      total += e;
      of_terms += e * (most - x[i] + kFunction) * u();
    }
    const double m = std::ceil(static_cast<double>(line.size()) / a.exp_lanes);
    const double of_sum = kSigmas * u() * std::sqrt((m / a.exp_lanes + std::log2(a.exp_lanes)) / 3);
    const double of_total = of_terms / total + (line.size() > 1 ? of_sum : 0);
    for (const size_t i : line) {
      const double shift = (most - x[i]) * u();
      error[i] = c.op == Op::softmax
                     ? std::fabs(y[i]) * (shift + (kFunction + 2) * u() + of_total) + half_smallest(a.type)
                     : shift + of_total + kFunction * u() * std::log(total) + 2 * u() * std::fabs(y[i]);
    }
  });
}

/// y = (x - mean) * r * w + b with r = 1 / sqrt(squares / n + eps), without mean in rms_norm. The sum of
/// squares is a sum of products; half of its relative error is that of r, which rounds at most twice more.
/// The mean is a sum (its error shifts all x - mean alike; to first order that does not change the squares).
void Bound::norm() {
  const bool centred = c.op == Op::layer_norm;
  const std::vector<double> x = values_of(c.in[0]);
  const std::vector<double> w = c.in.size() > 1 ? input(1) : std::vector<double>(x.size(), 1);
  const std::vector<double> b = c.in.size() > 2 ? input(2) : std::vector<double>(x.size(), 0);
  each_line(c.in[0].shape(), c.in[0].rank() - 1, [&](const std::vector<size_t>& line) {
    const auto n = static_cast<double>(line.size());
    double mean = 0, of_mean = 0;
    if (centred) {
      std::vector<double> terms;
      for (const size_t i : line) terms.push_back(x[i]), mean += x[i] / n;
      of_mean = sum_error(u(), a.sum_lanes, terms) / n + u() * std::fabs(mean);
    }
    std::vector<double> squares;
    double total = 0, fourth = 0;
    for (const size_t i : line) {
      const double square = (x[i] - mean) * (x[i] - mean);
      total += square, fourth += square * square;
      squares.push_back(square);
    }
    const double with_eps = total + n * c.params.floats[0];
    const double of_squares =
        sum_error(u(), a.sum_lanes, squares) + kSigmas * u() * std::sqrt(fourth) + n * of_mean * of_mean;
    const double root = std::sqrt(with_eps / n), of_root = of_squares / with_eps / 2 + 2 * u();
    for (const size_t i : line) {
      const double scaled = std::fabs((x[i] - mean) / root * w[i]);
      const double roundings = (centred ? 3 : 2) * u();  // x - mean, times r, times w
      error[i] = scaled * (of_root + roundings) + of_mean * std::fabs(w[i]) / root;
      if (c.in.size() > 2) error[i] += u() * std::fabs(y[i]);
    }
  });
}

/// The sum after each element is rounded: partial sums are the results themselves.
void Bound::cumsum() {
  each_line(c.in[0].shape(), std::get<AxisAttrs>(c.attrs).axis, [&](const std::vector<size_t>& line) {
    double squares = 0, magnitudes = 0;
    for (const size_t i : line) {
      error[i] = std::min(u() * magnitudes, kSigmas * u() * std::sqrt(squares / 3));
      squares += y[i] * y[i], magnitudes += std::fabs(y[i]);
      if (i != line[0]) error[i] += u() * std::fabs(y[i]);
    }
  });
}

/// An angle is computed in double: its power errs by an ulp and by ln(base) times the rounding of the
/// exponent, its three products round. Cosine and sine err by an ulp of double or by their rounding to
/// float32, the products and their sum round. With (a, b) rotated to (a c - b s, a s + b c), |a c| + |b s| <=
/// sqrt(a^2 + b^2), the pair's length.
void Bound::rope() {
  const std::vector<double> x = values_of(c.in[0]);
  const Shape& shape = c.in[0].shape();
  const bool neox = std::get<RopeAttrs>(c.attrs).style == RopeStyle::neox;
  const auto n_rot = static_cast<size_t>(c.params.ints[1]), width = static_cast<size_t>(shape.back());
  const int64_t heads = shape.rank() == 2 ? 1 : shape[shape.rank() - 2];
  const int64_t positions = shape.rank() == 2 ? shape[0] : shape[shape.rank() - 3];
  const double base = c.params.floats[0], exact = unit_roundoff(DType::f64);
  each([&](size_t i, double size) {
    const size_t d = i % width, half = n_rot / 2;
    if (d >= n_rot) return 0.0;
    const size_t pair = neox ? d % half : d / 2, other = neox ? (d < half ? i + half : i - half) : i ^ 1;
    const auto position =
        static_cast<double>(c.params.ints[0] + static_cast<int64_t>(i / width) / heads % positions);
    const double exponent = 2.0 * static_cast<double>(pair) / static_cast<double>(n_rot);
    const double angle = position * c.params.floats[1] * std::pow(base, -exponent);
    const double of_angle = angle * exact * (5 + exponent * std::log(base));
    const double of_cosine = std::max(kFunction * exact, u());
    return (of_angle + of_cosine + u()) * std::hypot(x[i], x[other]) + u() * size;
  });
}

/// out = sum p v, p = e^(s - max) / total. A score s = scale * q k errs as a sum of products and two
/// roundings; p by that and as in softmax, all relative to p. What p's error changes is p (v - out), because
/// the weights are normalised; errors of different keys are independent. The sum over keys runs one after
/// another, and each value it adds up is rescaled as often as the running maximum may change, once per tile
/// of 64 keys; a division ends it. Many queries of heads with 64 or 128 dimensions may be
/// multiplied with factors of eleven bits: q and k, p and v are rounded then, and p, where it is small, to a
/// multiple of 2^-38 of the largest.
void Bound::attention() {
  const auto& attrs = std::get<AttentionAttrs>(c.attrs);
  const auto ordered = [](Tensor t, const std::vector<int>& order) {
    if (is_quantised(t.dtype())) t = converted(t, DType::f64);
    Shape shape, strides;
    for (const int axis : order) shape.push_back(t.shape()[axis]), strides.push_back(t.strides()[axis]);
    return t.view(shape, strides);
  };
  const Tensor q = ordered(c.in[0], attrs.q_order), k = ordered(c.in[1], attrs.k_order),
               v = ordered(c.in[2], attrs.v_order);
  const Shape shape = result_type(c).shape;
  const Tensor errors(DType::f64, shape), results = Tensor::from<double>(DType::f64, shape, y);
  const Tensor out = ordered(results, attrs.out_order), to = ordered(errors, attrs.out_order);
  const auto at = [](const Tensor& t, int64_t p, int64_t h, int64_t d) {
    return load_double(t, p * t.strides()[0] + h * t.strides()[1] + d * t.strides()[2]);
  };
  const int64_t keys = k.shape()[0], dim = q.shape()[2];
  const double scale = c.params.floats[0];
  const bool eleven_bits = a.rows_in_halves > 0 && q.shape()[0] >= a.rows_in_halves && c.in.size() == 3 &&
                           (dim == 64 || dim == 128) && dim == v.shape()[2] &&
                           c.activations == Activations::q8 && !c.batch_invariant;
  const double coarse = eleven_bits ? unit_roundoff(DType::f16) : 0;
  for (int64_t i = 0; i < q.shape()[0]; ++i)
    for (int64_t h = 0; h < q.shape()[1]; ++h) {
      std::vector<double> scores, of_scores, weights;
      std::vector<int64_t> seen;
      for (int64_t j = 0; j < keys; ++j) {
        if (attrs.causal && j > i + c.params.ints[0]) continue;
        if (c.in.size() == 4 && load_int(c.in[3], i * c.in[3].strides()[0] + j * c.in[3].strides()[1]) == 0)
          continue;
        double sum = 0, magnitudes = 0, squares = 0;
        for (int64_t d = 0; d < dim; ++d) {
          const double t = at(q, i, h, d) * at(k, j, h / attrs.group, d);
          sum += t, magnitudes += std::fabs(t), squares += t * t;
        }
        seen.push_back(j);
        scores.push_back(scale * sum);
        of_scores.push_back(std::fabs(scale) * sum_error(u(), dim, a.dot_lanes, 1, sum, magnitudes, squares) +
                            2 * u() * std::fabs(scale * sum) +
                            std::fabs(scale) * std::min(2 * coarse * magnitudes,
                                                        kSigmas * coarse * std::sqrt(2 * squares / 3)));
      }
      const double most = *std::max_element(scores.begin(), scores.end());
      double total = 0;
      for (const double s : scores) weights.push_back(std::exp(s - most)), total += weights.back();
      const double n = static_cast<double>(seen.size()), tiles = std::ceil(static_cast<double>(keys) / 64);
      for (int64_t d = 0; d < v.shape()[2]; ++d) {
        const double y0 = at(out, i, h, d);
        double of_weights = 0, squares = 0, magnitudes = 0, largest = 0;
        for (size_t s = 0; s < seen.size(); ++s) {
          const double p = weights[s] / total, value = at(v, seen[s], h / attrs.group, d);
          const double relative = of_scores[s] + u() * (most - scores[s] + kFunction);
          of_weights += std::pow(p * (value - y0) * relative, 2);
          squares += p * p * value * value, magnitudes += p * std::fabs(value);
          largest = std::max(largest, std::fabs(value));
        }
        const double of_sum =
            sum_error(u(), static_cast<int64_t>(n + 2 * tiles), 1, 1, y0, magnitudes, squares);
        const double of_total = kSigmas * u() * std::sqrt((n / a.exp_lanes + tiles) / 3);
        const double of_factors =
            std::min(2 * coarse * magnitudes, kSigmas * coarse * std::sqrt(2 * squares / 3)) +
            (eleven_bits ? std::ldexp(n, -39) / total * largest : 0);
        store_double(to, i * to.strides()[0] + h * to.strides()[1] + d * to.strides()[2],
                     kSigmas / std::sqrt(3.0) * std::sqrt(of_weights) + of_sum + of_factors +
                         (of_total + 2 * u()) * std::fabs(y0));
      }
    }
  error = values_of(errors);
}

void Bound::run() {
  switch (info(c.op).kind) {
    case OpKind::unary:
      return unary();
    case OpKind::reduce:
      return reduction();
    case OpKind::binary:
      if (c.op == Op::pow) return each([&](size_t, double size) { return kFunction * u() * size; });
      return each([&](size_t, double size) { return u() * size; });
    default:
      break;
  }
  switch (c.op) {
    case Op::swiglu: {
      const std::vector<double> gate = input(0), up = input(1);
      return each(
          [&](size_t i, double size) { return sigmoid_error(u(), gate[i], gate[i] * up[i]) + u() * size; });
    }
    case Op::matmul:
      return sums(c.in[0].shape().back(), 1, 1);
    case Op::contract:
      return contract();
    case Op::linear:
      return linear();
    case Op::softmax:
    case Op::log_softmax:
      return softmax();
    case Op::rms_norm:
    case Op::layer_norm:
      return norm();
    case Op::cumsum:
      return cumsum();
    case Op::rope:
      return rope();
    case Op::attention:
      return attention();
    default:
      TL_CHECK(false, "no error bound for this operation");
  }
}

}  // namespace

Arithmetic arithmetic_of(const Backend& backend) {
  if (backend.name() == "reference") return {DType::f64, 1, 1, 4, 0, 0};
  if (backend.name() == "cuda") return {DType::f32, 32, 8, 16, 127 * 256, 64};
  return {DType::f32, 32, 8, 16, 127, 0};
}

std::vector<double> error_bound(const Operation& c, const Arithmetic& arithmetic, DType stored,
                                const std::vector<double>& expected, const Backend& oracle) {
  if (is_exact(c, result_type(c).dtype)) return {};
  Bound bound{c, arithmetic, expected, oracle};
  bound.run();
  // Results below the smallest normal number err absolutely; those kept in a narrower type are rounded once
  // more.
  const bool narrower = unit_roundoff(stored) > unit_roundoff(arithmetic.type);
  for (size_t i = 0; i < expected.size(); ++i) {
    double& e = bound.error[i];
    if (narrower) e += unit_roundoff(stored) * (std::fabs(expected[i]) + e);
    e += half_smallest(stored);
  }
  return bound.error;
}

}  // namespace tl::inspect
