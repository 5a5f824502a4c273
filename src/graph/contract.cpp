// Tensor equations in canonical form: pairwise products, matrix products with weights as `linear`, plain sums
// as reductions, and everything else as `contract` with labels numbered by use.
#include <algorithm>
#include <map>
#include <set>

#include "graph/builder.h"

namespace tl::graph {

namespace {

using Labels = std::vector<int>;

bool contains(const Labels& labels, int l) {
  return std::find(labels.begin(), labels.end(), l) != labels.end();
}

Labels labels_of(const Operand& operand) {
  Labels out;
  for (const auto& axis : operand.axes)
    for (const auto& term : axis.terms)
      if (!contains(out, term.label)) out.push_back(term.label);
  return out;
}

/// Whether every axis is one whole label, each a different one.
bool is_plain(const Operand& operand, const std::vector<int64_t>& sizes) {
  std::set<int> seen;
  for (size_t a = 0; a < operand.axes.size(); ++a) {
    const auto& axis = operand.axes[a];
    if (axis.terms.size() != 1 || axis.terms[0].coefficient != 1 || axis.divisor != 1 || axis.offset != 0)
      return false;
    const int label = axis.terms[0].label;
    if (!seen.insert(label).second) return false;
    if (sizes[static_cast<size_t>(label)] != operand.tensor->shape()[static_cast<int>(a)]) return false;
  }
  return true;
}

/// x with axes labelled `from` reordered to `to` (the same labels).
NodeRef reorder(NodeRef x, const Labels& from, const Labels& to) {
  std::vector<int> axes;
  for (const int l : to)
    axes.push_back(static_cast<int>(std::find(from.begin(), from.end(), l) - from.begin()));
  return permute(std::move(x), axes);
}

bool can_be_weight(const NodeRef& node) { return is_float(node->dtype()) || is_quantised(node->dtype()); }

/// x[.., d] * w[o, d] summed over d, if the two are that; else null.
NodeRef as_linear(const Operand& x, const Operand& w, const Labels& result) {
  if (w.axes.size() != 2 || !can_be_weight(w.tensor) || !is_float(x.tensor->dtype())) return nullptr;
  const int o = w.axes[0].terms[0].label, d = w.axes[1].terms[0].label;
  const Labels xs = labels_of(x);
  if (contains(result, d) || !contains(result, o) || !contains(xs, d) || contains(xs, o)) return nullptr;
  // Between two activations only a vector times a matrix as it lies in memory, and narrow types, whose
  // product is kept in float32; everything else is a general matrix product.
  const bool stored = w.tensor->is_weight || is_quantised(w.tensor->dtype());
  const bool is_general = xs.size() > 1 && x.tensor->dtype() == DType::f32 && w.tensor->dtype() == DType::f32;
  if (!stored && (xs.back() != d || is_general)) return nullptr;
  Labels kept;
  for (const int l : result)
    if (l != o) kept.push_back(l);
  if (kept.size() + 1 != xs.size()) return nullptr;
  for (const int l : kept)
    if (!contains(xs, l)) return nullptr;
  Labels inputs = kept, outputs = kept;
  inputs.push_back(d);
  outputs.push_back(o);
  return reorder(linear(reorder(x.tensor, xs, inputs), w.tensor), outputs, result);
}

/// The matrix among two factors is the stored weight; between equals the one whose label comes last in the
/// result, so that the order in which factors are written does not matter.
NodeRef as_linear(const Operand& a, const Operand& b, const Labels& result,
                  const std::vector<int64_t>& sizes) {
  if (!is_plain(a, sizes) || !is_plain(b, sizes)) return nullptr;
  const auto weight_rank = [&](const Operand& o) {
    const int stored = is_quantised(o.tensor->dtype()) ? 2 : o.tensor->is_weight ? 1 : 0;
    const bool last = !result.empty() && !o.axes.empty() && o.axes[0].terms[0].label == result.back();
    return std::pair(stored, last);
  };
  const bool b_first = weight_rank(b) >= weight_rank(a);
  if (auto node = b_first ? as_linear(a, b, result) : as_linear(b, a, result)) return node;
  return b_first ? as_linear(b, a, result) : as_linear(a, b, result);
}

Op reduce_op(Reduction r) {
  switch (r) {
    case Reduction::sum:
      return Op::reduce_sum;
    case Reduction::mean:
      return Op::reduce_mean;
    case Reduction::max:
      return Op::reduce_max;
    case Reduction::min:
      return Op::reduce_min;
    case Reduction::prod:
      return Op::reduce_prod;
  }
  return Op::reduce_sum;
}

/// One plain operand: a reduction over the axes that are not in the result, then a permutation.
NodeRef as_reduction(const Operand& x, const Labels& result, Reduction reduction) {
  const Labels xs = labels_of(x);
  for (const int l : result)
    if (!contains(xs, l)) return nullptr;
  std::vector<int> axes;
  Labels kept;
  for (size_t a = 0; a < xs.size(); ++a) {
    if (contains(result, xs[a]))
      kept.push_back(xs[a]);
    else
      axes.push_back(static_cast<int>(a));
  }
  const NodeRef reduced = axes.empty() ? x.tensor : reduce(reduce_op(reduction), x.tensor, axes, false);
  return reorder(reduced, kept, result);
}

Operand plain_operand(NodeRef tensor, const Labels& labels) {
  Operand operand{std::move(tensor), {}};
  for (const int l : labels) operand.axes.push_back({{{l, 1}}, 0, 1});
  return operand;
}

/// Orders factors by the result labels they carry, then numbers labels: result first, then the others by
/// first use.
NodeRef canonical(std::vector<Operand> operands, const Labels& result, const std::vector<int64_t>& sizes,
                  Reduction reduction) {
  const auto signature = [&](const Operand& o) {
    std::vector<size_t> positions;
    for (const int l : labels_of(o)) {
      const auto at = static_cast<size_t>(std::find(result.begin(), result.end(), l) - result.begin());
      positions.push_back(at);  // reduced labels all count as "after the result"
    }
    return std::pair(positions, o.tensor->is_weight);
  };
  std::stable_sort(operands.begin(), operands.end(),
                   [&](const Operand& a, const Operand& b) { return signature(a) < signature(b); });
  std::map<int, int> number;
  for (const int l : result) number.emplace(l, static_cast<int>(number.size()));
  for (const auto& o : operands)
    for (const int l : labels_of(o)) number.emplace(l, static_cast<int>(number.size()));

  ContractAttrs attrs{static_cast<int>(result.size()), static_cast<int>(number.size()), reduction, {}};
  Params params;
  params.ints.resize(number.size());
  for (const auto& [label, index] : number)
    params.ints[static_cast<size_t>(index)] = sizes[static_cast<size_t>(label)];
  NodeRefs inputs;
  for (auto& o : operands) {
    std::vector<AxisIndex> axes;
    for (auto& axis : o.axes) {
      AxisIndex index{{}, axis.divisor};
      for (const auto& term : axis.terms) index.terms.push_back({number.at(term.label), term.coefficient});
      std::sort(index.terms.begin(), index.terms.end(),
                [](const auto& a, const auto& b) { return a.label < b.label; });
      axes.push_back(std::move(index));
      params.ints.push_back(axis.offset);
    }
    attrs.operands.push_back(std::move(axes));
    inputs.push_back(std::move(o.tensor));
  }
  return make(Op::contract, std::move(inputs), std::move(attrs), std::move(params));
}

/// An axis that is read in part by one index, or at one place, is a view of that part, and one that two
/// indices count through in full (c * a + b with b in 0..c) is two axes.
void take_views(Operand& operand, const std::vector<int64_t>& sizes) {
  if (is_quantised(operand.tensor->dtype())) return;
  const auto size = [&](const AxisIndex::Term& term) { return sizes[static_cast<size_t>(term.label)]; };
  for (size_t a = 0; a < operand.axes.size();) {
    auto& axis = operand.axes[a];
    const int at = static_cast<int>(a);
    const int64_t extent = operand.tensor->shape()[at];
    if (axis.divisor == 1 && axis.terms.empty() && axis.offset >= 0 && axis.offset < extent) {
      operand.tensor = select_index(operand.tensor, at, axis.offset);
      operand.axes.erase(operand.axes.begin() + at);
      continue;
    }
    const bool is_one = axis.divisor == 1 && axis.terms.size() == 1 && axis.terms[0].coefficient == 1;
    if (is_one && axis.offset >= 0 && axis.offset + size(axis.terms[0]) <= extent) {
      operand.tensor = slice(operand.tensor, at, axis.offset, axis.offset + size(axis.terms[0]));
      axis.offset = 0;
    }
    if (axis.divisor == 1 && axis.terms.size() == 2 && axis.offset == 0) {
      auto high = axis.terms[0], low = axis.terms[1];
      if (high.coefficient == 1) std::swap(high, low);
      const int64_t c = high.coefficient;
      if (low.coefficient == 1 && size(low) == c && size(high) * c == extent) {
        Shape shape;
        for (int i = 0; i < operand.tensor->shape().rank(); ++i) {
          if (i == at) shape.push_back(size(high));
          shape.push_back(i == at ? c : operand.tensor->shape()[i]);
        }
        operand.tensor = reshape(operand.tensor, shape);
        axis = {{{low.label, 1}}, 0, 1};
        operand.axes.insert(operand.axes.begin() + at, {{{high.label, 1}}, 0, 1});
        ++a;
      }
    }
    ++a;
  }
}

/// In which order the factors of a product are multiplied pairwise.
class PairOrder {
 public:
  PairOrder(const Labels& result, const std::vector<int64_t>& sizes) : result_(result), sizes_(sizes) {}

  struct Pair {
    size_t first = 0, second = 1;
    double cost = -1;  ///< multiplications of this product and those after it, by their weight
  };

  /// The pair to begin with: of a few factors the best order is found, of many the cheapest product comes
  /// next.
  Pair best(const std::vector<Labels>& factors) const {
    constexpr size_t kExhaustive = 5;
    Pair found;
    for (size_t i = 0; i < factors.size(); ++i)
      for (size_t j = i + 1; j < factors.size(); ++j) {
        double cost = size_of(united(factors[i], factors[j])) * weight(factors, i, j);
        if (factors.size() > 2 && factors.size() <= kExhaustive) {
          std::vector<Labels> rest;
          for (size_t k = 0; k < factors.size(); ++k)
            if (k != i && k != j) rest.push_back(factors[k]);
          rest.push_back(kept(factors, i, j));
          cost += best(rest).cost;
        }
        if (found.cost < 0 || cost < found.cost) found = {i, j, cost};
      }
    return found;
  }

  /// The labels of factors i and j that the result or another factor needs.
  Labels kept(const std::vector<Labels>& factors, size_t i, size_t j) const {
    Labels out;
    for (const int l : united(factors[i], factors[j])) {
      bool needed = contains(result_, l);
      for (size_t k = 0; !needed && k < factors.size(); ++k)
        needed = k != i && k != j && contains(factors[k], l);
      if (needed) out.push_back(l);
    }
    return out;
  }

 private:
  /// What a multiplication costs, where one of a matrix product costs 1. Products whose factors have not each
  /// a label of its own use every number they read once, and wait for memory; where they sum besides over
  /// some of the labels they share, but not all, they read them apart.
  double weight(const std::vector<Labels>& factors, size_t i, size_t j) const {
    const Labels out = kept(factors, i, j);
    const auto keeps = [&](const Labels& own, const Labels& other, bool shared) {
      return std::any_of(out.begin(), out.end(),
                         [&](int l) { return contains(own, l) && contains(other, l) == shared; });
    };
    const Labels &a = factors[i], &b = factors[j];
    if (keeps(a, b, false) && keeps(b, a, false) && out.size() < united(a, b).size()) return 1;
    return keeps(a, b, true) && out.size() < united(a, b).size() ? 16 : 8;
  }

  static Labels united(Labels a, const Labels& b) {
    for (const int l : b)
      if (!contains(a, l)) a.push_back(l);
    return a;
  }
  double size_of(const Labels& labels) const {
    double size = 1;
    for (const int l : labels) size *= static_cast<double>(sizes_[static_cast<size_t>(l)]);
    return size;
  }

  const Labels& result_;
  const std::vector<int64_t>& sizes_;
};

/// The order of a product's axes: by number, but the axis that lies together in the larger factor comes last,
/// so that it does in the product too.
void put_in_order(Labels& kept, const Operand& a, const Operand& b) {
  std::sort(kept.begin(), kept.end());
  const Operand& larger = b.tensor->shape().elements() > a.tensor->shape().elements() ? b : a;
  const Labels labels = labels_of(larger);
  if (labels.empty()) return;
  if (const auto at = std::find(kept.begin(), kept.end(), labels.back()); at != kept.end())
    std::rotate(at, at + 1, kept.end());
}

/// Multiplies two of the factors, keeping the labels that somebody still needs.
void multiply_pair(std::vector<Operand>& operands, const Labels& result, const std::vector<int64_t>& sizes) {
  std::vector<Labels> factors;
  for (const auto& operand : operands) factors.push_back(labels_of(operand));
  const PairOrder order(result, sizes);
  const auto [i, j, cost] = order.best(factors);
  Labels kept = order.kept(factors, i, j);
  put_in_order(kept, operands[i], operands[j]);
  NodeRef product = contract({operands[i], operands[j]}, kept, sizes, Reduction::sum);
  operands.erase(operands.begin() + static_cast<std::ptrdiff_t>(j));
  operands[i] = plain_operand(std::move(product), kept);
}

}  // namespace

NodeRef contract(std::vector<Operand> operands, const std::vector<int>& result,
                 const std::vector<int64_t>& sizes, Reduction reduction) {
  for (auto& operand : operands) take_views(operand, sizes);
  if (reduction == Reduction::sum)
    while (operands.size() > 2) multiply_pair(operands, result, sizes);
  if (operands.size() == 1 && is_plain(operands[0], sizes))
    if (auto node = as_reduction(operands[0], result, reduction)) return node;
  if (operands.size() == 2 && reduction == Reduction::sum)
    if (auto node = as_linear(operands[0], operands[1], result, sizes)) return node;
  return canonical(std::move(operands), result, sizes, reduction);
}

}  // namespace tl::graph
