// The rules by which hypotheses are made, a file for each part of a transformer.
#pragma once

#include <vector>

#include "inspect/hypothesis.h"

namespace tl::inspect {

using Hypotheses = std::vector<Hypothesis>;

void add_rope_rules(Replay& replay, int record, Hypotheses& all);
void add_attention_rules(Replay& replay, int record, Hypotheses& all);
void add_norm_rules(Replay& replay, int record, Hypotheses& all);
void add_stream_rules(Replay& replay, int record, Hypotheses& all);  ///< residuals, the gated feed-forward
void add_weight_rules(Replay& replay, int record, Hypotheses& all);  ///< weights, embedding, accumulation

}  // namespace tl::inspect
