#include "llm/kv_cache.h"

#include <algorithm>

#include <fmt/format.h>

#include "graph/builder.h"

namespace tl {

namespace {

void require_type(DType type, const HyperParameters& config) {
  if (type != DType::f32 && type != DType::f16 && type != DType::f64 && type != DType::q8_0)
    throw Error(fmt::format("a KV cache holds float16, float32, float64 or q8_0, not {}", name(type)));
  const int64_t block = info(type).block_elements;
  if (config.head_dim % block != 0)
    throw Error(fmt::format("a KV cache in {} needs heads of whole blocks of {}, and this model's have {}",
                            name(type), block, config.head_dim));
}

}  // namespace

KvCache::KvCache(const HyperParameters& config, int64_t capacity, CacheTypes types) : capacity_(capacity) {
  if (capacity < 1) throw Error(fmt::format("a KV cache of {} tokens cannot hold anything", capacity));
  require_type(types.k, config), require_type(types.v, config);
  const Shape shape{capacity, config.n_kv_heads, config.head_dim};
  layers_.resize(static_cast<size_t>(config.n_layers));
  try {
    for (size_t i = 0; i < layers_.size(); ++i) {
      layers_[i].k = graph::constant(Tensor(types.k, shape));
      layers_[i].v = graph::constant(Tensor(types.v, shape));
      graph::set_label(layers_[i].k, fmt::format("cache.{}.k", i));
      graph::set_label(layers_[i].v, fmt::format("cache.{}.v", i));
    }
  } catch (const Error&) {
    throw Error(fmt::format("there is not enough memory for a KV cache of {} tokens: ask for fewer with -c",
                            capacity));
  }
}

graph::NodeRef KvCache::append(const graph::NodeRef& state, graph::NodeRef& last, graph::NodeRef x,
                               int64_t at) const {
  // Rows written but not yet computed must be computed first, so the new append looks through the pending
  // one.
  const bool pending = last && !last->value;
  last = graph::cache_append(pending ? last : state, std::move(x), at);
  return last;
}

std::pair<graph::NodeRef, graph::NodeRef> KvCache::update(int64_t layer, graph::NodeRef k, graph::NodeRef v) {
  if (layer < 0 || layer >= static_cast<int64_t>(layers_.size()))
    throw Error(fmt::format("the cache has {} layers, and layer {} was asked for", layers_.size(), layer));
  Layer& l = layers_[static_cast<size_t>(layer)];
  const int64_t n = k->shape().rank() > 0 ? k->shape()[0] : 0;
  require_room(l.length, n);
  auto keys = append(l.k, l.k_last, std::move(k), l.length);
  auto values = append(l.v, l.v_last, std::move(v), l.length);
  l.length += n;
  length_ = std::max(length_, l.length);
  return {std::move(keys), std::move(values)};
}

void KvCache::require_room(int64_t length, int64_t n) const {
  if (length + n > capacity_)
    throw Error(fmt::format(
        "the context is full: {} of {} tokens are used, and {} more do not fit (-c sets its size)", length,
        capacity_, n));
}

bool KvCache::is_settled() const {
  return std::ranges::all_of(layers_, [this](const Layer& layer) {
    const bool waits = (layer.k_last && !layer.k_last->value) || (layer.v_last && !layer.v_last->value);
    return !waits && (layer.length == 0 || layer.length == length_);
  });
}

void KvCache::advance(int64_t n) {
  require_room(length_, n);
  for (Layer& layer : layers_)
    if (layer.length > 0) layer.length += n;
  length_ += n;
}

void KvCache::truncate(int64_t length) {
  if (length < 0 || length > length_)
    throw Error(fmt::format("the cache holds {} tokens and cannot be cut to {}", length_, length));
  length_ = length;
  for (auto& layer : layers_) {
    layer.length = std::min(layer.length, length);
    cut(layer.k, layer.k_last, layer.length);
    cut(layer.v, layer.v_last, layer.length);
  }
}

/// Makes rows from `length` on free to be overwritten.
void KvCache::cut(graph::NodeRef& state, graph::NodeRef& last, int64_t length) {
  const bool has_readers = last.use_count() > 1;  // computed nodes let go of their inputs
  if (has_readers) {
    ++n_copies_;
    state = graph::constant(Tensor(state->dtype(), state->shape()));
    last = length > 0 ? graph::cache_append(state, graph::slice(last, 0, 0, length), 0) : nullptr;
    return;
  }
  // Appends that are still to write rows before `length` stay; those behind it need not be computed any more.
  while (last && !last->value && last->params.ints[0] >= length)
    last = last->inputs[0]->op == Op::cache_append ? graph::NodeRef(last->inputs[0]) : nullptr;
  if (last && last->value) last = nullptr;
}

int64_t KvCache::bytes() const {
  int64_t total = 0;
  for (const auto& layer : layers_)
    for (const auto& state : {layer.k, layer.v}) total += bytes_of(state->dtype(), state->shape().elements());
  return total;
}

}  // namespace tl
