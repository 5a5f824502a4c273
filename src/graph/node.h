// The lazy tensor graph: nodes that say how a value comes about, and hold the value once it is computed.
#pragma once

#include <memory>
#include <string>
#include <vector>

#include <absl/container/inlined_vector.h>

#include "base/source.h"
#include "graph/scope.h"
#include "ops/op.h"
#include "tensor/tensor.h"

namespace tl::graph {

struct Node;
using NodeRef = std::shared_ptr<Node>;
using NodeRefs = absl::InlinedVector<NodeRef, 3>;

/// One value of a program. Made by the functions in builder.h, which infer `type` and refuse what does not
/// fit.
struct Node {
  Node() = default;
  Node(const Node&) = default;
  Node& operator=(const Node&) = default;
  ~Node();
  Op op = Op::constant;
  NodeRefs inputs = {};  ///< dropped once the value is there
  Attrs attrs = {};
  Params params = {};
  TensorType type = {};
  Tensor value = {};         ///< set for constants, and by the executor
  bool is_weight = false;    ///< a constant of a model file: its shape and stored type are structure
  bool is_residual = false;  ///< the residual stream of a transformer: embeddings, and what is added to them
  uint16_t policy = 0;       ///< by which it is computed: what PolicyScope gave when it was made
  ScopeRef scope = {};
  ScopeRef made_in = {};   ///< where it was made, if a function's result got its name outside
  std::string label = {};  ///< the variable it was assigned to, or empty
  Span span = {};          ///< the expression that made it
  uint64_t number = 0;     ///< counts up as nodes are made on a thread
  uint64_t visit = 0;      ///< trace() marks: the number of the last trace that met this node …
  int index = -1;          ///< … and its place there

  const Shape& shape() const { return type.shape; }
  DType dtype() const { return type.dtype; }
  /// "forward/layer[3]/attention/scores"; unnamed nodes end in their op: "…/#rms_norm".
  std::string path() const;
};

/// Gives the node its name in the program, and the current scope, unless it has a name.
void set_label(const NodeRef& node, std::string_view label);

}  // namespace tl::graph
