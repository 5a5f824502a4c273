// What the values of a transformer are for, told by the weights that their operations read and not by the
// names that a program gives them. Roles are GGUF's tensor names without ".weight", and a few more:
//
//   token_embd  blk.3.attn_norm  blk.3.attn_q(.rope)  blk.3.attn_k(.rope, .cache)  blk.3.attn_v(.cache)
//   blk.3.attn.scores  blk.3.attn.weights  blk.3.attn.heads  blk.3.attn_output  blk.3.attn_residual
//   blk.3.ffn_norm  blk.3.ffn_gate  blk.3.ffn_up  blk.3.ffn_act  blk.3.ffn_gated  blk.3.ffn_down
//   blk.3.ffn_residual  output_norm  output
#pragma once

#include <string>
#include <string_view>
#include <vector>

#include "inspect/recording.h"

namespace tl::inspect {

/// The role of every record, "" where it has none. Views of a value with a role have none of their own. What
/// passes a model twice has its roles from the first time; where that gave logits after some of the layers
/// too, the last of them count.
/// Foreign traces without weights are told by their names: llama.cpp's ("l_out-3") and Hugging Face's modules
/// ("model.layers.3.mlp").
std::vector<std::string> roles(const Recording& recording);

/// The token ids whose embeddings the first pass of a run read, before any conversion; empty where there are
/// none, or their values were not kept.
std::vector<int32_t> fed_ids(const Recording& recording);

/// The role of a value that llama.cpp or a Hugging Face model calls `name`; "" if it is none that we know.
std::string role_of_foreign_name(std::string_view name);

/// The layer in a role or a path: 3 of "blk.3.attn_q" and "forward/layer[3]/x"; -1 if there is none.
int layer_of(std::string_view name);

}  // namespace tl::inspect
