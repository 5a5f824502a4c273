// The dtype and shape rule of every operation.
#include <algorithm>
#include <cmath>

#include <fmt/format.h>

#include "base/checked.h"
#include "ops/draw.h"
#include "ops/op.h"

namespace tl {

namespace {

/// One call of a rule: what it sees, and how it complains.
struct Rule {
  Op op;
  std::span<const TensorType> in;
  const Attrs& attrs;
  const Params& params;

  template <class... T>
  [[noreturn]] void fail(fmt::format_string<T...> format, T&&... values) const {
    throw Error(fmt::format("[{}] ", name(op)) + fmt::format(format, std::forward<T>(values)...));
  }
  const Shape& shape(size_t i = 0) const { return in[i].shape; }
  DType dtype(size_t i = 0) const { return in[i].dtype; }
  int rank(size_t i = 0) const { return in[i].shape.rank(); }
  template <class A>
  const A& attr() const {
    return std::get<A>(attrs);
  }
  /// Most operations compute on plain tensors; quantised ones are only read by linear and embedding.
  void plain(size_t i = 0) const {
    if (is_quantised(dtype(i)))
      fail(
          "the {} tensor {} can only be a weight of linear or a table of embedding (or w in an equation x[i, "
          "d] * w[o, d]); "
          "convert it with `as float32` to compute with it",
          name(dtype(i)), to_string(shape(i)));
  }
  void number(size_t i = 0) const {
    plain(i);
    if (dtype(i) == DType::boolean)
      fail("needs numbers, and input {} is bool; convert it with `as float32`", i + 1);
  }
  void floats(size_t i = 0) const {
    plain(i);
    if (!is_float(dtype(i))) fail("needs floats, and input {} is {}", i + 1, name(dtype(i)));
  }
  void integers(size_t i) const {
    if (!is_int(dtype(i)))
      fail("indices must be int64 or int32, and these are {}; convert them with `as int64`", name(dtype(i)));
  }
  int axis() const {
    const int a = attr<AxisAttrs>().axis;
    if (a < 0 || a >= rank()) fail("axis {} is out of range for shape {}", a, to_string(shape()));
    return a;
  }
  Shape target() const { return Shape(std::span(params.ints)); }
};

/// A float result of an elementwise function: floats stay, integers become float32.
DType float_result(DType d) { return is_float(d) ? d : DType::f32; }

TensorType unary(const Rule& r) {
  r.plain();
  switch (r.op) {
    case Op::neg:
    case Op::abs:
    case Op::sign:
    case Op::relu:
      r.number();
      return {r.dtype(), r.shape()};
    case Op::floor:
    case Op::ceil:
    case Op::round:
      return {r.dtype(), r.shape()};
    default:
      return {float_result(r.dtype()), r.shape()};
  }
}

TensorType binary(const Rule& r) {
  r.plain(0), r.plain(1);
  const DType promoted = promote(r.dtype(0), r.dtype(1));
  if (promoted == DType::boolean)
    r.fail("needs numbers, and both inputs are bool; convert one with `as int64`");
  return {promoted, broadcast_shape(name(r.op), r.shape(0), r.shape(1))};
}

TensorType compare(const Rule& r) {
  r.plain(0), r.plain(1);
  return {DType::boolean, broadcast_shape(name(r.op), r.shape(0), r.shape(1))};
}

TensorType reduce(const Rule& r) {
  r.plain();
  const auto& a = r.attr<ReduceAttrs>();
  Shape out;
  int64_t reduced = 1;
  for (int i = 0; i < r.rank(); ++i) {
    if (!(a.axes >> i & 1u))
      out.push_back(r.shape()[i]);
    else if (reduced *= r.shape()[i]; a.keepdim)
      out.push_back(1);
  }
  if (a.axes >> r.rank()) r.fail("an axis is out of range for shape {}", to_string(r.shape()));
  DType dtype = r.dtype();
  switch (r.op) {
    case Op::reduce_any:
    case Op::reduce_all:
      dtype = DType::boolean;
      break;
    case Op::reduce_mean:
      dtype = float_result(dtype);
      break;
    case Op::reduce_sum:
    case Op::reduce_prod:
      if (!is_float(dtype)) dtype = DType::i64;
      break;
    default:
      r.number();
  }
  const bool has_identity = r.op != Op::reduce_max && r.op != Op::reduce_min && r.op != Op::reduce_mean;
  if (reduced == 0 && !has_identity)
    r.fail("of no elements is not defined; the shape is {}", to_string(r.shape()));
  return {dtype, out};
}

TensorType reshape(const Rule& r) {
  r.plain();
  if (r.params.ints.size() > kMaxRank) r.fail("rank {} is above {}", r.params.ints.size(), kMaxRank);
  const Shape to = r.target();
  int64_t n = 1;
  for (const int64_t d : to) {
    if (d < 0) r.fail("the extent {} in {} is negative", d, to_string(to));
    n = checked_mul(n, d).value_or(-1);
    if (n < 0) r.fail("the shape {} is too large", to_string(to));
  }
  if (n != r.shape().elements())
    r.fail("{} has {} elements and cannot become {}, which has {}", to_string(r.shape()),
           r.shape().elements(), to_string(to), n);
  return {r.dtype(), to};
}

TensorType permute(const Rule& r) {
  r.plain();
  const auto& order = r.attr<PermuteAttrs>().order;
  Shape out;
  uint32_t seen = 0;
  for (const int axis : order) {
    if (axis < 0 || axis >= r.rank() || (seen >> axis & 1u))
      r.fail("the axes must name each of the {} axes of {} once", r.rank(), to_string(r.shape()));
    seen |= 1u << axis;
    out.push_back(r.shape()[axis]);
  }
  if (out.rank() != r.rank())
    r.fail("the axes must name each of the {} axes of {} once", r.rank(), to_string(r.shape()));
  return {r.dtype(), out};
}

TensorType broadcast(const Rule& r) {
  r.plain();
  const Shape to = r.target();
  const int shift = to.rank() - r.rank();
  bool fits = shift >= 0;
  for (int i = 0; fits && i < r.rank(); ++i) fits = r.shape()[i] == 1 || r.shape()[i] == to[i + shift];
  if (!fits) r.fail("{} cannot be broadcast to {}", to_string(r.shape()), to_string(to));
  return {r.dtype(), to};
}

TensorType slice(const Rule& r) {
  r.plain();
  TL_CHECK(static_cast<int>(r.params.ints.size()) == 3 * r.rank(),
           "slice takes start, step, length per axis");
  Shape out;
  for (int i = 0; i < r.rank(); ++i) {
    const size_t at = 3 * static_cast<size_t>(i);
    const int64_t start = r.params.ints[at], step = r.params.ints[at + 1], length = r.params.ints[at + 2];
    const int64_t last = start + step * (length - 1), extent = r.shape()[i];
    if (step == 0) r.fail("the step of axis {} is 0", i);
    if (length > 0 && (start < 0 || start >= extent || last < 0 || last >= extent))
      r.fail("axis {} has extent {}, and {} to {} is outside", i, extent, start, last);
    out.push_back(std::max<int64_t>(0, length));
  }
  return {r.dtype(), out};
}

TensorType concat(const Rule& r) {
  const int axis = r.axis();
  TensorType out = r.in[0];
  for (size_t i = 0; i < r.in.size(); ++i) {
    r.plain(i);
    bool fits = r.rank(i) == r.rank();
    for (int a = 0; fits && a < r.rank(); ++a) fits = a == axis || r.shape(i)[a] == out.shape[a];
    if (!fits)
      r.fail("{} does not fit {}: all extents but that of axis {} must agree", to_string(r.shape(i)),
             to_string(r.shape()), axis);
    if (i == 0) continue;
    out.dtype = promote(out.dtype, r.dtype(i));
    out.shape[axis] += r.shape(i)[axis];
  }
  return out;
}

TensorType pad(const Rule& r) {
  r.plain();
  TL_CHECK(static_cast<int>(r.params.ints.size()) == 2 * r.rank(), "pad takes before, after per axis");
  Shape out = r.shape();
  for (int i = 0; i < r.rank(); ++i) {
    const size_t at = 2 * static_cast<size_t>(i);
    if (r.params.ints[at] < 0 || r.params.ints[at + 1] < 0) r.fail("the padding of axis {} is negative", i);
    out[i] += r.params.ints[at] + r.params.ints[at + 1];
  }
  return {r.dtype(), out};
}

TensorType take(const Rule& r) {
  r.plain(), r.integers(1);
  const int axis = r.axis();
  Shape out;
  if (r.rank() - 1 + r.rank(1) > kMaxRank) r.fail("the result would have a rank above {}", kMaxRank);
  for (int i = 0; i < axis; ++i) out.push_back(r.shape()[i]);
  for (const int64_t d : r.shape(1)) out.push_back(d);
  for (int i = axis + 1; i < r.rank(); ++i) out.push_back(r.shape()[i]);
  return {r.dtype(), out};
}

void index_rank(const Rule& r) {
  if (r.rank(1) != r.rank())
    r.fail("x is {}, so the index must have rank {}, and it is {} (unsqueeze gives it an axis)",
           to_string(r.shape()), r.rank(), to_string(r.shape(1)));
}

/// An index has no more elements than x along the axes that it does not choose from.
void index_extents(const Rule& r, int axis) {
  const Shape &x = r.shape(), &index = r.shape(1);
  for (int a = 0; a < x.rank(); ++a)
    if (a != axis && index[a] > x[a])
      r.fail(
          "the index {} has {} elements along axis {}, where x {} has {}; only along axis {} it may be "
          "longer",
          to_string(index), index[a], a, to_string(x), x[a], axis);
}

TensorType gather(const Rule& r) {
  r.plain(), r.integers(1);
  const int axis = r.axis();
  index_rank(r), index_extents(r, axis);
  return {r.dtype(), r.shape(1)};
}

TensorType scatter(const Rule& r) {
  r.plain(), r.integers(1), r.plain(2);
  const int axis = r.axis();
  index_rank(r);
  if (r.shape(1) != r.shape(2))
    r.fail("the index is {}, so src must be too, and it is {}", to_string(r.shape(1)), to_string(r.shape(2)));
  index_extents(r, axis);
  return {r.dtype(), r.shape()};
}

TensorType arg(const Rule& r) {
  r.number();
  const int axis = r.axis();
  if (r.shape()[axis] == 0) r.fail("of no elements is not defined; the shape is {}", to_string(r.shape()));
  Shape out;
  for (int i = 0; i < r.rank(); ++i)
    if (i != axis) out.push_back(r.shape()[i]);
  return {DType::i64, out};
}

TensorType top_k(const Rule& r) {
  r.floats();
  const int64_t k = r.params.ints[0];
  if (r.rank() == 0 || r.rank() == kMaxRank)
    r.fail("needs at least one axis and at most {}; the shape is {}", kMaxRank - 1, to_string(r.shape()));
  Shape out = r.shape();
  const int64_t n = out.back();
  if (k < 1 || k > std::min(n, kMostTopK))
    r.fail("gives 1 to {} of {} elements, and {} were asked for", std::min(n, kMostTopK), n, k);
  if (n > kLongestTopKAxis) r.fail("of {} elements cannot name their places as float32", n);
  out[out.rank() - 1] = 2;
  out.push_back(k);
  return {r.dtype() == DType::f64 ? DType::f64 : DType::f32, out};
}

TensorType draw(const Rule& r) {
  r.floats();
  const int last = r.rank() - 1;
  if (last < 1 || r.shape()[last - 1] != 2 || r.shape()[last] < 1 || r.shape()[last] > kMostTopK)
    r.fail("draws from logits and places [.., 2, 1 to {}] as top_k gives them, and not from {}", kMostTopK,
           to_string(r.shape()));
  const Shape lines(std::span(r.shape().begin(), static_cast<size_t>(last - 1)));
  if (r.dtype(1) != DType::i64 || r.shape(1) != lines)
    r.fail("needs random bits as int64{}, and input 2 is {}{}", to_string(lines), name(r.dtype(1)),
           to_string(r.shape(1)));
  const auto [temp, top_p, min_log_p] = draw_options(r.params);
  if (!(temp > 0 && std::isfinite(temp) && top_p >= 0 && top_p <= 1 && min_log_p <= 0))
    r.fail("needs a temperature above 0, a top-p of 0 to 1 and a logarithm of 0 or less, not {}, {} and {}",
           temp, top_p, min_log_p);
  return {DType::i64, lines};
}

TensorType contract(const Rule& r) {
  const auto& a = r.attr<ContractAttrs>();
  DType dtype = DType::boolean;
  for (size_t i = 0; i < r.in.size(); ++i) {
    r.plain(i);
    TL_CHECK(a.operands[i].size() == static_cast<size_t>(r.rank(i)), "contract needs an index per axis");
    dtype = i == 0 ? r.dtype(0) : promote(dtype, r.dtype(i));
  }
  if (dtype == DType::boolean) dtype = DType::i64;
  if (a.reduction == Reduction::mean) dtype = float_result(dtype);
  Shape out;
  if (a.n_result_labels > kMaxRank) r.fail("the result would have a rank above {}", kMaxRank);
  for (int l = 0; l < a.n_result_labels; ++l) out.push_back(r.params.ints[static_cast<size_t>(l)]);
  return {dtype, out};
}

TensorType matmul(const Rule& r) {
  r.number(0), r.number(1);
  if (r.rank(0) < 2 || r.rank(1) < 2)
    r.fail("needs matrices, and the shapes are {} and {}", to_string(r.shape(0)), to_string(r.shape(1)));
  const auto leading = [](const Shape& s) {
    return Shape(std::span(s.begin(), static_cast<size_t>(s.rank() - 2)));
  };
  const int64_t inner = r.shape(0).back(), other = r.shape(1)[r.rank(1) - 2];
  if (inner != other)
    r.fail("the last extent of {} is {}, and the second to last of {} is {}; they must be equal",
           to_string(r.shape(0)), inner, to_string(r.shape(1)), other);
  Shape out = broadcast_shape("matmul", leading(r.shape(0)), leading(r.shape(1)));
  out.push_back(r.shape(0)[r.rank(0) - 2]);
  out.push_back(r.shape(1).back());
  return {promote(r.dtype(0), r.dtype(1)), out};
}

TensorType linear(const Rule& r) {
  r.floats(0);
  const Shape& w = r.shape(1);
  if (r.rank(0) < 1 || w.rank() != 2)
    r.fail("needs x[.., in] and w[out, in], and the shapes are {} and {}", to_string(r.shape(0)),
           to_string(w));
  if (r.shape(0).back() != w[1])
    r.fail("x is {} and w is {}: the last extent of x, {}, must be w's second, {} (w is [out, in])",
           to_string(r.shape(0)), to_string(w), r.shape(0).back(), w[1]);
  if (r.in.size() == 3 && r.shape(2) != Shape{w[0]})
    r.fail("the bias is {}, and w {} needs [{}]", to_string(r.shape(2)), to_string(w), w[0]);
  Shape out = r.shape(0);
  out[out.rank() - 1] = w[0];
  const DType wt = is_float(r.dtype(1)) ? r.dtype(1) : DType::f32;
  if (is_int(r.dtype(1)) || r.dtype(1) == DType::boolean)
    r.fail("needs float or quantised weights, and w is {}", name(r.dtype(1)));
  // Stored weights do not widen activations: float16 weights meet float32 activations, and the result is
  // float32.
  return {r.dtype(0) == wt ? wt : promote(r.dtype(0), is_quantised(r.dtype(1)) ? r.dtype(0) : wt), out};
}

TensorType embedding(const Rule& r) {
  r.integers(1);
  if (r.rank(0) != 2) r.fail("the table must be [n, width], and its shape is {}", to_string(r.shape()));
  if (!is_float(r.dtype()) && !is_quantised(r.dtype()))
    r.fail("needs a table of floats, and it is {}", name(r.dtype()));
  Shape out = r.shape(1);
  out.push_back(r.shape()[1]);
  return {r.dtype() == DType::f64 ? DType::f64 : DType::f32, out};
}

TensorType softmax(const Rule& r) {
  r.floats();
  const int axis = r.axis();
  if (r.shape()[axis] == 0) r.fail("over no elements is not defined; the shape is {}", to_string(r.shape()));
  if (r.in.size() == 2) {
    if (r.dtype(1) != DType::boolean) r.fail("the mask must be bool, and it is {}", name(r.dtype(1)));
    if (broadcast_shape("softmax", r.shape(0), r.shape(1)) != r.shape(0))
      r.fail("the mask {} cannot be broadcast to {}", to_string(r.shape(1)), to_string(r.shape()));
  }
  return r.in[0];
}

TensorType norm(const Rule& r) {
  r.floats();
  if (r.rank() < 1) r.fail("needs at least one axis, and x is a scalar");
  for (size_t i = 1; i < r.in.size(); ++i) {
    r.floats(i);
    if (r.shape(i) != Shape{r.shape().back()})
      r.fail("x is {}, so input {} must be [{}], and it is {}", to_string(r.shape()), i + 1, r.shape().back(),
             to_string(r.shape(i)));
  }
  return r.in[0];
}

TensorType rope(const Rule& r) {
  r.floats();
  if (r.rank() < 2)
    r.fail("needs x[.., position, head, head_dim] or x[position, head_dim], and x is {}",
           to_string(r.shape()));
  const int64_t n_rot = r.params.ints.at(1), head_dim = r.shape().back();
  if (n_rot < 2 || n_rot % 2 != 0 || n_rot > head_dim)
    r.fail("the number of rotated dimensions must be even and between 2 and head_dim = {}, and it is {}",
           head_dim, n_rot);
  if (r.in.size() == 2 && r.shape(1) != Shape{n_rot / 2})
    r.fail("the frequency factors must be [{}], and they are {}", n_rot / 2, to_string(r.shape(1)));
  return r.in[0];
}

TensorType attention(const Rule& r) {
  const auto& a = r.attr<AttentionAttrs>();
  const auto at = [&](size_t i, const std::vector<int>& order, size_t what) {
    return r.shape(i)[order[what]];
  };
  TL_CHECK(r.rank(0) == 3 && r.rank(1) == 3 && r.rank(2) == 3, "attention works on position, head, head_dim");
  Shape out{0, 0, 0};
  out[a.out_order[0]] = at(0, a.q_order, 0);
  out[a.out_order[1]] = at(0, a.q_order, 1);
  out[a.out_order[2]] = at(2, a.v_order, 2);
  return {r.dtype(), out};
}

/// A cache in blocks gives the numbers that they stand for.
TensorType cache_append(const Rule& r) {
  const bool in_blocks = r.dtype(0) == DType::q8_0;
  if (!in_blocks) r.floats(0);
  r.floats(1);
  const int64_t start = r.params.ints.at(0);
  bool fits = r.rank(0) == r.rank(1) && r.rank(0) >= 1;
  for (int i = 1; fits && i < r.rank(0); ++i) fits = r.shape(0)[i] == r.shape(1)[i];
  if (!fits) r.fail("{} does not fit a cache of {}", to_string(r.shape(1)), to_string(r.shape(0)));
  Shape out = r.shape(0);
  out[0] = start + r.shape(1)[0];
  return {in_blocks ? DType::f32 : r.dtype(0), out};
}

TensorType leaf(const Rule& r) {
  switch (r.op) {
    case Op::iota:
      return {DType::i64, r.target()};
    case Op::affine_mask:
      return {DType::boolean,
              Shape(std::span(r.params.ints).first(r.attr<AffineMaskAttrs>().coefficients.size()))};
    case Op::scalar:
      return {r.attr<DTypeAttrs>().dtype, Shape{}};
    default:
      return {DType::f32, Shape(std::span(r.params.ints).subspan(1))};  // random_*
  }
}

TensorType structured(const Rule& r) {
  switch (r.op) {
    case Op::scalar:
    case Op::iota:
    case Op::affine_mask:
    case Op::random_uniform:
    case Op::random_normal:
      return leaf(r);
    case Op::logical_not:
      r.plain();
      return {DType::boolean, r.shape()};
    case Op::select: {
      r.plain(0), r.plain(1), r.plain(2);
      const Shape ab = broadcast_shape("select", r.shape(1), r.shape(2));
      return {promote(r.dtype(1), r.dtype(2)), broadcast_shape("select", r.shape(0), ab)};
    }
    case Op::cast: {
      const DType to = r.attr<DTypeAttrs>().dtype;
      if (is_quantised(to)) r.fail("cannot convert to {}; `tl quantize` writes quantised files", name(to));
      return {to, r.shape()};
    }
    case Op::reshape:
      return reshape(r);
    case Op::permute:
      return permute(r);
    case Op::broadcast:
      return broadcast(r);
    case Op::slice:
      return slice(r);
    case Op::concat:
      return concat(r);
    case Op::pad:
      return pad(r);
    case Op::take:
      return take(r);
    case Op::gather:
      return gather(r);
    case Op::scatter:
      return scatter(r);
    case Op::argmax:
    case Op::argmin:
      return arg(r);
    case Op::cumsum:
      r.number();
      return (void)r.axis(), r.in[0];
    case Op::sort:
      r.number();
      return r.in[0];
    case Op::argsort:
      r.number();
      return {DType::i64, r.shape()};
    case Op::top_k:
      return top_k(r);
    case Op::draw:
      return draw(r);
    case Op::contract:
      return contract(r);
    case Op::matmul:
      return matmul(r);
    case Op::linear:
      return linear(r);
    case Op::embedding:
      return embedding(r);
    case Op::softmax:
      return softmax(r);
    case Op::log_softmax:
      return softmax(r);
    case Op::rms_norm:
    case Op::layer_norm:
      return norm(r);
    case Op::rope:
      return rope(r);
    case Op::swiglu:
      r.floats(0), r.floats(1);
      return {promote(r.dtype(0), r.dtype(1)), broadcast_shape("swiglu", r.shape(0), r.shape(1))};
    case Op::attention:
      return attention(r);
    case Op::cache_append:
      return cache_append(r);
    default:
      break;
  }
  TL_CHECK(false, "the op has no shape rule");
  return {};
}

}  // namespace

Shape broadcast_shape(std::string_view op, const Shape& a, const Shape& b) {
  Shape out = a.rank() >= b.rank() ? a : b;
  const int shift_a = out.rank() - a.rank(), shift_b = out.rank() - b.rank();
  for (int i = out.rank() - 1; i >= 0; --i) {  // as shapes are compared by hand: from the right
    const int64_t da = i < shift_a ? 1 : a[i - shift_a], db = i < shift_b ? 1 : b[i - shift_b];
    if (da != db && da != 1 && db != 1)
      throw Error(
          fmt::format("[{}] shapes {} and {} do not fit: their extents {} and {} differ and neither is 1", op,
                      to_string(a), to_string(b), da, db));
    out[i] = da == 1 ? db : da;
  }
  return out;
}

TensorType infer(Op op, std::span<const TensorType> inputs, const Attrs& attrs, const Params& params) {
  const auto& row = info(op);
  const Rule rule{op, inputs, attrs, params};
  const auto n = static_cast<int>(inputs.size());
  if (n < row.min_inputs || n > row.max_inputs)
    rule.fail("takes {} to {} inputs, and got {}", row.min_inputs, row.max_inputs, n);
  switch (row.kind) {
    case OpKind::unary:
      return unary(rule);
    case OpKind::binary:
      return binary(rule);
    case OpKind::compare:
      return compare(rule);
    case OpKind::reduce:
      return reduce(rule);
    case OpKind::structured:
      return structured(rule);
  }
  return {};
}

}  // namespace tl
