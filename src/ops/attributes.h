// What an operation knows besides its inputs.
//
// Attributes are *structure*: they select the kernel and take part in the key of the plan cache. Params are
// *numbers of this step* (positions, sizes, scales): they may change from step to step without a new plan, so
// no pass may decide anything by their values.
#pragma once

#include <cstddef>
#include <cstdint>
#include <variant>
#include <vector>

#include <absl/container/inlined_vector.h>

#include "tensor/tensor.h"

namespace tl {

/// Numbers of this step; the op table says what each entry means. As many as most operations have need no
/// memory of their own (a slice of three axes has nine): a step of a model makes a thousand nodes.
struct Params {
  using Ints = absl::InlinedVector<int64_t, 9>;
  using Floats = absl::InlinedVector<double, 2>;
  Ints ints = {};
  Floats floats = {};
};

struct NoAttrs {
  bool operator==(const NoAttrs&) const = default;
};

/// Works along one axis (normalised to 0 <= axis < rank).
struct AxisAttrs {
  int axis = 0;
  bool operator==(const AxisAttrs&) const = default;
};

/// Reduces the axes in `axes` (bit a set: axis a), keeping them with extent 1 if `keepdim`.
struct ReduceAttrs {
  uint32_t axes = 0;
  bool keepdim = false;
  bool operator==(const ReduceAttrs&) const = default;
};

/// Axis i of the result is axis order[i] of the input.
struct PermuteAttrs {
  absl::InlinedVector<int, 4> order;
  bool operator==(const PermuteAttrs&) const = default;
};

struct DTypeAttrs {
  DType dtype = DType::f32;
  bool operator==(const DTypeAttrs&) const = default;
};

struct SortAttrs {
  int axis = 0;
  bool descending = false;
  bool operator==(const SortAttrs&) const = default;
};

/// How pairs of a head's dimensions are rotated together (RoFormer, arXiv:2104.09864, and its two layouts).
enum class RopeStyle : uint8_t {
  norm,  ///< neighbours (2i, 2i+1): GGUF files of the llama architecture
  neox,  ///< halves (i, i + d/2): Hugging Face checkpoints, GPT-NeoX, Qwen
};

struct RopeAttrs {
  RopeStyle style = RopeStyle::norm;
  bool operator==(const RopeAttrs&) const = default;
};

/// One axis of an operand of `contract`: it is read at floor((sum of coefficient * label + offset) /
/// divisor). Reads outside the axis give 0.
struct AxisIndex {
  struct Term {
    int label;
    int64_t coefficient;
    bool operator==(const Term&) const = default;
  };
  std::vector<Term> terms;  ///< sorted by label, coefficients not 0
  int64_t divisor = 1;      ///< >= 1
  bool operator==(const AxisIndex&) const = default;
  /// Whether this is label `l` itself, apart from the offset (which is not structure).
  bool is_plain() const { return terms.size() == 1 && terms[0].coefficient == 1 && divisor == 1; }
};

enum class Reduction : uint8_t { sum, mean, max, min, prod };

/// A tensor equation's core: result[l0, l1 …] = reduction over the other labels of the product of the
/// operands. Labels are numbered: those of the result first, in its order, then the reduced ones by first
/// occurrence.
struct ContractAttrs {
  int n_result_labels = 0;
  int n_labels = 0;
  Reduction reduction = Reduction::sum;
  std::vector<std::vector<AxisIndex>> operands;  ///< per operand, per axis
  bool operator==(const ContractAttrs&) const = default;
};

/// A mask of affine inequalities over its own axes: true where sum(coefficient[a] * index[a]) + offset >= 0.
struct AffineMaskAttrs {
  std::vector<int64_t> coefficients;  ///< one per axis
  bool operator==(const AffineMaskAttrs&) const = default;
};

/// Scaled dot-product attention (arXiv:1706.03762, with grouped heads: arXiv:2305.13245), found by the
/// planner. The orders give, for each tensor, which of its axes is (position, head, head_dim).
struct AttentionAttrs {
  std::vector<int> q_order, k_order, v_order, out_order;
  int64_t group = 1;    ///< query head h reads KV head h / group
  bool causal = false;  ///< key j is visible to query i where j <= i + pos
  bool operator==(const AttentionAttrs&) const = default;
};

using Attrs = std::variant<NoAttrs, AxisAttrs, ReduceAttrs, PermuteAttrs, DTypeAttrs, SortAttrs, RopeAttrs,
                           ContractAttrs, AffineMaskAttrs, AttentionAttrs>;

/// Appends the structure as words, the same for equal attributes and only for those (for plan keys).
void append_words(const Attrs& attrs, std::vector<int64_t>& words);

}  // namespace tl
