// Functions that append operations to the graph. Each infers the result's type and throws Error "[op] …"
// naming the shapes when the inputs do not fit. Nothing is computed here.
#pragma once

#include <optional>
#include <span>
#include <string_view>
#include <vector>

#include "graph/node.h"
#include "ops/draw.h"

namespace tl::graph {

/// Any op of the table.
NodeRef make(Op op, NodeRefs inputs, Attrs attrs = {}, Params params = {});
/// The operation that `pattern` is, of inputs that have the types which the pattern's inputs had.
NodeRef make_like(const Node& pattern, NodeRefs inputs);
/// The number of the next node that this thread makes.
uint64_t next_node_number();

/// A tensor that is there. `is_weight`: it belongs to a model file.
NodeRef constant(Tensor value, bool is_weight = false);
/// Rank-0 numbers.
NodeRef scalar(double value, DType dtype = DType::f32);
NodeRef scalar_int(int64_t value, DType dtype = DType::i64);
/// 0 … n-1, int64 [n].
NodeRef iota(int64_t n);
/// A tensor of one value everywhere.
NodeRef full(const Shape& shape, double value, DType dtype = DType::f32);

inline NodeRef unary(Op op, NodeRef x) { return make(op, {std::move(x)}); }
inline NodeRef binary(Op op, NodeRef a, NodeRef b) { return make(op, {std::move(a), std::move(b)}); }
NodeRef cast(NodeRef x, DType dtype);  ///< x itself where it has the type

/// `shape` may hold one -1, which takes what is left.
NodeRef reshape(NodeRef x, const Shape& shape);
/// `axes` may be negative.
NodeRef permute(NodeRef x, const std::vector<int>& axes);
NodeRef broadcast_to(NodeRef x, const Shape& shape);
/// NumPy's start:stop:step along one axis; negative positions count from the end, none means the end of the
/// axis.
NodeRef slice(NodeRef x, int axis, std::optional<int64_t> start, std::optional<int64_t> stop,
              int64_t step = 1);
/// x[.., index, ..] with the axis removed; a negative index counts from the end. Throws Error when out of
/// range.
NodeRef select_index(NodeRef x, int axis, int64_t index);
NodeRef concat(NodeRefs parts, int axis);
/// `axes` empty means all.
NodeRef reduce(Op op, NodeRef x, const std::vector<int>& axes, bool keepdim);
/// argmax, argmin, cumsum, log_softmax along one axis.
NodeRef along(Op op, NodeRef x, int axis);

NodeRef matmul(NodeRef a, NodeRef b);  ///< also vectors, as NumPy's @
NodeRef linear(NodeRef x, NodeRef w, NodeRef b = nullptr);
NodeRef softmax(NodeRef x, int axis, NodeRef mask = nullptr);
NodeRef rms_norm(NodeRef x, NodeRef w, double eps);
struct RopeOptions {
  int64_t position = 0;  ///< of the first row
  double base = 10000.0;
  double freq_scale = 1.0;  ///< linear scaling: 1 / factor
  int64_t n_rot = 0;        ///< rotated dimensions of each head; 0 means all
  RopeStyle style = RopeStyle::norm;
  NodeRef factors = nullptr;  ///< frequency factors [n_rot / 2]
};
NodeRef rope(NodeRef x, const RopeOptions& options);
/// The `k` largest elements of the last axis and their places (Op::top_k).
NodeRef top_k(NodeRef x, int64_t k);
/// A token drawn from what top_k() gave, by 53 random bits a line (Op::draw).
NodeRef draw(NodeRef best, NodeRef bits, const DrawOptions& options);
NodeRef cache_append(NodeRef state, NodeRef x, int64_t start);

/// One operand of contract(): a tensor and where each of its axes is read.
struct Operand {
  struct Axis {
    std::vector<AxisIndex::Term> terms;  ///< labels as the caller numbers them
    int64_t offset = 0;
    int64_t divisor = 1;
  };
  NodeRef tensor;
  std::vector<Axis> axes;
};

/// The core of a tensor equation: result[labels] = reduction over the remaining labels of the product of the
/// operands; `sizes[l]` is the extent of label l. The form is canonical: however labels are numbered and
/// operands ordered, equal equations give equal nodes. A product with a matrix w[o, d] over d becomes
/// `linear` (the only way to read quantised weights).
NodeRef contract(std::vector<Operand> operands, const std::vector<int>& result_labels,
                 const std::vector<int64_t>& sizes, Reduction reduction = Reduction::sum);

/// einsum("ihd,jhd->ihj", {q, k}); "..." stands for batch dimensions; without "->" the result has the indices
/// that occur once, in alphabetic order (NumPy's rule). Throws Error naming the part of the string that does
/// not fit.
NodeRef einsum(std::string_view equation, const std::vector<NodeRef>& operands);

/// An axis position that may be negative; throws Error "[op] axis …".
int normalise_axis(std::string_view op, int64_t axis, int rank);

}  // namespace tl::graph
