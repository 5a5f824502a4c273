// Faults that live in the graph: each rewrites the nodes that have its part in its layer.
#include <algorithm>
#include <cmath>
#include <cstring>

#include <fmt/format.h>

#include "base/half.h"
#include "graph/builder.h"
#include "inspect/plant.h"
#include "tensor/blocks.h"

namespace tl::inspect {

using graph::Node;
using graph::NodeRef;

namespace {

/// A node that computes what `node` did, so that `node` itself can become something made of it.
NodeRef inner(const NodeRef& node) {
  auto copy = std::make_shared<Node>(*node);
  copy->label.clear();
  return copy;
}

/// Nodes made here belong to the place of the node that they stand for.
void adopt(Node& node, const Node& place, int depth) {
  if (depth == 0) return;
  for (const NodeRef& input : node.inputs) {
    if (input->value || input->scope) continue;
    input->scope = place.scope;
    adopt(*input, place, depth - 1);
  }
}

/// `node` computes what `other` says from now on; its name, type and place stay.
bool become(const NodeRef& node, NodeRef other) {
  other = graph::cast(graph::reshape(other, node->shape()), node->dtype());
  node->op = other->op;
  node->inputs = other->inputs;
  node->attrs = other->attrs;
  node->params = other->params;
  adopt(*node, *node, 8);
  return true;
}

bool become_input(const NodeRef& node, size_t input) {
  return become(node, graph::reshape(node->inputs[input], node->shape()));
}

/// [.., heads, dim] of a matrix [rows, heads * dim] with the axes of `order` exchanged, as a matrix again.
NodeRef reordered(const NodeRef& x, const Shape& split, const std::vector<int>& order) {
  return graph::reshape(graph::permute(graph::reshape(x, split), order), x->shape());
}

Tensor decoded(const Tensor& weight) {
  const int64_t width = weight.shape().back(), rows = weight.shape()[0];
  Tensor values(DType::f32, weight.shape());
  for (int64_t r = 0; r < rows; ++r)
    decode_row(weight.dtype(), weight.at(r * width), values.data<float>() + r * width, width);
  return values;
}

NodeRef replaced_weight(const NodeRef& weight, const Tensor& values) {
  NodeRef node = graph::constant(values, true);
  node->label = weight->label;
  return node;
}

/// The rows of a weight, head by head: halves (i, i + d/2) become neighbours (2i, 2i + 1).
bool reorder_pairs(const NodeRef& node, int64_t head_dim) {
  const NodeRef weight = node->inputs[1];
  const int64_t rows = weight->shape()[0], width = weight->shape()[1];
  if (head_dim % 2 != 0 || rows % head_dim != 0) return false;
  const Tensor from = decoded(weight->value), to(DType::f32, weight->shape());
  for (int64_t r = 0; r < rows; ++r) {
    const int64_t head = r / head_dim * head_dim, i = r % head_dim;
    const int64_t source = head + (i % 2) * (head_dim / 2) + i / 2;
    std::copy_n(from.data<float>() + source * width, width, to.data<float>() + r * width);
  }
  node->inputs[1] = replaced_weight(weight, to);
  return true;
}

int64_t head_dim_of(const Anatomy& anatomy, int layer) {
  for (const NodeRef& node : anatomy.nodes())
    if (const Part part = anatomy.part(node.get()); part.name == "attn_k.rope" && part.layer == layer)
      return node->shape().back();
  return 0;
}

int64_t heads_of(const Anatomy& anatomy, std::string_view name, int layer) {
  for (const NodeRef& node : anatomy.nodes())
    if (const Part part = anatomy.part(node.get()); part.name == name && part.layer == layer)
      return node->shape()[node->shape().rank() - 2];
  return 0;
}

int layers_of(const Anatomy& anatomy) {
  int n = 0;
  for (const NodeRef& node : anatomy.nodes()) n = std::max(n, anatomy.part(node.get()).layer + 1);
  return n;
}

// RoPE

bool plant_rope(const std::string& fault, const NodeRef& node, const Part& part) {
  const bool is_query = part.name == "attn_q.rope";
  Params& p = node->params;
  if (fault == "rope-pairing") {
    auto& style = std::get<RopeAttrs>(node->attrs).style;
    style = style == RopeStyle::norm ? RopeStyle::neox : RopeStyle::norm;
    return true;
  }
  if (fault == "rope-missing-k") return !is_query && become_input(node, 0);
  if (fault == "rope-missing-q") return is_query && become_input(node, 0);
  if (fault == "rope-position") {
    p.ints[0] += is_query;
    return is_query;
  }
  if (fault == "rope-restarted") {
    p.ints[0] = 0;
    return true;
  }
  if (fault == "rope-base") {
    p.floats[0] = p.floats[0] == 10000.0 ? 500000.0 : 10000.0;
    return true;
  }
  if (fault == "rope-half" && node->inputs.size() == 1) {
    std::vector<float> factors;
    for (int64_t i = 0; i < p.ints[1] / 2; ++i) {
      const auto exact = static_cast<float>(
          std::pow(p.floats[0], -2.0 * static_cast<double>(i) / static_cast<double>(p.ints[1])));
      factors.push_back(exact / bf16_to_f32(f32_to_bf16(exact)));
    }
    const Shape shape{static_cast<int64_t>(factors.size())};
    node->inputs.push_back(graph::constant(Tensor::from<float>(DType::f32, shape, factors)));
    return true;
  }
  return false;
}

// Attention

/// keys[j, h / group, d] becomes keys'[j, h, d] with keys' made of the heads h % n_kv.
bool read_modulo(const NodeRef& node, const Anatomy& anatomy) {
  auto& operands = std::get<ContractAttrs>(node->attrs).operands;
  for (size_t o = 0; o < operands.size(); ++o) {
    const std::string from = anatomy.origin(node->inputs[o]).name;
    if (!from.starts_with("attn_k") && !from.starts_with("attn_v")) continue;
    for (size_t axis = 0; axis < operands[o].size(); ++axis) {
      const int64_t group = operands[o][axis].divisor;
      if (group == 1) continue;
      const int64_t n_kv = node->inputs[o]->shape()[static_cast<int>(axis)];
      Tensor index(DType::i64, {n_kv * group});
      for (int64_t h = 0; h < n_kv * group; ++h) index.data<int64_t>()[h] = h % n_kv;
      operands[o][axis].divisor = 1;
      node->inputs[o] =
          graph::make(Op::take, {node->inputs[o], graph::constant(index)}, AxisAttrs{static_cast<int>(axis)});
      adopt(*node, *node, 2);
      return true;
    }
  }
  return false;
}

bool plant_mask(const std::string& fault, const NodeRef& softmax) {
  if (softmax->inputs.size() < 2) return false;
  NodeRef mask = softmax->inputs[1];
  while (is_view(mask->op)) mask = mask->inputs[0];
  if (mask->op != Op::affine_mask) return false;
  if (fault == "mask-missing") mask->params.ints.back() += 1 << 20;
  if (fault == "mask-off-by-one") mask->params.ints.back() += 1;
  if (fault == "mask-inverted") {
    for (int64_t& c : std::get<AffineMaskAttrs>(mask->attrs).coefficients) c = -c;
    mask->params.ints.back() = -mask->params.ints.back();
  }
  return true;
}

bool plant_attention(const std::string& fault, const NodeRef& node, const Part& part,
                     const Anatomy& anatomy) {
  if (fault == "kv-head-modulo" && (part.name == "product" || part.name == "heads"))
    return read_modulo(node, anatomy);
  if (part.name == "weights" && fault.starts_with("mask-")) return plant_mask(fault, node);
  if (part.name != "scores") return false;
  if (fault == "attention-scale") {
    for (const NodeRef& input : node->inputs) {
      if (input->op != Op::scalar) continue;
      const double heads = static_cast<double>(heads_of(anatomy, "attn_q.rope", part.layer));
      input->params.floats[0] *= node->op == Op::div ? std::sqrt(heads) : 1 / std::sqrt(heads);
      return true;
    }
  }
  if (fault == "scores-float16")
    return become(node, graph::cast(graph::cast(inner(node), DType::f16), node->dtype()));
  return false;
}

// Norms and the residual stream

bool plant_norm(const std::string& fault, const NodeRef& node, const Part& part) {
  const bool is_final = part.name == "output_norm";
  if (!is_final && part.name != "attn_norm") return false;
  if (fault == "rms-eps" && !is_final) {
    node->params.floats[0] = node->params.floats[0] > 5e-6 ? 1e-6 : 1e-5;
    return true;
  }
  if (fault == (is_final ? "final-norm-missing" : "norm-missing")) return become_input(node, 0);
  if (fault == (is_final ? "final-norm-weight-missing" : "norm-weight-missing")) {
    node->inputs.resize(1);
    return true;
  }
  return false;
}

bool plant_residual(const std::string& fault, const NodeRef& node, const Part& part, const Anatomy& anatomy) {
  if (part.name != "attn_residual") return false;
  const size_t branch = anatomy.origin(node->inputs[0]).name == "attn_output" ? 0 : 1;
  if (fault == "residual-lost") return become_input(node, branch);
  if (fault == "residual-doubled")
    return become(node, graph::binary(Op::add, inner(node), node->inputs[1 - branch]));
  if (fault == "residual-scaled") {
    const double scale = 1 / std::sqrt(2.0 * layers_of(anatomy));
    node->inputs[branch] = graph::binary(Op::mul, node->inputs[branch], graph::scalar(scale));
    adopt(*node, *node, 2);
    return true;
  }
  return false;
}

// Weights

bool plant_weight(const std::string& fault, const NodeRef& node, const Part& part, const Anatomy& anatomy) {
  if (node->op != Op::linear) return false;
  const NodeRef weight = node->inputs[1];
  const Shape& shape = weight->shape();
  if (fault == "weight-transposed" && part.name == "attn_output" && shape[0] == shape[1]) {
    const NodeRef plain = replaced_weight(weight, decoded(weight->value));
    return become(node, graph::matmul(node->inputs[0], plain));
  }
  if (fault == "gate-up-swapped" && (part.name == "ffn_gate" || part.name == "ffn_up")) {
    const std::string other = part.name == "ffn_gate" ? "ffn_up" : "ffn_gate";
    node->inputs[1] = anatomy.leaf(fmt::format("blk.{}.{}.weight", part.layer, other));
    return true;
  }
  const DType type = weight->dtype();
  if (fault == "nibble-order" && part.name == "ffn_down" && (type == DType::q4_0 || type == DType::q4_1)) {
    const Tensor right = decoded(weight->value), wrong(DType::f32, shape);
    for (int64_t i = 0; i < right.elements(); ++i) {
      const int64_t block = i / 32 * 32, k = i % 32;
      wrong.data<float>()[i] = right.data<float>()[block + k / 2 + (k % 2) * 16];
    }
    node->inputs[1] = replaced_weight(weight, wrong);
    return true;
  }
  if (fault == "repack-tail" && part.name == "ffn_up" && shape[0] >= 16) {
    const Tensor rows = decoded(weight->value);
    float* last = rows.data<float>() + rows.elements() - 8 * shape[1];
    std::memcpy(last, last - 8 * shape[1], static_cast<size_t>(8 * shape[1]) * sizeof(float));
    node->inputs[1] = replaced_weight(weight, rows);
    return true;
  }
  if (fault == "output-tied" && part.name == "output" && weight->label == "output.weight") {
    const NodeRef embedding = anatomy.leaf("token_embd.weight");
    if (embedding == nullptr || embedding->shape() != shape) return false;
    node->inputs[1] = embedding;
    return true;
  }
  return false;
}

/// All weights of the layer become those of the layer before, in the first layer those of the one after.
bool repeat_layer(const NodeRef& node, int layer, const Anatomy& anatomy) {
  const std::string prefix = fmt::format("blk.{}.", layer);
  bool found = false;
  for (NodeRef& input : node->inputs) {
    if (!input->is_weight || !input->label.starts_with(prefix)) continue;
    const NodeRef other = anatomy.leaf(
        fmt::format("blk.{}.{}", layer > 0 ? layer - 1 : layer + 1, input->label.substr(prefix.size())));
    if (other == nullptr) continue;
    input = other;
    found = true;
  }
  return found;
}

}  // namespace

bool plant_in_graph(const Plant& plant, const NodeRef& node, const Anatomy& anatomy) {
  const Part part = anatomy.part(node.get());
  const std::string& fault = plant.fault;
  if (fault == "token-ids-float16")
    return part.name == "token_embd" && [&] {
      node->inputs[1] = graph::cast(graph::cast(node->inputs[1], DType::f16), DType::i64);
      adopt(*node, *node, 3);
      return true;
    }();
  if (part.layer != plant.layer) {
    // The buffer that two layers share is written last by the second.
    if (fault != "cache-shared" || part.layer != plant.layer + 1 || node->op != Op::cache_append)
      return false;
    const std::string which = part.name.starts_with("attn_k") ? "k" : "v";
    const NodeRef shared = anatomy.leaf(fmt::format("cache.{}.{}", plant.layer, which));
    if (shared == nullptr || !node->inputs[0]->value) return false;
    node->inputs[0] = shared;
    return true;
  }
  if (fault == "layer-repeated") return repeat_layer(node, plant.layer, anatomy);
  if (node->op == Op::rope) return plant_rope(fault, node, part);
  if (part.name == "attn_q" || part.name == "attn_k") {
    const int64_t head_dim = head_dim_of(anatomy, part.layer);
    const int64_t rows = node->shape()[0], width = node->shape().back();
    if (fault == "qk-permuted") return head_dim > 0 && reorder_pairs(node, head_dim);
    if (part.name == "attn_q" && fault == "q-permuted-kv-heads") {
      const int64_t n_kv = heads_of(anatomy, "attn_k.rope", part.layer);
      return n_kv > 0 && reorder_pairs(node, width / n_kv);
    }
    if (part.name == "attn_q" && fault == "heads-interleaved")
      return head_dim > 0 &&
             become(node, reordered(inner(node), {rows, head_dim, width / head_dim}, {0, 2, 1}));
  }
  if (part.name == "heads" && fault == "strided-as-contiguous") {
    const Shape& shape = node->shape();
    const Shape other{shape[1], shape[0], shape[2]};
    return become(node, graph::reshape(graph::permute(inner(node), {1, 0, 2}), shape));
  }
  if (part.name == "act") {
    if (fault == "silu-missing") return become_input(node, 0);
    if (fault != "silu-replaced") return false;
    node->op = Op::gelu;
    return true;
  }
  return plant_weight(fault, node, part, anatomy) || plant_attention(fault, node, part, anatomy) ||
         plant_norm(fault, node, part) || plant_residual(fault, node, part, anatomy);
}

}  // namespace tl::inspect
