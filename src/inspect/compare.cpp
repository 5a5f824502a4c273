#include "inspect/compare.h"

#include <algorithm>
#include <cmath>
#include <limits>
#include <sstream>
#include <unordered_map>

#include <fmt/format.h>

#include "base/file.h"
#include "inspect/prediction.h"
#include "inspect/structure.h"
#include "inspect/values.h"

namespace tl::inspect {

namespace {

constexpr double kInfinity = std::numeric_limits<double>::infinity();

/// The unit in the last place of the coarser of two types, relative to a power of two.
double coarser_unit(DType a, DType b) {
  const auto unit = [](DType d) {
    return is_float(d) ? 2 * std::max(unit_roundoff(d), unit_roundoff(DType::f32)) : 0;
  };
  return std::max({unit(a), unit(b), 0x1p-23});
}

}  // namespace

double Difference::relative() const { return not_finite > 0 ? kInfinity : std::sqrt(nmse); }

Difference difference(const std::vector<double>& a, const std::vector<double>& b, double unit) {
  TL_CHECK(a.size() == b.size(), "difference() of as many elements");
  Difference d;
  double squares = 0, of_a = 0, of_b = 0, product = 0;
  for (size_t i = 0; i < a.size(); ++i) {
    if (!std::isfinite(a[i]) || !std::isfinite(b[i])) {
      const bool same = a[i] == b[i] || (std::isnan(a[i]) && std::isnan(b[i]));
      d.not_finite += !same;
      continue;
    }
    const double e = std::fabs(b[i] - a[i]);
    squares += e * e, of_a += a[i] * a[i], of_b += b[i] * b[i], product += a[i] * b[i];
    if (e > d.max_abs) d.max_abs = e, d.worst = static_cast<int64_t>(i);
  }
  const double rms = std::sqrt(of_a / static_cast<double>(std::max<size_t>(1, a.size())));
  for (size_t i = 0; i < a.size(); ++i) {
    const double e = std::fabs(b[i] - a[i]), size = std::fabs(a[i]);
    if (!std::isfinite(e) || e == 0 || size < rms || size == 0) continue;  // next to 0 both say nothing
    d.max_rel = std::max(d.max_rel, e / size);
    const double place = std::exp2(std::floor(std::log2(size))) * unit;
    d.max_ulp = std::max(d.max_ulp, e / place);
  }
  d.nmse = of_a > 0 ? squares / of_a : squares > 0 ? kInfinity : 0;
  d.cosine = of_a > 0 && of_b > 0 ? product / std::sqrt(of_a) / std::sqrt(of_b) : of_a == of_b ? 1 : 0;
  return d;
}

Difference difference(const Tensor& a, const Tensor& b) {
  return difference(values_of(a), values_of(b), coarser_unit(a.dtype(), b.dtype()));
}

namespace {

/// A lower bound of the relative L2 distance: by the triangle inequality the norms, and those of the parts
/// along and across the constant vector, differ by no more than the distance.
double distance_of(const TensorStatistics& a, const TensorStatistics& b) {
  if (a.nan != b.nan || a.inf != b.inf) return kInfinity;
  if (a.rms() == 0) return b.rms() == 0 ? 0 : kInfinity;
  return std::hypot(a.mean - b.mean, a.std - b.std) / a.rms();
}

/// Rows of [.., heads * dim] with RoPE's two layouts exchanged: the pairs (i, i + dim/2) written as (2i, 2i +
/// 1), or the reverse.
std::vector<double> repaired(const std::vector<double>& x, size_t dim, bool to_halves) {
  std::vector<double> y(x.size());
  for (size_t head = 0; head < x.size(); head += dim)
    for (size_t i = 0; i < dim / 2; ++i)
      for (size_t part = 0; part < 2; ++part) {
        const size_t half = head + i + part * (dim / 2), neighbour = head + 2 * i + part;
        y[to_halves ? half : neighbour] = x[to_halves ? neighbour : half];
      }
  return y;
}

/// Aligns records of two recordings.
class Aligner {
 public:
  Aligner(const Recording& a, const Recording& b, const CompareOptions& options)
      : a_(a), b_(b), options_(options) {}

  std::vector<Pair> align() {
    partner_.assign(a_.records.size(), -1);
    taken_.assign(b_.records.size(), false);
    const auto by_name = index([](const Record& r) { return r.name; });
    for (const auto& names : options_.names) {
      const auto from = std::find_if(a_.records.begin(), a_.records.end(),
                                     [&](const Record& r) { return r.name == names.first; });
      if (const auto to = by_name.find(names.second); from != a_.records.end() && to != by_name.end())
        join(static_cast<size_t>(from - a_.records.begin()), to->second);
    }
    const std::vector<std::string> of_a = roles(a_), of_b = roles(b_);
    const auto same_name = [&](size_t i) {
      const auto to = by_name.find(a_.records[i].name);
      return to == by_name.end() ? -1 : to->second;
    };
    for (size_t i = 0; i < a_.records.size(); ++i)
      if (const int to = same_name(i); to >= 0 && !is_numbered(a_.records[i].name)) join(i, to);
    join_by_role(of_a, of_b);
    // "#linear:2" is the second of its place: in another program perhaps another one.
    for (size_t i = 0; i < a_.records.size(); ++i)
      if (const int to = same_name(i); to >= 0 && of_a[i] == of_b[static_cast<size_t>(to)]) join(i, to);
    std::vector<Pair> pairs;
    for (size_t i = 0; i < partner_.size(); ++i)
      if (partner_[i] >= 0 && !a_.records[i].is_weight && is_known(a_.records[i]))
        pairs.push_back(Pair{.a = static_cast<int>(i), .b = partner_[i]});
    return pairs;
  }

  std::vector<int> only(bool in_a) const {
    std::vector<int> numbers;
    const auto& records = in_a ? a_.records : b_.records;
    for (size_t i = 0; i < records.size(); ++i)
      if (!records[i].is_leaf() && !(in_a ? partner_[i] >= 0 : static_cast<bool>(taken_[i])))
        numbers.push_back(static_cast<int>(i));
    return numbers;
  }

 private:
  template <class Key>
  std::unordered_map<std::string, int> index(Key key) const {
    std::unordered_map<std::string, int> found;
    for (size_t i = 0; i < b_.records.size(); ++i) found.emplace(key(b_.records[i]), static_cast<int>(i));
    return found;
  }

  void join(size_t a, int b) {
    if (partner_[a] >= 0 || taken_[static_cast<size_t>(b)]) return;
    if (elements(a_.records[a]) != elements(b_.records[static_cast<size_t>(b)]) && !named(a, b)) return;
    partner_[a] = b;
    taken_[static_cast<size_t>(b)] = true;
  }

  /// A value that its program does not name: it goes by its operation.
  static bool is_numbered(const std::string& name) { return name.find('#') != std::string::npos; }

  /// A pair that has one name is shown even if its shapes differ; one found by its role is not.
  bool named(size_t a, int b) const { return a_.records[a].name == b_.records[static_cast<size_t>(b)].name; }

  /// Whether anything was recorded to compare; of a cache's memory nothing is.
  static bool is_known(const Record& r) { return r.value || r.statistics; }

  static int64_t elements(const Record& r) { return r.shape.elements(); }

  void join_by_role(const std::vector<std::string>& of_a, const std::vector<std::string>& of_b) {
    std::unordered_map<std::string, int> by_role;
    for (size_t i = 0; i < of_b.size(); ++i)
      if (!of_b[i].empty()) by_role.emplace(of_b[i], static_cast<int>(i));
    for (size_t i = 0; i < of_a.size(); ++i)
      if (const auto to = by_role.find(of_a[i]); !of_a[i].empty() && to != by_role.end()) join(i, to->second);
  }

  const Recording &a_, &b_;
  const CompareOptions& options_;
  std::vector<int> partner_;
  std::vector<bool> taken_;
};

double row_error(const std::vector<double>& a, const std::vector<double>& b, size_t width) {
  double sum = 0;
  size_t rows = 0;
  for (size_t row = 0; row + width <= a.size(); row += width) {
    double squares = 0, of_a = 0;
    for (size_t i = row; i < row + width; ++i) squares += (b[i] - a[i]) * (b[i] - a[i]), of_a += a[i] * a[i];
    if (of_a > 0) sum += squares / of_a, ++rows;
  }
  return rows > 0 ? std::sqrt(sum / static_cast<double>(rows)) : 0;
}

/// Differs by more than rounding can: then other explanations are tried.
constexpr double kFarApart = 0.05;

void measure(Pair& pair, const Record& a, const Record& b) {
  if (a.shape.elements() != b.shape.elements()) {
    pair.note = fmt::format("shapes {} and {} differ", to_string(a.shape), to_string(b.shape));
    pair.error = kInfinity;
    return;
  }
  if (!a.value || !b.value) {
    if (a.statistics && b.statistics) pair.error = distance_of(*a.statistics, *b.statistics);
    pair.row_error = pair.error;
    return;
  }
  const std::vector<double> x = values_of(a.value), y = values_of(b.value);
  const double unit = coarser_unit(a.dtype, b.dtype);
  pair.values = difference(x, y, unit);
  pair.error = pair.values->relative();
  const auto width = static_cast<size_t>(std::max<int64_t>(1, a.shape.rank() > 0 ? a.shape.back() : 1));
  pair.row_error = row_error(x, y, width);
  if (pair.error < kFarApart || !std::isfinite(pair.error)) return;
  for (const size_t dim : {16u, 32u, 48u, 64u, 80u, 96u, 128u, 192u, 256u})
    for (const bool to_halves : {true, false}) {
      if (width % dim != 0) continue;
      const Difference other = difference(x, repaired(y, dim, to_halves), unit);
      if (other.relative() > pair.error / 10) continue;
      pair.values = other;
      pair.error = other.relative();
      pair.note = fmt::format("equal up to the order of RoPE's pairs (head_dim {})", dim);
    }
}

std::string inputs_differ(const std::vector<int32_t>& a, const std::vector<int32_t>& b) {
  if (a.empty() || b.empty() || a == b) return {};
  const size_t n = std::min(a.size(), b.size());
  size_t i = 0;
  while (i < n && a[i] == b[i]) ++i;
  if (i < n) return fmt::format("token {} is {} in the first trace and {} in the second", i, a[i], b[i]);
  return fmt::format("{} tokens were fed in the first trace and {} in the second", a.size(), b.size());
}

/// What rounding explains of each pair: three standard deviations over the disturbed runs, or the prediction.
void explain(std::vector<Pair>& pairs, const Recording& a, const Recording& b,
             const CompareOptions& options) {
  if (!options.noise.empty()) {
    for (const Recording* noise : options.noise) {
      std::vector<Pair> disturbed = Aligner(a, *noise, {}).align();
      std::unordered_map<int, double> squares;
      for (Pair& d : disturbed) {
        measure(d, a.records[static_cast<size_t>(d.a)], noise->records[static_cast<size_t>(d.b)]);
        squares[d.a] = d.error * d.error;
      }
      for (Pair& pair : pairs) pair.explained += squares[pair.a] / static_cast<double>(options.noise.size());
    }
    for (Pair& pair : pairs) pair.explained = 3 * std::sqrt(pair.explained);
    return;
  }
  // Foreign traces say little about inputs: the recording that says more is followed.
  const auto edges = [](const Recording& r) {
    size_t n = 0;
    for (const Record& record : r.records) n += record.inputs.size();
    return n;
  };
  const bool follow_a = edges(a) >= edges(b);
  const Recording& graph = follow_a ? a : b;
  std::vector<ObservedError> observed(graph.records.size());
  for (const Pair& pair : pairs)
    observed[static_cast<size_t>(follow_a ? pair.a : pair.b)] = {pair.error, pair.row_error, !pair.values};
  Coarseness coarseness;
  coarseness.add(a), coarseness.add(b);
  const std::vector<double> explained = explained_by_rounding(graph, coarseness, observed);
  for (Pair& pair : pairs) pair.explained = explained[static_cast<size_t>(follow_a ? pair.a : pair.b)];
}

}  // namespace

Comparison compare(const Recording& a, const Recording& b, const CompareOptions& options) {
  Comparison c;
  c.inputs = inputs_differ(a.info.tokens, b.info.tokens);
  Aligner aligner(a, b, options);
  c.pairs = aligner.align();
  c.only_a = aligner.only(true);
  c.only_b = aligner.only(false);
  for (Pair& pair : c.pairs)
    measure(pair, a.records[static_cast<size_t>(pair.a)], b.records[static_cast<size_t>(pair.b)]);
  explain(c.pairs, a, b, options);
  for (size_t i = 0; i < c.pairs.size(); ++i) {
    Pair& pair = c.pairs[i];
    pair.beyond = pair.error > pair.explained;
    if (pair.beyond && c.first < 0) c.first = static_cast<int>(i);
  }
  return c;
}

std::vector<std::pair<std::string, std::string>> read_name_map(const std::string& path) {
  std::istringstream text(read_file(path));
  std::vector<std::pair<std::string, std::string>> names;
  std::string line;
  for (int number = 1; std::getline(text, line); ++number) {
    if (const size_t hash = line.find(" #"); hash != std::string::npos) line.resize(hash);
    if (line.starts_with('#')) continue;
    std::istringstream words(line);
    std::string a, b, more;
    if (!(words >> a)) continue;
    if (!(words >> b) || words >> more)
      throw FileError(path, fmt::format("line {}", number),
                      "a line holds two names: that in the first trace, and the second's");
    names.emplace_back(std::move(a), std::move(b));
  }
  return names;
}

}  // namespace tl::inspect
