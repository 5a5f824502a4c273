#include "ops/definitions.h"

#include <algorithm>
#include <cmath>
#include <functional>
#include <map>
#include <numeric>
#include <stdexcept>

#include <absl/container/inlined_vector.h>

#include "ops/random.h"
#include "ops/values.h"

namespace tl::test {

namespace {

using Real = long double;
using Index = absl::InlinedVector<int64_t, 6>;  // made for every element: without memory of its own

/// A tensor's values by index.
struct Array {
  Shape shape;
  std::vector<Real> values;

  explicit Array(const Shape& s) : shape(s), values(static_cast<size_t>(s.elements())) {}
  explicit Array(const Tensor& t) : shape(t.shape()) {
    if (is_int(t.dtype()) && t.is_contiguous()) {  // int64 does not fit double
      for (int64_t i = 0; i < t.elements(); ++i) values.push_back(static_cast<Real>(load_int(t, i)));
      return;
    }
    for (const double v : values_of(t)) values.push_back(v);
  }
  size_t flat(const Index& index) const {
    int64_t at = 0;
    for (int a = 0; a < shape.rank(); ++a) at = at * shape[a] + index[static_cast<size_t>(a)];
    return static_cast<size_t>(at);
  }
  Real& operator[](const Index& index) { return values[flat(index)]; }
  Real operator[](const Index& index) const { return values[flat(index)]; }
  /// NumPy's rule: aligned at the last axis, extents of 1 repeat.
  Real broadcast(const Index& index) const {
    Index own;
    const size_t lead = index.size() - static_cast<size_t>(shape.rank());
    for (int a = 0; a < shape.rank(); ++a)
      own.push_back(shape[a] == 1 ? 0 : index[lead + static_cast<size_t>(a)]);
    return (*this)[own];
  }
};

template <class Visit>
void each_index(const Shape& shape, Visit visit) {
  Index index(static_cast<size_t>(shape.rank()), 0);
  for (int64_t i = 0; i < shape.elements(); ++i) {
    visit(index);
    for (int a = shape.rank() - 1; a >= 0 && ++index[static_cast<size_t>(a)] == shape[a]; --a)
      index[static_cast<size_t>(a)] = 0;
  }
}

/// What an integer type keeps of a whole number: its lowest bits.
Real wrapped(DType dtype, Real x) {
  const auto v = static_cast<int64_t>(x);
  return static_cast<Real>(dtype == DType::i8    ? static_cast<int8_t>(v)
                           : dtype == DType::i32 ? static_cast<int32_t>(v)
                                                 : v);
}

struct Definition {
  const Case& c;
  TensorType type = result_type(c);
  Array out = Array(type.shape);
  std::vector<Array> in = {};

  explicit Definition(const Case& of) : c(of) {
    for (const Tensor& t : c.in) in.emplace_back(t);
  }
  bool integral() const { return !is_float(type.dtype); }
  int axis() const { return std::get<AxisAttrs>(c.attrs).axis; }
  Real x(const Index& i) const { return in[0][i]; }

  template <class F>
  void fill(F f) {
    each_index(out.shape, [&](const Index& i) { out[i] = f(i); });
  }

  void unary(Real (*f)(Real)) {
    fill([&](const Index& i) { return f(x(i)); });
  }
  void binary(const std::function<Real(Real, Real)>& f) {
    fill([&](const Index& i) { return f(in[0].broadcast(i), in[1].broadcast(i)); });
  }

  /// The elements along `a` at an index (whose entry for that axis counts for nothing).
  std::vector<Real> line(Index i, int a) const {
    std::vector<Real> values;
    for (int64_t k = 0; k < in[0].shape[a]; ++k) {
      i[static_cast<size_t>(a)] = k;
      values.push_back(x(i));
    }
    return values;
  }

  void reduce(const std::function<Real(const std::vector<Real>&)>& f) {
    const auto& attrs = std::get<ReduceAttrs>(c.attrs);
    std::vector<std::vector<Real>> groups(out.values.size());
    each_index(in[0].shape, [&](const Index& i) {
      Index kept;
      for (size_t a = 0; a < i.size(); ++a)
        if (!(attrs.axes >> a & 1))
          kept.push_back(i[a]);
        else if (attrs.keepdim)
          kept.push_back(0);
      groups[out.flat(kept)].push_back(x(i));
    });
    for (size_t g = 0; g < groups.size(); ++g) out.values[g] = f(groups[g]);
  }

  void concat() {
    const auto a = static_cast<size_t>(axis());
    fill([&](Index i) {
      size_t part = 0;
      for (; i[a] >= in[part].shape[axis()]; ++part) i[a] -= in[part].shape[axis()];
      return in[part][i];
    });
  }

  void pad() {
    fill([&](Index i) {
      for (size_t a = 0; a < i.size(); ++a) {
        i[a] -= c.params.ints[2 * a];
        if (i[a] < 0 || i[a] >= in[0].shape[static_cast<int>(a)])
          return static_cast<Real>(c.params.floats[0]);
      }
      return x(i);
    });
  }

  void take() {
    fill([&](const Index& i) {
      const auto first = i.begin() + axis(), last = first + in[1].shape.rank();
      Index from(i.begin(), first);
      from.push_back(static_cast<int64_t>(in[1][Index(first, last)]));
      from.insert(from.end(), last, i.end());
      return x(from);
    });
  }

  void gather() {
    fill([&](Index i) {
      const Real index = in[1][i];
      i[static_cast<size_t>(axis())] = static_cast<int64_t>(index);
      return x(i);
    });
  }

  void scatter() {
    out.values = in[0].values;
    each_index(in[1].shape, [&](const Index& i) {
      Index to = i;
      to[static_cast<size_t>(axis())] = static_cast<int64_t>(in[1][i]);
      out[to] = in[2][i];
    });
  }

  /// The position in its line of the element that comes first by `before`.
  void arg(bool largest) {
    fill([&](Index i) {
      i.insert(i.begin() + axis(), 0);
      const std::vector<Real> values = line(i, axis());
      const auto nan = std::find_if(values.begin(), values.end(), [](Real v) { return std::isnan(v); });
      const auto best = nan != values.end() ? nan
                        : largest           ? std::max_element(values.begin(), values.end())
                                            : std::min_element(values.begin(), values.end());
      return static_cast<Real>(best - values.begin());
    });
  }

  void cumsum() {
    fill([&](const Index& i) {
      const std::vector<Real> values = line(i, axis());
      return std::accumulate(values.begin(), values.begin() + i[static_cast<size_t>(axis())] + 1, Real{0});
    });
  }

  void top_k() {
    const auto last = static_cast<size_t>(c.in[0].rank() - 1);
    Index of;  // the line whose order is known
    std::vector<Real> values;
    std::vector<size_t> order;
    fill([&](Index i) {
      const auto wanted = static_cast<size_t>(i[last + 1]);
      const bool place = i[last] == 1;
      i.resize(last + 1), i[last] = 0;
      if (order.empty() || i != of) {
        of = i;
        values = line(i, static_cast<int>(last));
        order.resize(values.size());
        std::iota(order.begin(), order.end(), size_t{0});
        std::stable_sort(order.begin(), order.end(), [&](size_t a, size_t b) {
          return std::isnan(values[a]) ? !std::isnan(values[b]) : values[a] > values[b];
        });
      }
      return place ? static_cast<Real>(order[wanted]) : values[order[wanted]];
    });
  }

  void draw() {
    const Real temp = c.params.floats[0], top_p = c.params.floats[1], min_log_p = c.params.floats[2];
    fill([&](Index i) {
      const int last = c.in[0].rank() - 1;
      const Real uniform = std::ldexp(in[1][i], -53);
      i.push_back(0), i.push_back(0);
      const std::vector<Real> logits = line(i, last);
      i[static_cast<size_t>(last) - 1] = 1;
      const std::vector<Real> places = line(i, last);
      const Real first = logits[0];
      if (!std::isfinite(first)) return -1 - (3 * places[0] + (std::isnan(first) ? 0 : first > 0 ? 1 : 2));
      // The sum of the first n weights at a temperature.
      const auto sum = [&](size_t n, Real t) {
        Real total = 0;
        for (size_t j = 0; j < n; ++j) total += std::exp((logits[j] - first) / t);
        return total;
      };
      size_t n = 1;
      const Real all = sum(logits.size(), 1);
      while (n < logits.size() && (top_p == 1 || sum(n, 1) < top_p * all)) ++n;
      while (logits[n - 1] < first + min_log_p) --n;
      const Real kept = sum(n, temp);
      size_t drawn = 0;
      while (drawn + 1 < n && sum(drawn + 1, temp) <= uniform * kept) ++drawn;
      return places[drawn];
    });
  }

  void sort(bool indices) {
    const auto [a, descending] = std::get<SortAttrs>(c.attrs);
    fill([&, a = a, descending = descending](const Index& i) {
      const std::vector<Real> values = line(i, a);
      // The rank of element k: how many come before it.
      for (size_t k = 0; k < values.size(); ++k) {
        int64_t rank = 0;
        for (size_t j = 0; j < values.size(); ++j) {
          const Real u = values[j], v = values[k];
          const bool same = u == v || (std::isnan(u) && std::isnan(v));
          const bool before = std::isnan(v) ? !std::isnan(u) : descending ? u > v : u < v;
          rank += same ? j < k : before;
        }
        if (rank == i[static_cast<size_t>(a)]) return indices ? static_cast<Real>(k) : values[k];
      }
      throw std::logic_error("no element has this rank");
    });
  }

  void contract() {
    const auto& attrs = std::get<ContractAttrs>(c.attrs);
    const auto n = static_cast<size_t>(attrs.n_labels);
    const auto n_result = static_cast<size_t>(attrs.n_result_labels);
    const auto& ints = c.params.ints;
    Shape reduced;
    for (size_t l = n_result; l < n; ++l) reduced.push_back(ints[l]);
    const auto product = [&](const Index& labels) {
      Real p = 1;
      size_t offset = n;
      for (size_t k = 0; k < in.size(); ++k) {
        Index at;
        bool inside = true;
        for (const AxisIndex& axis_index : attrs.operands[k]) {
          Real sum = static_cast<Real>(ints[offset++]);
          for (const auto& [label, coefficient] : axis_index.terms)
            sum += static_cast<Real>(coefficient * labels[static_cast<size_t>(label)]);
          at.push_back(static_cast<int64_t>(std::floor(sum / static_cast<Real>(axis_index.divisor))));
          const int64_t extent = in[k].shape[static_cast<int>(at.size()) - 1];
          inside = inside && at.back() >= 0 && at.back() < extent;
        }
        p *= inside ? in[k][at] : 0;
      }
      return p;
    };
    fill([&](const Index& result) {
      std::vector<Real> products;
      each_index(reduced, [&](const Index& r) {
        Index labels = result;
        labels.insert(labels.end(), r.begin(), r.end());
        products.push_back(product(labels));
      });
      const Real sum = std::accumulate(products.begin(), products.end(), Real{0});
      switch (attrs.reduction) {
        case Reduction::sum:
          return sum;
        case Reduction::mean:
          return sum / static_cast<Real>(products.size());
        case Reduction::max:
          return *std::max_element(products.begin(), products.end());
        case Reduction::min:
          return *std::min_element(products.begin(), products.end());
        case Reduction::prod:
          return std::accumulate(products.begin(), products.end(), Real{1}, std::multiplies<>());
      }
      return sum;
    });
  }

  void matmul() {
    const int64_t inner = in[0].shape.back();
    const auto batch = [&](const Array& m, const Index& i, int64_t row, int64_t column) {
      Index at = i;
      at[at.size() - 2] = row, at[at.size() - 1] = column;
      Index own;
      for (int a = 0; a < m.shape.rank(); ++a) {
        const size_t from = at.size() - static_cast<size_t>(m.shape.rank() - a);
        own.push_back(m.shape[a] == 1 ? 0 : at[from]);
      }
      return m[own];
    };
    fill([&](const Index& i) {
      Real sum = 0;
      for (int64_t k = 0; k < inner; ++k)
        sum += batch(in[0], i, i[i.size() - 2], k) * batch(in[1], i, k, i.back());
      return sum;
    });
  }

  void linear() {
    fill([&](Index i) {
      const int64_t o = i.back();
      Real sum = in.size() == 3 ? in[2][{o}] : 0;
      for (int64_t k = 0; k < in[1].shape[1]; ++k) {
        i.back() = k;
        sum += x(i) * in[1][{o, k}];
      }
      return sum;
    });
  }

  void embedding() {
    fill([&](const Index& i) {
      const Real id = in[1][Index(i.begin(), i.end() - 1)];
      return in[0][{static_cast<int64_t>(id), i.back()}];
    });
  }

  void softmax(bool logarithm) {
    fill([&](Index i) {
      const auto a = static_cast<size_t>(axis());
      const auto kept = [&](const Index& at) { return in.size() == 1 || in[1].broadcast(at) != 0; };
      if (!kept(i)) return Real{0};
      const Real own = x(i);
      Real total = 0;  // of e^(x - own), which needs no maximum in long double
      for (int64_t k = 0; k < in[0].shape[axis()]; ++k) {
        i[a] = k;
        if (kept(i)) total += std::exp(x(i) - own);
      }
      return logarithm ? -std::log(total) : 1 / total;
    });
  }

  void norm(bool centred) {
    fill([&](const Index& i) {
      const std::vector<Real> values = line(i, in[0].shape.rank() - 1);
      const auto n = static_cast<Real>(values.size());
      const Real mean = centred ? std::accumulate(values.begin(), values.end(), Real{0}) / n : 0;
      Real squares = 0;
      for (const Real v : values) squares += (v - mean) * (v - mean);
      const Real y = (x(i) - mean) / std::sqrt(squares / n + static_cast<Real>(c.params.floats[0]));
      return y * (in.size() > 1 ? in[1][{i.back()}] : 1) + (in.size() > 2 ? in[2][{i.back()}] : 0);
    });
  }

  void rope() {
    const bool neox = std::get<RopeAttrs>(c.attrs).style == RopeStyle::neox;
    const int64_t n_rot = c.params.ints[1];
    const int rank = in[0].shape.rank();
    fill([&](Index i) {
      const int64_t d = i.back();
      if (d >= n_rot) return x(i);
      const int64_t pair = neox ? d % (n_rot / 2) : d / 2;
      const bool second = neox ? d >= n_rot / 2 : d % 2 == 1;
      const int64_t position = c.params.ints[0] + i[static_cast<size_t>(rank == 2 ? 0 : rank - 3)];
      Real angle = static_cast<Real>(position) * static_cast<Real>(c.params.floats[1]);
      angle *= std::pow(static_cast<Real>(c.params.floats[0]),
                        -2 * static_cast<Real>(pair) / static_cast<Real>(n_rot));
      if (in.size() == 2) angle /= in[1][{pair}];
      i.back() = neox ? (second ? d - n_rot / 2 : d + n_rot / 2) : (second ? d - 1 : d + 1);
      const Real other = x(i);
      i.back() = d;
      return second ? x(i) * std::cos(angle) + other * std::sin(angle)
                    : x(i) * std::cos(angle) - other * std::sin(angle);
    });
  }

  void attention() {
    const auto& attrs = std::get<AttentionAttrs>(c.attrs);
    const auto at = [&](const Array& t, const std::vector<int>& order, int64_t position, int64_t head,
                        int64_t d) {
      Index i(3);
      const int64_t given[] = {position, head, d};
      for (size_t k = 0; k < 3; ++k) i[static_cast<size_t>(order[k])] = given[k];
      return t[i];
    };
    const int64_t keys = in[1].shape[attrs.k_order[0]], dim = in[0].shape[attrs.q_order[2]];
    std::map<std::pair<int64_t, int64_t>, std::vector<Real>> known;  // by query and head
    const auto weights = [&](int64_t query, int64_t head) -> const std::vector<Real>& {
      const auto [place, is_new] = known.try_emplace({query, head}, static_cast<size_t>(keys), Real(0));
      for (int64_t j = 0; is_new && j < keys; ++j) {
        if (attrs.causal && j > query + c.params.ints[0]) continue;
        if (in.size() == 4 && in[3][{query, j}] == 0) continue;
        Real score = 0;
        for (int64_t e = 0; e < dim; ++e)
          score +=
              at(in[0], attrs.q_order, query, head, e) * at(in[1], attrs.k_order, j, head / attrs.group, e);
        place->second[static_cast<size_t>(j)] = std::exp(score * static_cast<Real>(c.params.floats[0]));
      }
      return place->second;
    };
    fill([&](const Index& i) {
      const auto of = [&](size_t k) { return i[static_cast<size_t>(attrs.out_order[k])]; };
      const int64_t head = of(1);
      Real sum = 0, total = 0;
      int64_t j = 0;
      for (const Real weight : weights(of(0), head)) {
        total += weight;
        // What is masked may be anything, NaN too.
        if (weight != 0) sum += weight * at(in[2], attrs.v_order, j, head / attrs.group, of(2));
        ++j;
      }
      return sum / total;
    });
  }

  void affine_mask() {
    const auto& coefficients = std::get<AffineMaskAttrs>(c.attrs).coefficients;
    fill([&](const Index& i) {
      int64_t sum = c.params.ints[i.size()];
      for (size_t a = 0; a < i.size(); ++a) sum += coefficients[a] * i[a];
      return static_cast<Real>(sum >= 0);
    });
  }

  void random(float (*value)(uint64_t, uint64_t)) {
    for (size_t i = 0; i < out.values.size(); ++i)
      out.values[i] = value(static_cast<uint64_t>(c.params.ints[0]), i);
  }

  void cast() {
    fill([&](const Index& i) {
      if (type.dtype == DType::boolean) return static_cast<Real>(x(i) != 0);
      return integral() ? std::trunc(x(i)) : x(i);
    });
  }

  void cache_append() {
    fill([&](Index i) {
      const int64_t row = i[0] - c.params.ints[0];
      if (row < 0) return x(i);
      i[0] = row;
      return c.in[0].dtype() == DType::q8_0 ? in_block(i) : in[1][i];
    });
  }

  /// A number of the second input as blocks of 32 hold it: a float16 scale times 127 at most, away from zero
  /// where it is halfway; NaN where that cannot be.
  Real in_block(Index i) {
    const Real number = in[1][i];
    const int64_t first = i.back() / 32 * 32;
    float largest = 0;
    for (i.back() = first; i.back() < first + 32; ++i.back()) {
      const auto magnitude = static_cast<float>(std::fabs(in[1][i]));
      if (!std::isfinite(magnitude)) return NAN;
      largest = std::max(largest, magnitude);
    }
    const float step = largest / 127.0f;
    const double scale = rounded(DType::f16, step);
    if (!std::isfinite(scale)) return NAN;
    const float inverse = step > 0 && std::isfinite(1.0f / step) ? 1.0f / step : 0.0f;
    return static_cast<Real>(scale) * static_cast<Real>(std::round(static_cast<float>(number) * inverse));
  }

  void run_elementwise();
  void run_reduction();
  void run_structured();
};

Real sigmoid(Real x) { return 1 / (1 + std::exp(-x)); }

void Definition::run_elementwise() {
  const bool whole = integral();
  switch (c.op) {
    case Op::neg:
      return unary([](Real v) { return -v; });
    case Op::abs:
      return unary([](Real v) { return std::fabs(v); });
    case Op::sign:
      return unary([](Real v) { return std::isnan(v) ? v : static_cast<Real>((v > 0) - (v < 0)); });
    case Op::exp:
      return unary([](Real v) { return std::exp(v); });
    case Op::log:
      return unary([](Real v) { return std::log(v); });
    case Op::sqrt:
      return unary([](Real v) { return std::sqrt(v); });
    case Op::rsqrt:
      return unary([](Real v) { return 1 / std::sqrt(v); });
    case Op::reciprocal:
      return unary([](Real v) { return 1 / v; });
    case Op::sin:
      return unary([](Real v) { return std::sin(v); });
    case Op::cos:
      return unary([](Real v) { return std::cos(v); });
    case Op::tan:
      return unary([](Real v) { return std::tan(v); });
    case Op::tanh:
      return unary([](Real v) { return std::tanh(v); });
    case Op::erf:
      return unary([](Real v) { return std::erf(v); });
    case Op::floor:
      return unary([](Real v) { return std::floor(v); });
    case Op::ceil:
      return unary([](Real v) { return std::ceil(v); });
    case Op::round:
      return unary(
          [](Real v) { return std::isinf(v) ? v : v - std::remainder(v, Real{1}); });  // ties to even too
    case Op::relu:
      return unary([](Real v) { return v < 0 ? 0 : v; });
    case Op::gelu:
      return unary([](Real v) { return v * std::erfc(-v / std::sqrt(Real{2})) / 2; });
    case Op::silu:
      return unary([](Real v) { return v * sigmoid(v); });
    case Op::sigmoid:
      return unary([](Real v) { return sigmoid(v); });
    case Op::add:
      return binary([](Real a, Real b) { return a + b; });
    case Op::sub:
      return binary([](Real a, Real b) { return a - b; });
    case Op::mul:
      return binary([](Real a, Real b) { return a * b; });
    case Op::div:
      return binary([=](Real a, Real b) { return whole ? std::trunc(a / b) : a / b; });
    case Op::mod:
      return binary([](Real a, Real b) { return std::fmod(a, b); });
    case Op::pow:
      return binary([](Real a, Real b) { return std::pow(a, b); });
    case Op::minimum:
      return binary([](Real a, Real b) { return std::isnan(a) ? a : std::isnan(b) ? b : std::fmin(a, b); });
    case Op::maximum:
      return binary([](Real a, Real b) { return std::isnan(a) ? a : std::isnan(b) ? b : std::fmax(a, b); });
    case Op::equal:
      return binary([](Real a, Real b) { return a == b; });
    case Op::not_equal:
      return binary([](Real a, Real b) { return a != b; });
    case Op::less:
      return binary([](Real a, Real b) { return a < b; });
    case Op::less_equal:
      return binary([](Real a, Real b) { return a <= b; });
    case Op::greater:
      return binary([](Real a, Real b) { return a > b; });
    case Op::greater_equal:
      return binary([](Real a, Real b) { return a >= b; });
    case Op::logical_and:
      return binary([](Real a, Real b) { return a != 0 && b != 0; });
    case Op::logical_or:
      return binary([](Real a, Real b) { return a != 0 || b != 0; });
    case Op::swiglu:
      return binary([](Real a, Real b) { return a * sigmoid(a) * b; });
    default:
      run_reduction();
  }
}

void Definition::run_reduction() {
  using Values = const std::vector<Real>&;
  const auto is_nan = [](Real v) { return std::isnan(v); };
  const auto extreme = [&](bool largest) {
    reduce([=](Values v) {
      const auto nan = std::find_if(v.begin(), v.end(), is_nan);
      if (nan != v.end()) return *nan;
      return largest ? *std::max_element(v.begin(), v.end()) : *std::min_element(v.begin(), v.end());
    });
  };
  const auto not_zero = [](Real v) { return v != 0; };
  switch (c.op) {
    case Op::reduce_sum:
      return reduce([](Values v) { return std::accumulate(v.begin(), v.end(), Real{0}); });
    case Op::reduce_mean:
      return reduce([](Values v) {
        return std::accumulate(v.begin(), v.end(), Real{0}) / static_cast<Real>(v.size());
      });
    case Op::reduce_prod:
      return reduce(
          [](Values v) { return std::accumulate(v.begin(), v.end(), Real{1}, std::multiplies<>()); });
    case Op::reduce_max:
      return extreme(true);
    case Op::reduce_min:
      return extreme(false);
    case Op::reduce_any:
      return reduce([=](Values v) { return std::any_of(v.begin(), v.end(), not_zero); });
    case Op::reduce_all:
      return reduce([=](Values v) { return std::all_of(v.begin(), v.end(), not_zero); });
    default:
      run_structured();
  }
}

void Definition::run_structured() {
  switch (c.op) {
    case Op::iota:
      return fill([](const Index& i) { return static_cast<Real>(i[0]); });
    case Op::affine_mask:
      return affine_mask();
    case Op::random_uniform:
      return random(tl::random_uniform);
    case Op::random_normal:
      return random(tl::random_normal);
    case Op::logical_not:
      return unary([](Real v) { return static_cast<Real>(v == 0); });
    case Op::select:
      return fill(
          [&](const Index& i) { return in[0].broadcast(i) != 0 ? in[1].broadcast(i) : in[2].broadcast(i); });
    case Op::cast:
      return cast();
    case Op::reshape:
      out.values = in[0].values;
      return;
    case Op::concat:
      return concat();
    case Op::pad:
      return pad();
    case Op::take:
      return take();
    case Op::gather:
      return gather();
    case Op::scatter:
      return scatter();
    case Op::argmax:
      return arg(true);
    case Op::argmin:
      return arg(false);
    case Op::cumsum:
      return cumsum();
    case Op::sort:
      return sort(false);
    case Op::argsort:
      return sort(true);
    case Op::top_k:
      return top_k();
    case Op::draw:
      return draw();
    case Op::contract:
      return contract();
    case Op::matmul:
      return matmul();
    case Op::linear:
      return linear();
    case Op::embedding:
      return embedding();
    case Op::softmax:
      return softmax(false);
    case Op::log_softmax:
      return softmax(true);
    case Op::rms_norm:
      return norm(false);
    case Op::layer_norm:
      return norm(true);
    case Op::rope:
      return rope();
    case Op::attention:
      return attention();
    case Op::cache_append:
      return cache_append();
    default:
      throw std::logic_error("no definition of " + std::string(name(c.op)));
  }
}

}  // namespace

std::vector<long double> define(const Case& c) {
  Definition d(c);
  d.run_elementwise();
  if (is_int(d.type.dtype))
    for (Real& v : d.out.values) v = wrapped(d.type.dtype, v);
  return d.out.values;
}

}  // namespace tl::test
