// Keys and values of the tokens so far.
#pragma once

#include <utility>
#include <vector>

#include "graph/node.h"
#include "llm/model.h"

namespace tl {

/// In what keys and values are kept.
struct CacheTypes {
  DType k = DType::f32, v = DType::f32;
};

/// Per layer two tensors [capacity, n_kv_heads, head_dim], which steps append rows to. Memory is only touched
/// as far as it is filled.
class KvCache {
 public:
  /// Types: f32, f16, q8_0 (blocks of 8 bits), or f64 (for the reference backend). Throws Error for others,
  /// for heads that blocks do not fit, and for no capacity.
  KvCache(const HyperParameters& config, int64_t capacity, CacheTypes types);

  int64_t capacity() const { return capacity_; }
  /// How many tokens all layers that were used hold: the position of the next.
  int64_t length() const { return length_; }

  /// Appends k and v [n, n_kv_heads, head_dim] of `layer`; gives all rows so far of both. The first layer
  /// that is appended to in a step sets the new length. Throws Error when the cache is full or the layer does
  /// not exist.
  std::pair<graph::NodeRef, graph::NodeRef> update(int64_t layer, graph::NodeRef k, graph::NodeRef v);

  /// Forgets all tokens from position `length` on. Throws Error when there are fewer. What was asked of the
  /// cache before and is not computed yet keeps its rows: what follows then works on a copy.
  void truncate(int64_t length);

  /// Whether every layer holds all tokens or none, and nothing waits to be computed.
  bool is_settled() const;
  /// Counts rows as appended that were written to every used layer behind its length. Throws Error as
  /// update().
  void advance(int64_t n);
  /// How often truncate() had to copy: the states are others since.
  int64_t n_copies() const { return n_copies_; }

  /// Bytes that a full cache takes.
  int64_t bytes() const;

 private:
  struct Layer {
    graph::NodeRef k, v;            ///< the states: constants over the whole capacity
    graph::NodeRef k_last, v_last;  ///< the last appends; later ones must come after them
    int64_t length = 0;
  };
  void cut(graph::NodeRef& state, graph::NodeRef& last, int64_t length);
  graph::NodeRef append(const graph::NodeRef& state, graph::NodeRef& last, graph::NodeRef x,
                        int64_t at) const;

  void require_room(int64_t length, int64_t n) const;

  int64_t capacity_, length_ = 0, n_copies_ = 0;
  std::vector<Layer> layers_;
};

}  // namespace tl
