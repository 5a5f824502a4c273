// Known faults, put into a run on purpose: "rope-pairing@5" makes layer 5 of the program under test rotate
// the wrong pairs. Operations are rewritten in the graph before it is planned, or computed by a wrong kernel.
//
// Planting and diagnosing share no code: what finds a fault must not recognise how it was made.
#pragma once

#include <map>
#include <memory>
#include <span>
#include <string>
#include <string_view>
#include <unordered_map>
#include <vector>

#include "runtime/session.h"

namespace tl::inspect {

/// A fault and the layer that gets it; faults of the whole model have none.
struct Plant {
  static constexpr int kEveryLayer = -2;
  std::string fault;
  int layer = -1;
};

struct PlantableFault {
  std::string_view name, doc;
  bool in_layers;  ///< planted in one layer; otherwise there is one place for it
};

/// All that can be planted.
std::span<const PlantableFault> plantable_faults();

/// "rope-pairing@5", "rope-pairing@all" for every layer, or "final-norm-missing". Throws UsageError naming
/// the known faults.
Plant parse_plant(const std::string& text);

/// What a node of a transformer is for, and in which layer: {"attn_q.rope", 5}.
struct Part {
  std::string name;
  int layer = -1;
};

/// The graph that is about to run, as the rules of planting see it.
class Anatomy {
 public:
  explicit Anatomy(std::span<const graph::NodeRef> roots);
  /// Nodes that are not computed yet, inputs before users.
  const std::vector<graph::NodeRef>& nodes() const { return nodes_; }
  /// Of any node; {"", -1} where it has no part that is known.
  Part part(const graph::Node* node) const;
  /// The part of what an input was made of, through views and conversions.
  Part origin(const graph::NodeRef& input) const;
  /// Weights and cache states by label.
  graph::NodeRef leaf(const std::string& label) const;

 private:
  Part find(const graph::Node& node) const;
  std::vector<graph::NodeRef> nodes_;
  std::unordered_map<const graph::Node*, Part> parts_;
  std::map<std::string, graph::NodeRef> leaves_;
};

/// Plants faults into what a session runs (SessionOptions::rewrite and ::kernel).
class Planter {
 public:
  explicit Planter(std::vector<Plant> plants);
  /// Rewrites what has not been seen before below the roots.
  void rewrite(std::span<const graph::NodeRef> roots);
  /// A wrong kernel for a step, or null.
  const Kernel* kernel(const graph::Step& step, const graph::Trace& trace);
  /// The plants that have found no place so far: "output-tied".
  std::vector<std::string> unused() const;

 private:
  struct Planted {
    Plant plant;
    bool used = false;
  };
  std::vector<Planted> plants_;
  std::unordered_map<const graph::Node*, std::weak_ptr<graph::Node>> seen_;
};

/// Rewrites one node under a plant; says whether it did (plant_graph.cpp).
bool plant_in_graph(const Plant& plant, const graph::NodeRef& node, const Anatomy& anatomy);
/// The wrong kernel that a plant has for an operation that reads `weight`, or null (plant_kernels.cpp).
const Kernel* planted_kernel(const Plant& plant, Op op, const std::string& weight);

}  // namespace tl::inspect
