#include "inspect/structure.h"

#include <algorithm>
#include <array>
#include <cstdlib>
#include <optional>
#include <unordered_set>

#include <fmt/format.h>

#include "inspect/values.h"

namespace tl::inspect {

namespace {

bool is_passing(const std::string& op) {
  return op == "reshape" || op == "permute" || op == "broadcast" || op == "slice" || op == "cast";
}

/// Queries times keys, before they are scaled: means nothing by itself, since q may have been scaled before.
constexpr std::string_view kProduct = ".attn.product";

/// Finds roles front to back: those of inputs are known when their readers are looked at.
class Finder {
 public:
  explicit Finder(const std::vector<Record>& records) : records_(records), roles_(records.size()) {}

  std::vector<std::string> find() {
    for (size_t i = 0; i < records_.size(); ++i) {
      const Record& r = records_[i];
      if (r.is_leaf() || is_passing(r.op)) continue;
      std::string role = of_weight(r);
      role = role.empty() ? of_inputs(r) : step_of(r.name) + role;
      if (r.op == "softmax" && role.ends_with(".attn.weights")) name_scores(r, role);
      if (r.op == "add" && role.empty()) role = taken_from_sum(r);
      give(i, std::move(role));
    }
    for (std::string& role : roles_)
      if (role.ends_with(kProduct)) role.clear();
    return std::move(roles_);
  }

 private:
  void give(size_t i, std::string role) {
    if (role.empty()) return;
    const bool is_new = taken_.insert(role).second;
    if (!is_new && role.ends_with("token_embd")) is_second_pass_ = true;
    const bool is_head =
        role.ends_with("output_norm") || (role.ends_with("output") && !role.ends_with("_output"));
    if (!is_new && is_head && !is_second_pass_) {  // logits after fewer layers came before
      *std::find(roles_.begin(), roles_.begin() + static_cast<std::ptrdiff_t>(i), role) = "";
    } else if (!is_new) {
      return;
    }
    roles_[i] = std::move(role);
  }

  /// The value that a chain of views and conversions starts from.
  size_t source(int input) const {
    auto i = static_cast<size_t>(input);
    while (is_passing(records_[i].op) && !records_[i].inputs.empty())
      i = static_cast<size_t>(records_[i].inputs[0]);
    return i;
  }

  /// The role of what a value was made of by operations that keep its meaning: rotation, caching, scaling,
  /// masks.
  std::string stem(int input) const {
    for (size_t i = source(input);;) {
      const Record& r = records_[i];
      if (!roles_[i].empty()) return roles_[i];
      const bool scaled =
          (r.op == "mul" || r.op == "div" || r.op == "add" || r.op == "select") && !r.inputs.empty();
      if (r.op == "cache_append")
        i = source(r.inputs[1]);
      else if (scaled && records_[source(r.inputs[0])].shape.rank() > 0)
        i = source(r.inputs[r.op == "select" ? 1 : 0]);
      else if (scaled && r.inputs.size() > 1)
        i = source(r.inputs[1]);
      else if (r.op == "rope" && !r.inputs.empty())
        i = source(r.inputs[0]);
      else
        return {};
    }
  }

  /// The residual stream is the last sum of a sublayer's result and others: what is added to it more takes
  /// its role over.
  std::string taken_from_sum(const Record& add) {
    size_t sum = 0, inputs = 0;
    for (const int input : add.inputs) {
      if (!roles_[source(input)].ends_with("_residual")) continue;
      inputs += inputs == 0 || source(input) != sum;
      sum = std::max(sum, source(input));
    }
    if (inputs < 2) return {};
    std::string role = std::move(roles_[sum]);
    roles_[sum].clear();
    taken_.erase(role);
    return role;
  }

  /// Scores are what the softmax is of, before a mask: whatever they are scaled by, and where.
  void name_scores(const Record& softmax, const std::string& weights) {
    size_t i = source(softmax.inputs[0]);
    for (bool is_masked = true; is_masked;) {
      const Record& r = records_[i];
      is_masked = false;
      if (r.op != "select" && r.op != "add") continue;
      for (const int input : r.inputs)
        if (!is_masked && stem(input).ends_with(kProduct)) i = source(input), is_masked = true;
    }
    const std::string role = with_end(weights, ".attn.weights", ".attn.scores");
    if (taken_.insert(role).second) roles_[i] = role;
  }

  /// "step[1]/" of a later step's value, otherwise "".
  static std::string step_of(const std::string& name) {
    return name.starts_with("step[") ? name.substr(0, name.find('/') + 1) : "";
  }

  /// "blk.3.attn_q" of "blk.3.attn_q.weight" or ".bias".
  static std::string base(const std::string& weight) {
    const size_t dot = weight.rfind('.');
    return weight.ends_with(".weight") || weight.ends_with(".bias") ? weight.substr(0, dot) : weight;
  }

  std::string of_weight(const Record& r) const {
    if (r.op == "rope") return {};  // its weight is a table of frequency factors
    for (const int input : r.inputs) {
      const Record& w = records_[source(input)];
      if (!w.is_weight) continue;
      std::string role = base(w.name);
      if (role == "token_embd" && (r.op == "linear" || r.op == "matmul" || r.op == "contract"))
        role = "output";  // tied
      return role;
    }
    return {};
  }

  static bool ends(const std::string& role, std::string_view end) {
    return role.size() > end.size() && role.ends_with(end);
  }

  static std::string with_end(const std::string& role, std::string_view old_end, std::string_view end) {
    return role.substr(0, role.size() - old_end.size()) + std::string(end);
  }

  /// "blk.3.attn_k.cache" of rows that are rotated, or are not.
  static std::string of_cache(const std::string& rows) {
    const size_t end = rows.find(".rope");
    return rows.empty() ? "" : rows.substr(0, end) + ".cache";
  }

  std::string of_inputs(const Record& r) const {
    std::vector<std::string> from;
    for (const int input : r.inputs) from.push_back(stem(input));
    const auto any = [&](std::string_view end) -> std::optional<std::string> {
      for (const std::string& role : from)
        if (ends(role, end)) return role;
      return std::nullopt;
    };
    const auto any_of = [&](std::string_view a, std::string_view b) { return any(a) ? any(a) : any(b); };
    if (r.op == "rope" && !from.empty() && !from[0].empty()) return from[0] + ".rope";
    if (r.op == "cache_append") return of_cache(stem(r.inputs[1]));
    const auto k = any(".attn_k.cache") ? any(".attn_k.cache") : any_of(".attn_k.rope", ".attn_k");
    const auto v = any_of(".attn_v.cache", ".attn_v");
    const auto q = any_of(".attn_q.rope", ".attn_q");
    const bool product = r.op == "contract" || r.op == "matmul";
    if (r.op == "attention" && v) return v->substr(0, v->find(".attn_v")) + ".attn.heads";
    if (product && q && k) return q->substr(0, q->find(".attn_q")) + std::string(kProduct);
    if (r.op == "softmax" && any(kProduct)) return with_end(*any(kProduct), kProduct, ".attn.weights");
    if (product && v && any(".attn.weights")) return v->substr(0, v->find(".attn_v")) + ".attn.heads";
    if (r.op == "add") {
      if (const auto o = any(".attn_output"); o && !any(".ffn_down"))
        return with_end(*o, ".attn_output", ".attn_residual");
      if (const auto d = any(".ffn_down")) return with_end(*d, ".ffn_down", ".ffn_residual");
    }
    const auto gate = any(".ffn_gate"), up = any(".ffn_up");
    if (gate && r.inputs.size() == 1) return with_end(*gate, ".ffn_gate", ".ffn_act");
    if (up && (r.op == "mul" || r.op == "swiglu")) return with_end(*up, ".ffn_up", ".ffn_gated");
    return {};
  }

  const std::vector<Record>& records_;
  std::vector<std::string> roles_;
  std::unordered_set<std::string> taken_;
  bool is_second_pass_ = false;
};

struct ForeignName {
  std::string_view name, role;  ///< N stands for the layer
};

constexpr std::array kForeignNames = {
    // llama.cpp (src/llama-graph.cpp)
    ForeignName{"inp_embd", "token_embd"},
    ForeignName{"attn_norm-N", "blk.N.attn_norm"},
    ForeignName{"Qcur-N", "blk.N.attn_q.rope"},  // the last of the tensors of this name
    ForeignName{"Kcur-N", "blk.N.attn_k.rope"},
    ForeignName{"Vcur-N", "blk.N.attn_v"},
    ForeignName{"kq_soft_max-N", "blk.N.attn.weights"},
    ForeignName{"kqv_out-N", "blk.N.attn.heads"},
    ForeignName{"attn_out-N", "blk.N.attn_output"},
    ForeignName{"ffn_inp-N", "blk.N.attn_residual"},
    ForeignName{"ffn_norm-N", "blk.N.ffn_norm"},
    ForeignName{"ffn_gate-N", "blk.N.ffn_gate"},
    ForeignName{"ffn_up-N", "blk.N.ffn_up"},
    ForeignName{"ffn_silu-N", "blk.N.ffn_act"},
    ForeignName{"ffn_gate_par-N", "blk.N.ffn_gated"},
    ForeignName{"ffn_swiglu-N", "blk.N.ffn_gated"},
    ForeignName{"ffn_out-N", "blk.N.ffn_down"},
    ForeignName{"l_out-N", "blk.N.ffn_residual"},
    ForeignName{"result_norm", "output_norm"},
    ForeignName{"result_output", "output"},
    // Modules of Hugging Face's LlamaForCausalLM and its relatives
    ForeignName{"model.embed_tokens", "token_embd"},
    ForeignName{"model.layers.N.input_layernorm", "blk.N.attn_norm"},
    ForeignName{"model.layers.N.self_attn.q_proj", "blk.N.attn_q"},
    ForeignName{"model.layers.N.self_attn.k_proj", "blk.N.attn_k"},
    ForeignName{"model.layers.N.self_attn.v_proj", "blk.N.attn_v"},
    ForeignName{"model.layers.N.self_attn.o_proj", "blk.N.attn_output"},
    ForeignName{"model.layers.N.post_attention_layernorm", "blk.N.ffn_norm"},
    ForeignName{"model.layers.N.mlp.gate_proj", "blk.N.ffn_gate"},
    ForeignName{"model.layers.N.mlp.act_fn", "blk.N.ffn_act"},
    ForeignName{"model.layers.N.mlp.up_proj", "blk.N.ffn_up"},
    ForeignName{"model.layers.N.mlp.down_proj", "blk.N.ffn_down"},
    ForeignName{"model.layers.N", "blk.N.ffn_residual"},
    ForeignName{"model.norm", "output_norm"},
    ForeignName{"lm_head", "output"},
};

bool is_digit(char c) { return c >= '0' && c <= '9'; }

}  // namespace

std::vector<std::string> roles(const Recording& recording) {
  std::vector<std::string> found = Finder(recording.records).find();
  for (size_t i = 0; i < found.size(); ++i)
    if (found[i].empty()) found[i] = role_of_foreign_name(recording.records[i].name);
  return found;
}

std::string role_of_foreign_name(std::string_view name) {
  for (const ForeignName& known : kForeignNames) {
    const size_t n = known.name.find('N');
    if (n == std::string_view::npos) {
      if (name == known.name) return std::string(known.role);
      continue;
    }
    const std::string_view before = known.name.substr(0, n), after = known.name.substr(n + 1);
    if (!name.starts_with(before)) continue;
    size_t end = before.size();
    while (end < name.size() && is_digit(name[end])) ++end;
    if (end == before.size() || name.substr(end) != after) continue;
    std::string role(known.role);
    return role.replace(role.find('N'), 1, name.substr(before.size(), end - before.size()));
  }
  return {};
}

std::vector<int32_t> fed_ids(const Recording& recording) {
  const std::vector<std::string> found = roles(recording);
  const auto at = std::find(found.begin(), found.end(), "token_embd");
  if (at == found.end()) return {};
  for (int input : recording.records[static_cast<size_t>(at - found.begin())].inputs) {
    const auto record = [&]() -> const Record& { return recording.records[static_cast<size_t>(input)]; };
    while (!record().inputs.empty()) input = record().inputs[0];
    if (record().is_weight || !record().value) continue;
    const std::vector<double> ids = values_of(record().value);
    return {ids.begin(), ids.end()};
  }
  return {};
}

int layer_of(std::string_view name) {
  for (const std::string_view mark : {"blk.", "layer[", "layers.", "-"}) {
    const size_t at = name.find(mark);
    if (at == std::string_view::npos) continue;
    const size_t first = at + mark.size();
    if (first < name.size() && is_digit(name[first]))
      return std::atoi(std::string(name.substr(first, 9)).c_str());
  }
  return -1;
}

}  // namespace tl::inspect
